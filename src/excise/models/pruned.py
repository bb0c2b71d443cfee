"""A network from which whole blocks were taken."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class PrunedNetwork:
    """What is left of a denoiser.

    network what is left, with the weights that it had
    removed what was taken out, in words, in the order in which it went
    before  parameters of the whole one; after: of what is left
    """

    network: nn.Module
    removed: tuple[str, ...]
    before: int
    after: int

    @property
    def share(self) -> float:
        """Of the parameters that are left, 0–1."""
        return self.after / self.before
