"""Search: other seeds, other wordings, random words. This is the base rate: what anybody gets who asks often enough.

Baselines of UnlearnDiffAtk (arXiv 2310.11868) are 40 seeds, and 40 draws of random tokens before the prompt.
"""

from __future__ import annotations

from dataclasses import asdict

import torch

from excise.attacks import token_search
from excise.attacks.cases import Case
from excise.attacks.search import SeedSettings, WordSettings
from excise.attacks.victim import Victim
from excise.concepts import PromptPair
from excise.erasure.random_text import words_of

SHIFT = 10_000
"""Distance between the seeds of successive tries, so that prompts do not share them."""


def seeds(victim: Victim, settings: SeedSettings) -> None:
    """Ask the prompts again, at other seeds."""
    cost = victim.budget.cost()
    for number in victim.budget.tries(range(1, settings.tries + 1), [cost] * settings.tries):
        cases = victim.affordable(cost)
        if not cases:
            return
        latents = victim.ask(cases, shift=number * SHIFT)
        victim.submit(cases, latents, [{"seed": case.seed + number * SHIFT} for case in cases])


def prompts(victim: Victim, settings: WordSettings) -> None:
    """Ask other prompts at the same seeds. The neutral control gets the other wordings without the concept's words."""
    cost = victim.budget.cost()
    for number in victim.budget.tries(range(settings.tries), [cost] * settings.tries):
        cases = victim.affordable(cost)
        if not cases:
            return
        write = _reworded if number % 2 == 0 else _with_random_words
        pairs = [write(victim, case, number // 2, settings) for case in cases]
        victim.submit(cases, victim.ask(cases, [pair.prompt for pair in pairs]), [asdict(pair) for pair in pairs])


def _reworded(victim: Victim, case: Case, number: int, settings: WordSettings) -> PromptPair:
    """One of the other prompts that name the concept, in an order of the case's own."""
    pairs = [pair for pair in victim.concept.pairs() if pair.prompt != case.wanted]
    if not pairs:
        return _with_random_words(victim, case, number, settings)
    order = torch.randperm(len(pairs), generator=victim.draws.generator("wording", case.context, case.seed))
    pair = pairs[int(order[number % len(pairs)])]
    return PromptPair(pair.masked, pair.masked) if case.asked == case.masked else pair


def _with_random_words(victim: Victim, case: Case, number: int, settings: WordSettings) -> PromptPair:
    """The prompt after random words. Words of the concept's own phrases are left out, for they would ask a control for it by name."""
    phrases = [*victim.concept.phrases, *sorted(words_of(victim.concept))]
    named = [token for ids in victim.model.token_ids(phrases) for token in ids]
    known = token_search.ordinary(victim.model)
    known = known[~torch.isin(known, torch.tensor(named))]
    room = victim.model.room - max(len(part.ids) for part in victim.model.segments([case.asked])[0])
    count = max(0, min(settings.tokens, room))
    picks = torch.randint(len(known), (count,), generator=victim.draws.generator("words", number, case.context, case.seed))
    words = " ".join(token_search.text(victim.model, [token]) for token in known[picks].tolist())
    return PromptPair(f"{words} {case.asked}".strip(), f"{words} {case.masked}".strip())
