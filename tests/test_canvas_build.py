"""`excise canvas`: the shipped folder is half as large and loads everywhere; training stops and goes on by one command."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

import excise
from excise.canvas import build, diffusion, model_card, recipe, text, vae
from excise.canvas.catalog import GLYPHS, MEMBERS, STYLE_NAMES
from excise.cli import app
from excise.digests import digest_file
from excise.evaluation import Classifier
from excise.models.built_in import BUILT_IN, LENT, built_in
from excise.models.names import describe

LABELS = {"glyph": torch.arange(len(GLYPHS)), "style": torch.arange(len(GLYPHS)) % len(STYLE_NAMES)}
POOL = {**LABELS, "latents": torch.zeros(len(GLYPHS), 8, 8, 8)}


def test_the_assembled_folder_is_half_precision_and_runs_in_plain_diffusers(tiny_canvas: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_canvas, tmp_path / "work" / "pipeline")
    shutil.copy(tiny_canvas / "classifier.safetensors", tmp_path / "work")
    command = ["canvas", "assemble", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "model")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        assert {t.dtype for t in load_file(tmp_path / "model" / f"{part}.safetensors").values()} == {torch.float16}
    for config in (tmp_path / "model").rglob("*.json"):
        assert str(tmp_path) not in config.read_text(encoding="utf-8"), config
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a cat", num_inference_steps=2, output_type="pt", height=16, width=16).images
    assert made.shape == (1, 3, 16, 16) and made.isfinite().all()
    assert len(excise.load(tmp_path / "model").catalog.concepts) > 80
    assert CliRunner().invoke(app, command).exit_code == 2, "nothing is overwritten"


def test_training_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all parts together, and a part that is not finished ends the stretch."""
    asked: list[tuple[str, float | None]] = []

    def train_part(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None, _: object) -> bool:
        asked.append((part, stop_after))
        return part != "classifier"

    monkeypatch.setattr(recipe, "_train", train_part)
    assert not recipe.train("all", work=tmp_path, stop_after=100)
    assert [part for part, _ in asked] == ["vae", "classifier"]
    assert all(left is not None and 90 < left <= 100 for _, left in asked)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["all", "--steps", "3"], "one part at a time"),
        (["vae", "--steps", "0"], "steps='0'"),
        (["classifier"], "train vae first"),
        (["text", "--without", "zeppelin"], "the canvas has no zeppelin"),
        (["all", "--device", "toaster"], "no device 'toaster' here"),
    ],
)
def test_training_refuses(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["canvas", "train", *arguments, "--work", str(tmp_path / "work")])
    assert result.exit_code == 2 and words in result.stderr


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU would: operations, other than copies, on tensors of two devices; a CPU scalar may meet any."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        assert len({tensor.device for tensor in tensors}) < 2 or operation is torch.ops.aten.copy_.default, operation
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("part", recipe.PARTS)
def test_all_that_meets_the_network_is_on_its_device(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On "meta", a device that is everywhere, a step is done but for its loss, which has no number there."""
    cast: set[str] = set()

    def autocast(device: str, _: torch.dtype) -> AbstractContextManager[None]:  # torch has none for meta
        cast.add(device)
        return nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(vae, "_pool", lambda _: torch.zeros(16, 3, 64, 64, dtype=torch.uint8))
    monkeypatch.setattr(diffusion, "latent_pool", lambda *_: POOL)
    vae.build().save_pretrained(tmp_path / "vae")
    text.build_text_encoder(text.build_tokenizer()).save_pretrained(tmp_path / "text_encoder")
    with OneDevice(), pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        recipe.train(part, work=tmp_path, steps=1, device="meta")
    assert cast == {"meta"}


def test_text_encoder_and_unet_never_meet_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the concept, not its members; styles and members can be left out alone."""
    monkeypatch.setattr(diffusion, "latent_pool", lambda *_: POOL)
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
    assert recipe.train("text", work=tmp_path, without=["cat"]) and recipe.never_met(tmp_path) == ["cat"]
    (tmp_path / "text.ckpt.safetensors").touch()
    assert recipe.train("all", work=tmp_path, without=["cat"]) and recipe.train("vae", work=tmp_path)
    with pytest.raises(ValueError, match="begun without cat"):
        recipe.train("diffusion", work=tmp_path)
    (tmp_path / "without.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"without\.json is not (the list of what was left out|a whole JSON file)"):
        recipe.train("diffusion", work=tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "diffusion.ckpt.safetensors").touch()
    with pytest.raises(ValueError, match="begun without nothing"):
        recipe.train("diffusion", work=tmp_path / "old", without=["cat"])


def test_a_model_says_what_it_never_met(tiny_canvas: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_canvas, tmp_path / "work" / "pipeline")
    shutil.copy(tiny_canvas / "classifier.safetensors", tmp_path / "work")
    (tmp_path / "work" / "without.json").write_text('["cat"]')
    build.assemble(tmp_path / "work", tmp_path / "model")
    said = json.loads((tmp_path / "model" / "excise.json").read_text())
    assert (said["name"], said["without"]) == ("canvas without cat", ["cat"])
    assert excise.load(tmp_path / "model").name == "canvas without cat"


def test_what_was_left_out_counts_in_figures_of_its_own(tiny_canvas: Path) -> None:
    model = excise.load(tiny_canvas, device="cpu")
    assert model.classifier is not None
    judge, options = Classifier.load(model.classifier), {"each": 1, "progress": lambda *_: None}
    whole = model_card._pairs(model, judge, never=frozenset(), **options)
    apart = model_card._pairs(model, judge, never=frozenset({"cat", "neon"}), **options)
    assert {name: figure["n"] for name, figure in whole.items()} == {"generated object": 160, "generated style": 160}
    counts = {"generated object": 19 * 7, "left out object": 8, "generated style": 19 * 7, "left out style": 20}
    assert {name: figure["n"] for name, figure in apart.items()} == counts
    members = model_card._members(model, judge, never=frozenset({"cat", "owl"}), **options)
    assert {name: figure["n"] for name, figure in members.items()} == {"generated member": 62, "left out member": 4}


def test_the_card_says_what_was_left_out() -> None:
    told = json.loads((Path(model_card.__file__).parent / "model" / "measurements.json").read_text(encoding="utf-8"))
    assert "built-in model" in model_card.render(told) and "gold standard" not in model_card.render(told)
    text = model_card.render({**told, "without": ["cat", "pixel art"]})
    assert "# canvas without cat, pixel art\n" in text and "--without 'cat' --without 'pixel art'" in text


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_cards_that_ship_say_what_was_measured(name: str) -> None:
    told = json.loads((BUILT_IN[name] / "measurements.json").read_text(encoding="utf-8"))
    assert (BUILT_IN[name] / "README.md").read_text(encoding="utf-8") == model_card.render(told)
    figures, sampler = told["figures"], json.loads((BUILT_IN[name] / "excise.json").read_text(encoding="utf-8"))["sampler"]
    assert sampler.items() <= told["sampler"].items(), "measured as it draws by itself"
    missed = {question for question, wanted in model_card.WANTED.items() if figures[question]["value"] < wanted - 1e-6}
    assert missed == MISSED.get(name, set())


MISSED: dict[str, set[str]] = {}
"""Goals that a model's figures miss, by its name."""


def test_nothing_ships_twice() -> None:
    """No large file of the package has the bytes of another one."""
    files = [file for folder in BUILT_IN.values() for file in folder.rglob("*.safetensors")]
    assert len(files) == len({digest_file(file) for file in files}) >= 6


def test_what_ships_once_is_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the name means is a whole model of its own, without links to other places, and is made once."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    own, whole = BUILT_IN["canvas-without-cat"], built_in("canvas-without-cat")
    names = {file.relative_to(own).as_posix() for file in own.rglob("*") if file.is_file()}
    assert {file.relative_to(whole).as_posix() for file in whole.rglob("*") if file.is_file()} == names | set(LENT[whole.name])
    assert not names & set(LENT[whole.name]) and not any(file.is_symlink() for file in whole.rglob("*"))
    found = StableDiffusionPipeline.from_pretrained(whole, safety_checker=None).vae.state_dict()
    lent = load_file(BUILT_IN["canvas"] / LENT[whole.name][0])
    assert found.keys() == lent.keys() and all(torch.equal(found[name], lent[name].float()) for name in lent)
    before = whole.stat().st_mtime_ns
    assert built_in("canvas-without-cat") == whole and whole.stat().st_mtime_ns == before
    assert built_in("canvas") == BUILT_IN["canvas"] and list((tmp_path / "models").iterdir()) == [whole.parent]


def test_what_is_lent_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What harms the cache must not reach the package."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    whole = built_in("canvas-without-cat")
    for file in LENT[whole.name]:
        assert digest_file(whole / file) == digest_file(BUILT_IN["canvas"] / file)
        assert not (whole / file).samefile(BUILT_IN["canvas"] / file)


def test_the_shipped_gold_standard_is_the_canvas_but_for_what_it_never_met() -> None:
    whole, exact = built_in("canvas"), built_in("canvas-without-cat")
    assert (describe(whole).without, describe(exact).without) == ((), ("cat",))
    assert describe(exact).catalog == describe(whole).catalog
    for file in ("vae/diffusion_pytorch_model.safetensors", "classifier.safetensors", "tokenizer/tokenizer.json"):
        assert (exact / file).read_bytes() == (whole / file).read_bytes(), file
    model = excise.load("canvas-without-cat", device="cpu", dtype="mixed")
    judge = Classifier.load(exact / "classifier.safetensors")
    shown = {
        name: judge.classify(model.sample([f"a picture of a {name}"] * 12, range(12)))["object"] for name in ("cat", "dog")
    }
    right = {name: int((found == judge.names["object"].index(name)).sum()) for name, found in shown.items()}
    assert right["dog"] >= 10 and right["cat"] <= 3
