"""How near an edited model comes to the gold standard, one that was trained from scratch without the concept: same prompts, same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from excise.evaluation.picture_cache import Judge
from excise.evaluation.quality import fid_estimate
from excise.results.evaluation import GoldDistances

Reading = Mapping[str, Tensor]
"""What the readers made of pictures, a row each; a `Judge`'s "answers" (n, heads) and "features" (n, d) among it."""


@dataclass(frozen=True)
class GoldGroup:
    """The pictures, by row, of the prompts about one concept; `target` if it is to be erased."""

    rows: Tensor
    target: bool


def distances(reading: Reading, gold: Reading, groups: Sequence[GoldGroup], judge: Judge) -> GoldDistances:
    """Distances of a model's pictures to those of the gold standard, row by row the same prompt and seed; 0 is the gold standard itself.

    target, kept  total variation between the shares of the classes that the pictures of a concept's prompts show, 0 to 1, mean over the
                  objects and the styles that the classifier tells apart and over concepts (ours). Few pictures a concept make it larger:
                  compare it only at the same number of pictures
    fid           Fréchet distance over all pictures, with its interval
    """
    heads = [index for index, name in enumerate(judge.classifier.names) if name != "member"]
    found: dict[str, float | None] = {}
    for name, target in (("target", True), ("kept", False)):
        apart = [
            total_variation(reading["answers"][group.rows, head], gold["answers"][group.rows, head])
            for group in groups
            if group.target is target
            for head in heads
        ]
        found[name] = sum(apart) / len(apart) if apart else None
    far = fid_estimate(gold[judge.key].double(), reading[judge.key].double(), paired=True)
    return GoldDistances(target=found["target"], kept=found["kept"], fid=far.figure)


def total_variation(one: Tensor, other: Tensor) -> float:
    """Half the summed differences between the shares of every class in two lists of classes, (n,) and (m,) integers: 0 to 1."""
    shares = [each.long().bincount(minlength=int(max(one.max(), other.max())) + 1) / len(each) for each in (one, other)]
    return float((shares[0] - shares[1]).abs().sum() / 2)
