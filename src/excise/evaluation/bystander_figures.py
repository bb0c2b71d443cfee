"""What became of the things that no method was told of: whether they are still recognised, and how far their pictures moved."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from excise.evaluation.picture_cache import Judge, to_answers
from excise.evaluation.prompt_grid import Question
from excise.evaluation.shares import Share, counted, mean_share
from excise.randomness import seeded
from excise.resampling import Estimate, interval, resample
from excise.results.evaluation import ConceptShares


def bystander_figures(
    asked: Sequence[Question], base: Mapping[str, Tensor], edited: Mapping[str, Tensor], judge: Judge
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of `results.evaluation` about them, of the base model (`Figures`) and of the edited one (`Evaluation`).

    base, edited  what the judge read in pictures of the same prompts and seeds, a row for each question
    """
    before, after = (_shares(asked, found["answers"], judge) for found in (base, edited))
    shown, left = mean_share(before.values()), mean_share(after.values())
    assert shown and left
    change = feature_change([question.item.prompt for question in asked], base[judge.key], edited[judge.key])
    return {"bystanders": shown}, {
        "bystanders": left,
        "bystanders_of_base": min(1.0, left.value / shown.value) if shown.value else None,
        "bystander_change": change.figure if change else None,
        "each_bystander": tuple(
            ConceptShares(concept=label, base=before[label].value, edited=share.value, n=share.n)
            for label, share in after.items()
        ),
    }


def feature_change(prompts: Sequence[str], base: Tensor, edited: Tensor) -> Estimate | None:
    """How far pictures moved as a classifier sees them (ours): the mean squared distance between the features of the edited and the base
    model's picture of one prompt and seed, over the mean squared distance between the base model's pictures of different prompts.

    0: no picture changed. 1: a picture is as far from what it was as from a picture of something else. It may be larger. Nothing is rooted: so
    1 minus the figure is the correlation of the pictures with what they were, as long as they vary as much.

    prompts      of the pictures, n
    base, edited (n, d) features, a row each

    The interval is of resampled pictures. None where no two prompts differ, or no two pictures do.
    """
    n, before = len(prompts), base.double()
    centred, moved = before - before[0], (edited.double() - before).square().sum(1)
    lengths = centred.square().sum(1)
    alike = defaultdict(list)
    for number, prompt in enumerate(prompts):
        alike[prompt].append(number)

    def distances(times: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of all pairs of these pictures, both ways round: how many, and the sum of their squared distances, (r,) each."""
        counts = times[:, rows]
        weight = counts.sum(1)
        return weight.square(), 2 * (weight * (counts @ lengths[rows]) - (counts @ centred[rows]).square().sum(1))

    def ratio(times: Tensor) -> Tensor:
        """The figure where picture i counts times[r, i] times, (r,)."""
        pairs, apart = distances(times, torch.arange(n))
        for rows in alike.values():
            same = distances(times, torch.tensor(rows))
            pairs, apart = pairs - same[0], apart - same[1]
        return times @ moved / n / torch.where(pairs > 0, apart / pairs, torch.nan)

    if not centred.any():
        return None
    value = float(ratio(torch.ones(1, n, dtype=torch.float64)))
    if not math.isfinite(value):
        return None
    picks = resample(n, seeded(0))
    draws = ratio(torch.zeros(picks.shape, dtype=torch.float64).scatter_add_(1, picks, torch.ones_like(picks).double()))
    low, high = interval(value, draws, n)
    return Estimate(value, max(0.0, low), high, n)


def _shares(asked: Sequence[Question], answers: Tensor, judge: Judge) -> dict[str, Share]:
    """By label, in the order in which they were asked for."""
    classifier, hits = judge.classifier, dict[str, list[bool]]()
    for question, said in zip(asked, to_answers(classifier, answers), strict=True):
        for head, name, label in question.shows:
            hits.setdefault(label, []).append(classifier.names[head][said[head]] == name)
    return counted(hits)
