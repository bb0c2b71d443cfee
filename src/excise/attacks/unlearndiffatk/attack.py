"""UnlearnDiffAtk: tokens before the prompt with which the erased model denoises a picture of the concept best (arXiv 2310.11868).

The erased model is its own classifier: the tokens minimise E || e - f(z_t, t, E([tokens; prompt])) ||^2 for a picture of the
concept. Every free token is a row of probabilities over the vocabulary. A sampled one-hot row goes forward. Its clipped gradient
is applied to the probabilities, which are then projected back to the simplex. (The authors' test reads the found tokens again
from text, but keeps the old end position; here the text is all there is.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from excise.attacks import token_search
from excise.attacks.asking import batches
from excise.attacks.cases import Case
from excise.attacks.unlearndiffatk import UnlearnDiffAtkSettings
from excise.attacks.victim import Victim
from excise.models import Model


def attack(victim: Victim, settings: UnlearnDiffAtkSettings) -> None:
    """Attack all prompts side by side, each with tokens of its own."""
    model, budget, cases = victim.model, victim.budget, victim.standing
    randoms = victim.draws.generators(cases, "unlearndiffatk")
    trials = settings.tests * budget.prompts * budget.cost()
    iterations = budget.iterations(settings.iterations, 3 * budget.prompts, trials)
    pictures, known = victim.original.targets(cases), token_search.ordinary(model)
    ids, free = token_search.inserted(model, [case.asked for case in cases], settings.tokens)
    chances = torch.full((len(cases), settings.tokens, len(known)), 1 / len(known)).requires_grad_(True)
    optimizer = torch.optim.Adam([chances], lr=settings.lr, weight_decay=settings.weight_decay)
    tests = {round(iterations * (number + 1) / settings.tests) for number in range(settings.tests)}
    stride = model.path.steps / settings.timesteps
    for iteration in range(iterations):
        t = int(stride * (settings.timesteps * iteration // iterations + 0.5))
        chances.grad = torch.zeros_like(chances)
        for part in batches(model, len(cases)):
            draws = [sampled(row, random) for row, random in zip(chances.detach()[part], randoms[part], strict=True)]
            hot, noise = torch.stack(draws).requires_grad_(True), victim.draws.normal(randoms[part])
            _loss(model, pictures[part], ids[part], free[part], hot, known, t, noise).backward()
            assert hot.grad is not None
            chances.grad[part] = hot.grad.clamp(-1, 1)
        optimizer.step()
        chances.data = simplex(chances.data)
        if iteration + 1 in tests:
            _test(victim, cases, known[chances.detach().argmax(2)], iteration + 1)


def _loss(model: Model, x: Tensor, ids: Tensor, free: Tensor, hot: Tensor, known: Tensor, t: int, noise: Tensor) -> Tensor:
    """Squared error of the network's output on the noised pictures, summed over prompts."""
    table = model.token_embeddings.float()
    rows = table[ids].masked_scatter(free[..., None], (hot.to(table) @ table[known.to(table.device)]))
    times, noise = torch.full((len(x),), t), noise.to(x)
    predicted = model.predict(model.path.noised(x, noise, times), times, model.encode_rows(ids, rows))
    return (predicted - model.path.output(x, noise, times)).float().square().flatten(1).mean(1).sum()


def _test(victim: Victim, cases: Sequence[Case], tokens: Tensor, iteration: int) -> None:
    """Ask the cases that stand, each with its own tokens, (cases, free tokens), before the prompt."""
    here = victim.affordable(victim.budget.cost())
    if not here:
        return
    words = [token_search.text(victim.model, tokens[cases.index(case)].tolist()) for case in here]
    texts = [f"{word} {case.asked}" for word, case in zip(words, here, strict=True)]
    notes = [{"prompt": text, "masked": case.masked, "iteration": iteration} for text, case in zip(texts, here, strict=True)]
    victim.submit(here, victim.ask(here, texts), notes)


def sampled(chances: Tensor, generator: Generator) -> Tensor:
    """One-hot rows drawn with these probabilities, shape (..., vocabulary)."""
    flat = chances.reshape(-1, chances.shape[-1])
    picks = torch.multinomial(flat.clamp_min(0), 1, generator=generator)
    return torch.zeros_like(flat).scatter_(1, picks, 1.0).view_as(chances)


def simplex(rows: Tensor, tolerance: float = 1e-5) -> Tensor:
    """The nearest rows that are probabilities: max(row - shift, 0) with the shift that makes the sum 1, found by bisection."""
    top = rows.amax(-1, keepdim=True)
    low, high = top - 1, top
    while float((high - low).max()) > tolerance * 1e-2:
        middle = (low + high) / 2
        much = (rows - middle).clamp_min(0).sum(-1, keepdim=True) > 1
        low, high = low.where(~much, middle), high.where(much, middle)
        if bool(((low + high) / 2 == low).all() | ((low + high) / 2 == high).all()):
            break
    found = (rows - (low + high) / 2).clamp_min(0)
    return found / found.sum(-1, keepdim=True)
