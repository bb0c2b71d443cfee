"""RevAm: reinforcement learning of how to steer the sampler, with weights and prompt as they are (arXiv 2510.03302; reconstructed).

At every step, before guidance, the prediction with the prompt is rescaled by rho and turned by phi towards the guidance direction
of the erased model. GRPO learns a table of two numbers per step from rewards of finished pictures. There are three rewards: a
probe of latents; the pointwise information that the base model finds in the concept's words; and fidelity, for without it the
probe is fooled by latents that are no pictures. The detector that decides about success is no reward. The one-scalar form,
`guidance`, is cheaper and often stronger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from excise.attacks import ddim, probe
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.ddim import Step
from excise.attacks.probe import Probe
from excise.attacks.revam import RevamSettings, steering_policy
from excise.attacks.victim import Victim
from excise.models import Conditioning, Model


def attack(victim: Victim, settings: RevamSettings) -> None:
    """Learn the table on other seeds of the prompts, and try its mean on the prompts' own."""
    model, budget, steps = victim.model, victim.budget, ddim.grid(victim.model)
    active = math.ceil((1 - settings.frozen) * len(steps))
    rewards = Rewards(victim, settings)
    rollouts = settings.prompts * settings.group
    trials = settings.tests * budget.prompts * budget.cost_of_pairs
    iterations = budget.iterations(settings.iterations, rollouts * (budget.cost_of_pairs + Rewards.COST), trials)
    tests = {round(iterations * (number + 1) / settings.tests) for number in range(settings.tests)}
    random = victim.draws.generator("revam")

    def roll(actions: Tensor) -> Tensor:
        """Rewards of one round."""
        picks = torch.randint(len(victim.cases), (settings.prompts,), generator=random).tolist()
        seeds = torch.randint(2**31, (settings.prompts,), generator=random).tolist()
        cases = [victim.cases[pick] for pick in picks for _ in range(settings.group)]
        starts = model.start_noise(seeds).repeat_interleave(settings.group, 0)
        latents = sample(victim, cases, starts, actions, steps, settings)
        return rewards(cases, latents, random).view(3, settings.prompts, settings.group)

    policies = steering_policy.optimise(active, roll, settings, random)
    for iteration, policy in zip(range(1, iterations + 1), policies, strict=False):
        victim.kept["policy"] = policy.mean.detach().clone()
        cases = victim.affordable(budget.cost_of_pairs)
        if iteration in tests and cases:
            starts = model.start_noise([case.seed for case in cases])
            actions = policy.mean.detach().expand(len(cases), -1, -1)
            victim.submit(cases, sample(victim, cases, starts, actions, steps, settings), {"iteration": iteration})
    victim.facts["rollouts"] = iterations * rollouts


def sample(
    victim: Victim, cases: Sequence[Case], starts: Tensor, actions: Tensor, steps: Sequence[Step], settings: RevamSettings
) -> Tensor:
    """Finished latents, (cases, c, h, w), with the prediction steered at the first steps; actions (cases, steered steps, 2)."""
    model, scale = victim.model, victim.model.guidance(victim.model.sampler.guidance_scale)
    empty, asked = model.unconditional(), encode(model, [case.asked for case in cases])
    rho, phi = steering_policy.bounded(actions, settings.largest_rho)
    finished = []
    for part in batches(model, len(cases)):
        z = starts[part]
        for step in steps:
            with torch.no_grad():
                without, with_ = ddim.both(model, z, step.t, empty, asked[part])
            if step.index < actions.shape[1]:
                towards = with_ - without if settings.direction == "guidance" else _random(victim, with_, step)
                with_ = steering_policy.steer(with_, towards, rho[part, step.index], phi[part, step.index])
            z = ddim.move(model, model.guided(without, with_, scale), z, step)
        finished.append(z)
    return torch.cat(finished)


def _random(victim: Victim, like: Tensor, step: Step) -> Tensor:
    return torch.randn(like.shape[1:], generator=victim.draws.generator("direction", step.index)).to(like).expand_as(like)


class Rewards:
    """Rewards of finished latents, (3, n): log p of the probe, information in the words, fidelity. Larger is better."""

    LEVELS = (0.3, 0.6)
    """Timesteps, as shares of all, at which information is asked for (ours)."""

    COST = 2 * len(LEVELS)
    """U-Net calls per picture."""

    def __init__(self, victim: Victim, settings: RevamSettings) -> None:
        self.victim = victim
        _, shown = victim.original.concept_pictures(settings.pictures)
        _, others = victim.original.other_pictures(2 * settings.pictures)
        random, steps = victim.draws.generator("probe"), settings.probe_steps
        self.probe: Probe = probe.train(shown, others, victim.model.path, random, steps=steps, lr=1e-3, power=2.0)
        natural = statistics(torch.cat([shown, others]))
        self.usual, self.spread = natural.mean(0), natural.std(0) + 1e-6

    def __call__(self, cases: Sequence[Case], latents: Tensor, generator: Generator) -> Tensor:
        strange = ((statistics(latents) - self.usual) / self.spread).square().mean(1)
        return torch.stack([self.probe.log_likely(latents, 1.0), self.information(cases, latents, generator), -strange.cpu()])

    def information(self, cases: Sequence[Case], x: Tensor, generator: Generator) -> Tensor:
        """How much smaller the base model's squared error is with the concept's words than without, (n,). All get the same noise."""
        model, total = self.victim.model, torch.zeros(len(x))
        prompts = [case.masked for case in cases] + [case.wanted for case in cases]
        with self.victim.original.acting(), torch.no_grad():
            words = encode(model, prompts)
            for share in self.LEVELS:
                t = torch.full((len(x),), int(share * model.path.steps))
                noise = torch.randn(x.shape[1:], generator=generator).to(x).expand_as(x)
                z, target = model.path.noised(x, noise, t), model.path.output(x, noise, t)
                for sign, part in ((1, words[: len(x)]), (-1, words[len(x) :])):
                    total += sign * _errors(model, z, t, part, target)
        return total


def _errors(model: Model, z: Tensor, t: Tensor, words: Conditioning, target: Tensor) -> Tensor:
    """Mean squared error of the network's output for each of the noised latents, (n,) on the CPU."""
    parts = [
        (model.predict(z[rows], t[rows], words[rows]) - target[rows]).float().square().flatten(1).mean(1)
        for rows in batches(model, len(z))
    ]
    return torch.cat(parts).cpu()


def statistics(latents: Tensor) -> Tensor:
    """What pictures have in common whatever they show, (b, 4 channels): means, spreads, and differences of neighbours."""

    x = latents.float()
    across, down = (x[..., 1:] - x[..., :-1]).square(), (x[..., 1:, :] - x[..., :-1, :]).square()
    return torch.cat([x.mean((2, 3)), x.std((2, 3)), across.mean((2, 3)).sqrt(), down.mean((2, 3)).sqrt()], 1)
