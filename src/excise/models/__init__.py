"""A diffusion model as the rest of the package sees it: loading, prompts, predictions, schedule, sampling."""

from excise.models.loading import load
from excise.models.model import Model, Sampler, SamplingState
from excise.models.schedule import Schedule

__all__ = ["Model", "Sampler", "SamplingState", "Schedule", "load"]
