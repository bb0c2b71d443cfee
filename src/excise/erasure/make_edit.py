"""The last step of every method: changes and circumstances become an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.concepts import Concept
from excise.edits import Delta, Manifest, WeightEdit, applied_edits
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Kind
from excise.erasure.counterexamples import record
from excise.erasure.run import Run
from excise.models import Model
from excise.models.context import read_in_chunks
from excise.models.families import family_name
from excise.settings import Settings
from excise.versions import versions


def finish(
    model: Model, deltas: Mapping[str, Delta], method: str, concepts: Sequence[Concept], settings: Settings, run: Run
) -> WeightEdit:
    """The edit, with the edits it was made on top of in its ledger."""
    return WeightEdit(dict(deltas), manifest(model, method, concepts, settings, run))


def manifest(
    model: Model, method: str, concepts: Sequence[Concept], settings: Settings, run: Run, *, kind: Kind = "weights"
) -> Manifest:
    """What is to be told about an edit of that kind; the edits below it as strong as they are on."""
    below = [edit.manifest if scale == 1 else edit.manifest.scaled(scale) for edit, scale in applied_edits(model)]
    return Manifest(
        kind=kind,
        model=model.name,
        base=base_fingerprint(model),
        family=family_name(model),
        method=method,
        concepts=[concept.to_dict() for concept in concepts],
        settings=settings.model_dump(),
        seed=run.seed,
        hardened=record(run.counterexamples),
        dtype=model.precision,
        device=model.device.type,
        long_prompts="chunk" if read_in_chunks(model, concepts) else None,
        versions=versions(),
        ledger=[each.model_dump() for each in below],
    )
