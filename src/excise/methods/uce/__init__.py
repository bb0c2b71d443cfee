"""UCE: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from excise.erasure.prompt_settings import ARTISTS, Expansion, Prompts, Redirecting, Shares
from excise.methods import Method
from excise.registry import Door

_RELEASE_2023 = {"tokens": "aligned", "wording": "name", "guide": " ", "keep_empty": True}

_RELEASE_2025 = {"tokens": "last", "wording": "name", "guide": "", "keep_empty": False, "preserve_weight": 1.0}


class UceSettings(Redirecting):
    """The authors' two releases are presets; what differs from both in the defaults is ours."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "release-2023": _RELEASE_2023,
        "release-2025": _RELEASE_2025,
        "object": _RELEASE_2025,
        "artist": {**_RELEASE_2025, "guide": "art"},
        "artist-2023": {**_RELEASE_2023, "guide": "art", "preserve": ARTISTS, "preserve_weight": 0.1},
        "nudity": _RELEASE_2023,
        "unsafe": _RELEASE_2023,
    }

    tokens: Literal["last", "aligned", "concept"] = Field(
        "aligned",
        description="rows to edit: the last content token (2025), it and all after it (2023), or all from the concept's word on (ours)",
    )
    expand: Expansion = Field("none", description="further prompts around the name, as the authors' code has them")
    keep_empty: bool = Field(True, description="also hold the empty prompt, which guidance uses (2023 does, 2025 does not)")
    ridge: float = Field(0.5, ge=0, description="lambda: pull towards the old weights; edited rows hardly feel it")
    erase_weight: float = Field(1.0, gt=0, description="e: weight of an edited row")
    preserve_weight: float | None = Field(None, ge=0, description="p: weight of a held row; default max(0.1, 1 / prompts held)")
    technique: Literal["replace", "tensor"] = Field(
        "replace", description="wanted output: the guide's, or the guide's without its part along the concept's own (2023)"
    )
    attributes: Prompts = Field((), description='debias instead: attributes to balance, such as "a man; a woman"')
    desired: Shares = Field((), description='wanted share of every attribute, such as "0.3; 0.7"; default: equal')
    pushes: tuple[tuple[float, ...], ...] | None = Field(
        None, description="weight of every attribute per concept; default: search"
    )
    push_step: float = Field(0.1, gt=0, description="how far a share that is off moves the weight of its attribute, per round")
    tolerance: float = Field(0.05, gt=0, description="stop when every share is this close to the wanted one")
    rounds: int = Field(30, ge=1, description="most rounds of debiasing")
    pictures: int = Field(10, ge=1, description="pictures per concept that a round of debiasing looks at")

    @field_validator("desired")
    @classmethod
    def _one_each(cls, desired: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if desired and (len(desired) != len(info.data.get("attributes", ())) or abs(sum(desired) - 1) > 1e-6):
            raise ValueError("needs one share for every attribute, and they add up to 1")
        return desired

    @model_validator(mode="after")
    def _consistent(self) -> UceSettings:
        if self.attributes and self.technique == "tensor":
            raise ValueError("technique=tensor takes a guide's part along the concept away; attributes need technique=replace")
        if self.pushes is not None and any(len(row) != len(self.attributes) for row in self.pushes):
            raise ValueError(f"pushes need a weight for each of the {len(self.attributes)} attributes in every row")
        return self


METHOD = Method(
    "uce",
    title="UCE",
    paper="arXiv 2308.14761",
    settings=UceSettings,
    run=Door("excise.methods.uce.erase", "erase"),
    solves=True,
    needs=("entrances",),
)
