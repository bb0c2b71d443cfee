"""Where what a model gives without edits is kept in the cache folder."""

from __future__ import annotations

from typing import Any

from excise.digests import digest_values
from excise.edits.applied import applied_edits, base_fingerprint
from excise.files import NOWHERE, Shelf, cache_folder
from excise.models import Model
from excise.models.fingerprint import arithmetic, surroundings
from excise.randomness import STEP_NOISE


def base_shelf(model: Model, kind: str) -> Shelf:
    """A shelf for each set of weights, sampler and arithmetic. Nothing is kept of a model that carries edits.

    kind  of what is kept: the name of the folder inside the cache folder
    """
    if applied_edits(model):
        return NOWHERE
    key: list[Any] = [
        base_fingerprint(model),
        surroundings(model),
        {**vars(model.sampler), "guidance_scale": model.guidance_seen(model.sampler.guidance_scale)},
        arithmetic(model),
        STEP_NOISE,
    ]
    return Shelf(cache_folder(), kind, digest_values(key)[:16])
