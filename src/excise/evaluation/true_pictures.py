"""Pictures of an erased concept, of near ones and of others, of which is known what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.evaluation.classifier import Classifier
from excise.evaluation.features import folder_files
from excise.images import read_picture
from excise.models import Model
from excise.progress import Progress, silent
from excise.results.downstream_result import Group

NEAR = 3
"""Concepts that count as near (ours)."""

BATCH = 32


@dataclass(frozen=True)
class Showing:
    """What a picture shows: a concept by its label, the group that it counts for, and the classifier's head and class that say so."""

    group: Group
    label: str
    head: str
    index: int

    @classmethod
    def of(cls, group: Group, concept: Concept, classifier: Classifier) -> Showing:
        """Raises ValueError if the classifier does not know the concept."""
        head = concept.kind if concept.kind in ("style", "member") else "object"
        if concept.name not in classifier.names.get(head, []):
            raise ValueError(f"the classifier does not know {concept.label}, so it cannot be measured")
        return cls(group, concept.label, head, classifier.names[head].index(concept.name))


@dataclass(frozen=True)
class TruePictures:
    """Pictures (n, 3, size, size) in 0–1, and what each shows."""

    pictures: Tensor
    shows: tuple[Showing, ...]

    def rows(self, group: Group) -> Tensor:
        """The pictures of a group, by number."""
        return torch.tensor([number for number, each in enumerate(self.shows) if each.group == group], dtype=torch.long)


def groups_of(model: Model, targets: Sequence[Concept]) -> dict[Group, tuple[Concept, ...]]:
    """Concepts of the first target's kind: those erased, the `NEAR` whose plain prompts are read most like its own, and the others.

    Of a member the near ones are the other members of its object.
    """
    first, gone = targets[0], {target.label for target in targets}
    kind = "object" if first.kind == "member" else first.kind
    kept = [concept for concept in model.catalog.of_kind(kind) if concept.label not in gone]
    if first.kind == "member":
        own = next((concept for concept in kept if set(first.phrases) & set(concept.phrases)), None)
        members = [concept for concept in model.catalog.of_kind("member") if own and set(concept.phrases) & set(own.phrases)]
        near = [concept for concept in members if concept.label not in gone]
        kept = [concept for concept in kept if concept is not own]
    else:
        near = _most_alike(model, first, kept)[:NEAR]
    return {"other": tuple(concept for concept in kept if concept not in near), "near": tuple(near), "erased": tuple(targets)}


@torch.no_grad()
def _most_alike(model: Model, concept: Concept, others: Sequence[Concept]) -> list[Concept]:
    """The others by how alike their plain prompts are read: cosine of all token rows, after the mean is taken off (ours)."""
    read = model.encode([each.plain_pairs()[0].prompt for each in (concept, *others)]).tokens.flatten(1).float()
    read = torch.nn.functional.normalize(read - read.mean(0), dim=1)
    return [others[place] for place in (read[1:] @ read[0]).argsort(descending=True, stable=True).tolist()]


def draw_pictures(
    model: Model,
    classifier: Classifier,
    kinds: Mapping[Group, Sequence[Concept]],
    count: int,
    first: int,
    progress: Progress = silent,
) -> TruePictures:
    """`count` pictures of each group that a model makes of plain prompts, from the seed `first` on: each concept in its contexts in turn."""
    erased = {phrase for concept in kinds["erased"] for phrase in concept.phrases}
    prompts, shows = [], []
    for group, concepts in kinds.items():
        pairs = [concept.beside(erased).plain_pairs() for concept in concepts]
        for number in range(count if concepts else 0):
            turn, place = divmod(number, len(concepts))
            in_contexts = pairs[place][1:] or pairs[place]
            prompts.append(in_contexts[turn % len(in_contexts)].prompt)
            shows.append(Showing.of(group, concepts[place], classifier))
    parts = []
    for start in range(0, len(prompts), BATCH):
        progress("true pictures", start, len(prompts))
        some = prompts[start : start + BATCH]
        parts.append(model.sample(some, range(first + start, first + start + len(some))))
    progress("true pictures", len(prompts), len(prompts))
    return TruePictures(torch.cat(parts), tuple(shows))


def sorted_pictures(folder: Path, classifier: Classifier, kinds: Mapping[Group, Sequence[Concept]], count: int) -> TruePictures:
    """The first `count` pictures of each group in a folder, in the order of their names, as the classifier sees them.

    Raises ValueError if there is none of a group.
    """
    order: tuple[Group, ...] = ("erased", "near", "other")
    wanted = [Showing.of(group, concept, classifier) for group in order for concept in kinds[group]]
    found: dict[Group, list[tuple[Tensor, Showing]]] = {group: [] for group in kinds}
    files = folder_files(folder)
    for start in range(0, len(files), BATCH):
        pictures = torch.stack([read_picture(file, classifier.size) for file in files[start : start + BATCH]])
        said = classifier.classify(pictures)
        for number, picture in enumerate(pictures):
            seen = next((each for each in wanted if int(said[each.head][number]) == each.index), None)
            if seen is not None and len(found[seen.group]) < count:
                found[seen.group].append((picture, seen))
    for group, concepts in kinds.items():
        if concepts and not found[group]:
            named = ", ".join(concept.label for concept in concepts[:NEAR])
            raise ValueError(f"the classifier sees {named} in no picture of {folder}; draw some of it")
    every = [each for own in found.values() for each in own]
    return TruePictures(torch.stack([picture for picture, _ in every]), tuple(shows for _, shows in every))
