"""RECE: after a UCE edit, find the embedding that still brings the concept back, send that away too, repeat (arXiv 2407.12383)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.concepts import Concept, PromptPair
from excise.edits import Delta, WeightEdit
from excise.erasure import closed_form
from excise.erasure.closed_form import TextMap
from excise.erasure.joint_solve import Ledger
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.erasure.wording import preserved, worded
from excise.methods.rece import ReceSettings
from excise.models import Model


def erase(model: Model, concepts: Sequence[Concept], settings: ReceSettings, run: Run) -> WeightEdit:
    """A UCE edit and `rounds` of regeneration, for these concepts and those of earlier RECE edits on the model at once.

    The released script keeps the round that a detector likes best; here all rounds count, and `rounds` is the budget.
    """

    ledger = Ledger.of(model, "rece", concepts, settings, same=[k for k in ReceSettings.model_fields if k != "preserve"])
    held = preserved(model, ledger.concepts, [entry.settings.preserve for entry in ledger.entries])
    pairs = [pair for concept in ledger.concepts for pair in worded(concept, settings.wording, settings.guide)]
    prompts = [text for pair in pairs for text in (pair.prompt, pair.masked)]
    phrases = [phrase for concept in ledger.concepts for phrase in concept.phrases]
    deltas: dict[str, Delta] = {}
    for way, bank in TextRows.by_way(model, ["", *held, *prompts], phrases).items():
        weights = ledger.weights(model, model.entrances_of(way))
        deltas |= _solved(bank, ledger, held, pairs, weights).deltas(weights)
    return ledger.finish(model, deltas, run)


def _solved(
    bank: TextRows, ledger: Ledger[ReceSettings], held: Sequence[str], pairs: Sequence[PromptPair], weights: dict[str, Tensor]
) -> TextMap:
    """The map of one way in; `held` are the prompts to preserve, `pairs` those to edit with their guides."""
    settings = ledger.settings
    keep = bank.stacked([*held, *[""] * (len(ledger.concepts) if settings.keep_empty == "per-concept" else 1)])

    start = closed_form.TextMap.identity(keep.shape[1])
    if settings.base == "uce":
        rows, guides = (
            torch.cat(c) for c in zip(*(bank.paired(p.prompt, p.masked, settings.base_tokens) for p in pairs), strict=True)
        )
        base_keep = bank.stacked(["", *held])
        start = closed_form.redirect(
            rows, guides, torch.full((len(rows),), settings.erase_weight, dtype=torch.float64),
            base_keep, torch.full((len(base_keep),), settings.base_preserve_weight, dtype=torch.float64), settings.base_ridge,
        )  # fmt: skip
    rows, guides = (torch.cat(c) for c in zip(*(bank.paired(p.prompt, p.masked, settings.tokens) for p in pairs), strict=True))
    return regenerated_away(weights, start, rows, guides, keep, settings)


def regenerated_away(
    weights: dict[str, Tensor], start: TextMap, rows: Tensor, guides: Tensor, keep: Tensor, settings: ReceSettings
) -> TextMap:
    """The map after all rounds, starting from the map of a base edit.

    weights  the original matrices W0
    rows     (n, in) the concept's embeddings C; guides (n, in) where what brings them back is sent; keep (m, in)

    Every round: C' = argmin sum ||W C' - W0 C||^2 + lambda_r ||C'||^2, then the UCE solve C' -> guides from the *current* W. All W are
    W0 (I + map), so sum W^T W and sum W^T W0 are computed once and follow every map as changes of its rank.
    """

    strength = torch.full((len(rows),), settings.erase_weight, dtype=torch.float64)
    keep_strength = torch.full((len(keep),), settings.preserve_weight, dtype=torch.float64)
    total = start
    if settings.rounds:
        cross = start.pull(closed_form.gram(weights, rows.shape[1]))  # sum W^T W0
        own = start.pull(cross.T)  # sum W^T W
    for _ in range(settings.rounds):
        found = regenerate(own, cross, rows, settings.regeneration_ridge)
        step = closed_form.redirect(found, guides, strength, keep, keep_strength, settings.ridge)
        total, cross, own = total.then(step), step.pull(cross), step.pull(step.pull(own).T)
    return total


def regenerate(own: Tensor, cross: Tensor, rows: Tensor, ridge: float) -> Tensor:
    """The embeddings that make edited weights W give what W0 gave for `rows`: (ridge I + sum W^T W)^-1 (sum W^T W0) c, (n, in).

    own = sum W^T W and cross = sum W^T W0, both (in, in); rows (n, in)
    """

    system = own + ridge * torch.eye(len(own), dtype=own.dtype)
    factor, problem = torch.linalg.cholesky_ex(system)
    if problem:
        raise ValueError(f"regeneration_ridge={ridge:g} is too small here; use a larger one")
    return torch.cholesky_solve(cross @ rows.T, factor).T
