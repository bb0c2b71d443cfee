"""Diffusion completion: the base model takes the first steps, the erased one finishes (arXiv 2505.17013).

An erasure that only bends the way there lets the rest of the way be as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from excise.attacks import ddim
from excise.attacks.completion import CompletionSettings
from excise.attacks.ddim import Step
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: CompletionSettings) -> None:
    """From the noise of the prompt's own seed; the base model is asked with the concept's words."""

    steps = ddim.grid(victim.model)
    handovers = [handover for handover in settings.handovers if handover <= len(steps)]
    if not handovers:
        raise ValueError(f"this model samples in {len(steps)} steps; handovers={settings.handovers} are all later")
    rows = victim.affordable(victim.standing, 2 * (handovers[-1] + sum(len(steps) - h for h in handovers)))
    states = begun(victim, rows, steps, handovers) if rows else {}
    shown = {}
    for handover, z in states.items():
        left = [place for place, row in enumerate(rows) if row in victim.standing]
        if left:
            here = [rows[place] for place in left]
            hits = victim.submit(here, finished(victim, here, z[left], steps[handover:]), {"steps of the base": handover})
            shown[f"{handover}"] = [sum(hits), len(here)]
    victim.facts["shown of tried, by handover"] = shown


def begun(victim: Victim, rows: list[int], steps: list[Step], handovers: list[int]) -> dict[int, Tensor]:
    """The base model's latents at every handover, (rows, c, h, w)."""

    z, done, states = victim.starts(rows), 0, {}
    with victim.original():
        empty, wanted = victim.model.encode([""]), victim.encode([victim.cases[row].wanted for row in rows])
        for handover in handovers:
            parts = [
                ddim.finish(victim.model, z[part], steps[done:handover], empty, wanted[part])
                for part in victim.batches(len(rows))
            ]
            z, done = torch.cat(parts), handover
            states[handover] = z
    return states


def finished(victim: Victim, rows: list[int], z: Tensor, steps: list[Step]) -> Tensor:
    """The rest of the way, by the model under attack and its own prompt."""

    empty, asked = victim.model.encode([""]), victim.asked(rows)
    return torch.cat([ddim.finish(victim.model, z[p], steps, empty, asked[p]) for p in victim.batches(len(rows))])
