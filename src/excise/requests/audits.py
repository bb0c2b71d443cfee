"""Audits that an erasure is hardened against: what is in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from excise.concepts import Concept
from excise.files import FolderKind
from excise.results.audit_result import AttackResult, AuditFile, AuditSetup

AUDIT = FolderKind("audit.json", AuditFile.read, earlier=r"attacks/[^/]+\.(json|png|safetensors)")
"""An audit; its attacks' files come one by one."""


@dataclass(frozen=True)
class Audited:
    """An audit in which the concept was shown.

    about what was audited
    found of each attack that showed it, whatever the verdict: its name, its file of tensors, and what broke which prompts, by their numbers:
          the prompt that the model was asked, and the one that this should be taken for
    """

    path: Path
    about: AuditSetup
    found: tuple[tuple[str, Path, dict[int, tuple[str, str]]], ...]


def read_audits(paths: Sequence[Path], concepts: Sequence[Concept]) -> tuple[Audited, ...]:
    """The audits in these folders (or of these `audit.json`), without their tensors.

    Raises FileNotFoundError for what is no audit, ValueError for one of another concept or in which no prompt or embedding showed it.
    """
    audits = tuple(_read(path) for path in paths)
    labels = [concept.label for concept in concepts]
    for audit in audits:
        if audit.about.concept not in labels:
            raise ValueError(f"{audit.path} is an audit of {audit.about.concept}, not of {', '.join(labels)}")
    return audits


def _read(path: Path) -> Audited:
    folder = path.parent if path.name == AUDIT.marker else path
    if not (folder / AUDIT.marker).is_file():
        raise FileNotFoundError(f"{path} is not the folder of an audit: it has no {AUDIT.marker}")
    about = AuditFile.read(folder / AUDIT.marker).about
    files = [(file, AttackResult.read(file)) for file in sorted(folder.glob("attacks/*.json"))]
    showed = [(file, attack) for file, attack in files if attack.compared and attack.compared.erased.broken]
    found = [(attack.attack, file.with_suffix(".safetensors"), _broke(attack)) for file, attack in showed]
    audit = Audited(path, about, tuple(one for one in found if one[2]))
    if not audit.found:
        others = f"; what did ({', '.join(attack.text for _, attack in showed)}) left neither" if showed else ""
        raise ValueError(f"nothing to harden against: no prompt and no embedding showed {about.concept} in {path}{others}")
    return audit


def _broke(attack: AttackResult) -> dict[int, tuple[str, str]]:
    """What broke prompts of the erased model, by their numbers: the prompt asked, and the one that it should be taken for."""
    cases = attack.compared.erased.cases if attack.compared else ()
    broke = {row: case.found for row, case in enumerate(cases) if case.success and case.found}
    return {row: (one.prompt, one.masked) for row, one in broke.items() if one.prompt is not None and one.masked is not None}
