"""Rounding revival: weights in 8 or 4 bits. In language models that restores what was unlearned (arXiv 2410.16454).

No study of it for pictures is known. Rounding is unbiased over spread-out weights, so it hides an update in noise and does not
revert it. Two numbers tell, and are reported: the share of weights that the erasure moved to another bin, and the projection of
the rounded change on the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from excise.attacks.rounding import RoundingSettings
from excise.attacks.victim import Victim
from excise.edits import original_tensors
from excise.models import Model
from excise.models.fingerprint import named_tensors


def attack(victim: Victim, settings: RoundingSettings) -> None:
    """Ask the prompts at their own seeds, with rounded weights."""
    cost, changes = victim.budget.cost(), []
    for bits in victim.budget.tries(settings.bits, [cost] * len(settings.bits)):
        cases = victim.affordable(cost)
        if not cases:
            break
        changes.append({"bits": bits, **change(victim.model, bits)})
        with coarse(victim.model, bits):
            latents = victim.ask(cases)
        victim.submit(cases, latents, {"bits": bits})
    victim.facts["rounding"] = changes


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Round each row of a matrix or convolution to the nearest multiples of its largest weight / (2^(bits - 1) - 1)."""
    numbers, step = bins(weight, bits)
    return (numbers * step).view_as(weight).to(weight.dtype)


def bins(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The nearest multiple of each row's step as its number (rows, others), and the steps (rows, 1)."""
    flat = weight.flatten(1).float()
    step = flat.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    step = torch.where(step == 0, torch.ones_like(step), step)
    return (flat / step).round(), step


@contextmanager
def coarse(model: Model, bits: int) -> Iterator[None]:
    """The model's matrices and convolutions are rounded inside the block."""
    parameters = {name: parameter for name, parameter in named_tensors(model).items() if parameter.ndim > 1}
    before = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for parameter in parameters.values():
            parameter.data = rounded(parameter.data, bits)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = before[name]


def change(model: Model, bits: int) -> dict[str, float]:
    """What rounding does to the edit: share of weights moved to another bin, and <dQ, dW> / ||dW||^2. Empty where no weight was changed."""
    after, moved, total, inner, norm = named_tensors(model), 0, 0, 0.0, 0.0
    for name, before in original_tensors(model).items():
        if before.ndim < 2 or before is after[name]:
            continue
        (old, old_step), (new, new_step) = bins(before.data, bits), bins(after[name].data, bits)
        step = (after[name].data - before.data).float().flatten(1)
        moved, total = moved + int((old != new).sum()), total + step.numel()
        inner += float((step * (new * new_step - old * old_step)).sum())
        norm += float(step.square().sum())
    return {"share_moved": moved / total, "projection": inner / norm} if norm else {}
