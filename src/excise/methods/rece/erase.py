"""RECE: after a UCE edit, find the embedding that still brings the concept back, send that away too, repeat (arXiv 2407.12383)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.wording import Redirecting, preserved, worded
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.closed_form import TextMap
    from excise.erasure.run import Run
    from excise.models import Model

_UNCOND = {"wording": "name", "guide": " ", "base_preserve_weight": 1.0}
_ARTIST = {"wording": "name", "guide": "art", "base_preserve_weight": 0.1}


class ReceSettings(Redirecting):
    """Defaults of the numbers are the authors' for nudity; wording and guide follow the model's own templates (ours)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 3, "keep_empty": "per-concept"},
        "unsafe": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 2, "keep_empty": "per-concept"},
        "artist": {**_ARTIST, "regeneration_ridge": 1e-3, "rounds": 1},
        "object": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 1},
        "object-hard": {**_UNCOND, "regeneration_ridge": 1e-3, "rounds": 1},
    }

    rounds: int = Field(3, ge=0, description="how often the embedding is found and sent away; 0 is plain UCE")
    regeneration_ridge: float = Field(
        1e-1, gt=0, description="lambda_r: keeps the found embedding short; larger erases and harms less"
    )
    ridge: float = Field(0.1, gt=0, description="lambda of the edits that follow")
    erase_weight: float = Field(1.0, gt=0, description="e: weight of an edited row")
    preserve_weight: float = Field(0.1, ge=0, description="p: weight of a held row in the edits that follow")
    tokens: Literal["all", "aligned", "concept"] = Field(
        "all", description="rows of a prompt that are regenerated: all, as published, or as in uce"
    )
    keep_empty: Literal["once", "per-concept"] = Field(
        "once", description="hold the empty prompt once, or as often as there are concepts (nudity, unsafe)"
    )
    base: Literal["uce", "scratch"] = Field("uce", description="start from a UCE edit, or from the model as it is")
    base_tokens: Literal["last", "aligned", "concept"] = Field("aligned", description="rows that the UCE edit changes")
    base_ridge: float = Field(0.5, gt=0, description="lambda of the UCE edit")
    base_preserve_weight: float = Field(1.0, ge=0, description="p of the UCE edit")


@register("rece", title="RECE", paper="arXiv 2407.12383", settings=ReceSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: ReceSettings, run: Run) -> WeightEdit:
    """A UCE edit and `rounds` of regeneration, for these concepts and those of earlier RECE edits on the model at once.

    The released script keeps the round that a detector likes best; here all rounds count, and `rounds` is the budget.
    """
    import torch

    from excise.erasure import closed_form
    from excise.erasure.joint_solve import Ledger
    from excise.erasure.subspaces import select
    from excise.erasure.token_rows import TokenRows

    ledger = Ledger.of(model, "rece", concepts, settings, same=[k for k in ReceSettings.model_fields if k != "preserve"])
    weights = ledger.weights(model, select(model.unet, "kv"))
    held = preserved(model, ledger.concepts, [request.settings.preserve for request in ledger.requests])
    pairs = [pair for concept in ledger.concepts for pair in worded(concept, settings.wording, settings.guide)]
    prompts = [text for pair in pairs for text in (pair.prompt, pair.masked)]
    bank = TokenRows.of(model, ["", *held, *prompts], [phrase for c in ledger.concepts for phrase in c.phrases])
    keep = bank.stacked([*held, *[""] * (len(ledger.concepts) if settings.keep_empty == "per-concept" else 1)])

    start = closed_form.TextMap.identity(keep.shape[1])
    if settings.base == "uce":
        rows, guides = (
            torch.cat(c) for c in zip(*(bank.paired(p.prompt, p.masked, settings.base_tokens) for p in pairs), strict=True)
        )
        base_keep = bank.stacked(["", *held])
        start = closed_form.redirect(
            rows, guides, torch.full((len(rows),), settings.erase_weight, dtype=torch.float64),
            base_keep, torch.full((len(base_keep),), settings.base_preserve_weight, dtype=torch.float64), settings.base_ridge,
        )  # fmt: skip
    rows, guides = (torch.cat(c) for c in zip(*(bank.paired(p.prompt, p.masked, settings.tokens) for p in pairs), strict=True))
    return ledger.finish(model, regenerated_away(weights, start, rows, guides, keep, settings).deltas(weights), run)


def regenerated_away(
    weights: dict[str, Tensor], start: TextMap, rows: Tensor, guides: Tensor, keep: Tensor, settings: ReceSettings
) -> TextMap:
    """The map after all rounds, starting from the map of a base edit.

    weights  the original matrices W0
    rows     (n, in) the concept's embeddings C; guides (n, in) where what brings them back is sent; keep (m, in)

    Every round: C' = argmin sum ||W C' - W0 C||^2 + lambda_r ||C'||^2, then the UCE solve C' -> guides from the *current* W. All W are
    W0 (I + map), so sum W^T W and sum W^T W0 are computed once and follow every map as changes of its rank.
    """
    import torch

    from excise.erasure import closed_form

    strength = torch.full((len(rows),), settings.erase_weight, dtype=torch.float64)
    keep_strength = torch.full((len(keep),), settings.preserve_weight, dtype=torch.float64)
    total = start
    if settings.rounds:
        cross = start.pull(closed_form.gram(weights))  # sum W^T W0
        own = start.pull(cross.T)  # sum W^T W
    for _ in range(settings.rounds):
        found = regenerate(own, cross, rows, settings.regeneration_ridge)
        step = closed_form.redirect(found, guides, strength, keep, keep_strength, settings.ridge)
        total, cross, own = total.then(step), step.pull(cross), step.pull(step.pull(own).T)
    return total


def regenerate(own: Tensor, cross: Tensor, rows: Tensor, ridge: float) -> Tensor:
    """The embeddings that make edited weights W give what W0 gave for `rows`: (ridge I + sum W^T W)^-1 (sum W^T W0) c, (n, in).

    own = sum W^T W and cross = sum W^T W0, both (in, in); rows (n, in)
    """
    import torch

    system = own + ridge * torch.eye(len(own), dtype=own.dtype)
    factor, problem = torch.linalg.cholesky_ex(system)
    if problem:
        raise ValueError(f"regeneration_ridge={ridge:g} is too small here; use a larger one")
    return torch.cholesky_solve(cross @ rows.T, factor).T
