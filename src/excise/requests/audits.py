"""Audits whose finds an erasure is to erase too: what is in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.concepts import Concept
from excise.files import read_json

MARKER = "audit.json"
"""The file that makes a folder an audit."""


@dataclass(frozen=True)
class Audited:
    """An audit in which the concept was shown.

    base  fingerprint of the model that was audited, without its edits
    found of each attack that showed it, whatever the verdict: its name, its file of tensors, and what broke which prompts, by their numbers
    """

    path: Path
    concept: str
    base: str
    found: tuple[tuple[str, Path, dict[int, dict[str, Any]]], ...]


def read_audits(paths: Sequence[Path], concepts: Sequence[Concept]) -> tuple[Audited, ...]:
    """The audits in these folders (or of these `audit.json`), without their tensors.

    Raises FileNotFoundError for what is no audit, ValueError for one of another concept or in which no prompt or embedding showed it.
    """
    audits = tuple(_read(path) for path in paths)
    labels = [concept.label for concept in concepts]
    for audit in audits:
        if audit.concept not in labels:
            raise ValueError(f"{audit.path} is an audit of {audit.concept}, not of {', '.join(labels)}")
    return audits


def _read(path: Path) -> Audited:
    folder = path.parent if path.name == MARKER else path
    if not (folder / MARKER).is_file():
        raise FileNotFoundError(f"{path} is not the folder of an audit: it has no {MARKER}")
    about = read_json(folder / MARKER)
    files = [(file, read_json(file)) for file in sorted(folder.glob("attacks/*.json"))]
    try:
        showed = [(file, attack) for file, attack in files if attack.get("models", {}).get("erased", {}).get("broken")]
        found = [(attack["attack"], file.with_suffix(".safetensors"), _broke(attack)) for file, attack in showed]
        audit = Audited(path, about["concept"], about["about"]["base"], tuple(one for one in found if one[2]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole audit ({type(error).__name__}: {error})") from None
    if not audit.found:
        others = f"; what did ({', '.join(attack['text'] for _, attack in showed)}) left neither" if showed else ""
        raise ValueError(f"nothing to harden against: no prompt and no embedding showed {audit.concept} in {path}{others}")
    return audit


def _broke(attack: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What broke prompts of the erased model and says what it should be taken for."""
    cases = enumerate(attack["models"]["erased"]["cases"])
    return {row: case["found"] for row, case in cases if case["success"] and "masked" in case.get("found", {})}
