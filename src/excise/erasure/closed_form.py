"""Closed-form edits: one small solve in float64 for all the matrices that read the text.

Every edit of this family acts on the text side. A weight W (out, in) becomes W + (change of its outputs) @ gain, where the gain (rows, in)
is the same for all weights, so it is factorised once; and when the wanted outputs are those of other embeddings, the whole edit is one map
of the text embeddings, W (I + left @ right), and its rank is at most the number of edited rows.

Embeddings are rows here: (rows, in) float64. Sources: UCE arXiv 2308.14761, RECE 2407.12383, CURE 2505.12677; low-rank forms derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from excise.edits import Delta, Dense, LowRank

ROUNDING = 1e-10
"""Directions of a map this much weaker than its strongest are rounding and are not stored (float32 itself resolves 6e-8)."""


@dataclass(frozen=True)
class TextMap:
    """W -> W (I + left @ right) for every weight W that reads the text: left (in, r), right (r, in), float64."""

    left: Tensor
    right: Tensor

    @classmethod
    def identity(cls, width: int) -> TextMap:
        """The map that changes nothing."""
        empty = torch.zeros(width, 0, dtype=torch.float64)
        return cls(empty, empty.T)

    @property
    def rank(self) -> int:
        """Number of columns of `left`: at least the rank of the change."""
        return self.left.shape[1]

    def change(self) -> Tensor:
        """left @ right, (in, in)."""
        return self.left @ self.right

    def apply(self, rows: Tensor) -> Tensor:
        """What edited weights take `rows` (n, in) for: W (I + left @ right) x = W apply(x)."""
        return rows + (rows @ self.right.T) @ self.left.T

    def pull(self, matrix: Tensor) -> Tensor:
        """(I + left @ right)^T matrix, for a matrix (in, n): a change of rank r for the price of r rows."""
        return matrix + self.right.T @ (self.left.T @ matrix)

    def then(self, later: TextMap) -> TextMap:
        """The map of an edit made on weights that already carry this one: W (I + this) (I + later)."""
        left = later.left + self.left @ (self.right @ later.left)
        return TextMap(torch.cat([self.left, left], 1), torch.cat([self.right, later.right]))

    def compact(self) -> TextMap:
        """The same map with as few columns as its rank, orthonormal rows in `right`, nothing else lost than rounding."""
        q, r = torch.linalg.qr(self.left)
        p, s = torch.linalg.qr(self.right.T)
        u, values, vh = torch.linalg.svd(r @ s.T)
        keep = values > ROUNDING * values[:1]
        return TextMap(q @ (u * values)[:, keep], vh[keep] @ p.T)

    def deltas(self, weights: Mapping[str, Tensor]) -> dict[str, Delta]:
        """The change of every weight (out, in or more: only the first columns read the text): low-rank where that is smaller than dense.

        Weights that do not change are left out.
        """
        width = len(self.left)
        if self.rank >= width:
            change = self.change()
            if not change.any():
                return {}
            return {name: Dense(_widened((wide[:, :width] @ change).float(), wide)) for name, wide in doubled(weights)}
        small = self.compact()
        return deltas(weights, lambda weight: weight @ small.left, small.right) if small.rank else {}


def deltas(weights: Mapping[str, Tensor], outputs: Callable[[Tensor], Tensor], gain: Tensor) -> dict[str, Delta]:
    """The change outputs(W) @ gain of every weight, float32, stored as the two factors where they are smaller.

    weights  name -> (out, in or more), any float dtype and device; only the first `in` columns read the text
    outputs  W (out, in) in float64 on the CPU -> change of its outputs, (out, rows)
    gain     (rows, in)
    """
    basis, factor = torch.linalg.qr(gain.T)  # orthonormal rows: rounding a factor to float32 costs 1e-7 of the change, no more
    down = basis.T.float().contiguous()
    found: dict[str, Delta] = {}
    for name, wide in doubled(weights):
        up = outputs(wide[:, : gain.shape[1]]) @ factor.T
        low_rank = len(down) * sum(wide.shape) < wide.numel()
        found[name] = LowRank(up.float(), _widened(down, wide)) if low_rank else Dense(_widened((up @ basis.T).float(), wide))
    return found


def redirect(rows: Tensor, guides: Tensor, strength: Tensor, keep: Tensor, keep_strength: Tensor, ridge: float) -> TextMap:
    """The map after which every row gives what its guide gave, in ridge-regularised least squares (UCE).

    Minimises, for every weight W0 at once, sum e ||W r - W0 g||^2 + sum p ||W q - W0 q||^2 + ridge ||W - W0||^2 over W.

    rows, guides   (n, in) edited embeddings r and, in the same order, their guides g
    strength       (n,) >= 0, e of every row
    keep           (m, in) embeddings q whose outputs must not move; m may be 0
    keep_strength  (m,) >= 0, p of every kept row
    ridge          > 0, or 0 with at least `in` independent rows

    Raises ValueError for unequal row counts, a negative ridge, or a ridge of 0 with too few rows.
    """
    if rows.shape != guides.shape:
        raise ValueError(f"{len(rows)} rows to redirect but {len(guides)} guides; each row needs its own")
    if len(rows) < rows.shape[1]:
        return TextMap((guides - rows).T, gain(rows, strength, keep, keep_strength, ridge))
    pull = (strength[:, None] * rows).T @ (guides - rows)  # more rows than directions: sum over rows first, then solve
    change = torch.cholesky_solve(pull, _factor(_stack(rows, strength, keep, keep_strength), ridge)).T
    return TextMap(change, torch.eye(len(change), dtype=change.dtype))


def gain(rows: Tensor, strength: Tensor, keep: Tensor, keep_strength: Tensor, ridge: float) -> Tensor:
    """E C A^-1, (n, in): W + (v - W C^T) @ gain is the W of `redirect` for any wanted outputs v (out, n).

    A = ridge I + C^T E C + Q^T P Q. With few rows the equivalent system of as many unknowns as rows is solved instead.
    """
    stack = _stack(rows, strength, keep, keep_strength)
    if 2 * len(stack) > stack.shape[1]:
        return torch.cholesky_solve((strength[:, None] * rows).T, _factor(stack, ridge)).T
    solved = torch.cholesky_solve(stack, _factor(stack.T, ridge, unknowns=stack.shape[1]))
    return strength.sqrt()[:, None] * solved[: len(rows)]


def _widened(part: Tensor, like: Tensor) -> Tensor:
    """A matrix (k, in) with zeros in the columns that it lacks of a weight (out, in or more)."""
    more = like.shape[1] - part.shape[1]
    return nn.functional.pad(part, (0, more)) if more else part


def gram(weights: Mapping[str, Tensor], width: int) -> Tensor:
    """Sum of W^T W over all weights, of their first `width` columns, (width, width) float64."""
    total: Tensor | None = None
    for _, weight in doubled(weights):
        wide = weight[:, :width]
        total = wide.T @ wide if total is None else total.addmm_(wide.T, wide)
    if total is None:
        raise ValueError("no weights to sum over")
    return total


def doubled(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Every weight as the solves need it, float64 on the CPU, one after the other in the same memory: use it before the next."""
    memory = torch.empty(max((weight.numel() for weight in weights.values()), default=0), dtype=torch.float64)
    for name, weight in weights.items():
        yield name, memory[: weight.numel()].view(weight.shape).copy_(weight.detach().cpu())


def _stack(rows: Tensor, strength: Tensor, keep: Tensor, keep_strength: Tensor) -> Tensor:
    """All rows, each times the root of its strength."""
    return torch.cat([strength.sqrt()[:, None] * rows, keep_strength.sqrt()[:, None] * keep])


def _factor(stack: Tensor, ridge: float, unknowns: int | None = None) -> Tensor:
    """Cholesky factor of ridge I + stack^T stack. `unknowns`: width of the embeddings, where `stack` is transposed."""
    unknowns = unknowns or stack.shape[1]
    rows = sum(stack.shape) - unknowns
    if ridge < 0 or (ridge == 0 and rows < unknowns):
        raise ValueError(
            f"a ridge of {ridge:g} with {rows} rows for {unknowns} directions has no unique solution; use a ridge > 0"
        )
    matrix = stack.T @ stack
    matrix.diagonal().add_(ridge)
    factor, problem = torch.linalg.cholesky_ex(matrix)
    if problem:
        raise ValueError(f"the rows are linearly dependent and the ridge of {ridge:g} does not help; use a larger ridge")
    return factor
