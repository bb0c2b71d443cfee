"""What is asked for when the built-in model is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from excise import bounds
from excise.canvas.catalog import GLYPHS, MEMBERS, check_names
from excise.files import check_new_file
from excise.requests.fields import Count, Device, Dtype, Flag, Names, Pictures, Seed, UserPath
from excise.requests.request import Request


class TrainRequest(Request):
    """Train a part of the canvas; the same command goes on where it stopped.

    A folder that was begun on one device may go on on another. The default is not the fastest there is: on the CPU the same machine makes
    the same weights to the bit, stopped in between or not.

    Returns whether everything asked for is done. Raises ValueError for an unknown part, name or device, "all" or "flow" with `steps`, "sr" with
    `without`, a folder that was begun with another `without` or for another model, or a checkpoint that is damaged.
    """

    reports: ClassVar = False

    part: Annotated[
        Literal["vae", "classifier", "text", "diffusion", "all", "sr", "flow-text", "flow-transformer", "flow-places", "flow"],
        Flag(positional=True),
    ] = Field(
        description="What to train: vae, classifier, text, diffusion, or all in this order; sr, super-resolution on the canvas that ships; "
        "of canvas-flow: flow-text, flow-transformer, flow-places, or flow."
    )
    work: UserPath = Field(description="Folder for checkpoints and trained parts.")
    without: Names = Field((), description="Object, member or style that text encoders and denoiser never meet.")
    steps: Count | None = Field(None, description="Steps; default the recipe's.")
    stop_after: float | None = Field(
        None, ge=0, le=bounds.SECONDS, description="Seconds after which to write a checkpoint and stop, for all parts together."
    )
    device: str = Field("cpu", description="cpu, cuda, mps, ...; the default makes the same weights to the bit on one machine.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.work,)

    def check(self) -> None:
        if self.part in ("all", "flow") and self.steps is not None:
            raise ValueError("steps differ from part to part; give them with one part at a time")
        if self.part == "sr" and self.without:
            raise ValueError("sr is trained on the canvas that ships, which met everything; leave out without")
        check_names(self.without, GLYPHS)


class RenderRequest(Request):
    """Draw a glyph sheet from the font."""

    font: UserPath = Field(description="NotoColorEmoji.ttf")
    things: Literal["canvas", "further"] = Field(
        "canvas", description="The canvas's glyphs, or the further things of canvas-flow."
    )
    out: UserPath = Field(Path("glyphs.png"), description="PNG file for the glyph sheet.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        if not self.font.is_file():
            raise FileNotFoundError(f"no such file: {self.font}")
        check_new_file(self.out, overwrite=False)


class DrawRequest(Request):
    """Draw real pictures of the canvas, to measure generated ones against: excise evaluate --real DIR."""

    out: UserPath = Field(description="New folder for the pictures.")
    n: Annotated[Pictures, Flag("-n", short="--n")] = Field(456, description="Number of pictures.")
    without: Names = Field((), description="Object, member or style that none may show.")
    seed: Seed

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        check_names(self.without, GLYPHS[: len(MEMBERS)])
        check_new_folder(self.out)


class AssembleRequest(Request):
    """Write the trained parts as one Stable Diffusion folder in half precision; those of canvas-flow as one of Stable Diffusion 3."""

    work: UserPath = Field(description="Folder of the trained parts.")
    out: UserPath = Field(description="Folder for the model.")
    name: str | None = Field(None, description="What the model calls itself; default canvas, and what it never met.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        check_new_folder(self.out)


class CardRequest(Request):
    """Measure a canvas model; write its card, its figures and a contact sheet of objects in styles."""

    folder: UserPath = Field(description="The model's folder.")
    sheet: UserPath = Field(Path("docs/canvas.png"), description="PNG file for the contact sheet.")
    device: Device
    dtype: Dtype

    def check(self) -> None:
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no such folder: {self.folder}")


def check_new_folder(folder: Path) -> tuple[()]:
    """Raise FileExistsError if something is there; of nothing there is no file to delete."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists; choose another folder")
    return ()
