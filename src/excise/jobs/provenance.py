"""What made a number: the model's weights, the edits that were on it, seed, precision, versions."""

from __future__ import annotations

from collections.abc import Sequence

from excise.digests import digest_tensors
from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.models import Model
from excise.results.origin import EditIdentity, Provenance
from excise.versions import versions


def provenance(model: Model, edits: Sequence[Edit], seed: int) -> Provenance:
    """Of a measurement."""
    return Provenance(
        model=model.name,
        base_fingerprint=base_fingerprint(model),
        edits=tuple(identity(edit) for edit in edits),
        seed=seed,
        dtype=model.precision,
        device=str(model.device),
        versions=versions(),
    )


def identity(edit: Edit) -> EditIdentity:
    """Which edit it is."""
    manifest = edit.manifest
    return EditIdentity(
        name=manifest.method,
        concepts=tuple(manifest.names),
        params=manifest.settings,
        artefact_hash=manifest.weights_sha256 or digest_tensors(edit.tensors()),
    )
