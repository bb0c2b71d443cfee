"""Fine-tuning revival: train the erased model a little, on pictures that have nothing to do with the concept, or on a few that show it.

Unrelated pictures bring erased concepts back in SD 1.4 and 2.1 (arXiv 2410.08074). A few steps of LoRA on few pictures of the
concept tell short-term from long-term forgetting (MemoRa, arXiv 2510.03263); how fast a concept is learned that was never
known, the gold standard tells. The weights are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import linear

from excise.attacks.finetuning import FewShotSettings, TuningSettings
from excise.attacks.victim import Victim
from excise.erasure.subspaces import select
from excise.erasure.trainable import Trainable


def unrelated(victim: Victim, settings: TuningSettings) -> None:
    """On pictures of other concepts."""
    prompts, latents = victim.other_pictures(settings.pictures, neutral=False)
    _revive(victim, settings, prompts, latents)


def few_shot(victim: Victim, settings: FewShotSettings) -> None:
    """On a few pictures of the concept, named by its own words (in the neutral control too: there they are learned, and not asked)."""
    contexts, latents = victim.concept_pictures(settings.pictures)
    concept = victim.concept
    prompts = [concept.pair(concept.templates[0], concept.phrases[0], context).prompt for context in contexts]
    _revive(victim, settings, prompts, latents)


def _revive(victim: Victim, settings: TuningSettings, prompts: list[str], latents: Tensor) -> None:
    """Train, and try the prompts on the way."""
    steps = victim.iterations(settings.steps, 3 * settings.batch, settings.tests * victim.prompts * victim.cost())
    tests = {max(1, steps >> number) for number in range(settings.tests)}
    told, random, shown = victim.encode(prompts), victim.generator("tuning"), {}
    with training(victim, settings.mode, settings.rank, random) as parameters:
        for step in trained(victim, parameters, told, latents, random, steps=steps, batch=settings.batch, lr=settings.lr):
            rows = victim.affordable(victim.standing, victim.cost()) if step in tests else []
            if rows:
                asked = [victim.cases[row].asked for row in rows]
                shown[f"{step}"] = [sum(victim.submit(rows, victim.ask(rows, asked), {"steps": step})), len(rows)]
        if settings.mode == "lora":
            victim.kept |= {name: parameter.detach().clone() for name, parameter in parameters.items()}
    victim.facts["shown of tried, by steps"] = shown


@contextmanager
def training(victim: Victim, mode: str, rank: int, random: Generator) -> Iterator[dict[str, nn.Parameter]]:
    """What is trained, by name; the network computes with it inside the block, and as before after it."""

    model = victim.model
    if mode == "full":
        with Trainable(model, select(model.unet, "full")) as trainable:
            yield trainable.parameters
        return
    additions = lora(victim, rank, random)
    with injected(victim, additions):
        yield {f"{name}:{part}": parameter for name, pair in additions.items() for part, parameter in pair.items()}


def lora(victim: Victim, rank: int, random: Generator) -> dict[str, dict[str, nn.Parameter]]:
    """Low-rank additions to all linear layers of attention, which change nothing at first: "down" random, "up" zero."""

    model, found = victim.model, {}
    for name, layer in model.unet.named_modules():
        if isinstance(layer, nn.Linear) and (".attn1." in name or ".attn2." in name):
            down = torch.randn(rank, layer.in_features, generator=random) / rank
            up = torch.zeros(layer.out_features, rank)
            found[name] = {"up": nn.Parameter(up.to(model.device)), "down": nn.Parameter(down.to(model.device))}
    if not found:
        raise ValueError("the U-Net has no linear attention layers to add to")
    return found


@contextmanager
def injected(victim: Victim, additions: dict[str, dict[str, nn.Parameter]], strength: float = 1.0) -> Iterator[None]:
    """The additions act inside the block, in float32."""

    hooks = []
    layers = dict(victim.model.unet.named_modules())
    for name, pair in additions.items():

        def add(layer: nn.Module, inputs: Any, output: Tensor, pair: dict[str, nn.Parameter] = pair) -> Tensor:
            return output + strength * linear(linear(inputs[0].float(), pair["down"]), pair["up"]).to(output)

        hooks.append(layers[name].register_forward_hook(add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def trained(
    victim: Victim, parameters: dict[str, nn.Parameter], told: Tensor, latents: Tensor, random: Generator,
    *, steps: int, batch: int, lr: float,
) -> Iterator[int]:  # fmt: skip
    """The usual training loss on noised pictures; yields the number of steps done, after each."""

    model = victim.model
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=lr)
    for step in range(1, steps + 1):
        picks = torch.randint(len(latents), (batch,), generator=random)
        t = torch.randint(model.schedule.steps, (batch,), generator=random)
        noise = torch.randn(batch, *latents.shape[1:], generator=random).to(latents)
        x = latents[picks.to(latents.device)]
        predicted = model.predict(model.schedule.add_noise(x, noise, t), t, told[picks.to(told.device)])
        loss = (predicted - model.schedule.target(x, noise, t)).float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield step
