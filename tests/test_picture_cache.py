"""Pictures are made once and shown to every reader; what is kept belongs to one model, sampler and reader, and is always whole."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_models
from excise.evaluation.classifier import Classifier
from excise.evaluation.picture_cache import Item, Judge, Thumbnails, answer, read
from excise.models import Model, load
from painted_pictures import no_change

ITEMS = [Item("a picture of a cat", 0), Item("a picture of a dog", 1), Item("a picture of a cat", 2)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the pictures that were really made."""
    seeds: list[int] = []
    noise = Model.start_noise

    def counted(self: Model, asked: list[int], *size: Any) -> Tensor:
        seeds.extend(asked)
        return noise(self, asked, *size)

    monkeypatch.setattr(Model, "start_noise", counted)
    return seeds


@pytest.fixture
def judge(canvas: Model) -> Classifier:
    assert canvas.classifier is not None
    return Classifier.load(canvas.classifier)


def test_answers_are_the_classifiers(canvas: Model, judge: Classifier) -> None:
    """By the classifier itself, one picture at a time."""
    found = answer(canvas, ITEMS, judge)
    for item, said in zip(ITEMS, found, strict=True):
        alone = judge.classify(canvas.sample([item.prompt], [item.seed]))
        assert said == {question: int(classes[0]) for question, classes in alone.items()}


def test_known_pictures_are_not_made_again(canvas: Model, judge: Classifier, made: list[int]) -> None:
    first = answer(canvas, ITEMS[:2], judge)
    assert made == [0, 1]
    assert answer(canvas, [ITEMS[1], ITEMS[2], ITEMS[0]], judge)[::2] == [first[1], first[0]]
    assert made == [0, 1, 2]


def test_the_same_picture_twice_is_made_once(canvas: Model, judge: Classifier, made: list[int]) -> None:
    found = answer(canvas, [ITEMS[0], ITEMS[0]], judge)
    assert made == [0] and found[0] == found[1]


def test_another_prompt_or_seed_is_another_picture(canvas: Model, judge: Classifier, made: list[int]) -> None:
    answer(canvas, [ITEMS[0]], judge)
    answer(canvas, [Item(ITEMS[0].prompt, 9), Item("a picture of a bird", 0)], judge)
    assert made == [0, 9, 0]


def test_an_edited_model_is_never_looked_up_nor_kept(canvas: Model, judge: Classifier, made: list[int], cache: Path) -> None:
    with no_change(canvas).applied(canvas):
        answer(canvas, ITEMS[:1], judge)
        answer(canvas, ITEMS[:1], judge)
    assert made == [0, 0] and not list(cache.rglob("*.safetensors"))


def test_another_noise_of_the_sampler_s_steps_is_not_mixed_up(
    canvas: Model, judge: Classifier, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(canvas, ITEMS[:1], judge)
    monkeypatch.setattr("excise.edits.base_shelf.STEP_NOISE", 0)
    answer(canvas, ITEMS[:1], judge)
    assert made == [0, 0]


@pytest.mark.parametrize("what", ["excise.models.fingerprint.versions", "torch.get_num_threads"])
def test_what_was_rounded_otherwise_is_not_mixed_up(
    what: str, canvas: Model, judge: Classifier, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other last bits of the base model's pictures would be laid to the edit."""
    answer(canvas, ITEMS[:1], judge)
    monkeypatch.setattr(what, lambda: 77)
    answer(canvas, ITEMS[:1], judge)
    assert made == [0, 0]


def _other_unet(model: Model) -> None:
    with torch.no_grad():
        next(iter(model.denoiser.parameters())).add_(0.01)


def _other_autoencoder(model: Model) -> None:
    with torch.no_grad():
        next(iter(model.pipeline.vae.parameters())).add_(0.01)


def _other_steps(model: Model) -> None:
    model.sampler = dataclasses.replace(model.sampler, steps=model.sampler.steps + 1)


def _other_guidance(model: Model) -> None:
    model.sampler = dataclasses.replace(model.sampler, guidance_scale=1.0)


def test_guidance_that_is_off_asks_for_the_same_pictures(canvas: Model, judge: Classifier, made: list[int]) -> None:
    for scale in (1.0, 0.0, 0.5):
        canvas.sampler = dataclasses.replace(canvas.sampler, guidance_scale=scale)
        answer(canvas, ITEMS, judge)
    assert len(made) == len(set(ITEMS))


def _other_scheduler(model: Model) -> None:
    from diffusers import EulerDiscreteScheduler

    model.pipeline.scheduler = EulerDiscreteScheduler.from_config(model.pipeline.scheduler.config)


def _other_scaling(model: Model) -> None:
    model.pipeline.vae.register_to_config(scaling_factor=0.5)


def _other_activation(model: Model) -> None:
    model.pipeline.text_encoder.config.hidden_act = "gelu"


def _other_words(model: Model) -> None:
    model.pipeline.tokenizer.add_tokens(["kitty"])


def _shorter_prompts(model: Model) -> None:
    model.pipeline.tokenizer.model_max_length = 40


def _half(model: Model) -> None:
    model.pipeline.to(dtype=torch.bfloat16)


CHANGES = [
    _other_unet, _other_autoencoder, _other_scaling, _other_activation, _other_words, _shorter_prompts, _other_steps, _other_guidance,
    _other_scheduler, _half,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_another_model_or_sampler_is_not_mixed_up(
    change: Callable[[Model], None], canvas: Model, tiny_canvas: Path, judge: Classifier, made: list[int], cache: Path
) -> None:
    answer(canvas, ITEMS[:1], judge)
    change(canvas)
    answer(canvas, ITEMS[:1], judge)
    assert made == [0, 0] and len(list(cache.rglob("*.safetensors"))) == 2
    answer(load(tiny_canvas, device="cpu"), ITEMS[:1], judge)
    assert made == [0, 0]


def test_what_the_host_notes_for_itself_does_not_matter(sd1: Model, tiny_sd1: Path) -> None:
    """Values that a scheduler's file leaves out are listed in random order, and every config says where it was read."""
    from excise.models.fingerprint import surroundings

    left_out = [["thresholding", "timestep_spacing"], ["timestep_spacing", "thresholding"]]
    found = []
    for names in left_out:
        sd1.pipeline.scheduler.register_to_config(_use_default_values=names)
        sd1.pipeline.vae.register_to_config(_name_or_path=f"/somewhere/{len(found)}")
        found.append(surroundings(sd1))
    assert found[0] == found[1] == surroundings(load(tiny_sd1, device="cpu"))


def test_another_classifier_is_not_mixed_up(canvas: Model, judge: Classifier, made: list[int]) -> None:
    answer(canvas, ITEMS[:1], judge)
    other = Classifier(tiny_models.HEADS, tiny_models.SIZE).eval()
    other.load_state_dict(judge.state_dict())
    assert other.identity == judge.identity
    other.names["object"] = [*other.names["object"][::-1]]
    assert other.identity != judge.identity
    head = other.heads["object"]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.bias.add_(1)
    answer(canvas, ITEMS[:1], other.requires_grad_(False))
    assert made == [0, 0]


def test_a_reader_that_has_not_seen_a_picture_yet(canvas: Model, judge: Classifier, made: list[int]) -> None:
    """Thumbnails make the pictures again, once; then both are known."""
    before = answer(canvas, ITEMS, judge)
    found = read(canvas, ITEMS, [Judge(judge), Thumbnails()])
    assert made == [0, 1, 2, 0, 1, 2] and answer(canvas, ITEMS, judge) == before
    assert set(found) == {"answers", "features", "thumbnails"}
    again = read(canvas, ITEMS, [Thumbnails(), Judge(judge)])
    assert len(made) == 6 and all(torch.equal(again[name], found[name]) for name in found)


def test_what_is_kept_is_what_was_read(canvas: Model, judge: Classifier) -> None:
    found = read(canvas, ITEMS, [Judge(judge), Thumbnails()])
    pictures = canvas.sample([item.prompt for item in ITEMS], [item.seed for item in ITEMS])
    assert torch.equal(found["thumbnails"], pictures.mul(255).round().byte())
    assert torch.allclose(found["features"].float(), judge.features(pictures), atol=2e-3)
    assert found["features"].dtype == torch.float16 and found["answers"].dtype == torch.int16


def test_thumbnails_of_large_pictures_are_means_of_blocks() -> None:
    picture = torch.rand(1, 3, 24, 24)
    small = Thumbnails(8)(picture)["thumbnails"]
    means = picture.unfold(2, 3, 3).unfold(3, 3, 3).mean((-1, -2))
    assert small.shape == (1, 3, 8, 8) and torch.equal(small, means.mul(255).round().byte())


def test_a_write_that_is_killed_leaves_the_file_whole(
    canvas: Model, judge: Classifier, made: list[int], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(canvas, ITEMS[:1], judge)
    (file,) = cache.rglob("*.safetensors")
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            answer(canvas, ITEMS, judge)
    assert file.read_bytes() == before and [path.name for path in file.parent.iterdir()] == [file.name]
    made.clear()
    assert answer(canvas, ITEMS, judge)[0] == first[0] and made == [1, 2]


def test_a_run_that_is_stopped_keeps_what_was_made(canvas: Model, judge: Classifier, made: list[int]) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(canvas, ITEMS, judge, batch=2, progress=stop)
    answer(canvas, ITEMS, judge, batch=2)
    assert made == [0, 1, 2]


def test_what_another_process_wrote_meanwhile_stays(canvas: Model, judge: Classifier, made: list[int]) -> None:
    def other(stage: str, done: int, total: int) -> None:
        if done == 0 and total == 1:
            answer(canvas, ITEMS[1:], judge)

    answer(canvas, ITEMS[:1], judge, progress=other)
    made.clear()
    answer(canvas, ITEMS, judge)
    assert made == []


def test_nothing_to_ask_for(canvas: Model, judge: Classifier) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        answer(canvas, [], judge)
