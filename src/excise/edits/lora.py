"""Edits as a LoRA file: what diffusers and the common user interfaces load.

Such a file adds (alpha / rank) up @ down to the weights of modules that it names. No loader checks which model it is for.

kohya's dialect: alpha is the largest rank for all modules here, and `up` makes up for it in those of a smaller one: where alphas differ,
diffusers 0.42 loses those of attention (`_get_alpha_name` in loaders/lora_conversion_utils.py) and takes that of most modules instead.
diffusers' dialect: it has no alpha (most of its loaders refuse one), and some loaders take one module's rank for that of all; so all
modules have the same rank here, filled up with zeros, and the scale is 1 everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.edits.deltas import Delta, Dense, LowRank
from excise.edits.edit import Edit
from excise.finite import check_finite
from excise.models.dialects import Dialect, LoraNames
from excise.models.families import lora_names


@dataclass(frozen=True)
class LoRA:
    """Factors of an edit's changes.

    tensors  as the file has them: of each module up (out, rank), down (rank, in) and, in kohya's dialect, alpha; of convolutions
             (out, rank, 1, 1) and (rank, in, height, width); float32
    ranks    by canonical name of the weight
    dialect  whose names they have
    error    what was left out, relative to the whole change (Frobenius norms over all weights); 0 where that is rounding alone
    """

    tensors: Mapping[str, Tensor]
    ranks: Mapping[str, int]
    error: float
    dialect: Dialect

    @classmethod
    def of(cls, edit: Edit, rank: int | None = None, dialect: Dialect | None = None) -> LoRA:
        """The best factors of at most `rank`; None: as many as lose nothing but rounding.

        dialect  default what user interfaces expect for the edit's family

        Raises ValueError for changes that such a file cannot hold: of biases, norms and embeddings; FloatingPointError for what is not finite.
        """
        if others := [name for name in edit.deltas if not _is_product(name, edit.deltas[name])]:
            raise ValueError(
                f"a LoRA file holds changes of matrices and convolutions alone, and {edit.called} changes {len(others)} other tensors, such as "
                f"{others[0]}; write a whole model instead (excise apply)"
            )
        found = {name: _factors(delta, rank) for name, delta in edit.deltas.items()}
        ranks = {name: up.shape[1] for name, (up, *_) in found.items() if up.shape[1]}
        missed, whole = (sum(norms) for norms in zip(*(each[2:] for each in found.values()), strict=True)) if found else (0, 0)
        if not ranks or not whole:
            raise ValueError(f"{edit.called} changes nothing, so there is nothing to write")
        most, names = max(ranks.values()), lora_names(edit.manifest.family, dialect)
        tensors: dict[str, Tensor] = {}
        for name, own in ranks.items():
            up, down, *_ = found[name]
            parts = {names.up: up * (own / most), names.down: down, names.alpha: torch.tensor(float(most))}
            if names.alpha is None:
                parts = {names.up: _filled(up, 1, most), names.down: _filled(down, 0, most)}
            tensors |= {f"{_module(names, name, edit.called)}.{part}": tensor.contiguous() for part, tensor in parts.items()}
        return cls(tensors, ranks, (missed / whole) ** 0.5, names.dialect)


def _module(names: LoraNames, weight: str, called: str) -> str:
    """What a LoRA file calls the layer of a weight. Raises ValueError for a weight of no network that such files know."""
    try:
        return names.module(weight)
    except (LookupError, ValueError):
        raise ValueError(
            f"{called} changes {weight[:200]!r}, for which LoRA files in the dialect of {names.dialect} have no name; try the other dialect, "
            "or write a whole model instead (excise apply)"
        ) from None


def _filled(factor: Tensor, axis: int, rank: int) -> Tensor:
    """A factor with zeros up to a rank along an axis."""
    shape = list(factor.shape)
    shape[axis] = rank - shape[axis]
    return torch.cat([factor, factor.new_zeros(shape)], axis)


def _is_product(name: str, delta: Delta) -> bool:
    return name.endswith(".weight") and "embeddings." not in name and (isinstance(delta, LowRank) or delta.value.ndim in (2, 4))


def _factors(delta: Delta, rank: int | None) -> tuple[Tensor, Tensor, float, float]:
    """Up, down, and the squared norms of what they miss and of the whole change."""
    check_finite(delta.tensors("change"), "a change of the edit")
    if isinstance(delta, LowRank) and (rank is None or delta.up.shape[1] <= rank):
        up, down = delta.up.double(), delta.down.double()
        return delta.up.float(), delta.down.float(), 0.0, float(((up.T @ up) * (down @ down.T)).sum())
    u, s, v = _singular(delta)
    whole = float(s.square().sum())
    told = int((s > s[:1] * max(len(u), v.shape[1]) * torch.finfo(torch.float32).eps).sum())
    kept = told if rank is None else min(told, rank)
    root = s[:kept].sqrt()
    up, down = u[:, :kept] * root, root[:, None] * v[:kept]
    if len(delta.shape) == 4:
        up, down = up[..., None, None], down.unflatten(1, delta.shape[1:])
    return up.float(), down.float(), float(s[kept:told].square().sum()), whole


def _singular(delta: Delta) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of a change in float64; factors are not multiplied out, whatever shape they say the product has."""
    if isinstance(delta, Dense):
        return torch.linalg.svd(delta.value.double().flatten(1), full_matrices=False)
    (left, up), (right, down) = torch.linalg.qr(delta.up.double()), torch.linalg.qr(delta.down.double().T)
    u, s, v = torch.linalg.svd(up @ down.T, full_matrices=False)
    return left @ u, s, v @ right.T
