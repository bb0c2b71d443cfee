"""P4D: prompts with which the erased model predicts what the base model predicts of the concept's prompt (arXiv 2309.06135).

It minimises || f_base(z_t, t, E(p)) - f_erased(z_t, t, E(p*)) ||^2 over states on the way to the base model's picture. Token rows
are continuous. Each step projects them to the nearest tokens, takes the gradient there and applies it to the continuous rows (PEZ).
P4D-N learns a whole prompt of N tokens, P4D-K one token before the prompt and one after every K of its own. The base model's
predictions are made once, for a pool of states per prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from excise.attacks import token_search
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.p4d import P4dSettings
from excise.attacks.victim import Victim
from excise.models import Model


def attack(victim: Victim, settings: P4dSettings) -> None:
    """Attack all prompts side by side, with one variant after the other."""
    budget = victim.budget
    fixed = budget.prompts * (settings.states + settings.tests * budget.cost())
    iterations = budget.iterations(settings.iterations, 3 * budget.prompts, fixed, shares=len(settings.variants))
    for variant in settings.variants:
        if iterations and victim.standing:
            _variant(victim, settings, variant, victim.standing, iterations)


def _variant(victim: Victim, settings: P4dSettings, variant: str, cases: Sequence[Case], iterations: int) -> None:
    model, randoms = victim.model, victim.draws.generators(cases, "p4d", variant)
    known = token_search.ordinary(model)
    table = model.token_embeddings.float()
    pool = Pool.of(victim, cases, settings.states, randoms)
    ids, free = _free(model, settings, variant, cases)
    counts = zip(free.sum(1).tolist(), randoms, strict=True)
    picks = known[torch.cat([torch.randint(len(known), (count,), generator=random) for count, random in counts])]
    soft = table[picks.to(table.device)].clone().requires_grad_(True)
    owner = free.nonzero()[:, 0]
    optimizer = torch.optim.AdamW([soft], lr=settings.lr, weight_decay=settings.weight_decay)
    tests = {round(iterations * (number + 1) / settings.tests) for number in range(settings.tests)}
    for iteration in range(1, iterations + 1):
        found = known[token_search.nearest(soft.detach(), table[known.to(table.device)])]
        if iteration in tests:
            _test(victim, cases, ids.masked_scatter(free, found.to(ids.device)), variant, iteration)
        soft.grad = torch.zeros_like(soft)
        for part in batches(model, len(cases)):
            mine = (owner >= part.start) & (owner < part.stop)
            hard = table[found[mine].to(table.device)].requires_grad_(True)
            pool.loss(model, part, ids[part], free[part], hard, randoms[part]).backward()
            assert hard.grad is not None
            soft.grad[mine] = hard.grad
        optimizer.step()


@dataclass(frozen=True)
class Pool:
    """States on the way to the base model's pictures, and its predictions there: (cases, states, c, h, w); t (cases, states)."""

    z: Tensor
    t: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, victim: Victim, cases: Sequence[Case], states: int, randoms: Sequence[Generator]) -> Pool:
        model, x = victim.model, victim.original.targets(cases)
        t = torch.stack([model.path.draw(states, random) for random in randoms], 1)
        z, predicted = [], []
        with victim.original.acting(), torch.no_grad():
            wanted = encode(model, [case.wanted for case in cases])
            for times in t:
                noised = model.path.noised(x, victim.draws.normal(randoms).to(x), times)
                z.append(noised)
                parts = [model.predict(noised[p], times[p], wanted[p]) for p in batches(model, len(cases))]
                predicted.append(torch.cat(parts))
        return cls(torch.stack(z, 1), t.T, torch.stack(predicted, 1))

    def loss(self, model: Model, part: slice, ids: Tensor, free: Tensor, rows: Tensor, randoms: Sequence[Generator]) -> Tensor:
        """Squared distance of the predictions at one random state of each prompt, summed over prompts."""
        z, t, wanted = self.z[part], self.t[part], self.predicted[part]
        pick = torch.cat([torch.randint(z.shape[1], (1,), generator=random) for random in randoms])
        each = torch.arange(len(z))
        told = model.token_embeddings.float()[ids].masked_scatter(free[..., None], rows)
        predicted = model.predict(z[each, pick], t[each, pick], model.encode_rows(ids, told))
        return (predicted - wanted[each, pick]).float().square().flatten(1).mean(1).sum()


def _free(model: Model, settings: P4dSettings, variant: str, cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """Token ids of every prompt and which of them are free."""
    room = model.room
    if variant == "n":
        return token_search.inserted(model, [""] * len(cases), min(settings.tokens, room))
    parts = []
    for case in cases:
        own = model.token_ids([case.asked])[0][1:-1]
        words, gaps = min(len(own), room * settings.every // (settings.every + 1)), token_search.gaps(model, own)
        places = [next(gap for gap in gaps if gap >= place) for place in range(0, words + 1, settings.every)]
        parts.append(token_search.inserted(model, [case.asked], len(places), places))
    return torch.cat([ids for ids, _ in parts]), torch.cat([free for _, free in parts])


def _test(victim: Victim, cases: Sequence[Case], ids: Tensor, variant: str, iteration: int) -> None:
    """Ask the cases that stand, each with its own tokens; ids (cases, tokens)."""
    here = victim.affordable(victim.budget.cost())
    if not here:
        return
    texts = [token_search.text(victim.model, ids[cases.index(case)].tolist()) for case in here]
    masked = ["" if variant == "n" else case.masked for case in here]
    notes = [
        {"prompt": text, "masked": rest, "variant": variant, "iteration": iteration}
        for text, rest in zip(texts, masked, strict=True)
    ]
    victim.submit(here, victim.ask(here, texts), notes)
