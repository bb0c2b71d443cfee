"""Values of cross-attention, solved on sampled states: what a head reads of a prompt with the words becomes what it reads without them.

The start (`start.py`) maps rows to rows. A head reads no row: it reads a mixture, in which rows weigh as its queries and keys say, and a prompt
with more words shares its attention among more rows. So the values of every head are solved once more. Their change X minimises

    mean |X u - (read without the words - read with them)|^2  +  hold E|X c|^2        over pixels of sampled states; u = sum_j p_j c_j,

p being the head's probabilities after the start, and the second term what others feel (`metric.py`). Queries stay as they are. (Ours; it is
to a layer's output what UCE's least squares, arXiv 2308.14761, is to its rows.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from excise.erasure.prompt_bank import PromptBank
from excise.erasure.states import States
from excise.erasure.trainable import Trainable
from excise.methods.mim import MimSettings
from excise.models import Model
from excise.models.attending import Attended
from excise.models.team import Team

SEEN = 1e-6
"""Directions in which the prompts stand out from random text by less than this share of the largest (squared) are left out (ours): they
cost memory, and rounding decides what is done in them."""


@torch.no_grad()
def align_reads(
    model: Model,
    bank: PromptBank,
    states: States,
    without: Callable[[Tensor], Tensor],
    weights: Tensor,
    trainable: Trainable,
    felt: Tensor,
    settings: MimSettings,
) -> None:
    """Change the values that are trained; a model without such layers (`Model.attending`) stays as it is.

    without rows (k,) of the states -> asks the frozen model there for the prompts without the words
    weights (n,) of the states, mean one
    felt    S = E[c c^T] of the tokens' rows (width, width), float64
    """
    told = bank.conditioned[states.row.unique()].tokens
    basis = _basis(told.flatten(0, 1).cpu().double(), felt, settings.ridge)
    found: dict[str, Sums] = {}
    rows, shared = torch.arange(len(states)), model.team.shares(len(states))
    with model.team.apart():
        for part in rows[model.team.part(len(states)) if shared else slice(None)].split(model.batch(64)):
            x, t, prompt = states.latents[part], states.t[part], states.row[part]
            wanted: dict[str, Tensor] = {}
            with model.attending(lambda layer, wanted=wanted: wanted.update({layer.value: layer.read})):  # type: ignore[misc]
                without(part)
            if not wanted:
                return
            seen = bank.conditioned[prompt].tokens.float() @ basis.to(told.device, torch.float32)
            with model.attending(partial(_add, found, wanted, seen, weights[part].sqrt().to(seen))):
                model.predict(x, t, bank.conditioned[prompt])
    if shared:
        found = {name: sums.summed(model.team) for name, sums in found.items()}
    for name, sums in found.items():
        if name in trainable.parameters:
            weight = trainable.parameters[name]
            weight.add_((sums.change(settings.hold) @ basis.T).to(weight))


@dataclass
class Sums:
    """Over pixels of states, of every head of a layer: gram of u (heads, k, k), of what it should read more and u (heads, d, k); how many."""

    gram: Tensor
    pull: Tensor
    count: int

    def summed(self, team: Team) -> Sums:
        """Those of all processes together."""
        return Sums(team.summed(self.gram), team.summed(self.pull), int(team.summed(torch.tensor(self.count))))

    def change(self, hold: float) -> Tensor:
        """X of all heads, one below the other, (heads d, k) float64."""
        held = hold * torch.eye(self.gram.shape[-1], dtype=self.gram.dtype)
        return torch.linalg.solve(self.gram / self.count + held, self.pull / self.count, left=False).flatten(0, 1)


def _add(found: dict[str, Sums], wanted: dict[str, Tensor], seen: Tensor, roots: Tensor, layer: Attended) -> None:
    """Add the pixels of some states; seen (b, tokens, k) are their rows, roots (b,) those of their weights."""
    mixed = layer.probabilities().float() @ seen[:, None]
    more = layer.by_head((wanted.pop(layer.value) - layer.read).float())
    mixed, more = ((side * roots[:, None, None, None]).transpose(0, 1).flatten(1, 2) for side in (mixed, more))
    gram, pull = ((side.mT @ mixed).cpu().double() for side in (mixed, more))
    sums = found.setdefault(layer.value, Sums(torch.zeros_like(gram), torch.zeros_like(pull), 0))
    sums.gram, sums.pull, sums.count = sums.gram + gram, sums.pull + pull, sums.count + mixed.shape[1]


def _basis(rows: Tensor, felt: Tensor, ridge: float) -> Tensor:
    """Q (width, k): a change X Q^T is felt by random text as |X|^2, and acts on all in which the rows (n, width) stand out from it."""
    factor = torch.linalg.cholesky(felt + ridge * felt.diagonal().mean() * torch.eye(len(felt), dtype=felt.dtype))
    white = torch.linalg.solve_triangular(factor, rows.unique(dim=0).T, upper=False)
    values, vectors = torch.linalg.eigh(white @ white.T)
    kept = vectors[:, values > SEEN * values[-1]]
    return torch.linalg.solve_triangular(factor.T, kept, upper=True)
