"""A restorer as small as the tiny models, with random weights: what it says counts."""

from __future__ import annotations

import torch

from excise.models import Model
from excise.restoration.restorer import Restorer
from excise.restoration.restorer_settings import RestorerSettings

SMALL = RestorerSettings(width=8, multipliers=(1,), blocks=1, heads=0, features=8, hidden=4, levels=(0,), dense=0, growth=4)


def taught(model: Model, seed: int = 0) -> Restorer:
    """A restorer with random weights everywhere, so that the low picture counts."""
    restorer, random = Restorer.new(model, SMALL, seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in restorer.networks.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * (0.5 / parameter[0].numel() ** 0.5))
    return restorer
