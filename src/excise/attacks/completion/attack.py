"""Diffusion completion: the base model takes the first steps, the erased one finishes (arXiv 2505.17013).

An erasure may bend only the first part of the way. Then the rest of the way is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.attacks import ddim
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.completion import CompletionSettings
from excise.attacks.ddim import Step
from excise.attacks.victim import Victim
from excise.models import Conditioning, Model


def attack(victim: Victim, settings: CompletionSettings) -> None:
    """Start from the noise of each prompt's own seed. The base model is asked with the concept's words."""
    steps = ddim.grid(victim.model)
    handovers = [handover for handover in settings.handovers if handover <= len(steps)]
    if not handovers:
        raise ValueError(f"this model samples in {len(steps)} steps; handovers={settings.handovers} are all later")
    cases = victim.affordable(2 * (handovers[-1] + sum(len(steps) - handover for handover in handovers)))
    states = begun(victim, cases, steps, handovers) if cases else {}
    for handover, z in states.items():
        left = [place for place, case in enumerate(cases) if case in victim.standing]
        if left:
            here = [cases[place] for place in left]
            victim.submit(here, finished(victim, here, z[left], steps[handover:]), {"handover": handover})


def begun(victim: Victim, cases: Sequence[Case], steps: Sequence[Step], handovers: Sequence[int]) -> dict[int, Tensor]:
    """The base model's latents at every handover, (cases, c, h, w)."""
    z, done, states = victim.model.start_noise([case.seed for case in cases]), 0, {}
    with victim.original.acting():
        empty, wanted = victim.model.unconditional(), encode(victim.model, [case.wanted for case in cases])
        for handover in handovers:
            z, done = _continued(victim.model, z, steps[done:handover], empty, wanted), handover
            states[handover] = z
    return states


def finished(victim: Victim, cases: Sequence[Case], z: Tensor, steps: Sequence[Step]) -> Tensor:
    """Finished latents, (cases, c, h, w): the model under attack goes the rest of the way, with its own prompt."""
    empty, asked = victim.model.unconditional(), encode(victim.model, [case.asked for case in cases])
    return _continued(victim.model, z, steps, empty, asked)


def _continued(model: Model, z: Tensor, steps: Sequence[Step], empty: Conditioning, told: Conditioning) -> Tensor:
    return torch.cat([ddim.finish(model, z[part], steps, empty, told[part]) for part in batches(model, len(z))])
