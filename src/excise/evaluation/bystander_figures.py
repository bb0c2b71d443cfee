"""What became of the things that no method was told of: whether they are still recognised, and how far their pictures moved."""

from __future__ import annotations

import math
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
    before, after, n = base.double(), edited.double(), len(prompts)
    moved = (after - before).square().sum(1)
    unlike = torch.tensor([[one != other for other in prompts] for one in prompts]).double()
    apart = torch.cdist(before, before, compute_mode="donot_use_mm_for_euclid_dist").square() * unlike

    def ratio(times: Tensor) -> Tensor:
        """The figure where picture i counts times[r, i] times, (r,)."""
        return times @ moved / n / (((times @ apart) * times).sum(1) / ((times @ unlike) * times).sum(1))

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
