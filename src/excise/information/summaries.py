"""From per-picture integrals to estimates with intervals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from excise.information import estimators
from excise.information.integrals import Contrast, Integrals
from excise.information.measurement import FLOOR, Collateral, Curve, Forms, Reading
from excise.resampling import Estimate, bootstrap, interval, resample


def summarise(found: Integrals, random: Generator) -> tuple[dict[str, Any], Tensor | None]:
    """The estimates of one concept as fields of `ConceptReading`, and the share left in every resample (None without an edit)."""
    picks = resample(len(found.base.orthogonal), random)
    shared = found.comparison
    conditional, draws = _reading(found, found.base, found.edited, None if shared is None else shared.shared, picks)
    unconditional, _ = _reading(
        found, found.base_empty, found.edited_empty, None if shared is None else shared.shared_empty, picks
    )
    values = {
        "conditional": conditional,
        "unconditional": unconditional,
        "destruction": None if shared is None else bootstrap(_mean, [shared.destruction], picks)[0],
        "rest_loss": None if shared is None else bootstrap(_mean, [shared.rest_loss], picks)[0],
    }
    return values, draws


def collateral(kept: dict[str, tuple[Estimate, Tensor]]) -> Collateral | None:
    """Mean and worst of the shares that other concepts keep, from each one's estimate and resamples; None if there are none.

    In the mean a share counts as at most 1: words that say more than before make up for no word that says less.
    """
    if not kept:
        return None
    shares = {label: estimate for label, (estimate, _) in kept.items()}
    n = sum(estimate.n for estimate in shares.values())
    draws = torch.stack([draw.clamp(max=1) for _, draw in kept.values()]).mean(0)
    value = sum(min(1.0, estimate.value) for estimate in shares.values()) / len(shares)
    fewest = min(estimate.n for estimate in shares.values())  # a single picture does not vary in its resamples: no interval
    low, high = interval(value, draws, fewest, degrees=n - len(shares))
    return Collateral(shares, Estimate(value, low, min(high, 1.0), n), min(shares, key=lambda label: shares[label].value))


def curve_of(found: Integrals, slices: Tensor, edges: Tensor) -> Curve:
    """The concept's curves in the bins whose ends are `edges` (bins + 1,); slices (n, k) are the nodes' places in 0–1."""
    bins = len(edges) - 1
    place = (slices * bins).long().clamp(max=bins - 1).flatten()
    widths = edges.diff()

    def density(values: Tensor) -> tuple[float, ...]:
        total = torch.zeros(bins, dtype=torch.float64).index_add(0, place, values.flatten().double())
        return tuple((total / len(slices) / widths).tolist())

    contrasts = {"base": found.base, "edited": found.edited}
    curves = {
        f"{name} {form}": density(contrast.curve[..., column])
        for name, contrast in contrasts.items()
        if contrast is not None
        for column, form in enumerate(("orthogonal", "plain"))
    }
    return Curve(tuple(edges.tolist()), curves)


def _mean(values: Tensor) -> Tensor:
    return values.mean(-1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.sum(-1) / denominator.sum(-1)


def _direct(shared: Tensor, base: Tensor) -> Tensor:
    return estimators.steering_direct(shared.sum(-1), base.sum(-1))


def _cosine(shared: Tensor, edited: Tensor, base: Tensor) -> Tensor:
    return estimators.alignment(shared.sum(-1), edited.sum(-1), base.sum(-1))


def _blind(plain: Tensor, orthogonal: Tensor) -> Tensor:
    return estimators.steering_blind(plain.sum(-1), orthogonal.sum(-1))


def _forms(contrast: Contrast, floor: Contrast | None, picks: Tensor) -> Forms:
    orthogonal, _ = bootstrap(_mean, [contrast.orthogonal], picks)
    plain, _ = bootstrap(_mean, [contrast.plain], picks)
    steering, _ = bootstrap(_blind, [contrast.plain, contrast.orthogonal], picks)
    both, _ = bootstrap(_mean, [contrast.plain + contrast.orthogonal], picks)
    least = max(FLOOR, 0.0 if floor is None else float(floor.orthogonal.mean()))
    forms = Forms(orthogonal, plain, steering, least)
    vague = not (both.low > 0 or both.high < 0)
    return Forms(orthogonal, plain, None, least) if forms.at_floor or vague else forms


def _reading(
    found: Integrals, base: Contrast, edited: Contrast | None, shared: Tensor | None, picks: Tensor
) -> tuple[Reading, Tensor | None]:
    before = _forms(base, found.base_floor, picks)
    if edited is None or shared is None:
        return Reading(before), None
    after = _forms(edited, found.edited_floor, picks)
    if before.orthogonal.value <= FLOOR:
        return Reading(before, after), None
    share, draws = bootstrap(_ratio, [edited.orthogonal, base.orthogonal], picks)
    steering, _ = bootstrap(_direct, [shared, base.orthogonal], picks)
    alignment, _ = bootstrap(_cosine, [shared, edited.orthogonal, base.orthogonal], picks)
    return Reading(before, after, share, steering, None if after.at_floor else alignment), draws
