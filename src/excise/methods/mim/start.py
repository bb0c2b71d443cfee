"""Where MiM-MU begins: keys and values that take the concepts' names for what their target prompt says, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from excise.concepts import Concept, apart
from excise.erasure import closed_form
from excise.erasure.counterexamples import Counterexample
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.prompt_settings import Wording
from excise.erasure.text_rows import TextRows
from excise.erasure.trainable import Trainable
from excise.erasure.wording import worded
from excise.methods.mim import MimSettings, metric
from excise.models import Model
from excise.models.entrances import Way


@torch.no_grad()
def redirect_names(
    model: Model,
    concepts: Sequence[Concept],
    bank: PromptBank,
    counterexamples: Sequence[Counterexample],
    trainable: Trainable,
    felt: dict[Way, Tensor],
    settings: MimSettings,
) -> None:
    """Put keys and values where the concepts' names, and counterexamples, give what their target prompt gives, in least squares."""
    for way, change in redirections(model, concepts, bank, counterexamples, felt, settings).items():
        for name in set(model.entrances_of(way)) & trainable.parameters.keys():
            weight = trainable.parameters[name][:, : len(change)]
            weight.add_((weight.cpu().double() @ change).to(weight))


def redirections(
    model: Model,
    concepts: Sequence[Concept],
    bank: PromptBank,
    counterexamples: Sequence[Counterexample],
    felt: dict[Way, Tensor],
    settings: MimSettings,
) -> dict[Way, Tensor]:
    """Changes D (width, width) float64 of the ways in: weights W (I + D) take the names for what their target prompt says, in least squares.

    UCE's solve (arXiv 2308.14761), with the metric in the place of concepts to preserve.
    """

    named = list(_names(model, concepts, settings))
    found = {}
    for way, own in felt.items():
        if bank.conditioned[len(bank.pairs) :].mask is None:
            shown = _counterexamples(model, bank, way, settings)
        else:
            shown = _counted_by_token(model, counterexamples, way, settings)
        found[way] = _redirected([*(pair[way] for pair in named), *shown], own, settings)
    return found


def _redirected(groups: Sequence[tuple[Tensor, Tensor]], felt: Tensor, settings: MimSettings) -> Tensor:
    """The change D of one way in; groups are rows and what they should give."""
    rows, guides = (torch.cat([part.cpu().double() for part in side]) for side in zip(*groups, strict=True))
    strength = torch.cat([rows.new_full((len(own),), 1 / len(own)) for own, _ in groups])  # each group as if it were alone
    others = metric.root(felt)
    held = rows.new_full((len(others),), settings.hold)
    ridge = settings.ridge * float(felt.diagonal().mean())
    return closed_form.redirect(rows, guides, strength, others, held, ridge).change()


def _names(model: Model, concepts: Sequence[Concept], settings: MimSettings) -> Iterator[dict[Way, tuple[Tensor, Tensor]]]:
    """Of each concept the rows of its names, from the last word on, and those of the same prompts without it, (n, width) float64."""
    wording: Wording = "name" if settings.phrasings == "plain" else "phrases"
    named = [worded(concept, wording, "" if settings.target == "null" else None) for concept in apart(concepts)]
    encoded = TextRows.by_way(model, [text for pairs in named for pair in pairs for text in (pair.prompt, pair.masked)])
    for pairs in named:
        found = {}
        for way, bank in encoded.items():
            sides = zip(*(bank.paired(pair.prompt, pair.masked, "aligned") for pair in pairs), strict=True)
            rows, guides = (torch.cat(side) for side in sides)
            found[way] = rows, guides
        yield found


def _counterexamples(model: Model, bank: PromptBank, way: Way, settings: MimSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Of the counterexamples of each concept all rows, and those of what they are to be taken for, (n, width)."""
    rest = bank.empty.expand(len(bank.masked)) if settings.target == "null" else bank.masked
    found = slice(len(bank.pairs), None)
    owner, told, masked = bank.owner[found], bank.conditioned[found], rest[found]
    for index in owner.unique():
        yield model.read(told[owner == index], way), model.read(masked[owner == index], way)


def _counted_by_token(
    model: Model, counterexamples: Sequence[Counterexample], way: Way, settings: MimSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same where prompts have rows of their own alone, so that those of two may not be as many: like goes with like."""
    for label in dict.fromkeys(each.concept for each in counterexamples):
        guides = {
            each.told: "" if settings.target == "null" else each.masked for each in counterexamples if each.concept == label
        }
        texts = [told for told in guides if isinstance(told, str)]
        encoded = TextRows.of(model, [*texts, *guides.values()], way=way)
        sides = zip(*(_beside(encoded, told, guide) for told, guide in guides.items()), strict=True)
        rows, others = (torch.cat(side) for side in sides)
        yield rows, others


def _beside(encoded: TextRows, told: str | Tensor, guide: str) -> tuple[Tensor, Tensor]:
    """Rows of a prompt, or of an embedding (tokens, width) of one context, and those of what it is to be taken for."""
    if isinstance(told, str):
        return encoded.paired(told, guide, "all")
    return told.cpu().double(), encoded.all(guide)[: len(told)]
