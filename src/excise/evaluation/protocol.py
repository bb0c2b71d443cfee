"""UA, IRA, CRA and the neutral rate: the UnlearnCanvas protocol on a model's own catalog.

For every retained object and style, pictures "object in style" are asked for, and of every target as many in each retained style (a style:
of each retained object) as `target_pictures` needs.

UA       1 - share of the target's pictures that are recognised as the target
erased   that share itself: what is left of the target
neutral  share of the *base* model's pictures recognised as the target when its words are taken out of the same prompts, same seeds:
         where perfect removal of information ends
IRA      mean accuracy over retained concepts of the target's own kind (a member's is the object's)
CRA      mean accuracy over retained concepts of the other kind
NRA, ORA of a member: mean accuracy over the other members of its object, and over the other objects (definition: ours)

Bystanders are things that no method is told of: the model lists them apart from its catalog. See `bystander_figures`.

Which pictures an accuracy counts differs between published tables; see `VARIANTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from excise.arguments import SEEDS, check_whole
from excise.concepts import Concept
from excise.edits import Edit, all_applied, applied_edits
from excise.evaluation.bystander_figures import bystander_figures
from excise.evaluation.classifier import Classifier
from excise.evaluation.gold import GoldGroup, distances
from excise.evaluation.picture_cache import Answer, Judge, read, to_answers
from excise.evaluation.picture_counts import BYSTANDER_PICTURES, OTHER_PICTURES, TARGET_PICTURES
from excise.evaluation.prompt_grid import APART, Asked, Groups, check_heads, questions
from excise.evaluation.quality import Quality, QualityOptions
from excise.evaluation.shares import Share, counted, mean_share
from excise.figures import Figure
from excise.models import Model
from excise.models.context import check_read, tell_cut
from excise.progress import Progress, silent
from excise.results.evaluation import ConceptShares, Evaluation, Figures, GoldDistances, PictureCounts, Protocol, Variant

VARIANT = "uc-cross-excl"
VARIANTS = {
    "uc-cross-excl": "an object's accuracy is over its pictures in all retained styles, a style's over its pictures of all retained "
    "objects: pictures that were asked to show a target count in no retained accuracy",
    "uc": "the target's pictures count too, as many as any other concept's: an object's accuracy is over its pictures in all styles, "
    "a style's over its pictures of all objects",
}
"""Denominators of IRA and CRA. UA is the same in both; `VARIANT` is the one behind `ira`, `cra` and everything derived from them."""


@dataclass(frozen=True)
class Scores:
    """Recognised shares of one model, by label ("object:cat").

    targets  of each target's pictures
    retained of each retained concept's, without pictures that were asked to show a target
    crossed  of the target's pictures, those that show the retained concept beside the target
    """

    targets: dict[str, Share]
    retained: dict[str, Share]
    crossed: dict[str, Share] = field(default_factory=dict)

    def in_variant(self, variant: str) -> dict[str, Share]:
        """Shares of the retained concepts by the denominators of a variant."""
        if variant == "uc-cross-excl":
            return self.retained
        return {label: share + self.crossed.get(label, Share(0, 0)) for label, share in self.retained.items()}


def evaluate(
    model: Model,
    targets: Sequence[Concept],
    edit: Edit | Sequence[Edit] | None = None,
    *,
    seed: int = 0,
    target_pictures: int = TARGET_PICTURES,
    other_pictures: int = OTHER_PICTURES,
    bystander_pictures: int = BYSTANDER_PICTURES,
    quality: bool | QualityOptions = False,
    gold: Model | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a model with and without an edit.

    model               the base model, without edits on it
    targets             what was erased
    edit                one or several, which are on together; None measures the base against itself
    target_pictures     pictures of each target, at least (rounded up to a whole number per style or object)
    other_pictures      pictures of each other object, at least
    bystander_pictures  pictures, in all, of what the model knows and no method is told of; 0: none
    quality             also compare the retained concepts' pictures of edited and base model: FID, KID, change of pixels; with options
                        also with real pictures, in CLIP's eyes, by LPIPS
    gold                a model that was trained without the targets: also measure how near base and edited model come to it

    Raises ValueError if the model brings no classifier or catalog to measure with, carries an edit already, if its classifier does not
    know a concept, or if one is longer than the model reads; MissingWeightsError for a file of the quality options that is not there.
    """
    if model.classifier is None or not model.catalog.concepts:
        raise ValueError(f"{model.name} brings no classifier and list of concepts, so erasure cannot be measured on it")
    if isinstance(targets, str) or not targets:
        raise ValueError("nothing to evaluate: give a list of at least one concept")
    for target in targets:
        if not isinstance(target, Concept):
            raise ValueError(f"targets must be concepts, such as model.catalog.resolve('cat'), not {target!r}")
    check_whole("seed", seed, 0, SEEDS)
    check_whole("target_pictures", target_pictures, 1)
    check_whole("other_pictures", other_pictures, 1)
    check_whole("bystander_pictures", bystander_pictures, 0)
    if applied_edits(model):
        raise ValueError(f"{model.name} carries an edit already; take it off and give it to evaluate instead")
    edits = () if edit is None else tuple(edit) if isinstance(edit, Sequence) else (edit,)
    classifier = Classifier.load(model.classifier)
    asked = questions(model, targets, target_pictures, other_pictures, seed, bystander_pictures)
    check_heads(classifier, asked, model)
    check_read(model, targets)
    tell_cut(
        model, [item.prompt for item in (*(question.item for question in (*asked.all, *asked.bystanders)), *asked.neutral)]
    )
    options = QualityOptions() if quality is True else quality or None
    instruments = options.load() if options and asked.retained else None
    judge = Judge(classifier)
    shown = (asked.target, [judge]), (asked.retained, [judge, *(instruments.readers() if instruments else [])])

    def look(stage: str, at: Model = model) -> list[dict[str, Tensor]]:
        """What the readers make of the target's pictures and of the others."""
        return [read(at, [q.item for q in part], readers, stage=stage, progress=progress) for part, readers in shown if part]

    def stand_by(stage: str) -> dict[str, Tensor]:
        """What the judge makes of the bystanders' pictures."""
        items = [question.item for question in asked.bystanders]
        return read(model, items, [judge], stage=stage, progress=progress) if items else {}

    base, before = look("base pictures"), stand_by("base bystanders")
    neutral = read(model, asked.neutral, [judge], stage="neutral pictures", progress=progress)
    edited, after = base, before
    if edits:
        with all_applied(model, edits):
            edited, after = look("edited pictures"), stand_by("edited bystanders")
    exact = look("gold standard's pictures", gold) if gold else None
    compared = None
    if instruments:
        prompts = [question.item.prompt for question in asked.retained]
        compared = instruments.compare(prompts, base[1], edited[1], judge, classifier.size)
    return summary(
        asked,
        base=_score(asked, _answers(base, classifier), classifier),
        edited=_score(asked, _answers(edited, classifier), classifier),
        neutral=_neutral(asked, to_answers(classifier, neutral["answers"]), classifier),
        bystanders=bystander_figures(asked.bystanders, before, after, judge) if asked.bystanders else ({}, {}),
        quality=compared,
        gold=_distances(asked, base, edited, exact, judge) if exact else None,
        protocol=Protocol(
            name="catalog",
            variant=VARIANT,
            template=model.catalog.templates[0],
            sampler=model.drawn,
            classifier=classifier.identity,
            quality=dict(compared.made_by) if compared else None,
        ),
        seed=seed,
    )


def summary(
    asked: Asked,
    *,
    base: Scores,
    edited: Scores,
    neutral: dict[str, Share],
    bystanders: tuple[dict[str, Any], dict[str, Any]],
    quality: Quality | None,
    gold: GoldDistances | None,
    protocol: Protocol,
    seed: int,
) -> Evaluation:
    """The figures of base and edited model from what was recognised in their pictures; those of bystanders are there already."""
    groups, shown = asked.groups, mean_share(neutral.values())
    before = Figures(**_figures(groups, base), neutral=shown, **bystanders[0], **(quality.base() if quality else {}))
    return Evaluation(
        **_figures(groups, edited),
        **_of_base(groups, base, edited),
        **bystanders[1],
        **(quality.edited() if quality else {}),
        neutral=shown,
        base=before,
        targets=tuple(_shares(label, base.targets, edited.targets, neutral) for label in edited.targets),
        retained=tuple(_shares(label, base.retained, edited.retained) for label in edited.retained),
        variants=tuple(
            Variant(name=name, counts=counts, **_figures(groups, edited, name)) for name, counts in VARIANTS.items()
        ),
        gold=gold,
        protocol=protocol,
        pictures=PictureCounts(
            target=len(asked.target),
            retained=len(asked.retained),
            neutral=len(asked.neutral),
            bystanders=len(asked.bystanders) or None,
        ),
        seeds_from=seed * APART,
    )


def _figures(groups: Groups, scores: Scores, variant: str = VARIANT) -> dict[str, Any]:
    """UA, and the accuracies of the retained concepts by the denominators of a variant."""
    erased = mean_share(scores.targets.values())
    assert erased is not None and erased.low is not None and erased.high is not None
    ua = Figure(value=1 - erased.value, low=1 - erased.high, high=1 - erased.low, n=erased.n)
    shares = scores.in_variant(variant)
    return {"ua": ua, **{name: mean_share(shares[label] for label in labels) for name, labels in groups.named().items()}}


def _of_base(groups: Groups, base: Scores, edited: Scores) -> dict[str, float | None]:
    """Ratios to the base model's accuracies; None where it recognises nothing itself."""
    figures: dict[str, float | None] = {}
    for name, labels in (("ira", groups.own), ("cra", groups.other)):
        known = [label for label in labels if base.retained[label].hits]
        ratios = [min(1.0, edited.retained[label].value / base.retained[label].value) for label in known]
        figures[f"{name}_of_base"] = sum(ratios) / len(ratios) if ratios else None
        figures[f"{name}_worst"] = min(ratios, default=None)
    return figures


def _shares(
    label: str, base: dict[str, Share], edited: dict[str, Share], neutral: dict[str, Share] | None = None
) -> ConceptShares:
    return ConceptShares(
        concept=label,
        base=base[label].value,
        edited=edited[label].value,
        neutral=neutral[label].value if neutral else None,
        n=edited[label].n,
    )


def _answers(parts: Sequence[dict[str, Tensor]], classifier: Classifier) -> list[Answer]:
    return [answer for part in parts for answer in to_answers(classifier, part["answers"])]


def _distances(
    asked: Asked,
    base: Sequence[dict[str, Tensor]],
    edited: Sequence[dict[str, Tensor]],
    exact: Sequence[dict[str, Tensor]],
    judge: Judge,
) -> GoldDistances:
    """Of edited and base model to the gold standard."""
    rows: dict[str, list[int]] = {}
    for index, question in enumerate(asked.all):
        rows.setdefault(question.shows[0][2], []).append(index)
    targets = {question.shows[0][2] for question in asked.target}
    groups = [GoldGroup(torch.tensor(each), label in targets) for label, each in rows.items()]
    whole = [
        {name: torch.cat([part[name] for part in parts]) for name in ("answers", judge.key)} for parts in (base, edited, exact)
    ]
    before, after = (distances(each, whole[2], groups, judge) for each in whole[:2])
    return after.model_copy(update={"base": before})


def _score(asked: Asked, answers: Sequence[Answer], classifier: Classifier) -> Scores:
    counts: tuple[dict[str, list[bool]], ...] = ({}, {}, {})
    for index, (question, said) in enumerate(zip(asked.all, answers, strict=True)):
        part = counts[0] if index < len(asked.target) else counts[1]
        for shows, found in ((question.shows, part), (question.crossed, counts[2])):
            for head, name, label in shows:
                found.setdefault(label, []).append(classifier.names[head][said[head]] == name)
    return Scores(*(counted(part) for part in counts))


def _neutral(asked: Asked, answers: Sequence[Answer], classifier: Classifier) -> dict[str, Share]:
    hits: dict[str, list[bool]] = {}
    for question, said in zip(asked.target, answers, strict=True):
        head, name, label = question.shows[0]
        hits.setdefault(label, []).append(classifier.names[head][said[head]] == name)
    return counted(hits)
