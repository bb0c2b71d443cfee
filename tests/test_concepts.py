"""The template language, masked forms, and what a user's words mean."""

from __future__ import annotations

import doctest
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from excise import concepts
from excise.concepts import GENERIC_TEMPLATES, Catalog, Concept, fill
from excise.hints import nearest


def test_docstring_examples() -> None:
    found = doctest.testmod(concepts)
    assert found.attempted >= 3 and found.failed == 0


@pytest.mark.parametrize(
    ("template", "both", "object_only", "style_only", "neither"),
    [
        ("a picture[ of {object}][ in {style} style]", "a picture of a cat in neon style", "a picture of a cat",
         "a picture in neon style", "a picture"),
        ("{object|a thing}[ in the style of {style}]", "a cat in the style of neon", "a cat", "a thing in the style of neon", "a thing"),
        ("[{object}][, {style}]", "a cat, neon", "a cat", "neon", ""),
        ("[{style} style: ]{object|something}", "neon style: a cat", "a cat", "neon style: something", "something"),
        ("[{style} picture of {object}]", "neon picture of a cat", "", "", ""),
        ("{object} by {style}", "a cat by neon", "a cat by", "by neon", "by"),
    ],
)  # fmt: skip
def test_fill_by_hand(template: str, both: str, object_only: str, style_only: str, neither: str) -> None:
    assert fill(template, object="a cat", style="neon") == both
    assert fill(template, object="a cat", style="") == object_only
    assert fill(template, object="", style="neon") == style_only
    assert fill(template, object="", style="") == neither


def test_what_is_filled_in_is_not_a_template() -> None:
    for odd in ("{style}", "[x]", r"\1 \g<0>", "a|b", "{object|y}"):
        assert fill("{object}[ in {style}]", object=odd, style="s") == f"{odd} in s"


words = st.text("abc", min_size=1, max_size=4)


@settings(deadline=None, database=None, derandomize=True)
@given(template=st.sampled_from(GENERIC_TEMPLATES), name=words, context=st.one_of(st.just(""), words), style=st.booleans())
def test_masking_takes_out_the_concept_and_nothing_else(template: str, name: str, context: str, style: bool) -> None:
    """Without its words a prompt keeps its other words, in order; only a stand-in may come in."""
    concept = Concept("x", "style" if style else "object", (f"<{name}>",))
    pair = concept.pair(template, f"<{name}>", context)
    assert f"<{name}>" in pair.prompt and f"<{name}>" not in pair.masked
    stand_ins = re.findall(r"\|([^}]*)\}", template)
    kept = [word for word in re.findall(r"[\w<>]+", pair.masked) if word not in stand_ins]
    rest = iter(re.findall(r"[\w<>]+", pair.prompt))
    assert all(word in rest for word in kept), "not a subsequence"
    assert not context or context in pair.masked.split() or context in re.findall(r"\w+", pair.masked)
    for prompt in (pair.prompt, pair.masked):
        assert not re.search(r"[{}\[\]|]|\s\s|^[ ,:]|[ ,:]$", prompt)


def test_pairs_are_every_combination_once() -> None:
    concept = Concept(
        "cat", "object", ("a cat", "cats"), ("neon", "sepia"), ("{object}[ in {style}]", "see {object}", "[{style}]")
    )
    expected = set()
    for phrase, context in itertools.product(["a cat", "cats"], ["", "neon", "sepia"]):
        tail = f" in {context}" if context else ""
        expected |= {(phrase + tail, tail.strip()), (f"see {phrase}", "see")}
    found = [(pair.prompt, pair.masked) for pair in concept.pairs()]
    assert len(found) == len(set(found)) and set(found) == expected
    assert found == [(pair.prompt, pair.masked) for pair in concept.pairs()]
    assert [pair.prompt for pair in concept.plain_pairs()] == ["a cat", "a cat in neon", "a cat in sepia"]


def test_style_concepts_fill_the_style_slot() -> None:
    concept = Concept("neon", "style", ("neon",), ("a cat",), ("{object|something}[ in {style}]",))
    assert {(pair.prompt, pair.masked) for pair in concept.pairs()} == {
        ("something in neon", "something"),
        ("a cat in neon", "a cat"),
    }
    assert (concept.slot, concept.label) == ("style", "style:neon")


@pytest.fixture
def catalog() -> Catalog:
    return Catalog.from_dict(tiny_models.CANVAS)


def test_a_declared_concept(catalog: Catalog) -> None:
    cat = catalog.resolve("cat")
    assert (cat.kind, cat.phrases[0], cat.contexts) == ("object", "a cat", ("photo", "sketch", "pixel art"))
    assert cat.templates == tuple(tiny_models.CANVAS["templates"])
    assert catalog.resolve("style:sketch").contexts == ("a cat", "a dog", "a bird")
    assert catalog.resolve(" Pixel Art ").name == "pixel art"
    assert catalog.resolve("member:owl").kind == catalog.resolve("owl", kind="member").kind == "member"
    assert catalog.held_out == tuple(tiny_models.CANVAS["held_out_templates"])
    assert [c.name for c in catalog.of_kind("object")] == ["cat", "dog", "bird"]


def test_names_are_found_whatever_their_capitals() -> None:
    named = Catalog.from_dict({"concepts": [{"kind": "style", "name": "Van Gogh", "phrases": ["Van Gogh"]}]})
    assert named.resolve("van gogh").name == named.resolve("style:VAN GOGH").name == "Van Gogh"


def test_also_adds_phrases_that_are_new(catalog: Catalog) -> None:
    cat = catalog.resolve("cat", also=("a moggy", "a cat"))
    assert cat.phrases == (*catalog.resolve("cat").phrases, "a moggy")
    assert any("a moggy" in pair.prompt for pair in cat.pairs())


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("catt", None, "unknown concept 'catt'; did you mean 'cat'\\? known: cat, tabby"),
        ("style:scetch", None, "unknown style 'scetch'; did you mean 'sketch'\\? known: photo, sketch, pixel art$"),
        ("cat", "style", "unknown style 'cat'; (did you mean .*)?known: photo"),
        ("zebra crossing", None, "unknown concept 'zebra crossing'; known: "),
        ("cat", "animal", "unknown kind 'animal'"),
        ("", None, "it|this one is empty"),
        ("style:  ", None, "empty"),
        ("style:", None, "empty"),
    ],
)
def test_refusals_offer_the_nearest(catalog: Catalog, text: str, kind: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalog.resolve(text, kind)


def test_free_text_where_nothing_is_declared() -> None:
    free = Catalog()
    concept = free.resolve("Vincent van Gogh", kind="style")
    assert (concept.name, concept.kind, concept.phrases) == ("Vincent van Gogh", "style", ("Vincent van Gogh",))
    assert concept.templates == GENERIC_TEMPLATES and len(concept.contexts) >= 4
    assert free.resolve("a thing: with colon").name == "a thing: with colon"
    assert free.resolve("identity:Jane Doe").kind == "identity"
    assert free.resolve("cat").kind == "object"
    for nothing in ("  ", "style:", "style: ", " style:"):
        with pytest.raises(ValueError, match="empty"):
            free.resolve(nothing)


def test_a_concept_needs_a_name_a_kind_and_words() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Concept(" ", "object", ("x",))
    with pytest.raises(ValueError, match="unknown kind 'objekt'; did you mean 'object'"):
        Concept("x", "objekt", ("x",))  # type: ignore[arg-type]
    for phrases in ((), ("",), ("a cat", " ")):
        with pytest.raises(ValueError, match="phrase"):
            Concept("cat", "object", phrases)


def test_nearest_lists_at_most_thirty() -> None:
    hint = nearest("w7", [f"word{i}" for i in range(40)])
    assert hint.count("word") in (30, 31) and hint.endswith(", ...")
    assert nearest("CAT", ["cat"]) == "did you mean 'cat'? known: cat"


def test_beside_drops_contexts_only() -> None:
    cat = Concept("cat", "object", ("a cat", "cats"), ("photo", "sketch"))
    other = cat.beside({"sketch", "a cat"})
    assert other.contexts == ("photo",) and other.phrases == cat.phrases and other.label == cat.label
    assert cat.beside(()) == cat


@pytest.mark.parametrize("text", ["styel:Van Gogh", "Style:Van Gogh", "objct:cat", "memeber:owl", "identiy:x"])
def test_a_prefix_that_is_almost_a_kind_is_questioned(text: str) -> None:
    """It would be erased as an object of that whole name, and nobody would notice."""
    with pytest.raises(
        ValueError, match=r"is no kind; did you mean (style|object|member|identity):.*If the colon belongs to the name"
    ):
        Catalog().resolve(text)


@pytest.mark.parametrize("text", ["Star Wars: A New Hope", "NASA:Apollo", "object:styel:Van Gogh"])
def test_a_colon_in_a_name_is_a_colon(text: str) -> None:
    assert Catalog().resolve(text).name == text.removeprefix("object:")
