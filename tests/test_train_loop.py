"""The canvas's training loop: resumed = uninterrupted to the last bit, and what it computes, against a loop written by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from damage import damage_bytes
from excise.canvas.train_loop import learning_rate, step_generator, train

STEPS = 14


def _module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(36, 3))


def _loss(module: nn.Module, stop: int | None = None) -> Callable[[int], Tensor]:
    def loss(step: int) -> Tensor:
        if step == stop:
            raise KeyboardInterrupt
        generator = step_generator(3, step)
        like = next(module.parameters())
        x = torch.randn(4, 2, 5, 5, generator=generator).to(like)
        return F.mse_loss(module(x), torch.randn(4, 3, generator=generator).to(like))

    return loss


def _run(path: Path, stop: int | None = None, module: nn.Module | None = None, **options: object) -> nn.Module:
    module = module or _module()
    train(module, _loss(module, stop), steps=STEPS, lr=0.01, checkpoint=path / "c.safetensors", **options)  # type: ignore[arg-type]
    return module


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stops", [(6,), (1, 5, 9), (4,)])
def test_resumed_after_kills_is_the_uninterrupted_run(tmp_path: Path, stops: tuple[int, ...], channels_last: bool) -> None:
    def module() -> nn.Module:
        return _module().to(memory_format=torch.channels_last) if channels_last else _module()

    whole = _run(tmp_path / "whole", module=module(), every=4)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "parts", stop, module(), every=4)
    assert _same(_run(tmp_path / "parts", module=module(), every=4), whole)
    assert not _same(whole, module())


def test_one_step_at_a_time_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """`stop_after` no seconds at all: every call does one step, checkpoints it, and says whether it was the last."""
    whole = _run(tmp_path / "whole")
    finished = []
    while not finished or not finished[-1]:
        module = _module()
        checkpoint = tmp_path / "c.safetensors"
        finished.append(train(module, _loss(module), steps=STEPS, lr=0.01, checkpoint=checkpoint, stop_after=0.0))
    assert finished == [False] * (STEPS - 1) + [True]
    assert _same(module, whole)
    again = _module()
    assert train(again, _loss(again, stop=0), steps=STEPS, lr=0.01, checkpoint=checkpoint)
    assert _same(again, whole), "a finished run, resumed, is finished and gives the same weights"


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_a_run_goes_on_on_another_device(tmp_path: Path) -> None:
    """Oracle: torch, which refuses to mix devices. On "meta" a step is done but for its loss, which has no number there."""
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, stop=6, every=4)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        _run(tmp_path, device=torch.device("meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_to_cuda_and_back_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """In float64, so that the orders of adding up make no difference that could be seen."""
    whole = _run(tmp_path / "whole", module=_module().double())
    for stop, device in ((6, "cpu"), (10, "cuda")):
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "parts", stop, _module().double(), every=2, device=torch.device(device))
    found = _run(tmp_path / "parts", module=_module().double(), device=torch.device("cuda")).state_dict()
    assert all(torch.allclose(found[name], tensor, atol=1e-9) for name, tensor in whole.state_dict().items())


def test_it_is_adamw_with_clipping_and_an_average(tmp_path: Path) -> None:
    """Oracle: the same in a plain loop; the module ends with the averaged weights."""
    module, frozen = _module(), 1.5
    extra = nn.Parameter(torch.tensor(frozen), requires_grad=False)
    module.register_parameter("extra", extra)
    expected = _module()
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.01, weight_decay=0.02, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in expected.parameters()]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = learning_rate(step, STEPS, 0.01)
        optimizer.zero_grad()
        _loss(expected)(step).backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
        decay = min(0.9, (1 + step) / (10 + step))
        average = [decay * mean + (1 - decay) * p.detach() for mean, p in zip(average, expected.parameters(), strict=True)]
    assert train(module, _loss(module), steps=STEPS, lr=0.01, checkpoint=tmp_path / "c", ema=0.9, weight_decay=0.02)
    found = [p for p in module.parameters() if p.requires_grad]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, average, strict=True))
    assert not any(torch.allclose(a, p, atol=1e-5) for a, p in zip(found, expected.parameters(), strict=True))
    assert module.extra.item() == frozen


def test_learning_rate_rises_holds_and_falls() -> None:
    rates = [learning_rate(step, 1000, 2.0, warmup=100, decay=0.25) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02) and rates[99] == 2.0
    assert set(rates[99:751]) == {2.0}
    assert rates[875] == pytest.approx(1.0) and rates[-1] == pytest.approx(2.0 * 0.02)
    assert rates[:100] == sorted(rates[:100]) and rates[750:] == sorted(rates[750:], reverse=True)


def test_step_generators_are_the_steps_own() -> None:
    draws = {
        (seed, step): torch.rand(1, generator=step_generator(seed, step)).item() for seed in range(4) for step in range(50)
    }
    assert len(set(draws.values())) == 200
    assert torch.rand(1, generator=step_generator(2, 7)).item() == draws[2, 7]


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    _run(tmp_path)
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="it lacks module"):
        train(other, _loss(other), steps=STEPS, lr=0.01, checkpoint=tmp_path / "c.safetensors")


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_checkpoint_is_refused(seed: int, tmp_path: Path) -> None:
    _run(tmp_path)
    damage_bytes(tmp_path / "c.safetensors", random.Random(seed))
    with pytest.raises(ValueError, match=r"c\.safetensors"):
        _run(tmp_path)


def test_a_checkpoint_with_a_changed_number_is_refused(tmp_path: Path) -> None:
    """A file that is whole and says what it should, but for one bit of a weight."""
    _run(tmp_path)
    content = bytearray((tmp_path / "c.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "c.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="digest differs"):
        _run(tmp_path)
