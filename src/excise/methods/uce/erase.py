"""UCE: send the text embeddings of a concept where those of a guide go, in one linear solve (arXiv 2308.14761)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.concepts import Concept, PromptPair
from excise.edits import Delta, WeightEdit
from excise.erasure import closed_form
from excise.erasure.joint_solve import Ledger, LedgerEntry
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.erasure.wording import expanded, preserved, worded
from excise.methods.uce import UceSettings
from excise.methods.uce.balance import balance, pushed
from excise.models import Model

_SHARED = ("ridge", "technique", "tokens", "preserve_weight", "keep_empty")
"""Settings that edits solved together must have in common."""


def erase(model: Model, concepts: Sequence[Concept], settings: UceSettings, run: Run) -> WeightEdit:
    """Solve for these concepts, and for those of earlier UCE edits on the model, at once."""

    def solve(settings: UceSettings) -> WeightEdit:
        ledger = Ledger.of(model, "uce", concepts, settings, same=_SHARED)
        return ledger.finish(model, _deltas(model, ledger), run)

    if settings.pushes is not None and (not settings.attributes or len(settings.pushes) != len(concepts)):
        raise ValueError(f"pushes need attributes, and a row for each of the {len(concepts)} concepts")
    if settings.attributes and settings.pushes is None:
        return balance(model, concepts, settings, solve, run)
    return solve(settings)


def _deltas(model: Model, ledger: Ledger[UceSettings]) -> dict[str, Delta]:
    """The change of all weights through which words enter."""
    held = preserved(model, ledger.concepts, [entry.settings.preserve for entry in ledger.entries])
    named = [text for entry in ledger.entries for text in _prompts(entry)]
    phrases = [phrase for concept in ledger.concepts for phrase in concept.phrases]
    found: dict[str, Delta] = {}
    for way, bank in TextRows.by_way(model, ["", *held, *named], phrases).items():
        found |= _solved(bank, ledger, held, ledger.weights(model, model.entrances_of(way)))
    return found


def _solved(bank: TextRows, ledger: Ledger[UceSettings], held: Sequence[str], weights: dict[str, Tensor]) -> dict[str, Delta]:
    """The change of the weights of one way in; `held` are the prompts to preserve."""
    settings = ledger.settings
    edited = [part for entry in ledger.entries for part in _edited(bank, entry)]
    rows, guides, strength = (torch.cat(column) for column in zip(*edited, strict=True))
    keep = bank.stacked(held, last=settings.tokens == "last")
    if settings.keep_empty:
        keep = torch.cat([keep, bank.all("")])
    count = max(len(held) + settings.keep_empty, 1)
    weight = max(0.1, 1 / count) if settings.preserve_weight is None else settings.preserve_weight
    keep_strength = torch.full((len(keep),), weight, dtype=torch.float64)

    if settings.technique == "replace":
        return closed_form.redirect(rows, guides, strength, keep, keep_strength, settings.ridge).deltas(weights)
    block = torch.arange(len(edited)).repeat_interleave(torch.tensor([len(part[0]) for part in edited]))
    gain = closed_form.gain(rows, strength, keep, keep_strength, settings.ridge)
    return closed_form.deltas(weights, lambda weight: away(weight @ rows.T, weight @ guides.T, block), gain)


def _pairs(concept: Concept, settings: UceSettings) -> list[PromptPair]:
    """The prompts to edit with their guides (the 2023 release does not expand a given guide)."""
    both = settings.tokens == "last" or settings.guide is None
    return expanded(worded(concept, settings.wording, settings.guide), settings.expand, guide_too=both)


def _prompts(entry: LedgerEntry[UceSettings]) -> list[str]:
    pairs = [pair for concept in entry.concepts for pair in _pairs(concept, entry.settings)]
    return [text for pair in pairs for text in (pair.prompt, pair.masked)] + list(entry.settings.attributes)


def _edited(bank: TextRows, entry: LedgerEntry[UceSettings]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows, guide rows and strengths of every prompt to edit."""

    settings, parts = entry.settings, []
    for number, concept in enumerate(entry.concepts):
        for pair in _pairs(concept, settings):
            if settings.pushes is None:
                rows, guides = bank.paired(pair.prompt, pair.masked, settings.tokens)
            else:
                rows, guides = pushed(bank, pair.prompt, settings.attributes, settings.pushes[number], settings.tokens)
            parts.append((rows, guides, rows.new_full((len(rows),), settings.erase_weight)))
    return parts


def away(old: Tensor, guide: Tensor, block: Tensor) -> Tensor:
    """Change of outputs of the `tensor` technique: V_g - <u, V_g> u - V_c, u = V_c / ||V_c||, inner products over a prompt's whole block.

    old, guide (out, rows) outputs V_c and V_g; block (rows,) int64, the prompt that a row belongs to
    """

    sums = torch.zeros(2, int(block.max()) + 1, dtype=old.dtype)
    sums.index_add_(1, block, torch.stack([(old * guide).sum(0), old.square().sum(0)]))
    return guide - old * (1 + (sums[0] / sums[1])[block])
