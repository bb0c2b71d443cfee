"""Whether a picture shows the concept: the one test of success of every attack and of every other way to ask for it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.evaluation.classifier import Classifier
from excise.hints import nearest


class Detector(Protocol):
    """Looks at pictures (n, 3, h, w) in 0–1: whether each shows the concept, (n,) bool, and how likely, (n,) float 0–1.

    identity  differs from that of every detector that answers otherwise
    """

    identity: str

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]: ...


class ClassifierDetector:
    """A classifier whose most likely class is the concept: as evaluations count it. No attack is trained against it."""

    def __init__(self, classifier: Classifier, concept: Concept) -> None:
        """Raises ValueError if the classifier does not know the concept."""
        self.head = {"style": "style", "member": "member"}.get(concept.kind, "object")
        known = classifier.names.get(self.head, [])
        if concept.name not in known:
            raise ValueError(f"the classifier does not know {concept.label}; {nearest(concept.name, known)}")
        self.classifier, self.index = classifier, known.index(concept.name)
        self.identity = f"{classifier.identity}-{self.head}-{self.index}"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        likely = torch.cat([self.classifier(part)[self.head].softmax(1) for part in pictures.split(64)])
        return likely.argmax(1) == self.index, likely[:, self.index]
