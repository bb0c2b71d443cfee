"""What brought an erased concept back in an audit, to be erased too."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Counterexample:
    """A prompt or a text embedding that showed an erased concept.

    concept the concept's label, "object:cat"
    attack  name of the attack that found it
    told    the prompt, or its embedding (tokens, width) where no words spell it
    masked  the prompt that it should be taken for
    """

    concept: str
    attack: str
    told: str | Tensor
    masked: str


def record(counterexamples: Sequence[Counterexample]) -> dict[str, Any] | None:
    """What manifests and checkpoints say of them: how many each attack gave, and a SHA-256 over all of them. None for none."""
    if not counterexamples:
        return None
    digest = hashlib.sha256()
    for counterexample in counterexamples:
        told = counterexample.told if isinstance(counterexample.told, str) else list(counterexample.told.shape)
        digest.update(json.dumps([counterexample.concept, counterexample.attack, told, counterexample.masked]).encode())
        if not isinstance(counterexample.told, str):
            digest.update(counterexample.told.detach().float().cpu().contiguous().numpy().data)
    counts = Counter(counterexample.attack for counterexample in counterexamples)
    return {"attacks": dict(sorted(counts.items())), "sha256": digest.hexdigest()}
