"""CURE: project the concept's subspace, weighted by its spectrum, out of what keys and values read (arXiv 2505.12677)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import Delta, WeightEdit
from excise.erasure.closed_form import TextMap
from excise.erasure.joint_solve import Ledger
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.erasure.wording import preserved, worded
from excise.methods.cure import CureSettings
from excise.models import Model

NOISE = 1e-6
"""Singular values this small beside the largest are rounding of float32 embeddings; a large alpha would blow them up to full strength."""


def erase(model: Model, concepts: Sequence[Concept], settings: CureSettings, run: Run) -> WeightEdit:
    """One map for all keys and values: W (I - P_dis). Earlier joint CURE edits on the model are solved again along with this one."""

    joint = settings.compose == "joint"
    same = [key for key in CureSettings.model_fields if key != "retain"]
    ledger = Ledger.of(model, "cure", concepts, settings, same=same, joint=joint)
    retain = _retained(model, ledger.concepts, [entry.settings for entry in ledger.entries])
    groups = [ledger.concepts] if joint else [[concept] for concept in ledger.concepts]
    forget = [[pair.prompt for c in group for pair in worded(c, settings.wording, None)] for group in groups]
    deltas: dict[str, Delta] = {}
    measured: dict[str, float | None] = {}
    for way, bank in TextRows.by_way(model, [*retain, *(prompt for group in forget for prompt in group)]).items():
        total = _solved(bank, forget, retain, settings)
        deltas |= total.deltas(ledger.weights(model, model.entrances_of(way)))
        measured |= {
            name if way == "tokens" else f"{name}_{way}": kept for name, kept in _kept(bank, total, forget, retain, settings)
        }
    return ledger.finish(model, deltas, run).with_measurements(measured)


def _solved(bank: TextRows, forget: Sequence[Sequence[str]], retain: Sequence[str], settings: CureSettings) -> TextMap:
    """The map of one way in: of every group of prompts to forget one eraser, one after the other."""
    total = TextMap.identity(bank.width)
    for group in forget:
        rows, rest = (_rows(bank, prompts, settings.tokens) for prompts in (group, retain))
        total = total.then(eraser(*centred(rows, rest, settings.centre), settings.alpha))
    return total


def _kept(
    bank: TextRows, total: TextMap, forget: Sequence[Sequence[str]], retain: Sequence[str], settings: CureSettings
) -> Iterator[tuple[str, float | None]]:
    """The share of their length that the rows to forget and those to retain keep."""
    for name, prompts in (("forget", [prompt for group in forget for prompt in group]), ("retain", retain)):
        rows = _rows(bank, prompts, settings.tokens)
        yield f"kept_{name}", float(total.apply(rows).norm() / rows.norm()) if len(rows) else None


def expansion(energy: Tensor, alpha: float) -> Tensor:
    """f(r; alpha) = alpha r / ((alpha - 1) r + 1), from a direction's share of the energy to how much of it is taken out, 0 to 1."""
    return alpha * energy / ((alpha - 1) * energy + 1)


def spectrum(rows: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Directions (k, in) that embeddings (n, in) span, and their expanded energies (k,); P = directions^T diag(energies) directions."""

    if len(rows) > rows.shape[1]:
        rows = torch.linalg.qr(rows, mode="r")[1]  # the same singular values and directions, from fewer rows
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    keep = values > NOISE * values[:1]
    energy = values[keep].square()
    return directions[keep], expansion(energy / energy.sum(), alpha)


def eraser(forget: Tensor, retain: Tensor, alpha: float) -> TextMap:
    """I - P_f (I - P_r), for embeddings (n, in) to forget and (m, in) to retain; m may be 0.

    Acts on a column x as (I - P_r) first: directions that the retain set covers fully are left as they were.
    """

    directions, energy = spectrum(forget, alpha)
    right = directions
    if len(retain):
        others, weight = spectrum(retain, alpha)
        right = directions - ((directions @ others.T) * weight) @ others
    return TextMap(-directions.T * energy, right)


def centred(forget: Tensor, retain: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Both sets of rows without the mean that all prompts share (taken from the retain rows if there are any), or without its direction."""
    if how == "none":
        return forget, retain
    mean = (retain if len(retain) else forget).mean(0)
    if how == "mean":
        return forget - mean, retain - mean
    unit = mean / mean.norm()
    return forget - (forget @ unit)[:, None] * unit, retain - (retain @ unit)[:, None] * unit


def _retained(model: Model, concepts: Sequence[Concept], settings: Sequence[CureSettings]) -> list[str]:
    lists = [s.retain for s in settings]
    listed = preserved(model, concepts, [prompts for prompts in lists if prompts != "masked"])
    if "masked" not in lists:
        return listed
    masked = [pair.masked for concept in concepts for pair in worded(concept, settings[-1].wording, None)]
    return list(dict.fromkeys([*listed, *masked, ""]))


def _rows(bank: TextRows, prompts: Sequence[str], tokens: str) -> Tensor:
    """The chosen rows of several prompts, (n, in)."""

    parts = [bank.stacked([])]
    for prompt in prompts:
        content, end = bank.content(prompt), bank.end(prompt)
        if tokens == "all":
            parts.append(bank.all(prompt))
        elif tokens == "mean":
            parts.append(content.mean(0, keepdim=True) if len(content) else end)
        else:
            parts += [part for part, name in ((content, "content"), (end, "end")) if name in tokens]
    return torch.cat(parts)
