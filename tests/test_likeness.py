"""How like the truth a picture is, against formulas written by hand and properties of distances."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from excise.evaluation.classifier import Classifier
from excise.evaluation.likeness import judged_apart, psnr, ssim


def pictures(size: int = 16) -> Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_psnr() -> None:
    truth = 0.8 * pictures()
    assert torch.allclose(psnr(truth + 0.1, truth), torch.full((3,), 20.0, dtype=torch.float64), atol=1e-4)
    assert psnr(truth, truth).tolist() == [100.0] * 3
    mixed = torch.cat([truth[:1], truth[1:] + 0.01])
    assert [round(value) for value in psnr(mixed, truth).tolist()] == [100, 40, 40]


def test_ssim_against_its_formula() -> None:
    """Oracle: the window by hand, with borders that are mirrored."""
    one, other = pictures(32), (pictures(32) * 0.7 + 0.1).flip(0)
    axis = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
    window = (axis[:, None] * axis / axis.sum() ** 2).expand(3, 1, 11, 11)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), window, groups=3)

    a, b = mean(one), mean(other)
    variances = mean(one**2) - a**2, mean(other**2) - b**2, mean(one * other) - a * b
    expected = ((2 * a * b + 0.01**2) * (2 * variances[2] + 0.03**2)) / (
        (a**2 + b**2 + 0.01**2) * (variances[0] + variances[1] + 0.03**2)
    )
    assert torch.allclose(ssim(one, other), expected.mean((1, 2, 3)), atol=1e-4)
    assert torch.allclose(ssim(one, one), torch.ones(3))


def test_apart_for_the_classifier(tiny_canvas: Path) -> None:
    judge, truth = Classifier.load(tiny_canvas / "classifier.safetensors"), pictures()
    near, far = judged_apart(judge, truth + 0.01, truth), judged_apart(judge, truth.flip(3), truth)
    assert judged_apart(judge, truth, truth).tolist() == [0.0] * 3 and (near > 0).all() and (near < far).all()
    assert torch.allclose(judged_apart(judge, truth.flip(3), truth, batch=2), far) and far.max() <= 4
    assert torch.allclose(judged_apart(judge, truth, truth.flip(3)), far, atol=1e-6) and not math.isnan(float(far.sum()))
