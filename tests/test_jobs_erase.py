"""`excise.erase`: what it writes, that it resumes to the same bits, and that a kill leaves no half-written result."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import excise
from excise.concepts import Concept
from excise.edits import load_edit
from excise.erasure import training
from excise.erasure.checkpoints import Workplace
from excise.files import PathTaken, writing
from excise.jobs import erase as job
from excise.jobs.erase import erase
from excise.models import Model
from excise.report.folder_reader import read
from excise.report.page import build
from excise.requests.erase import EraseRequest
from excise.requests.sources import read_yaml, resolve
from excise.results.erasure import ErasureResult
from painted_pictures import no_pictures
from test_attacks import random_edit

QUICK: dict[str, Any] = {"rounds": 3, "steps": 2, "batch": 4, "trajectories": 2, "sampler_steps": 2}
FILES = ["README.md", "before_after.png", "edit.json", "edit.safetensors", "result.json"]
NUMBERS = ("ua", "ira", "cra", "neutral")


def weights(folder: Path) -> bytes:
    return (folder / "edit.safetensors").read_bytes()


def test_the_folder_holds_edit_numbers_card_and_picture(tiny_canvas: Path, tmp_path: Path) -> None:
    out = tmp_path / "cat"
    stages: list[str] = []
    result = erase(
        ["cat"], model=tiny_canvas, out=out, settings=QUICK, json=tmp_path / "numbers.json", device="cpu",
        progress=lambda stage, done, total: stages.append(stage),
    )  # fmt: skip
    assert sorted(os.listdir(out)) == FILES
    assert sorted(os.listdir(tmp_path)) == ["cat", "numbers.json"], "the checkpoint is gone"
    found = ErasureResult.read(out / "result.json")
    assert found == ErasureResult.read(tmp_path / "numbers.json") == result.result
    assert result.edit.manifest.measurements == excise.load_edit(out).manifest.measurements == found.to_dict()
    assert found.evaluation is not None
    for name in NUMBERS:
        for figures in (found.evaluation, found.evaluation.base):
            figure = getattr(figures, name)
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert found.evaluation.ua.n == found.evaluation.pictures.target and found.extent == "quick"
    assert found.seconds is not None and found.seconds > 0 and found.peak_mb is not None and 50 < found.peak_mb < 50_000
    run = (found.seed, found.model, found.method, found.concepts, found.dtype, found.device)
    assert run == (0, "tiny canvas", "mim", ("object:cat",), "float32", "cpu")
    assert {"loading the model", "erasing", "before and after"} <= set(stages)


def test_the_card_tells_what_was_removed_and_what_is_not_promised(tiny_canvas: Path, tmp_path: Path) -> None:
    erase("cat", model=tiny_canvas, out=tmp_path / "cat", settings=QUICK, seed=3, also=["a mog|gy"], evaluate="none")
    card = (tmp_path / "cat" / "README.md").read_text(encoding="utf-8")
    for text in (
        "object:cat removed from tiny canvas",
        "arXiv 2603.00992",
        "seed 3, float32 on ",
        "a mog\\|gy",
        "no safety guarantee",
    ):
        assert text in card
    assert "Not measured: no evaluation was asked for" in card
    assert str(tmp_path) not in card and str(tiny_canvas) not in card, "no path of this machine"
    assert card.startswith("---\nlibrary_name: excise\n")


def test_numbers_that_were_not_measured_are_none_with_a_note(tiny_sd1: Path, tmp_path: Path) -> None:
    erase("a corgi", model=tiny_sd1, out=tmp_path / "corgi", settings=QUICK)
    found = ErasureResult.read(tmp_path / "corgi" / "result.json")
    assert found.evaluation is None and "brings no classifier" in found.note
    assert found.information is None and "brings no list of concepts" in found.information_note
    assert "brings no classifier" in (tmp_path / "corgi" / "README.md").read_text(encoding="utf-8")


def test_what_the_words_still_say_is_in_result_manifest_and_card(tiny_canvas: Path, tmp_path: Path) -> None:
    strong = {**QUICK, "lr": 0.5}
    erase("cat", model=tiny_canvas, out=tmp_path / "cat", settings=strong, seed=2, device="cpu")
    found = ErasureResult.read(tmp_path / "cat" / "result.json").information
    assert found is not None
    model, edit = excise.load(tiny_canvas, device="cpu"), excise.load_edit(tmp_path / "cat")
    others = ["dog", "bird", "style:photo", "style:sketch", "style:pixel art"]
    with model.in_half_the_steps():
        own = excise.measure(model, "cat", edit=edit, against=others, budget=found.settings.budget, seed=2)
    assert {**found.to_dict(), "seconds": 0} == {**own.brief().to_dict(), "seconds": 0}
    assert found.to_dict() == edit.manifest.measurements["information"] and found.others == () and own.others
    words, kept = found.concepts[0].conditional, found.collateral
    assert words.share_left and words.share_left.value != pytest.approx(1, abs=0.01), "the edit does something"
    assert words.base.orthogonal and words.base.orthogonal.n == 4 and kept and len(kept.kept) == 5 and kept.worst
    card = (tmp_path / "cat" / "README.md").read_text(encoding="utf-8").split("## What its words still say")[1]
    assert f"| object:cat | {words.base.orthogonal.value:.2f} (" in card
    assert f"worst: {kept.worst.concept}" in card and "arXiv" not in card.split("##")[0]


@pytest.mark.parametrize("extent, target", [("quick", 6), ("full", 12)])
def test_results_say_how_much_was_asked_for(tiny_canvas: Path, tmp_path: Path, extent: str, target: int) -> None:
    """In the file, the card and the page; what was measured as the tables are is not called quick."""
    erase("cat", model=tiny_canvas, method="uce", out=tmp_path / "cat", evaluate=extent, device="cpu")
    found = ErasureResult.read(tmp_path / "cat" / "result.json")
    assert found.extent == extent and found.evaluation is not None and found.evaluation.pictures.target == target
    build(read(tmp_path), tmp_path / "page.html")
    for told in (tmp_path / "cat" / "README.md", tmp_path / "page.html"):
        assert ("measured quickly" in told.read_text(encoding="utf-8").lower()) == (extent == "quick")


def test_measuring_can_be_left_out_and_changes_no_weight(tiny_canvas: Path, tmp_path: Path) -> None:
    for name, extent in (("with", "quick"), ("without", "none")):
        erase("cat", model=tiny_canvas, settings=QUICK, out=tmp_path / name, evaluate=extent)
    assert weights(tmp_path / "with") == weights(tmp_path / "without")
    found = ErasureResult.read(tmp_path / "without" / "result.json")
    assert found.information is None and found.information_note == "no evaluation was asked for"
    card = (tmp_path / "without" / "README.md").read_text(encoding="utf-8").split("## What its words still say")[1]
    assert card.startswith("\n\nNot measured: no evaluation was asked for.")


def test_a_run_stopped_while_measuring_is_resumed(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK}
    erase("cat", out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("excise.jobs.erase.residual", stop)
        erase("cat", out=tmp_path / "parts", **options)
    assert sorted(os.listdir(tmp_path)) == [".parts.work", "whole"]
    erase("cat", out=tmp_path / "parts", resume=True, **options)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    whole, parts = (json.loads((tmp_path / name / "result.json").read_text())["information"] for name in ("whole", "parts"))
    assert {**whole, "seconds": 0} == {**parts, "seconds": 0}


def test_the_picture_has_the_base_above_the_edited_model(tiny_canvas: Path, tmp_path: Path) -> None:
    """The upper row is what the model gives, the lower what it gives with the edit, seed by seed."""
    strong = {**QUICK, "lr": 0.5}
    erase("cat", model=tiny_canvas, out=tmp_path / "cat", settings=strong, seed=5, evaluate="none")
    sheet = np.asarray(Image.open(tmp_path / "cat" / "before_after.png"))
    model = excise.load(tiny_canvas)
    base = model.sample(["a picture of a cat"] * 3, [5, 6, 7])
    with excise.load_edit(tmp_path / "cat").applied(model):
        edited = model.sample(["a picture of a cat"] * 3, [5, 6, 7])
    assert (base - edited).abs().max() > 0.02, "the edit does something"
    for row, pictures in enumerate((base, edited)):
        for column, picture in enumerate(pictures):
            top, left = 24 + row * 132, 56 + column * 132
            tile = sheet[top : top + 128 : 8, left : left + 128 : 8]
            assert np.abs(tile / 255 - picture.permute(1, 2, 0).numpy()).max() < 0.01


@pytest.mark.parametrize("job", ["measure", "evaluate", "vary"])
def test_what_is_measured_later_is_named_as_it_was_erased(
    job: str, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": {**QUICK, "rounds": 0}, "evaluate": "none"}
    for name, also in (("one", ["a moggy", "a mouser"]), ("two", ["a mouser"])):
        erase("cat", out=tmp_path / name, also=also, **options)
    asked: list[Any] = []

    def stop(model: Any, concepts: Any, *arguments: Any, **more: Any) -> None:
        asked.append(concepts if isinstance(concepts, Concept) else next(iter(concepts)))
        raise KeyboardInterrupt

    within = {"measure": "information", "evaluate": "measured", "vary": "asked_otherwise"}
    monkeypatch.setattr(f"excise.jobs.{job}.{within[job]}", stop)
    run = getattr(importlib.import_module(f"excise.jobs.{job}"), job)
    with pytest.raises(KeyboardInterrupt):
        run(edit=[tmp_path / "one", tmp_path / "two"], model=tiny_canvas)
    cat = excise.load(tiny_canvas).catalog.resolve("cat")
    assert [concept.phrases for concept in asked] == [(*cat.phrases, "a moggy", "a mouser")]


@pytest.mark.parametrize("job", ["measure", "evaluate", "vary"])
def test_an_edit_of_another_model_is_refused_before_a_picture_is_made(
    job: str, tiny_canvas: Path, sd2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    random_edit(sd2, "cat").save_pretrained(tmp_path / "foreign")
    no_pictures(monkeypatch)
    run = getattr(importlib.import_module(f"excise.jobs.{job}"), job)
    with pytest.raises(ValueError, match="made for another model"):
        run(edit=tmp_path / "foreign", model=tiny_canvas)


def test_several_concepts_and_kinds(tiny_canvas: Path, tmp_path: Path) -> None:
    result = erase(["cat", "style:sketch", "member:owl"], model=tiny_canvas, out=tmp_path / "x", settings=QUICK)
    assert result.result.concepts == ("object:cat", "style:sketch", "member:owl")


def test_without_a_folder_nothing_is_written(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = erase("cat", model=tiny_canvas, settings=QUICK, evaluate="none")
    assert result.out is None and result.edit.deltas
    assert os.listdir(tmp_path) == []


def stop_after(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right after so many checkpoints."""
    store = training._store

    def store_and_stop(*arguments: Any) -> None:
        store(*arguments)
        if arguments[-1] == rounds:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_store", store_and_stop)


def test_a_resumed_run_gives_the_same_bits(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none"}
    erase("cat", out=whole, **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stopped:
        stop_after(2, patch)
        erase("cat", out=parts, **options)
    assert "--resume" in stopped.value.__notes__[0]
    assert sorted(os.listdir(tmp_path)) == [".parts.work", "whole"]
    with pytest.raises(FileExistsError, match="unfinished run; pass resume"):
        erase("cat", out=parts, **options)
    calls: list[int] = []
    erase("cat", out=parts, resume=True, progress=lambda stage, done, total: calls.append(done), **options)
    assert weights(parts) == weights(whole)
    assert sorted(os.listdir(tmp_path)) == ["parts", "whole"]


def test_what_the_first_of_two_concepts_took_is_kept(
    tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cat's training ends early, in its first round; dog's is stopped before its first checkpoint."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    settings = {"rounds": 2, "steps": 12, "batch": 2, "pictures": 2, "picture_steps": 2, "tolerance": 0.5}
    ending = {"tau": 1e9, "tau_unit": "absolute"}
    options: dict[str, Any] = {"concepts": ["cat", "dog"], "method": "sepme", "model": tiny_canvas, "evaluate": "none"}
    options |= {"settings": {**settings, **ending}}
    done: list[int] = []

    def stop(stage: str, now: int, total: int) -> None:
        if stage == "erasing" and now == 24 + 5:
            raise KeyboardInterrupt

    def note(stage: str, now: int, total: int) -> None:
        if stage == "erasing":
            done.append(now)

    erase(out=tmp_path / "whole", progress=note, **options)
    assert {12, 36} <= set(done) and not {13, 37} & set(done), "each ended after a round of two"
    with pytest.raises(KeyboardInterrupt) as stopped:
        erase(out=tmp_path / "parts", progress=stop, **options)
    assert "--resume" in stopped.value.__notes__[0]
    done.clear()
    erase(out=tmp_path / "parts", resume=True, progress=note, **options)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert min(done) == 24, "cat was not trained again"


def test_every_checkpoint_counts(tmp_path: Path) -> None:
    place, identity = Workplace(tmp_path / "x"), {"seed": 0}
    with pytest.raises(KeyboardInterrupt), place.opened():
        place.claim(identity, resume=False)
        checkpoint = place.folder / "checkpoint-1.safetensors"
        checkpoint.touch()
        later = place.identity.stat().st_mtime + 1000
        os.utime(checkpoint, (later, later))
        raise KeyboardInterrupt
    with pytest.raises(FileExistsError, match="unfinished run"):
        place.check(resume=False, overwrite=False)
    with place.opened():
        assert place.claim(identity, resume=True) == pytest.approx(1000)
    with place.opened():
        place.claim(identity, resume=False)
        checkpoint.touch()
        with pytest.raises(ValueError, match="seed was 0, now 1"):
            place.claim({"seed": 1}, resume=True)
    assert os.listdir(tmp_path) == []


def test_of_two_runs_at_a_time_the_second_is_refused(tiny_canvas: Path, tmp_path: Path) -> None:
    out, json_file = tmp_path / "x", tmp_path / "x.json"
    for taken in (out, json_file):
        with writing(taken), pytest.raises(FileExistsError, match=rf"{taken} is being written by process {os.getpid()} \(for"):
            erase("cat", model=tiny_canvas, out=out, json=json_file, settings=QUICK)
    assert os.listdir(tmp_path) == []


def test_an_earlier_run_is_kept_until_a_new_one_can_begin(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "x")
    place.folder.mkdir()
    place.checkpoint.touch()
    with pytest.raises(ValueError, match="no device"), place.opened():
        raise ValueError("no device 'cuda' here")
    assert place.checkpoint.exists()
    with place.opened():
        place.claim({"seed": 0}, resume=False)
        assert not place.checkpoint.exists()


def test_a_result_that_appears_meanwhile_is_not_lost(
    tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none"}
    write, out = job._write, tmp_path / "x"

    def late(*arguments: Any) -> None:
        out.mkdir()
        (out / "edit.json").write_text("another run's")
        write(*arguments)

    monkeypatch.setattr(job, "_write", late)
    with pytest.raises(PathTaken, match=r"the result is not lost: .*x-2$"):
        erase("cat", out=out, **options)
    assert (out / "edit.json").read_text() == "another run's"
    assert load_edit(tmp_path / "x-2").manifest.names == ["object:cat"]
    assert sorted(os.listdir(tmp_path)) == ["x", "x-2"]


def test_the_seconds_of_stopped_stretches_count(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none", "out": tmp_path / "x"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(2, patch)
        erase("cat", **options)
    checkpoint = tmp_path / ".x.work" / "checkpoint.safetensors"
    later = (tmp_path / ".x.work" / "run.json").stat().st_mtime + 1000  # as if the stretch had taken 1000 s
    os.utime(checkpoint, (later, later))
    assert 1000 < (erase("cat", resume=True, **options).result.seconds or 0) < 1900


@pytest.mark.parametrize(
    "change, words",
    [
        ({"concepts": "dog"}, "concepts was"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"settings": {**QUICK, "lr": 1e-4}}, "settings was"),
        ({"model": "sd1"}, "base was"),
        ({"dtype": "bfloat16"}, "dtype was 'float32', now 'bfloat16'"),
        ({"model": "other words"}, "wordings was"),
        ({"model": "other sampler"}, "sampler was .*'guidance_scale': 4.0.* now .*'guidance_scale': 2.0"),
        ({"model": "other scale of latents"}, "configs was"),
        ({"was": {"device": "cuda"}}, "device was 'cuda', now 'cpu'"),
        ({"was": {"versions": {"torch": "1.0"}}}, "versions was {'torch': '1.0'}, now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    change: dict[str, Any], words: str, tiny_canvas: Path, tiny_sd2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"concepts": "cat", "model": tiny_canvas, "settings": QUICK, "out": tmp_path / "x"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(1, patch)
        erase(**options)
    changed = {**options, **change}
    run = tmp_path / ".x.work" / "run.json"
    run.write_text(json.dumps({**json.loads(run.read_text(encoding="utf-8")), **changed.pop("was", {})}), encoding="utf-8")
    if "model" in change:
        changed["model"] = tiny_sd2 if change["model"] == "sd1" else _other(change["model"], tiny_canvas, tmp_path / "other")
    with pytest.raises(ValueError, match=words) as refused:
        erase(**changed, resume=True)
    assert not hasattr(refused.value, "__notes__"), "the same command again would not go on"
    assert (tmp_path / ".x.work" / "checkpoint.safetensors").exists(), "the other run's work is kept"


def _other(what: str, canvas: Path, folder: Path) -> Path:
    """The tiny canvas with the same weights, but ..."""
    file, change = {
        "other words": ("excise.json", {"templates": ["a drawing[ of {object}][ in {style} style]"]}),
        "other sampler": ("excise.json", {"sampler": {"steps": 4, "guidance_scale": 2.0, "size": 16}}),
        "other scale of latents": ("vae/config.json", {"scaling_factor": 0.5}),
    }[what]
    shutil.copytree(canvas, folder)
    told = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**told, **change}), encoding="utf-8")
    return folder


def test_a_run_that_fails_before_a_checkpoint_leaves_nothing(tiny_canvas: Path, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        erase("cat", model=tiny_canvas, out=tmp_path / "x", settings={**QUICK, "lr": 1e30, "steps": 20})
    assert os.listdir(tmp_path) == []


def test_overwrite_replaces_a_result_but_no_other_folder(tiny_canvas: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none", "out": tmp_path / "x"}
    erase("cat", **options)
    before = weights(tmp_path / "x")
    with pytest.raises(FileExistsError, match="exists"):
        erase("cat", seed=1, **options)
    assert weights(tmp_path / "x") == before
    erase("cat", seed=1, overwrite=True, **options)
    assert weights(tmp_path / "x") != before
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("…")
    with pytest.raises(FileExistsError, match="not a result that could be replaced"):
        erase("cat", **{**options, "out": tmp_path / "precious", "overwrite": True})
    assert (tmp_path / "precious" / "thesis.tex").exists()


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import excise
from excise.jobs import erase as job

model, out = sys.argv[1], Path(sys.argv[2])
settings = {"rounds": 1, "steps": 1, "batch": 2, "trajectories": 1, "sampler_steps": 2}
options = dict(model=model, settings=settings, evaluate="none", overwrite=True, device="cpu")
loaded = excise.load(model, device="cpu")
job._load = lambda request, progress: loaded
job.erase("cat", out=out, seed=0, **options)
began = time.perf_counter()
job.erase("cat", out=out, seed=0, **options)
once = time.perf_counter() - began

def work():
    for seed in range(1, 1000):
        job.erase("cat", out=out, seed=seed, **options)

def inode():
    try:
        return out.stat().st_ino
    except FileNotFoundError:  # between two names
        return None

chance, seeds = random.Random(0), set()
for trial in range(8):
    before, child = inode(), os.fork()
    if child == 0:
        work()
    while trial % 2 and inode() in (before, None):  # every other time, only after a first result has been replaced
        time.sleep(0.001)
    time.sleep(once * chance.uniform(0, 1.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    edit = excise.load_edit(out)  # checks that weights and manifest belong together
    seeds.add(edit.manifest.seed)
    assert f'"seed": {edit.manifest.seed},' in (out / "result.json").read_text()
    assert f"seed {edit.manifest.seed}," in (out / "README.md").read_text()
    assert (out / "before_after.png").read_bytes().endswith(b"IEND\\xaeB`\\x82")
    assert len(os.listdir(out)) == 5
job.erase("cat", out=out, seed=0, **options)
print(len(seeds - {0}))
"""


def test_a_kill_at_any_moment_leaves_a_whole_result(tiny_canvas: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tiny_canvas), str(tmp_path / "x")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 1, "some results were replaced before the kill"


class TestRequest:
    def test_flags_overrule_the_file_and_the_file_the_defaults(self) -> None:
        file = {"concepts": "cat", "seed": "4", "settings": {"lr": "1e-3", "rounds": "2"}}
        resolved = resolve(EraseRequest, file, {"seed": 5, "settings": {"rounds": "9"}})
        assert (resolved.request.concepts, resolved.request.seed) == (("cat",), 5)
        assert resolved.request.settings == {"lr": "1e-3", "rounds": "9"}
        assert {k: resolved.sources[k] for k in ("concepts", "seed", "model")} == {
            "concepts": "file", "seed": "flag", "model": "default",
        }  # fmt: skip
        assert resolved.parts == {"settings": {"lr": "file", "rounds": "flag"}}

    def test_a_yaml_null_is_the_name_null(self, tmp_path: Path) -> None:
        """`target: null` is a setting of MiM-MU, not a missing value."""
        path = tmp_path / "run.yaml"
        path.write_text("concepts: [cat, style:sketch]\nsettings:\n  target: null\n", encoding="utf-8")
        assert read_yaml(path) == {"concepts": ["cat", "style:sketch"], "settings": {"target": "null"}}

    @pytest.mark.parametrize("text", ["seed: 1\nconcepts: cat\nseed: 2\n", "settings: {lr: 1, seed: 3, lr: 2}\n"])
    def test_a_key_that_is_given_twice_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"run\.yaml: '(seed|lr)' is given twice"):
            read_yaml(tmp_path / "run.yaml")

    def test_home_is_where_the_user_s_is(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "run.yaml").write_text("out: ~/x\nharden: [~/a, b]\n", encoding="utf-8")
        request = resolve(EraseRequest, read_yaml(tmp_path / "run.yaml"), {}).request
        assert request.out == tmp_path / "x" and request.harden == (tmp_path / "a", Path("b"))
        erase("cat", model=tiny_canvas, out="~/x", settings={**QUICK, "rounds": 0}, evaluate="none")
        assert sorted(os.listdir(tmp_path)) == ["run.yaml", "x"]

    @pytest.mark.parametrize(
        "values, words",
        [
            ({"sede": 1}, "unknown key 'sede' in the file; did you mean 'seed'"),
            ({"rounds": 1}, "settings of the method go under 'settings:'"),
            ({"seed": "soon"}, "bad option: seed='soon'"),
            ({"seed": -1}, "bad option: seed=-1"),
            ({"dtype": "int8"}, "bad option: dtype='int8'.*float32"),
            ({"settings": "lr=1"}, "settings must be a mapping"),
        ],
    )
    def test_wrong_values_are_named(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            resolve(EraseRequest, values, {})
