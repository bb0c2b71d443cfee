"""The context: how many tokens of a prompt a text encoder reads, and what is lost of longer prompts. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from excise.concepts import Concept

if TYPE_CHECKING:
    from excise.models.model import Model

SHOWN = 200
"""Characters of a prompt that a message shows."""


def room(tokenizer: Any, length: int | None = None) -> int:
    """Tokens of a prompt that are read: the context without the tokens that begin and end every prompt.

    length  tokens of the context; default the tokenizer's
    """
    return (length or tokenizer.model_max_length) - len(tokenizer("").input_ids)


def left_out(tokenizer: Any, prompts: Sequence[str], length: int | None = None) -> dict[str, str]:
    """The end that is cut off each prompt that is longer than the context, by prompt, in the order given; `length` as of `room`."""
    first = (length or tokenizer.model_max_length) - 1
    distinct = [prompt for prompt in dict.fromkeys(prompts) if not _certainly_fits(prompt, first + 1)]
    if not distinct:
        return {}
    places = tokenizer(distinct, return_offsets_mapping=True, verbose=False).offset_mapping
    return {prompt: prompt[at[first][0] :] for prompt, at in zip(distinct, places, strict=True) if len(at) > first + 1}


def _certainly_fits(prompt: str, length: int) -> bool:
    """Whether a prompt cannot have more tokens than that: one a letter, two around them, one that some tokenizers put before a word."""
    return prompt.isascii() and len(prompt) + 3 <= length


def tell_cut(model: Model, prompts: Sequence[str]) -> None:
    """Warn in one line of the prompts that are cut; of each once in a model's life."""
    cut = {prompt: rest for prompt, rest in model.left_out(prompts).items() if prompt not in model.told_cut}
    if not cut:
        return
    model.told_cut |= cut.keys()
    prompt, rest = next(iter(cut.items()))
    warnings.warn(
        f"{len(cut)} of {len(set(prompts))} prompts are longer than the {model.room} tokens that {model.name} reads, and are cut; "
        f"the first is {_shown(prompt)}, of which {_shown(rest)} is left out",
        stacklevel=2,
    )


def check_read(model: Model, concepts: Sequence[Concept]) -> None:
    """Raise ValueError for a concept whose words are cut off any of its prompts, so that the model would be asked for something else."""
    for concept in concepts:
        named = {
            pair.prompt: phrase
            for context in ("", *concept.contexts)
            for template in concept.templates
            for phrase in concept.phrases
            if (pair := concept.pair(template, phrase, context)).prompt != pair.masked
        }
        for prompt, rest in model.left_out(list(named)).items():
            words = " ".join(named[prompt].split()).strip(" ,:")
            if words not in prompt[: len(prompt) - len(rest)]:
                raise ValueError(
                    f"{model.name} reads {model.room} tokens of a prompt, too few for {_shown(concept.label)}: "
                    f"of {_shown(prompt)} it does not see {_shown(rest)}; name the concept in fewer words"
                )


def read_in_chunks(model: Model, concepts: Sequence[Concept]) -> bool:
    """Whether the model reads a prompt of the concepts in several chunks, where it would otherwise cut it."""
    prompts = [text for concept in concepts for pair in concept.pairs() for text in (pair.prompt, pair.masked)]
    return model.long_prompts == "chunk" and any(len(parts) > 1 for parts in model.segments(list(dict.fromkeys(prompts))))


def _shown(text: str) -> str:
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}..."
