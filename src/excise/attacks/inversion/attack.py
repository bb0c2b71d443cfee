"""Concept inversion: learn a word for the concept on the erased model itself, by textual inversion (CCE, arXiv 2308.01508).

Only one token row is learned; no weight is touched. A free embedding that is trained on pictures of the concept may also
*teach* the concept. The controls show how far it does, above all a model that never saw the concept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from excise.attacks import token_search
from excise.attacks.asking import sample
from excise.attacks.inversion import InversionSettings
from excise.attacks.victim import Victim
from excise.concepts import Concept, PromptPair
from excise.finite import check_finite
from excise.models import Conditioning, Model

MARK = "*"
"""The word that stands for the learned row, as in textual inversion; its own row in the table stays as it is."""


def attack(victim: Victim, settings: InversionSettings) -> None:
    """Learn the row, and ask every prompt with it in the concept's place, at the prompt's own seed."""
    model, budget = victim.model, victim.budget
    contexts, latents = victim.original.concept_pictures(settings.pictures)
    wordings = [_Wording.of(model, _with_mark(victim.concept, context)) for context in contexts]
    row = start(model, settings)
    optimizer = torch.optim.Adam([row], lr=settings.lr)
    random = victim.draws.generator("inversion")
    steps = budget.iterations(settings.steps, 3 * settings.batch, settings.tests * budget.prompts * budget.cost())
    tests = {round(steps * (number + 1) / settings.tests) for number in range(settings.tests)}
    for step in range(1, steps + 1):
        picks = torch.randint(len(latents), (settings.batch,), generator=random).tolist()
        loss = _loss(model, latents[picks], [wordings[pick] for pick in picks], row, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _limit(model, row, settings.largest)
        if step in tests:
            _test(victim, row.detach(), step)
    victim.kept["row"] = row.detach()
    check_finite(row, "the learned row", "use a smaller lr")
    victim.facts["norm"] = float(row.detach().norm())


class _Wording:
    """The prompts that may describe a picture, as token ids, and where the mark is in each."""

    def __init__(self, ids: Tensor, marked: Tensor) -> None:
        self.ids, self.marked = ids, marked

    @classmethod
    def of(cls, model: Model, pairs: Sequence[PromptPair]) -> _Wording:
        mark = model.tokenizer(MARK).input_ids[1:-1]
        prompts = [ids for ids in model.token_ids([pair.prompt for pair in pairs]) if ids.count(mark[0]) == 1]
        if len(mark) != 1 or not prompts:
            raise ValueError(f"concept inversion needs prompts in which {MARK!r} is one token; this tokenizer gives none")
        ids = token_search.padded(model, prompts)
        return cls(ids, ids == mark[0])


def _with_mark(concept: Concept, context: str) -> list[PromptPair]:
    return [concept.pair(template, MARK, context) for template in concept.templates]


def start(model: Model, settings: InversionSettings) -> Tensor:
    """The row before training, (1, width) float32: the mean of a plain word's rows."""
    ids = model.token_ids([settings.init])[0][1:-1]
    if not ids:
        raise ValueError(f"init={settings.init!r} has no token")
    return model.token_embeddings[ids].float().mean(0, keepdim=True).clone().requires_grad_(True)


def _loss(model: Model, x: Tensor, wordings: Sequence[_Wording], row: Tensor, random: Generator) -> Tensor:
    """Mean squared error of the network's output on noised pictures that are described with the row."""
    chosen = [int(torch.randint(len(wording.ids), (1,), generator=random)) for wording in wordings]
    ids = torch.stack([wording.ids[choice] for wording, choice in zip(wordings, chosen, strict=True)])
    marked = torch.stack([wording.marked[choice] for wording, choice in zip(wordings, chosen, strict=True)])
    t = model.path.draw(len(x), random)
    noise = torch.randn(x.shape, generator=random).to(x)
    predicted = model.predict(model.path.noised(x, noise, t), t, conditioning(model, ids, marked, row))
    return (predicted - model.path.output(x, noise, t)).float().square().mean()


def conditioning(model: Model, ids: Tensor, marked: Tensor, row: Tensor) -> Conditioning:
    """Prompts with the row at the marked places."""
    rows = torch.where(marked[..., None], row.to(ids.device), model.token_embeddings[ids].float())
    return model.encode_rows(ids, rows)


def _limit(model: Model, row: Tensor, largest: float | None) -> None:
    if largest is not None:
        most = largest * float(model.token_embeddings.float().norm(dim=1).max())
        with torch.no_grad():
            row *= min(1.0, most / float(row.norm()))


def _test(victim: Victim, row: Tensor, step: int) -> None:
    model, concept, cases = victim.model, victim.concept, victim.affordable(victim.budget.cost())
    if not cases:
        return
    asked = [_Wording.of(model, [concept.pair(concept.templates[0], MARK, case.context)]) for case in cases]
    with torch.no_grad():
        told = conditioning(model, torch.cat([a.ids for a in asked]), torch.cat([a.marked for a in asked]), row)
    notes = [{"step": step, "prompt": f"{MARK} = learned row", "masked": case.masked} for case in cases]
    victim.submit(cases, sample(model, told, [case.seed for case in cases]), notes, told=told.tokens)
