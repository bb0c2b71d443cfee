"""What the protocol asks for: every picture with its prompt and seed, what it should show, and which concepts a figure is the mean of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from excise.concepts import Concept
from excise.evaluation.classifier import Classifier
from excise.evaluation.picture_cache import Item
from excise.models import Model

APART = 2**16
"""Pictures of one seed begin so far from those of the next that none is in both."""


@dataclass(frozen=True)
class Groups:
    """Labels of retained concepts.

    own, other of the targets' kinds and of the other kind; both are all of them if the targets are of both kinds
    near, far  if a target is a member: the other members of its object, and the other objects
    """

    own: tuple[str, ...]
    other: tuple[str, ...]
    near: tuple[str, ...] = ()
    far: tuple[str, ...] = ()

    def named(self) -> dict[str, tuple[str, ...]]:
        """By the figure that is the mean over them."""
        members = {"nra": self.near, "ora": self.far} if self.near or self.far else {}
        return {"ira": self.own, "cra": self.other, **members}


_NONE: tuple[None] = (None,)
"""What stands in the other slot where the catalog has nothing for it."""

Shows = tuple[str, str, str]
"""What a picture should show: classifier head, class name, label it counts for."""


@dataclass(frozen=True)
class Question:
    """A picture to ask for, what it should show, and what it shows beside a target."""

    item: Item
    shows: tuple[Shows, ...]
    crossed: tuple[Shows, ...] = ()


@dataclass(frozen=True)
class Asked:
    """Questions about the targets, those about everything else that is declared, and those about what no method is told of.

    neutral  is asked where `target` is, without the targets' words
    """

    target: list[Question]
    retained: list[Question]
    neutral: list[Item]
    groups: Groups
    bystanders: list[Question] = field(default_factory=list)

    @property
    def all(self) -> list[Question]:
        """Those about declared concepts."""
        return self.target + self.retained


def questions(
    model: Model, targets: Sequence[Concept], per_target: int, per_other: int, seed: int, bystanders: int = 0
) -> Asked:
    """At least `per_target` pictures of every target and `per_other` of every other object: as many in each style (of a style: of each
    object), from the seeds that belong to `seed` on. Of fewer others than there are styles each is asked for in some of them.

    bystanders  pictures of these in all
    """
    labels = {concept.label for concept in targets}
    objects = [c for c in model.catalog.of_kind("object") if c.label not in labels]
    styles = [c for c in model.catalog.of_kind("style") if c.label not in labels]
    near = _near(model, targets)
    asked = Asked([], [], [], _groups(model, targets, objects, styles, near))
    first = seed * APART
    template = model.catalog.templates[0]
    spread = _Spread.of(model, per_other, [*objects, *near], styles)
    for concept in targets:
        others: Sequence[Concept | None] = (objects if concept.kind == "style" else styles) or _NONE
        each = -(-per_target // len(others))
        for other in others:
            pair = concept.pair(template, concept.phrases[0], other.phrases[0] if other else "")
            shows = ((_head(concept), concept.name, concept.label),)
            beside = ((_head(other), other.name, other.label),) if other else ()
            crossed = spread.count(*((other, concept) if concept.kind == "style" else (concept, other)))
            for s in range(each):
                asked.target.append(Question(Item(pair.prompt, first + s), shows, beside if s < crossed else ()))
                asked.neutral.append(Item(pair.masked, first + s))
    for concept in [*objects, *near]:
        for style in styles or _NONE:
            prompt = concept.pair(template, concept.phrases[0], style.phrases[0] if style else "").prompt
            shown = [(_head(c), c.name, c.label) for c in (concept, style) if c]
            count = spread.count(concept, style)
            asked.retained.extend(Question(Item(prompt, first + s), tuple(shown)) for s in range(count))
    asked.bystanders.extend(_bystanders(model, styles, bystanders, seed))
    return asked


def _bystanders(model: Model, styles: Sequence[Concept], count: int, seed: int) -> list[Question]:
    """`count` pictures: the bystanders in turn, and beside them the styles in turn, which `seed` begins, until each has met each."""
    known, asked = model.bystanders, []
    phrases = [style.phrases[0] for style in styles] or [""]
    for number in range(count if known else 0):
        each, laps = known[number % len(known)], number // math.lcm(len(known), len(phrases))
        style = phrases[(seed + number + laps) % len(phrases)]
        prompt = each.concept.pair(model.catalog.templates[0], each.concept.phrases[0], style).prompt
        item = Item(prompt, seed * APART + number // len(known))
        asked.append(Question(item, ((each.head, each.shown, each.concept.label),)))
    return asked


@dataclass(frozen=True)
class _Spread:
    """How pictures of an object spread over the styles.

    each     pictures of every object in every style; 0: fewer are asked for than there are styles
    fewer    pictures of an object, then: in so many styles, the next object in those that follow
    places   of every object and member in the catalog, by label
    styles   labels of all styles, in the catalog's order
    retained labels of those that no target is
    """

    each: int
    fewer: int
    places: dict[str, int]
    styles: tuple[str, ...]
    retained: frozenset[str]

    @classmethod
    def of(cls, model: Model, per_other: int, shown: Sequence[Concept], styles: Sequence[Concept]) -> _Spread:
        """Of pictures of each concept in `shown`. One in every style at least, where else no picture would show one of the styles."""
        catalog = model.catalog
        labels = [[concept.label for concept in catalog.of_kind(kind)] for kind in ("object", "member", "style")]
        places = {label: place for place, label in enumerate(labels[0] + labels[1])}
        few = cls(0, per_other, places, tuple(labels[2]), frozenset(style.label for style in styles))
        if per_other < len(styles) and all(any(few.count(concept, style) for concept in shown) for style in styles):
            return few
        return replace(few, each=-(-per_other // max(1, len(styles))))

    def count(self, shown: Concept | None, style: Concept | None) -> int:
        """Pictures of an object in a style, which may be an erased one."""
        if self.each or shown is None or style is None:
            return self.each
        first = self.places.get(shown.label, 0) * self.fewer % len(self.styles)
        turn = self.styles[first:] + self.styles[:first]
        among = [label for label in turn if label in self.retained or label == style.label]
        return int(style.label in among[: self.fewer])


def _groups(
    model: Model, targets: Sequence[Concept], objects: Sequence[Concept], styles: Sequence[Concept], near: Sequence[Concept]
) -> Groups:
    kinds = {_domain(concept) for concept in targets}
    shown = [*objects, *near, *styles] if objects or near else []
    own = tuple(c.label for c in shown if _domain(c) in kinds)
    other = tuple(c.label for c in shown if _domain(c) not in kinds or len(kinds) > 1)
    members = [concept for concept in targets if concept.kind == "member"]
    if not members:
        return Groups(own, other)
    whole = {obj.label for member in members if (obj := _object_of(model, member))}
    return Groups(own, other, tuple(c.label for c in near), tuple(c.label for c in objects if c.label not in whole))


def _near(model: Model, targets: Sequence[Concept]) -> list[Concept]:
    """The other members of the target members' objects."""
    labels = {concept.label for concept in targets}
    found: dict[str, Concept] = {}
    for concept in targets:
        if concept.kind == "member" and (own := _object_of(model, concept)):
            found |= {m.label: m for m in model.catalog.of_kind("member") if set(m.phrases) & set(own.phrases)}
    return [member for label, member in found.items() if label not in labels]


def _object_of(model: Model, member: Concept) -> Concept | None:
    """The object whose phrases include the member's."""
    return next((c for c in model.catalog.of_kind("object") if set(member.phrases) & set(c.phrases)), None)


def check_heads(classifier: Classifier, asked: Asked, model: Model) -> None:
    """Raise ValueError unless the classifier knows every class that is asked for."""
    every = (*asked.all, *asked.bystanders)
    for head, name, label in {shows for question in every for shows in (*question.shows, *question.crossed)}:
        if head not in classifier.names:
            raise ValueError(
                f"{model.classifier} has no head {head!r}, so {label} cannot be measured; it has {', '.join(classifier.names)}"
            )
        if name not in classifier.names[head]:
            known = ", ".join(classifier.names[head])
            raise ValueError(f"{model.classifier} does not know {label}; its head {head!r} has {known}")


def _head(concept: Concept) -> str:
    """The classifier head that tells whether a concept is shown."""
    return concept.kind if concept.kind in ("style", "member") else "object"


def _domain(concept: Concept) -> str:
    """Style or object; members are of the object's kind."""
    return "style" if concept.kind == "style" else "object"
