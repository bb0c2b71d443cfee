"""Pictures to learn from: made once, resumed where they stopped, never mixed up; or a folder's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.training_pictures import folder_pictures, generated_latents, learning_pictures, pictures, retained_pictures
from excise.erasure.training_settings import Relabelling
from excise.evaluation.prompt_grid import questions
from excise.images import to_image
from excise.methods import get
from excise.models import Model
from trained_methods import CAT, DOG, PICTURED, bank_of, settings_of

PROMPTS = ["a cat", "a dog", "a cat", "a bird", "a dog"]
SEEDS = [1, 2, 3, 4, 5]


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the pictures that were really made."""
    made: list[int] = []
    noise = Model.start_noise
    monkeypatch.setattr(Model, "start_noise", lambda self, asked, size: made.extend(asked) or noise(self, asked))  # type: ignore[func-returns-value]
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(
    model: Model, monkeypatch: pytest.MonkeyPatch, batch: int = 2, run: Run | None = None, count: int = 5, **options: Any
) -> tuple[torch.Tensor, int]:
    """The latents, and how many pictures the model really made."""
    made = 0
    noise = Model.start_noise

    def counted(self: Model, seeds: list[int], *size: Any) -> torch.Tensor:
        nonlocal made
        made += len(seeds)
        return noise(self, seeds, *size)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "start_noise", counted)
        latents = generated_latents(
            model, PROMPTS[:count], SEEDS[:count], run=run or Run(), batch=batch, **{"steps": 2, **options}
        )
    return latents, made


def test_they_are_what_the_sampler_gives(canvas: Model) -> None:
    found = canvas.decode(generated_latents(canvas, PROMPTS, SEEDS, run=Run()))
    assert torch.equal(found, canvas.sample(PROMPTS, SEEDS))


def test_a_second_call_makes_none_and_gives_the_same_bits(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first, made = make(canvas, monkeypatch)
    again, none = make(canvas, monkeypatch)
    assert (made, none) == (5, 0) and torch.equal(first, again)
    assert make(canvas, monkeypatch, count=4)[1] == 0, "calls that begin alike share"


def test_guidance_that_is_off_makes_the_same_pictures_whatever_its_scale(
    canvas: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = make(canvas, monkeypatch, guidance_scale=1.0)
    off, made = make(canvas, monkeypatch, guidance_scale=0.0)
    assert made == 0 and torch.equal(plain, off)


def test_other_samplers_seeds_and_weights_are_not_mixed_up(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    make(canvas, monkeypatch)
    assert make(canvas, monkeypatch, steps=3)[1] == 5
    assert make(canvas, monkeypatch, guidance_scale=2.0)[1] == 5
    with monkeypatch.context() as patch:
        patch.setattr("excise.erasure.training_pictures.STEP_NOISE", 0)
        assert make(canvas, patch)[1] == 5
    with torch.no_grad():
        next(canvas.denoiser.parameters()).add_(0.1)
    assert make(canvas, monkeypatch)[1] == 5


def test_the_order_in_which_the_host_lists_defaults_is_no_other_sampler(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is random where a scheduler's file leaves values out."""
    made = []
    for names in (["thresholding", "timestep_spacing"], ["timestep_spacing", "thresholding"]):
        canvas.pipeline.scheduler.register_to_config(_use_default_values=names)
        made.append(make(canvas, monkeypatch)[1])
    assert made == [5, 0]


def test_a_stopped_call_goes_on_where_it_was(canvas: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = make(canvas, monkeypatch)
    shutil.rmtree(cache)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(canvas, monkeypatch, run=Run(progress=stop))
    rest, made = make(canvas, monkeypatch)
    assert made == 1 and torch.equal(rest, whole)


def test_a_model_with_edits_is_not_cached(canvas: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from excise.edits import Dense, WeightEdit
    from excise.edits.applied import base_fingerprint
    from excise.edits.manifest import Manifest

    name = next(n for n, _ in canvas.denoiser.named_parameters() if n.endswith("attn2.to_v.weight"))
    weight = canvas.denoiser.get_parameter(name)
    manifest = Manifest(model="x", base=base_fingerprint(canvas), method="x", concepts=[])
    edit = WeightEdit({f"unet.{name}": Dense(torch.full_like(weight, 0.5))}, manifest)
    before, _ = make(canvas, monkeypatch)
    files = sorted(cache.rglob("*.safetensors"))
    with edit.applied(canvas):
        during, made = make(canvas, monkeypatch)
    assert made == 5 and not torch.equal(before, during)
    assert sorted(cache.rglob("*.safetensors")) == files


def listed(folder: Path, prompts: list[str], *, told: bool = True) -> Path:
    """A folder with a picture of each prompt, and the list that says so."""
    folder.mkdir()
    names = [f"{number:02}.png" for number in range(len(prompts))]
    for name in names:
        to_image(torch.rand(3, 16, 16)).save(folder / name)
    entries = [{"file": name, "prompt": prompt} for name, prompt in zip(names, prompts, strict=True)]
    if told:
        (folder / "pictures.json").write_text(json.dumps({"pictures": entries}), encoding="utf-8")
    return folder


def test_a_folder_s_pictures_of_one_anchor_teach_every_prompt_of_every_concept(canvas: Model, tmp_path: Path) -> None:
    cat, dog = (canvas.catalog.resolve(name) for name in ("cat", "dog"))
    bank = PromptBank.of_pairs(canvas, redirected(canvas, [cat, dog], "templates", "a bird"))

    def rows(folder: Path) -> torch.Tensor:
        found = learning_pictures(canvas, bank, settings_of("ca", folder=str(folder)), Run(), shows="masked")
        return found.rows

    texts = list(dict.fromkeys(pair.masked for pair in bank.pairs))[:6]
    for name, shown in {"one": ["a bird"] * 12, "turns": texts[:2] * 6, "each once": texts}.items():
        taught = rows(listed(tmp_path / name, shown))
        assert [bank.pairs[row].masked for row in taught.tolist()] == shown
        assert bank.owner[taught].bincount().tolist() == [len(shown) // 2] * 2, name
        for text in set(shown) if name == "turns" else ():
            owners = {int(bank.owner[row]) for row in taught.tolist() if bank.pairs[row].masked == text}
            assert owners == {0, 1}, "no text is for one concept alone"
    assert len(rows(tmp_path / "one").unique()) > 4, "several phrases of each"
    drawn = bank.draw(128, Run().generator(2))
    untold = rows(listed(tmp_path / "untold", ["?"] * 5, told=False))
    assert torch.equal(untold, drawn[:5]), "where nothing tells, they are taken for the prompts that were drawn"


def test_what_a_list_says_must_be_among_the_prompts(sd1: Model, tmp_path: Path) -> None:
    folder = listed(tmp_path / "pictures", ["a cat", "a house"])
    with pytest.raises(ValueError, match=r"shows 'a house', which is not among the prompts, such as 'a cat'"):
        learning_pictures(sd1, bank_of(sd1), settings_of("salun", folder=str(folder)), Run(), shows="conditioned")


def test_every_concept_needs_a_picture(sd1: Model, seeds: list[int]) -> None:
    bank, settings = bank_of(sd1, CAT, DOG), settings_of("salun", **{**PICTURED, "pictures": 1})
    with pytest.raises(ValueError, match=r"pictures=1 cannot show 2 concepts; give at least pictures=2"):
        learning_pictures(sd1, bank, settings, Run(), shows="conditioned")
    assert seeds == []


@pytest.mark.parametrize("seed", [0, 1, 2**15 - 1, 2**40 + 3])
def test_no_evaluation_asks_for_what_was_kept(canvas: Model, seed: int, seeds: list[int]) -> None:
    """Neither its pictures nor those of the concepts that are erased; torch tells seeds apart by 32 bits."""
    cat = canvas.catalog.resolve("cat")
    settings = settings_of("salun", picture_steps=1, pictures=16, retained=40)
    kept, _ = retained_pictures(canvas, [cat], settings, Run(seed))
    assert len(seeds) == len(kept.rows) >= 40
    evaluated = [question.item.seed for s in (0, 1) for question in questions(canvas, [cat], 200, 80, s).all]
    retained = {number % 2**32 for number in seeds}
    assert not retained & set(evaluated) and len(retained) == len(set(seeds))
    seeds.clear()
    learning_pictures(canvas, bank_of(canvas, cat), settings, Run(seed), shows="conditioned")
    assert len(seeds) == 16 and not retained & set(seeds) and max(seeds) < 2**31


def saved(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A folder with random pictures b.png, a.png and c.png, and the pictures in that order."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    shown = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name, picture in zip("bac", shown, strict=True):
        to_image(picture).save(folder / f"{name}.png")
    return folder, shown


def test_a_folder_of_pictures_with_and_without_their_prompts(canvas: Model, tmp_path: Path) -> None:
    folder, shown = saved(tmp_path)
    found = pictures(canvas, ["a cat", "a dog"], [], run=Run(), folder=folder)
    assert found.prompts == ("a cat", "a dog", "a cat")
    assert (found.latents - canvas.encode_pictures(shown[[1, 0, 2]])).abs().max() < 0.02, "in the order of their names"
    (folder / "pictures.json").write_text(json.dumps({"pictures": [{"file": "b.png", "prompt": "an owl"}]}), encoding="utf-8")
    assert folder_pictures(canvas, folder, ["a cat"]).prompts == ("a cat", "an owl", "a cat")
    for content, words in (
        ('{"pictures": [1]}', r"is not a list of what pictures show: pictures\.0: .*, not 1"),
        ("[1]", r"pictures\.json is not a list of"),
    ):
        (folder / "pictures.json").write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            folder_pictures(canvas, folder, ["a cat"])


def test_a_folder_of_pictures_to_keep(sd1: Model, tmp_path: Path) -> None:
    """With the prompt that all show, or with those that its list tells: then `retain` is not asked, nor a list of concepts needed."""
    folder, shown = saved(tmp_path)

    def kept(**values: Any) -> tuple[torch.Tensor, list[str]]:
        settings = Relabelling(retain_folder=str(folder), **values)
        learning, texts = retained_pictures(sd1, [CAT], settings, Run())
        known = {text: sd1.encode([text])[0] for text in ("a dog", "an owl", "a house")}
        named = [
            next(k for k, v in known.items() if torch.allclose(v.tokens, texts[row].tokens, atol=1e-4))
            for row in learning.rows.tolist()
        ]
        return learning.latents, named

    latents, prompts = kept(retain=("a dog",))
    assert (latents - sd1.encode_pictures(shown[[1, 0, 2]])).abs().max() < 0.02 and prompts == ["a dog"] * 3
    for retain in ("catalog", "masked", ("a dog", "a house")):
        with pytest.raises(ValueError, match=r"pictures\.json does not say what a\.png shows; .* one prompt"):
            kept(retain=retain)
    entries = [
        {"file": f"{name}.png", "prompt": text} for name, text in zip("bac", ("an owl", "a house", "an owl"), strict=True)
    ]
    (folder / "pictures.json").write_text(json.dumps({"pictures": entries}), encoding="utf-8")
    assert kept()[1] == kept(retain=("a dog",))[1] == ["a house", "an owl", "an owl"]


@pytest.mark.parametrize("method", ["salun", "erasediff"])
def test_pictures_to_keep_are_learned_from(method: str, sd1: Model, tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    values = {**PICTURED, "rounds": 1, "parameters": "kv", "pseudo": "a dog", "retain": "a house", "retained": 2}

    def erase(**more: Any) -> dict[str, torch.Tensor]:
        return get(method).erase(sd1, [CAT], settings_of(method, **{**values, **more}), Run()).tensors()

    made, given, again = erase(), erase(retain_folder=str(folder)), erase(retain_folder=str(folder), retained=7)
    assert any(not torch.equal(made[name], given[name]) for name in made)
    assert all(torch.equal(given[name], again[name]) for name in given), "none is made"
    with pytest.raises(FileNotFoundError, match=r"no such folder of pictures: .*nowhere"):
        erase(retain_folder=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no pictures; expected"):
        erase(retain_folder=str(tmp_path / "empty"))


@pytest.mark.parametrize("method", ["salun", "erasediff"])
def test_what_cannot_be_kept_is_refused_before_any_picture_is_made(
    method: str, sd1: Model, tmp_path: Path, seeds: list[int]
) -> None:
    (tmp_path / "unread").mkdir()
    (tmp_path / "unread" / "x.png").write_bytes(b"no picture")
    folder, _ = saved(tmp_path)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "declares nothing else to keep"),
        ({"retain": ()}, "nothing to keep in the list"),
        ({"retain_folder": str(tmp_path / "nowhere")}, "no such folder"),
        ({"retain_folder": str(folder)}, "does not say what"),
        ({"retain_folder": str(tmp_path / "unread"), "retain": "a house"}, "not a picture"),
    ]
    for values, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            get(method).erase(sd1, [CAT], settings_of(method, **{**PICTURED, "pseudo": "a dog", **values}), Run())
    assert seeds == []


def test_what_has_no_weight_is_neither_asked_for_nor_made(sd1: Model, seeds: list[int]) -> None:
    values = {**PICTURED, "rounds": 1, "steps": 1, "parameters": "kv", "pseudo": "a dog", "retain_weight": 0}
    assert get("salun").erase(sd1, [CAT], settings_of("salun", **values), Run()).tensors()
    assert len(seeds) == values["pictures"]


def test_what_cannot_be_used_is_refused(canvas: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 seeds"):
        generated_latents(canvas, ["a", "b"], [1], run=Run())
    with pytest.raises(ValueError, match="must be some"):
        generated_latents(canvas, [], [], run=Run())
    with pytest.raises(FileNotFoundError, match="no such folder"):
        folder_pictures(canvas, tmp_path / "none", ["a"])
    with pytest.raises(ValueError, match="has no pictures"):
        folder_pictures(canvas, tmp_path, ["a"])
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a picture"):
        folder_pictures(canvas, tmp_path, ["a"])
