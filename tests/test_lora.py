"""LoRA files: diffusers loads them, and its model then does what the edit does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner

import tiny_models
from excise.cli import app
from excise.edits import Dense, LowRank, Manifest, WeightEdit
from excise.edits.applied import base_fingerprint
from excise.edits.lora import LoRA
from excise.jobs.erase import erase
from excise.jobs.export import export
from excise.models import Model, load
from excise.models.dialects import DIALECTS, Dialect
from excise.models.fingerprint import named_tensors

BLOCK = "unet.mid_block.attentions.0.transformer_blocks.0"
KEY, VALUE, CONV = f"{BLOCK}.attn2.to_k.weight", f"{BLOCK}.attn2.to_v.weight", "unet.mid_block.resnets.0.conv1.weight"


def random_edit(model: Model, names: list[str], rank: int | None = None, size: float = 0.05) -> WeightEdit:
    """A random change of each weight, dense or of a rank."""
    deltas: dict[str, Dense | LowRank] = {}
    for seed, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed)
        weight = named_tensors(model)[name]
        if rank:
            up = size * torch.randn(len(weight), rank, generator=generator)
            deltas[name] = LowRank(up, torch.randn(rank, weight.shape[1], generator=generator))
        else:
            deltas[name] = Dense(size * torch.randn(weight.shape, generator=generator))
    about: dict[str, Any] = {"model": model.name, "base": base_fingerprint(model), "method": "random"}
    return WeightEdit(deltas, Manifest(**about, concepts=[{"kind": "object", "name": "cat"}]))


def products(model: Model) -> list[str]:
    """Every weight that such a file can change: matrices and convolutions."""
    return [name for name, each in named_tensors(model).items() if each.ndim in (2, 4) and "embeddings." not in name]


def answers(pipeline: Any) -> tuple[Tensor, Tensor]:
    """What text encoder and U-Net say."""
    ids = pipeline.tokenizer(["a cat"], padding="max_length", return_tensors="pt").input_ids
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, pipeline.unet.config.in_channels, 8, 8, generator=generator)
    with torch.no_grad():
        text = pipeline.text_encoder(ids)[0]
        return text, pipeline.unet(x, 500, text).sample


def a_whole_xl(folder: Path) -> Model:
    """A tiny Stable Diffusion XL with its three blocks of two layers, after which its original names are counted."""
    pipeline = tiny_models.sdxl()
    torch.manual_seed(4)
    unet = UNet2DConditionModel.from_config(
        pipeline.unet.config, block_out_channels=(4, 8, 8), layers_per_block=2, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), transformer_layers_per_block=(1, 1, 2),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipeline.register_modules(unet=unet.eval())
    pipeline.save_pretrained(folder)
    return load(folder, device="cpu")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_of_an_xl_edit_is_read_in_either_dialect(dialect: Dialect, tmp_path: Path) -> None:
    """Changes of every matrix and convolution of all three networks that CLIP's text encoders and the U-Net have; ranks differ."""
    model = a_whole_xl(tmp_path / "model")
    names = [name for name in products(model) if "text_projection" not in name]
    edit = random_edit(model, names, size=0.02)
    edit = WeightEdit(edit.deltas, edit.manifest.model_copy(update={"family": "Stable Diffusion XL"}))
    edit.save_pretrained(tmp_path / "edit")
    found = export(tmp_path / "edit", to=tmp_path / "x.safetensors", dialect=dialect)
    assert found.dialect == dialect and found.ranks.keys() == set(names)
    x, told = model.start_noise([0]), model.encode(["a cat"])
    before = model.predict(x, torch.tensor([500]), told)
    with edit.applied(model):
        expected = model.predict(x, torch.tensor([500]), model.encode(["a cat"]))
    plain = load(tmp_path / "model", device="cpu")
    plain.pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    adapted = sum(
        name.endswith(".lora_A.default_0")
        for part in ("unet", "text_encoder", "text_encoder_2")
        for name, _ in getattr(plain.pipeline, part).named_modules()
    )
    assert adapted == len(names), "a module that the loader did not find would be left as it was, without a word"
    answer = plain.predict(x, torch.tensor([500]), plain.encode(["a cat"]))
    assert (answer - expected).abs().max() <= 2e-3 and (answer - expected).norm() <= 1e-3 * (expected - before).norm()


@pytest.mark.parametrize("base", ["tiny_sd3", "tiny_flux", "tiny_z_image", "tiny_flux2_klein", "tiny_qwen_image"])
def test_a_file_of_an_edited_transformer_is_read_by_its_pipeline(
    base: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In a fresh pipeline every layer is found, and the answer is the edit's; ranks of the edit differ, those of the file do not."""
    folder = request.getfixturevalue(base)
    model = load(folder, device="cpu")
    names = [entrance.weight for entrance in model.entrances]
    edit = random_edit(model, names, size=0.02)
    edit.save_pretrained(tmp_path / "edit")
    found = export(tmp_path / "edit", to=tmp_path / "x.safetensors", dialect="diffusers")
    x, t = model.start_noise([0]), torch.tensor([500])
    before = model.predict(x, t, model.encode(["a cat"]))
    with edit.applied(model):
        expected = model.predict(x, t, model.encode(["a cat"]))
    plain = load(folder, device="cpu")
    plain.pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    adapted = sum(name.endswith(".lora_A.default_0") for name, _ in plain.pipeline.transformer.named_modules())
    assert adapted == len(names) == len(found.ranks), "a layer that the loader did not find is left as it was, without a word"
    answer = plain.predict(x, t, plain.encode(["a cat"]))
    assert not torch.equal(expected, before)
    assert (answer - expected).abs().max() <= 2e-3 and (answer - expected).norm() <= 1e-3 * (expected - before).norm()


def load_lora(folder: Path, file: Path) -> Any:
    """A plain diffusers pipeline with the file on it, and the modules that it changed."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    adapted = {
        f"{part}.{name.removesuffix('.lora_A.default_0').replace('text_model.', '')}"
        for part in ("unet", "text_encoder")
        for name, _ in getattr(pipeline, part).named_modules()
        if name.endswith(".lora_A.default_0")
    }
    return pipeline, adapted


@pytest.mark.parametrize("rank", [None, 2], ids=["dense", "rank 2"])
def test_diffusers_with_the_file_answers_as_the_edited_model(
    rank: int | None, sd1: Model, tiny_sd1: Path, tmp_path: Path
) -> None:
    """Changes of every matrix and convolution of both networks (or of keys, a feed-forward matrix and a projection, of rank 2)."""
    names = products(sd1) if rank is None else [KEY, f"{BLOCK}.ff.net.2.weight", f"{BLOCK}.attn1.to_out.0.weight"]
    edit = random_edit(sd1, names, rank, size=0.02)
    edit.save_pretrained(tmp_path / "edit")
    found = export(tmp_path / "edit", to=tmp_path / "x.safetensors")
    assert found.ranks.keys() == set(names) and found.error == 0 and (rank is None or set(found.ranks.values()) == {2})
    before = answers(sd1.pipeline)
    with edit.applied(sd1):
        expected = answers(sd1.pipeline)
    pipeline, adapted = load_lora(tiny_sd1, tmp_path / "x.safetensors")
    assert adapted == {name.removesuffix(".weight") for name in names}
    for told, wanted, base in zip(answers(pipeline), expected, before, strict=True):
        assert (told - wanted).norm() <= 1e-4 * (wanted - base).norm() + 1e-6
    assert not torch.equal(expected[1], before[1])


def test_a_smaller_rank_is_the_best_there_is_and_says_what_it_leaves_out(sd1: Model) -> None:
    """By numpy: the first singular values stay, and the rest is the error, over all weights together."""
    edit = random_edit(sd1, [KEY, CONV])
    found = LoRA.of(edit, 3)
    missed = whole = 0.0
    for name, module in ((KEY, KEY), (CONV, CONV)):
        change = edit.deltas[name].dense().flatten(1).double().numpy()
        stem = "lora_unet_" + module.removeprefix("unet.").removesuffix(".weight").replace(".", "_")
        up, down = (found.tensors[f"{stem}.lora_{each}.weight"].double().flatten(1).numpy() for each in ("up", "down"))
        s = np.linalg.svd(change, compute_uv=False)
        assert np.linalg.norm(change - up @ down) == pytest.approx(np.sqrt((s[3:] ** 2).sum()), rel=1e-5)
        assert found.tensors[f"{stem}.alpha"] == found.ranks[name] == 3
        missed, whole = missed + float((s[3:] ** 2).sum()), whole + float((s**2).sum())
    assert found.error == pytest.approx((missed / whole) ** 0.5, rel=1e-6)


def test_a_change_of_low_rank_that_is_stored_whole_takes_no_more_than_its_rank(sd1: Model) -> None:
    low = random_edit(sd1, [KEY], rank=2)
    whole = WeightEdit(
        {KEY: Dense(low.deltas[KEY].dense()), VALUE: Dense(torch.zeros_like(named_tensors(sd1)[VALUE]))}, low.manifest
    )
    found = LoRA.of(whole)
    assert found.ranks == {KEY: 2} and found.error == 0


def test_several_edits_are_added_up_and_scaled(sd1: Model, tiny_sd1: Path, tmp_path: Path) -> None:
    edits = [random_edit(sd1, [KEY], rank=1), random_edit(sd1, [VALUE, KEY], rank=2)]
    for number, edit in enumerate(edits):
        edit.save_pretrained(tmp_path / str(number))
    found = export([tmp_path / "0", tmp_path / "1"], to=tmp_path / "x.safetensors", scale=0.5)
    assert found.ranks == {KEY: 3, VALUE: 2}
    with edits[0].applied(sd1, 0.5), edits[1].applied(sd1, 0.5):
        expected = answers(sd1.pipeline)[1]
    pipeline, _ = load_lora(tiny_sd1, tmp_path / "x.safetensors")
    assert torch.allclose(answers(pipeline)[1], expected, atol=1e-5)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        about = json.loads(file.metadata()["excise"])
    assert about["base"] == base_fingerprint(sd1) and about["scale"] == 0.5 and about["concepts"] == ["object:cat"] * 2


def test_what_a_file_cannot_hold_is_refused(sd1: Model, tmp_path: Path) -> None:
    names = ["unet.conv_norm_out.weight", "unet.conv_in.bias", "text_encoder.embeddings.token_embedding.weight"]
    for name in names:
        with pytest.raises(ValueError, match=rf"changes 1 other tensors, such as {name}"):
            LoRA.of(random_edit(sd1, [KEY, name]))
    still = random_edit(sd1, [KEY], size=0.0)
    with pytest.raises(ValueError, match="changes nothing"):
        LoRA.of(still)


@pytest.fixture(scope="module")
def cat(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "cat"
    erase("cat", model=tiny_canvas, method="uce", out=out, evaluate="none")
    return out


class TestCommand:
    def test_writes_and_says_what_it_wrote(self, cat: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["export", str(cat), "--to", str(tmp_path / "cat.safetensors"), "--rank", "2"])
        assert result.exit_code == 0, result.output
        assert "weights, rank 2 to 2" in result.output and "% of the change left out" in result.output
        assert [path.name for path in tmp_path.iterdir()] == ["cat.safetensors"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--to", "x.bin"], "must end in .safetensors"),
            (["--to", "x.safetensors", "--rank", "0"], "rank='0': must be at least 1"),
            (["--to", "x.safetensors", "--scale", "nan"], "scale='nan': must be a finite number"),
            (["--to", "x.safetensors", "--scale", "0"], "scale must not be 0"),
            (["--to", "there.safetensors"], "exists; choose another path"),
        ],
    )
    def test_bad_input(
        self, options: list[str], message: str, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "there.safetensors").write_text("mine")
        result = CliRunner().invoke(app, ["export", str(cat), *options])
        assert result.exit_code == 2 and message in result.output
        assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]
        assert (tmp_path / "there.safetensors").read_text() == "mine"

    def test_an_adapter_is_refused(self, tiny_canvas: Path, tmp_path: Path) -> None:
        quick = {"rounds": 1, "steps": 1, "batch": 2, "trajectories": 1, "sampler_steps": 2}
        erase("cat", model=tiny_canvas, method="spm", out=tmp_path / "cat", settings=quick, evaluate="none")
        result = CliRunner().invoke(app, ["export", str(tmp_path / "cat"), "--to", str(tmp_path / "x.safetensors")])
        assert result.exit_code == 2 and "cannot be written as a LoRA" in result.output
