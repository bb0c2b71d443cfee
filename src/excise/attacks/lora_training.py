"""Training of the attacked model: low-rank additions to its attention, and the usual loss on pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import linear

from excise.erasure.subspaces import select
from excise.models import Conditioning, Model

Additions = Mapping[str, Mapping[str, nn.Parameter]]
"""Of each layer, by its name in the denoiser: "up" (out, rank) and "down" (rank, in), float32."""


def additions(model: Model, rank: int, random: Generator) -> Additions:
    """Low-rank additions to all linear layers of attention, which change nothing at first: "down" is random, "up" is zero.

    Raises ValueError if there are no such layers.
    """
    found = {}
    for name, layer in _attention(model).items():
        if isinstance(layer, nn.Linear):
            down = torch.randn(rank, layer.in_features, generator=random) / rank
            up = torch.zeros(layer.out_features, rank)
            found[name] = {"up": nn.Parameter(up.to(model.device)), "down": nn.Parameter(down.to(model.device))}
    if not found:
        raise ValueError("the network has no linear attention layers to add to")
    return found


def parameters_of(added: Additions) -> dict[str, nn.Parameter]:
    """What is trained of additions, by name."""
    return {f"{name}:{part}": parameter for name, pair in added.items() for part, parameter in pair.items()}


@contextmanager
def injected(model: Model, added: Additions, strength: float = 1.0) -> Iterator[None]:
    """The additions act inside the block, in float32."""
    layers, hooks = _attention(model), []
    for name, pair in added.items():

        def add(layer: nn.Module, inputs: Any, output: Tensor, pair: Mapping[str, nn.Parameter] = pair) -> Tensor:
            return output + strength * linear(linear(inputs[0].float(), pair["down"]), pair["up"]).to(output)

        hooks.append(layers[name].register_forward_hook(add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _attention(model: Model) -> dict[str, nn.Module]:
    """The layers of attention that have weights, by their names in the denoiser."""
    weights = [name for name in select(model, "attn") if name.endswith(".weight")]
    return {name.partition(".")[2].removesuffix(".weight"): layer for name, layer in model.layers(weights).items()}


def trained(
    model: Model, parameters: Mapping[str, nn.Parameter], told: Conditioning, latents: Tensor, random: Generator,
    *, steps: int, batch: int, lr: float,
) -> Iterator[int]:  # fmt: skip
    """Train with AdamW and the usual loss on noised pictures; yields the number of steps done, after each.

    told    the pictures' prompts
    latents (n, c, h, w) of the pictures
    batch   noised pictures per step
    """
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=lr)
    for step in range(1, steps + 1):
        picks = torch.randint(len(latents), (batch,), generator=random)
        t = model.path.draw(batch, random)
        noise = torch.randn(batch, *latents.shape[1:], generator=random).to(latents)
        x = latents[picks.to(latents.device)]
        predicted = model.predict(model.path.noised(x, noise, t), t, told[picks])
        loss = (predicted - model.path.output(x, noise, t)).float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield step
