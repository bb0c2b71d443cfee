"""Bfloat16 arithmetic on processors without it: the same roundings as torch's autocast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from excise.models import load, precision

F = nn.functional


def whole(*shape: int, seed: int = 0) -> Tensor:
    """Whole numbers, most of which bfloat16 (8 bits) rounds, and whose sums of products float32 (24 bits) holds exactly in any order."""
    return torch.randint(-600, 601, shape, generator=torch.Generator().manual_seed(seed)).float().requires_grad_()


@pytest.mark.parametrize(
    ("multiply", "operands"),
    [
        (F.linear, [whole(4, 5, 8), whole(6, 8, seed=1), whole(6, seed=2)]),
        (lambda x, w, b: F.conv2d(x, w, bias=b, padding=1), [whole(2, 3, 6, 6), whole(4, 3, 3, 3, seed=1), whole(4, seed=2)]),
        (lambda a, b: a @ b, [whole(2, 4, 5), whole(2, 5, 3, seed=1)]),
        (torch.matmul, [whole(2, 4, 5), whole(2, 5, 3, seed=1)]),
        (torch.bmm, [whole(2, 4, 5), whole(2, 5, 3, seed=1)]),
        (lambda a, b: torch.baddbmm(torch.zeros(2, 4, 3, dtype=a.dtype), a, b, beta=0), [whole(2, 4, 5), whole(2, 5, 3, seed=1)]),
    ],
    ids=["linear", "conv2d", "@", "matmul", "bmm", "baddbmm"],
)  # fmt: skip
def test_products_are_those_of_autocast_and_gradients_the_exact_ones_rounded(
    multiply: Callable[..., Tensor], operands: list[Tensor]
) -> None:
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        expected = multiply(*operands)
        with precision.RoundedMultiplications():
            found = multiply(*operands)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(found, expected) and not torch.equal(found.float(), multiply(*operands))
    back = whole(*found.shape, seed=3).detach().to(torch.bfloat16)
    rounded = [operand.detach().to(torch.bfloat16).double().requires_grad_() for operand in operands]
    exact = torch.autograd.grad(multiply(*rounded), rounded, back.double())
    for one, other in zip(torch.autograd.grad(found, operands, back), exact, strict=True):
        assert torch.equal(one, other.to(torch.bfloat16).float())


def test_attention_is_that_of_autocast_within_its_roundings() -> None:
    q, k, v = (torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    exact = F.scaled_dot_product_attention(q, k, v)
    with torch.autocast("cpu", torch.bfloat16), precision.RoundedMultiplications():
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(9, 9, dtype=torch.bool))
    assert found.dtype == torch.bfloat16 and not torch.equal(found.float(), exact)
    assert torch.allclose(found.float(), exact, atol=0.02)


def test_a_mixed_model_without_such_instructions_predicts_what_one_with_them_does(
    tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, mixed = load(tiny_sd1, device="cpu"), load(tiny_sd1, device="cpu", dtype="mixed")
    latents, t, text = torch.randn(2, *plain.latent_shape), torch.tensor([10, 700]), plain.encode(["a", "b c"])
    exact = plain.predict(latents, t, text)
    off, entered, enter = {}, [], precision.RoundedMultiplications.__enter__
    monkeypatch.setattr(
        precision.RoundedMultiplications, "__enter__", lambda mode: entered.append(mode) or enter(mode), raising=False
    )
    for able in (True, False):
        monkeypatch.setattr(precision, "has_bfloat16", lambda able=able: able)
        predicted = mixed.predict(latents, t, text)
        assert predicted.dtype == torch.float32
        off[able] = (predicted - exact).norm() / exact.norm()
    assert len(entered) == 1
    assert 0 < off[False] < 0.05 and off[False] == pytest.approx(off[True], rel=0.5)
