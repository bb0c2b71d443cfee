"""What made a number: the model's weights, the edits that were on it, seed, precision, versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from excise.digests import digest_tensors
from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.models import Model
from excise.versions import versions


def provenance(model: Model, edits: Sequence[Edit], seed: int) -> dict[str, Any]:
    """For the JSON of a measurement: "model", "base_fingerprint", "edits", "seed", "dtype", "device", "versions"."""
    return {
        "model": model.name,
        "base_fingerprint": base_fingerprint(model),
        "edits": [identity(edit) for edit in edits],
        "seed": seed,
        "dtype": model.precision,
        "device": str(model.device),
        "versions": versions(),
    }


def identity(edit: Edit) -> dict[str, Any]:
    """Which edit it is: "name" of the method, "concepts", "params", and a hash of its tensors."""
    manifest = edit.manifest
    return {
        "name": manifest.method,
        "concepts": manifest.names,
        "params": manifest.settings,
        "artefact_hash": manifest.weights_sha256 or digest_tensors(edit.tensors()),
    }
