"""Nothing but `models` knows a family of models: no name of a network, a module or a schedule stands in any other room."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import excise
from excise.attacks import attacks, choose
from excise.cli import app
from excise.erasure.subspaces import select
from excise.methods import methods
from excise.models import Model, families, load
from excise.models.entrances import Way
from excise.models.families import FAMILIES, OFFERS, Family, family_of
from excise.models.fingerprint import named_tensors
from excise.requests.audit import AuditRequest
from excise.requests.bench import BenchRequest
from excise.requests.erase import EraseRequest

PACKAGE = Path(excise.__file__).parent

FAMILY_KNOWLEDGE = {
    "the schedule's numbers": r"alphas_cumprod",
    "a network by its name": r"\bunet\b|\.transformer\b|text_encoder",
    "how a network is called": r"encoder_hidden_states|added_cond_kwargs|timestep_cond",
    "a layer by its name": r"\bto_[qkv]\b|\bto_out\b|\badd_[qkv]_proj|\bff\.net\b|_embedder\b|add_embedding|txt_in",
    "a block by its name": r"\.attn[12]\b|\battn[12]\.|(down|up)_blocks|mid_block|transformer_blocks|conv_(in|out)|time_embedding",
    "a class of networks": r"UNet2D|Transformer2D|CLIPTextModel|AutoencoderKL|StableDiffusion(?! )",
}
"""What only `models` may write; the words of settings that name published subspaces (attn2, noxattn) are no patterns."""


def strangers(text: str) -> list[str]:
    """What a source says that only a family's file may know."""
    return [f"{what}: {found.group(0)}" for what, pattern in FAMILY_KNOWLEDGE.items() for found in re.finditer(pattern, text)]


def test_no_other_room_knows_a_network() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in ("models", "canvas")]
    wrong = [f"{path.relative_to(PACKAGE)}: {each}" for path in files for each in strangers(path.read_text(encoding="utf-8"))]
    assert len(files) > 150 and not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("model.unet.conv", True), ('x = part["text_encoder"]', True), ("scheduler.alphas_cumprod[t]", True),
        ('name.endswith("attn2.to_k.weight")', True), ("net(x, t, encoder_hidden_states=c)", True), ('".ff.net.0" in name', True),
        ('select(model, "attn2")', False), ("model.path.alpha(t)", False), ("U-Net calls of an attack", False),
    ],
)  # fmt: skip
def test_the_rule_sees_what_it_is_about(line: str, known: bool) -> None:
    assert bool(strangers(line)) == known


# What a family says of itself


def test_what_is_needed_is_what_there_is_to_offer() -> None:
    needs = {need for entry in (*methods().values(), *attacks().values()) for need in entry.needs}
    assert needs == set(OFFERS), "each word is used, and none is misspelt"
    assert {name for name, method in methods().items() if not method.needs} == {"erasediff", "salun"}, "they train any weights"
    assert all(family.offers <= set(OFFERS) for family in FAMILIES)


def test_a_family_is_found_by_its_pipeline(tiny_sd1: Path, tmp_path: Path) -> None:
    family = family_of(tiny_sd1)
    assert family is FAMILIES[0] and type(load(tiny_sd1, device="cpu")) is family.model()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "SanaPipeline"}), encoding="utf-8")
    for refuse in (family_of, load):
        with pytest.raises(
            ValueError, match=r"holds a SanaPipeline; supported: StableDiffusionPipeline \(Stable Diffusion 1\.x"
        ) as caught:
            refuse(tmp_path)  # type: ignore[operator]
        assert "\n" not in str(caught.value)


@pytest.fixture
def toy(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of a made-up family that has entrances alone. It holds no weights: whoever wants them comes too late."""
    made_up = Family("Toy", "ToyPipeline", ("toy", "Toy"), frozenset({"entrances"}))
    monkeypatch.setattr(families, "FAMILIES", (*FAMILIES, made_up))
    folder = tmp_path / "toy"
    folder.mkdir()
    for name in ("excise.json", "classifier.safetensors"):
        shutil.copy(tiny_canvas / name, folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ToyPipeline"}), encoding="utf-8")
    return str(folder)


def requests(toy: str, out: str) -> dict[str, Callable[[], Any]]:
    return {
        "method 'fmn' needs attention maps": lambda: EraseRequest(concepts=("cat",), model=toy, method="fmn").check(),
        "method 'spm' needs U-Net": lambda: BenchRequest(methods=("uce", "spm"), concepts=("cat",), model=toy, out=out).check(),
        "attack 'lora' needs attention layers": lambda: AuditRequest(
            model=toy, base=toy, concept="cat", attacks=("lora",)
        ).check(),
        "attack 'p4d' needs token embeddings": lambda: AuditRequest(
            model=toy, base=toy, concept="cat", attacks=("p4d",)
        ).check(),
    }


def test_a_pair_that_cannot_be_is_refused_before_any_weight_is_loaded(toy: str, tmp_path: Path) -> None:
    for words, check in requests(toy, str(tmp_path / "grid")).items():
        with pytest.raises(ValueError, match=f"^{words}, which Toy does not have$"):
            check()
    EraseRequest(concepts=("cat",), model=toy, method="uce").check()  # this pair can be


def test_all_attacks_are_those_that_the_family_can_be_attacked_by(toy: str) -> None:
    chosen = {one.attack.name for one in choose(["all"], offers=family_of(Path(toy)).offers)}
    assert chosen == {attack.name for attack in attacks().values() if not attack.needs}
    assert {"seeds", "guidance", "rounding"} <= chosen and "p4d" not in chosen
    assert len(choose(["all"])) == len(attacks())


def test_the_lists_say_what_goes_with_a_model(toy: str) -> None:
    for what, here, not_here in (("methods", "uce", "fmn"), ("attacks", "seeds", "p4d")):
        shown = CliRunner().invoke(app, ["list", what, "--model", toy], env={"COLUMNS": "300"})
        rows = {line.split()[0]: line.split()[-1] for line in shown.output.splitlines() if line.strip()}
        assert (shown.exit_code, rows[here], rows[not_here]) == (0, "yes", "no"), shown.output


# Entrances


@pytest.mark.parametrize("way", ["tokens", "pooled"])
@pytest.mark.parametrize("which", ["sd1", "sd2", "sdxl", "sd3", "flux"])
def test_a_map_at_all_entrances_of_a_way_is_a_map_of_its_rows(which: str, way: Way, request: pytest.FixtureRequest) -> None:
    """The theorem that closed forms stand on: W (I + D) there does what rows (I + D^T) do, whatever the picture."""
    model: Model = request.getfixturevalue(which)
    if way not in model.ways:
        assert which in ("sd1", "sd2") and way == "pooled"
        return
    random = torch.Generator().manual_seed(0)
    told = model.encode(["a cat", "a dog"])
    rows = getattr(told, way)
    width = rows.shape[-1]
    change = 0.1 * torch.randn(width, width, generator=random)
    x, t = torch.randn(2, *model.latent_shape, generator=random), torch.tensor([700, 200])
    weights = {name: named_tensors(model)[name] for name in model.entrances_of(way)}
    with torch.no_grad():
        plain = model.predict(x, t, told)
        expected = model.predict(x, t, replace(told, **{way: rows @ (torch.eye(width) + change).T}))
        before = {name: weight.clone() for name, weight in weights.items()}
        for weight in weights.values():
            weight[:, :width] += weight[:, :width] @ change
        found = model.predict(x, t, told)
        for name, weight in before.items():
            weights[name].copy_(weight)
    assert torch.allclose(found, expected, atol=1e-4) and (found - plain).abs().max() > 1e-2
    assert torch.equal(model.predict(x, t, told), plain)


@pytest.mark.parametrize("which", ["sd1", "sd3", "flux"])
def test_entrances_read_text_and_no_picture(which: str, request: pytest.FixtureRequest) -> None:
    """Their inputs are the rows themselves, at every pass; all of the denoiser's layers that get them are entrances."""
    model: Model = request.getfixturevalue(which)
    told, seen = model.encode(["a cat"]), dict[str, Way | None]()
    rows: dict[Way, Tensor] = {way: getattr(told, way) for way in model.ways}
    layers = model.layers([name for name in select(model, "full") if name.endswith(".weight")])

    def hook(name: str) -> Callable[..., None]:
        def look(layer: Any, inputs: Any, named: Any, output: Any) -> None:
            given = [*inputs, *named.values()]
            seen[name] = next((way for way, own in rows.items() if any(torch.equal(each, own) for each in given)), None)

        return look

    for name, layer in layers.items():
        layer.register_forward_hook(hook(name), with_kwargs=True)
    with torch.no_grad():
        model.predict(torch.randn(1, *model.latent_shape), torch.tensor([500]), told)
    assert {name: way for name, way in seen.items() if way} == {entrance.weight: entrance.reads for entrance in model.entrances}
    assert len(seen) > 30
