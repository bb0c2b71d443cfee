"""Random words of the tokenizer's vocabulary, alone or in a concept's place: text that nobody chose, standing for all other text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Generator

from excise.concepts import Concept, fill
from excise.erasure.prompt_bank import PromptBank
from excise.models import Model

ARTICLES = {"a", "an"}
STRINGS, WORDS = 512, 12
"""Random strings that stand for all prompts, and words in the longest (ours: twice as many change nothing on the canvas)."""
PROMPTS = 1024
"""Prompts with a random word in a concept's place that stand for all prompts (ours: on the canvas each word once or twice)."""


def random_strings(model: Model, bank: PromptBank, generator: Generator) -> list[str]:
    """Strings of 1 to `WORDS` words, none of them a word that only the prompts to erase have."""
    erased = {word for pair in bank.pairs for word in _words(pair.prompt) - _words(pair.masked)}
    words = vocabulary(model, erased)
    lengths = torch.randint(1, WORDS + 1, (STRINGS,), generator=generator).tolist()
    return [
        " ".join(words[i] for i in torch.randint(len(words), (length,), generator=generator).tolist()) for length in lengths
    ]


def random_prompts(
    model: Model, concept: Concept, count: int, generator: Generator, *, avoid: Collection[str] = ()
) -> list[str]:
    """The concept's templates with a random word in its place, none of them a word of its phrases or one to avoid; every word equally often."""
    return in_place(vocabulary(model, {*avoid, *words_of(concept)}), concept, count, generator)


def in_place(words: Sequence[str], concept: Concept, count: int, generator: Generator) -> list[str]:
    """The concept's templates with random ones of the words in its place, every word equally often."""
    contexts = ("", *concept.contexts)
    turns = torch.cat([torch.randperm(len(words), generator=generator) for _ in range(-(-count // len(words)))])[:count]
    around = torch.randint(2**31, (count, 2), generator=generator)
    return [
        concept.pair(concept.templates[i % len(concept.templates)], words[turn], contexts[k % len(contexts)]).prompt
        for turn, (i, k) in zip(turns.tolist(), around.tolist(), strict=True)
    ]


def words_of(concept: Concept) -> set[str]:
    """The words of its phrases."""
    return {word for phrase in concept.phrases for word in _words(phrase)}


def declared_words(model: Model) -> set[str]:
    """Words that name a concept the model declares and that its templates do not have anyway ("a", "style")."""
    plain = {word for template in model.catalog.templates for word in _words(fill(template, object="", style=""))}
    return {word for concept in model.catalog.concepts for word in words_of(concept)} - plain - ARTICLES


def vocabulary(model: Model, avoid: Collection[str]) -> list[str]:
    """The words of letters alone that the tokenizer has as one token, but for those to avoid, in order."""
    return [word for word in model.words() if word not in avoid]


def _words(prompt: str) -> set[str]:
    return {word.strip(".,:;!?\"'()") for word in prompt.lower().split()}
