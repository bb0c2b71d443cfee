"""The command line: what it prints and writes, and one clear line with the right exit code for every bad input."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.main import get_command
from typer.testing import CliRunner

import excise
from excise.attacks import attacks
from excise.cli import app, screen
from excise.cli.application import COMMANDS
from excise.cli.erase import in_a_folder
from excise.cli.errors import explain
from excise.erasure import training
from excise.methods import get as get_method
from excise.models import load
from excise.models.checkpoint_file import WIDTH
from excise.progress import Progress
from excise.requests.erase import EraseRequest
from excise.results.erasure import ErasureResult
from excise.settings import parse

QUICK = {"rounds": 2, "steps": 1, "batch": 4, "trajectories": 2, "sampler_steps": 2}


def sets(**settings: object) -> list[str]:
    """Flags for quick settings, and others."""
    return [word for key, value in {**QUICK, **settings}.items() for word in ("--set", f"{key}={value}")]


SETS = sets()


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def ok(*arguments: object) -> str:
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def refused(code: int, *arguments: object) -> str:
    """The one line on stderr of a command that must fail."""
    found, out, err = run(*arguments)
    assert found == code, (found, out, err)
    assert err.count("\n") == 1 and err.startswith("excise: "), err
    assert "Traceback" not in err and out == ""
    return err


@pytest.fixture(scope="session")
def edit(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit of the tiny canvas, strong enough to be seen."""
    out = tmp_path_factory.mktemp("edits") / "cat"
    excise.erase("cat", model=tiny_canvas, out=out, settings={**QUICK, "lr": 0.05}, evaluate="none")
    return out


class TestErase:
    def test_writes_the_folder_and_prints_the_numbers(self, tiny_canvas: Path, tmp_path: Path) -> None:
        printed = ok("erase", "cat", "--model", tiny_canvas, "--out", tmp_path / "cat", *SETS, "--json", tmp_path / "n.json")
        for word in (
            "UA",
            "IRA",
            "CRA",
            "neutral",
            "base model",
            "edited model",
            "erased object:cat",
            "before_after.png",
            "measured quickly",
        ):
            assert word in printed
        found = ErasureResult.read(tmp_path / "n.json").evaluation
        assert found is not None and f"{100 * found.ua.value:.1f} %" in printed

    def test_the_folder_is_named_after_the_concepts(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ok("erase", "cat", "style:sketch", "--model", tiny_canvas, *SETS, "--evaluate", "none")
        assert (tmp_path / "out" / "cat-style-sketch" / "edit.json").is_file()

    def test_a_model_without_a_list_takes_any_text(self, tiny_sd2: Path, tmp_path: Path) -> None:
        printed = ok(
            "erase",
            "Van Gogh",
            "--kind",
            "style",
            "--also",
            "starry night",
            "--model",
            tiny_sd2,
            *SETS,
            "--out",
            tmp_path / "x",
        )
        assert "not measured" in printed and "erased style:Van Gogh" in printed

    def test_dry_run_says_where_each_value_comes_from(self, tiny_canvas: Path, tmp_path: Path) -> None:
        config = tmp_path / "run.yaml"
        config.write_text("concepts: cat\nseed: 3\nsettings:\n  lr: 5e-4\n  target: null\n", encoding="utf-8")
        printed = ok(
            "erase", "--config", config, "--model", tiny_canvas, "--set", "lr=1e-4", "--out", tmp_path / "x", "--dry-run"
        )
        rows = {line.split()[0]: line.split()[1:3] for line in printed.splitlines() if len(line.split()) > 2}
        assert rows["seed"] == ["3", "file"] and rows["method"] == ["mim", "default"] and rows["model"][1] == "flag"
        assert rows["lr"] == ["0.0001", "flag"] and rows["target"] == ["null", "file"] and rows["eta"] == ["0.0", "default"]
        assert "a kitty" in printed, "the phrases that name the concept"
        assert os.listdir(tmp_path) == ["run.yaml"]

    def test_file_and_flags_give_the_same_edit(self, tiny_canvas: Path, tmp_path: Path) -> None:
        settings = "".join(f"  {key}: {value}\n" for key, value in QUICK.items())
        text = f"concepts: [cat]\nmodel: {tiny_canvas}\nevaluate: none\nout: {tmp_path}/file\nsettings:\n{settings}"
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        ok("erase", "--config", tmp_path / "run.yaml")
        ok("erase", "cat", "--model", tiny_canvas, "--evaluate", "none", "--out", tmp_path / "flags", *SETS)
        one, other = ((tmp_path / name / "edit.safetensors").read_bytes() for name in ("file", "flags"))
        assert one == other

    def test_ctrl_c_keeps_the_checkpoint_and_resume_goes_on(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = training._store

        def store_and_stop(*arguments: Any) -> None:
            store(*arguments)
            signal.raise_signal(signal.SIGINT)

        command = ("erase", "cat", "--model", tiny_canvas, "--evaluate", "none", *SETS)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        with monkeypatch.context() as patch:
            patch.setattr(training, "_store", store_and_stop)
            line = refused(130, *command, "--out", tmp_path / "x")
        signal.signal(signal.SIGINT, before)
        assert "stopped" in line and "--resume" in line
        assert "unfinished run" in refused(2, *command, "--out", tmp_path / "x")
        ok(*command, "--out", tmp_path / "x", "--resume")
        ok(*command, "--out", tmp_path / "y")
        one, other = ((tmp_path / name / "edit.safetensors").read_bytes() for name in "xy")
        assert one == other


class TestGenerate:
    def test_a_folder_of_pictures_says_how_each_was_made(self, tiny_canvas: Path, tmp_path: Path) -> None:
        out = tmp_path / "pictures"
        printed = ok("generate", "a cat", "a dog", "--model", tiny_canvas, "-n", "2", "--seed", "7", "--out", out)
        about = json.loads((out / "pictures.json").read_text(encoding="utf-8"))
        made = [(entry["prompt"], entry["seed"]) for entry in about["pictures"]]
        assert made == [("a cat", 7), ("a cat", 8), ("a dog", 7), ("a dog", 8)]
        assert printed.split() == [str(out / entry["file"]) for entry in about["pictures"]]
        assert all((out / entry["file"]).is_file() for entry in about["pictures"])

    def test_what_the_model_chose_is_said(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        command = ("generate", "a cat", "--model", tiny_canvas, "--edit", edit, "--device", "cpu")
        ok(*command, "--out", tmp_path / "own")
        ok(*command, "--steps", "2", "--guidance", "0", "--dtype", "mixed", "--out", tmp_path / "asked")
        own, asked = (json.loads((tmp_path / name / "pictures.json").read_text(encoding="utf-8")) for name in ("own", "asked"))
        keys = ("steps", "guidance", "dtype", "device")
        assert [own[key] for key in keys] == [4, 4.0, "float32", "cpu"]
        assert [asked[key] for key in keys] == [2, 0.0, "mixed", "cpu"]
        assert own["base_fingerprint"]["float32"] == asked["base_fingerprint"]["float32"] and "torch" in own["versions"]
        assert own["edits"][0]["weights_sha256"], "the whole manifests"

    def test_scale_0_is_the_base_and_scale_1_is_not(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        command = ("generate", "a cat", "--model", tiny_canvas, "-n", "3")
        ok(*command, "--out", tmp_path / "base.png")
        for scale in ("0", "1"):
            ok(*command, "--edit", edit, "--scale", scale, "--out", tmp_path / f"{scale}.png")
        base, zero, one = ((tmp_path / f"{name}.png").read_bytes() for name in ("base", "0", "1"))
        assert base == zero != one
        assert _size(tmp_path / "base.png") == (3 * 16, 16)

    @pytest.mark.parametrize(
        "options, words",
        [
            ((" ",), "prompt 1 is empty"),
            (("a", ""), "prompt 2 is empty"),
            (("a", "-n", "0"), "n='0'"),
            (("a", "--steps", "0"), "steps='0'"),
            (("a", "--guidance", "nan"), "guidance='nan'"),
            (("a", "--scale", "inf"), "scale='inf'"),
            (("a", "--scale", "0.5"), "scale=0.5 is the strength of edits, and none is given"),
            (("a", "--seed", "-1"), "seed='-1'"),
        ],
    )
    def test_bad_input_is_refused(self, options: tuple[str, ...], words: str, tiny_sd1: Path, tmp_path: Path) -> None:
        assert words in refused(2, "generate", *options, "--model", tiny_sd1, "--out", tmp_path / "x.png")
        assert os.listdir(tmp_path) == []

    def test_nothing_is_overwritten(self, tiny_sd1: Path, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_text("old")
        assert "exists" in refused(2, "generate", "a", "--model", tiny_sd1, "--out", tmp_path / "x.png")
        assert "not a result" in refused(2, "generate", "a", "--model", tiny_sd1, "--overwrite", "--out", tmp_path)
        assert (tmp_path / "x.png").read_text() == "old"
        ok("generate", "a", "--model", tiny_sd1, "--steps", "2", "--out", tmp_path / "p")
        (tmp_path / "p" / "notes.txt").write_text("mine")
        again = ("generate", "a", "--model", tiny_sd1, "--steps", "2", "--out", tmp_path / "p", "--overwrite")
        assert "p cannot be replaced: notes.txt in it was not written by excise" in refused(2, *again)
        (tmp_path / "p" / "notes.txt").unlink()
        ok(*again)
        ok("generate", "a", "--model", tiny_sd1, "--steps", "2", "--out", tmp_path / "x.png", "--overwrite")
        assert _size(tmp_path / "x.png") == (16, 16)

    @pytest.mark.parametrize("out", ["x.png", "x"])
    def test_what_comes_meanwhile_is_not_replaced(
        self, out: str, tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from excise.jobs import generate

        draw, path = generate.pictures, tmp_path / out

        def slow(*arguments: Any) -> Any:
            (path if path.suffix else path / "theirs").parent.mkdir(exist_ok=True)
            (path if path.suffix else path / "theirs").write_text("theirs")
            return draw(*arguments)

        monkeypatch.setattr(generate, "pictures", slow)
        line = refused(1, "generate", "a", "--model", tiny_sd1, "--steps", "2", "--out", path)
        kept = path.with_stem("x-2")
        assert f"the result is not lost: {kept}" in line and kept.exists()
        assert (path if path.suffix else path / "theirs").read_text() == "theirs"
        assert sorted(os.listdir(tmp_path)) == sorted([path.name, kept.name])


class TestEvaluate:
    def test_takes_the_concepts_from_the_edit(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        few = ("--target-pictures", 6, "--other-pictures", 3, "--model", tiny_canvas)
        printed = ok("evaluate", "--edit", edit, *few, "--json", tmp_path / "n.json")
        found = ErasureResult.read(tmp_path / "n.json")
        assert found.evaluation and found.provenance and found.evaluation.pictures.target == 6
        assert [target.concept for target in found.evaluation.targets] == ["object:cat"] == list(found.concepts)
        assert found.method == "mim" and found.seconds and found.seconds > 0 and found.peak_mb
        (edited,) = found.provenance.edits
        assert edited.artefact_hash == hashlib.sha256((edit / "edit.safetensors").read_bytes()).hexdigest()
        assert found.provenance.base_fingerprint and found.provenance.versions
        assert "UA" in printed
        assert "exists" in refused(2, "evaluate", "--edit", edit, *few, "--json", tmp_path / "n.json")

    def test_edits_of_different_kinds_together(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        quick = [
            word for text in ("rounds=1", "steps=1", "batch=1", "trajectories=1", "sampler_steps=2") for word in ("--set", text)
        ]
        made = ("--method", "spm", "--model", tiny_canvas, "--out", tmp_path / "dog", "--evaluate", "none")
        ok("erase", "dog", *made, *quick)
        few = ("--target-pictures", 3, "--other-pictures", 3, "--model", tiny_canvas)
        ok("evaluate", "--edit", edit, "--edit", tmp_path / "dog", *few, "--json", tmp_path / "n.json")
        found = ErasureResult.read(tmp_path / "n.json")
        assert found.method == "mim+spm" and found.concepts == ("object:cat", "object:dog") and found.seconds is None

    def test_the_base_alone(self, tiny_canvas: Path) -> None:
        ok("evaluate", "--concept", "dog", "--model", tiny_canvas, "--target-pictures", "3", "--other-pictures", "3")

    def test_what_cannot_be_measured_is_refused(self, tiny_sd1: Path, tiny_canvas: Path) -> None:
        assert "brings no classifier" in refused(2, "evaluate", "--concept", "cat", "--model", tiny_sd1)
        assert "nothing to measure" in refused(2, "evaluate", "--model", tiny_canvas)


class TestShow:
    def test_lists(self, tiny_canvas: Path, tiny_sd1: Path) -> None:
        assert "MiM-MU" in ok("list", "methods")
        rows = {line.split()[0]: line for line in ok("list", "attacks").splitlines()}
        assert rows.keys() >= attacks().keys()
        assert re.search(r"Ring-A-Bell +arXiv 2310\.10012 +20,000 +-", rows["ring-a-bell"])
        assert re.search(r"Seed search +arXiv 2310\.11868 +20,000 +8,000", rows["seeds"])
        assert "canvas" in ok("list", "models")
        assert "member:owl" in ok("list", "concepts", "--model", tiny_canvas)
        assert "any free text" in ok("list", "concepts", "--model", tiny_sd1)

    def test_concepts_of_a_model_that_is_none(self, tiny_sd1: Path, hub: Callable[[str, Path], None], tmp_path: Path) -> None:
        hub("somebody/sd", tiny_sd1)
        assert "any free text" in ok("list", "concepts", "--model", "somebody/sd")
        assert "the hub gives no model_index.json" in refused(2, "list", "concepts", "--model", "typo/nothere")
        assert "not a model folder" in refused(2, "list", "concepts", "--model", tmp_path)

    def test_info(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        printed = ok("info", edit)
        for word in ("object:cat", "tiny canvas", "mim", "lr=0.05", "float32 on ", "not measured: no evaluation was asked for"):
            assert word in printed
        assert "hardened" not in printed
        assert "3 of kind style" in ok("info", tiny_canvas)

    def test_info_shows_what_erase_printed(self, tiny_canvas: Path, tmp_path: Path) -> None:
        printed = ok("erase", "cat", "--model", tiny_canvas, "--out", tmp_path / "cat", *SETS)
        measured, _, _ = printed.partition("erased object:cat in ")
        assert "95 % intervals" in measured and "nats left" in measured and "network evaluations" in measured
        assert ok("info", tmp_path / "cat").endswith(f"\n\n{measured}")

    def test_info_of_every_kind_of_model(
        self, tiny_canvas: Path, tiny_sd1: Path, hub: Callable[[str, Path], None], tmp_path: Path
    ) -> None:
        assert re.search(r"name +canvas *\n.*StableDiffusionPipeline *\n.* of kind object", ok("info", "canvas"))
        assert re.search(r"name +tiny canvas *\n", ok("info", tiny_canvas))
        pipeline = load(tiny_canvas, device="cpu").pipeline
        numbers = sum(p.numel() for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder) for p in part.parameters())
        assert re.search(rf"weights +{numbers:,} numbers, [\d.]+ MiB in 3 files", ok("info", tiny_canvas))
        hub("somebody/sd", tiny_sd1)
        assert re.search(r"name +sd *\n.*StableDiffusionPipeline *\n.*any free text", ok("info", "somebody/sd"))
        for width, words in ((768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x"), (32, "text of width 32")):
            save_file({WIDTH: torch.zeros(4, width)}, tmp_path / "model.safetensors")
            assert f"{words}, all in one file" in ok("info", tmp_path / "model.safetensors")

    def test_info_of_what_is_none(self, tmp_path: Path) -> None:
        assert "neither an edit" in refused(2, "info", tmp_path)
        assert "is not a file or folder here" in refused(2, "info", tmp_path / "nothing")
        assert "'out/nothing' is no folder here, and the hub" in refused(2, "info", "out/nothing")
        (tmp_path / "a.ckpt").touch()
        assert "pickles are never loaded" in refused(2, "info", tmp_path / "a.ckpt")
        (tmp_path / "model_index.json").write_text("{", encoding="utf-8")
        assert "model_index.json is not a whole JSON file" in refused(2, "info", tmp_path)


class TestApply:
    @pytest.mark.parametrize("base", ["tiny_sd1", "tiny_sd2", "tiny_canvas"])
    def test_plain_diffusers_loads_what_was_written(self, base: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        """Erase, save, apply; then diffusers alone gives the pictures of base + edit."""
        folder = request.getfixturevalue(base)
        ok("erase", "cat", "--model", folder, "--evaluate", "none", "--out", tmp_path / "cat", *SETS, "--set", "lr=0.05")
        ok("apply", tmp_path / "cat", "--model", folder, "--to", tmp_path / "model")
        plain, edited = (_load(path) for path in (folder, tmp_path / "model"))
        model = excise.load(folder)
        with excise.load_edit(tmp_path / "cat").applied(model):
            for name, tensor in edited.unet.state_dict().items():
                assert torch.equal(tensor, model.denoiser.state_dict()[name])
        ours, theirs = _picture(plain), _picture(edited)
        excise.load_edit(tmp_path / "cat").apply(plain)
        assert torch.allclose(_picture(plain), theirs, atol=1e-4)
        assert (ours - theirs).abs().max() > 0.01, "the edit does something"

    def test_everything_else_of_the_base_is_copied(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        base = shutil.copytree(tiny_canvas, tmp_path / "base")
        (base / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"the unedited weights once more")
        (base / "all-in-one.safetensors").write_bytes(b"and again")
        (base / "LICENSE").write_text("licence")
        ok("apply", edit, "--model", base, "--to", tmp_path / "model")
        kept = (
            "LICENSE",
            "classifier.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
        )
        for name in kept:
            assert (tmp_path / "model" / name).read_bytes() == (base / name).read_bytes()
        weights = sorted(path.name for path in (tmp_path / "model").rglob("*.safetensors"))
        assert weights == sorted([*(Path(name).name for name in kept[1:]), "diffusion_pytorch_model.safetensors"])
        assert "tiny canvas without object:cat" in ok("info", tmp_path / "model")
        about = json.loads((tmp_path / "model" / "excise_edits.json").read_text(encoding="utf-8"))
        assert about["edits"][0]["weights_sha256"]

    def test_a_link_out_of_the_model_is_not_followed(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        base = shutil.copytree(tiny_canvas, tmp_path / "base")
        (tmp_path / "private").mkdir()
        (base / "vae" / "more").symlink_to(tmp_path / "private")
        assert f"{base}/vae/more is a link that leads out" in refused(2, "apply", edit, "--model", base, "--to", tmp_path / "m")
        assert sorted(os.listdir(tmp_path)) == ["base", "private"]

    def test_nothing_is_overwritten(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        assert "not a result" in refused(2, "apply", edit, "--model", tiny_canvas, "--to", tmp_path, "--overwrite")
        assert os.listdir(tmp_path) == ["notes.txt"]

    def test_the_base_is_never_written_to(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        base = shutil.copytree(tiny_canvas, tmp_path / "base")
        (tmp_path / "link").symlink_to(base)
        for to in (base / "edited", base / "unet" / "edited", tmp_path / "link" / "edited"):
            assert "in the folder of the base model" in refused(2, "apply", edit, "--model", base, "--to", to)
        assert sorted(os.listdir(base)) == sorted(os.listdir(tiny_canvas))
        edited = tmp_path / "edited"
        ok("apply", edit, "--model", base, "--to", edited)
        assert "is what is read as model" in refused(2, "apply", edit, "--model", edited, "--to", edited, "--overwrite")

    def test_a_scale_that_is_no_number_writes_nothing(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        line = refused(2, "apply", edit, "--model", tiny_canvas, "--scale", "nan", "--to", tmp_path / "model")
        assert "scale='nan': must be a finite number" in line and os.listdir(tmp_path) == []


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def _load(folder: Path) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _picture(pipeline: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    made = pipeline("a picture of a cat", num_inference_steps=3, generator=generator, output_type="pt", height=16, width=16)
    return made.images


Break = Callable[[Path], None]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _foreign(path: Path) -> None:
    save_file({"something.else": torch.zeros(3)}, str(path))


def _not_finite(path: Path) -> None:
    tensors = load_file(str(path))
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, str(path), {"format": "pt"})


class TestBadInput:
    """Everything that issue-writers get wrong: one line, exit code 2, nothing written."""

    @pytest.mark.parametrize(
        "options, words",
        [
            (("cta",), "unknown concept 'cta'; did you mean 'cat'?"),
            (("sketch", "--kind", "object"), "unknown object 'sketch'"),
            (("cat", "--kind", "objet"), "did you mean 'object'?"),
            ((" ",), "empty"),
            ((), "name at least one concept"),
            (("cat", "cat"), "named twice"),
            (("cat", "dog", "--also", "kitty"), "one concept at a time"),
            (("cat", "--method", "mimm"), "unknown method 'mimm'; did you mean 'mim'?"),
            (("cat", "--set", "rouns=3"), "'rouns' (did you mean 'rounds'?"),
            (("cat", "--set", "rounds=many"), "rounds='many'"),
            (("cat", "--set", "rounds"), "expected key=value"),
            (("cat", "--set", "lr=1", "--set", "lr=2"), "given twice"),
            (("cat", "--set", "preset=paperr"), "no preset 'paperr'"),
            (("cat", "--seed", "-1"), "seed='-1'"),
            (("cat", "--dtype", "int8"), "dtype='int8'"),
            (("cat", "--device", "toaster"), "no device 'toaster' here"),
            (("cat", "--config", "missing.yaml"), "no such file: missing.yaml"),
        ],
    )
    def test_of_erase(self, options: tuple[str, ...], words: str, tiny_canvas: Path, tmp_path: Path) -> None:
        assert words in refused(2, "erase", *options, "--model", tiny_canvas, "--out", tmp_path / "x")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("text, words", [("a: [", "not YAML"), ("- cat", "must hold a mapping"), ("sede: 1", "'seed'")])
    def test_in_a_config_file(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        assert words in refused(2, "erase", "cat", "--config", tmp_path / "run.yaml")

    @pytest.mark.parametrize("name, words", [("nothing", "no such model"), ("", "no model_index.json"), ("a.ckpt", "pickle")])
    def test_model_that_is_none(self, name: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "a.ckpt").write_bytes(b"\x80\x04N.")
        assert words in refused(2, "erase", "cat", "--model", tmp_path / name, "--out", tmp_path / "x", *SETS)
        assert os.listdir(tmp_path) == ["a.ckpt"]

    @pytest.mark.parametrize("breaks, words", [(_truncate, "damaged"), (_foreign, "unet"), (_not_finite, "not finite")])
    def test_model_with_bad_weights(self, breaks: Break, words: str, tiny_sd1: Path, tmp_path: Path) -> None:
        base = shutil.copytree(tiny_sd1, tmp_path / "base")
        breaks(base / "unet" / "diffusion_pytorch_model.safetensors")
        assert words in refused(2, "erase", "cat", "--model", base, "--out", tmp_path / "x", *SETS)
        assert os.listdir(tmp_path) == ["base"]

    def test_model_with_pickled_weights(self, tiny_sd1: Path, tmp_path: Path) -> None:
        base = shutil.copytree(tiny_sd1, tmp_path / "base")
        (base / "unet" / "diffusion_pytorch_model.safetensors").rename(base / "unet" / "diffusion_pytorch_model.bin")
        assert "pickle files are never loaded" in refused(2, "generate", "a", "--model", base, "--out", tmp_path / "x.png")

    @pytest.mark.parametrize("breaks, words", [(_truncate, "safetensors"), (_foreign, "SHA-256"), (_not_finite, "SHA-256")])
    def test_edit_with_bad_weights(self, breaks: Break, words: str, edit: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        broken = shutil.copytree(edit, tmp_path / "edit")
        breaks(broken / "edit.safetensors")
        for command in (
            ("info", broken),
            ("apply", broken, "--model", tiny_canvas, "--to", tmp_path / "x"),
            ("generate", "a", "--edit", broken, "--model", tiny_canvas, "--out", tmp_path / "x.png"),
            ("evaluate", "--edit", broken, "--model", tiny_canvas, "--json", tmp_path / "x.json"),
        ):
            assert words in refused(2, *command)
        assert os.listdir(tmp_path) == ["edit"]

    def test_edit_with_a_bad_manifest(self, edit: Path, tmp_path: Path) -> None:
        broken = shutil.copytree(edit, tmp_path / "edit")
        (broken / "edit.json").write_text('{"model": 1}', encoding="utf-8")
        assert "not the manifest of an edit" in refused(2, "info", broken)

    def test_edit_of_another_base(self, edit: Path, tiny_sd2: Path, tmp_path: Path) -> None:
        assert "made for another model" in refused(2, "apply", edit, "--model", tiny_sd2, "--to", tmp_path / "x")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("command", ["info", "apply", "generate", "evaluate"])
    def test_edit_that_is_not_there(self, command: str, tiny_canvas: Path, tmp_path: Path) -> None:
        missing = tmp_path / "nothing"
        arguments: dict[str, tuple[object, ...]] = {
            "info": (missing,),
            "apply": (missing, "--to", tmp_path / "x"),
            "generate": ("a", "--edit", missing, "--out", tmp_path / "x.png"),
            "evaluate": ("--edit", missing),
        }
        model = () if command == "info" else ("--model", tiny_canvas)
        assert "no such" in refused(2, command, *arguments[command], *model)

    def test_result_that_exists(self, edit: Path, tiny_canvas: Path) -> None:
        before = {path.name: path.read_bytes() for path in edit.iterdir()}
        assert "exists; choose another path" in refused(2, "erase", "cat", "--model", tiny_canvas, "--out", edit, *SETS)
        assert {path.name: path.read_bytes() for path in edit.iterdir()} == before


class TestFailures:
    """A run that fails: one line, exit code 1, nothing overwritten, nothing half-written."""

    @pytest.mark.parametrize("target", ["result", "checkpoint"])
    def test_a_full_disk(
        self, target: str, edit: Path, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = shutil.copytree(edit, tmp_path / "x")
        before = {path.name: path.read_bytes() for path in old.iterdir()}
        flush, full = os.fsync, []

        def no_space(handle: int) -> None:
            name = os.readlink(f"/proc/self/fd/{handle}")
            if "checkpoint" in name if target == "checkpoint" else ".work" not in name:
                full.append(name)
                raise OSError(errno.ENOSPC, "No space left on device")
            flush(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", no_space)
            line = refused(1, "erase", "cat", "--model", tiny_canvas, "--evaluate", "none", *SETS, "--overwrite", "--out", old)
        assert full and "the disk is full" in line
        assert {path.name: path.read_bytes() for path in old.iterdir()} == before
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
        assert (".x.work" in os.listdir(tmp_path)) == (target == "result") == ("--resume" in line)

    def test_a_file_that_cannot_grow(self, edit: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        """The limit of the system on file sizes stops the writer of the weights half way, as a full disk does."""
        environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from excise.cli import main; main()", "apply", str(edit)]
        command += ["--model", str(tiny_canvas), "--to", str(tmp_path / "x")]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=900,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        )  # fmt: skip
        assert result.returncode == 1, result.stderr
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("excise: error: ")
        assert os.listdir(tmp_path) == []

    def test_a_run_that_diverges(self, tiny_canvas: Path, tmp_path: Path) -> None:
        options = (*sets(lr=1e30, steps=20), "--out", tmp_path / "x")
        assert "smaller learning rate" in refused(1, "erase", "cat", "--model", tiny_canvas, *options)
        assert os.listdir(tmp_path) == []

    def test_debug_shows_the_traceback_wherever_it_stands(self, tmp_path: Path) -> None:
        for arguments in (["--debug", "info", str(tmp_path)], ["info", str(tmp_path), "--debug"]):
            result = CliRunner().invoke(app, arguments)
            assert isinstance(result.exception, ValueError)

    @pytest.mark.parametrize(
        "error, code",
        [
            (ValueError("x"), 2), (TypeError("x"), 2), (FileNotFoundError(2, "x"), 2), (FileExistsError("x"), 2),
            (OSError(errno.ENOSPC, "x"), 1), (OSError("x"), 1), (FloatingPointError("x"), 1), (MemoryError(), 1),
            (torch.OutOfMemoryError("x"), 1), (RuntimeError("x"), 1), (KeyboardInterrupt(), 130),
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_exit_codes(self, error: BaseException, code: int) -> None:
        error.add_note("a note\nof two lines")
        line, found = explain(error)
        assert found == code and "a note of two lines" in line

    def test_what_is_advised_for_want_of_memory_exists(self) -> None:
        flags = {flag for command in get_command(app).commands.values() for param in command.params for flag in param.opts}  # type: ignore[attr-defined]
        advised = set(re.findall(r"--[a-z-]+", explain(MemoryError())[0]))
        assert "--dtype" in advised <= flags and "batch" in get_method("mim").settings.model_fields


class TestHelp:
    @pytest.mark.parametrize("command", ["erase", "generate", "evaluate", "list", "info", "apply", "canvas", "vary"])
    def test_help_ends_with_two_examples(self, command: str) -> None:
        printed = ok(command, "--help")
        _, _, examples = printed.partition("Examples:")
        assert examples.count("excise ") == 2


def test_a_model_that_lost_its_vocabulary_is_refused(tiny_canvas: Path, tmp_path: Path) -> None:
    """Hosts read what is left of a tokenizer: one in which all words are the same."""
    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (model / "tokenizer" / name).unlink(missing_ok=True)
    code, _, err = run("generate", "a cat", "--model", model, "--out", tmp_path / "x.png")
    assert code == 2 and "unexpected" not in err and err.count("\n") == 1 and not (tmp_path / "x.png").exists()


def test_a_config_with_a_wrong_value_is_refused(tiny_canvas: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    config = model / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text(encoding="utf-8")), "hidden_size": "x"}), encoding="utf-8")
    code, _, err = run("generate", "a cat", "--model", model, "--out", tmp_path / "x.png")
    assert code == 2 and "is damaged" in err


def test_a_classifier_that_is_missing_is_noticed_before_the_erasure(
    tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    (model / json.loads((model / "excise.json").read_text(encoding="utf-8"))["classifier"]).unlink()
    erased: list[object] = []
    monkeypatch.setattr("excise.jobs.erase._erased", lambda *arguments: erased.append(arguments))
    code, _, err = run("erase", "cat", "--model", model, *SETS, "--out", tmp_path / "x")
    assert code == 2 and "no such file" in err and not erased


def test_a_model_folder_of_links_keeps_its_classifier(tiny_canvas: Path, tmp_path: Path) -> None:
    """As the hub's cache has them: every file is a link to one with another name."""
    model, blobs = tmp_path / "model", tmp_path / "blobs"
    shutil.copytree(tiny_canvas, model)
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    assert excise.load(model, device="cpu").classifier == model / "classifier.safetensors"


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tiny_canvas: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    code, _, err = run("evaluate", "--model", tiny_canvas, "--concept", "cat", "--json", tmp_path / "file" / "deep" / "x.json")
    assert code == 2 and f"{tmp_path / 'file'} is not a folder" in err


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
@pytest.mark.parametrize("command", [["evaluate", "--concept", "cat"], ["measure", "cat"], ["vary", "x"], ["audit", "x"]])
def test_seeds_that_generators_do_not_take_are_refused(command: list[str], seed: str) -> None:
    code, _, err = run(*command, "--seed", seed)
    assert code == 2 and f"bad option: seed='{seed}'" in err


def test_a_long_concept_has_a_folder_that_can_be_made() -> None:
    out = [in_a_folder(parse(EraseRequest, {"concepts": concept}, "option")).out for concept in ("x" * 300, "A b")]
    assert out[0] is not None and len(out[0].name.encode()) < 255 and out[1] == Path("out/a-b")


def test_headings_are_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    screen.table(["a[b]", "x[/b]"], [["1", "2"]], title="t[/i]")
    assert capsys.readouterr().out.split() == ["t[/i]", "a[b]", "x[/b]", "1", "2"]


def test_a_reader_that_has_gone_is_no_error() -> None:
    assert explain(BrokenPipeError(errno.EPIPE, "Broken pipe")) == ("", 1)


@pytest.mark.parametrize("sampler", [{"steps": "50"}, {"size": 0}, {"guidance_scale": "x"}])
def test_a_sampler_that_cannot_be_is_refused(sampler: dict[str, Any], tiny_canvas: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    about = model / "excise.json"
    about.write_text(json.dumps({**json.loads(about.read_text(encoding="utf-8")), "sampler": sampler}), encoding="utf-8")
    code, _, err = run("generate", "a cat", "--model", model, "--out", tmp_path / "x.png")
    assert code == 2 and "excise.json is not a model description" in err


def test_an_erasure_tells_where_its_time_went(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    printed = ok("erase", "cat", "--model", tiny_canvas, "--out", tmp_path / "cat", *SETS)
    rows = printed.partition("where the time went")[2].splitlines()[1:]
    stages = [re.split(" {2,}", row)[0] for row in rows]
    drawn = ["before and after", "base pictures", "neutral pictures", "edited pictures", "measuring", "writing", "all"]
    assert stages == ["loading the model", "erasing", *drawn]
    seconds = [float(re.split(" {2,}", row)[1]) for row in rows]
    assert abs(sum(seconds[:-1]) - seconds[-1]) < 0.06 * len(rows), "each is rounded"


def test_who_watches_is_told_of_the_picture_before_it_is_measured(
    tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies there, whole, at the next sign of progress, and nowhere but in the result at the end."""
    seen: list[object] = []
    out, picture = tmp_path / "cat", tmp_path / ".cat.work" / "before_after.png"

    def tell(line: str) -> None:
        assert line == f"before and after, until all is measured: {picture}"
        seen.append(Image.open(picture).convert("RGB").tobytes())

    @contextmanager
    def watched() -> Iterator[Progress]:
        yield lambda stage, done, total: seen.append(stage)

    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(screen, "tell", tell)
    monkeypatch.setattr(screen, "progress", watched)
    ok("erase", "cat", "--model", tiny_canvas, "--out", out, *SETS)
    stages = [each for each in seen if isinstance(each, str)]
    shown = Image.open(out / "before_after.png").convert("RGB").tobytes()
    assert len(stages) == len(seen) - 1 and seen[seen.index("base pictures") - 1] == shown
    assert not picture.exists()


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_what_the_list_says_of_a_command_fits_in_a_line(verb: str) -> None:
    assert len(COMMANDS[verb]) <= 66 and COMMANDS[verb].endswith(".")
    assert get_command(app).commands[verb].name == verb  # type: ignore[attr-defined]
