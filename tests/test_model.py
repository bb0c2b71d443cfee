"""Our sampling loop is the diffusers pipeline's, and a picture depends on its own seed alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from torch import Tensor

import tiny_models
from excise.attacks.call_budget import Budget
from excise.attacks.call_meter import CallMeter
from excise.attacks.cases import make_cases
from excise.attacks.draws import Draws
from excise.attacks.original import Original
from excise.attacks.victim import Victim
from excise.edits.applied import base_fingerprint
from excise.edits.base_shelf import base_shelf
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import forgetting_set, stopped_states, trajectory_states
from excise.erasure.training_pictures import generated_latents
from excise.evaluation.conditions import Condition, _sample
from excise.evaluation.suites.answer_set import _make
from excise.evaluation.suites.prompt_file import PromptItem
from excise.information.picture_sets import make_pictures
from excise.methods.uce import balance
from excise.models import Model, Sampler, load

PROMPTS = ["a cat in sketch style", "", "a photo of a dog, in the rain"]


def _pipeline_latents(model: Model, prompts: list[str], seeds: list[int], steps: int, scale: float, eta: float = 0.0) -> Tensor:
    """Oracle: the latents that the diffusers pipeline itself ends with."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return model.pipeline(
        prompts, num_inference_steps=steps, guidance_scale=scale, eta=eta, height=tiny_models.SIZE, width=tiny_models.SIZE,
        generator=generators, output_type="latent",
    ).images  # fmt: skip


def _our_latents(model: Model, prompts: list[str], seeds: list[int], steps: int, scale: float) -> Tensor:
    *_, last = model.trajectory(prompts, seeds, steps=steps, guidance_scale=scale)
    assert last.timestep == -1
    return last.latents


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 7.5])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "canvas"])
def test_loop_is_the_pipelines_bit_for_bit(kind: str, scale: float, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    expected = _pipeline_latents(model, PROMPTS, [3, 1, 4], 7, scale)
    assert torch.equal(_our_latents(model, PROMPTS, [3, 1, 4], 7, scale), expected)
    assert expected.std() > 0.1 and not torch.equal(expected[0], expected[2])


@pytest.mark.parametrize("name", ["PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "HeunDiscrete"])
def test_loop_is_the_pipelines_for_other_samplers(sd1: Model, name: str) -> None:
    scheduler = getattr(diffusers, f"{name}Scheduler")
    sd1.pipeline.scheduler = scheduler.from_config(sd1.pipeline.scheduler.config)
    expected = _pipeline_latents(sd1, PROMPTS, [3, 1, 4], 6, 5.0)
    assert torch.equal(_our_latents(sd1, PROMPTS, [3, 1, 4], 6, 5.0), expected)


def test_mixed_precision_keeps_the_weights_and_rounds_the_predictions(tiny_sd1: Path) -> None:
    plain, mixed = load(tiny_sd1, device="cpu"), load(tiny_sd1, device="cpu", dtype="mixed")
    assert (plain.precision, mixed.precision, mixed.dtype) == ("float32", "mixed", torch.float32)
    assert base_fingerprint(plain) == base_fingerprint(mixed)
    latents, t, text = plain.start_noise([0, 1]), torch.tensor([200, 800]), plain.encode(PROMPTS[:2])
    exact, rounded = plain.predict(latents, t, text), mixed.predict(latents, t, text)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.03
    first, second = (base_shelf(model, "answers").names for model in (plain, mixed))
    assert first != second
    with pytest.raises(ZeroDivisionError), mixed.unrounded():
        assert torch.equal(mixed.predict(latents, t, text), exact)
        raise ZeroDivisionError
    assert torch.equal(mixed.predict(latents, t, text), rounded)


def test_loop_is_the_pipelines_for_samplers_that_draw_noise(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline goes on drawing from the generators that drew the starting noise; so do we here."""
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    start = torch.stack([torch.randn(sd1.latent_shape, generator=generator) for generator in generators])
    monkeypatch.setattr(sd1, "step_noise", lambda seeds: generators)
    *_, last = sd1.trajectory(PROMPTS[:2], [5, 6], starts=start, steps=5, guidance_scale=3.0, eta=1.0)
    assert torch.equal(last.latents, _pipeline_latents(sd1, PROMPTS[:2], [5, 6], 5, 3.0, eta=1.0))
    assert not torch.equal(last.latents, _pipeline_latents(sd1, PROMPTS[:2], [5, 6], 5, 3.0, eta=0.0))


@pytest.mark.parametrize("steps", [2, 3, 4, 7])
def test_the_noisiest_sampler_works_from_pure_noise_too(canvas: Model, steps: int) -> None:
    """DDIM with eta = 1 on a schedule with zero terminal SNR, where diffusers itself gives NaN for some numbers of steps."""
    ends = []
    for eta in (0.0, 1.0):
        *_, last = canvas.trajectory(["a cat"], [0], steps=steps, guidance_scale=2.0, eta=eta)
        assert last.latents.isfinite().all()
        ends.append(last.latents)
    assert (ends[0] - ends[1]).abs().max() > 0.1


def test_pictures_are_the_pipelines(canvas: Model) -> None:
    ours = canvas.sample(PROMPTS, [3, 1, 4])
    theirs = canvas.pipeline(
        PROMPTS, num_inference_steps=4, guidance_scale=4.0, output_type="pt", height=tiny_models.SIZE, width=tiny_models.SIZE,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 1, 4)],
    ).images  # fmt: skip
    assert torch.equal(ours, theirs)
    assert ours.shape == (3, 3, tiny_models.SIZE, tiny_models.SIZE) and ours.dtype == torch.float32
    assert 0 <= ours.min() < 0.5 < ours.max() <= 1


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_a_picture_depends_on_its_own_seed_alone(sd1: Model, scheduler: str) -> None:
    sd1.pipeline.scheduler = getattr(diffusers, scheduler).from_config(sd1.pipeline.scheduler.config)
    prompts, seeds = [*PROMPTS, "a cat"], [3, 1, 4, 3]
    together = sd1.sample(prompts, seeds, steps=5, batch=4)
    torch.manual_seed(99)
    for batch in (1, 3):
        apart = sd1.sample(prompts[::-1], seeds[::-1], steps=5, batch=batch).flip(0)
        assert (together - apart).abs().max() < 1e-5
    other = sd1.sample(prompts, [3, 1, 5, 3], steps=5, batch=4)
    assert torch.equal(other[[0, 1, 3]], together[[0, 1, 3]])
    assert (other[2] - together[2]).abs().max() > 0.01


def _victim(model: Model) -> Victim:
    cat, meter = model.catalog.resolve("cat"), CallMeter(1)
    budget, original = Budget(meter, model, 2), Original(model, cat, meter, Run(), {})
    return Victim(model, cat, make_cases(cat, 2, 0), cast(Any, None), budget, Draws(model, 0), original)


MAKERS: dict[str, Callable[[Model], object]] = {
    "sample": lambda model: model.sample(PROMPTS, [3, 1, 4]),
    "pictures to learn from": lambda model: generated_latents(model, PROMPTS, [3, 1, 4], run=Run()),
    "states": lambda model: trajectory_states(model, *_drawn(model), steps=3, guidance_scale=1.0),
    "stopped states": lambda model: stopped_states(model, *_drawn(model), steps=3, guidance_scale=1.0),
    "forgetting set": lambda model: forgetting_set(model, *_drawn(model), steps=3, guidance_scale=1.0),
    "shares": lambda model: balance._pictures(model, None, "a cat", 2, torch.Generator().manual_seed(0)),
    "conditions": lambda model: _sample(model, Condition("wording", "plain", ()), PROMPTS, [3, 1, 4], None),
    "information": lambda model: make_pictures(model, [(model.catalog.resolve("cat"), 2)], seed=0),
    "answer set": lambda model: _make(model, [PromptItem("0", "a cat", 3), PromptItem("1", "a dog", 4)]),
    "attacks": lambda model: (victim := _victim(model)).ask(victim.cases, ["a cat", "a dog"]),
}


def _drawn(model: Model) -> tuple[PromptBank, Tensor, torch.Generator]:
    bank = PromptBank.of(model, [model.catalog.resolve("cat")], plain=True)
    return bank, torch.tensor([0, 1]), torch.Generator().manual_seed(0)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_sampler_s_noise_is_not_the_start_noise_again(
    maker: str, canvas: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a stochastic sampler, watched where it draws."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    ancestral = diffusers.EulerAncestralDiscreteScheduler
    canvas.pipeline.scheduler = ancestral.from_config(canvas.pipeline.scheduler.config)
    drawn: list[tuple[Tensor, Tensor]] = []
    step = ancestral.step

    def watched(self: Any, output: Tensor, t: Tensor, latents: Tensor, *, generator: list[torch.Generator]) -> Any:
        heads = []
        for one in generator:
            again = torch.Generator()
            again.set_state(one.get_state())
            heads.append(torch.randn(latents.shape[1:], generator=again))
        drawn.append((latents / self.init_noise_sigma, torch.stack(heads)))
        return step(self, output, t, latents, generator=generator)

    monkeypatch.setattr(ancestral, "step", watched)
    MAKERS[maker](canvas)
    start, added = drawn[0]
    assert len(start) == len(added) > 1
    assert ((start - added).abs().flatten(1).amax(1) > 0.1).all() and (added[0] - added[1]).abs().max() > 0.1


def test_sampling_leaves_global_randomness_and_the_scheduler_alone(sd1: Model) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    timesteps = sd1.pipeline.scheduler.timesteps.clone()
    first = sd1.sample(["a cat"], [0], steps=3)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(sd1.pipeline.scheduler.timesteps, timesteps)
    assert torch.equal(sd1.sample(["a cat"], [0], steps=3), first)


def test_sample_wants_a_seed_for_every_prompt(sd1: Model) -> None:
    with pytest.raises(ValueError, match="2 prompts but 1 seeds"):
        sd1.sample(["a", "b"], [0])
    assert sd1.sample([], []).shape == (0, 3, tiny_models.SIZE, tiny_models.SIZE)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_encode_is_the_pipelines(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    prompts = [*PROMPTS, "far too long " * 20]
    with torch.no_grad():
        expected, empty = model.pipeline.encode_prompt(prompts, "cpu", 1, True)
    ours = model.encode(prompts)
    assert torch.equal(ours.tokens, expected) and ours.pooled is None and ours.mask is None
    assert torch.equal(model.encode([""] * 4).tokens, empty)
    assert (model.encode(prompts, batch=3).tokens - expected).abs().max() < 1e-5


def test_latents_are_what_pictures_are_decoded_from(canvas: Model) -> None:
    """Of prompts or of what they are encoded to, in batches of any size; a conditioning of one empty prompt is the default."""
    seeds, options = [3, 1, 4], {"steps": 3, "guidance_scale": 2.0}
    whole = canvas.latents(PROMPTS, seeds, **options)  # type: ignore[arg-type]
    assert torch.equal(canvas.decode(whole), canvas.sample(PROMPTS, seeds, **options))  # type: ignore[arg-type]
    encoded, empty = canvas.encode(PROMPTS), canvas.encode([""])
    apart = canvas.latents(encoded, seeds, batch=2, unconditional=empty, **options)  # type: ignore[arg-type]
    assert (apart - whole).abs().max() < 1e-5 and whole.std() > 0.1
    again = canvas.latents(encoded, [0, 0, 0], starts=canvas.start_noise(seeds), batch=2, **options)  # type: ignore[arg-type]
    assert torch.equal(again, apart), "given starts take the place of the noise of the seeds"
    assert canvas.latents([], []).shape == (0, *canvas.latent_shape)


def test_pictures_of_another_size_start_from_noise_of_that_size(canvas: Model) -> None:
    made = canvas.sample(["a cat"], [5], steps=2, size=(2 * tiny_models.SIZE, tiny_models.SIZE))
    theirs = canvas.pipeline(
        ["a cat"], num_inference_steps=2, guidance_scale=4.0, output_type="pt", height=2 * tiny_models.SIZE, width=tiny_models.SIZE,
        generator=[torch.Generator().manual_seed(5)],
    ).images  # fmt: skip
    assert torch.equal(made, theirs)


def test_a_straight_path_is_sampled_as_its_scheduler_means_it(sd1: Model) -> None:
    """Oracle: Euler's steps along dz/dsigma = output by hand, from pure noise at sigma 1 to 0; shifted levels are no whole numbers."""
    sd1.pipeline.scheduler = scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    sd1.__dict__.pop("path", None)
    assert sd1.path.prediction == "flow"
    states, text = list(sd1.trajectory(["a cat"], [0], steps=4, guidance_scale=1.0)), sd1.encode(["a cat"])
    z = sd1.start_noise([0])
    scheduler.set_timesteps(4)
    sigmas = scheduler.sigmas.tolist()
    assert sigmas[0] == 1 and sigmas[-1] == 0 and not (1000 * sigmas[1]).is_integer()
    for state, here, there in zip(states, sigmas, sigmas[1:], strict=False):
        assert torch.allclose(state.latents, z, rtol=1e-3, atol=1e-3) and torch.equal(state.input, state.latents)
        assert state.timestep == pytest.approx(1000 * here, rel=1e-6)
        with torch.no_grad():
            z = z + (there - here) * sd1.predict(z, torch.tensor([1000 * here]), text)
    assert torch.allclose(states[-1].latents, z, rtol=1e-3, atol=1e-3)
    assert sd1.timesteps(4).tolist() == pytest.approx([state.timestep for state in states[:-1]])


def test_trajectory_can_start_in_the_middle(sd1: Model) -> None:
    """Skipping k steps from the latents of step k ends where the whole run ends."""
    whole = list(sd1.trajectory(["a cat"], [0], steps=6, guidance_scale=3.0))
    assert [state.index for state in whole] == [*range(6), 6]
    assert [state.timestep for state in whole[:-1]] == sorted((s.timestep for s in whole[:-1]), reverse=True)
    tail = list(sd1.trajectory(["a cat"], [0], starts=whole[2].latents, steps=6, guidance_scale=3.0, skip=2))
    assert [state.index for state in tail] == [2, 3, 4, 5, 6]
    assert torch.equal(tail[-1].latents, whole[-1].latents)


@pytest.mark.parametrize("scale", [-2.0, 0.0, 0.5, 1.0, 3.0])
def test_signed_guidance_takes_every_scale_at_its_word(sd1: Model, scale: float) -> None:
    """Oracle: one DDIM step of the formula by hand; plain guidance is off at 1 and below, where the formula is not."""
    noise, words, empty = sd1.start_noise([0]), sd1.encode(["a cat"]), sd1.encode([""])
    options: dict[str, Any] = {"steps": 1, "guidance_scale": scale}
    *_, signed = sd1.trajectory(words, [0], signed=True, **options)
    *_, plain = sd1.trajectory(words, [0], **options)
    scheduler = diffusers.DDIMScheduler.from_config(sd1.pipeline.scheduler.config)
    scheduler.set_timesteps(1)
    (t,) = scheduler.timesteps
    with_, without = (sd1.predict(noise, t.expand(1), text) for text in (words, empty))
    expected = scheduler.step(scale * with_ + (1 - scale) * without, t, noise).prev_sample
    assert torch.allclose(signed.latents, expected, atol=1e-4)
    assert torch.equal(plain.latents, signed.latents) == (scale >= 1)


def test_a_model_whose_own_guidance_is_off_is_asked_once_a_step(sd1: Model) -> None:
    """Whoever asks: distilled models come with a guidance of 0 (`guidance_scale` of their description)."""
    asked: list[int] = []
    sd1.denoiser.register_forward_pre_hook(lambda module, arguments: asked.append(len(arguments[0])))
    pictures = []
    for scale in (0.0, 1.0):
        sd1.sampler = replace(sd1.sampler, guidance_scale=scale, steps=2)
        pictures.append(sd1.sample(["a cat"], [0]))
        assert _victim(sd1).budget.cost() == 2
    assert asked == [1] * 4 and torch.equal(*pictures)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"])
def test_state_inputs_are_variance_preserving(sd1: Model, scheduler: str) -> None:
    """Asking the network at a state's `input` and timestep is asking what the sampler asked."""
    sd1.pipeline.scheduler = getattr(diffusers, scheduler).from_config(sd1.pipeline.scheduler.config)
    asked: list[tuple[Tensor, int]] = []
    hook = sd1.denoiser.register_forward_pre_hook(lambda module, arguments: asked.append((arguments[0], int(arguments[1][0]))))
    states = list(sd1.trajectory(["a cat"], [0], steps=4, guidance_scale=1.0))
    hook.remove()
    for state, (x, t) in zip(states[:-1], asked, strict=True):
        assert torch.equal(state.input, x) and state.timestep == t
    assert 0.7 < float(asked[0][0].std()) < 1.3, "the network is asked at unit variance, whatever the sampler's own scale"


def test_autoencoder_round_trip_uses_the_pipelines_scale(sd1: Model) -> None:
    pictures = torch.rand(3, 3, tiny_models.SIZE, tiny_models.SIZE, generator=torch.Generator().manual_seed(0))
    vae = sd1.pipeline.vae
    latents = sd1.encode_pictures(pictures, batch=2)
    assert torch.allclose(latents, vae.encode(pictures * 2 - 1).latent_dist.mean * vae.config.scaling_factor, atol=1e-6)
    expected = (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    assert torch.equal(sd1.decode(latents), expected)


def test_large_pictures_are_read_and_decoded_a_few_at_a_time(sd1: Model) -> None:
    """What 512 pixels need at once must not grow with how many are asked for."""
    pictures, seen = torch.rand(9, 3, tiny_models.SIZE, tiny_models.SIZE, generator=torch.Generator().manual_seed(0)), []
    noise = sd1.start_noise(range(9))
    latents, decoded = sd1.encode_pictures(pictures), sd1.decode(noise)
    sd1.sampler = replace(sd1.sampler, size=512)
    assert (sd1.batch(32), sd1.batch(2)) == (4, 2)
    for network in (sd1.pipeline.vae.encoder, sd1.pipeline.vae.decoder):
        network.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    assert torch.allclose(sd1.encode_pictures(pictures), latents, atol=1e-5)
    assert torch.allclose(sd1.decode(noise), decoded, atol=1e-5)
    assert seen == [4, 4, 1] * 2


def test_networks_are_frozen_and_in_eval_mode(sd1: Model) -> None:
    for part in (*sd1.components.values(), sd1.pipeline.vae):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_description_of_a_folder(canvas: Model, sd1: Model, tiny_canvas: Path) -> None:
    assert canvas.name == "tiny canvas"
    assert canvas.sampler == Sampler(steps=4, guidance_scale=4.0, size=tiny_models.SIZE)
    assert [c.name for c in canvas.catalog.of_kind("style")] == ["photo", "sketch", "pixel art"]
    assert canvas.classifier == tiny_canvas / "classifier.safetensors"
    assert (sd1.name, sd1.classifier, sd1.catalog.concepts) == ("tiny-sd1", None, ())
    assert sd1.sampler.size == tiny_models.SIZE


def test_half_precision_loads_and_samples(tiny_sd1: Path) -> None:
    for name in ("float16", "bfloat16"):
        model = load(tiny_sd1, device="cpu", dtype=name)
        assert model.dtype == getattr(torch, name)
        pictures = model.sample(["a cat"], [0], steps=2)
        assert pictures.dtype == torch.float32 and pictures.isfinite().all()


def _copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def test_refusals_name_the_problem(tiny_sd1: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such model: '\./nowhere'"):
        load("./nowhere")
    with pytest.raises(FileNotFoundError, match="built in: canvas"):
        load("canvass")
    with pytest.raises(ValueError, match=r"no model_index\.json"):
        load(tmp_path)
    with pytest.raises(ValueError, match="unknown dtype 'float8'"):
        load(tiny_sd1, dtype="float8")
    with pytest.raises(ValueError, match="no device 'abacus'"):
        load(tiny_sd1, device="abacus")
    for suffix in (".ckpt", ".bin", ".pt", ".pth"):
        (tmp_path / f"model{suffix}").write_bytes(b"\x80\x04.")
        with pytest.raises(ValueError, match="pickles are never loaded"):
            load(tmp_path / f"model{suffix}")


def test_a_folder_with_pickled_weights_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    folder = _copy(tiny_sd1, tmp_path)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="pickle files are never loaded"):
        load(folder)


def test_another_kind_of_pipeline_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    folder = _copy(tiny_sd1, tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "PixArtAlphaPipeline"}))
    with pytest.raises(ValueError, match="PixArtAlphaPipeline; supported: StableDiffusionPipeline"):
        load(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match=r"model_index\.json is not a whole JSON file"):
        load(folder)


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")  # diffusers gives it
def test_the_hub_is_asked_for_the_kind_of_pipeline_first(
    hub: Callable[[str, Path], None], tiny_sd1: Path, tmp_path: Path
) -> None:
    hub("somebody/sd", tiny_sd1)
    pictures = [load(model, device="cpu").sample(["a cat"], [0], steps=2) for model in ("somebody/sd", tiny_sd1)]
    assert torch.equal(*pictures)
    (tmp_path / "pixart").mkdir()
    (tmp_path / "pixart" / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    hub("somebody/pixart", tmp_path / "pixart")
    with pytest.raises(ValueError, match=r"^somebody/pixart holds a PixArtAlphaPipeline; supported: StableDiffusionPipeline"):
        load("somebody/pixart")
    with pytest.raises(
        FileNotFoundError, match=r"no such model: 'somebody/nothing' is no folder here, and the hub gives no .+\)$"
    ):
        load("somebody/nothing")


def test_damaged_weights_are_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _copy(tiny_sd1, tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged"):
        load(folder)
    tensors = load_file(tiny_sd1 / "unet" / weights.name)
    tensors["conv_in.bias"][0] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"unet\.conv_in\.bias has values that are not finite"):
        load(folder)


@pytest.mark.parametrize(
    "change", [{"sampler": {"stepz": 3}}, {"concepts": [{"name": "x"}]}, {"classifier": "../evil.safetensors"}, {"sampler": 3}]
)
def test_a_wrong_description_is_refused_by_name(tiny_canvas: Path, tmp_path: Path, change: dict[str, object]) -> None:
    folder = _copy(tiny_canvas, tmp_path)
    data = json.loads((folder / "excise.json").read_text())
    (folder / "excise.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(ValueError, match=r"excise\.json"):
        load(folder)


def test_a_sampler_without_a_size_makes_what_the_network_was_made_for(tiny_canvas: Path, tmp_path: Path) -> None:
    folder = _copy(tiny_canvas, tmp_path)
    data = json.loads((folder / "excise.json").read_text())
    (folder / "excise.json").write_text(json.dumps({**data, "sampler": {"steps": 3}}))
    assert load(folder, device="cpu").sampler == Sampler(steps=3, guidance_scale=7.5, size=tiny_models.SIZE)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_tensor_is_never_filled_with_random_numbers(tiny_sd1: Path, tmp_path: Path, part: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = _copy(tiny_sd1, tmp_path)
    (weights,) = (folder / part).glob("*.safetensors")
    tensors = load_file(tiny_sd1 / part / weights.name)
    name = sorted(tensors)[-1]
    del tensors[name]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{part} lacks .*{name.removeprefix('text_model.')}"):
        load(folder)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"),
        ("vae", "decoder.gate.weight"),
        ("text_encoder", "gate.weight"),
    ],
)
def test_a_tensor_that_the_network_does_not_have_is_never_left_out(
    tiny_sd1: Path, tmp_path: Path, part: str, name: str
) -> None:
    """What an adapter or a gate does belongs to the model: without it, another one would be judged."""
    folder = _copy(tiny_sd1, tmp_path)
    _rewrite(folder / part, lambda tensors: {**tensors, name: torch.ones(2, 2)})
    with pytest.raises(ValueError, match=f"{part} holds {name}, which its network does not have"):
        load(folder)


def test_folders_as_they_were_distributed_load(tiny_sd1: Path, tmp_path: Path) -> None:
    """The autoencoder's attention under its first names, and the text encoder's positions, which were saved then."""
    folder = _copy(tiny_sd1, tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def first_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        renamed = {re.sub(r"(?<=attentions\.0\.)to_(q|k|v|out\.0)", lambda m: old[m[0]], n): t for n, t in tensors.items()}
        assert len(renamed.keys() - tensors.keys()) == 16
        return renamed

    _rewrite(folder / "vae", first_names)
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    _rewrite(folder / "text_encoder", lambda tensors: {**tensors, **positions})
    found, wanted = load(folder, device="cpu"), load(tiny_sd1, device="cpu")
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = (getattr(model.pipeline, part).state_dict() for model in (found, wanted))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    from safetensors.torch import load_file, save_file

    (weights,) = folder.glob("*.safetensors")
    save_file(change({name: tensor.clone() for name, tensor in load_file(weights).items()}), weights, {"format": "pt"})


class TestWordsOnce:
    """What the entrances give is computed once for all steps of a sampler, and the pictures have the same bits."""

    @pytest.mark.parametrize("which", ["canvas", "sd3"])
    def test_the_same_bits_and_each_entrance_once(
        self, which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model: Model = request.getfixturevalue(which)
        with monkeypatch.context() as patch:
            patch.setattr("excise.models.model.SMALL", 0)
            plain = model.latents(["a cat", "a dog"], [1, 2], steps=3)
        layers = list(model.layers(model.entrances_of("tokens")).values())
        seen: list[int] = []
        inner = torch.nn.functional.linear

        def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            seen.extend(place for place, layer in enumerate(layers) if layer.weight is weight)
            return inner(rows, weight, bias)

        monkeypatch.setattr(torch.nn.functional, "linear", linear)
        assert torch.equal(model.latents(["a cat", "a dog"], [1, 2], steps=3), plain)
        assert sorted(seen) == list(range(len(layers))) and not any("forward" in vars(layer) for layer in layers)

    def test_an_edit_between_two_pictures_is_seen(self, canvas: Model) -> None:
        before = canvas.latents(["a cat"], [1], steps=2)
        with torch.no_grad():
            for layer in canvas.layers(canvas.entrances_of("tokens")).values():
                layer.weight.mul_(2)
        assert not torch.equal(canvas.latents(["a cat"], [1], steps=2), before)

    def test_a_forward_pass_that_somebody_replaced_stays(self, canvas: Model) -> None:
        layer = next(iter(canvas.layers(canvas.entrances_of("tokens")).values()))
        layer.forward = lambda rows: torch.nn.functional.linear(rows, layer.weight) * 0
        mine = layer.forward
        canvas.latents(["a cat"], [1], steps=2)
        assert layer.forward is mine
