"""Debiasing in closed form: push a concept towards attributes until pictures of it show them in the wanted shares (UCE).

The authors count with CLIP; here the diffusion model itself says which attribute a picture shows, so nothing else is needed: the
attribute whose prompt predicts the picture's noise best (arXiv 2303.16203).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure.run import Run
from excise.erasure.text_rows import Alignment, TextRows
from excise.methods.uce import UceSettings
from excise.models import Model

log = logging.getLogger(__name__)
LEVELS = 8
"""Noise levels at which a picture is judged (ours)."""


def balance(
    model: Model, concepts: Sequence[Concept], settings: UceSettings, solve: Callable[[UceSettings], WeightEdit], run: Run
) -> WeightEdit:
    """Solve, look at pictures, push the attributes that are shown too rarely, and again, until all shares are within the tolerance.

    solve  settings with `pushes` -> edit
    Pushes add up over the rounds. The edit of the best round is returned, with the shares of every concept before and after.
    """
    attributes = settings.attributes
    wanted = torch.tensor(settings.desired or [1 / len(attributes)] * len(attributes), dtype=torch.float64)
    pushes = torch.zeros(len(concepts), len(attributes), dtype=torch.float64)
    edit, shares, before = None, torch.empty(0), None
    best: tuple[float, WeightEdit, Tensor] | None = None
    for round_ in range(settings.rounds + 1):
        run.progress("debiasing", round_, settings.rounds)
        found = []
        for number, concept in enumerate(concepts):
            generator = run.generator(round_, number)
            latents = _pictures(model, edit, concept.phrases[0], settings.pictures, generator)
            found.append(shown(model, latents, attributes, generator))
        shares = torch.stack(found)
        before = shares if before is None else before
        gap = float((wanted - shares).abs().max())
        log.info("round %d: largest gap %.3f", round_, gap)
        if edit is not None and (best is None or gap < best[0]):
            best = gap, edit, shares
        if (gap < settings.tolerance and edit is not None) or round_ == settings.rounds:
            break
        pushes = pushes + settings.push_step * (wanted - shares)
        edit = solve(settings.model_copy(update={"pushes": tuple(tuple(row) for row in pushes.tolist())}))
    assert best is not None and before is not None
    return best[1].with_measurements({"shares_before": before.tolist(), "shares_after": best[2].tolist()})


def pushed(
    bank: TextRows, prompt: str, attributes: Sequence[str], pushes: Sequence[float], alignment: Alignment
) -> tuple[Tensor, Tensor]:
    """Rows of a prompt, and the rows whose outputs they should have: own row + sum of push times attribute's row."""
    alignment = "last" if alignment == "last" else "aligned"
    pairs = [bank.paired(prompt, attribute, alignment) for attribute in attributes]
    count = min(len(rows) for rows, _ in pairs)
    rows = pairs[0][0][:count]
    return rows, rows + torch.stack([push * guide[:count] for push, (_, guide) in zip(pushes, pairs, strict=True)]).sum(0)


@torch.no_grad()
def shown(model: Model, latents: Tensor, attributes: Sequence[str], generator: Generator) -> Tensor:
    """Share of finished latents (n, c, h, w) that show each attribute, (attributes,) float64, summing to 1."""
    text = model.encode(attributes)
    errors = torch.zeros(len(latents), len(attributes), dtype=torch.float64)
    for level in range(LEVELS):
        t = torch.full((len(latents),), int((level + 0.5) / LEVELS * model.path.steps))
        noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
        noisy = model.path.noised(latents, noise, t)
        for number in range(len(attributes)):
            output = model.predict(noisy, t, text[number].expand(len(latents)))
            error = (model.path.to_noise(output, noisy, t) - noise).cpu().double().square().flatten(1).sum(1)
            errors[:, number] += error
    return torch.bincount(errors.argmin(1), minlength=len(attributes)).double() / len(latents)


def _pictures(model: Model, edit: WeightEdit | None, prompt: str, count: int, generator: Generator) -> Tensor:
    """Finished latents of a prompt, with an edit on if there is one."""
    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    text = model.encode([prompt]).expand(count)
    if edit is not None:
        edit.apply(model)
    try:
        return model.latents(text, seeds, batch=count)
    finally:
        if edit is not None:
            edit.remove(model)
