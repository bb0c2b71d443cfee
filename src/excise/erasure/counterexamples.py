"""What brought an erased concept back in an audit, to be erased too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from excise.digests import digest_bytes


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
    counts = Counter(counterexample.attack for counterexample in counterexamples)
    return {"attacks": dict(sorted(counts.items())), "sha256": digest_bytes(b"".join(map(_bytes, counterexamples)))}


def _bytes(counterexample: Counterexample) -> bytes:
    """Everything that it says."""
    told = counterexample.told
    shape = told if isinstance(told, str) else list(told.shape)
    text = json.dumps([counterexample.concept, counterexample.attack, shape, counterexample.masked]).encode()
    return text if isinstance(told, str) else text + told.detach().float().cpu().contiguous().numpy().tobytes()
