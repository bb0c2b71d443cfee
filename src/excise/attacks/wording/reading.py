"""Whether a model's tokenizer has words for a wording."""

from __future__ import annotations

import re

from excise.attacks.wording.making import OtherWording
from excise.concepts import Concept, bare
from excise.models import Model
from excise.results.audit_result import Reading

LEAST = 2.0
"""Bytes that a token of a wording stands for, in the mean (ours): below it, the wording falls apart into letters, or its signs into bytes."""

NOBODYS = "\ue000"
"""A sign that no text has (Unicode: private use): its tokens stand for what a tokenizer does not know."""


def reading(model: Model, concept: Concept, wording: OtherWording) -> Reading:
    """Whether one of the model's text encoders is given words for the wording, and whether they are those of one of the concept's phrases.

    One that has a phrase in it, such as "a little cat", is read. What is read may say nothing to the model nevertheless: the base model's
    pictures tell.
    """
    prompt = wording.pair(concept, "").prompt
    if wording.phrase.strip(" ,:") not in as_read(model, prompt):
        return "not read"
    if wording.template is None and _tokens(model, bare(wording.phrase)) in [
        _tokens(model, bare(one)) for one in concept.phrases
    ]:
        return "as a phrase"
    if any(re.search(rf"\b{re.escape(bare(own))}\b", wording.phrase) for own in concept.phrases):
        return "read"
    words, unknown = bare(wording.phrase), _tokens(model, NOBODYS)
    size = len(words.replace(" ", "").encode())
    read = (
        bool(ids) and size / len(ids) >= LEAST and not set(ids) & set(nobodys)
        for ids, nobodys in zip(_tokens(model, words), unknown, strict=False)
    )
    return "read" if any(read) else "not read"


def as_read(model: Model, prompt: str) -> str:
    """The prompt up to the last whole word that the model reads."""
    while rest := model.left_out([prompt]).get(prompt):
        prompt = prompt[: len(prompt) - len(rest)].rstrip()
        prompt = prompt.rsplit(" ", 1)[0] if " " in prompt else ""
    return prompt


def _tokens(model: Model, text: str) -> list[tuple[int, ...]]:
    """Token ids of a text, by the part of the model's rows that they are in."""
    return [segment.ids for segment in model.segments([text])[0]]
