"""Which tokens of a prompt name a concept, and how much of a prompt gradients reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excise.concepts import Concept, bare
from excise.erasure.prompt_bank import PromptBank
from excise.models import Model


@contextmanager
def start_token_detached(model: Model) -> Iterator[None]:
    """Inside the block no gradient reaches the entrances of the tokens through the start token, or what else every prompt begins with."""

    def detach(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.where(model.begins(output)[..., None], output.detach(), output)

    with ExitStack() as hooks:
        for layer in model.layers(model.entrances_of("tokens")).values():
            hooks.callback(layer.register_forward_hook(detach).remove)
        yield


def token_positions(model: Model, prompt: str, phrases: Sequence[str], *, end: bool = False) -> list[int]:
    """Where a prompt's tokens are those of a phrase: the longest phrase that it contains counts; [] if none.

    end  also the end token, which has read all the others
    """
    (parts,), named = model.segments([prompt]), [parts[0].ids for parts in model.segments(list(phrases))]
    for words in sorted(named, key=len, reverse=True):
        for part in parts:
            for first in range(len(part.ids) - len(words) + 1):
                if words and part.ids[first : first + len(words)] == words:
                    rows = range(part.first + first, part.first + first + len(words))
                    return [*rows, part.end] if end else [*rows]
    return []


def named_tokens(model: Model, bank: PromptBank, concepts: Sequence[Concept], *, end: bool) -> Tensor:
    """Which tokens of every prompt name its concept, (pairs, tokens) bool; `end` as above. Raises ValueError for a prompt that has none."""
    named = torch.zeros(bank.conditioned.tokens.shape[:2], dtype=torch.bool)
    for row, (pair, owner) in enumerate(zip(bank.pairs, bank.owner.tolist(), strict=True)):
        found = token_positions(model, pair.prompt, [bare(phrase) for phrase in concepts[owner].phrases], end=end)
        if not found:
            raise ValueError(
                f"prompt {pair.prompt!r} has no token of {concepts[owner].label}: there is no attention to take away"
            )
        named[row, found] = True
    return named
