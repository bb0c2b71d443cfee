"""`excise canvas`: the shipped folder is half as large and loads everywhere; training stops and goes on by one command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from typer.testing import CliRunner

import excise
from excise.canvas import build, diffusion, recipe
from excise.canvas.catalog import GLYPHS, MEMBERS, STYLE_NAMES
from excise.cli import app


def test_the_assembled_folder_is_half_precision_and_runs_in_plain_diffusers(tiny_canvas: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_canvas, tmp_path / "work" / "pipeline")
    shutil.copy(tiny_canvas / "classifier.safetensors", tmp_path / "work")
    command = ["canvas", "assemble", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "model")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        assert {t.dtype for t in load_file(tmp_path / "model" / f"{part}.safetensors").values()} == {torch.float16}
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a cat", num_inference_steps=2, output_type="pt", height=16, width=16).images
    assert made.shape == (1, 3, 16, 16) and made.isfinite().all()
    assert len(excise.load(tmp_path / "model").catalog.concepts) > 80
    assert CliRunner().invoke(app, command).exit_code == 2, "nothing is overwritten"


def test_training_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all parts together, and a part that is not finished ends the stretch."""
    asked: list[tuple[str, float | None]] = []

    def train_part(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None) -> bool:
        asked.append((part, stop_after))
        return part != "classifier"

    monkeypatch.setattr(recipe, "_train", train_part)
    assert not recipe.train("all", tmp_path, stop_after=100)
    assert [part for part, _ in asked] == ["vae", "classifier"]
    assert all(left is not None and 90 < left <= 100 for _, left in asked)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["all", "--steps", "3"], "one part at a time"),
        (["vae", "--steps", "0"], "at least 1"),
        (["classifier"], "train vae first"),
        (["text", "--without", "zeppelin"], "the canvas has no zeppelin"),
    ],
)
def test_training_refuses(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["canvas", "train", *arguments, "--work", str(tmp_path / "work")])
    assert result.exit_code == 2 and words in result.stderr


def test_text_encoder_and_unet_never_meet_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the concept, not its members; styles and members can be left out alone."""
    pool = {"glyph": torch.arange(len(GLYPHS)), "style": torch.arange(len(GLYPHS)) % len(STYLE_NAMES)}
    monkeypatch.setattr(diffusion, "latent_pool", lambda *_: {**pool, "latents": torch.zeros(len(GLYPHS), 8, 8, 8)})
    monkeypatch.setattr(diffusion.AutoencoderKL, "from_pretrained", lambda _: torch.nn.Identity())
    met: list[tuple[set[str], set[str]]] = []

    def train_text(pool: dict[str, torch.Tensor], *_: object, **__: object) -> bool:
        met.append(({GLYPHS[i] for i in pool["glyph"]}, {STYLE_NAMES[i] for i in pool["style"]}))
        return True

    monkeypatch.setattr(diffusion.text, "train_text", train_text)
    for without in ((), ("cat",), ("owl", "sketch")):
        diffusion.train_text(tmp_path, steps=1, without=frozenset(without))
    whole, no_cat, others = met
    cats = {member for of, member in MEMBERS if of == "cat"}
    assert whole == (set(GLYPHS), set(STYLE_NAMES))
    assert len(cats) > 1 and no_cat == (set(GLYPHS) - cats, set(STYLE_NAMES))
    assert "owl" not in others[0] and "owl" in whole[0] and others[1] == set(STYLE_NAMES) - {"sketch"}


def test_a_folder_is_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_train", lambda *_: True)
    assert recipe.train("text", tmp_path, without=["cat"]) and recipe.never_met(tmp_path) == ["cat"]
    (tmp_path / "text.ckpt.safetensors").touch()
    assert recipe.train("all", tmp_path, without=["cat"]) and recipe.train("vae", tmp_path)
    with pytest.raises(ValueError, match="begun without cat"):
        recipe.train("diffusion", tmp_path)
    (tmp_path / "without.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"without\.json is not a whole JSON file"):
        recipe.train("diffusion", tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "diffusion.ckpt.safetensors").touch()
    with pytest.raises(ValueError, match="begun without nothing"):
        recipe.train("diffusion", tmp_path / "old", without=["cat"])


def test_a_model_says_what_it_never_met(tiny_canvas: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_canvas, tmp_path / "work" / "pipeline")
    shutil.copy(tiny_canvas / "classifier.safetensors", tmp_path / "work")
    (tmp_path / "work" / "without.json").write_text('["cat"]')
    build.assemble(tmp_path / "work", tmp_path / "model")
    said = json.loads((tmp_path / "model" / "excise.json").read_text())
    assert (said["name"], said["without"]) == ("canvas without cat", ["cat"])
    assert excise.load(tmp_path / "model").name == "canvas without cat"
