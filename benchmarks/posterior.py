"""How many noise levels the posterior of MiM-MU's `target=exclude` takes, on the built-in model (docs/research/mim/tried.md).

    python benchmarks/posterior.py                          # ten minutes or more on a CPU core

Pictures of a concept are noised through 500 noise levels and the posterior is followed through all of them. Then it is followed through
fewer levels of the same paths, one in each equal part of the schedule, as MiM-MU draws them, and compared at the states that both have.
Printed: how many of those are off by more than 0.2, and by how much the factor of the words' direction is off in the mean (`mirror` = 1).
"""

from __future__ import annotations

import argparse

import torch
from torch import Generator, Tensor

from excise import load
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.states import States, forgetting_set, forward_states, from_noise
from excise.erasure.targets import posterior
from excise.methods.mim import MimSettings
from excise.methods.mim.erase import _ask, _prior

FINEST, LEVELS, DRAWS = 500, (10, 20, 50, 100, 250), 6
"""Levels of the reference, levels that are compared with it, and how often those are drawn."""


@torch.no_grad()
def errors(name: str, pictures: int) -> dict[int, tuple[float, float]]:
    """Levels -> share of states that are off by more than 0.2, mean error of the factor."""
    model, random, settings = load("canvas"), Generator().manual_seed(0), MimSettings()
    concept = model.catalog.resolve(name)
    bank = PromptBank.of(model, [concept])
    rows = bank.draw(pictures, random)
    clean = forgetting_set(model, bank, rows, random, steps=settings.sampler_steps, guidance_scale=settings.guidance_scale)
    states = forward_states(model, clean, rows, FINEST, random)
    paths = from_noise(model, states, random)
    rest, told = (_ask(model, paths, text) for text in (bank.masked, bank.conditioned))

    def shown(part: Tensor) -> Tensor:
        rows = torch.cat([torch.arange(pictures), pictures + part])
        priors = torch.full((len(rows),), _prior(model, concept), dtype=torch.float64)
        return posterior(model, paths.part(rows), rest[rows], told[rows], priors)[pictures:]

    whole, found = shown(torch.arange(len(states))), {}
    for levels in LEVELS:
        parts = [one_in_each(states, levels, Generator().manual_seed(draw)) for draw in range(DRAWS)]
        few, all_ = (torch.cat(side) for side in (list(map(shown, parts)), [whole[part] for part in parts]))
        away = factor(few) - factor(all_)
        found[levels] = float(((few - all_).abs() > 0.2).double().mean()), float(away.abs().mean())
    return found


def factor(p: Tensor) -> Tensor:
    """rho of `exclude` with mirror = 1."""
    return (p / (1 - p).clamp_min(1e-6)).clamp(max=1)


def one_in_each(states: States, levels: int, random: Generator) -> Tensor:
    """Rows of one state of every picture in each of `levels` equal parts of the schedule, (levels x pictures,)."""
    pictures = len(states) // FINEST
    slots = torch.arange(levels).view(-1, 1) + torch.rand(levels, pictures, generator=random)
    return ((slots * FINEST / levels).long().clamp(max=FINEST - 1) * pictures + torch.arange(pictures)).flatten()


def main() -> None:
    parser = argparse.ArgumentParser(description="Levels that the posterior of target=exclude takes.")
    parser.add_argument("--concepts", nargs="+", default=["cat", "dog", "house", "neon", "sepia", "sketch"])
    parser.add_argument("--pictures", type=int, default=6)
    options = parser.parse_args()
    for concept in options.concepts:
        for levels, (share, away) in errors(concept, options.pictures).items():
            print(f"{concept}: {levels} levels, {100 * share:.1f} % off, factor off by {away:.3f}", flush=True)


if __name__ == "__main__":
    main()
