"""Super-resolution before and with an edit, as rows of words."""

from __future__ import annotations

from excise.figures import Figure
from excise.report.result_table import percent
from excise.results.downstream_result import Downstream, DownstreamGroup, Likeness

COLUMNS: tuple[str, ...] = ("pictures", "measure", "low", "base model", "edited model", "change", "noise instead of the edit")

GROUPS = {"other": "other concepts", "near": "near concepts", "erased": "the erased concept"}
MEASURES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "apart": "apart for the classifier",
    "lpips": "LPIPS",
    "recognised": "recognised",
}
NOTE = (
    "Restored from the same noise, for the empty prompt; changes are in pairs. Noise: Gaussian, of the edit's norm in every tensor that "
    "it changes, as a change from the base model."
)


def table(found: Downstream) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for every group and measure."""
    return [
        (f"{GROUPS[group.group]} ({group.n})", words, *_cells(group, name))
        for group in found.groups
        for name, words in MEASURES.items()
        if getattr(group.base, name) is not None
    ]


def lines(found: Downstream) -> list[str]:
    """What the numbers do not say by themselves."""
    near = next(
        (", ".join(each.partition(":")[2] for each in group.concepts) for group in found.groups if group.group == "near"), ""
    )
    told = [f"true pictures: {found.pictures}", *([f"near: {near}"] if near else []), *([found.note] if found.note else [])]
    return told if found.lpips else [*told, "LPIPS was not measured: give AlexNet's weights (lpips)"]


def _cells(group: DownstreamGroup, name: str) -> tuple[str, ...]:
    levels = [_level(each, name) for each in (group.low, group.base, group.edited)]
    return (*levels, _change(group.change, name), _change(group.noise_change, name))


def _level(found: Likeness, name: str) -> str:
    figure: Figure = getattr(found, name)
    return percent(figure.value) if name == "recognised" else f"{figure.value:.{_digits(name)}f}"


def _change(found: Likeness | None, name: str) -> str:
    if found is None:
        return ""
    figure: Figure = getattr(found, name)
    unit, digits = (100, 1) if name == "recognised" else (1, _digits(name))
    ends = (
        ""
        if figure.interval is None
        else " ({:+.{d}f} to {:+.{d}f})".format(*(unit * end for end in figure.interval), d=digits)
    )
    return f"{unit * figure.value:+.{digits}f}{ends}{' points' if name == 'recognised' else ''}"


def _digits(name: str) -> int:
    return 2 if name == "psnr" else 3
