"""Restored pictures (`excise upscale`), in words and as a table."""

from __future__ import annotations

from excise.results.upscaled import UpscaleFile

COLUMNS = ("picture", "made from", "pixels of that", "pixels")
NOTE = (
    "What a picture had lost is invented in keeping with it: details of a restored picture are no evidence of what was there."
)


def lines(found: UpscaleFile) -> list[str]:
    """How the pictures were made."""
    told, edits = found.settings, [label for edit in found.provenance.edits for label in edit.concepts]
    without = f" with {', '.join(edits)} erased" if edits else ""
    colour = "colours as the model gives them" if told.colour == "none" else f"colours by {told.colour}"
    return [
        f"{_pictures(len(found.pictures))} restored by {found.provenance.model}{without} in {found.seconds:.0f} s",
        f"{told.scale} times as large; {told.steps} steps of {told.scheduler}, fidelity {told.fidelity:g}, {colour}, tiles of {told.tile} "
        f"pixels that share {told.overlap}",
    ]


def table(found: UpscaleFile) -> list[tuple[str, ...]]:
    """A row per picture."""
    return [
        (each.file, each.source, f"{each.low_width} x {each.low_height}", f"{each.width} x {each.height}")
        for each in found.pictures
    ]


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
