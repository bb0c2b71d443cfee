"""UA, IRA, CRA and the neutral rate: the UnlearnCanvas protocol on a model's own catalog.

For every retained object and style, pictures "object in style" are asked for; an object's accuracy is over its pictures in all retained
styles, a style's over its pictures of all retained objects. So pictures that contain a target count in no retained accuracy
(the variant `uc-cross-excl`).

UA       1 - share of the target's pictures that are recognised as the target
erased   that share itself: what is left of the target
neutral  share of the *base* model's pictures recognised as the target when its words are taken out of the same prompts, same seeds:
         where perfect removal of information ends
IRA      mean accuracy over retained concepts of the target's own kind
CRA      mean accuracy over retained concepts of the other kind
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure.run import Progress, silent
from excise.evaluation.answers import Answer, Item, answer
from excise.evaluation.classifier import Classifier
from excise.evaluation.intervals import wilson
from excise.models import Model


@dataclass(frozen=True)
class Share:
    """`hits` of `n` pictures."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n


@dataclass(frozen=True)
class Scores:
    """Recognised shares of one model: of each target's pictures, and of each retained concept's, by label ("object:cat")."""

    targets: dict[str, Share]
    retained: dict[str, Share]


@dataclass(frozen=True)
class Evaluation:
    """Base and edited model on the same prompts and seeds."""

    targets: tuple[Concept, ...]
    base: Scores
    edited: Scores
    neutral: dict[str, Share]
    seed: int
    pictures: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name; shares 0–1, intervals Wilson 95 % over pooled pictures.

        `ira_of_base`, `cra_of_base`: mean over concepts of edited / base accuracy, each capped at 1; `ira_worst`, `cra_worst` the smallest.
        """
        edited = self._figures(self.edited)
        return {
            **edited,
            **self._of_base(),
            "erased": 1 - edited["ua"],
            **_pooled("neutral", self.neutral.values()),
            "n": {**self.pictures, "seeds_from": self.seed},
            "base": {**self._figures(self.base), **_pooled("neutral", self.neutral.values()), "n": self.pictures},
            "per_concept": {
                label: {"base": self.base.retained[label].value, "edited": share.value, "n": share.n}
                for label, share in self.edited.retained.items()
            },
            "per_target": {
                label: {
                    "base": self.base.targets[label].value,
                    "edited": share.value,
                    "neutral": self.neutral[label].value,
                    "n": share.n,
                }
                for label, share in self.edited.targets.items()
            },
        }

    def _kinds(self) -> set[str]:
        return {_domain(concept.kind) for concept in self.targets}

    def _split(self, scores: Scores) -> tuple[list[str], list[str]]:
        """Labels of retained concepts of the targets' kinds, and of the others (both kinds if targets are of both)."""
        kinds = self._kinds()
        own = [label for label in scores.retained if _domain(label.split(":")[0]) in kinds]
        other = [label for label in scores.retained if _domain(label.split(":")[0]) not in kinds or len(kinds) > 1]
        return own, other

    def _figures(self, scores: Scores) -> dict[str, Any]:
        own, other = self._split(scores)
        erased = _pooled("erased", scores.targets.values())
        low, high = erased["erased_ci"]
        return {
            "ua": 1 - erased["erased"],
            "ua_ci": [1 - high, 1 - low],
            **_pooled("ira", [scores.retained[label] for label in own]),
            **_pooled("cra", [scores.retained[label] for label in other]),
        }

    def _of_base(self) -> dict[str, float | None]:
        """Ratios to the base model's accuracies; None where it recognises nothing itself."""
        figures: dict[str, float | None] = {}
        for name, labels in zip(("ira", "cra"), self._split(self.base), strict=True):
            ratios = [
                min(1.0, self.edited.retained[label].value / self.base.retained[label].value)
                for label in labels
                if self.base.retained[label].hits
            ]
            mean = sum(ratios) / len(ratios) if ratios else None
            figures |= {f"{name}_of_base": mean, f"{name}_worst": min(ratios, default=None)}
        return figures


def evaluate(
    model: Model,
    targets: Sequence[Concept],
    edit: WeightEdit | None = None,
    *,
    seed: int = 0,
    target_pictures: int = 200,
    other_pictures: int = 24,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a model with and without an edit.

    model            the base model, without edits on it
    targets          what was erased
    edit             None measures the base against itself
    target_pictures  pictures of each target, at least (rounded up to a whole number per style or object)
    other_pictures   pictures of each other object, at least

    Raises ValueError if the model brings no classifier or catalog to measure with.
    """
    if model.classifier is None or not model.catalog.concepts:
        raise ValueError(f"{model.name} brings no classifier and list of concepts, so erasure cannot be measured on it")
    if not targets:
        raise ValueError("nothing to evaluate: give at least one concept")
    classifier = Classifier.load(model.classifier)
    asked = _questions(model, targets, target_pictures, other_pictures, seed)
    everything = [q.item for q in asked.all]
    base = answer(model, everything, classifier, stage="base pictures", progress=progress)
    neutral = answer(model, asked.neutral, classifier, stage="neutral pictures", progress=progress)
    edited = base
    if edit is not None:
        with edit.applied(model):
            edited = answer(model, everything, classifier, stage="edited pictures", progress=progress)
    return Evaluation(
        tuple(targets),
        _score(asked, base, classifier),
        _score(asked, edited, classifier),
        _neutral(asked, neutral, classifier),
        seed,
        {"target": len(asked.target), "retained": len(asked.retained), "neutral": len(asked.neutral)},
    )


@dataclass(frozen=True)
class _Question:
    """A picture to ask for and what it should show: (classifier head, class name, label it counts for)."""

    item: Item
    shows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Asked:
    target: list[_Question]
    retained: list[_Question]
    neutral: list[Item]

    @property
    def all(self) -> list[_Question]:
        return self.target + self.retained


def _questions(model: Model, targets: Sequence[Concept], per_target: int, per_other: int, seed: int) -> _Asked:
    labels = {concept.label for concept in targets}
    template = model.catalog.templates[0]
    objects = [c for c in model.catalog.of_kind("object") if c.label not in labels]
    styles = [c for c in model.catalog.of_kind("style") if c.label not in labels]
    target, neutral = [], []
    for concept in targets:
        others = objects if concept.kind == "style" else styles
        each = -(-per_target // len(others))
        for other in others:
            pair = concept.pair(template, concept.phrases[0], other.phrases[0])
            shows = ((_domain(concept.kind, member=True), concept.name, concept.label),)
            for s in range(each):
                target.append(_Question(Item(pair.prompt, seed + s), shows))
                neutral.append(Item(pair.masked, seed + s))
    retained = []
    near = [m for c in targets if c.kind == "member" for m in _siblings(model, c) if m.label not in labels]
    for concept in [*objects, *near]:
        each = -(-per_other // len(styles))
        for style in styles:
            prompt = concept.pair(template, concept.phrases[0], style.phrases[0]).prompt
            head = "member" if concept.kind == "member" else "object"
            shows = ((head, concept.name, concept.label), ("style", style.name, style.label))
            retained += [_Question(Item(prompt, seed + s), shows) for s in range(each)]
    return _Asked(target, retained, neutral)


def _siblings(model: Model, member: Concept) -> list[Concept]:
    """The other members of the same object."""
    own = next((c for c in model.catalog.of_kind("object") if set(member.phrases) & set(c.phrases)), None)
    members = model.catalog.of_kind("member")
    return [m for m in members if own and set(m.phrases) & set(own.phrases) and m.name != member.name]


def _score(asked: _Asked, answers: Sequence[Answer], classifier: Classifier) -> Scores:
    counts: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for index, (question, said) in enumerate(zip(asked.all, answers, strict=True)):
        part = counts[0] if index < len(asked.target) else counts[1]
        for head, name, label in question.shows:
            part.setdefault(label, []).append(classifier.names[head][said[head]] == name)
    return Scores(*({label: Share(sum(hits), len(hits)) for label, hits in part.items()} for part in counts))


def _neutral(asked: _Asked, answers: Sequence[Answer], classifier: Classifier) -> dict[str, Share]:
    hits: dict[str, list[bool]] = {}
    for question, said in zip(asked.target, answers, strict=True):
        head, name, label = question.shows[0]
        hits.setdefault(label, []).append(classifier.names[head][said[head]] == name)
    return {label: Share(sum(found), len(found)) for label, found in hits.items()}


def _domain(kind: str, member: bool = False) -> str:
    """The classifier head of a kind; members count as objects unless asked for by themselves."""
    if kind == "style":
        return "style"
    return "member" if member and kind == "member" else "object"


def _pooled(name: str, shares: Any) -> dict[str, Any]:
    shares = list(shares)
    hits, n = sum(share.hits for share in shares), sum(share.n for share in shares)
    return {name: sum(share.value for share in shares) / len(shares), f"{name}_ci": list(wilson(hits, n))}
