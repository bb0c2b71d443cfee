"""DUGE: a concept's attention becomes that of the empty prompt, while pictures of related things and a small memory are kept.

Source: arXiv 2503.13769. Only its three losses are known to us, not the target maps, weights or settings.
docs/research/peers/method.md tells what is ours.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext

from torch import Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit, all_removed, applied_edits, original_tensors
from excise.erasure import subspaces
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import kept_pictures, kept_prompts, learning_pictures
from excise.methods.duge import DugeSettings
from excise.methods.duge.losses import DugeLosses, Kept
from excise.methods.duge.maps import columns, fitting
from excise.models import Model

log = logging.getLogger(__name__)


def erase(model: Model, concepts: Sequence[Concept], settings: DugeSettings, run: Run) -> WeightEdit:
    """Make pictures of three kinds, then train on all of them at every step."""
    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    earlier = erased_before(model)
    groups = kept_groups(model, concepts, earlier, settings)
    taught = [*concepts, *earlier] if settings.reference == "base" else concepts
    bank = PromptBank.of_pairs(
        model, redirected(model, taught, settings.wording, settings.anchor if settings.target == "anchor" else "masked")
    )
    bank = fitting(model, bank) if settings.target == "anchor" else bank
    counted = columns(model, bank, taught, settings)
    base = unedited(model, trainable) if settings.reference == "base" else None
    with all_removed(model) if settings.pictures_by == "base" else nullcontext():
        shown = learning_pictures(model, bank, settings, run, shows="conditioned")
        prior, memory = (_pictures(model, groups, which, settings, run) for which in ("prior", "memory"))
    with trainable:
        reference = trainable.before if base is None else base
        losses = DugeLosses(model, trainable, reference, bank, counted, shown, prior, memory, settings)
        weight = settings.unlearn_weight * losses.balance(run)
        log.info("weight of the map loss: %.4g", weight)
        train(trainable, lambda round_: lambda step: losses.total(weight, run.generator(1, round_, step)), settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "duge", concepts, settings, run)


def erased_before(model: Model) -> list[Concept]:
    """The concepts that the edits on a model removed."""
    return [model.catalog.recorded(entry) for edit, _ in applied_edits(model) for entry in edit.manifest.concepts]


def kept_groups(
    model: Model, concepts: Sequence[Concept], earlier: Sequence[Concept], settings: DugeSettings
) -> dict[str, list[list[str]]]:
    """Prompts of related concepts and of the memory, where they have a weight.

    Of what the model declares none names what was erased; a list of the user's is taken as it is.

    Raises ValueError where the model declares nothing and the settings do not list it.
    """
    erased, kinds = [*concepts, *earlier], {concept.slot for concept in concepts}
    others = {"object", "style"} - kinds or kinds
    groups = {}
    if settings.prior_weight:
        groups["prior"] = kept_prompts(model, erased, settings.prior, kinds=sorted(kinds), called="prior")
    if settings.memory_weight:
        groups["memory"] = kept_prompts(model, erased, settings.memory, kinds=sorted(others), called="memory")
    return groups


def unedited(model: Model, trainable: Trainable) -> dict[str, Tensor]:
    """The base's tensors in the place of those that edits changed and of those that are trained; call it before anything is trained.

    Raises ValueError for an adapter, which changes no tensor.
    """
    for edit, _ in applied_edits(model):
        if edit.manifest.kind != "weights":
            names = ", ".join(edit.manifest.names)
            raise ValueError(
                f"reference=base does not see past the edit that removes {names} ({edit.manifest.method}): it is an adapter; take it off, "
                "or use reference=previous"
            )
    edited = {name for edit, _ in applied_edits(model) for name in edit.deltas}
    original = original_tensors(model)
    return {name: original[name].detach() for name in edited | trainable.parameters.keys()}


def _pictures(model: Model, groups: dict[str, list[list[str]]], which: str, settings: DugeSettings, run: Run) -> Kept | None:
    if which not in groups:
        return None
    count = settings.prior_pictures if which == "prior" else settings.memory_pictures
    return kept_pictures(model, groups[which], count, settings, run, second=which == "memory")
