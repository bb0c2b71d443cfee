"""Networks that are given back while nobody needs them, and read from their files again when somebody does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from excise.digests import digest_tensors


class OnDemand:
    """A network whose weights can be let go of. When it is asked next, they are read again.

    network what the pipeline holds; it stays the same module with the same parameters
    again   reads the network anew
    name    what errors call it
    """

    def __init__(self, network: Any, again: Callable[[], nn.Module], name: str) -> None:
        self.network, self.again, self.name = network, again, name
        self.released = False
        self._digest = ""
        network.register_forward_pre_hook(self._asked)

    def release(self, digest: str) -> None:
        """Give the memory of the weights back; `digest` is that of the network (`unedited_readers`)."""
        self._digest, self.released = digest, True
        for parameter in self.network.parameters():
            parameter.data = parameter.data.new_empty(0)

    def _asked(self, *_: object) -> None:
        self.recall()

    def recall(self) -> None:
        """Have the weights again, if they were let go of. Raises ValueError if the files hold others by now."""
        if not self.released:
            return
        fresh = self.again()
        if digest_tensors(fresh.state_dict()) != self._digest:
            raise ValueError(f"{self.name} was changed while the model was at work; start again")
        found = dict(fresh.named_parameters())
        for name, parameter in self.network.named_parameters():
            parameter.data = found[name].data.to(parameter.device)
        self.released = False
