"""Where a pipeline's networks lie. What no edit changes may wait in the CPU's memory; diffusers and accelerate bring it when it works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from accelerate import cpu_offload_with_hook
from torch import nn

from excise.models.drawing import Offload


def check_place(device: torch.device, offload: Offload) -> None:
    """Raise ValueError for an unknown word, and for offloading from the CPU to the CPU."""
    if offload not in get_args(Offload):
        raise ValueError(f"unknown offload {offload!r}; known: {', '.join(get_args(Offload))}")
    if offload != "none" and device.type == "cpu":
        raise ValueError(f"offload={offload} needs another device than the CPU (cuda, mps) to work on; leave it out here")


def place(pipeline: Any, editable: Sequence[str], device: torch.device, offload: Offload) -> None:
    """Put a pipeline's networks on a device.

    editable  the networks that an edit may change, the denoiser first: they stay on the device, since edits reach their weights there
    offload   where the others are. "none": on the device too; "model": on it while they work, as a whole, until the denoiser is asked;
              "group": on it layer by layer
    """
    if offload == "none":
        pipeline.to(device)
        return
    if offload == "group":
        pipeline.enable_group_offload(onload_device=device, offload_type="leaf_level", exclude_modules=list(editable))
        return
    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    others = [cpu_offload_with_hook(network, device)[1] for name, network in networks.items() if name not in editable]
    for name in editable:
        networks[name].to(device)

    def make_room(*_: object) -> None:
        for other in others:
            other.offload()

    networks[editable[0]].register_forward_pre_hook(make_room)
