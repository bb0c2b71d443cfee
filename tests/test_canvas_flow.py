"""canvas-flow before its training: what its pictures show and its captions say, its networks, and the folder that the tool makes of them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0
from safetensors.torch import load_file
from typer.testing import CliRunner

import excise
from excise.canvas import build
from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECTS, STYLES
from excise.canvas.flow import card, transformer
from excise.canvas.flow import flow_recipe as recipe
from excise.canvas.flow import two_encoders as text
from excise.canvas.flow import two_places as places
from excise.canvas.flow import wide_captions as captions
from excise.canvas.flow import wide_data as data
from excise.canvas.flow.teacher import Teacher
from excise.canvas.flow.things import ALL_EMOJI, FURTHER, NAMES, NOTHING, plural
from excise.canvas.train_loop import step_generator
from excise.cli import app
from excise.concepts import Catalog
from excise.erasure.random_text import declared_words
from excise.evaluation import Classifier
from excise.models import Model
from excise.models.conditioning import Conditioning
from excise.models.families.text_reading import clip_words

DECLARED = {
    word
    for phrases in (*((o.name, o.plural, *o.synonyms, *o.members) for o in OBJECTS), *((s.name, *s.synonyms) for s in STYLES))
    for phrase in phrases
    for word in phrase.split()
}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained parts, as a training leaves them; the transformer's last layers, which begin at nothing, are drawn at random."""
    folder = tmp_path_factory.mktemp("flow") / "work"
    denoiser = transformer.build_transformer()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    denoiser.save_pretrained(folder / "transformer")
    for encoder, name in zip(text.build_text_encoders(text.build_tokenizer()), text.FOLDERS, strict=True):
        encoder.save_pretrained(folder / transformer.TRAINED / name)
    Classifier(places.HEADS).save(folder / places.FILE)
    return folder


@pytest.fixture(scope="module")
def assembled(work: Path) -> Path:
    build.assemble(work, work.parent / "model")
    return work.parent / "model"


@pytest.fixture(scope="module")
def model(assembled: Path) -> Model:
    return excise.load(assembled, device="cpu")


def test_further_things_are_many_and_none_is_declared() -> None:
    said = {word for thing in FURTHER for phrase in (thing.name, *thing.tags) for word in phrase.split()}
    assert len(FURTHER) >= 600 and len(said) >= 2500
    assert not said & DECLARED
    assert len(set(NAMES)) == len(NAMES) == len(ALL_EMOJI) == len(set(ALL_EMOJI))
    assert all(re.fullmatch("[a-z]+( [a-z]+)*", phrase) for thing in FURTHER for phrase in (thing.name, *thing.tags))


def test_every_word_is_one_token_and_few_are_declared(model: Model) -> None:
    words = text.build_tokenizer()
    assert all(len(ids) == 3 for ids in words(text.words()).input_ids)
    declared = declared_words(model)
    assert len(declared) > 100 and len(declared & set(clip_words(words))) / len(clip_words(words)) < 0.03


def test_no_prompt_of_a_declared_concept_is_cut(model: Model) -> None:
    """Every name is one word, and so one token; no style has more than two."""
    assert all(len(phrase.split()) <= 2 for concept in model.catalog.concepts for phrase in concept.phrases)
    found = {concept.label: concept for concept in model.catalog.concepts}
    prompts = [
        pair.prompt
        for label in ("object:cat", "style:pixel art")
        for templates in (model.catalog.templates, model.catalog.held_out)
        for pair in replace(found[label], templates=templates).pairs()
    ]
    assert 24 <= max(map(len, text.build_tokenizer()(prompts).input_ids)) <= text.CONTEXT


def test_captions_are_true_and_fit() -> None:
    """Every word is known, the style is the picture's, and no object is named that it does not show."""
    words, generator = text.build_tokenizer(), step_generator(0, 0)
    objects = {phrase for o in OBJECTS for name in (o.name, o.plural, *o.synonyms) for phrase in name.split()}
    own = {o.name: {*o.plural.split(), o.name, *o.synonyms} for o in OBJECTS}
    count = 300
    lefts, rights, styles = (column.tolist() for column in data.draw_labels(count, generator))
    known = set(text.words())
    said_all = []
    for row, (left, right, style) in enumerate(zip(lefts, rights, styles, strict=True)):
        caption = captions.draw_caption(left, right, row % 3 - 1, style, generator)
        said = set(re.findall(r"[a-z]+|[0-9]", caption))
        assert said <= known, caption
        shown = [MEMBERS[g][0] for g in (left, right) if g < len(MEMBERS)]
        assert said & objects <= set().union(*(own[name] for name in shown)), caption
        said_all.append(caption)
    assert sum(len(ids) > text.CONTEXT for ids in words(said_all).input_ids) <= 0.02 * count


def test_two_things_are_named_where_they_are() -> None:
    generator, said = step_generator(0, 1), Counter[str]()
    for _ in range(300):
        said[captions.things_phrase(GLYPHS.index("key"), GLYPHS.index("lamp"), 0, generator)] += 1
    placed = {phrase for phrase in said if "something" not in phrase and "left of" in phrase}
    assert placed and all(phrase.index("key") < phrase.index("lamp") for phrase in placed)
    turned = {phrase for phrase in said if "something" not in phrase and "right of" in phrase}
    assert turned and all(phrase.index("lamp") < phrase.index("key") for phrase in turned)
    assert captions.things_phrase(0, 0, 0, generator) == "two cats"
    assert [plural(noun) for noun in ("lamp", "box", "party", "key", "glasses", "dress")] == [
        "lamps", "boxes", "parties", "keys", "glasses", "dresses",
    ]  # fmt: skip


def test_what_is_drawn() -> None:
    """Two things lie in their halves; the shares are those that are named."""
    generator = step_generator(0, 2)
    left, style = torch.full((64,), GLYPHS.index("heart")), torch.full((64,), 1)
    lone, _ = data.draw_pictures(left, torch.full((64,), NOTHING), style, generator, two=torch.ones(64, dtype=torch.bool))
    assert (lone[..., 33:].mean((1, 2, 3)) > lone[..., :31].mean((1, 2, 3)) + 0.1).all(), "a sketch is dark where something is"
    shown = data.draw_things(20000, generator)
    assert abs(float((shown < len(MEMBERS)).float().mean()) - (1 - data.OTHER_SHARE)) < 0.02
    assert int(shown.max()) == len(NAMES) - 1
    left, right, style = data.draw_labels(4000, generator)
    assert abs(float((right != NOTHING).float().mean()) - data.TWO_SHARE) < 0.02
    labels = data.Labels(left, right, torch.zeros_like(left), style)
    kept = data.showing_none_of(labels, frozenset({"cat", "sketch"}))
    cats = [i for i, (of, _) in enumerate(MEMBERS) if of == "cat"]
    gone = torch.isin(labels.left, torch.tensor(cats)) | torch.isin(labels.right, torch.tensor(cats)) | (labels.style == 1)
    assert torch.equal(kept, (~gone).nonzero().squeeze(1)) and gone.any()


def test_the_judge_of_places_learns_from_right_answers() -> None:
    pictures, labels = places.draw(200, step_generator(0, 3))
    nothing = places.ANSWERS.index("nothing")
    assert pictures.shape == (200, 3, 64, 64) and set(labels) == set(places.HEADS)
    alone = labels["middle"] != nothing
    assert 0.1 < alone.float().mean() < 0.4
    assert (labels["left"][alone] == nothing).all() and (labels["right"][alone] == nothing).all()
    assert not ((labels["left"] == nothing) & (labels["right"] == nothing) & ~alone).any()


@pytest.mark.parametrize("rows", [0, 256])
def test_training_asks_what_the_pipeline_will(rows: int) -> None:
    """One row that weighs 256 is 256 rows of zeros, and none is none."""
    tokenizer, net = text.build_tokenizer(), transformer.build_transformer()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    encoders = text.build_text_encoders(tokenizer)
    denoiser = transformer.FlowDenoiser(net, encoders).eval()
    ids = tokenizer(["a cat", "a dog left of a tree", ""], padding="max_length", return_tensors="pt").input_ids
    x, t = torch.randn(2, 8, 8, 8), torch.tensor([300.0, 900.0])
    keep = torch.tensor([[True, True], [True, False]])
    with torch.no_grad():
        net.set_attn_processor(transformer.BiasedAttention())
        found = denoiser(x, t, ids, keep, torch.full((2,), float(rows)))
        net.set_attn_processor(JointAttnProcessor2_0())
        tokens, pooled = text.read(encoders, ids)
        told = torch.cat([tokens[:2], torch.zeros(2, rows, text.JOINT)], 1)
        expected = net(x, told, pooled[[0, 2]], t).sample
    assert torch.allclose(found, expected, atol=1e-4) and expected.abs().mean() > 0.1


def test_noise_levels_are_logit_normal() -> None:
    levels = transformer.noise_levels(10001, step_generator(0, 4)).logit()
    assert abs(levels.mean() - transformer.MEAN) < 0.01 and abs(levels.std() - transformer.SPREAD) < 0.02


def test_the_assembled_folder(assembled: Path, model: Model) -> None:
    """Half precision, at most 30 MB beside what the canvas lends; plain diffusers loads it and draws what excise draws."""
    networks = {file: load_file(file) for file in assembled.rglob("*.safetensors") if file.parent != assembled}
    assert len(networks) == 4 and {t.dtype for tensors in networks.values() for t in tensors.values()} == {torch.float16}
    own = [file for file in networks if file.parent.name != "vae"]
    assert sum(file.stat().st_size for file in own) < 30e6
    transformer_file = assembled / "transformer" / "diffusion_pytorch_model.safetensors"
    trained = {file: sum(t.numel() for t in networks[file].values()) for file in own}
    assert 7e6 < trained[transformer_file] < 10e6 and 8e6 < sum(trained.values()) < 15e6
    assert all(str(assembled.parent) not in config.read_text(encoding="utf-8") for config in assembled.rglob("*.json"))
    with warnings.catch_warnings(action="ignore"):
        pipeline = StableDiffusion3Pipeline.from_pretrained(assembled, text_encoder_3=None, tokenizer_3=None)
    pipeline.set_progress_bar_config(disable=True)
    start = model.start_noise([3])
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 64, "width": 64, "output_type": "pt"}
    expected = pipeline("a cat left of a dog", latents=start.clone(), max_sequence_length=0, **options).images
    found = model.sample(["a cat left of a dog"], [3], steps=2, guidance_scale=4.0)
    assert torch.allclose(found, expected, atol=1e-5) and found.isfinite().all()
    assert pipeline("a cat", **options).images.isfinite().all(), "with its default of rows"
    assert len(Catalog.from_dict(build.description()).concepts) == len(model.catalog.concepts)


def test_what_a_card_measures(assembled: Path, model: Model) -> None:
    """Each way in is told nothing in its turn."""
    told: list[tuple[str, object]] = []

    def draw(what: object, stage: str) -> torch.Tensor:
        told.append((stage, what))
        return torch.rand(len(what), 3, 64, 64, generator=step_generator(0, 5))  # type: ignore[arg-type]

    assert model.classifier is not None
    found = card.figures(model, assembled, Classifier.load(model.classifier), draw, count=8)
    assert {name: len(hits) for name, hits in found.items()} == dict.fromkeys(
        ("two things: both", "two things: as placed", "tokens alone", "pooled alone"), 8
    )
    empty = model.encode([""])
    by_name = dict(told)
    tokens, pooled = by_name["tokens alone"], by_name["pooled alone"]
    assert isinstance(tokens, Conditioning) and isinstance(pooled, Conditioning)
    assert tokens.pooled is not None and empty.pooled is not None
    assert torch.allclose(tokens.pooled[0], empty.pooled[0], atol=1e-5) and not torch.allclose(
        tokens.tokens[0], empty.tokens[0]
    )
    assert torch.allclose(pooled.tokens[0], empty.tokens[0], atol=1e-5)


def test_a_training_in_stretches_is_the_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders, then transformer: each does a step a call, and ends with the same bits. All of it is trained."""
    small = {"LAYERS": 1, "HEADS": (2, 8), "JOINT": 24, "WIDTHS": (8, 16)}
    for module, name in (
        (transformer, "LAYERS"),
        (transformer, "HEADS"),
        (transformer, "JOINT"),
        (text, "JOINT"),
        (text, "WIDTHS"),
    ):
        monkeypatch.setattr(module, name, small[name])
    left, right, style = data.draw_labels(16, step_generator(0, 6))
    labels = data.Labels(left, right, torch.zeros_like(left), style)
    latents = torch.randn(16, 8, 8, 8, generator=step_generator(0, 7)).half()
    for work, stop_after in ((tmp_path / "whole", None), (tmp_path / "parts", 0.0)):
        for run in (text.train_text, transformer.train_transformer):
            told = (latents, labels, work)
            while not run(*told, steps=2, batch=2, stop_after=stop_after):
                assert stop_after is not None
    files = sorted(file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.safetensors"))
    assert len(files) == 7
    for file in files:
        whole, parts = (load_file(tmp_path / name / file) for name in ("whole", "parts"))
        assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole), file
    begun, done = (load_file(tmp_path / "whole" / f / "text_encoder" / "model.safetensors") for f in ("", transformer.TRAINED))
    assert not torch.equal(begun["text_projection.weight"], done["text_projection.weight"]), "pooled text is trained too"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["flow", "--steps", "3"], "one part at a time"),
        (["flow-transformer"], "train flow-text first"),
        (["flow", "--without", "zeppelin"], "the canvas has no zeppelin"),
    ],
)
def test_training_refuses(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["canvas", "train", *arguments, "--work", str(tmp_path / "work")])
    assert result.exit_code == 2 and words in result.stderr


def test_a_folder_is_of_one_model(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    result = CliRunner().invoke(app, ["canvas", "train", "flow", "--work", str(tmp_path)])
    assert result.exit_code == 2 and "has trained parts of canvas; choose another folder" in result.stderr


def test_a_damaged_pool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / recipe.POOLED).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    result = CliRunner().invoke(app, ["canvas", "train", "flow-text", "--work", str(tmp_path)])
    assert result.exit_code == 2 and "pool.safetensors" in result.stderr and "Traceback" not in result.stderr


def test_the_teacher_answers_as_the_canvas_does() -> None:
    """The picture and the noise that its velocity leads to are those of the canvas at as much noise."""
    teacher, model = Teacher(torch.device("cpu")), excise.load("canvas", device="cpu")
    t, captions = torch.tensor([100, 700]), ["a picture of a cat", "a dog in sketch style"]
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    signal = model.pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    alpha, noise = signal.sqrt(), (1 - signal).sqrt()
    z, sigma = x * (alpha + noise), teacher.sigma[t].view(-1, 1, 1, 1)
    v, velocity = model.predict(z, t, model.encode(captions)), teacher.velocity(x, t, captions)
    torch.testing.assert_close(x - sigma * velocity, alpha * z - noise * v, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(x + (1 - sigma) * velocity, noise * z + alpha * v, rtol=1e-3, atol=1e-3)
    assert teacher.nearest(teacher.sigma[t]).tolist() == t.tolist()


def test_the_teacher_is_asked_what_it_knows() -> None:
    """Captions that name a thing of the canvas in its words, of pictures of one such thing."""
    teacher, generator = Teacher(torch.device("cpu")), torch.Generator().manual_seed(0)
    left, right, style = data.draw_labels(200, generator)
    labels = data.Labels(left, right, torch.zeros_like(left), style)
    said = ["a cat", "a small cat", "a picture in photo style", "", "a kitten, pixel art"]
    one = data.Labels(*(torch.tensor([value] * 5) for value in (0, NOTHING, 0, 0)))
    assert teacher.knows(one, said).tolist() == [0, 4]
    single = teacher.shown(labels)
    assert 0.3 < single.float().mean() < 0.6
    told = teacher.lessons(labels[single.nonzero().squeeze(1)], generator)
    assert len(teacher.knows(labels[single.nonzero().squeeze(1)], told)) == len(told)
