"""Taking whole blocks out of a U-Net so that what is left is a plain diffusers U-Net and keeps its weights.

BK-SDM (arXiv 2305.15798, section 3.1) takes pairs of a residual block and an attention block: every stage of the way down keeps its first
pair, the same stage of the way up its first and its last one; then the middle block goes. Its order within the pairs, and what follows, are
ours: where that is not enough, as in a U-Net of one pair a stage, a stage gives up its attention. What a stage hands on keeps its shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from excise.models.pruned import PrunedNetwork
from excise.models.wrappers import own_parameters

PLAIN_STAGES = {"CrossAttnDownBlock2D": "DownBlock2D", "CrossAttnUpBlock2D": "UpBlock2D"}
"""Stages with attention, and what they are without."""


@dataclass(frozen=True)
class Cut:
    """One thing that is taken out: what it is called, and the network's config after it."""

    name: str
    config: dict[str, Any]


def pruned(network: Any, keep: float) -> PrunedNetwork:
    """The U-Net with the cuts after which its share of parameters is nearest to `keep`, at least one of them.

    Raises ValueError if it cannot become so small, nothing can be taken out, or its pairs differ in depth (as in SSD-1B, arXiv 2401.02677).
    """
    if any(isinstance(depth, list | tuple) for depth in _listed(network.config["transformer_layers_per_block"])):
        raise ValueError("this U-Net was pruned before, by attention layers of single pairs; that is not done twice")
    before = sum(parameter.numel() for parameter in own_parameters(network).values())
    made = [(cut, _empty(network, cut.config)) for cut in cuts(network.config)]
    if not made:
        raise ValueError("nothing can be taken out of this U-Net: it has one pair of blocks in each stage and no attention")
    shares = [_size(empty) / before for _, empty in made]
    if keep < shares[-1] - 0.01:
        raise ValueError(f"this U-Net keeps at least {shares[-1]:.2f} of its parameters, more than keep={keep:g}")
    chosen = min(range(len(made)), key=lambda number: abs(shares[number] - keep))
    empty = made[chosen][1]
    _inherit(empty, network)
    return PrunedNetwork(empty, tuple(cut.name for cut, _ in made[: chosen + 1]), before, _size(empty))


def cuts(config: Mapping[str, Any]) -> Iterator[Cut]:
    """What can be taken out, one after the other: every config is after all cuts before it.

    Pairs go from the innermost stage outwards, then the middle block, then the attention of stages from the innermost outwards, on the way up
    before the way down; the last attention stays, for without it no word would be read.
    """
    now = {key: value for key, value in config.items() if not key.startswith("_")}
    downs, ups = list(config["down_block_types"]), list(config["up_block_types"])
    stages = range(len(downs) - 1, -1, -1)
    layers = pairs_of(config)
    for stage in stages:
        while layers[stage] > 1:
            layers[stage] -= 1
            now = {**now, "layers_per_block": tuple(layers)}
            yield Cut(f"a pair of stage {stage + 1}, down and up", now)
    if config["mid_block_type"] is not None:
        now = {**now, "mid_block_type": None}
        yield Cut("the middle block", now)
    for stage in stages:
        for name, kinds, place in (("up", ups, len(downs) - 1 - stage), ("down", downs, stage)):
            if kinds[place] in PLAIN_STAGES and sum(kind in PLAIN_STAGES for kind in (*downs, *ups)) > 1:
                kinds[place] = PLAIN_STAGES[kinds[place]]
                now = {**now, "down_block_types": tuple(downs), "up_block_types": tuple(ups)}
                yield Cut(f"the attention of stage {stage + 1}, {name}", now)


def pairs_of(config: Mapping[str, Any]) -> list[int]:
    """Pairs of every stage of the way down; on the way up each has one more."""
    layers = config["layers_per_block"]
    return [layers] * len(config["down_block_types"]) if isinstance(layers, int) else list(layers)


def origin(name: str, kept: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """The name in the whole U-Net of a tensor of what is left; both given by their configs.

    >>> few, many = ({"layers_per_block": n, "down_block_types": ["DownBlock2D"]} for n in (1, 3))
    >>> origin("up_blocks.0.resnets.1.conv1.bias", few, many), origin("down_blocks.0.resnets.0.conv1.bias", few, many)
    ('up_blocks.0.resnets.3.conv1.bias', 'down_blocks.0.resnets.0.conv1.bias')
    """
    found = re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name)
    if not found:
        return name
    stage, pair = int(found[1]), int(found[3])
    last, was_last = pairs_of(kept)[-1 - stage], pairs_of(whole)[-1 - stage]
    own = was_last if pair == last else pair
    return f"up_blocks.{stage}.{found[2]}.{own}.{name[found.end() :]}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _empty(network: Any, config: Mapping[str, Any]) -> Any:
    """A U-Net of that config without numbers."""
    with torch.device("meta"):
        return type(network).from_config(config)


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def _inherit(empty: Any, network: Any) -> None:
    """Give what is left the weights that it had; they are copied."""
    weights: dict[str, Tensor] = {name: parameter.data for name, parameter in own_parameters(network).items()}
    own = {name: weights[origin(name, empty.config, network.config)].clone() for name in dict(empty.named_parameters())}
    empty.load_state_dict(own, assign=True)
    empty.eval().requires_grad_(False)
