"""Erased models from elsewhere as edits: what was changed in the base to make them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excise.edits.applied import applied_edits, base_fingerprint
from excise.edits.deltas import difference
from excise.edits.manifest import Manifest
from excise.edits.weight_edit import WeightEdit
from excise.files import FLOATS, read_header, read_tensors
from excise.models.checkpoint_file import is_checkpoint
from excise.models.dialects import published_name
from excise.models.families import family_name
from excise.models.fingerprint import canonical_name, named_tensors
from excise.models.path import Path as NoisePath
from excise.models.quantised import check_names
from excise.quoting import cut
from excise.versions import versions


def import_edit(base: Any, erased: Any, *, name: str = "", concepts: tuple[dict[str, Any], ...] = ()) -> WeightEdit:
    """The difference of two models as a WeightEdit.

    base      the Model that the erased one was made from, without edits
    erased    a Model or pipeline of the same shape; or the path of a .safetensors file that holds some of the denoiser's tensors, named
              as diffusers names them (the form in which ESD, UCE and others publish their weights)
    name      what the manifest calls the erased model; default the model's own name or the file's
    concepts  what was erased, if that is known, as `Concept.to_dict` gives it

    With the edit on, the base computes what the erased model does (float32 weights are equal to the last digit or so).
    Raises ValueError if an edit is on the base, if names, shapes, the noise schedules or the autoencoders differ, or if no weight differs.
    """
    if applied_edits(base):
        raise ValueError("the base has edits on; compare with the base itself")
    before = named_tensors(base)
    if isinstance(erased, str | Path):
        after: Mapping[str, Tensor] = _partial(Path(erased), base, before)
        found = name or Path(erased).stem
    else:
        after = named_tensors(erased)
        found = name or getattr(erased, "name", "") or type(erased).__name__
        _check_same_kind(base, erased)
        _check_same_autoencoder(base, erased)
        _check_same_names(before, after)
    _check_values(before, after)
    deltas = difference({key: before[key] for key in after}, {key: value.to(before[key]) for key, value in after.items()})
    if not deltas:
        raise ValueError("the two models have the same weights: there is no edit to import")
    manifest = Manifest(
        model=getattr(base, "name", type(base).__name__),
        base=base_fingerprint(base),
        family=family_name(base),
        method="imported",
        concepts=list(concepts),
        settings={"from": found},
        dtype=getattr(base, "precision", None),
        device=base.device.type,
        versions=versions(),
    )
    return WeightEdit(deltas, manifest)


def is_partial(path: str | Path, base: Any) -> bool:
    """Whether a file holds tensors of a base's networks by their diffusers names: no checkpoint, whose names are the original ones."""
    path = Path(path)
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    known, keys = named_tensors(base), read_header(path)[0]
    ours = [canonical_name(published_name(key, base.prefix)) in known for key in keys]
    return all(ours) or (any(ours) and not is_checkpoint(path))  # some names of a transformer are the same in both layouts


def _partial(path: Path, base: Any, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    check_names(path, read_header(path)[0])
    tensors, _ = read_tensors(path, FLOATS)
    found = {}
    for key, value in tensors.items():
        name = canonical_name(published_name(key, base.prefix))
        if name not in known:
            raise ValueError(
                f"{path} holds {cut(key, 200)}, which the base does not have; it is not an erased form of this model"
            )
        found[name] = value
    return found


def _check_same_kind(base: Any, erased: Any) -> None:
    mine, theirs = (NoisePath.of(getattr(model, "pipeline", model).scheduler) for model in (base, erased))
    if not mine.same_as(theirs):
        raise ValueError("not an erased form of the base: the two have different noise schedules")


def _check_same_autoencoder(base: Any, erased: Any) -> None:
    """Compared in half precision: erased models are often published in it."""
    mine, theirs = (getattr(model, "pipeline", model).vae for model in (base, erased))
    before, after = mine.state_dict(), theirs.state_dict()
    same = mine.config.scaling_factor == theirs.config.scaling_factor and before.keys() == after.keys()
    if not same or not all(torch.equal(before[name].half(), after[name].to(before[name].device).half()) for name in before):
        raise ValueError("not an erased form of the base: the two have different autoencoders, which an edit does not change")


def _check_same_names(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    missing, foreign = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    if missing or foreign:
        what = f"it lacks {missing[0]}" if missing else f"it has {foreign[0]}"
        raise ValueError(f"not an erased form of the base: {what} ({len(missing)} tensors missing, {len(foreign)} foreign)")


def _check_values(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    for name, value in after.items():
        if value.shape != before[name].shape:
            raise ValueError(f"not an erased form of the base: {name} is {tuple(value.shape)}, not {tuple(before[name].shape)}")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} of the erased model has values that are not finite (NaN or infinity)")
