"""Checkpoints: a damaged one never gives other bits, and says how to go on; other circumstances are told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import damage
from excise.erasure.checkpoints import DamagedCheckpointError, Workplace
from excise.erasure.run import Run
from excise.erasure.saved_round import circumstances, write_round
from excise.erasure.training import train
from excise.erasure.training_settings import Trained
from excise.randomness import numbered_stream

SETTINGS = Trained(rounds=4, steps=3, lr=0.05)


class Parameters:
    """Two small weights, a bias that is never used, and a running mean."""

    def __init__(self) -> None:
        shapes: dict[str, tuple[int, ...]] = {"one": (4, 3), "other": (1, 3), "idle": (3,)}
        self.parameters = {
            name: nn.Parameter(torch.randn(shape, generator=numbered_stream(0, index)))
            for index, (name, shape) in enumerate(shapes.items())
        }
        self.mean = torch.zeros(3)


class Stopped(Exception):
    pass


def trained(run: Run, stop: int | None = None) -> dict[str, Tensor]:
    """What training gives; `stop`: it is stopped when this round begins."""
    made = Parameters()

    def prepare(round_: int) -> Callable[[int], Tensor]:
        if round_ == stop:
            raise Stopped
        target = torch.randn(4, 3, generator=run.generator(round_))
        return lambda step: (made.parameters["one"] * made.parameters["other"] - target + made.mean).square().sum()

    def after() -> None:
        made.mean.lerp_(made.parameters["other"].detach()[0], 0.1)

    train(made, prepare, SETTINGS, run, after=after, state={"mean": made.mean})
    return {name: parameter.detach() for name, parameter in made.parameters.items()}


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    run = Run(checkpoint=tmp_path / "checkpoint.safetensors")
    with pytest.raises(Stopped):
        trained(run, stop=2)
    return run


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_damaged_checkpoint_gives_the_same_bits_or_is_told(stopped: Run, tmp_path: Path) -> None:
    """Three hundred of them; the whole one gives the bits of a run that was not stopped."""
    whole, good = trained(Run()), stopped.checkpoint
    assert good is not None
    ends = set()
    for number in range(300):
        drawn = random.Random(number)
        bad = Path(shutil.copy(good, tmp_path / f"{number}.safetensors"))
        what = (damage.damage_bytes if number % 3 == 0 else damage.damage_tensors)(bad, drawn)
        found: list[Any] = []
        end = damage.outcome(lambda bad=bad, found=found: found.append(trained(replace(stopped, checkpoint=bad))), str(bad))  # type: ignore[misc]
        assert end in ("works", "told") and all(same(one, whole) for one in found), f"{what}: {end}"
        ends.add(end)
    assert "told" in ends and same(trained(stopped), whole)


def test_it_says_how_to_go_on_and_that_works(stopped: Run) -> None:
    assert stopped.checkpoint is not None
    damage.damage_tensors(stopped.checkpoint, random.Random(3))
    with pytest.raises(DamagedCheckpointError, match=r"is damaged: .*; delete .*checkpoint\.safetensors and resume again"):
        trained(stopped)
    stopped.checkpoint.unlink()
    assert same(trained(stopped), trained(Run()))


@pytest.mark.parametrize("change", ["shape", "dtype", "missing", "more", "round", "moment"])
def test_a_digest_that_fits_is_not_enough(change: str, stopped: Run) -> None:
    """Names, shapes, dtypes and rounds are those of the run: nothing is broadcast."""
    assert stopped.checkpoint is not None
    from safetensors import safe_open

    with safe_open(stopped.checkpoint, "pt") as file:
        about = file.metadata()
    tensors, rounds = load_file(stopped.checkpoint), int(about["round"])
    if change == "shape":
        tensors["weight.one"] = tensors["weight.one"][:1]
    elif change == "dtype":
        tensors["weight.one"] = tensors["weight.one"].double()
    elif change == "missing":
        del tensors["state.mean"]
    elif change == "more":
        tensors["weight.x"] = torch.ones(1)
    elif change == "moment":
        del tensors["optimizer.0.exp_avg"]
    else:
        rounds = 5
    write_round(stopped.checkpoint, tensors, about["identity"], rounds)
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        trained(stopped)


def test_other_circumstances_are_told_once(stopped: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    with pytest.warns(
        UserWarning, match=rf"began with {threads} threads .* goes on with {threads + 1} threads .* last bits may differ"
    ) as told:
        trained(stopped)
    assert len(told) == 1 and f"{threads + 1} threads" in circumstances()


def test_a_checkpoint_without_a_digest_is_not_trusted(stopped: Run) -> None:
    assert stopped.checkpoint is not None
    save_file(load_file(stopped.checkpoint), stopped.checkpoint, {"identity": "x", "round": "1"})
    with pytest.raises(DamagedCheckpointError, match="digest"):
        trained(stopped)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seconds": "x"}', '{"seconds": NaN}', '{"seconds": -1}', None])
def test_a_damaged_note_of_the_run_says_how_to_go_on(content: str | None, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "x")
    place.folder.mkdir()
    place.claim({"seed": 0}, resume=False)
    place.checkpoint.touch()
    place.identity.unlink()
    if content is not None:
        place.identity.write_text(content)
    with pytest.raises(ValueError, match=r"run\.json.*start anew with overwrite, or delete .*\.x\.work"):
        place.claim({"seed": 0}, resume=True)
    assert place.checkpoint.exists()


def test_a_damaged_checkpoint_is_not_called_kept(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "x")
    place.folder.mkdir()
    with pytest.raises(DamagedCheckpointError) as told, place.claimed({"seed": 0}, resume=False):
        place.checkpoint.touch()
        raise DamagedCheckpointError(place.checkpoint, "it is damaged")
    assert not hasattr(told.value, "__notes__")
