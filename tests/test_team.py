"""Several processes that share an erasure: real ones, on the CPU, that talk by gloo."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import excise
from excise.erasure.run import Run
from excise.jobs.processes import Worker, in_processes
from excise.methods import get, methods
from excise.models import load, team
from excise.models.team import ALONE, Team
from fresh_models import fresh
from shared_work import answers, cat, erased, gradients

SHARED = sorted(name for name, method in methods().items() if method.shares)
TINY: dict[str, Any] = {
    "rounds": 2,
    "steps": 2,
    "batch": 3,
    "trajectories": 3,
    "sampler_steps": 3,
    "tolerance": 0.01,
    "metric": "rest",
}
"""Of an odd number of rows, which no two processes can halve; MiM-MU looks whether it is done."""
QUICK: dict[str, Any] = {**TINY, "phrasings": "plain"}


def test_graphics_cards_add_up_what_stays_on_the_processor() -> None:
    """As MiM-MU's sums over pixels do; nccl alone carries none of that."""
    said = dist.distributed_c10d.BackendConfig(dist.Backend(team._backend(torch.device("cuda"))))
    assert said.get_device_backend_map() == {"cpu": "gloo", "cuda": "nccl"}


@pytest.fixture(autouse=True)
def little_work() -> None:
    """In the place of conftest's: other processes know nothing of what is patched here."""


def _settings(name: str) -> dict[str, Any]:
    return {key: value for key, value in TINY.items() if key in get(name).settings.model_fields}


@pytest.fixture(scope="module")
def both(tiny_sd1: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """What two processes find."""
    meeting = tmp_path_factory.mktemp("team") / "meeting"
    tasks = [(rank, 2, meeting, tiny_sd1, {name: _settings(name) for name in SHARED}) for rank in (0, 1)]
    found = {task[0]: answer for task, answer in in_processes(erased, tasks, 2)}
    return [found[0], found[1]]


@pytest.mark.parametrize("name", SHARED)
def test_two_find_what_one_finds(name: str, both: list[dict[str, dict[str, Tensor]]], tiny_sd1: Path) -> None:
    model = fresh(tiny_sd1)
    alone = get(name).erase(model, [cat()], get(name).parse(_settings(name)), Run()).tensors()
    first, second = (found[name] for found in both)
    assert alone.keys() == first.keys() == second.keys()
    for key, tensor in alone.items():
        assert torch.equal(first[key], second[key])
        assert (first[key] - tensor).norm() <= 1e-3 * tensor.norm(), key


def test_predictions_are_those_of_one(both: list[dict[str, dict[str, Tensor]]], tiny_sd1: Path) -> None:
    for count, alone in answers(fresh(tiny_sd1)).items():
        for found in both:
            assert torch.allclose(found["predict"][count], alone, atol=1e-5)


def test_gradients_are_those_of_one(both: list[dict[str, dict[str, Tensor]]], tiny_sd1: Path) -> None:
    """Also where a part of the loss comes from no prediction: the optimizers would not notice a factor."""
    alone = gradients(fresh(tiny_sd1), ALONE)
    for found in both:
        assert found["gradients"].keys() == alone.keys()
        for name, gradient in alone.items():
            assert torch.allclose(found["gradients"][name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("count, size", [(1, 1), (5, 2), (7, 3), (4, 4), (3, 4)])
def test_the_parts_are_the_whole(count: int, size: int) -> None:
    rows = [range(count)[Team(rank, size).part(count)] for rank in range(size)]
    assert [row for part in rows for row in part] == list(range(count))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_nothing_is_shared_where_gradients_would_stay_in_parts() -> None:
    team = Team(0, 2)
    assert not team.shares(4) and not ALONE.shares(4)
    with team.learning():
        assert team.shares(4) and not team.shares(1)
        with team.apart():
            assert not team.shares(4)
    with torch.no_grad():
        assert team.shares(4) and not ALONE.shares(4)


def test_the_command_line_to_the_end_and_again(tiny_canvas: Path, tmp_path: Path) -> None:
    """The whole verb with two processes gives what it gives with one, and a stopped one goes on."""
    how: dict[str, Any] = {"model": str(tiny_canvas), "settings": QUICK, "evaluate": "none"}
    alone = excise.erase("cat", **how, device="cpu").edit.tensors()
    ticks = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal ticks
        ticks += stage == "erasing" and done >= 3
        if ticks == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        excise.erase("cat", **how, devices=("cpu", "cpu"), out=tmp_path / "cat", progress=stop)
    assert (tmp_path / ".cat.work" / "checkpoint.safetensors").is_file() and not (tmp_path / "cat").exists()
    made = excise.erase("cat", **how, devices=("cpu", "cpu"), out=tmp_path / "cat", resume=True)
    for name, tensor in made.edit.tensors().items():
        assert (tensor - alone[name]).norm() <= 1e-3 * alone[name].norm()
    assert os.listdir(tmp_path) == ["cat"]


def test_a_process_that_dies_is_told_of_in_one_line(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[Worker] = []
    start = Worker.start.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Worker, "start", classmethod(lambda cls, *given: workers.append(start(cls, *given)) or workers[-1]))

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "erasing" and done == 1:
            assert workers[0].process.pid is not None
            os.kill(workers[0].process.pid, signal.SIGKILL)

    with pytest.raises(
        RuntimeError, match=r"^one of the processes that share the work ended: the process was killed by SIGKILL$"
    ):
        excise.erase(
            "cat",
            model=str(tiny_canvas),
            settings=QUICK,
            evaluate="none",
            devices=("cpu", "cpu"),
            out=tmp_path / "cat",
            progress=kill,
        )
    assert not workers[0].process.is_alive() and not (tmp_path / "cat").exists()


def test_what_a_process_cannot_do_is_told(tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is not there when it comes to load it."""
    give = Worker.give

    def elsewhere(worker: Worker, part: Any) -> None:
        give(worker, replace(part, request=part.request.model_copy(update={"model": "/nowhere/model"})))

    monkeypatch.setattr(Worker, "give", elsewhere)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        excise.erase("cat", model=str(tiny_canvas), settings=QUICK, evaluate="none", devices=("cpu", "cpu"))


@pytest.mark.parametrize(
    "given, told",
    [
        ({"devices": ("cpu", "warp")}, "no device 'warp' here"),
        ({"devices": ("cpu", "meta")}, "devices that share the learning are of one kind, not cpu, meta"),
        ({"devices": ("xpu:0", "xpu:0")}, "xpu:0 is named twice"),
        ({"devices": ("cpu", "cpu"), "device": "cpu"}, "devices names all that share the work; leave device out"),
        ({"devices": ("cpu", "cpu"), "method": "uce"}, "method 'uce' cannot be shared by several devices; those that can: "),
    ],
)
def test_bad_input(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        excise.erase("cat", out=tmp_path / "cat", **given)
    assert told in str(error.value) and "\n" not in str(error.value) and os.listdir(tmp_path) == []


def test_a_model_is_alone_unless_told(tiny_sd1: Path) -> None:
    assert load(tiny_sd1, device="cpu").team is ALONE
