"""What a measurement says: numbers with intervals, and how they are written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from excise.resampling import Estimate

FLOOR = 0.01
"""Nats per picture below which information is never told from none (ours); the rewording control may raise it."""

UNDEFINED = "undefined"


@dataclass(frozen=True)
class Forms:
    """What the words say in one model, nats per picture.

    orthogonal "nats left": never negative
    plain      mean log-ratio of likelihoods; negative where the model steers away
    steering   blind steering coefficient from the two; None (undefined) where they do not stand out of the noise
    floor      orthogonal nats that rewording the rest of the prompt seems to carry, at least 0.01
    """

    orthogonal: Estimate
    plain: Estimate
    steering: Estimate | None
    floor: float

    @property
    def at_floor(self) -> bool:
        """Whether nothing is left that could be told from noise: not more nats than the floor, and the plain form is around zero."""
        return self.orthogonal.value <= self.floor and self.plain.low <= 0 <= self.plain.high

    def to_dict(self) -> dict[str, Any]:
        return {
            "orthogonal": self.orthogonal.to_dict(),
            "plain": self.plain.to_dict(),
            "steering_blind": _or_undefined(self.steering),
            "floor": self.floor,
            "at_floor": self.at_floor,
        }


@dataclass(frozen=True)
class Reading:
    """The words' information before and after; everything but `base` is None without an edit.

    share_left edited over base, orthogonal form
    steering   direct coefficient: 1 intact, 0 ignored, negative steers away; None where the base knows nothing
    alignment  cosine between the words' effect before and after; None where either is nothing
    """

    base: Forms
    edited: Forms | None = None
    share_left: Estimate | None = None
    steering: Estimate | None = None
    alignment: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.edited is None:
            return {"base": self.base.to_dict()}
        return {
            "base": self.base.to_dict(),
            "edited": self.edited.to_dict(),
            "share_left": _or_undefined(self.share_left),
            "steering_direct": _or_undefined(self.steering),
            "alignment": _or_undefined(self.alignment),
        }


@dataclass(frozen=True)
class Curve:
    """Nats by log-SNR, per unit of log-SNR: each curve times the widths of its bins sums to the nats of its form.

    edges (bins + 1,) log-SNR, ascending; curves: "base orthogonal", "base plain", "edited orthogonal", ... -> (bins,)
    """

    edges: tuple[float, ...]
    curves: dict[str, tuple[float, ...]]

    def to_dict(self) -> dict[str, Any]:
        return {"log_snr_edges": list(self.edges), **{name: list(values) for name, values in self.curves.items()}}


@dataclass(frozen=True)
class ConceptReading:
    """All about one concept.

    conditional   its words given the rest of the prompt: the figure an edit is judged by
    unconditional the whole prompt against the empty one
    destruction   log-likelihood that the empty prompt lost on the concept's pictures, nats: above 0, knowledge was destroyed
    rest_loss     the same for the rest of the prompt
    maps          {"base" or "edited": (h, w)} mean orthogonal nats by latent pixel
    examples      a few pictures with their own maps, for the figure; not part of `to_dict`
    """

    label: str
    pictures: int
    source: str
    prompts: tuple[str, ...]
    conditional: Reading
    unconditional: Reading
    destruction: Estimate | None
    rest_loss: Estimate | None
    curve: Curve
    maps: dict[str, Tensor] = field(repr=False)
    examples: tuple[Example, ...] = field(default=(), repr=False)

    def to_dict(self, *, curve: bool = True, maps: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {
            "concept": self.label,
            "pictures": self.pictures,
            "source": self.source,
            "prompts": list(self.prompts),
            "conditional": self.conditional.to_dict(),
            "unconditional": self.unconditional.to_dict(),
        }
        if self.destruction is not None and self.rest_loss is not None:
            found |= {"destruction": self.destruction.to_dict(), "rest_loss": self.rest_loss.to_dict()}
        if curve:
            found["curve"] = self.curve.to_dict()
        if maps:
            found["maps"] = {name: [[round(v, 6) for v in row] for row in m.tolist()] for name, m in self.maps.items()}
        return found


@dataclass(frozen=True)
class Example:
    """A picture (3, size, size) in 0–1 with its prompt and its maps {"base" or "edited": (h, w) nats}."""

    prompt: str
    picture: Tensor
    maps: dict[str, Tensor]


@dataclass(frozen=True)
class Collateral:
    """The share of the base model's nats that other concepts keep (orthogonal form, given the rest of the prompt).

    kept  label -> share, for the others of which the base model knows something; mean over them, each counted as at
          most 1; the worst, by name
    """

    kept: dict[str, Estimate]
    mean: Estimate
    worst: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "mean": self.mean.to_dict(),
            "worst": {"concept": self.worst, **self.kept[self.worst].to_dict()},
            "kept": {label: estimate.to_dict() for label, estimate in self.kept.items()},
        }


@dataclass(frozen=True)
class Measurement:
    """Residual information of concepts in a model, and what the edits cost the others.

    model, edits  what was measured; `settings` says how (seed, budget, evaluations, nodes, range of log-SNR, source of the pictures, ...)
    """

    model: str
    edits: tuple[str, ...]
    concepts: tuple[ConceptReading, ...]
    others: tuple[ConceptReading, ...]
    collateral: Collateral | None
    settings: dict[str, Any]
    seconds: float

    def to_dict(self, *, full: bool = True) -> dict[str, Any]:
        """Plain values for JSON; heat maps for the concepts, not for the others. Not full: what an edit's manifest keeps."""
        return {
            "model": self.model,
            "edits": list(self.edits),
            "unit": "nats per picture",
            "concepts": [reading.to_dict(curve=full, maps=full) for reading in self.concepts],
            "others": [reading.to_dict(maps=False) for reading in self.others] if full else [],
            "collateral": None if self.collateral is None else self.collateral.to_dict(),
            "settings": self.settings,
            "seconds": round(self.seconds, 2),
        }


def _or_undefined(estimate: Estimate | None) -> dict[str, Any] | str:
    return UNDEFINED if estimate is None else estimate.to_dict()
