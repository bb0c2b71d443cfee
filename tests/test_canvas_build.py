"""`excise canvas`: the shipped folder is half as large and loads everywhere; training stops and goes on by one command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from typer.testing import CliRunner

import excise
from excise.canvas import recipe
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

    def train_part(part: str, work: Path, steps: int, stop_after: float | None) -> bool:
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
    ],
)
def test_training_refuses(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["canvas", "train", *arguments, "--work", str(tmp_path / "work")])
    assert result.exit_code == 2 and words in result.stderr
