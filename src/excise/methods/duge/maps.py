"""Attention maps of DUGE: what they should be, and how far they are from it. A map is (b, heads, pixels, tokens); its rows sum to 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.erasure.attention import named_tokens
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.targets import predictions
from excise.methods.duge import DugeSettings
from excise.models import Conditioning, Model


@torch.no_grad()
def targets(model: Model, noisy: Tensor, t: Tensor, bank: PromptBank, rows: Tensor, settings: DugeSettings) -> list[Tensor]:
    """The maps that prompts should have in every layer, by the network as it is now.

    noisy (b, c, h, w); t (b,); rows (b,) of the bank
    """
    told = {
        "null": [bank.empty],
        "negated": [bank.empty, bank.conditioned[rows]],
        "anchor": [bank.masked[rows]],
    }[settings.target]
    with model.attention_maps() as maps:
        predictions(model, noisy, t, *told)
    if settings.target != "negated":
        return maps
    halves = [both.float().chunk(2) for both in maps]
    return [negated(empty, own, settings.eta) for empty, own in halves]


def negated(empty: Tensor, own: Tensor, eta: float) -> Tensor:
    """Maps led away from the concept: empty - eta (own - empty) where that is positive, its rows scaled to sum 1 (reconstructed).

    Before the cut a row sums to 1, after it to at least 1, so that there is always something to scale.
    """
    away = (empty - eta * (own - empty)).relu()
    return away / away.sum(3, keepdim=True)


def map_error(maps: Sequence[Tensor], targets: Sequence[Tensor], columns: Tensor) -> Tensor:
    """Mean square difference over heads, pixels and the chosen tokens of a layer, then over layers, (b,).

    columns (b, tokens) bool, at least one a row
    """
    chosen = columns.to(maps[0].device)
    errors = []
    for found, target in zip(maps, targets, strict=True):
        squares = (found.float() - target.float()).square().mean((1, 2))
        errors.append((squares * chosen).sum(1) / chosen.sum(1))
    return torch.stack(errors).mean(0)


def columns(model: Model, bank: PromptBank, concepts: Sequence[Concept], settings: DugeSettings) -> Tensor:
    """The tokens of every prompt whose attention counts, (pairs, tokens) bool.

    "words" are the concept's and, because they have read it, the end token and the padding: most attention goes to the start token, which
    knows nothing of the prompt.
    """
    if settings.columns == "all":
        return torch.ones(bank.conditioned.tokens.shape[:2], dtype=torch.bool)
    found = named_tokens(model, bank, concepts, end=False)
    for row, pair in enumerate(bank.pairs):
        found[row, model.segments([pair.prompt])[0][-1].end :] = True
    return found


def fitting(model: Model, bank: PromptBank) -> PromptBank:
    """The bank with the empty prompt in the place of anchors whose tokens do not stand where the prompt's do: their maps do not compare.

    Raises ValueError if no anchor fits.
    """

    def places(prompt: str) -> list[tuple[int, int, int]]:
        return [(part.first, len(part.ids), part.end) for part in model.segments([prompt])[0]]

    fits = [places(pair.prompt) == places(pair.masked) for pair in bank.pairs]
    if not any(fits):
        pair = bank.pairs[0]
        raise ValueError(
            f"no anchor has as many tokens as the prompt it is for, such as {pair.masked!r} for {pair.prompt!r}; give another anchor, "
            "or target=null"
        )
    chosen = [bank.masked[row] if fit else bank.empty for row, fit in enumerate(fits)]
    return replace(bank, masked=Conditioning.join(chosen))
