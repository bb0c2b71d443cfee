"""The randomness of an attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from excise.attacks.cases import Case
from excise.models import Model
from excise.randomness import stream


@dataclass(frozen=True)
class Draws:
    """Random numbers that depend on the run's seed and on names alone, so that every model gets the same.

    What a case gets depends on its own context and seed too, and not on which other cases there are.
    """

    model: Model
    seed: int

    def generator(self, *names: object) -> Generator:
        """A CPU generator of these names."""
        return stream(self.seed, *map(str, names))

    def generators(self, cases: Sequence[Case], *names: object) -> list[Generator]:
        """A generator for each case."""
        return [self.generator(case.context, case.seed, *names) for case in cases]

    def noise(self, cases: Sequence[Case], *names: object) -> Tensor:
        """Standard normal latents of each case, (cases, c, h, w)."""
        return self.normal(self.generators(cases, *names))

    def normal(self, generators: Sequence[Generator]) -> Tensor:
        """The next standard normal latents of each generator, (generators, c, h, w)."""
        parts = [torch.randn(self.model.latent_shape, generator=generator) for generator in generators]
        return torch.stack(parts).to(self.model.device, self.model.dtype)
