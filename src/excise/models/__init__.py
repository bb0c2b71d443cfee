"""A diffusion model as the rest of the package sees it: loading, prompts, predictions, schedule, sampling.

`names` (what a model is called and declares) needs no torch; the names below load it when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.registry import late

if TYPE_CHECKING:
    from excise.models.loading import load
    from excise.models.model import Model, Sampler, SamplingState
    from excise.models.schedule import Schedule

_HOMES = {"Model": "model", "Sampler": "model", "SamplingState": "model", "Schedule": "schedule", "load": "loading"}

__all__ = ["Model", "Sampler", "SamplingState", "Schedule", "load"]

__getattr__ = late(__name__, _HOMES)
