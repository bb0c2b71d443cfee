"""Z-Image, FLUX.2-klein, Qwen-Image: a language model reads the prompts, and pictures are those of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

import excise
import tiny_qwen
from excise.models import Conditioning, Model, Sampler
from excise.models.fingerprint import surroundings

FAMILIES = ["z_image", "flux2_klein", "qwen_image"]
MASKED = ["z_image", "qwen_image"]
EXACT = "donot_use_mm_for_euclid_dist"
PROMPTS = ["a cat", "", "a very big red house, picture of something", " a dog", "ein Käuzchen – 貓", "line\nbreak ", "x" * 70]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


each = pytest.mark.parametrize("model", FAMILIES, indirect=True)


# --- pictures -----------------------------------------------------------------------------------------------------------------------


def by_diffusers(model: Model, prompt: str, start: Tensor, scale: float, output: str = "latent") -> Tensor:
    """The pipeline's own finished latents, as the model has them, or picture, from a start and in three steps."""
    height, width = (edge * model.grain for edge in start.shape[-2:])
    told: dict[str, Any] = {"prompt": prompt, "num_inference_steps": 3, "output_type": output, "height": height, "width": width}
    if type(model).__name__ == "QwenImage":
        packed = pixel_unshuffle(start, 2).flatten(2).transpose(1, 2)
        guided = {"negative_prompt": " "} if scale > 1 else {}
        found = model.pipeline(true_cfg_scale=scale, latents=packed, **guided, **told).images
        if output == "latent":
            found = pixel_shuffle(found.transpose(1, 2).unflatten(2, (height // 4, width // 4)), 2)
        return found
    found = model.pipeline(guidance_scale=scale, latents=start.clone(), **told).images
    own = output == "latent" and type(model).__name__ == "Flux2Klein"  # it gives what its autoencoder decodes
    return model.scaled(found) if own else found


@each
@pytest.mark.parametrize(
    "scale, size", [(0.0, (16, 16)), (0.5, (16, 24)), (1.0, (24, 8)), (1.5, (16, 16)), (5.0, (16, 24)), (5.0, (24, 8))]
)
def test_latents_are_those_of_diffusers(model: Model, scale: float, size: tuple[int, int]) -> None:
    prompts = ["a big red house, picture of something", "a cat"]
    start = model.start_noise([3], size=size)
    found = model.latents(prompts, [3, 3], steps=3, guidance_scale=scale, size=size)
    expected = by_diffusers(model, prompts[0], start, scale)
    assert (found[:1] - expected).abs().max() < 1e-5 < 1e-3 < (found[0] - found[1]).abs().max()


@pytest.mark.parametrize("model", ["z_image", "flux2_klein"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_rounding_differs_where_one_pass_asks_for_the_same_rows(model: Model, dtype: str) -> None:
    own = excise.load(model.folder, device="cpu", dtype=dtype)  # type: ignore[arg-type]
    told, start = own.encode(["a cat"]), own.start_noise([3])
    rows = [told.tokens[0]] if told.mask is not None else told.tokens
    expected = own.pipeline(
        prompt_embeds=rows,
        num_inference_steps=3,
        guidance_scale=0.0,
        latents=start.clone(),
        output_type="latent",
        height=16,
        width=16,
    ).images
    found = own.latents(told, [3], steps=3, guidance_scale=0.0)
    assert torch.equal(found if told.mask is not None else own.unscaled(found), expected)


@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_turbo_is_the_same_family(scale: float, tmp_path: Path) -> None:
    turbo = FlowMatchEulerDiscreteScheduler(shift=3.0)
    model = excise.load(tiny_qwen.save(tiny_qwen.z_image(turbo), tmp_path / "turbo"), device="cpu")
    expected = by_diffusers(model, "a cat", model.start_noise([3]), scale)
    assert torch.allclose(model.latents(["a cat"], [3], guidance_scale=scale), expected, atol=1e-5)


def test_a_distilled_klein_takes_no_guidance(tmp_path: Path) -> None:
    model = excise.load(tiny_qwen.save(tiny_qwen.flux2_klein(distilled=True), tmp_path / "distilled"), device="cpu")
    expected = by_diffusers(model, "a cat", model.start_noise([3]), 5.0)
    assert torch.allclose(model.latents(["a cat"], [3], guidance_scale=5.0), expected, atol=1e-5)
    assert torch.equal(model.latents(["a cat"], [3], guidance_scale=5.0), model.latents(["a cat"], [3], guidance_scale=1.0))


@each
def test_decoded_pictures_are_those_of_diffusers(model: Model) -> None:
    start = model.start_noise([3], size=(16, 24))
    found = model.sample(["a cat"], [3], steps=3, guidance_scale=2.0, size=(16, 24))
    assert found.shape == (1, 3, 16, 24)
    assert torch.allclose(found, by_diffusers(model, "a cat", start, 2.0, "pt"), atol=1e-5)


@each
def test_pictures_become_the_latents_that_are_decoded(model: Model) -> None:
    """`scaled` undoes `unscaled`, and the autoencoder is asked for what each family's pipelines ask it."""
    latents = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.scaled(model.unscaled(latents)), latents, atol=1e-5)
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    vae, film = model.pipeline.vae, type(model).__name__ == "QwenImage"
    with torch.no_grad():
        own = vae.encode((pictures * 2 - 1)[:, :, None] if film else pictures * 2 - 1).latent_dist.mode()
    own = own[:, :, 0] if film else own
    found = model.encode_pictures(pictures)
    assert found.shape == latents.shape and torch.allclose(model.unscaled(found), own, atol=1e-5)


@pytest.mark.parametrize(
    "make, expected",
    [
        (tiny_qwen.z_image, Sampler(50, 4.0, 16)),
        (lambda: tiny_qwen.z_image(FlowMatchEulerDiscreteScheduler(shift=3.0)), Sampler(9, 0.0, 16)),
        (tiny_qwen.flux2_klein, Sampler(50, 4.0, 16)),
        (lambda: tiny_qwen.flux2_klein(distilled=True), Sampler(4, 1.0, 16)),
        (tiny_qwen.qwen_image, Sampler(50, 4.0, 256)),  # 128 latents, which are two pixels each here
    ],
    ids=["z-image", "turbo", "klein", "distilled", "qwen"],
)
def test_the_sampler_is_the_one_that_its_authors_use(make: Callable[[], Any], expected: Sampler, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    assert excise.load(tmp_path, device="cpu").sampler == expected


def test_a_sampler_comes_to_the_pipelines_noise_levels(qwen_image: Model) -> None:
    qwen_image.pipeline(prompt="a cat", height=16, width=24, num_inference_steps=4, output_type="latent")
    levels = qwen_image.pipeline.scheduler.timesteps
    told = qwen_image.schedule(qwen_image.pipeline.scheduler, 4, 8, 12)
    qwen_image.pipeline.scheduler.set_timesteps(**told)
    assert torch.equal(qwen_image.pipeline.scheduler.timesteps, levels) and levels[-1] < 100


# --- prompts ------------------------------------------------------------------------------------------------------------------------


def read_by_diffusers(model: Model, prompts: list[str]) -> list[Tensor]:
    """The rows that the pipeline tells its transformer of each prompt."""
    pipeline, name = model.pipeline, type(model).__name__
    if name == "ZImage":
        return pipeline.encode_prompt(list(prompts), do_classifier_free_guidance=False)[0]
    if name == "Flux2Klein":
        return list(pipeline.encode_prompt(prompts)[0])
    rows, mask = pipeline.encode_prompt(prompts, max_sequence_length=512)
    return [own if mask is None else own[told.bool()] for own, told in zip(rows, rows if mask is None else mask, strict=True)]


def rows_of(told: Conditioning) -> list[Tensor]:
    return [one.tokens[0] if one.mask is None else one.tokens[0][one.mask[0]] for one in told]


@each
def test_prompts_are_read_as_diffusers_reads_them(model: Model) -> None:
    prompts = [*PROMPTS, "a cat " * 400]
    with torch.no_grad():
        expected = [read_by_diffusers(model, [prompt])[0] for prompt in prompts]
    for batch in (1, 3):
        for found, one in zip(rows_of(model.encode(prompts, batch=batch)), expected, strict=True):
            assert found.shape == one.shape and torch.allclose(found, one, atol=1e-5)


@each
def test_a_prompt_is_read_alike_whatever_stands_beside_it(model: Model) -> None:
    told = model.encode(PROMPTS)
    alone = [model.encode([prompt]) for prompt in PROMPTS]
    joined = Conditioning.join(alone)
    assert torch.allclose(joined.tokens, told.tokens, atol=1e-5)
    x = torch.randn(len(PROMPTS), *model.latent_shape, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(50, 950, len(PROMPTS))
    together = model.predict(x, t, told)
    apart = torch.cat([model.predict(x[[i]], t[[i]], one) for i, one in enumerate(alone)])
    assert torch.allclose(together, apart, atol=1e-5) and (together - together.roll(1, 0)).abs().max() > 1e-2


@each
def test_segments_tell_where_a_prompts_own_tokens_are(model: Model) -> None:
    """The rows before them are every prompt's; the tokens themselves spell the prompt."""
    rows, empty = rows_of(model.encode(PROMPTS)), rows_of(model.encode([""]))[0]
    for prompt, own, (part,) in zip(PROMPTS, rows, model.segments(PROMPTS), strict=True):
        assert model.tokenizer.decode(list(part.ids)) == prompt
        assert (
            part.start == 0 and part.stop == len(own) and part.ids == tuple(model.token_ids([prompt])[0][part.first : part.end])
        )
        assert torch.allclose(own[: part.first], empty[: part.first], atol=1e-5)
        assert not prompt.strip() or not torch.allclose(own[part.first], empty[part.first], atol=1e-3)
    (opening,) = model.openings
    assert len(opening) == (0 if type(model).__name__ == "QwenImage" else 3)  # <|im_start|> user \n


@each
def test_what_is_cut_off_is_told(model: Model) -> None:
    long = " ".join(["a big red cat"] * 200)
    rest = model.left_out([long, "a cat", long])
    assert list(rest) == [long] and long.endswith(rest[long]) and len(rest[long]) < len(long)
    read = long[: len(long) - len(rest[long])]
    (part,) = model.segments([long])[0]
    assert model.tokenizer.decode(list(part.ids)) == read and len(part.ids) == model.room
    assert model.token_ids([read]) == model.token_ids([long]) and not model.left_out([read])
    assert model.left_out([f"{read} a"]) == {f"{read} a": " a"} and model.left_out([]) == {}


@each
def test_words_are_one_token_wherever_they_stand(model: Model) -> None:
    words = model.words()
    assert {"cat", "dog", "house", "something"} <= set(words) and not {"Describe", ",", "think", "ox"} & set(words)
    assert [len(model.segments([text])[0][0].ids) for text in (" ox", "ox")] == [1, 2]
    for word in words:
        assert [len(model.segments([text])[0][0].ids) for text in (word, f"a {word}")] == [1, 2]


@each
def test_only_what_is_told_is_kept_of_the_language_model(model: Model) -> None:
    """No next word is predicted for more than one token of a prompt, and nothing is cached for later ones."""
    encoder, seen = model.pipeline.text_encoder, list[int]()
    layers = list(encoder.get_decoder().modules())[1:]
    before = [len(layer._forward_hooks) for layer in layers]
    head = encoder.get_output_embeddings()
    if head is not None:
        head.register_forward_hook(lambda layer, inputs, output: seen.append(output.shape[1]))
    outputs = []
    encoder.register_forward_hook(lambda network, inputs, output: outputs.append(output))
    model.encode(PROMPTS, batch=4)
    assert len(outputs) == 2 and all(told.get("hidden_states") is None and told.past_key_values is None for told in outputs)
    assert seen == ([] if head is None else [1, 1])
    assert [len(layer._forward_hooks) for layer in layers] == before


@each
def test_the_chat_template_belongs_to_the_model(model: Model) -> None:
    before = surroundings(model)["tokenizer"]
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace("assistant", "helper")
    assert surroundings(model)["tokenizer"] != before


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda words: setattr(words, "chat_template", None), "has no chat template"),
        (
            lambda words: words.add_tokens([f"more{i}" for i in range(9)]),
            r"\(\d+ tokens\) does not fit its text encoder \(\d+\)",
        ),
        (lambda words: setattr(words, "pad_token", None), "has no token to fill prompts up with"),
        (lambda words: setattr(words, "padding_side", "left"), "fills prompts up on the left"),
    ],
)
def test_a_tokenizer_that_is_not_the_models_is_refused(harm: Callable[[Any], object], message: str, flux2_klein: Model) -> None:
    harm(flux2_klein.tokenizer)
    with pytest.raises(ValueError, match=f"^some/model: its tokenizer {message}"):
        flux2_klein.check_words(flux2_klein.pipeline, "some/model")


def test_a_space_stands_for_no_prompt(qwen_image: Model) -> None:
    """As its authors have it; the empty prompt itself is another."""
    assert torch.equal(qwen_image.unconditional().tokens, qwen_image.encode([" "]).tokens)
    assert qwen_image.encode([""]).tokens.shape != qwen_image.encode([" "]).tokens.shape


# --- entrances ----------------------------------------------------------------------------------------------------------------------


@each
def test_entrances_are_given_the_rows_that_are_read(model: Model) -> None:
    """And all layers of the denoiser that are given them are entrances: behind these, text has met the picture or itself."""
    told, seen = model.encode(["a cat", "a big red house"]), dict[str, Tensor]()
    rows = model.read(told, "tokens")
    for name, layer in model.denoiser.named_modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(
                lambda layer, inputs, output, name=name: seen.__setitem__(name, inputs[0].flatten(0, -2))
            )
    with torch.no_grad():
        model.predict(torch.randn(2, *model.latent_shape), torch.tensor([300, 700]), told)

    def given(inputs: Tensor) -> bool:
        return inputs.shape[1] == rows.shape[1] and bool(
            (torch.cdist(rows, inputs, compute_mode=EXACT).min(1).values < 1e-5).all()
        )

    found = [f"{model.prefix}.{name}.weight" for name, inputs in seen.items() if given(inputs)]
    assert found == [entrance.weight for entrance in model.entrances] and len(seen) > 10


@each
def test_what_every_prompt_begins_with_is_found_in_what_an_entrance_gives(model: Model) -> None:
    prompts = ["a cat", "x" * 70, "", "a big red house"]  # one of more tokens than Z-Image's blocks have
    told, seen = model.encode(prompts), list[Tensor]()
    (layer,) = model.layers(model.entrances_of("tokens")).values()
    layer.register_forward_hook(lambda layer, inputs, output: seen.extend([inputs[0], model.begins(output)]))
    with torch.no_grad():
        model.predict(torch.randn(4, *model.latent_shape), torch.tensor([300.0] * 4), told)
    inputs, begins = seen
    (opening,) = model.openings
    shared = model.read(model.encode([""]), "tokens")[: len(opening)]
    assert begins.shape == inputs.shape[:-1] and int(begins.sum()) == 4 * len(opening)
    assert torch.allclose(inputs[begins], shared.repeat(4, 1), atol=1e-5)
