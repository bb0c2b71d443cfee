"""RevAm: reinforcement learning of how to steer the sampler, with weights and prompt as they are (arXiv 2510.03302; reconstructed).

At every step the prediction with the prompt is rescaled by rho and turned by phi towards the guidance direction of the erased
model, before guidance; a table of two numbers per step is learned by GRPO from rewards of finished pictures. The rewards: a
probe of latents, the pointwise information that the base model finds in the concept's words, and fidelity, without which the
probe is fooled by pictures that are none. The detector that decides about success is no reward. The one-scalar form,
`guidance`, is cheaper and often stronger.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from excise.attacks import register
from excise.settings import Settings, parted

if TYPE_CHECKING:
    from torch import Tensor

    from excise.attacks.ddim import Step
    from excise.attacks.probe import Probe
    from excise.attacks.victim import Victim


class RevamSettings(Settings):
    """No setting of the paper is known: all are ours. `dancegrpo` has those of a published sibling where they mean the same."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"dancegrpo": {"group": 12, "iterations": 300, "clip": 1e-4, "beta": 0.0}}

    iterations: int = Field(150, ge=1, description="rounds of rollouts, fewer if the budget ends before")
    prompts: int = Field(4, ge=1, description="prompts per round")
    group: int = Field(8, ge=2, description="rollouts per prompt, from the same noise")
    lr: float = Field(0.05, gt=0, description="rate of Adam on the table")
    epochs: int = Field(4, ge=1, description="optimiser steps per round")
    clip: float = Field(0.2, gt=0, description="how far the ratio of probabilities may count")
    largest_advantage: float = Field(5.0, gt=0, description="advantages are cut here")
    share: float = Field(0.6, gt=0, le=1, description="share of the steps that an optimiser step looks at")
    beta: float = Field(0.01, ge=0, description="pull towards changing nothing")
    spread_rho: float = Field(0.1, gt=0, description="standard deviation of log rho")
    spread_phi: float = Field(0.3, gt=0, description="standard deviation of phi, radians")
    largest_rho: float = Field(2.0, gt=1, description="rho stays between one over this and this")
    frozen: float = Field(
        0.15, ge=0, lt=1, description="share of the last steps that are not steered: the direction is noise there"
    )
    weights: Annotated[tuple[float, float, float], parted] = Field(
        (1.0, 1.0, 1.0), description="of probe, information and fidelity"
    )
    direction: Literal["guidance", "random"] = Field("guidance", description="where to turn; random is a negative control")
    pictures: int = Field(
        64, ge=2, description="pictures of the concept that the rewards are made from, and twice as many others"
    )
    probe_steps: int = Field(400, ge=1, description="training steps of the probe")
    tests: int = Field(3, ge=1, description="how often the mean policy is tried on the prompts, the last time at the end")


@register(
    "revam", title="RevAm", paper="arXiv 2510.03302", settings=RevamSettings, means="sampler", needs_base=True, supplies=True
)
def attack(victim: Victim, settings: RevamSettings) -> None:
    """Learn the table on other seeds of the prompts; try its mean on them."""
    from excise.attacks import ddim
    from excise.attacks.revam import steering_policy

    steps = ddim.grid(victim.model)
    active = math.ceil((1 - settings.frozen) * len(steps))
    rewards = Rewards(victim, settings)
    rollouts = settings.prompts * settings.group
    trials = settings.tests * victim.prompts * victim.cost_of_pairs
    iterations = victim.iterations(settings.iterations, rollouts * (victim.cost_of_pairs + Rewards.COST), trials)
    tests = {round(iterations * (number + 1) / settings.tests) for number in range(settings.tests)}
    random = victim.generator("revam")

    def roll(actions: Tensor) -> Tensor:
        """Rewards of one round."""
        import torch

        picks = torch.randint(len(victim.cases), (settings.prompts,), generator=random).tolist()
        seeds = torch.randint(2**31, (settings.prompts,), generator=random).tolist()
        rows = [pick for pick in picks for _ in range(settings.group)]
        starts = victim.model.start_noise(seeds).repeat_interleave(settings.group, 0)
        latents = sample(victim, rows, starts, actions, steps, settings)
        return rewards(rows, latents, random).view(3, settings.prompts, settings.group)

    for iteration, policy in zip(
        range(1, iterations + 1), steering_policy.optimise(active, roll, settings, random), strict=False
    ):
        victim.kept["policy"] = policy.mean.detach().clone()
        rows = victim.affordable(victim.standing, victim.cost_of_pairs)
        if iteration in tests and rows:
            latents = sample(victim, rows, victim.starts(rows), policy.mean.detach().expand(len(rows), -1, -1), steps, settings)
            victim.submit(rows, latents, {"iteration": iteration})
    victim.facts["rollouts"] = iterations * rollouts


def sample(
    victim: Victim, rows: list[int], starts: Tensor, actions: Tensor, steps: list[Step], settings: RevamSettings
) -> Tensor:
    """Finished latents with the prediction steered at the first steps, (rows, c, h, w); actions (rows, active, 2)."""
    import torch

    from excise.attacks import ddim
    from excise.attacks.revam import steering_policy

    model, scale = victim.model, victim.model.sampler.guidance_scale
    empty, asked = model.encode([""]), victim.asked(rows)
    rho, phi = steering_policy.bounded(actions, settings.largest_rho)
    finished = []
    for part in victim.batches(len(rows)):
        z = starts[part]
        for step in steps:
            with torch.no_grad():
                without, with_ = ddim.both(model, z, step.t, empty, asked[part])
            if step.index < actions.shape[1]:
                towards = with_ - without if settings.direction == "guidance" else _random(victim, with_, step)
                with_ = steering_policy.steer(with_, towards, rho[part, step.index], phi[part, step.index])
            z = ddim.move(model, without + scale * (with_ - without), z, step)
        finished.append(z)
    return torch.cat(finished)


def _random(victim: Victim, like: Tensor, step: Step) -> Tensor:
    import torch

    return torch.randn(like.shape[1:], generator=victim.generator("direction", step.index)).to(like).expand_as(like)


class Rewards:
    """What is thought of finished latents: (3, n) log p of the probe, information in the words, fidelity; larger is better."""

    LEVELS = (0.3, 0.6)
    """Timesteps, as shares of all, at which information is asked for (ours)."""

    COST = 2 * len(LEVELS)
    """U-Net calls per picture."""

    def __init__(self, victim: Victim, settings: RevamSettings) -> None:
        import torch

        from excise.attacks import probe

        self.victim = victim
        shown, others = victim.concept_pictures(settings.pictures)[1], victim.other_pictures(2 * settings.pictures)[1]
        random, steps = victim.generator("probe"), settings.probe_steps
        self.probe: Probe = probe.train(shown, others, victim.model.schedule, random, steps=steps, lr=1e-3, power=2.0)
        natural = statistics(torch.cat([shown, others]))
        self.usual, self.spread = natural.mean(0), natural.std(0) + 1e-6

    def __call__(self, rows: list[int], latents: Tensor, generator: Any) -> Tensor:
        import torch

        strange = ((statistics(latents) - self.usual) / self.spread).square().mean(1)
        return torch.stack([self.probe.log_likely(latents, 1.0), self.information(rows, latents, generator), -strange.cpu()])

    def information(self, rows: list[int], x: Tensor, generator: Any) -> Tensor:
        """Squared error of the base model without the concept's words minus that with them, (n,): the same noise for all."""
        import torch

        model, cases = self.victim.model, self.victim.cases
        prompts = [cases[row].masked for row in rows] + [cases[row].wanted for row in rows]
        total = torch.zeros(len(x))
        with self.victim.original(), torch.no_grad():
            words = self.victim.encode(prompts)
            for share in self.LEVELS:
                t = torch.full((len(x),), int(share * model.schedule.steps))
                noise = torch.randn(x.shape[1:], generator=generator).to(x).expand_as(x)
                z, target = model.schedule.add_noise(x, noise, t), model.schedule.target(x, noise, t)
                for sign, part in ((1, words[: len(x)]), (-1, words[len(x) :])):
                    errors = [
                        (model.predict(a, b, c) - d).float().square().flatten(1).mean(1)
                        for a, b, c, d in zip(*(each.split(self.victim.batch) for each in (z, t, part, target)), strict=True)
                    ]
                    total += sign * torch.cat(errors).cpu()
        return total


def statistics(latents: Tensor) -> Tensor:
    """What pictures have in common whatever they show, (b, 4 channels): means, spreads, and differences of neighbours."""
    import torch

    x = latents.float()
    across, down = (x[..., 1:] - x[..., :-1]).square(), (x[..., 1:, :] - x[..., :-1, :]).square()
    return torch.cat([x.mean((2, 3)), x.std((2, 3)), across.mean((2, 3)).sqrt(), down.mean((2, 3)).sqrt()], 1)
