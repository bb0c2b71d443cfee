"""What a layer did in which pictures attend to text alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Attended:
    """A forward pass through one such layer, with gradients.

    value        canonical name of the weight that makes the values
    query        (b, pixels, heads d)
    key          (b, tokens, heads d)
    read         (b, pixels, heads d), what every head reads: probabilities times values
    heads, scale numbers of the layer
    mask         (b, 1, tokens), added to the scores: very negative for tokens that do not count; None: all count
    """

    value: str
    query: Tensor
    key: Tensor
    read: Tensor
    heads: int
    scale: float
    mask: Tensor | None = None

    def probabilities(self) -> Tensor:
        """softmax(scale q k^T) over tokens, (b, heads, pixels, tokens)."""
        query, key = (self.by_head(part) for part in (self.query, self.key))
        scores = self.scale * query @ key.transpose(2, 3)
        return (scores if self.mask is None else scores + self.mask[:, None]).softmax(3)

    def by_head(self, rows: Tensor) -> Tensor:
        """(b, n, heads d) -> (b, heads, n, d)."""
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)
