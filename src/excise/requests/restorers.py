"""Which restorer a request works with."""

from __future__ import annotations

from pathlib import Path

from excise.files import read_header
from excise.models.built_in import restorer_of


def pick_restorer(model: str, given: Path | None) -> Path:
    """The file that was given, or that of a built-in model. Raises ValueError if there is none, or the file is no restorer's as far as its
    header says; FileNotFoundError if it is not there."""
    found = given or restorer_of(model)
    if found is None:
        raise ValueError(
            f"there is no built-in restorer for the model {model!r}; give the file of one that was trained for it (restorer)"
        )
    if "restorer" not in read_header(found)[1]:
        raise ValueError(f"{found} is not a restorer's file: its metadata has no 'restorer' entry")
    return found
