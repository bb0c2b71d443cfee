"""UCE: send the text embeddings of a concept where those of a guide go, in one linear solve (arXiv 2308.14761)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from excise.concepts import Concept, PromptPair
from excise.erasure.wording import Expansion, Prompts, Redirecting, Shares, expanded, preserved, worded
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import Delta, WeightEdit
    from excise.erasure.joint_solve import Ledger, Request
    from excise.erasure.run import Run
    from excise.erasure.token_rows import TokenRows
    from excise.models import Model

_RELEASE_2023 = {"tokens": "aligned", "wording": "name", "guide": " ", "keep_empty": True}
_RELEASE_2025 = {"tokens": "last", "wording": "name", "guide": "", "keep_empty": False, "preserve_weight": 1.0}


_SHARED = ("ridge", "technique", "tokens", "preserve_weight", "keep_empty")
"""Settings that edits solved together must have in common."""


class UceSettings(Redirecting):
    """The authors' two releases are presets; what differs from both in the defaults is ours."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "release-2023": _RELEASE_2023,
        "release-2025": _RELEASE_2025,
        "object": _RELEASE_2025,
        "artist": {**_RELEASE_2025, "guide": "art"},
        "artist-2023": {**_RELEASE_2023, "guide": "art"},
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


@register("uce", title="UCE", paper="arXiv 2308.14761", settings=UceSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: UceSettings, run: Run) -> WeightEdit:
    """Solve for these concepts, and for those of earlier UCE edits on the model, at once."""
    from excise.erasure.joint_solve import Ledger
    from excise.erasure.subspaces import select
    from excise.methods.uce.balance import balance

    def solve(settings: UceSettings) -> WeightEdit:
        ledger = Ledger.of(model, "uce", concepts, settings, same=_SHARED)
        return ledger.finish(model, _deltas(model, ledger, ledger.weights(model, select(model.unet, "kv"))), run)

    if settings.pushes is not None and (not settings.attributes or len(settings.pushes) != len(concepts)):
        raise ValueError(f"pushes need attributes, and a row for each of the {len(concepts)} concepts")
    if settings.attributes and settings.pushes is None:
        return balance(model, concepts, settings, solve, run)
    return solve(settings)


def _deltas(model: Model, ledger: Ledger[UceSettings], weights: dict[str, Tensor]) -> dict[str, Delta]:
    import torch

    from excise.erasure import closed_form
    from excise.erasure.token_rows import TokenRows

    settings = ledger.settings
    held = preserved(model, ledger.concepts, [request.settings.preserve for request in ledger.requests])
    named = [text for request in ledger.requests for text in _prompts(request)]
    bank = TokenRows.of(model, ["", *held, *named], [phrase for concept in ledger.concepts for phrase in concept.phrases])

    edited = [part for request in ledger.requests for part in _edited(bank, request)]
    rows, guides, strength = (torch.cat(column) for column in zip(*edited, strict=True))
    keep = bank.stacked(held, last=settings.tokens == "last")
    if settings.keep_empty:
        keep = torch.cat([keep, bank.all("")])
    count = max(len(held) + settings.keep_empty, 1)
    weight = max(0.1, 1 / count) if settings.preserve_weight is None else settings.preserve_weight
    keep_strength = torch.full((len(keep),), weight, dtype=torch.float64)

    if settings.technique == "replace":
        return closed_form.redirect(rows, guides, strength, keep, keep_strength, settings.ridge).deltas(weights)
    block = torch.arange(len(edited)).repeat_interleave(torch.tensor([len(part[0]) for part in edited]))
    gain = closed_form.gain(rows, strength, keep, keep_strength, settings.ridge)
    return closed_form.deltas(weights, lambda weight: away(weight @ rows.T, weight @ guides.T, block), gain)


def _pairs(concept: Concept, settings: UceSettings) -> list[PromptPair]:
    """The prompts to edit with their guides (the 2023 release does not expand a given guide)."""
    both = settings.tokens == "last" or settings.guide is None
    return expanded(worded(concept, settings.wording, settings.guide), settings.expand, guide_too=both)


def _prompts(request: Request[UceSettings]) -> list[str]:
    pairs = [pair for concept in request.concepts for pair in _pairs(concept, request.settings)]
    return [text for pair in pairs for text in (pair.prompt, pair.masked)] + list(request.settings.attributes)


def _edited(bank: TokenRows, request: Request[UceSettings]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows, guide rows and strengths of every prompt to edit."""
    from excise.methods.uce.balance import pushed

    settings, parts = request.settings, []
    for number, concept in enumerate(request.concepts):
        for pair in _pairs(concept, settings):
            if settings.pushes is None:
                rows, guides = bank.paired(pair.prompt, pair.masked, settings.tokens)
            else:
                rows, guides = pushed(bank, pair.prompt, settings.attributes, settings.pushes[number], settings.tokens)
            parts.append((rows, guides, rows.new_full((len(rows),), settings.erase_weight)))
    return parts


def away(old: Tensor, guide: Tensor, block: Tensor) -> Tensor:
    """Change of outputs of the `tensor` technique: V_g - <u, V_g> u - V_c, u = V_c / ||V_c||, inner products over a prompt's whole block.

    old, guide (out, rows) outputs V_c and V_g; block (rows,) int64, the prompt that a row belongs to
    """
    import torch

    sums = torch.zeros(2, int(block.max()) + 1, dtype=old.dtype)
    sums.index_add_(1, block, torch.stack([(old * guide).sum(0), old.square().sum(0)]))
    return guide - old * (1 + (sums[0] / sums[1])[block])
