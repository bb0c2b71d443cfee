"""What comes out is looked at: nothing that is not finite is written, shown or counted, and a crash costs what crashed alone."""

from __future__ import annotations

import csv
import ctypes
import os
import signal
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from excise import methods as registry
from excise.attacks.audited_model import AuditedModel, PlainPictures
from excise.attacks.engine import AttackedModels, Engine
from excise.cli import app
from excise.edits import Dense, LowRank, WeightEdit, compose
from excise.edits.importing import import_edit
from excise.edits.lora import LoRA
from excise.evaluation import evaluate
from excise.evaluation.quality import fid, fid_estimate, kid, kid_estimate
from excise.finite import check_finite
from excise.information import measure
from excise.jobs import bench as bench_job
from excise.jobs.audit import audit
from excise.jobs.bench import bench
from excise.methods import Method
from excise.models import Model, load
from excise.models.fingerprint import named_tensors
from excise.report import audit_table
from excise.requests.audit import file_name
from excise.results.audit_result import AttackResult
from excise.results.cell import Cell
from excise.settings import Settings
from painted_pictures import no_change
from test_attacks import NEVER, Seen, random_edit
from trained_methods import PICTURED, QUICK, VISITING

NOT_FINITE = "has values that are not finite"
inf, nan = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def times(model: Model, factor: float) -> WeightEdit:
    """An edit of cat whose changes are that large."""
    edit = random_edit(model, "cat", 1.0)
    return WeightEdit({name: Dense(factor * delta.dense()) for name, delta in edit.deltas.items()}, edit.manifest)


@pytest.fixture(scope="module")
def huge(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit with changes of about 1e30: finite, and nothing that is computed with it is."""
    folder = tmp_path_factory.mktemp("edits") / "huge"
    times(load(tiny_canvas, device="cpu"), 1e30).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def largest(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit that is finite, and not if it is a thousand times as strong."""
    folder = tmp_path_factory.mktemp("edits") / "largest"
    times(load(tiny_canvas, device="cpu"), 1e37).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def good(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edits") / "good"
    random_edit(load(tiny_canvas, device="cpu")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_the_look(value: float) -> None:
    whole = {"a": torch.ones(2), "b": torch.arange(3), "c": torch.empty(0), "d": torch.full((2,), 3e38)}
    check_finite(whole, "x")
    check_finite(whole["a"], "x")
    with pytest.raises(FloatingPointError, match=r"^x \(e\) has values that are not finite \(NaN or infinity\); do y$"):
        check_finite({**whole, "e": torch.tensor([[0.0, value]], dtype=torch.bfloat16)}, "x", "do y")


EXITS: dict[str, Callable[[Model, WeightEdit], object]] = {
    "sample": lambda model, edit: _on(model, edit, lambda: model.sample(["a cat"], [0])),
    "latents": lambda model, edit: _on(model, edit, lambda: model.latents(["a cat"], [0])),
    "evaluate": lambda model, edit: evaluate(model, [_cat(model)], edit, target_pictures=3, other_pictures=3),
    "quality": lambda model, edit: evaluate(model, [_cat(model)], edit, target_pictures=3, other_pictures=3, quality=True),
    "measure": lambda model, edit: measure(model, "cat", edit=edit, budget=2500),
    "audit": lambda model, edit: Engine(model, _cat(model), [edit], prompts=2).look(),
}


def _cat(model: Model) -> Any:
    return model.catalog.resolve("cat")


def _on(model: Model, edit: WeightEdit, do: Callable[[], object]) -> object:
    with edit.applied(model):
        return do()


@pytest.fixture(scope="module")
def shared(tiny_canvas: Path) -> Model:
    return load(tiny_canvas, device="cpu")


@pytest.mark.parametrize("factor", [1e30, inf])
@pytest.mark.parametrize("name", EXITS)
def test_nothing_is_said_of_a_model_that_computes_no_numbers(name: str, factor: float, shared: Model) -> None:
    """Whether the weights are not finite or what is computed with them; afterwards the model is as before."""
    before = {key: tensor.clone() for key, tensor in named_tensors(shared).items()}
    with pytest.raises(FloatingPointError, match=NOT_FINITE):
        EXITS[name](shared, times(shared, factor))
    assert all(torch.equal(tensor, before[key]) for key, tensor in named_tensors(shared).items())


@pytest.mark.parametrize("part", ["vae.decoder", "unet"])
@pytest.mark.parametrize("value", [nan, inf])
def test_a_network_that_breaks_gives_no_picture(part: str, value: float, canvas: Model) -> None:
    with torch.no_grad():
        attrgetter(part)(canvas.pipeline).conv_in.weight.fill_(value)
    with pytest.raises(FloatingPointError, match=NOT_FINITE):
        canvas.sample(["a cat"], [0])


def test_a_model_that_draws_nothing_is_not_erased(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black pictures, as safety filters and half precision give, show no cat."""
    monkeypatch.setattr(Model, "decode", lambda self, latents: torch.zeros(len(latents), 3, 16, 16))
    with pytest.raises(FloatingPointError, match="every picture of the erased model is of one colour"):
        PlainPictures.of(canvas, AuditedModel("erased"), _cat(canvas), Seen(NEVER), 2, 0)


class TestFiles:
    @pytest.mark.parametrize("value", [nan, inf, -inf])
    def test_no_edit_that_nobody_would_read(self, value: float, shared: Model, tmp_path: Path) -> None:
        edit = random_edit(shared)
        name, delta = next(iter(edit.deltas.items()))
        broken = delta.dense().clone()
        broken[0, 0] = value
        for changed in (Dense(broken), LowRank(broken, torch.eye(broken.shape[1]))):
            with pytest.raises(FloatingPointError, match=NOT_FINITE):
                WeightEdit({**edit.deltas, name: changed}, edit.manifest).save_pretrained(tmp_path / "e")
            with pytest.raises(FloatingPointError, match=NOT_FINITE):
                LoRA.of(WeightEdit({name: changed}, edit.manifest))
        assert not os.listdir(tmp_path)

    def test_an_edit_that_is_there_stays(self, shared: Model, good: Path, tmp_path: Path) -> None:
        edit = random_edit(shared)
        edit.save_pretrained(tmp_path / "e")
        before = (tmp_path / "e" / "edit.safetensors").read_bytes()
        for broken in (times(shared, inf), edit.scaled(1e39), compose([times(shared, 2e38)] * 4)):
            with pytest.raises(FloatingPointError):
                broken.save_pretrained(tmp_path / "e", overwrite=True) if broken.parts == {} else broken.apply(shared)
        assert (tmp_path / "e" / "edit.safetensors").read_bytes() == before

    def test_a_difference_that_overflows(self, shared: Model, tiny_canvas: Path, tmp_path: Path) -> None:
        models = [load(tiny_canvas, device="cpu") for _ in range(2)]
        for model, value in zip(models, (-3e38, 3e38), strict=True):
            with torch.no_grad():
                model.denoiser.conv_in.weight.fill_(value)  # type: ignore[operator, union-attr]
        with pytest.raises(FloatingPointError, match=NOT_FINITE):
            import_edit(*models).save_pretrained(tmp_path / "e")
        assert not os.listdir(tmp_path)


VERBS: dict[str, list[str]] = {
    "generate": ["generate", "a cat", "--edit", "EDIT", "--out", "OUT"],
    "one picture": ["generate", "a cat", "--edit", "EDIT", "--out", "OUT.png"],
    "evaluate": ["evaluate", "--edit", "EDIT", "--target-pictures", "3", "--other-pictures", "3", "--json", "OUT"],
    "measure": ["measure", "--edit", "EDIT", "--budget", "2500", "--json", "OUT"],
    "vary": ["vary", "EDIT", "--pictures", "1", "--json", "OUT"],
    "audit": ["audit", "EDIT", "--attacks", "seeds", "--prompts", "2", "--out", "OUT"],
}
SCALED: dict[str, list[str]] = {
    "generate": ["generate", "a cat", "--edit", "LARGEST", "--scale", "1e3", "--out", "OUT"],
    "apply": ["apply", "LARGEST", "--scale", "1e3", "--to", "OUT"],
    "apply in half precision": ["apply", "EDIT", "--dtype", "float16", "--to", "OUT"],
    "export": ["export", "LARGEST", "--scale", "1e3", "--to", "OUT.safetensors"],
    "erase": ["erase", "cat", "--method", "esd", "--set", "lr=1e38", "--evaluate", "none", "--out", "OUT"],
}


@pytest.mark.parametrize("words", [*VERBS.values(), *SCALED.values()], ids=[*VERBS, *(f"{name}, scaled" for name in SCALED)])
def test_a_verb_fails_in_one_line_and_writes_nothing(
    words: list[str], huge: Path, largest: Path, tiny_canvas: Path, tmp_path: Path
) -> None:
    places = {"EDIT": str(huge), "LARGEST": str(largest)}
    typed = [places.get(word, word.replace("OUT", str(tmp_path / "out"))) for word in words]
    model = [] if words[0] == "export" else ["--model", str(tiny_canvas), "--device", "cpu"]
    found = CliRunner().invoke(app, [*typed, *model])
    assert found.exit_code == 1, found.output
    (line,) = found.stderr.splitlines()
    assert line.startswith("excise: error: ") and "unexpected" not in line and "use a smaller" in line
    assert not [name for name in os.listdir(tmp_path) if name != "cache"]


SHORT = {"rounds": 1, "steps": 2}
DIVERGING = [
    ("esd", VISITING, 1e20), ("esd", VISITING, 1e38), ("ca", PICTURED, 1e38), ("sdd", QUICK, 1e37), ("mim", SHORT, 1e20), ("mim", SHORT, 1e38),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "lr"), DIVERGING, ids=[f"{name}-{lr:g}" for name, _, lr in DIVERGING])
def test_a_method_that_diverges_gives_no_edit(name: str, settings: dict[str, Any], lr: float, shared: Model) -> None:
    """An edit whose numbers are finite may come of it, and is refused where it is used."""
    from excise.erasure.run import Run

    method = registry.get(name)
    known = method.settings.model_fields
    parsed = method.parse({**{key: value for key, value in settings.items() if key in known}, "lr": lr})
    before = {key: tensor.clone() for key, tensor in named_tensors(shared).items()}
    try:
        edit = method.erase(shared, [_cat(shared)], parsed, Run())
    except FloatingPointError as error:
        assert "\n" not in str(error)
    else:
        edit.check_finite()
    assert all(torch.equal(tensor, before[key]) for key, tensor in named_tensors(shared).items())


class TestLinearAlgebra:
    """It ends the process where it is given what is not finite."""

    @pytest.mark.parametrize("value", [nan, inf, -inf, 1e200])
    @pytest.mark.parametrize("measured", [fid, kid, fid_estimate, kid_estimate])
    def test_it_is_given_finite_numbers_alone(self, measured: Callable[..., object], value: float) -> None:
        one, other = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        measured(one, other)
        one[3, 2] = value
        for pair in ((one, other), (other, one)):
            with pytest.raises(FloatingPointError, match="FID and KID cannot be computed"):
                measured(*pair)


class Plain(Settings):
    """Settings of a method that does what it is told."""

    what: str = "nothing"


def _erase(model: Model, concepts: Any, settings: Plain, run: Any) -> WeightEdit:
    if settings.what == "crash" and concepts[0].name == "cat":
        os.environ.get("NEVER") or ctypes.string_at(0)
    if settings.what == "kill" and concepts[0].name == "cat":
        os.kill(os.getpid(), signal.SIGKILL)
    return times(model, 1e30) if settings.what == "huge" and concepts[0].name == "cat" else no_change(model)


def signal_of(do: Callable[[], object]) -> int:
    """By which signal a process of its own ends in which this is done; 0: by none."""
    if (process := os.fork()) == 0:
        os.close(2)
        do()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


class TestBench:
    @pytest.fixture(autouse=True)
    def methods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bench_job, "build", lambda *_: None)
        monkeypatch.setattr(registry.METHODS, "entries", {"plain": Method("plain", "Plain", "ours", Plain, _erase)})

    def run(self, tiny_canvas: Path, out: Path, what: str, **options: Any) -> list[Cell]:
        few = {"target_pictures": 3, "other_pictures": 3, "quality": False, "information": False}
        return bench(
            methods=[f"plain:what={what}"],
            concepts=["cat", "dog"],
            model=tiny_canvas,
            out=out,
            device="cpu",
            **{**few, **options},
        )

    def test_a_cell_without_numbers_has_failed_and_the_next_goes_on(self, tiny_canvas: Path, tmp_path: Path) -> None:
        cat, dog = self.run(tiny_canvas, tmp_path / "b", "huge")
        assert cat.error and cat.error.startswith(f"FloatingPointError: what the model draws {NOT_FINITE}")
        assert cat.evaluation is None and dog.evaluation and not dog.error
        with open(tmp_path / "b" / "results.csv", newline="", encoding="utf-8") as file:
            (row,) = [row for row in csv.DictReader(file) if row["concept"] == "object:cat"]
        assert row["error"] == cat.error and not any(
            row[name] for name in row if name not in ("entrant", "concept", "seed", "error")
        )
        assert "1 (1 failed)" in (tmp_path / "b" / "results.md").read_text(encoding="utf-8")

    def test_a_crash_is_told_once_and_passed_over(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "b"
        assert signal_of(lambda: self.run(tiny_canvas, out, "crash")) == signal.SIGSEGV
        cat, dog = self.run(tiny_canvas, out, "crash")
        assert cat.error == "ProcessDied: the process crashed (Fatal Python error: Segmentation fault)"
        assert "_erase" in (cat.traceback or "") and not dog.error and not list(out.rglob("*.crash"))
        assert self.run(tiny_canvas, out, "crash")[0] == cat
        monkeypatch.setenv("NEVER", "again")
        assert not self.run(tiny_canvas, out, "crash", retry=True)[0].error

    def test_a_kill_from_outside_is_no_crash(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The cell is made again."""
        out = tmp_path / "b"
        assert signal_of(lambda: self.run(tiny_canvas, out, "kill")) == signal.SIGKILL
        assert list(out.rglob("*.crash"))
        monkeypatch.setattr(os, "kill", lambda *_: None)
        assert not any(cell.error for cell in self.run(tiny_canvas, out, "kill")) and not list(out.rglob("*.crash"))

    def test_a_stop_is_no_crash(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bench_job._Worker, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            self.run(tiny_canvas, tmp_path / "b", "nothing")
        assert not list((tmp_path / "b").rglob("*.crash"))


class TestAudit:
    ATTACKS = ("unlearndiffatk:lr=1e30", "guidance:kappas=-1", "seeds:tries=1")

    def run(self, edit: Path, tiny_canvas: Path, out: Path, **options: Any) -> list[AttackResult]:
        given = {"attacks": self.ATTACKS, "prompts": 2, "budget": 90, "device": "cpu", **options}
        return list(audit(edit, model=tiny_canvas, out=out, **given).found.attacks)

    def test_an_attack_that_fails_is_marked_and_the_others_go_on(
        self, good: Path, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attacked: list[str] = []
        attack = Engine.attack

        def counted(self: Engine, chosen: Any) -> AttackedModels:
            attacked.append(chosen.attack.name)
            return attack(self, chosen)

        monkeypatch.setattr(Engine, "attack", counted)
        for number, (options, again) in enumerate([({}, 3), ({}, 0), ({"retry": True}, 1)]):
            attacked.clear()
            by_name = {found.attack: found for found in self.run(good, tiny_canvas, tmp_path / "a", **options)}
            failed = by_name["unlearndiffatk"]
            assert len(attacked) == again, number
            assert failed.compared is None and failed.error and not failed.traceback
            assert all(by_name[name].compared and not by_name[name].error for name in ("guidance", "seeds"))
        kept = AttackResult.read(tmp_path / "a" / "attacks" / f"{file_name(self.ATTACKS[0])}.json")
        assert kept.error == failed.error and "attack.py" in (kept.traceback or "")

    def test_it_is_shown_as_failed_and_the_command_fails(self, good: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        words = [
            "audit",
            good,
            "--model",
            tiny_canvas,
            "--prompts",
            2,
            "--budget",
            90,
            "--out",
            tmp_path / "a",
            "--device",
            "cpu",
        ]
        found = CliRunner().invoke(app, [str(word) for word in [*words, "--attacks", " ".join(self.ATTACKS[::2])]])
        assert found.exit_code == 1
        lines = found.stderr.splitlines()
        assert lines[0].startswith("excise: unlearndiffatk:lr=1e30: ") and len(lines) == 2
        assert lines[1] == "excise: error: 1 of 2 attacks failed; --retry makes them again"
        (row,) = [line for line in found.stdout.splitlines() if line.startswith("unlearndiffatk:lr=1e30")]
        assert row.split()[-1] == audit_table.FAILED and "%" not in row

    def test_a_crash_is_told_and_passed_over(
        self, good: Path, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attack = Engine.attack

        def crashes(self: Engine, chosen: Any) -> AttackedModels:
            if chosen.attack.name == "guidance":
                ctypes.string_at(0)
            return attack(self, chosen)

        monkeypatch.setattr(Engine, "attack", crashes)
        options = {"attacks": self.ATTACKS[1:]}
        assert signal_of(lambda: self.run(good, tiny_canvas, tmp_path / "a", **options)) == signal.SIGSEGV
        guidance, seeds = self.run(good, tiny_canvas, tmp_path / "a", **options)
        assert guidance.error == "ProcessDied: the process crashed (Fatal Python error: Segmentation fault)"
        assert seeds.compared and not list(tmp_path.rglob("*.crash"))
        monkeypatch.setattr(Engine, "attack", attack)
        guidance, _ = self.run(good, tiny_canvas, tmp_path / "a", retry=True, **options)
        assert guidance.compared and not guidance.error


def test_what_readers_make_of_pictures_is_looked_at(canvas: Model) -> None:
    from excise.evaluation.picture_cache import Item, read

    class Broken:
        identity = "broken"

        def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
            return {"features": torch.full((len(pictures), 2), nan)}

    with pytest.raises(FloatingPointError, match=r"what is read from a picture \(features\) has values that are not finite"):
        read(canvas, [Item("a cat", 0)], [Broken()])
