"""Networks that no edit changes may wait elsewhere, or be let go of and read again; pictures and edits stay what they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import UserCpuOffloadHook
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import WeightEdit
from excise.erasure.run import Run
from excise.jobs import memory
from excise.methods import get, methods
from excise.models import Model, load
from excise.models.drawing import Offload
from excise.models.fingerprint import surroundings, unedited_readers
from excise.models.footprint import Footprint, Part, Work
from excise.models.offloading import place
from excise.models.on_demand import OnDemand
from excise.models.tiling import tiled
from excise.requests.erase import EraseRequest
from trained_methods import CAT, PICTURED, QUICK, VISITING

CPU, OTHER = torch.device("cpu"), torch.device("meta")
"""The meta device stands for another one: what lies on the CPU cannot be computed with what lies there."""
FAMILIES = ["tiny_sdxl", "tiny_flux", "tiny_qwen_image"]


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def placed(folder: Path, device: torch.device, offload: Offload) -> Model:
    """As `load` places a model, also on devices that it refuses."""
    model = load(folder, device="cpu")
    place(model.pipeline, model.editable, device, offload)
    return model


def drawn(model: Model) -> torch.Tensor:
    return model.sample(["a cat", "a photo of a dog"], [0, 1], steps=2)


@pytest.mark.parametrize("offload", ["model", "group"])
def test_pictures_stay_what_they_are(offload: Offload, folder: Path) -> None:
    """On the one device that is here: everything is moved to where it is."""
    model, plain = placed(folder, CPU, offload), load(folder, device="cpu")
    assert torch.equal(drawn(model), drawn(plain))
    pictures = torch.rand(2, 3, plain.sampler.size, plain.sampler.size)
    assert torch.equal(model.encode_pictures(pictures), plain.encode_pictures(pictures))
    assert surroundings(model) == surroundings(plain)


@pytest.mark.parametrize("base", ["tiny_sdxl", "tiny_flux", "tiny_sd3"])
def test_what_no_edit_changes_waits_on_the_cpu(base: str, request: pytest.FixtureRequest) -> None:
    """Readers work where the denoiser is, and the autoencoder; what an edit changes is there all the time.

    Not Qwen's: it looks at the numbers of its mask, and the meta device has none.
    """
    model = placed(request.getfixturevalue(base), OTHER, "model")
    for name in model.parts:
        part = getattr(model.pipeline, name)
        assert next(part.parameters()).device == (OTHER if name in model.editable else CPU), name
    assert model.device == OTHER
    told = model.encode(["a cat", "a photo of a dog"])
    assert told.tokens.device == OTHER and (told.pooled is None or told.pooled.device == OTHER)
    latents = torch.zeros(1, *model.latent_shape, device=OTHER)
    assert model.autodecode(model.unscaled(latents)).device == OTHER
    size = model.sampler.size
    assert model.encode_pictures(torch.rand(1, 3, size, size)).device == OTHER


def test_the_others_make_room_when_the_denoiser_is_asked(tiny_flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, gone = placed(tiny_flux, CPU, "model"), list[Any]()
    monkeypatch.setattr(UserCpuOffloadHook, "offload", lambda hook: gone.append(hook.model))
    told = model.encode(["a cat"])
    assert not gone
    model.predict(torch.zeros(1, *model.latent_shape), torch.tensor([500.0]), told)
    assert {id(part) for part in gone} == {id(model.pipeline.vae), id(model.pipeline.text_encoder_2)}


@pytest.mark.parametrize("offload", ["model", "group"])
def test_edits_go_on_and_off_as_ever(offload: Offload, tiny_flux: Path) -> None:
    model, plain = placed(tiny_flux, CPU, offload), load(tiny_flux, device="cpu")
    edits = [get("uce").erase(each, [CAT], get("uce").parse({}), Run()) for each in (model, plain)]
    assert all(torch.equal(edits[0].deltas[name].dense(), edits[1].deltas[name].dense()) for name in edits[1].deltas)
    before = drawn(plain)
    with edits[0].applied(model), edits[1].applied(plain):
        assert torch.equal(drawn(model), drawn(plain)) and not torch.equal(drawn(plain), before)
    assert torch.equal(drawn(model), before)


def test_offloading_to_where_it_comes_from_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    for offload in ("model", "group"):
        with pytest.raises(ValueError, match=f"offload={offload} needs another device than the CPU"):
            load(tiny_sd1, device="cpu", offload=offload)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown offload 'disk'; known: none, model, group"):
        load(tiny_sd1, device="cpu", offload="disk")  # type: ignore[arg-type]
    told = ["--model", str(tiny_sd1), "--out", str(tmp_path / "x.png"), "--device", "cpu", "--offload", "model"]
    shown = CliRunner().invoke(app, ["generate", "a cat", *told])
    assert shown.exit_code == 2 and len(shown.output.strip().splitlines()) == 1 and not (tmp_path / "x.png").exists()


def test_offloading_is_estimated(tiny_flux: Path) -> None:
    found = Footprint(tiny_flux)
    sizes = {part.name: part.bytes for part in found.parts}
    others = {name: sizes[name] for name in ("text_encoder_2", "vae")}
    assert memory.away(found, others, "none") == 0
    assert memory.away(found, others, "model") == min(others.values())
    assert min(others.values()) < memory.away(found, others, "group") < sum(others.values())


def test_the_estimate_is_of_the_hour_that_takes_most() -> None:
    """Readers are there while pictures are made; what is learned is there when they are gone."""
    parts = (Part("transformer", "", 1, 100), Part("text_encoder", "", 1, 50))
    learns = memory.Need(parts, away=0, released=50, work=Work(sampling=5, decoding=20, learning=30), trained=40, learns=True)
    assert learns.total - memory.RUNTIME == max(100 + 50 + 20, 100 + 40 + 30)
    more = replace(learns, work=Work(sampling=5, decoding=20, learning=90))
    assert more.total - memory.RUNTIME == 100 + 40 + 90
    assert replace(more, learns=False).total - memory.RUNTIME == 100 + 50 + 20 + 40
    assert replace(learns, away=30, released=0).total - memory.RUNTIME == 120 + 40 + 30


def test_what_is_given_back_is_what_the_loaded_model_gives_back(tiny_flux: Path) -> None:
    asked = memory.need(EraseRequest(concepts=("cat",), model=str(tiny_flux), method="esd", size=16))
    given = load(tiny_flux, device="cpu").on_demand.values()
    assert asked.learns and asked.released == sum(held(each.network) for each in given) > 0


# --- let go of, and read again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def recalls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of networks that were read again."""
    found: list[str] = []
    recall = OnDemand.recall

    def noted(own: OnDemand) -> None:
        if own.released:
            found.append(own.name)
        recall(own)

    monkeypatch.setattr(OnDemand, "recall", noted)
    yield found


def held(network: nn.Module) -> int:
    return sum(parameter.untyped_storage().nbytes() for parameter in network.parameters())


@pytest.mark.parametrize("base", ["tiny_sd3", "tiny_qwen_image"])
def test_language_models_are_let_go_of_and_read_again(base: str, request: pytest.FixtureRequest) -> None:
    model = load(request.getfixturevalue(base), device="cpu", dtype="bfloat16")
    (name, found), prompts = next(iter(model.on_demand.items())), ["a cat", "a photo of a dog"]
    before, around, digests = model.encode(prompts), surroundings(model), unedited_readers(model)
    parameters = dict(found.network.named_parameters())
    model.release_unedited()
    assert held(found.network) == 0 and getattr(model.pipeline, name) is found.network
    assert surroundings(model) == around, "what is told of it stays"
    model.release_unedited()
    after = model.encode(prompts)
    assert torch.equal(after.tokens, before.tokens) and not found.released and held(found.network) > 0
    assert all(parameters[key] is parameter for key, parameter in found.network.named_parameters())
    assert unedited_readers(model) == digests


def test_what_edits_change_is_never_let_go_of(tiny_sd1: Path, tiny_sdxl: Path, tiny_flux: Path) -> None:
    assert not load(tiny_sd1, device="cpu").on_demand and not load(tiny_sdxl, device="cpu").on_demand
    assert list(load(tiny_flux, device="cpu").on_demand) == ["text_encoder_2"]


def test_files_that_changed_meanwhile_are_refused(tiny_flux: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_flux, tmp_path / "model")
    model = load(folder, device="cpu")
    model.release_unedited()
    file = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="text_encoder_2 was changed while the model was at work"):
        model.encode(["a cat"])
    save_file(tensors, file, {"format": "pt"})
    model.encode(["a cat"])


LEARN = {"mim": {**VISITING, "metric": "rest"}, "esd": VISITING}
LEARN |= {"salun": {**PICTURED, "retain": "masked", "pseudo": "a dog"}}


@pytest.mark.parametrize("method", LEARN)
def test_no_prompt_is_read_while_weights_are_learned(method: str, tiny_flux: Path, recalls: list[str]) -> None:
    """The language model is let go of when the loop begins, and nothing in it needs it; the edit has the same bits without that."""
    model, settings = load(tiny_flux, device="cpu"), _settings(method)
    edit = get(method).erase(model, [CAT], settings, Run())
    assert model.on_demand["text_encoder_2"].released and not recalls
    kept = load(tiny_flux, device="cpu")
    kept.on_demand = {}
    other = get(method).erase(kept, [CAT], settings, Run())
    assert isinstance(edit, WeightEdit) and isinstance(other, WeightEdit)
    assert all(torch.equal(edit.deltas[name].dense(), other.deltas[name].dense()) for name in other.deltas)


def _settings(method: str) -> Any:
    known = methods()[method].settings.model_fields
    return get(method).parse({key: value for key, value in {**QUICK, **LEARN[method]}.items() if key in known})


# --- tiles -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", FAMILIES)
def test_only_large_pictures_go_through_the_autoencoder_in_tiles(
    base: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(request.getfixturevalue(base), device="cpu")
    vae, used = model.pipeline.vae, list[bool]()
    decode = type(vae).decode

    def spied(own: Any, *args: Any, **options: Any) -> Any:
        used.append(own.use_tiling)
        return decode(own, *args, **options)

    monkeypatch.setattr(type(vae), "decode", spied)
    plain = drawn(model)
    assert not any(used)
    edge = model.sampler.size
    monkeypatch.setattr("excise.models.tiling.WHOLE", edge**2)
    assert torch.equal(drawn(model), plain) and not any(used)
    monkeypatch.setattr("excise.models.tiling.WHOLE", edge**2 - 1)
    drawn(model)
    assert used[-1] and not vae.use_tiling
    with tiled(vae, 1):
        assert not vae.use_tiling


def test_a_tiled_picture_has_its_size_and_nearly_its_pixels(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = sd1.decode(latents)
    monkeypatch.setattr("excise.models.tiling.WHOLE", 1)
    cut = sd1.decode(latents)
    assert cut.shape == whole.shape and 0 < (cut - whole).abs().mean() < 0.1
