"""A diffusion model as the rest of the package sees it: loading, prompts, predictions, noise path, sampling.

`names` (what a model is called and declares) and `families` (what kinds there are) need no torch. The names below load it when they are
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.registry import late

if TYPE_CHECKING:
    from excise.models.conditioning import Conditioning
    from excise.models.entrances import Entrance
    from excise.models.loading import load
    from excise.models.model import Model
    from excise.models.path import Path
    from excise.models.sampling import Sampler, SamplingState

_HOMES = {
    "Conditioning": "conditioning", "Entrance": "entrances", "Model": "model", "Path": "path", "Sampler": "sampling",
    "SamplingState": "sampling", "load": "loading",
}  # fmt: skip

__all__ = ["Conditioning", "Entrance", "Model", "Path", "Sampler", "SamplingState", "load"]

__getattr__ = late(__name__, _HOMES)
