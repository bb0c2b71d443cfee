"""Counts what an attack spends. It counts in the networks themselves, so that nothing can be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from excise.models import Model


class CallMeter:
    """U-Net calls of an attack: one for every latent that passes the denoiser, two more where gradients are taken through it.

    budget  how many calls there may be. A pass that goes over it raises RuntimeError, so attacks plan ahead with `left`
    tick    is told (calls spent, budget) after every pass
    encodes prompts that passed the text encoder (not part of the budget)
    """

    def __init__(self, budget: int, tick: Callable[[int, int], None] = lambda spent, budget: None) -> None:
        self.budget, self.tick = budget, tick
        self.forwards = self.backwards = self.encodes = 0
        self._counting = True

    @property
    def spent(self) -> int:
        return self.forwards + 2 * self.backwards

    @property
    def left(self) -> int:
        return self.budget - self.spent

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """Count inside the block."""
        hooks = [
            model.denoiser.register_forward_hook(self._asked),
            model.encoders[0].register_forward_hook(self._encoded),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is counted inside the block."""
        self._counting = False
        try:
            yield
        finally:
            self._counting = True

    def _asked(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not self._counting:
            return
        sample = output[0]  # (b, c, h, w), or b of (c, h, w)
        self.forwards += len(sample)
        self.backwards += len(sample) * sample[0].requires_grad
        if self.spent > self.budget:
            raise RuntimeError(f"the attack went over its budget: {self.spent} U-Net calls of {self.budget}")
        self.tick(self.spent, self.budget)

    def _encoded(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._counting:
            self.encodes += len(output[0])
