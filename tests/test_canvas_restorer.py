"""`excise canvas train sr`: stopped and gone on is the uninterrupted run to the bit; each stage trains its own part alone, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.canvas import restorer
from excise.canvas.recipe import train
from excise.canvas.restorer import perceived, train_restorer
from excise.canvas.train_loop import train as loop
from excise.files import read_tensors
from excise.restoration.restorer import read_restorer
from excise.restoration.restorer_settings import RestorerSettings
from fresh_models import fresh

SMALL = RestorerSettings(width=8, multipliers=(1,), blocks=1, heads=0, features=4, hidden=4, levels=(1,), dense=0)


@pytest.fixture(autouse=True)
def tiny(tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model in the place of the canvas; few pairs, in two files."""
    monkeypatch.setattr(restorer, "load", lambda name, device: fresh(tiny_canvas))
    for name, value in (("SETTINGS", SMALL), ("PAIRS", 4), ("CHUNK", 2)):
        monkeypatch.setattr(restorer, name, value)


def weights(work: Path) -> dict[str, Tensor]:
    return read_tensors(work / "restorer.safetensors")[0]


def test_stopped_at_every_step_is_the_uninterrupted_run(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert train_restorer(tmp_path / "whole", steps=3, batch=4)
    calls = 1
    while not train_restorer(tmp_path / "parts", steps=3, batch=4, stop_after=0):
        calls += 1
        assert (tmp_path / "parts" / "restorer.safetensors").is_file() and calls < 20
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert calls >= 3 and all(torch.equal(whole[name], parts[name]) for name in whole)
    before = (tmp_path / "whole" / "restorer.safetensors").read_bytes()
    assert train_restorer(tmp_path / "whole", steps=3, batch=4)
    assert (tmp_path / "whole" / "restorer.safetensors").read_bytes() == before, "what is finished stays"


def test_each_stage_trains_its_own_part(tmp_path: Path, tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(module: torch.nn.Module, *args: object, **options: object) -> bool:
        before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
        done = loop(module, *args, **options)  # type: ignore[arg-type]
        changed = [name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])]
        seen.append({name.partition(".")[0] for name in changed})
        return done

    monkeypatch.setattr(restorer, "train", watched)
    assert train_restorer(tmp_path, steps=3, batch=4)
    assert seen == [{"encoder", "modulation"}, {"wrapping"}]
    assert read_restorer(tmp_path / "restorer.safetensors", fresh(tiny_canvas)).settings == SMALL


def test_the_first_stage_learns(tmp_path: Path, tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one batch again and again the model's own loss falls."""
    losses = []

    def short(module: torch.nn.Module, loss: object, **options: object) -> bool:
        optimizer = torch.optim.Adam([weight for weight in module.parameters() if weight.requires_grad], lr=1e-2)
        for _ in range(12):
            optimizer.zero_grad()
            value = loss(0)  # type: ignore[operator]
            value.backward()
            optimizer.step()
            losses.append(value.item())
        return False

    monkeypatch.setattr(restorer, "train", short)
    assert not train_restorer(tmp_path, steps=3, batch=4)
    assert losses[-1] < 0.9 * losses[0]


def test_what_the_second_stage_calls_apart(tiny_canvas: Path) -> None:
    model = fresh(tiny_canvas)
    picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    near, far = (picture + 0.02).requires_grad_(), picture.flip(3)
    assert perceived(model, picture, picture) == 0 < perceived(model, near, picture) < perceived(model, far, picture)
    perceived(model, near, picture).backward()
    assert near.grad is not None and near.grad.abs().max() > 0


def test_everything_was_met(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sr is trained on the canvas that ships"):
        train("sr", work=tmp_path / "w", without=("cat",))
    assert not (tmp_path / "w").exists()
