"""The benchmark's grid: what runs, what is run again, what a failure leaves, and tables that no other method moves."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import made_up
from excise import methods as registry
from excise.cli import app
from excise.concepts import Concept
from excise.edits import Edit
from excise.files import write_json, writing
from excise.jobs import bench as job
from excise.jobs.bench import bench
from excise.jobs.bench_grid import PlannedCell, grid
from excise.jobs.convert import convert
from excise.methods import Method
from excise.models import Model
from excise.models.names import describe
from excise.report import bench_table, collateral_table
from excise.requests.grid import Entrant, Task, file_name, read_entrants, read_tasks
from excise.results.cell import Cell, Grid
from excise.results.evaluation import ConceptShares, Evaluation
from excise.settings import Settings
from painted_pictures import Shown, no_change, painted

SMALL = {"target_pictures": 3, "other_pictures": 3}


class Quick(Settings):
    """Settings of a method that does nothing."""

    strength: float = 1.0
    words: tuple[str, ...] = ("a", "b")
    fails: str = ""


ran: list[tuple[str, str, int]] = []


def _erase(model: Model, concepts: Sequence[Any], settings: Quick, run: Any) -> Edit:
    ran.append((f"{settings.strength:g}", concepts[0].label, run.seed))
    if concepts[0].name == settings.fails:
        raise FloatingPointError("the loss is not a number")
    return no_change(model)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method that does nothing, and a model whose edited pictures lose every dog in sketch."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    methods = {name: Method(name, "Quick", "ours", Quick, _erase) for name in ("quick", "idle")}
    monkeypatch.setattr(registry.METHODS, "entries", methods)
    ran.clear()

    def load(folder: Path, **options: Any) -> Model:
        from excise.models.loading import load as real

        model = real(folder, **options)
        painted(model, monkeypatch).edited = lose_dogs
        return model

    monkeypatch.setattr("excise.jobs.bench.load", load)
    yield


def lose_dogs(asked: Shown, prompt: str, seed: int) -> Shown:
    return {**asked, "object": "other"} if asked["object"] == "dog" and asked["style"] == "sketch" else asked


def run(tiny_canvas: Path, out: Path, methods: Sequence[str] = ("quick",), **options: Any) -> list[Cell]:
    given = {"concepts": ["cat"], "quality": False, "information": False, **SMALL, **options}
    return bench(methods=methods, model=tiny_canvas, out=out, device="cpu", **given)


def measured(cell: Cell) -> Evaluation:
    assert cell.evaluation is not None, cell.error
    return cell.evaluation


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted((out / "cells").rglob("*.json"))}


def row(out: Path, entrant: str) -> str:
    found = (out / "results.md").read_text(encoding="utf-8").splitlines()
    return next(line for line in found if line.startswith(f"| {entrant} |"))


class TestGrid:
    def test_every_cell_once_concepts_outermost(self, tiny_canvas: Path) -> None:
        catalog = describe(tiny_canvas).catalog
        cells = grid(read_entrants(["quick", "idle", "quick"]), read_tasks(["styles", "sketch", "cat"], catalog), [0, 1, 0])
        labels = [cell.task.label for cell in cells]
        assert labels == [label for label in ("style:photo", "style:sketch", "style:pixel art", "object:cat") for _ in range(4)]
        assert [(cell.seed, cell.entrant.text) for cell in cells[:4]] == [(0, "quick"), (0, "idle"), (1, "quick"), (1, "idle")]

    def test_settings_are_read_and_checked(self) -> None:
        entrant = Entrant.parse("quick:strength=2")
        assert entrant.settings == Quick(strength=2) and entrant.method.name == "quick"
        with pytest.raises(ValueError, match="did you mean 'strength'"):
            Entrant.parse("quick:strenth=2")
        with pytest.raises(ValueError, match="expected key=value"):
            Entrant.parse("quick:strength")
        with pytest.raises(ValueError, match="did you mean 'quick'"):
            Entrant.parse("quik")

    @pytest.mark.parametrize("options", [{"methods": []}, {"concepts": []}, {"seeds": []}])
    def test_an_empty_grid_is_refused(self, options: dict[str, Any], tiny_canvas: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least one method, one concept and one seed"):
            run(tiny_canvas, tmp_path / "b", **options)
        assert not (tmp_path / "b").exists()

    def test_names_that_files_cannot_have(self, tmp_path: Path) -> None:
        names = ["AC/DC", "AC:DC", "../../etc", "..", "a b", "größe", "a|b"]
        found = {file_name(name) for name in names}
        assert len(found) == len(names)
        assert all("/" not in name and name not in (".", "..") and not name.startswith(".-") for name in found)
        assert file_name("pixel art") == "pixel_art" and file_name("mim:lr=1e-3,t=a") == "mim_lr=1e-3,t=a"

    def test_long_names_are_cut_and_stay_distinct(self, tiny_canvas: Path, tmp_path: Path) -> None:
        many = tuple(Concept(f"größe {number:02d}", "object", ("x",)) for number in range(20))
        tasks = [Task(many), Task(many[:-1]), Task((many[-1], *many[:-1])), Task(many, in_turn=True)]
        words = [f"quick:words={','.join('ab' * 60)},strength={strength}" for strength in (1, 2)]
        entrants = [Entrant(text, registry.methods()["quick"], Quick()) for text in words]
        paths = [PlannedCell(entrant, task, 2**32 - 1).path(Path()) for entrant in entrants for task in tasks]
        assert len(set(paths)) == 8 and len({path.parent for path in paths}) == 2
        assert max(len(os.fsencode(part)) for path in paths for part in path.parts) <= 200
        for path in paths:
            write_json(tmp_path / path, {})
        assert Task(many[:10]).file_name == "+".join(f"object-größe_{number:02d}" for number in range(10))


class TestCells:
    def test_a_cell_says_everything(self, tiny_canvas: Path, tmp_path: Path) -> None:
        cell = run(tiny_canvas, tmp_path / "b", ["quick:strength=2"], seeds=[5])[0]
        assert (cell.method, cell.entrant, cell.concepts, cell.seed) == ("quick", "quick:strength=2", ("object:cat",), 5)
        assert cell.settings == {"strength": 2.0, "words": ["a", "b"], "fails": ""}
        assert cell.seconds is not None and cell.seconds >= 0 and "float32" in cell.base_fingerprint
        found = measured(cell)
        assert found.seeds_from == 5 * 2**16 and found.ira and found.ira.value == pytest.approx((2 / 3 + 1) / 2)
        assert found.erased == 1 and found.protocol.sampler["size"] == 16 and len(found.protocol.classifier) == 64
        assert list(files(tmp_path / "b")) == ["cells/quick_strength=2/object-cat-s5.json"]

    def test_only_what_is_missing_runs(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        before = files(tmp_path / "b")
        ran.clear()
        results = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog", "bird"], seeds=[0])
        assert ran == [("1", "object:bird", 0)] and len(results) == 3
        after = files(tmp_path / "b")
        assert {name: after[name] for name in before} == before and len(after) == 3

    def test_a_packed_grid_is_gone_on_with(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is packed is not made again; what is new has files of its own, and all are in the tables."""
        first = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        before = [(tmp_path / "b" / name).read_bytes() for name in ("results.csv", "results.md", "collateral.csv")]
        assert convert([tmp_path / "b"], pack=True) == {"cells of benchmarks packed": 2} and not files(tmp_path / "b")
        whole = (tmp_path / "b" / "cells.jsonl.gz").read_bytes()
        ran.clear()
        with monkeypatch.context() as patch:
            patch.setattr("excise.jobs.bench.load", lambda *a, **k: pytest.fail("loaded"))
            assert run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"]) == first
        assert before == [(tmp_path / "b" / name).read_bytes() for name in ("results.csv", "results.md", "collateral.csv")]
        found = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog", "bird"])
        assert ran == [("1", "object:bird", 0)] and found[:2] == first and "| quick | 3 |" in row(tmp_path / "b", "quick")
        assert list(files(tmp_path / "b")) == ["cells/quick/object-bird-s0.json"]
        assert (tmp_path / "b" / "cells.jsonl.gz").read_bytes() == whole
        assert convert([tmp_path / "b"], pack=True) == {"cells of benchmarks packed": 1}
        assert run(tiny_canvas, tmp_path / "b", concepts=["bird", "cat", "dog"]) == [found[2], *first] and len(ran) == 1

    def test_packed_cells_are_checked_as_others_are(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """Settings of a row, what is measured, the weights."""
        out = tmp_path / "b"
        run(tiny_canvas, out, concepts=["cat", "dog"])
        old = out / "cells" / "quick" / "object-dog-s0.json"
        old.write_text(old.read_text().replace('"strength": 1.0', '"strength": 0.5'))
        convert([out], pack=True)
        with pytest.raises(ValueError, match=r"quick object:dog, seed 0 in .*b was made with other settings \(strength 0.5"):
            run(tiny_canvas, out, concepts=["cat", "bird"])
        with pytest.raises(ValueError, match="target_pictures 3, now 6"):
            run(tiny_canvas, out, concepts=["cat", "dog"], target_pictures=6)
        ran.clear()
        run(tiny_canvas, out, concepts=["cat", "dog"])
        assert ran == [("1", "object:dog", 0)] and list(files(out)) == ["cells/quick/object-dog-s0.json"]
        common = json.loads((out / "bench.json").read_text(encoding="utf-8"))
        (out / "bench.json").write_text(json.dumps({**common, "base": {"float32": "0"}}), encoding="utf-8")
        with pytest.raises(ValueError, match="other weights"):
            run(tiny_canvas, out, concepts=["cat", "dog", "bird"])

    def test_a_packed_cell_that_failed_is_run_again_when_asked(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is made then goes before the packed one, and takes its place when the grid is packed again."""
        out, entrants = tmp_path / "b", ["quick:fails=cat"]
        run(tiny_canvas, out, entrants, concepts=["cat", "dog"])
        convert([out], pack=True)
        ran.clear()
        assert run(tiny_canvas, out, entrants, concepts=["cat", "dog"])[0].error and ran == []
        fixed = Method("quick", "Quick", "ours", Quick, lambda model, concepts, settings, run: no_change(model))
        monkeypatch.setattr(registry.METHODS, "entries", {"quick": fixed})
        again = run(tiny_canvas, out, entrants, concepts=["cat", "dog"], retry=True)
        assert not again[0].error and list(files(out)) == ["cells/quick_fails=cat/object-cat-s0.json"]
        assert convert([out], pack=True) == {"cells of benchmarks packed": 1}
        assert run(tiny_canvas, out, entrants, concepts=["cat", "dog"]) == again and not files(out)

    def test_a_crash_at_a_packed_cell_is_told(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """A run that made it anew ended the process: that is what is known of it now."""
        run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        convert([tmp_path / "b"], pack=True)
        crash = tmp_path / "b" / "cells" / "quick" / "object-cat-s0.crash"
        crash.write_text("Fatal Python error: Segmentation fault\n")
        cat, dog = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        assert "Segmentation fault" in (cat.error or "") and not dog.error and not crash.exists()

    def test_a_damaged_packed_file_stops_it_before_anything_is_made(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        convert([tmp_path / "b"], pack=True)
        path = tmp_path / "b" / "cells.jsonl.gz"
        path.write_bytes(path.read_bytes()[:-9])
        before = {each: each.read_bytes() for each in (tmp_path / "b").rglob("*") if each.is_file()}
        ran.clear()
        with pytest.raises(ValueError, match=r"cells\.jsonl\.gz is damaged: its end is missing"):
            run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        assert ran == [] and {each: each.read_bytes() for each in (tmp_path / "b").rglob("*") if each.is_file()} == before

    def test_nothing_is_loaded_when_nothing_is_missing(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = run(tiny_canvas, tmp_path / "b")
        monkeypatch.setattr("excise.jobs.bench.load", lambda *a, **k: pytest.fail("loaded"))
        assert run(tiny_canvas, tmp_path / "b") == first

    def test_a_cell_of_other_settings_is_not_a_result(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """As after a new version changed a default: the same name, other settings."""
        run(tiny_canvas, tmp_path / "b")
        path = next((tmp_path / "b" / "cells").rglob("*.json"))
        cell = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**cell, "settings": {**cell["settings"], "strength": 7}}), encoding="utf-8")
        ran.clear()
        assert run(tiny_canvas, tmp_path / "b")[0].settings["strength"] == 1 and len(ran) == 1

    @pytest.mark.parametrize(
        "change", [{"target_pictures": 6}, {"quality": True}, {"information": True}, {"dtype": "bfloat16"}]
    )
    def test_cells_measured_otherwise_are_not_mixed(self, change: dict[str, Any], tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        before = files(tmp_path / "b")
        with pytest.raises(ValueError, match=f"{next(iter(change))} .*, now .*choose another folder"):
            run(tiny_canvas, tmp_path / "b", concepts=["dog"], **change)
        assert files(tmp_path / "b") == before

    @pytest.mark.parametrize("name", ["bench.json", "cells/quick/object-cat-s0.json"])
    def test_a_folder_of_an_earlier_version_is_told_how_to_go_on(self, name: str, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        path = tmp_path / "b" / name
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "format"}), encoding="utf-8")
        before = files(tmp_path / "b")
        with pytest.raises(ValueError, match=f"{name} has format 1; .* reads format 2; convert it with: excise convert"):
            run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        assert files(tmp_path / "b") == before

    def test_rounded_nats_are_not_mixed_with_unrounded_ones(self, tiny_canvas: Path, tmp_path: Path) -> None:
        options: dict[str, Any] = {"dtype": "mixed", "information": True, "budget": 700}
        run(tiny_canvas, tmp_path / "b", **options)
        grid_file = tmp_path / "b" / "bench.json"
        Grid.read(grid_file).model_copy(update={"nats": "as the model computes"}).write(grid_file)
        with pytest.raises(ValueError, match="nats 'as the model computes', now 'unrounded'; choose another folder"):
            run(tiny_canvas, tmp_path / "b", concepts=["dog"], **options)

    def test_a_folder_with_what_a_killed_write_left_is_taken(self, tiny_canvas: Path, tmp_path: Path) -> None:
        (tmp_path / "b" / ".bench.json.0123abcd.part").mkdir(parents=True)
        run(tiny_canvas, tmp_path / "b")
        assert not [path for path in (tmp_path / "b").iterdir() if path.name.startswith(".")]

    @pytest.mark.parametrize("name", ["results.csv", "results.md", "collateral.csv", "report.html", "bench.json"])
    def test_a_file_of_somebody_else_is_not_replaced(self, name: str, tiny_canvas: Path, tmp_path: Path) -> None:
        """In a folder of theirs, and in one of ours that did not have it: nothing is run, and every byte stays."""
        (tmp_path / name).write_text("{}")
        with pytest.raises(
            (FileExistsError, ValueError), match=r"is not a result that could be replaced|bench\.json has format 1"
        ):
            run(tiny_canvas, tmp_path)
        assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "{}"
        if name != "bench.json":
            grid = Grid(model="tiny canvas", dtype="float32", suite="canvas", written=())
            grid.write(tmp_path / "bench.json")
            with pytest.raises(FileExistsError, match=f"{name} exists and was not written by excise"):
                run(tiny_canvas, tmp_path)
            assert (tmp_path / name).read_text() == "{}" and Grid.read(tmp_path / "bench.json") == grid

    def test_what_lies_beside_the_cells_stays(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        written = set(Grid.read(tmp_path / "b" / "bench.json").written or ())
        paths = [path for path in (tmp_path / "b").rglob("*") if path.is_file() and path.parent.name != "report-figures"]
        made = {path.relative_to(tmp_path / "b").as_posix() for path in paths}
        assert made - {"bench.json"} <= written
        (tmp_path / "b" / "cells" / "notes.txt").write_text("mine")
        run(tiny_canvas, tmp_path / "b", concepts=["dog"])
        assert (tmp_path / "b" / "cells" / "notes.txt").read_text() == "mine"
        assert made - {"bench.json"} < set(Grid.read(tmp_path / "b" / "bench.json").written or ())

    def test_of_two_benchmarks_in_one_folder_the_second_is_refused(self, tiny_canvas: Path, tmp_path: Path) -> None:
        with writing(tmp_path / "b"), pytest.raises(FileExistsError, match=r"b is being written by process \d+ \(for"):
            run(tiny_canvas, tmp_path / "b")
        assert not (tmp_path / "b").exists()

    def test_a_damaged_file_is_named(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        for name in (next(name for name in files(tmp_path / "b") if name.endswith("s0.json")), "bench.json"):
            (tmp_path / "b" / name).write_text("{", encoding="utf-8")
            with pytest.raises(ValueError, match=f"{name} is not a whole JSON file"):
                run(tiny_canvas, tmp_path / "b")

    def test_the_precision_is_that_of_the_model(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str] = []

        def look(model: Model, concepts: Sequence[Any], settings: Quick, run: Any) -> Edit:
            seen.append(model.precision)
            return no_change(model)

        monkeypatch.setattr(registry.METHODS, "entries", {"quick": Method("quick", "Quick", "ours", Quick, look)})
        run(tiny_canvas, tmp_path / "b", dtype="mixed")
        assert seen == ["mixed"] and json.loads((tmp_path / "b" / "bench.json").read_text())["dtype"] == "mixed"
        with pytest.raises(ValueError, match="bad option: dtype='float23'; did you mean 'float32'"):
            run(tiny_canvas, tmp_path / "b", dtype="float23")

    def test_a_start_that_failed_binds_nobody(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any, **options: Any) -> Model:
            raise ValueError("no device 'toaster' here")

        with monkeypatch.context() as patch, pytest.raises(ValueError, match="toaster"):
            patch.setattr("excise.jobs.bench.load", fail)
            run(tiny_canvas, tmp_path / "b", dtype="bfloat16", target_pictures=6)
        assert not run(tiny_canvas, tmp_path / "b")[0].error
        common = json.loads((tmp_path / "b" / "bench.json").read_text())
        assert (common["dtype"], common["target_pictures"]) == ("float32", 3)

    def test_a_finished_grid_is_of_the_weights_that_are_there_now(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loads: list[str] = []
        load = job.load

        def count(folder: str, **options: Any) -> Model:
            loads.append(folder)
            return load(folder, **options)

        first = run(tiny_canvas, tmp_path / "b")
        monkeypatch.setattr("excise.jobs.bench.load", count)
        copy = shutil.copytree(tiny_canvas, tmp_path / "copy")
        assert run(copy, tmp_path / "b") == first == run(copy, tmp_path / "b") and loads == [str(copy)], "looked at once"
        weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
        save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
        for _ in range(2):
            with pytest.raises(ValueError, match="other weights than 'tiny canvas' has now; choose another folder"):
                run(copy, tmp_path / "b")
        assert run(tiny_canvas, tmp_path / "b") == first
        assert str(tmp_path) not in (tmp_path / "b" / "bench.json").read_text()

    def test_cells_of_other_weights_are_not_mixed(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b")
        common = json.loads((tmp_path / "b" / "bench.json").read_text(encoding="utf-8"))
        (tmp_path / "b" / "bench.json").write_text(json.dumps({**common, "base": {"float32": "0"}}), encoding="utf-8")
        with pytest.raises(ValueError, match="other weights"):
            run(tiny_canvas, tmp_path / "b", concepts=["dog"])


class TestFailures:
    def test_are_recorded_and_the_rest_goes_on(self, tiny_canvas: Path, tmp_path: Path) -> None:
        results = run(tiny_canvas, tmp_path / "b", ["quick:fails=cat"], concepts=["cat", "dog"])
        assert results[0].error == "FloatingPointError: the loss is not a number" and "_erase" in (results[0].traceback or "")
        assert results[0].evaluation is None and results[1].concepts == ("object:dog",) and not results[1].error
        assert "| 1 (1 failed) |" in row(tmp_path / "b", "quick:fails=cat")
        (failed,) = [r for r in _csv_rows(tmp_path / "b", "quick:fails=cat") if r["error"]]
        assert failed["concept"] == "object:cat" and failed["ua"] == "" and failed["fid_base"] == ""

    def test_are_told_on_the_command_line(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """Also those of an earlier run that are not run again."""
        command = ["bench", "--model", tiny_canvas, "--methods", "quick:fails=cat", "--out", tmp_path / "b", "--no-quality"]
        command += ["--no-information", "--target-pictures", 3, "--other-pictures", 3, "--concepts"]
        for concepts, failed, runs in (("cat", "1 of 1", 1), ("cat dog", "1 of 2", 1), ("dog", "", 0)):
            ran.clear()
            result = CliRunner().invoke(app, [str(word) for word in [*command, concepts]])
            assert result.exit_code == bool(failed) and len(ran) == runs, result.output
            lines = [
                "excise: quick:fails=cat object:cat, seed 0: FloatingPointError: the loss is not a number",
                f"excise: error: {failed} cells failed; --retry runs them again",
            ]
            assert result.stderr.splitlines() == lines * bool(failed)
            assert "quick:fails=cat" in result.stdout

    def test_run_again_only_when_asked(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        entrants = ["quick:fails=cat"]
        run(tiny_canvas, tmp_path / "b", entrants)
        ran.clear()
        assert run(tiny_canvas, tmp_path / "b", entrants)[0].error and ran == []
        assert run(tiny_canvas, tmp_path / "b", entrants, retry=True)[0].error and len(ran) == 1
        fixed = Method("quick", "Quick", "ours", Quick, lambda model, concepts, settings, run: no_change(model))
        monkeypatch.setattr(registry.METHODS, "entries", {"quick": fixed})
        assert not run(tiny_canvas, tmp_path / "b", entrants, retry=True)[0].error

    def test_leave_nothing_on_the_model_of_the_next_cell(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[float] = []

        def spoil(model: Model, concepts: Sequence[Any], settings: Quick, run: Any) -> Edit:
            weight = next(iter(model.denoiser.parameters()))
            seen.append(float(weight.sum()))
            if concepts[0].name == "cat":
                weight.data.zero_()
                raise RuntimeError("half way")
            return no_change(model)

        monkeypatch.setattr(registry.METHODS, "entries", {"quick": Method("quick", "Quick", "ours", Quick, spoil)})
        results = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"])
        assert results[0].error and not results[1].error
        assert seen[0] == seen[1] != 0

    def test_ctrl_c_keeps_what_is_done(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(model: Model, concepts: Sequence[Any], settings: Quick, run: Any) -> Edit:
            if concepts[0].name == "dog":
                raise KeyboardInterrupt
            return no_change(model)

        monkeypatch.setattr(registry.METHODS, "entries", {"quick": Method("quick", "Quick", "ours", Quick, stop)})
        with pytest.raises(KeyboardInterrupt):
            run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog", "bird"])
        assert list(files(tmp_path / "b")) == ["cells/quick/object-cat-s0.json"]
        assert "| quick | 1 |" in (tmp_path / "b" / "results.md").read_text(encoding="utf-8")

    def test_bad_names_before_any_weight_is_loaded(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("excise.jobs.bench.load", lambda *a, **k: pytest.fail("loaded"))
        with pytest.raises(ValueError, match="did you mean 'cat'"):
            run(tiny_canvas, tmp_path / "b", concepts=["cta"])
        with pytest.raises(ValueError, match="bad option: other_pictures=0"):
            run(tiny_canvas, tmp_path / "b", other_pictures=0)
        assert not (tmp_path / "b").exists()

    def test_a_model_without_a_judge(self, tiny_sd1: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="brings no classifier"):
            run(tiny_sd1, tmp_path / "b")


class TestJobs:
    """Real methods in real processes: nothing is painted here, as another process would not know of it."""

    METHODS = ("uce", "mim:rounds=1,steps=2,batch=2,trajectories=1,sampler_steps=2")

    @pytest.fixture(autouse=True)
    def as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))

    @staticmethod
    def same(cell: Cell) -> Cell:
        """What does not depend on how fast it went."""
        assert cell.information is not None
        words = cell.information.model_copy(update={"seconds": 0})
        return cell.model_copy(update={"information": words, "seconds": None, "peak_mb": None, "jobs": None})

    def test_give_the_same_cells_to_the_bit(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        options: dict[str, Any] = {"concepts": ["cat"], "quality": True, "information": True, "budget": 700}
        alone = run(tiny_canvas, tmp_path / "a", self.METHODS, **options)
        monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache 2"))
        told: list[tuple[str, int, int]] = []
        shared = run(tiny_canvas, tmp_path / "b", self.METHODS, **options, jobs=2, progress=lambda *news: told.append(news))
        assert [cell.jobs for cell in alone + shared] == [1] * 2 + [2] * 2
        assert [self.same(cell) for cell in shared] == [self.same(cell) for cell in alone]
        assert told == [("cells", done, 2) for done in range(3)]
        assert not multiprocessing.active_children()

    def test_a_process_that_dies_costs_its_cell_alone(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """Two of four cells kill theirs."""
        deadly = Entrant("deadly", Method("deadly", "Deadly", "ours", Quick, _die), Quick())
        catalog = describe(tiny_canvas).catalog
        cells = [PlannedCell(deadly, Task((catalog.resolve(name),)), seed) for name in ("cat", "dog") for seed in (0, 1)]
        common = Grid(model="tiny canvas", dtype="float32", suite="canvas", quality=False, **SMALL)
        job._fill(tmp_path, cells, job._Worker(tiny_canvas, common, 2, "cpu"), lambda *told: None)
        errors = [Cell.read(cell.path(tmp_path)).error or "" for cell in cells]
        assert [error.split(":")[0] for error in errors] == ["ProcessDied", "", "", "ProcessDied"]
        assert "killed by SIGKILL" in errors[0] and "ended with exit code 3" in errors[3]

    def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(self, tiny_canvas: Path, tmp_path: Path) -> None:
        def stop(stage: str, done: int, total: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tiny_canvas, tmp_path / "b", ["uce"], concepts=["cat", "dog", "bird"], jobs=2, progress=stop)
        assert len(files(tmp_path / "b")) == 1 and not multiprocessing.active_children()
        assert "| uce | 1 |" in (tmp_path / "b" / "results.md").read_text(encoding="utf-8")

    def test_what_keeps_every_cell_from_running_is_raised(self, tiny_canvas: Path, tmp_path: Path) -> None:
        other = {"float32": "0"}
        common = Grid(model="tiny canvas", dtype="float32", suite="canvas", quality=False, base=other, **SMALL)
        cells = grid(read_entrants(["uce"]), read_tasks(["cat", "dog"], describe(tiny_canvas).catalog), [0])
        with pytest.raises(ValueError, match="other weights"):
            job._fill(tmp_path, cells, job._Worker(tiny_canvas, common, 2, "cpu"), lambda *told: None)
        assert not files(tmp_path) and not multiprocessing.active_children()

    def test_ray_is_asked_for_by_name(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("excise.requests.bench.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"needs Ray: pip install 'excise\[cluster\]'"):
            run(tiny_canvas, tmp_path / "b", runner="ray")
        with pytest.raises(ValueError, match="bad option: runner='rey'; did you mean 'ray'"):
            run(tiny_canvas, tmp_path / "b", runner="rey")

    def test_none_is_too_few(self, tiny_canvas: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="bad option: jobs=0"):
            run(tiny_canvas, tmp_path / "b", jobs=0)


def _die(model: Model, concepts: Sequence[Any], settings: Quick, run: Any) -> Edit:
    """Dies for a cat with seed 0 and a dog with seed 1."""
    if (concepts[0].name, run.seed) == ("cat", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if (concepts[0].name, run.seed) == ("dog", 1):
        os._exit(3)
    return no_change(model)


class TestTables:
    def test_adding_a_method_changes_no_other_row(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b", concepts=["cat", "sketch"], quality=True)
        before = [row(tmp_path / "b", "quick"), *_csv_rows(tmp_path / "b", "quick")]
        run(tiny_canvas, tmp_path / "b", ["idle", "quick"], concepts=["cat", "sketch"], quality=True)
        assert [row(tmp_path / "b", "quick"), *_csv_rows(tmp_path / "b", "quick")] == before
        assert _csv_rows(tmp_path / "b", "idle")

    def test_means_by_kind_and_over_all(self, tiny_canvas: Path, tmp_path: Path) -> None:
        run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog", "sketch"])
        text = (tmp_path / "b" / "results.md").read_text(encoding="utf-8")
        assert [line for line in text.splitlines() if line.startswith("#")] == ["### all", "### object", "### style"]
        # cat: the dog keeps 2 of 3, IRA (2/3 + 1) / 2; dog erased: all kept. The mean of 83.3 and 100 is 91.7, the worst 66.7
        part = text.split("### object")[1].split("###")[0]
        assert "| quick | 2 | +83.3 | 16.7 | 91.7 | 100.0 | 66.7 | 100.0 | not measured | not measured | not measured |" in part

    def test_quality_is_in_them(self, tiny_canvas: Path, tmp_path: Path) -> None:
        made = measured(run(tiny_canvas, tmp_path / "b", quality=True)[0])
        fid, kid = made.fid_base, made.kid_base
        assert fid and fid.value > 0 and made.pixel_change and made.pixel_change.value > 0 and made.lpips is None
        assert fid.interval and fid.interval[0] <= fid.value <= fid.interval[1]
        (found,) = _csv_rows(tmp_path / "b", "quick")
        assert float(found["fid_base"]) == fid.value and found["lpips"] == "" and found["n_retained"] == "6"
        assert kid and float(found["kid_base_low"]) == kid.low
        assert f"{fid.value:.2f}" in row(tmp_path / "b", "quick")
        assert "compare them only" in (tmp_path / "b" / "results.md").read_text(encoding="utf-8")

    def test_information_is_in_them(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """By an edit that changes nothing: all is left, all is kept, nothing destroyed."""
        found = run(tiny_canvas, tmp_path / "b", information=True, budget=700)[0].information
        assert found and found.nats.base and found.nats.base == found.nats.left and found.nats.base.value > 0.01
        assert found.nats.share_left and found.nats.share_left.value == 1 and found.destruction and found.destruction.value == 0
        assert found.steering and found.steering.value == pytest.approx(1) and found.settings.budget == 700
        assert found.kept and found.kept.mean and found.kept.mean.value == 1
        others = {each.concept for each in found.kept.kept}
        assert others == {"object:dog", "object:bird", "style:photo", "style:sketch", "style:pixel art"}
        assert {each.concept for each in found.steering_of_others} == others
        assert all(each.value == pytest.approx(1) for each in found.steering_of_others)
        (profile,) = found.profiles
        assert profile.concept == "object:cat" and profile.curve and profile.maps
        (shown,) = _csv_rows(tmp_path / "b", "quick")
        assert float(shown["nats_left"]) == found.nats.base.value and float(shown["nats_kept_worst"]) == 1
        assert float(shown["nats_left_high"]) == found.nats.base.high
        assert "| 100.0 | 1.00 | 0.00 | 100.0 | 100.0 |" in row(tmp_path / "b", "quick")

    def test_what_is_undefined_is_not_zero(self) -> None:
        cell = made_up.cell("m", "object:cat", information=made_up.words(left=0.5))
        (shown,) = csv.DictReader(bench_table._csv([cell]).splitlines())
        assert shown["nats_left"] == "0.5" and shown["nats_left_low"] == ""
        assert {shown[name] for name in ("steering", "nats_kept", "nats_share_left", "gold_fid", "nra_low")} == {""}

    def test_names_do_not_break_them(self) -> None:
        assert "| a\\|b | 0 (1 failed) |" in bench_table.markdown([made_up.failed("a|b", "object:cat")])

    def test_nothing_measured_is_not_zero(self) -> None:
        names = ("ira", "cra", "ira_of_base", "cra_of_base", "ira_worst", "cra_worst", "fid_base", "kid_base")
        half = made_up.figure(0.5)
        cell = made_up.cell(
            "a", "object:cat", information=None, seconds=3.0, **{**dict.fromkeys(names), "neutral": half, "ua": 0.5}
        )
        assert "| a | 1 | +0.0 | 50.0 |" + " not measured |" * 13 + " 3 |" in bench_table.markdown([cell])


class TestCollateral:
    def test_what_erasing_one_did_to_every_other(self, tiny_canvas: Path, tmp_path: Path) -> None:
        cells = run(tiny_canvas, tmp_path / "b", concepts=["cat", "dog"], seeds=[0, 1])
        found = collateral_table.matrix(cells, "quick")
        assert found.erased == ("object:cat", "object:dog")
        assert found.concepts[:2] == found.erased and "style:sketch" in found.concepts
        damage = found.cells[("object:cat", "object:dog")]
        assert damage.kept == pytest.approx(2 / 3) and damage.n == 6 and not damage.target
        assert found.cells[("object:dog", "object:dog")].target
        values = dict(zip(found.concepts, found.values()[0], strict=True))
        assert values["object:bird"] == 1 and values["object:cat"] == 1
        rows = list(csv.DictReader((tmp_path / "b" / "collateral.csv").read_text(encoding="utf-8").splitlines()))
        assert len(rows) == len(found.cells)
        assert {r["kept"] for r in rows if (r["erased"], r["concept"]) == ("object:cat", "object:dog")} == {str(2 / 3)}

    def test_by_hand(self) -> None:
        """Two seeds: 0.8 and 0.6 of the base; kept is 0.6 / 0.8. More than the base counts as all; what the base lacks is unknown."""

        def cell(dog: tuple[float, float], bird: tuple[float, float]) -> Cell:
            names = {"object:dog": dog, "object:bird": bird}
            kept = tuple(ConceptShares(concept=name, base=base, edited=edited, n=10) for name, (base, edited) in names.items())
            return made_up.cell("m", "object:cat", retained=kept, targets=())

        found = collateral_table.matrix([cell((0.8, 0.7), (0.0, 0.0)), cell((0.8, 0.5), (0.0, 0.5))], "m")
        assert found.cells[("object:cat", "object:dog")].kept == pytest.approx(0.75)
        assert found.cells[("object:cat", "object:bird")].kept is None
        assert collateral_table.Damage(0.5, 0.9, 1, False).kept == 1

    def test_leaves_out_failures_and_joint_erasures(self) -> None:
        bad, both = made_up.failed("m", "object:cat"), made_up.cell("m", ["object:cat", "object:dog"])
        assert collateral_table.matrix([bad, both], "m").erased == ()
        with pytest.raises(ValueError, match="no cell of 'n'"):
            collateral_table.matrix([bad], "n")


def test_the_command(tiny_canvas: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    arguments = ["bench", "--methods", "quick idle", "--concepts", "cat style:sketch", "--model", str(tiny_canvas)]
    arguments += ["--out", str(out), "--target-pictures", "3", "--other-pictures", "3", "--seeds", "0", "--no-quality"]
    arguments += ["--no-information"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "### all" in result.output and "| idle |" in result.output and len(files(out)) == 4
    made = {"bench.json", "cells", "collateral.csv", "results.csv", "results.md", "report.html", "report-figures"}
    assert set(os.listdir(out)) == made


def _csv_rows(out: Path, entrant: str) -> list[dict[str, str]]:
    """Without the seconds, which no two runs share."""
    with open(out / "results.csv", encoding="utf-8") as file:
        return [{**r, "seconds": ""} for r in csv.DictReader(file) if r["entrant"] == entrant]


class TestFolder:
    def test_other_settings_of_a_row_are_refused(self, tiny_canvas: Path, tmp_path: Path) -> None:
        """A method's defaults may change between two runs: its row would show both."""
        out = tmp_path / "b"
        run(tiny_canvas, out, concepts=["cat", "dog"])
        old = out / "cells" / "quick" / "object-dog-s0.json"
        old.write_text(old.read_text().replace('"strength": 1.0', '"strength": 0.5'))
        before = files(out)
        with pytest.raises(
            ValueError, match=r"quick object:dog, seed 0 in .*b was made with other settings \(strength 0.5, now 1.0\)"
        ):
            run(tiny_canvas, out, concepts=["cat", "bird"])
        assert files(out) == before
        ran.clear()
        run(tiny_canvas, out, concepts=["cat", "dog"])
        assert ran == [("1", "object:dog", 0)]

    def test_a_folder_of_something_else_is_left_alone(self, tiny_canvas: Path, tmp_path: Path) -> None:
        (tmp_path / "results.csv").write_text("mine")
        with pytest.raises(FileExistsError, match=r"no bench\.json"):
            run(tiny_canvas, tmp_path)
        assert os.listdir(tmp_path) == ["results.csv"]
