"""How like the truth a restored picture is: per picture, so that two ways to restore it can be compared in pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from excise.evaluation.classifier import Classifier

MOST = 100.0
"""PSNR in dB of a picture that is the truth, where it would be infinite (ours)."""


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures (n, 3, h, w) in 0–1, (n,) float64."""
    error = (found.double() - truth.double()).square().mean((1, 2, 3))
    return -10 * error.clamp_min(10 ** (-MOST / 10)).log10()


def ssim(found: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of pictures (n, 3, h, w) in 0–1, at most 1: Gaussian window of 11 pixels, as torchmetrics computes it; (n,)."""
    return structural_similarity_index_measure(found, truth, data_range=1.0, reduction="none")  # type: ignore[return-value]


@torch.no_grad()
def judged_apart(classifier: Classifier, found: Tensor, truth: Tensor, batch: int = 64) -> Tensor:
    """A distance of the form of LPIPS in the maps of a model's own classifier, (n,); 0 is the same. It is not LPIPS.

    Every pixel's channels are brought to length 1, squared differences are added over channels, and pixels and maps count alike. It can be
    measured where no published weights are at hand, of pictures (n, 3, size, size) in 0–1 that the classifier takes.
    """
    return torch.cat([_apart(classifier, *some) for some in zip(found.split(batch), truth.split(batch), strict=True)])


def _apart(classifier: Classifier, found: Tensor, truth: Tensor) -> Tensor:
    pairs = zip(classifier.maps(found), classifier.maps(truth), strict=True)
    apart = [(F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2)) for a, b in pairs]
    return torch.stack(apart).mean(0)
