"""How much the pictures of what is to be kept have changed: against the base model's own pictures, and against real ones.

FID and KID compare two sets of feature vectors. FID of few pictures is biased upwards, by an amount that depends on their number and on the
features: compare it only at the same number, with the same features, and prefer KID, which is unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from excise.evaluation.features import Clip, FeatureNetwork, folder_features, load_network
from excise.evaluation.lpips import Lpips
from excise.evaluation.picture_cache import Judge, Reader, Thumbnails
from excise.evaluation.weights import find
from excise.figures import Figure
from excise.files import at_home
from excise.finite import check_finite
from excise.randomness import seeded
from excise.resampling import Estimate, bootstrap, resample
from excise.statistics import Z95, student_quantile

RESAMPLES = 100
WIDEST = 800
"""Most features for which FID is resampled: each one costs an eigenvalue problem of that size."""

BLOCK = 1000
"""Pictures in a block of KID where there are more than two blocks of them: the matrix of all pairs is never held."""

ENOUGH = 2048
"""Fewer pictures than this make FID's covariance singular for Inception's features."""


@dataclass(frozen=True)
class QualityOptions:
    """What to compare the kept pictures with, beside the base model's.

    features what FID and KID are measured on: "classifier" (the model's own), "inception" or "clip"
    real     a folder of real pictures
    inception, clip, lpips  paths of the weights; CLIP also gives the CLIP score
    """

    features: str = "classifier"
    real: str | Path | None = None
    inception: str | Path | None = None
    clip: str | Path | None = None
    lpips: str | Path | None = None

    def load(self) -> Instruments:
        """Read the weights. Raises ValueError, MissingWeightsError or FileNotFoundError before any picture is made."""
        if self.features not in ("classifier", "inception", "clip"):
            raise ValueError(f"unknown features {self.features!r}; known: classifier, inception, clip")
        if self.real is not None and not at_home(self.real).is_dir():
            raise FileNotFoundError(f"no such folder of real pictures: {self.real}")
        clip = load_network("clip", self.clip) if self.clip is not None or self.features == "clip" else None
        assert clip is None or isinstance(clip, Clip)
        network = load_network("inception", self.inception) if self.features == "inception" else None
        return Instruments(
            clip if self.features == "clip" else network,
            clip,
            Lpips(find("lpips", {"lpips": self.lpips})) if self.lpips is not None else None,
            at_home(self.real) if self.real is not None else None,
        )


@dataclass(frozen=True)
class Instruments:
    """Loaded networks; `network` None means the classifier's own features."""

    network: FeatureNetwork | None = None
    clip: Clip | None = None
    lpips: Lpips | None = None
    real: Path | None = None

    def readers(self) -> list[Reader]:
        """What must see every picture, beside the classifier."""
        return [Thumbnails(), *dict.fromkeys(reader for reader in (self.network, self.clip) if reader)]

    def compare(
        self, prompts: Sequence[str], base: Mapping[str, Tensor], edited: Mapping[str, Tensor], judge: Judge, size: int
    ) -> Quality:
        """Compare what the readers made of base and edited pictures of the same prompts and seeds, a row each.

        size  edge that real pictures are brought to, in pixels
        """
        network = self.network or judge
        a, b = base[network.key].double(), edited[network.key].double()
        small = base["thumbnails"].float() / 255, edited["thumbnails"].float() / 255
        found = {
            "fid_base": fid_estimate(a, b, paired=True),
            "kid_base": kid_estimate(a, b, paired=True),
            "pixel_change": mean_estimate((small[0] - small[1]).abs().mean((1, 2, 3))),
        }
        before: dict[str, Estimate] = {}
        about: dict[str, Any] = {**network.about, "n": len(a), "dimensions": a.shape[1], "pixels": small[0].shape[-1]}
        if self.lpips:
            found["lpips"] = mean_estimate(self.lpips(*small))
            about |= self.lpips.about
        if self.real:
            real = folder_features(self.real, network, size).double()
            for vectors, where in ((a, before), (b, found)):
                where["fid_real"] = fid_estimate(real, vectors)
                where["kid_real"] = kid_estimate(real, vectors)
            about |= {"real": str(self.real), "n_real": len(real)}
        if self.clip:
            for read, where in ((base, before), (edited, found)):
                where["clip_score"] = mean_estimate(self.clip.scores(prompts, read[self.clip.key]))
            about |= {"clip": self.clip.about, "prompts_cut": self.clip.cut(prompts), "clip_score_scale": "cosine"}
        return Quality(found, before, {**about, "caveat": caveat(len(a), a.shape[1])})


@dataclass(frozen=True)
class Quality:
    """Figures of the edited and of the base model by their names in `results.evaluation.Figures`, and what makes them.

    made_by  features, numbers of pictures, weights, a caveat
    """

    figures: Mapping[str, Estimate]
    of_base: Mapping[str, Estimate] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def edited(self) -> dict[str, Figure | None]:
        """Every figure of the edited model that was measured."""
        return {name: estimate.figure for name, estimate in self.figures.items()}

    def base(self) -> dict[str, Figure | None]:
        """The same of the base model, where it has such a figure."""
        return {name: estimate.figure for name, estimate in self.of_base.items()}


def fid(one: Tensor, other: Tensor) -> float:
    """Fréchet distance of two sets of feature vectors, (n, d) and (m, d), as torchmetrics computes it in double precision.

    Raises ValueError for fewer than two vectors.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # half as long to import as all the rest, and few runs need it

    _check(one, other)
    network = torch.nn.Identity()
    network.num_features = one.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=network)
    metric.update(one.double(), real=True)
    metric.update(other.double(), real=False)
    return max(0.0, float(metric.compute()))


def kid(one: Tensor, other: Tensor, *, paired: bool = False) -> float:
    """Unbiased squared MMD of two sets of feature vectors with the kernel (x·y/d + 1)³ (arXiv:1801.01401); may be negative.

    paired  row i of both sets belongs together (same prompt and seed) and is not compared with its own partner, which is no independent
            draw: the estimate stays unbiased, and is 0 where nothing changed

    Raises ValueError for fewer than two vectors.
    """
    _check(one, other, paired)
    ones = (torch.ones(1, len(x), dtype=torch.float64) for x in (one, other))
    return float(_mmd(one, other, *ones, paired=paired))


def fid_estimate(one: Tensor, other: Tensor, *, paired: bool = False, resamples: int = RESAMPLES) -> Estimate:
    """FID with an interval of 1.96 bootstrap standard errors; the bias of few pictures is not in it.

    paired  row i of both sets belongs together (same prompt and seed) and is resampled together
    """
    _check(one, other, paired)
    value = fid(one, other)
    if one.shape[1] > WIDEST or torch.equal(one, other):
        width = math.nan if one.shape[1] > WIDEST else 0.0
    else:
        generator = seeded(0)
        draws = [fid(one[i], other[j]) for i, j in _picks(len(one), len(other), paired, resamples, generator)]
        width = Z95 * float(torch.tensor(draws).std())
    return Estimate(value, max(0.0, value - width) if width == width else width, value + width, len(other))


def kid_estimate(one: Tensor, other: Tensor, *, paired: bool = False, resamples: int = RESAMPLES) -> Estimate:
    """KID with an interval of 1.96 bootstrap standard errors; of many pictures the mean over blocks of 1,000, with Student's interval."""
    n = min(len(one), len(other))
    if n >= 2 * BLOCK:
        generator = seeded(0)
        order = [torch.randperm(len(x), generator=generator) for x in (one, other)]
        if paired:
            order[1] = order[0]
        blocks = [(one[order[0][s : s + BLOCK]], other[order[1][s : s + BLOCK]]) for s in range(0, n - BLOCK + 1, BLOCK)]
        values = torch.tensor([kid(a, b, paired=paired) for a, b in blocks])
        value = float(values.mean())
        width = student_quantile(0.975, len(values) - 1) * float(values.std()) / math.sqrt(len(values))
        return Estimate(value, value - width, value + width, len(blocks) * BLOCK)
    value = kid(one, other, paired=paired)
    weights = [torch.zeros(resamples, len(x), dtype=torch.float64) for x in (one, other)]
    generator = seeded(0)
    for row, (i, j) in enumerate(_picks(len(one), len(other), paired, resamples, generator)):
        for weight, pick in zip(weights, (i, j), strict=True):
            weight[row] = torch.bincount(pick, minlength=weight.shape[1])
    width = Z95 * float(_mmd(one, other, *weights, paired=paired).std())
    return Estimate(value, value - width, value + width, len(other))


def mean_estimate(values: Tensor) -> Estimate:
    """Mean of per-picture values (n,) with its bootstrap interval."""
    picks = resample(len(values), seeded(0))
    return bootstrap(lambda x: x.mean(-1), [values.double()], picks)[0]


def caveat(n: int, dimensions: int) -> str:
    """What a reader of an FID of n pictures must know; empty where there are enough."""
    if n > max(ENOUGH, 10 * dimensions):
        return ""
    return f"FID of {n} pictures in {dimensions} dimensions is biased upwards: compare it only at the same n, and prefer KID"


def _picks(n: int, m: int, paired: bool, resamples: int, generator: Generator) -> list[tuple[Tensor, Tensor]]:
    first = resample(n, generator, resamples)
    second = first if paired else resample(m, generator, resamples)
    return list(zip(first, second, strict=True))


def _mmd(one: Tensor, other: Tensor, u: Tensor, v: Tensor, *, paired: bool) -> Tensor:
    """Unbiased squared MMD in which vector i counts u[r, i] times and vector j v[r, j] times, (r,).

    A vector is never compared with itself, nor with its copies in a resample: the kernel is largest there, and that is no distance.
    """
    a, b = one.double(), other.double()

    def mean(x: Tensor, y: Tensor, left: Tensor, right: Tensor, distinct: bool) -> Tensor:
        total, pairs = left.sum(1) * right.sum(1), torch.zeros(len(left), dtype=torch.float64)
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            pairs += ((left[:, rows] @ _cubed(x[rows] @ y.T, x.shape[1])) * right).sum(1)
        if distinct:
            same = left * right
            total, pairs = total - same.sum(1), pairs - same @ _cubed((x * y).sum(1), x.shape[1])
        return pairs / total

    return mean(a, a, u, u, True) + mean(b, b, v, v, True) - 2 * mean(a, b, u, v, paired)


def _cubed(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _check(one: Tensor, other: Tensor, paired: bool = False) -> None:
    if paired and len(one) != len(other):
        raise ValueError(f"paired sets must be of one size, got {len(one)} and {len(other)}")
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(f"need two sets of at least two vectors of one width, got {tuple(one.shape)} and {tuple(other.shape)}")
    largest = one.double().abs().max() * other.double().abs().max()
    check_finite(
        16 * one.shape[1] * largest.square(), "the product of the features' covariances", "FID and KID cannot be computed"
    )
