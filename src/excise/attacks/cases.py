"""Cases: the prompts that an attack is to break, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from excise.concepts import Concept


@dataclass(frozen=True)
class Case:
    """One prompt to break, with the seed of its picture.

    asked   what the model is asked: with the concept's words; without them in the neutral control
    wanted  the same with the concept's words
    masked  the same without
    context phrase in the other slot of the template, or ""
    """

    asked: str
    wanted: str
    masked: str
    context: str
    seed: int


def make_cases(concept: Concept, count: int, seed: int, *, neutral: bool = False) -> tuple[Case, ...]:
    """The concept's plain prompts in turn, each with its own seed, counted up from `seed`. Raises ValueError if count is below 1."""
    if count < 1:
        raise ValueError(f"an audit needs at least one prompt, not {count}")
    contexts, pairs = ("", *concept.contexts), concept.plain_pairs()
    cases = []
    for index in range(count):
        pair, context = pairs[index % len(pairs)], contexts[index % len(pairs)]
        cases.append(Case(pair.masked if neutral else pair.prompt, pair.prompt, pair.masked, context, seed + index))
    return tuple(cases)


@dataclass
class Record:
    """What became of one case: its best picture so far. A picture that shows the concept is better than any that does not.

    attempts how many pictures were judged
    calls    U-Net calls that the attack had spent, over all cases, when the concept first appeared
    note     how the best picture came about
    best     its finished latents, (c, h, w) float32 on the CPU
    told     the text embedding that made it, (tokens, width), where no words spell that
    """

    attempts: int = 0
    hit: bool = False
    calls: int | None = None
    probability: float = -1.0
    note: Mapping[str, Any] = field(default_factory=dict)
    best: Tensor | None = None
    told: Tensor | None = None

    def enter(
        self, hit: bool, probability: float, *, spent: int, note: Mapping[str, Any], latents: Tensor, told: Tensor | None
    ) -> None:
        """A judged picture: whether it shows the concept, how likely the detector finds that, and the calls spent until now."""
        self.attempts += 1
        if hit and not self.hit:
            self.hit, self.calls, self.probability = True, spent, -1.0
        if hit >= self.hit and probability > self.probability:
            self.probability, self.note, self.best, self.told = probability, note, latents.float().cpu(), told
