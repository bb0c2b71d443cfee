"""Giving erased concepts back: an edit's folder without its part of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files import check_replaceable
from excise.jobs.checkpoints import MARKER
from excise.jobs.inputs import read_edits

if TYPE_CHECKING:
    from excise.edits import Edit


def restore(edit: str | Path, *, concept: str | Sequence[str], out: str | Path, overwrite: bool = False) -> Edit:
    """Write the edit without its part of some concepts to the folder `out`, and return it.

    edit     folder of a separable edit (SepME), or of several edits that were put together
    concept  what is given back, as the edit names it: "cat", "style:sketch", ...

    What the edit does to its other concepts stays the same, bit for bit. Numbers that were measured are left out: they were the whole
    edit's.

    Raises ValueError where the edit cannot be taken apart so, FileNotFoundError, or FileExistsError if `out` may not be replaced.
    """
    check_replaceable(Path(out), MARKER, overwrite)
    (whole,) = read_edits(edit)
    from excise.edits import restored

    left = restored(whole, [concept] if isinstance(concept, str) else list(concept))
    left.save_pretrained(out, overwrite=overwrite)
    return left
