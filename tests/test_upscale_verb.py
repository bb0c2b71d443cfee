"""`excise upscale`: what is written and how it is called, resuming, bad input in one line, the page."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import excise
from excise import bounds
from excise.cli import app
from excise.images import to_tensor
from excise.jobs.report import report
from excise.jobs.upscale import upscale
from excise.models import built_in, load
from excise.requests.upscale import UpscaleRequest
from excise.restoration.degradation import enlarge
from excise.restoration.restorer import read_restorer
from excise.restoration.tiled_sampling import restore
from excise.results.upscaled import UpscaleFile
from test_attacks import random_edit
from tiny_restorer import taught


@pytest.fixture(scope="module")
def files(tiny_canvas: Path, tiny_sd2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good files: pictures of several sizes, a restorer of the tiny canvas, edits of it and of another model."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for name, size in (("a.png", (5, 7)), ("sub/a.jpg", (6, 4)), ("b.webp", (4, 4))):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(folder / name)
    canvas = load(tiny_canvas, device="cpu")
    taught(canvas).write(folder / "restorer.safetensors")
    random_edit(canvas, "cat").save_pretrained(folder / "edit")
    random_edit(load(tiny_sd2, device="cpu"), "cat").save_pretrained(folder / "edit-of-another")
    return folder


@pytest.fixture(scope="module")
def given(files: Path, tiny_canvas: Path) -> dict[str, Any]:
    """What every run is told."""
    return {"restorer": files / "restorer.safetensors", "model": tiny_canvas, "steps": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def made(files: Path, given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result: three pictures, two of which are called alike, with an edit."""
    out = tmp_path_factory.mktemp("made") / "out"
    upscale([files / "a.png", files / "sub/a.jpg", files / "b.webp"], out=out, edit=files / "edit", seed=3, **given)
    return out


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as opened:
        return to_tensor(opened.convert("RGB"))


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


# What is written


def test_pictures_are_called_as_what_they_were_made_from(made: Path, files: Path) -> None:
    assert sorted(os.listdir(made)) == ["a-2.png", "a.png", "b.png", "upscale.json"]
    assert sorted(os.listdir(made.parent)) == ["out"]
    about = UpscaleFile.read(made / "upscale.json")
    rows = [(one.file, one.source, one.low_width, one.low_height, one.width, one.height) for one in about.pictures]
    assert rows == [
        ("a.png", "a.png", 5, 7, 20, 28), ("a-2.png", "a.jpg", 6, 4, 24, 16), ("b.png", "b.webp", 4, 4, 16, 16),
    ]  # fmt: skip
    assert set(about.written) == {"a.png", "a-2.png", "b.png"}
    assert [edit.concepts for edit in about.provenance.edits] == [("object:cat",)] and about.provenance.seed == 3
    told = about.settings
    assert (told.scale, told.steps, told.scheduler, told.tile, told.overlap) == (4, 2, "DDIMScheduler", 16, 8)
    for one in about.pictures:
        assert pixels(made / one.file).shape == (3, one.height, one.width)


def test_pictures_are_those_of_the_restorer(made: Path, files: Path, given: dict[str, Any], tiny_canvas: Path) -> None:
    """Oracle: the function of the room, told the same. Each picture has the run's seed, whatever comes before it."""
    model = load(tiny_canvas, device="cpu")
    restorer, edit = read_restorer(given["restorer"], model), excise.load_edit(files / "edit")
    for source, name in (("a.png", "a.png"), ("sub/a.jpg", "a-2.png")):
        low = enlarge(pixels(files / source)[None], 4)
        with edit.applied(model):
            expected = restore(model, restorer, low, steps=2, seed=3)[0]
        assert (pixels(made / name) - expected).abs().max() <= 0.5 / 255 + 1e-6
        assert (pixels(made / name) - restore(model, restorer, low, steps=2, seed=3)[0]).abs().max() > 1 / 255, (
            "the edit counts"
        )


def names_of(*images: str) -> list[str]:
    return list(UpscaleRequest(images=images, out="out").names)


def test_names_never_collide() -> None:
    assert names_of("x/a.png", "y/a.jpg", "a-2.webp", "b.png") == ["a.png", "a-2.png", "a-2-2.png", "b.png"]
    found = names_of("x/a.png", "y/a.jpg", "a-2.webp", "A.PNG", "a-3.png", "z/a.png")
    assert len({name.casefold() for name in found}) == 6 and found[0] == "a.png"
    assert names_of(".hidden", "...", "a b\n.png", f"{'ü' * 120}.png")[:3] == ["hidden.png", "picture.png", "a_b_.png"]
    assert len(names_of(f"{'ü' * 120}.png")[0].encode()) < 200


def test_pictures_lie_as_their_cameras_say(files: Path, given: dict[str, Any], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(files / "sub/a.jpg") as picture:
        picture.save(tmp_path / "turned.jpg", exif=exif)
    upscale(tmp_path / "turned.jpg", out=tmp_path / "out", scale=2, **given)
    assert pixels(tmp_path / "out" / "turned.png").shape == (3, 12, 8)


def test_a_result_is_replaced_and_nothing_else_is(made: Path, files: Path, given: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(made, out := tmp_path / "out")
    with pytest.raises(FileExistsError, match="pass overwrite"):
        upscale(files / "b.webp", out=out, **given)
    (out / "mine.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.png in it was not written by excise"):
        upscale(files / "b.webp", out=out, overwrite=True, **given)
    (out / "mine.png").unlink()
    upscale(files / "b.webp", out=out, overwrite=True, **given)
    assert sorted(os.listdir(out)) == ["b.png", "upscale.json"]


# Resuming


def stopped(stage: str, done: int, total: int) -> None:
    if (stage, done) == ("pictures", 2):
        raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    made: Path, files: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    images = [files / "a.png", files / "sub/a.jpg", files / "b.webp"]
    whole: dict[str, Any] = {"out": tmp_path / "out", "edit": files / "edit", "seed": 3, **given}
    with pytest.raises(KeyboardInterrupt) as interrupt:
        upscale(images, progress=stopped, **whole)
    assert "--resume" in interrupt.value.__notes__[0] and os.listdir(tmp_path) == [".out.work"]
    with pytest.raises(FileExistsError, match="holds an unfinished run"):
        upscale(images, **whole)
    with pytest.raises(ValueError, match=r"belongs to another run \(seed was 3, now 4"):
        upscale(images, resume=True, **whole | {"seed": 4})
    with pytest.raises(ValueError, match=r"belongs to another run \(pictures was"):
        upscale(images[:2], resume=True, **whole)
    kept = tmp_path / ".out.work" / "checkpoint-00001.safetensors"
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"digest differs.*; delete .* and resume again"):
        upscale(images, resume=True, **whole)
    kept.unlink()
    steps: list[tuple[str, int, int]] = []
    about = upscale(images, resume=True, progress=lambda *step: steps.append(step), **whole)
    assert steps.count(("steps", 0, 2)) == 2 and steps[-1] == ("pictures", 3, 3), "the first one is not made again"
    assert os.listdir(tmp_path) == ["out"]
    for name in about.written:
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes()


def test_a_picture_that_changes_meanwhile(files: Path, given: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a.png", "b.webp"):
        shutil.copy(files / name, tmp_path / name)

    def change(stage: str, done: int, total: int) -> None:
        if stage == "steps":
            shutil.copy(files / "sub/a.jpg", tmp_path / "b.webp")

    with pytest.raises(ValueError, match=r"b\.webp was changed while the run worked"):
        upscale([tmp_path / "a.png", tmp_path / "b.webp"], out=tmp_path / "out", progress=change, **given)


# Bad input


BAD: dict[str, tuple[str, str]] = {
    "no picture": ("notes.txt", "notes.txt is not a picture that can be read"),
    "half a picture": ("half.png", "half.png is not a picture that can be read"),
    "one that is missing": ("a.png nowhere.png", "no such file: .*nowhere.png"),
    "a folder": ("sub", "sub is a folder"),
    "no picture at all": ("", "images=.*needs at least 1|missing option: 'images'"),
    "a missing restorer": ("a.png --restorer nowhere.safetensors", "no such file: .*nowhere.safetensors"),
    "a picture as restorer": ("a.png --restorer b.webp", "b.webp is damaged: not a whole safetensors file"),
    "an edit as restorer": ("a.png --restorer edit/edit.safetensors", "edit.safetensors is not a restorer's file"),
    "half a restorer": ("a.png --restorer half.safetensors", "half.safetensors is damaged"),
    "a restorer with a number that is none": ("a.png --restorer nan.safetensors", "nan.safetensors: .* not finite"),
    "a restorer of another shape": ("a.png --restorer shape.safetensors", "shape.safetensors is damaged: .* expected"),
    "a restorer of another model": ("a.png --restorer other.safetensors", "other.safetensors does not fit tiny canvas: it was"),
    "an edit of another model": ("a.png --edit edit-of-another", "edit-of-another was made for another model"),
    "no edit": ("a.png --edit sub", "sub"),
    "overlap as large as tiles": ("a.png --tile 16 --overlap 16", "overlap=16 must be below the tile's edge, 16 pixels"),
    "overlap as large as the model's": ("a.png --overlap 16", "overlap=16 must be below the tile's edge, 16 pixels"),
    "tiles off the grain": ("a.png --tile 17", "tile=17 must be a multiple of 2 pixels"),
    "too large a scale": ("a.png --scale 17", "scale='17': must be at most 16"),
    "no whole scale": ("a.png --scale 2.5", "scale='2.5': must be a whole number"),
    "too much fidelity": ("a.png --fidelity 1.5", "fidelity='1.5': must be at most 1"),
    "fidelity that is no number": ("a.png --fidelity nan", "fidelity='nan'"),
    "an unknown colour": ("a.png --colour wavelets", "colour='wavelets'; did you mean 'wavelet'"),
    "a sampler of other paths": ("a.png --scheduler FlowMatchEulerDiscreteScheduler", "does not sample paths of diffusion"),
    "an output that is an input": ("sub/a.jpg --out sub", "sub"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoilt(files: Path, given: dict[str, Any], tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good files, and bad ones."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("spoilt") / "files"
    shutil.copytree(files, folder)
    (folder / "notes.txt").write_text("the user's own")
    (folder / "half.png").write_bytes((files / "a.png").read_bytes()[:-40])
    whole = given["restorer"].read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with safe_open(str(given["restorer"]), "pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    save_file({**tensors, name: tensors[name] * float("nan")}, str(folder / "nan.safetensors"), about)
    save_file({**tensors, name: tensors[name][:1].clone()}, str(folder / "shape.safetensors"), about)
    told = json.loads(about["restorer"])
    told["channels"] += 1
    save_file(tensors, str(folder / "other.safetensors"), {**about, "restorer": json.dumps(told)})
    return folder


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused_in_one_line(bad: str, spoilt: Path, tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spoilt)
    words, line = BAD[bad]
    before = sorted(str(path) for path in spoilt.parent.rglob("*"))
    own = [] if "--restorer" in words else ["--restorer", "restorer.safetensors"]
    out = [] if "--out" in words else ["--out", "../out"]
    code, printed, error = run("upscale", *words.split(), *own, *out, "--model", tiny_canvas, "--device", "cpu")
    assert code == 2 and printed == "" and error.count("\n") == 1 and "unexpected" not in error, error
    assert re.search(line, error), error
    assert sorted(str(path) for path in spoilt.parent.rglob("*")) == before


def test_a_model_without_a_unet_is_refused_before_its_weights(
    files: Path, given: dict[str, Any], tiny_flux: Path, tiny_sd3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excise.jobs.inputs.load", lambda *arguments, **named: pytest.fail("weights were loaded"))
    for model, name in ((tiny_flux, "FLUX.1"), (tiny_sd3, "Stable Diffusion 3")):
        with pytest.raises(ValueError, match=f"^upscaling needs U-Net, which {name} does not have$"):
            upscale(files / "a.png", out=tmp_path / "out", **given | {"model": model})
    assert not os.listdir(tmp_path)


def test_what_would_be_too_large_is_refused_before_the_model_is_loaded(
    files: Path, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excise.jobs.inputs.load", lambda *arguments, **named: pytest.fail("weights were loaded"))
    for bound, most in (("RESTORED", 500), ("RESTORED_EDGE", 27)):
        with monkeypatch.context() as patch:
            patch.setattr(bounds, bound, most)
            with pytest.raises(ValueError, match=r"a\.png would have 20 x 28 pixels, more than .*; take a smaller scale"):
                upscale(files / "a.png", out=tmp_path / "out", **given)
    assert not os.listdir(tmp_path)


def test_pictures_in_the_folder_that_is_replaced(made: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a\.png lies in out="):
        upscale(made / "a.png", out=made, overwrite=True, **given)


def test_the_built_in_restorer(files: Path, given: dict[str, Any], tiny_canvas: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """That of the canvas, by its name alone; where the package lacks it, and for other models, the line says what to do."""
    told = {name: value for name, value in given.items() if name not in ("restorer", "model")}
    monkeypatch.setitem(built_in.BUILT_IN, "canvas", tiny_canvas)
    monkeypatch.setitem(built_in.RESTORERS, "canvas", tmp_path / "none.safetensors")
    for model in ("canvas", tiny_canvas):
        with pytest.raises(ValueError, match=r"no built-in restorer for the model .*; give the file of one .* \(restorer\)"):
            upscale(files / "b.webp", out=tmp_path / "out", model=model, **told)
    monkeypatch.setitem(built_in.RESTORERS, "canvas", given["restorer"])
    assert "a restorer is here for canvas" in " ".join(run("list", "models")[1].split())
    assert upscale(files / "b.webp", out=tmp_path / "out", **told).settings.restorer


# Python, the command line, the page


def test_the_command_says_what_it_made(files: Path, given: dict[str, Any], tmp_path: Path) -> None:
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    code, printed, error = run("upscale", files / "b.webp", "--out", tmp_path / "out", *flags)
    assert code == 0 and error == "", error
    assert printed.splitlines()[0] == f"{tmp_path / 'out' / 'b.png'}: 16 x 16 pixels, from b.webp"
    assert excise.upscale.__name__ == "upscale" and os.listdir(tmp_path) == ["out"]


def test_the_report_shows_it(made: Path, tmp_path: Path) -> None:
    page = report(made, out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Restored pictures: tiny canvas" in page and "3 pictures restored by tiny canvas with object:cat erased" in page
    assert page.count("data:image/webp") == 3 and "tiles of 16 pixels that share 8" in page


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/b.png", "..\\a.png", "x" * 300])
def test_a_list_of_a_stranger_leads_nowhere(name: str, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "out")
    about = json.loads((made / "upscale.json").read_text())
    about["pictures"][0]["file"] = name
    (tmp_path / "out" / "upscale.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"upscale\.json is not the upscale\.json of excise upscale: pictures\.0\.file"):
        report(tmp_path / "out", out=tmp_path / "page.html")
