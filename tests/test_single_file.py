"""Single checkpoint files load offline: shipped configs and tokenizer for the real sizes, a given config for others."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tiny_models
from excise.concepts import Catalog
from excise.erasure.run import Run
from excise.jobs.apply import apply
from excise.methods import get
from excise.models import load, single_file
from excise.models.checkpoint_file import WIDTH, Contents
from excise.models.clip import clip_tokenizer
from excise.models.original_layout import original_checkpoint


def _four_blocks(folder: Path, second: bool) -> Path:
    """A tiny pipeline with the four blocks of the original layout, and its single file `model.safetensors` beside its config."""
    width = 64 if second else 32
    pipeline = tiny_models.pipeline(width=width, linear=second)
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(4, 4, 8, 8), norm_num_groups=4,
        cross_attention_dim=width, attention_head_dim=2, use_linear_projection=second,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[4, 4, 8, 8], down_block_types=["DownEncoderBlock2D"] * 4, norm_num_groups=4,
        up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, latent_channels=4, sample_size=64,
    )  # fmt: skip
    whole = StableDiffusionPipeline(
        **{**pipeline.components, "unet": unet.eval(), "vae": vae.eval()}, requires_safety_checker=False
    )
    whole.save_pretrained(folder)
    tensors = original_checkpoint(whole)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def _xl(folder: Path) -> Path:
    """The same for XL, with its three blocks."""
    pipeline = tiny_models.sdxl()
    torch.manual_seed(4)
    unet = UNet2DConditionModel.from_config(
        pipeline.unet.config, block_out_channels=(4, 8, 8), layers_per_block=2, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), transformer_layers_per_block=(1, 1, 2),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[4, 4, 8, 8], down_block_types=["DownEncoderBlock2D"] * 4, norm_num_groups=4,
        up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, latent_channels=4, sample_size=64,
    )  # fmt: skip
    pipeline.register_modules(unet=unet.eval(), vae=vae.eval())
    pipeline.save_pretrained(folder)
    save_file(
        {name: tensor.contiguous() for name, tensor in original_checkpoint(pipeline).items()}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture(scope="module", params=["1.x", "2.x", "xl"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    return _xl(folder) if request.param == "xl" else _four_blocks(folder, request.param == "2.x")


def test_a_tiny_checkpoint_is_the_folder_it_was_made_from(checkpoint: Path) -> None:
    single = load(checkpoint / "model.safetensors", device="cpu", config_from=checkpoint)
    folder = load(checkpoint, device="cpu")
    for part in type(folder).parts:
        ours, theirs = (getattr(m.pipeline, part).state_dict() for m in (single, folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    pictures = [model.sample(["a cat"], [0], steps=2) for model in (single, folder)]
    assert (pictures[0] - pictures[1]).abs().max() < 1e-5  # where tensors lie in memory may pick other kernels
    assert single.name == "model.safetensors" and single.folder is None


def test_an_edited_model_is_written_as_one_file_and_loads_to_the_same_bits(checkpoint: Path, tmp_path: Path) -> None:
    base = load(checkpoint, device="cpu")
    edit = get("uce").erase(base, [Catalog().resolve("cat")], get("uce").settings(), Run())
    edit.save_pretrained(tmp_path / "cat")
    apply(tmp_path / "cat", to=tmp_path / "without.safetensors", model=checkpoint, device="cpu")
    again = load(tmp_path / "without.safetensors", device="cpu", config_from=checkpoint)
    with edit.applied(base):
        for part in type(base).parts:
            ours, theirs = (getattr(model.pipeline, part).state_dict() for model in (again, base))
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(FileExistsError, match="exists"):
        apply(tmp_path / "cat", to=tmp_path / "without.safetensors", model=checkpoint, device="cpu")


def test_prediction_is_taken_from_the_config_unless_given(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    assert load(file, device="cpu", config_from=checkpoint).path.prediction == "epsilon"
    model = load(file, device="cpu", config_from=checkpoint, prediction="v_prediction")
    assert model.path.prediction == "v_prediction"
    assert model.pipeline.scheduler.config.steps_offset == 1, "the rest of the schedule must stay"
    with pytest.raises(ValueError, match="unknown prediction 'flow'; known: epsilon, v_prediction"):
        load(file, prediction="flow")
    with pytest.raises(ValueError, match="for single checkpoint files"):
        load(checkpoint, prediction="epsilon")


def test_refusals(checkpoint: Path, tiny_sd1: Path, tmp_path: Path) -> None:
    file = checkpoint / "model.safetensors"
    endless = shutil.copytree(checkpoint, tmp_path / "endless")
    config = json.loads((endless / "text_encoder" / "config.json").read_text())
    (endless / "text_encoder" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**7}))
    with pytest.raises(ValueError, match="more layers than there are weights"):
        load(file, config_from=endless)
    with pytest.raises(ValueError, match=r"width (32|64|56), which none of .* give config_from"):
        load(file)
    with pytest.raises(ValueError, match=r"it has no model_index\.json"):
        load(file, config_from=tmp_path)
    with pytest.raises(ValueError, match="does not fit the networks"):
        load(file, config_from=tiny_sd1)
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=r"no checkpoint of Stable Diffusion 1\.x"):
        load(tiny_sd1 / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    "tensors, what",
    [
        ({"distilled_guidance_layer.in_proj.bias": (2,), "double_blocks.0.img_attn.qkv.weight": (2, 2)}, "a Chroma model"),
        ({"control_layers.0.adaLN_modulation.0.weight": (2, 2)}, "a ControlNet"),
        ({"lora_unet_mid_block_x.lora_down.weight": (2, 2)}, "is a LoRA"),
        ({"transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight": (2, 2)}, "is a LoRA"),
        ({WIDTH: (4, 768), "model.diffusion_model.input_blocks.0.0.weight_scale": (1,)}, "is quantised (it holds"),
        ({WIDTH: (4, 1280), "conditioner.embedders.0.model.ln_final.weight": (2,)}, "the refiner of Stable Diffusion XL"),
        ({WIDTH: (4, 768), "model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "takes 9 channels instead of 4"),
        ({WIDTH: (4,)}, "no checkpoint of Stable Diffusion 1.x"),
        ({"x": (2,)}, "no checkpoint of Stable Diffusion 1.x"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_what_they_are(tensors: dict[str, tuple[int, ...]], what: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=re.escape(what)):
        load(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "prefix",
    ["model.diffusion_model.out.2.weight", "first_stage_model.decoder.conv_in.bias", ("cond_stage_model", "conditioner")],
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(checkpoint: Path, tmp_path: Path, prefix: str | tuple[str, ...]) -> None:
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / "model.safetensors")
    del tensors[sorted(name for name in tensors if name.startswith(prefix))[-1]]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"less\.safetensors.*(lacks|does not fit)"):
        load(tmp_path / "less.safetensors", device="cpu", config_from=checkpoint)


def test_a_checkpoint_with_tensors_that_nothing_would_read_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / "model.safetensors")
    tensors["model_ema.decay"] = torch.zeros(())  # what trainers leave beside the network is no part of the model
    save_file(tensors, tmp_path / "more.safetensors")
    load(tmp_path / "more.safetensors", device="cpu", config_from=checkpoint)
    tensors["model.diffusion_model.adapter.weight"] = torch.zeros(2)
    save_file(tensors, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match="holds 1 tensors of a denoiser that the network"):
        load(tmp_path / "more.safetensors", device="cpu", config_from=checkpoint)


MARKED = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
"""What trainers put beside the weights of a network that predicts velocity, on a schedule with zero terminal signal."""


def _marked(checkpoint: Path, to: Path, *markers: str) -> Path:
    from safetensors.torch import load_file

    save_file({**load_file(checkpoint / "model.safetensors"), **{name: MARKED[name] for name in markers}}, to)
    return to


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"])
def test_marked_checkpoints_are_sampled_as_they_were_trained(checkpoint: Path, tmp_path: Path, scheduler: str) -> None:
    """Oracle: diffusers' own pipeline of the same weights with the schedule written out."""
    config = Path(shutil.copytree(checkpoint, tmp_path / "config"))
    getattr(diffusers, scheduler).from_config(tiny_models.pipeline().scheduler.config).save_pretrained(config / "scheduler")
    index = json.loads((config / "model_index.json").read_text())
    (config / "model_index.json").write_text(json.dumps({**index, "scheduler": ["diffusers", scheduler]}))
    file = _marked(checkpoint, tmp_path / "marked.safetensors", "v_pred", "ztsnr")
    model = load(file, device="cpu", config_from=config)
    assert model.path.prediction == "v_prediction"
    assert model.path.alphas_cumprod[-1] < 1e-6 and int(next(_states(model)).timestep) == 999
    kind = DDIMScheduler if scheduler == "PNDMScheduler" else getattr(diffusers, scheduler)  # PNDM cannot start from pure noise
    assert type(model.pipeline.scheduler) is kind
    pipeline = DiffusionPipeline.from_pretrained(checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = kind(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing",
        **({"clip_sample": False, "set_alpha_to_one": False} if kind is DDIMScheduler else {}),
    )  # fmt: skip
    expected = pipeline(
        "a cat", num_inference_steps=3, height=64, width=64, generator=torch.Generator().manual_seed(5), output_type="latent"
    ).images
    *_, last = model.trajectory(["a cat"], [5], steps=3)
    assert expected.isfinite().all() and torch.allclose(last.latents, expected, atol=1e-3)  # of sigmas up to 4096


def _states(model: Any) -> Any:
    return model.trajectory(["a cat"], [0], steps=3)


def test_markers_are_obeyed_unless_the_user_says_otherwise(checkpoint: Path, tmp_path: Path) -> None:
    def scheduler(*markers: str, **options: Any) -> Any:
        file = _marked(checkpoint, tmp_path / "marked.safetensors", *markers)
        return load(file, device="cpu", config_from=checkpoint, **options).pipeline.scheduler

    velocity = scheduler("v_pred")
    assert velocity.config.prediction_type == "v_prediction" and velocity.alphas_cumprod[-1] > 1e-3
    assert velocity.config.timestep_spacing == "leading"
    for told in (scheduler("v_pred", "ztsnr", prediction="epsilon"), scheduler("ztsnr")):  # noise says nothing of pure noise
        assert told.config.prediction_type == "epsilon" and told.alphas_cumprod[-1] > 1e-3
    assert scheduler("ztsnr", prediction="v_prediction").alphas_cumprod[-1] < 1e-6


@pytest.mark.parametrize(
    ("width", "metadata", "markers", "given", "expected", "edge"),
    [
        (768, {}, set(), None, "epsilon", 64),
        (768, {"modelspec.prediction_type": "v"}, set(), None, "v_prediction", 64),
        (768, {}, {"v_pred"}, None, "v_prediction", 64),
        (768, {"modelspec.prediction_type": "epsilon"}, {"v_pred", "ztsnr"}, None, "v_prediction", 64),
        (768, {}, {"v_pred"}, "epsilon", "epsilon", 64),
        (1024, {}, set(), None, "v_prediction", 96),  # asked: a random network does not return its input
        (1024, {"modelspec.prediction_type": "epsilon"}, set(), None, "epsilon", 64),
        (1024, {"modelspec.prediction_type": "epsilon"}, set(), "v_prediction", "v_prediction", 96),
        (1024, {"modelspec.prediction_type": "v"}, set(), "epsilon", "epsilon", 64),
    ],
)
def test_what_decides_the_prediction(
    width: int,
    metadata: dict[str, str],
    markers: set[str],
    given: str | None,
    expected: str,
    edge: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pads = []

    def read(path: Path, found: Contents, config: Path, dtype: torch.dtype, tokenizer: Any) -> Any:
        assert (config / "model_index.json").is_file() and config.name == {768: "sd1", 1024: "sd2"}[width]
        pads.append(tokenizer.pad_token)
        pipeline = tiny_models.pipeline()
        pipeline.unet.register_to_config(sample_size=64)
        return pipeline

    found = Contents("StableDiffusionPipeline", width, metadata, frozenset(markers))
    monkeypatch.setattr(single_file, "contents", lambda path: found)
    monkeypatch.setattr(single_file, "_read", read)
    pipeline = single_file.load_checkpoint(Path("x.safetensors"), torch.float32, prediction=given)
    assert pipeline.scheduler.config.prediction_type == expected
    assert pipeline.unet.config.sample_size == edge
    assert (pipeline.scheduler.alphas_cumprod[-1] < 1e-6) == ("ztsnr" in markers)
    assert pads == [{768: "<|endoftext|>", 1024: "!"}[width]]


WEIGHTS = {
    "sd1": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
}
"""Numbers of weights of the released stable-diffusion-v1-5, stable-diffusion-2-1 and stable-diffusion-xl-base-1.0."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_shipped_configs_describe_the_real_models(name: str) -> None:
    """On the meta device: right numbers of weights, and diffusers' own converter maps every original name to one of ours."""
    folder = single_file._CONFIGS / name
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, subfolder="unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder, subfolder="vae"))
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder, subfolder="text_encoder"))
        parts: dict[str, Any] = {"unet": unet, "vae": vae, "text_encoder": text_encoder}
        if name == "sdxl":
            config = CLIPTextConfig.from_pretrained(folder, subfolder="text_encoder_2")
            parts["text_encoder_2"] = CLIPTextModelWithProjection(config)
    assert {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()} == WEIGHTS[name]
    original = original_checkpoint(SimpleNamespace(**parts, scheduler=DDIMScheduler()))
    assert original[WIDTH].shape[1] == {"sd1": 768, "sd2": 1024, "sdxl": 2048}[name]
    in_released = {"sd1": 686, "sd2": 686, "sdxl": 1680}[name]
    assert sum(key.startswith("model.diffusion_model.") for key in original) == in_released
    assert sum(key.startswith("first_stage_model.") for key in original) == 248
    back = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(original), unet.config),
        "vae": single_file_utils.convert_ldm_vae_checkpoint(dict(original), vae.config),
    }
    for part, tensors in back.items():
        expected = {key: tensor.shape for key, tensor in parts[part].state_dict().items()}
        assert {key: tensor.shape for key, tensor in tensors.items()} == expected
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    assert scheduler.alphas_cumprod[-1] == pytest.approx(0.00466, abs=1e-5)


def test_the_tokenizer_is_clips() -> None:
    """Golden ids: printed by open_clip_torch 3.3.0's `SimpleTokenizer().encode` (7,800 lines of text agreed when this was written)."""
    tokenizer = clip_tokenizer()
    golden = {
        "a photo of a cat": [320, 1125, 539, 320, 2368],
        "Hello   World!": [3306, 1002, 256],
        "Van Gogh's Starry Night, 4k": [2451, 19697, 568, 30963, 930, 267, 275, 330],
        "naïve café 🐈": [1097, 35689, 563, 15304, 2074, 486],
        "antidisestablishmentarianism": [3120, 4262, 7726, 12658, 1585, 44351],
    }
    for text, ids in golden.items():
        assert tokenizer(text).input_ids == [49406, *ids, 49407], text
    assert len(tokenizer) == 49408
    padded = tokenizer(["cat"], padding="max_length").input_ids[0]
    assert len(padded) == 77 and padded[:4] == [49406, 2368, 49407, 49407]
    second = clip_tokenizer(pad_token="!")
    assert second(["cat"], padding="max_length").input_ids[0][:4] == [49406, 2368, 49407, 0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_asking_a_trained_network_tells_what_it_predicts(prediction: str) -> None:
    """A U-Net trained for a moment on flat pictures: the noise, or the velocity."""
    unet = tiny_models.pipeline().unet
    scheduler = DDIMScheduler.from_config(tiny_models.pipeline().scheduler.config)
    optimizer = torch.optim.Adam(unet.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        clean = torch.randn(8, 4, 1, 1, generator=generator).expand(8, 4, 8, 8)
        noise = torch.randn(8, 4, 8, 8, generator=generator)
        t = torch.randint(900, 1000, (8,), generator=generator)
        output = unet(scheduler.add_noise(clean, noise, t), t, torch.zeros(8, 77, 32)).sample
        target = noise if prediction == "epsilon" else scheduler.get_velocity(clean, noise, t)
        loss = (output - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert single_file.measured_prediction(unet.eval()) == prediction
