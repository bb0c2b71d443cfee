"""From per-picture integrals to estimates with intervals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from excise.figures import Figure, NamedFigure
from excise.information import estimators
from excise.information.integrals import Contrast, Integrals
from excise.resampling import Estimate, bootstrap, interval, resample
from excise.results.information import Collateral, Curve, Densities, Forms, Reading

FLOOR = 0.01
"""Nats per picture below which information is never told from none (ours); the rewording control may raise it."""


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
        "destruction": None if shared is None else bootstrap(_mean, [shared.destruction], picks)[0].figure,
        "rest_loss": None if shared is None else bootstrap(_mean, [shared.rest_loss], picks)[0].figure,
    }
    return values, draws


def collateral(kept: dict[str, tuple[Figure | None, Tensor]]) -> Collateral | None:
    """Mean and worst of the shares that other concepts keep, from each one's figure and resamples; None if there are none.

    In the mean a share counts as at most 1: words that say more than before make up for no word that says less.
    """
    shares = [NamedFigure(concept=label, **dict(figure)) for label, (figure, _) in kept.items() if figure]
    if len(shares) < len(kept):
        return Collateral(kept=tuple(shares))
    if not shares:
        return None
    n = sum(share.n for share in shares)
    draws = torch.stack([draw.clamp(max=1) for _, draw in kept.values()]).mean(0)
    value = sum(min(1.0, share.value) for share in shares) / len(shares)
    fewest = min(share.n for share in shares)  # a single picture does not vary in its resamples: no interval
    low, high = interval(value, draws, fewest, degrees=n - len(shares))
    mean = Estimate(value, low, min(high, 1.0), n).figure
    return Collateral(mean=mean, worst=min(shares, key=lambda share: share.value), kept=tuple(shares))


def curve_of(found: Integrals, slices: Tensor, edges: Tensor) -> Curve:
    """The concept's curves in the bins whose ends are `edges` (bins + 1,); slices (n, k) are the nodes' places in 0–1."""
    bins = len(edges) - 1
    place = (slices * bins).long().clamp(max=bins - 1).flatten()
    widths = edges.diff()

    def density(values: Tensor) -> tuple[float, ...]:
        total = torch.zeros(bins, dtype=torch.float64).index_add(0, place, values.flatten().double())
        return tuple((total / len(slices) / widths).tolist())

    def densities(contrast: Contrast) -> Densities:
        return Densities(orthogonal=density(contrast.curve[..., 0]), plain=density(contrast.curve[..., 1]))

    edited = None if found.edited is None else densities(found.edited)
    return Curve(edges=tuple(edges.tolist()), base=densities(found.base), edited=edited)


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
    at_floor = orthogonal.value <= least and plain.low <= 0 <= plain.high
    vague = not (both.low > 0 or both.high < 0)
    return Forms(
        orthogonal=orthogonal.figure,
        plain=plain.figure,
        steering=None if at_floor or vague else steering.figure,
        floor=least,
        at_floor=at_floor,
    )


def _reading(
    found: Integrals, base: Contrast, edited: Contrast | None, shared: Tensor | None, picks: Tensor
) -> tuple[Reading, Tensor | None]:
    before = _forms(base, found.base_floor, picks)
    if edited is None or shared is None:
        return Reading(base=before), None
    after = _forms(edited, found.edited_floor, picks)
    if before.orthogonal is None or before.orthogonal.value <= FLOOR:
        return Reading(base=before, edited=after), None
    share, draws = bootstrap(_ratio, [edited.orthogonal, base.orthogonal], picks)
    steering, _ = bootstrap(_direct, [shared, base.orthogonal], picks)
    alignment, _ = bootstrap(_cosine, [shared, edited.orthogonal, base.orthogonal], picks)
    reading = Reading(
        base=before,
        edited=after,
        share_left=share.figure,
        steering=steering.figure,
        alignment=None if after.at_floor else alignment.figure,
    )
    return reading, draws
