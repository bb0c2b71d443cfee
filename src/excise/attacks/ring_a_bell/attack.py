"""Ring-A-Bell: tokens whose text embedding is that of a prompt plus the concept's direction (arXiv 2310.10012).

The direction is c = mean_i [E(p_i with the concept) - E(p_i without)], of the whole last hidden state. The tokens minimise
|| E(p') - E(p) - eta c ||^2. Only the text encoder of the base model is asked; the erased model sees the found prompt alone. The
search is the published genetic algorithm, or goes by gradients on projected tokens (PEZ; ours). The authors' loop also mutates the
survivors, so it may lose its best one; here the best one is left untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from excise.attacks import token_search
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.ring_a_bell import GradientSettings, RingABellSettings
from excise.attacks.victim import Victim
from excise.models import Model


def genetic(victim: Victim, settings: RingABellSettings) -> None:
    """Search with a population for every prompt."""
    cases = victim.affordable(victim.budget.cost())
    if not cases:
        return
    found: list[Tensor] = []
    with victim.original.acting(), torch.no_grad():
        goals = targets(victim, cases, settings.eta)
        for goal, random in zip(goals, victim.draws.generators(cases, "genes"), strict=True):
            tick = partial(_tell, victim, len(found) * settings.generations, len(cases) * settings.generations)
            found.append(evolved(victim.model, goal, settings, random, tick))
    _try(victim, cases, torch.stack(found), {"generations": settings.generations})


def gradient(victim: Victim, settings: GradientSettings) -> None:
    """Search by gradients, for all prompts side by side."""
    cases = victim.affordable(victim.budget.cost())
    if not cases:
        return
    with victim.original.acting():
        found = _descended(victim, cases, settings)
    for step, tokens in found.items():
        here = victim.affordable(victim.budget.cost(), among=cases)
        if here:
            _try(victim, here, tokens[[cases.index(case) for case in here]], {"step": step})


def _descended(victim: Victim, cases: Sequence[Case], settings: GradientSettings) -> dict[int, Tensor]:
    """The tokens, (cases, K), at every step that is tried."""
    model = victim.model
    tests = {round(settings.steps * (number + 1) / settings.tests) for number in range(settings.tests)}
    known, table = token_search.ordinary(model), model.token_embeddings.float()
    count, found = _fitting(model, settings.tokens), {}
    drawn = [torch.randint(len(known), (count,), generator=random) for random in victim.draws.generators(cases, "rows")]
    picks = known[torch.stack(drawn)]
    soft = table[picks.to(table.device)].clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([soft], lr=settings.lr, weight_decay=0.1)
    goals = targets(victim, cases, settings.eta)
    for step in range(settings.steps + 1):
        picks = known[token_search.nearest(soft.detach().flatten(0, 1), table[known.to(table.device)])].view(-1, count)
        if step in tests or step == settings.steps:
            found[step] = picks
        soft.grad = torch.zeros_like(soft)
        for part in batches(model, len(cases)):
            hard = table[picks[part].to(table.device)].requires_grad_(True)
            distance(model, picks[part], goals[part], hard).sum().backward()
            assert hard.grad is not None
            soft.grad[part] = hard.grad
        optimizer.step()
    return found


def targets(victim: Victim, cases: Sequence[Case], eta: float) -> Tensor:
    """E(p) + eta c for the asked prompts, (cases, tokens, width)."""
    model, pairs = victim.model, victim.concept.pairs()
    told = ([pair.prompt for pair in pairs], [pair.masked for pair in pairs], [case.asked for case in cases])
    with_, without, asked = (encode(model, prompts).tokens for prompts in told)
    return asked + eta * (with_ - without).mean(0)


def distance(model: Model, tokens: Tensor, goal: Tensor, rows: Tensor | None = None) -> Tensor:
    """|| E(p') - goal ||^2 over all positions, (n,).

    tokens (n, K); goal (1 or n, tokens, width); rows: (n, K, width) in the place of the tokens' own
    """
    ids, free = prompts(model, tokens)
    table = model.token_embeddings.float()
    told = table[ids] if rows is None else table[ids].masked_scatter(free[..., None], rows)
    return (model.encode_rows(ids, told).tokens - goal).float().square().flatten(1).sum(1)


def prompts(model: Model, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Padded ids of prompts that are these tokens, and where they are."""
    ids, free = token_search.inserted(model, [""], tokens.shape[1])
    ids, free = ids.repeat(len(tokens), 1), free.repeat(len(tokens), 1)
    return ids.masked_scatter(free, tokens.to(ids.device)), free


def _tell(victim: Victim, before: int, total: int, generation: int) -> None:
    victim.progress("generations of words", before + generation, total)


def evolved(
    model: Model,
    goal: Tensor,
    settings: RingABellSettings,
    random: Generator,
    tick: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The tokens that come closest to the goal, (K,). After each generation, `tick` is told how many are done."""
    known, count = token_search.ordinary(model), _fitting(model, settings.tokens)
    people = known[torch.randint(len(known), (settings.population, count), generator=random)]
    fitness = distance(model, people, goal[None]).cpu()
    for generation in range(settings.generations):
        people = people[fitness.argsort()]
        children = _mutated(_crossed(people[: settings.population // 2], settings, random), known, settings, random)
        people = torch.cat([people[:1], children])[: settings.population]
        fitness = distance(model, people, goal[None]).cpu()
        tick(generation + 1)
    return people[fitness.argmin()]


def _crossed(parents: Tensor, settings: RingABellSettings, random: Generator) -> Tensor:
    """The parents, and two children of each of as many random pairs as it takes. Children are crossed at one point, or like their parents."""
    n, count = parents.shape
    pairs = (settings.population - n + 1) // 2
    one, other = (parents[torch.randint(n, (pairs,), generator=random)] for _ in range(2))
    cut = torch.randint(1, max(2, count), (pairs, 1), generator=random)
    cross = (torch.rand(pairs, 1, generator=random) < settings.crossing) & (torch.arange(count) >= cut)
    return torch.cat([parents, torch.where(cross, other, one), torch.where(cross, one, other)])[: settings.population]


def _mutated(people: Tensor, known: Tensor, settings: RingABellSettings, random: Generator) -> Tensor:
    n, count = people.shape
    fresh = known[torch.randint(len(known), (n, 1), generator=random)]
    place = torch.randint(count, (n, 1), generator=random)
    here = (torch.rand(n, 1, generator=random) < settings.mutation) & (torch.arange(count) == place)
    return torch.where(here, fresh, people)


def _fitting(model: Model, tokens: int) -> int:
    return min(tokens, model.room)


def _try(victim: Victim, cases: Sequence[Case], tokens: Tensor, note: Mapping[str, Any]) -> None:
    texts = [token_search.text(victim.model, row.tolist()) for row in tokens]
    victim.submit(cases, victim.ask(cases, texts), [{"prompt": text, "masked": "", **note} for text in texts])
