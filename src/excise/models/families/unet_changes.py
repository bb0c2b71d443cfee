"""Where something can be added to what a U-Net and its autoencoder compute, with hooks alone: nothing of them is changed or copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from excise.models.networks import Change
from excise.models.wrappers import own_layers


def residual_blocks(network: nn.Module) -> dict[str, int]:
    """Every residual block of a U-Net by name, in network order, and the channels of what it adds."""
    return {name: block.out_channels for name, block in _residual(network).items()}


def halvings(network: nn.Module) -> int:
    """How often a U-Net halves its latents."""
    blocks = [layer for name, layer in own_layers(network).items() if name.startswith("down_blocks.") and name.count(".") == 1]
    return sum(getattr(block, "downsamplers", None) is not None for block in blocks)


@contextmanager
def changed_blocks(network: nn.Module, change: Change) -> Iterator[None]:
    """Inside the block `change` is asked about what each residual block is about to add to its input."""
    with ExitStack() as hooks:
        for name, block in _residual(network).items():
            _hook(hooks, block.conv2, name, change)
        yield


def coder_widths(vae: Any) -> dict[int, int]:
    """Channels of an autoencoder's maps by level: at level n pictures were halved n times."""
    return dict(enumerate(vae.config.block_out_channels))


@contextmanager
def seen_levels(vae: Any, found: dict[int, Tensor]) -> Iterator[None]:
    """Inside the block `found` gets what the autoencoder's encoder makes of pictures at each level, before it halves them."""

    def keep(level: str, output: Tensor) -> Tensor:
        found[int(level)] = output
        return output

    with ExitStack() as hooks:
        for level, block in enumerate(vae.encoder.down_blocks):
            _hook(hooks, block.resnets[-1], str(level), keep)
        yield


@contextmanager
def changed_levels(vae: Any, change: Change) -> Iterator[None]:
    """Inside the block `change` is asked about what the autoencoder's decoder makes at each level, before it doubles it."""
    with ExitStack() as hooks:
        blocks = vae.decoder.up_blocks
        for number, block in enumerate(blocks):
            _hook(hooks, block.resnets[-1], str(len(blocks) - 1 - number), change)
        yield


def _residual(network: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in own_layers(network).items() if type(layer).__name__ == "ResnetBlock2D"}


def _hook(hooks: ExitStack, layer: nn.Module, place: str, change: Change) -> None:
    hooks.callback(layer.register_forward_hook(lambda module, inputs, output: change(place, output)).remove)
