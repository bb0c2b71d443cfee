"""The plain network inside what others put around it and into it: torch.compile, peft, IP-Adapter, fused projections.

The layers of a network keep their plain names here, and what was added to it is not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WRAPPED = ("_orig_mod", "base_layer")
"""Where torch.compile and peft's adapters keep the layer that they are wrapped around."""

FUSED = {"to_qkv": ("to_q", "to_k", "to_v"), "to_kv": ("to_k", "to_v")}
"""What diffusers' `fuse_projections` makes of which layers of an attention; those stay beside it."""

PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
QUANTISERS = ("bitsandbytes", "torchao", "optimum.quanto", "torch.ao.nn.quantized", "diffusers.quantizers", "nunchaku", "hqq")
"""Where layers live that compute with rounded weights."""


def unwrapped(layer: Any) -> nn.Module:
    """The layer itself, without what is wrapped around it."""
    if hasattr(type(layer), "get_base_model"):  # a whole network inside peft's PeftModel
        return unwrapped(layer.get_base_model())
    for key in WRAPPED:
        inner = layer._modules.get(key)
        if inner is not None:
            return unwrapped(inner)
    return layer


def own_layers(network: nn.Module) -> dict[str, Any]:
    """The layers of the plain network by the names that they have in it; "" is the network itself."""
    found: dict[str, Any] = {}
    ahead = [("", network)]
    while ahead:
        place, layer = ahead.pop()
        layer = found[place] = unwrapped(layer)
        children = [(name, child) for name, child in layer.named_children() if not _was_added(layer, name, child)]
        ahead += [(f"{place}.{name}" if place else name, child) for name, child in reversed(children)]
    return found


def own_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the plain network by the names that they have in it, one that has several by the first."""
    found: dict[str, nn.Parameter] = {}
    seen = set()
    for place, layer in own_layers(network).items():
        for key, parameter in layer.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{place}.{key}" if place else key] = parameter
    return found


def _was_added(parent: nn.Module, name: str, child: nn.Module) -> bool:
    """Whether a layer was put into its parent afterwards: IP-Adapter's processors and projection, a fused copy."""
    return "IPAdapter" in type(child).__name__ or (name in FUSED and "to_k" in parent._modules)


@dataclass(frozen=True)
class Fused:
    """A tensor that `fuse_projections` put together from several.

    name    in the network
    layers  which layers of the attention it stands for, in order along the first axis
    parts   names of the tensors that it is made of
    used    whether attention computes with it now; the copies stay after unfusing
    """

    name: str
    parameter: nn.Parameter
    layers: tuple[str, ...]
    parts: tuple[str, ...]
    used: bool


def fused_projections(network: nn.Module) -> list[Fused]:
    """Every tensor of a network that was put together from others."""
    return [
        Fused(
            f"{place}.{name}.{key}",
            parameter,
            FUSED[name],
            tuple(f"{place}.{part}.{key}" for part in FUSED[name]),
            is_fused(layer),
        )
        for place, layer in own_layers(network).items()
        for name, child in layer.named_children()
        if name in FUSED and _was_added(layer, name, child)
        for key, parameter in child.named_parameters()
    ]


def is_fused(layer: nn.Module) -> bool:
    """Whether an attention computes with fused projections now, and not with `to_q`, `to_k` and `to_v`."""
    return type(getattr(layer, "processor", None)).__name__.startswith("Fused")


def fused_lora(network: nn.Module) -> list[str]:
    """Names of the layers into whose weights a LoRA is fused (`fuse_lora`)."""
    return [name for name, module in network.named_modules() if getattr(module, "merged_adapters", None)]


def check_plain(network: nn.Module, prefix: str) -> None:
    """Raise ValueError if a weight is not there as plain numbers, but quantised or offloaded. The message names it with the prefix."""
    for place, layer in own_layers(network).items():
        where = f"{prefix}.{place}".rstrip(".")
        if _is_group_offloaded(layer) or any(parameter.is_meta for parameter in layer.parameters(recurse=False)):
            raise ValueError(
                f"{where} is offloaded, and its weights may lie where an edit does not reach them; put edits on before you turn offloading "
                "on, and to take one off load the pipeline again"
            )
        foreign = type(layer).__module__.startswith(QUANTISERS)
        for key, parameter in layer.named_parameters(recurse=False):
            if foreign or type(parameter) is not nn.Parameter or parameter.dtype not in PLAIN:
                kind = type(layer if foreign else parameter).__name__
                raise ValueError(
                    f"{where}.{key} is quantised ({kind}, {str(parameter.dtype).removeprefix('torch.')}), and an edit changes the weights "
                    "themselves; erase or apply on the unquantised model, or write the edit as a LoRA (excise export) and load that here"
                )


def _is_group_offloaded(layer: Any) -> bool:
    """Whether diffusers swaps the layer's weights with copies of its own."""
    registry = getattr(layer, "_diffusers_hook", None)
    return registry is not None and "group_offloading" in registry.hooks
