"""Concepts: what is to be removed, and prompts with and without its words.

A template has slots and optional parts. `{object|something}` is a slot; "something" stands there when the slot is empty.
`[ in {style} style]` is optional: it is left out when its slot is empty. So one template gives a prompt, and the same prompt without the
concept's words: its masked form. MiM-MU aims at the masked form. The neutral rate is measured on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from excise import bounds
from excise.hints import nearest, similar
from excise.quoting import cut, quoted

Kind = Literal["object", "member", "style", "identity", "unsafe"]
Phrasings = Literal["plain", "all"]
"""Which prompts ask for a concept: plain ones, or all templates, synonyms and members."""

KINDS: tuple[str, ...] = get_args(Kind)

ARTICLES = ("a ", "an ", "the ")

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)(?:\|([^{}]*))?\}")

GENERIC_TEMPLATES: tuple[str, ...] = (
    "a picture[ of {object}][ in {style} style]",
    "{object|something}[ in the style of {style}]",
    "a photo[ of {object}][, {style} style]",
    "an image showing {object|something}[, made in {style} style]",
    "[{object}][, {style}]",
    "[{style} style: ]{object|something}",
)
"""Templates for models that bring none of their own (ours)."""

GENERIC_CONTEXTS: dict[str, tuple[str, ...]] = {
    "object": ("photo", "sketch", "oil painting", "cartoon"),
    "style": ("a house", "a person", "a landscape", "a tree", "an animal"),
}
"""What fills the other slot for models that bring no list of concepts (ours)."""


def fill(template: str, **slots: str) -> str:
    """The prompt that a template gives.

    >>> fill("{object|something}[ in {style} style]", object="a cat", style="sketch")
    'a cat in sketch style'
    >>> fill("{object|something}[ in {style} style]", object="", style="sketch")
    'something in sketch style'
    >>> fill("[{object}][, {style}]", object="", style="sketch")
    'sketch'
    """

    def optional(match: re.Match[str]) -> str:
        return match[1] if all(slots[name] for name, _ in _SLOT.findall(match[1])) else ""

    text = _SLOT.sub(lambda match: slots[match[1]] or match[2] or "", _OPTIONAL.sub(optional, template))
    return re.sub(r"\s+", " ", text).strip(" ,:")


def bare(phrase: str) -> str:
    """A phrase without its article.

    >>> bare("an owl")
    'owl'
    """
    return next((phrase[len(article) :] for article in ARTICLES if phrase.startswith(article)), phrase)


def check_template(template: str) -> str:
    """The template itself. Raises ValueError if it has other slots than {object} and {style}."""
    other = next((name for name, _ in _SLOT.findall(template) if name not in ("object", "style")), None)
    if other is not None:
        raise ValueError(f"a template has the slots {{object}} and {{style}}, not {{{quoted(other)}}}")
    return template


@dataclass(frozen=True)
class PromptPair:
    """A prompt with the concept, and the same prompt without the concept's words."""

    prompt: str
    masked: str


@dataclass(frozen=True)
class Concept:
    """A thing to remove.

    name      as the user writes it
    kind      object, member (one kind of an object), style, identity or unsafe
    phrases   the ways prompts say it, the plain one first: "a cat", "cats", "a kitty", ...
    contexts  phrases for the other slot (styles for an object, objects for a style)
    templates prompt templates with {object} and {style} slots
    """

    name: str
    kind: Kind
    phrases: tuple[str, ...]
    contexts: tuple[str, ...] = ()
    templates: tuple[str, ...] = field(default=GENERIC_TEMPLATES, repr=False)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a concept needs a name; this one is empty")
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {quoted(self.kind)}; {nearest(self.kind, KINDS)}")
        if not self.phrases or not all(phrase.strip() for phrase in self.phrases):
            raise ValueError(f"concept {quoted(self.name)} needs at least one phrase that names it, and none may be empty")
        if max(map(len, (self.name, *self.phrases))) > bounds.NAME:
            raise ValueError(f"concept {quoted(self.name)} has a name or phrase of more than {bounds.NAME} characters")
        prompts = len(self.templates) * len(self.phrases) * (len(self.contexts) + 1)
        if prompts > bounds.PAIRS:
            raise ValueError(
                f"concept {quoted(self.name)} would have {prompts} prompts, more than {bounds.PAIRS}: "
                f"{len(self.templates)} templates, {len(self.phrases)} phrases, {len(self.contexts)} contexts"
            )

    @property
    def slot(self) -> str:
        """The template slot that the concept fills: "style" or "object"."""
        return "style" if self.kind == "style" else "object"

    @property
    def label(self) -> str:
        """The name with its kind, as the CLI takes it: "object:cat"."""
        return f"{self.kind}:{self.name}"

    def pair(self, template: str, phrase: str, context: str = "") -> PromptPair:
        """One template's prompt with the concept, and without it."""
        other = "object" if self.slot == "style" else "style"
        return PromptPair(
            fill(template, **{self.slot: phrase, other: context}), fill(template, **{self.slot: "", other: context})
        )

    def pairs(self) -> tuple[PromptPair, ...]:
        """Every template with every phrase, in every context and in none: without repeats, in a fixed order.

        A template that has no slot for the concept gives no pair.
        """
        found = {
            self.pair(template, phrase, context): None
            for context in ("", *self.contexts)
            for phrase in self.phrases
            for template in self.templates
        }
        return tuple(pair for pair in found if pair.prompt != pair.masked and pair.prompt)

    def beside(self, phrases: Collection[str]) -> Concept:
        """The concept without the contexts that are among `phrases`. Where "cat" is erased, "a cat in sketch style" cannot test *sketch*."""
        return replace(self, contexts=tuple(context for context in self.contexts if context not in phrases))

    def plain_pairs(self) -> tuple[PromptPair, ...]:
        """The plain phrase in the first template, in every context and in none. Evaluations ask for these."""
        return tuple(self.pair(self.templates[0], self.phrases[0], context) for context in ("", *self.contexts))

    def to_dict(self) -> dict[str, Any]:
        """What a manifest records. Templates and contexts are left out: they belong to the model."""
        return {"name": self.name, "kind": self.kind, "phrases": list(self.phrases)}


def apart(concepts: Sequence[Concept]) -> list[Concept]:
    """The concepts, without contexts that name one another.

    When *cat* and *sketch* are erased together, "a cat in sketch style" has two masked forms: "something in sketch style" and "a cat". They
    contradict each other. So *cat* loses the context "sketch", and *sketch* loses the context "a cat".
    """
    phrases = {phrase for concept in concepts for phrase in concept.phrases}
    return [concept.beside(phrases) for concept in concepts]


@dataclass(frozen=True)
class Catalog:
    """The concepts that a model declares, and the templates it knows (from its `excise.json`).

    A closed catalog refuses unknown names; an empty one takes any free text.
    """

    concepts: tuple[Concept, ...] = ()
    templates: tuple[str, ...] = GENERIC_TEMPLATES
    held_out: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Catalog:
        """Read the `concepts`, `templates` and `held_out_templates` of an `excise.json`."""
        templates = tuple(data.get("templates", GENERIC_TEMPLATES))
        entries = data.get("concepts", [])
        names = {kind: tuple(entry["phrases"][0] for entry in entries if entry["kind"] == kind) for kind in KINDS}
        concepts = tuple(
            Concept(
                entry["name"],
                entry["kind"],
                tuple(entry["phrases"]),
                names["object"] if entry["kind"] == "style" else names["style"],
                templates,
            )
            for entry in entries
        )
        return cls(concepts, templates, tuple(data.get("held_out_templates", ())))

    def of_kind(self, kind: str) -> tuple[Concept, ...]:
        """The declared concepts of one kind, in order."""
        return tuple(concept for concept in self.concepts if concept.kind == kind)

    def resolve(self, text: str, kind: str | None = None, also: tuple[str, ...] = ()) -> Concept:
        """The concept a user means by "cat", "style:sketch" or "member:owl".

        kind  for free text without a prefix; declared concepts know their own
        also  further phrases that name it

        Raises ValueError for empty text, an unknown kind, or a name that a closed catalog does not have.
        """
        prefix, colon, rest = text.strip().partition(":")
        if colon and prefix in KINDS:
            text, kind = rest, prefix
        elif colon and (meant := similar(prefix, KINDS, 0.7)):
            raise ValueError(
                f"{quoted(prefix)} is no kind; did you mean {meant}:{cut(rest)}? If the colon belongs to the name, "
                f"say what it is: object:{cut(text.strip())}"
            )
        text = text.strip()
        if not text:
            raise ValueError("a concept needs a name; this one is empty")
        if kind is not None and kind not in KINDS:
            raise ValueError(f"unknown kind {quoted(kind)}; {nearest(kind, KINDS)}")
        if self.concepts:
            concept = self._declared(text, kind)
        else:
            concept = self._free(text, kind or "object")
        phrases = tuple(dict.fromkeys((*concept.phrases, *also))) if also else concept.phrases
        return Concept(concept.name, concept.kind, phrases, concept.contexts, concept.templates)

    def recorded(self, entry: Mapping[str, Any]) -> Concept:
        """The concept that a manifest records (`Concept.to_dict`), with templates and contexts of the model."""
        name, kind, phrases = entry["name"], entry["kind"], tuple(entry["phrases"])
        contexts = GENERIC_CONTEXTS["style" if kind == "style" else "object"]
        contexts = next((own.contexts for own in self.concepts if (own.name, own.kind) == (name, kind)), contexts)
        return Concept(name, kind, phrases, contexts, self.templates)

    def _declared(self, text: str, kind: str | None) -> Concept:
        for concept in self.concepts:
            if concept.name.lower() == text.lower() and kind in (None, concept.kind):
                return concept
        known = [c.name for c in self.concepts if kind in (None, c.kind)]
        what = f"{kind} " if kind else "concept "
        raise ValueError(f"unknown {what}{quoted(text)}; {nearest(text, known)}")

    def _free(self, text: str, kind: str) -> Concept:
        contexts = GENERIC_CONTEXTS["style" if kind == "style" else "object"]
        return Concept(text, kind, (text,), contexts, self.templates)  # type: ignore[arg-type]
