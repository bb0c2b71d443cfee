"""Gradient checkpointing: what a denoiser computes on its way to a gradient is computed again for it, and not kept (arXiv 1604.06174).

The second time must be like the first. By then hooks may be off, and may know of a later pass; so whoever changes what a network computes
tells here how to do it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

Block = Callable[[], AbstractContextManager[Any]]
"""Makes a block, inside which a part of a network is computed again."""
Remember = Callable[[], Block]
"""Called when a part is computed first, with what there is to know then."""


def recompute(network: Any) -> None:
    """From here on nothing inside the network's parts is kept for gradients: less memory, and a third more work or so."""
    network.enable_gradient_checkpointing(partial(_checkpointed, network))


def remember(network: nn.Module, how: Remember) -> RemovableHandle:
    """Until the handle is removed, parts that are computed are computed again inside a block of `how`."""
    handle = RemovableHandle(_known(network))
    _known(network)[handle.id] = how
    return handle


@contextmanager
def remembered(network: nn.Module, block: Block) -> Iterator[None]:
    """Parts that are computed in here, where `block` is on, are computed again inside such a block, if that is after it."""
    on = True
    handle = remember(network, lambda: lambda: nullcontext() if on else block())
    try:
        yield
    finally:
        on = False
        handle.remove()


def _known(network: nn.Module) -> OrderedDict[int, Remember]:
    known: OrderedDict[int, Remember] = network.__dict__.setdefault("_excise_remembered", OrderedDict())
    return known


def _checkpointed(network: nn.Module, part: nn.Module, *inputs: Any) -> Any:
    """A part's output, as diffusers asks for it. No random numbers are kept: dropout is off."""
    again = _Blocks([how() for how in _known(network).values()])
    return checkpoint(
        part.__call__, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), again)
    )


class _Blocks:
    """Several blocks as one, which can be entered again and again."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self._inside = ExitStack()

    def __enter__(self) -> None:
        self._inside = ExitStack()
        for block in self.blocks:
            self._inside.enter_context(block())

    def __exit__(self, *error: Any) -> None:
        self._inside.__exit__(*error)
