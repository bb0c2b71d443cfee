"""The canvas's pictures and captions: labels are right, captions are true, and every form of a prompt occurs as often as it should."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import cache

import pytest
import torch
from torch import Tensor

from excise.canvas import captions, catalog, data, glyphs, text
from excise.canvas.build import description
from excise.canvas.captions import HELD_OUT, TEMPLATES, draw_caption, with_article
from excise.canvas.catalog import EXTRAS, GLYPH_OBJECT, GLYPHS, MEMBERS, OBJECTS, OTHER, STYLES
from excise.canvas.train_loop import step_generator
from excise.concepts import Catalog, fill

PER_PICTURE = 8


def _own_words(glyph: int) -> set[str]:
    """Every word that may name this glyph."""
    if glyph >= len(MEMBERS):
        return {tuple(EXTRAS)[glyph - len(MEMBERS)]}
    name, member = MEMBERS[glyph]
    item = next(item for item in OBJECTS if item.name == name)
    return {item.name, item.plural, *item.synonyms, member}


GLYPH_WORDS = set().union(*(_own_words(glyph) for glyph in range(len(GLYPHS))))
STYLE_WORDS = {style.name: {w for phrase in (style.name, *style.synonyms) for w in phrase.split()} for style in STYLES}


def _words(prompt: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", prompt.lower())


@cache
def _captions() -> list[tuple[int, int, str]]:
    """(glyph, style, caption) of every glyph in every style, several times."""
    generator = torch.Generator().manual_seed(0)
    pairs = itertools.product(range(len(GLYPHS)), range(len(STYLES)))
    return [(glyph, style, draw_caption(glyph, style, generator)) for glyph, style in pairs for _ in range(PER_PICTURE)]


# Pictures and labels


def test_labels_are_drawn_as_often_as_promised() -> None:
    count = 40_000
    glyph, style = data.draw_labels(count, torch.Generator().manual_seed(0))
    objects = torch.tensor(GLYPH_OBJECT)[glyph]

    def close(found: Tensor, share: float) -> None:
        assert abs(found.double().mean().item() - share) < 4.5 * (share * (1 - share) / len(found)) ** 0.5

    close(objects == OTHER, data.EXTRA_SHARE)
    for index, item in enumerate(OBJECTS):
        close(objects == index, (1 - data.EXTRA_SHARE) / len(OBJECTS))
        for member in item.members:
            close(glyph[objects == index] == GLYPHS.index(member), 1 / len(item.members))
    for extra in range(len(MEMBERS), len(GLYPHS)):
        close(glyph == extra, data.EXTRA_SHARE / len(EXTRAS))
    for index in range(len(STYLES)):
        close(style == index, 1 / len(STYLES))


def test_pictures_are_deterministic_and_follow_their_labels() -> None:
    first = data.draw(16, torch.Generator().manual_seed(5))
    again = data.draw(16, torch.Generator().manual_seed(5))
    for name in ("pictures", "glyph", "object", "style"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(data.draw(16, torch.Generator().manual_seed(6)).pictures, first.pictures)
    assert first.pictures.shape == (16, 3, data.SIZE, data.SIZE) and first.pictures.dtype == torch.float32
    assert first.pictures.min() >= 0 and first.pictures.max() <= 1 and first.pictures.flatten(1).std(1).min() > 0.02
    assert torch.equal(first.object, torch.tensor(GLYPH_OBJECT)[first.glyph])


def test_style_and_glyph_both_make_the_picture() -> None:
    """Same randomness, another label: another picture. (Mean absolute difference; 0.02 is plainly visible.)"""
    count = len(STYLES)
    glyph = torch.full((count,), GLYPHS.index("owl"))
    styles = torch.arange(count)
    pictures = data.draw_pictures(glyph, styles, torch.Generator().manual_seed(0)).pictures
    for one, other in itertools.combinations(range(count), 2):
        assert (pictures[one] - pictures[other]).abs().mean() > 0.02, (STYLES[one].name, STYLES[other].name)
    others = data.draw_pictures(glyph + 1, styles, torch.Generator().manual_seed(0)).pictures
    assert ((pictures - others).abs().mean((1, 2, 3)) > 0.01).all()


def test_glyphs_are_whole_wherever_they_are_placed() -> None:
    """Placed at 40 to 56 of 64 pixels, nothing of a glyph is cut off: its coverage scales with the square of its width."""
    glyph = torch.arange(len(GLYPHS))
    scene = data._place(glyph, torch.Generator().manual_seed(0))
    whole = glyphs.load()[glyph, 3].sum((1, 2)) / glyphs.TILE**2 * data.SIZE**2
    width = (scene.alpha.sum((1, 2, 3)) / whole).sqrt() * data.SIZE
    assert width.min() > 39 and width.max() < 57
    assert scene.alpha.max() <= 1 + 1e-5 and (scene.glyph <= scene.alpha + 1e-4).all(), "colours are premultiplied"
    border = torch.ones(data.SIZE, data.SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (scene.alpha[:, 0, border].sum(1) < 0.02 * scene.alpha.sum((1, 2, 3))).float().mean() > 0.95


def test_the_sheet_holds_every_glyph_once() -> None:
    tiles = glyphs.load()
    assert tiles.shape == (len(GLYPHS), 4, glyphs.TILE, glyphs.TILE) and len(catalog.EMOJI) == len(GLYPHS) == len(set(GLYPHS))
    assert (tiles[:, 3].flatten(1).mean(1) > 0.05).all(), "an empty tile"
    apart = torch.cdist(tiles.flatten(1), tiles.flatten(1)) + 1e9 * torch.eye(len(tiles))
    assert apart.min() > 3, "two tiles that look the same"


def test_catalog_keeps_its_promises() -> None:
    assert len(OBJECTS) == 20 and len(MEMBERS) >= 60 and len(STYLES) >= 8 and min(len(item.members) for item in OBJECTS) >= 3
    assert [GLYPHS[i] for i in range(len(MEMBERS))] == [member for _, member in MEMBERS]
    assert GLYPH_OBJECT[: len(MEMBERS)] == tuple(catalog.OBJECT_NAMES.index(name) for name, _ in MEMBERS)
    assert set(GLYPH_OBJECT[len(MEMBERS) :]) == {OTHER}
    owners = Counter(word for item in OBJECTS for word in {item.name, item.plural, *item.synonyms, *item.members})
    owners.update(EXTRAS.keys())
    owners.update(word for words in STYLE_WORDS.values() for word in words)
    assert [word for word, count in owners.items() if count > 1] == [], "a word that names two things"


def test_pictures_without_named_things() -> None:
    """Oracle: a plain loop over the labels."""
    glyph, style = data.draw_labels(3000, torch.Generator().manual_seed(0))
    for names in (frozenset({"cat"}), frozenset({"owl", "key"}), frozenset({"neon", "bird"}), frozenset()):
        expected = []
        for row, (g, s) in enumerate(zip(glyph.tolist(), style.tolist(), strict=True)):
            shown = {GLYPHS[g], STYLES[s].name} | ({MEMBERS[g][0]} if g < len(MEMBERS) else set())
            if not shown & names:
                expected.append(row)
        assert data.showing_none_of(glyph, style, names).tolist() == expected
    with pytest.raises(ValueError, match="the canvas has no unicornn"):
        data.showing_none_of(glyph, style, frozenset({"unicornn", "cat"}))


# Captions


def test_captions_are_true() -> None:
    """A caption names the glyph (or its object) and the style of its picture, or nothing; never another one."""
    for glyph, style, caption in _captions():
        words = set(_words(caption))
        assert words & GLYPH_WORDS <= _own_words(glyph), (GLYPHS[glyph], caption)
        foreign = set().union(*(own for name, own in STYLE_WORDS.items() if name != STYLES[style].name))
        assert not words & foreign, (STYLES[style].name, caption)


def test_templates_themselves_name_nothing() -> None:
    """Else the masked form of a prompt would still say it."""
    naming = GLYPH_WORDS.union(*STYLE_WORDS.values())
    for template in (*TEMPLATES, *HELD_OUT):
        fixed = set(_words(re.sub(r"\{(object|style)", " ", template)))
        assert not fixed & naming, template


def test_masked_forms_occur_as_often_as_promised() -> None:
    has_object = sum("{object" in template for template in TEMPLATES) / len(TEMPLATES)
    has_style = sum("{style" in template for template in TEMPLATES) / len(TEMPLATES)
    keeps_object = 1 - captions.DROP_CAPTION - captions.DROP_BOTH - captions.DROP_OBJECT
    keeps_style = 1 - captions.DROP_CAPTION - captions.DROP_BOTH - captions.DROP_STYLE
    styles = set().union(*STYLE_WORDS.values())
    drawn = _captions()
    says = [(bool(set(_words(c)) & GLYPH_WORDS), bool(set(_words(c)) & styles)) for _, _, c in drawn]

    def close(found: float, share: float) -> None:
        assert abs(found - share) < 4.5 * (share * (1 - share) / len(drawn)) ** 0.5, (found, share)

    close(sum(o for o, _ in says) / len(says), has_object * keeps_object)
    close(sum(s for _, s in says) / len(says), has_style * keeps_style)
    neither = sum(not o and not s and c != "" for (o, s), (_, _, c) in zip(says, drawn, strict=True)) / len(says)
    assert 0.02 < neither < 0.08, "captions of words that name neither must occur: the masked form of both"
    empty = sum(caption == "" for _, _, caption in drawn) / len(drawn)
    assert captions.DROP_CAPTION - 0.02 < empty < captions.DROP_CAPTION + 0.05


def test_objects_are_called_by_member_name_plural_and_synonym() -> None:
    generator = torch.Generator().manual_seed(0)
    glyph = GLYPHS.index("owl")
    said = Counter(captions.object_phrase(glyph, generator) for _ in range(2000))
    member = said["an owl"] + said["owl"]
    assert abs(member / 2000 - captions.MEMBER_ODDS) < 0.05
    own = 2000 - member
    assert abs((said["a bird"] + said["bird"]) / own - captions.NAME_ODDS["name"]) < 0.07
    assert abs(said["birds"] / own - captions.NAME_ODDS["plural"]) < 0.05
    assert set(said) == {"an owl", "owl", "a bird", "bird", "birds", "a fowl", "fowl", "a birdie", "birdie"}
    unnamed = Counter(captions.object_phrase(GLYPHS.index("guitar"), generator) for _ in range(300))
    assert set(unnamed) == {"a guitar", "guitar", "an instrument", "instrument", "instruments"}, "an object without synonyms"


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [("cat", "a cat"), ("owl", "an owl"), ("hourglass", "an hourglass"), ("unicorn", "a unicorn"), ("scissors", "scissors"),
     ("grapes", "grapes"), ("airliner", "an airliner"), ("horse", "a horse"), ("umbrella", "an umbrella")],
)  # fmt: skip
def test_articles(noun: str, phrase: str) -> None:
    assert with_article(noun) == phrase


def test_held_out_phrasings_are_never_drawn() -> None:
    assert not set(HELD_OUT) & set(TEMPLATES)
    drawn = {caption for _, _, caption in _captions()}
    phrases = [(o, s) for o in ("a cat", "owl", "birds", "a tabby", "") for s in ("neon", "8bit", "")]
    held = {fill(template, object=o, style=s) for template in HELD_OUT for o, s in phrases}
    trained = {fill(template, object=o, style=s) for template in TEMPLATES for o, s in phrases}
    assert not held & (drawn | trained)


def test_captions_are_deterministic() -> None:
    one = [draw_caption(3, 2, step_generator(0, i)) for i in range(50)]
    assert one == [draw_caption(3, 2, step_generator(0, i)) for i in range(50)] and len(set(one)) > 20


# Tokens


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return text.build_tokenizer()


def test_every_known_word_is_one_token(tokenizer: object) -> None:
    ids = {word: tokenizer(word).input_ids[1:-1] for word in text.words()}  # type: ignore[operator]
    assert {word: len(found) for word, found in ids.items() if len(found) != 1} == {}
    assert len({found[0] for found in ids.values()}) == len(ids)
    assert GLYPH_WORDS | set().union(*STYLE_WORDS.values()) <= set(ids) | {"8bit"}  # a number and a word, by CLIP's own rules


def test_nothing_that_is_said_is_unknown_or_cut_off(tokenizer: object) -> None:
    """Every caption, and the longest that any template can give, held out or not, fits the context with its start and end."""
    concepts = Catalog.from_dict(description()).concepts
    phrases = sorted({phrase for concept in concepts if concept.kind != "style" for phrase in concept.phrases})
    styles = sorted({phrase for concept in concepts if concept.kind == "style" for phrase in concept.phrases})
    assert max(len(phrase.split()) for phrase in phrases) == 2
    longest = [
        fill(template, object=phrase, style=style)
        for template in (*TEMPLATES, *HELD_OUT)
        for phrase in [phrase for phrase in phrases if " " in phrase][::9]
        for style in styles
    ]
    prompts = sorted({*longest, *(caption for _, _, caption in _captions())})
    encoded = tokenizer(prompts).input_ids  # type: ignore[operator]
    assert max(len(ids) for ids in encoded) <= text.CONTEXT
    known = set(text.words())
    for prompt, ids in zip(prompts, encoded, strict=True):
        words = re.findall(r"[a-z]+|[0-9]|[^a-z0-9\s]", prompt)
        assert len(ids) == len(words) + 2, prompt
        assert all(word in known or not word.isalnum() for word in words), prompt


def test_any_text_can_be_encoded(tokenizer: object) -> None:
    for odd in ("Ünïcödé", "qwxyz", "猫", "🐈"):
        ids = tokenizer(odd).input_ids  # type: ignore[operator]
        assert len(ids) > 3 and tokenizer.unk_token_id not in ids[1:-1]  # type: ignore[attr-defined]
    assert tokenizer("CAT").input_ids == tokenizer("cat").input_ids  # type: ignore[operator]


def test_the_text_encoder_fits_its_tokenizer(tokenizer: object) -> None:
    encoder = text.build_text_encoder(tokenizer)  # type: ignore[arg-type]
    config = encoder.config
    assert (config.hidden_size, config.max_position_embeddings, config.vocab_size) == (text.WIDTH, text.CONTEXT, len(tokenizer))  # type: ignore[arg-type]
    assert text.WIDTH >= 256 and 24 <= text.CONTEXT <= 32
    assert config.eos_token_id == tokenizer("cat").input_ids[-1]  # type: ignore[operator]


# What the model folder declares


def test_the_description_declares_every_concept_and_phrase() -> None:
    found = Catalog.from_dict(description())
    assert [c.name for c in found.of_kind("object")] == [item.name for item in OBJECTS]
    assert [c.name for c in found.of_kind("member")] == [member for _, member in MEMBERS]
    assert [c.name for c in found.of_kind("style")] == [style.name for style in STYLES]
    assert (found.templates, found.held_out) == (TEMPLATES, HELD_OUT)
    for item in OBJECTS:
        phrases = set(found.resolve(f"object:{item.name}").phrases)
        assert {
            item.plural,
            with_article(item.name),
            *map(with_article, item.synonyms),
            *map(with_article, item.members),
        } <= phrases


def test_masked_prompts_of_a_concept_do_not_name_it() -> None:
    """Every phrasing that erasing uses: the words are in the prompt and gone from its masked form."""
    found = Catalog.from_dict(description())
    for label in ("object:cat", "object:bird", "member:owl", "style:pixel art", "style:sketch"):
        concept = found.resolve(label)
        own = {word for phrase in concept.phrases for word in _words(phrase)} - {"a", "an"}
        pairs = concept.pairs()
        assert len(pairs) > 50
        for pair in pairs:
            assert own & set(_words(pair.prompt)) and not own & set(_words(pair.masked)), pair
