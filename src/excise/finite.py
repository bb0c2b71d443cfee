"""The look at what comes out: what is not finite is no result, so nothing of it is written, shown or counted. No torch is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WEAKER = "use a smaller scale of the edits or a smaller learning rate, or try --dtype float32"
"""What helps against most numbers that left the range of floats."""


def check_finite(found: Tensor | Mapping[str, Tensor], what: str, remedy: str = WEAKER) -> None:
    """Raise FloatingPointError in one line if a value is NaN or infinite: what it is, of named tensors also the name, and what to do."""
    named = found if isinstance(found, Mapping) else {"": found}
    for name, tensor in named.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"{what} {f'({name}) ' if name else ''}has values that are not finite (NaN or infinity); {remedy}"
            )
