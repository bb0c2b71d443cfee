"""Prompts with room for tokens of an attacker's own, and which tokens a prompt can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from excise.models import Model


def padded(model: Model, ids: Sequence[Sequence[int]]) -> Tensor:
    """Token ids filled up to the context's length, (prompts, tokens) int64; `ids` have their start and end.

    Raises ValueError for a prompt that is too long.
    """
    tokenizer = model.tokenizer
    length, pad = tokenizer.model_max_length, tokenizer.pad_token_id
    longest = max(map(len, ids))
    if longest > length:
        raise ValueError(f"a prompt of {longest} tokens does not fit into the text encoder's {length}")
    return torch.tensor([[*row, *[pad] * (length - len(row))] for row in ids], device=model.device)


def inserted(model: Model, prompts: Sequence[str], count: int, places: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Prompts with room for `count` free tokens: padded ids, and which of them are free, both (prompts, tokens).

    places for each free token, how many of the prompt's own tokens stand before it; by default none

    A prompt that leaves too little room is cut.
    """
    places = [0] * count if places is None else places
    ids, free = [], []
    limit = model.room + 2 - count
    for own in model.token_ids(prompts):
        own = own if len(own) <= limit else [*own[: limit - 1], own[-1]]
        start, words, end = own[0], own[1:-1], own[-1]
        row, marks = [start], [False]
        for position in range(len(words) + 1):
            here = sum(min(place, len(words)) == position for place in places)
            tail = words[position : position + 1]
            row += [start] * here + tail  # any token but the end, by which `Model.encode_rows` sees where a prompt ends
            marks += [True] * here + [False] * len(tail)
        ids.append([*row, end])
        free.append([*marks, False])
    padded_ids = padded(model, ids)
    mask = torch.zeros_like(padded_ids, dtype=torch.bool)
    for index, marks in enumerate(free):
        mask[index, : len(marks)] = torch.tensor(marks)
    return padded_ids, mask


def text(model: Model, ids: Sequence[int]) -> str:
    """The words that token ids spell, without start, end and padding. Read again, `ordinary` tokens give the same ids."""
    return _texts(model.tokenizer, [ids])[0]


def _texts(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """The words of each row. Spaces are not tidied: "do n't" and "don't" are different tokens."""
    special = set(tokenizer.all_special_ids)
    words = [[int(i) for i in row if int(i) not in special] for row in rows]
    return [word.strip() for word in tokenizer.batch_decode(words, clean_up_tokenization_spaces=False)]


def ordinary(model: Model) -> Tensor:
    """Ids of the tokens that a prompt may be made of, (n,) int64: those whose text is read as these tokens, alone and side by side.

    Published attacks search the whole vocabulary. They spell the tokens that they find, and test how that text is read: mostly as other
    tokens (docs/research/audit/method.md says how often). Here, what is tested is what was optimised.
    """
    return torch.tensor(_readable(model.tokenizer))


@lru_cache(maxsize=4)
def _readable(tokenizer: Any) -> tuple[int, ...]:
    """What `ordinary` gives. Pieces of words are left out, for alone they are read as whole words; so are pieces of characters."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    read = tokenizer(_texts(tokenizer, [[i] for i in ids]), add_special_tokens=False).input_ids
    return tuple(i for i, again in zip(ids, read, strict=True) if again == [i])


def gaps(model: Model, words: Sequence[int]) -> list[int]:
    """Places where other tokens may stand in a prompt of these words without changing how the words are read.

    A place is the number of words' tokens before it; the start and the end are always among them.
    """
    tokenizer, inner = model.tokenizer, range(1, len(words))
    heads, tails = (
        _texts(tokenizer, rows) for rows in ([words[:place] for place in inner], [words[place:] for place in inner])
    )
    read = model.token_ids([f"{head} {tail}" for head, tail in zip(heads, tails, strict=True)]) if inner else []
    return [0, *(place for place, ids in zip(inner, read, strict=True) if ids[1:-1] == list(words)), len(words)]


def nearest(rows: Tensor, table: Tensor) -> Tensor:
    """For each row, the index of the table's row with the largest cosine to it, (n,) int64 on the CPU."""
    return (normalize(rows, dim=1) @ normalize(table, dim=1).T).argmax(1).cpu()
