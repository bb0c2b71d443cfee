"""A model whose pictures say what they show, and a judge that reads it: evaluations with answers known in advance.

Painting replaces `Model.sample`: a picture is one flat colour, and its red, green and blue are the numbers of the object, member and style
that it shows. What is drawn for a prompt is decided by `see`, which tests replace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_models
from excise.edits import WeightEdit, applied_edits
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Manifest
from excise.evaluation.classifier import Classifier
from excise.models import Model

QUESTIONS = ("object", "member", "style")
Shown = dict[str, str]
See = Callable[[Shown, str, int], Shown]
"""(what the prompt asks for, the prompt, the seed) -> what the picture shows."""


def faithful(asked: Shown, prompt: str, seed: int) -> Shown:
    return asked


def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network must not be asked."""
    monkeypatch.setattr(Model, "predict", lambda *a, **k: pytest.fail("the network was asked"))


@dataclass
class Painter:
    """Stands in for `Model.sample` of a tiny canvas.

    base, edited  what a picture shows, without and with an edit on
    made          every (prompt, seed) that was painted, with an edit on or not
    """

    model: Model
    base: See = faithful
    edited: See = faithful
    made: list[tuple[str, int, bool]] = field(default_factory=list)

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], **options: Any) -> Tensor:
        changed = bool(applied_edits(self.model))
        see = self.edited if changed else self.base
        self.made += [(prompt, seed, changed) for prompt, seed in zip(prompts, seeds, strict=True)]
        colours = [_colour(see(asked(prompt), prompt, seed)) for prompt, seed in zip(prompts, seeds, strict=True)]
        return torch.tensor(colours).view(-1, 3, 1, 1).expand(-1, 3, tiny_models.SIZE, tiny_models.SIZE).clone()

    def prompts(self, changed: bool = False) -> set[tuple[str, int]]:
        return {(prompt, seed) for prompt, seed, edit in self.made if edit == changed}


class Reader(Classifier):
    """Reads the colour; its weights do nothing."""

    def features(self, pictures: Tensor) -> Tensor:
        return torch.nn.functional.pad(pictures.mean((2, 3)), (0, self.num_features - 3))

    def __init__(self, heads: Mapping[str, list[str]] = tiny_models.HEADS) -> None:
        super().__init__(heads, tiny_models.SIZE)
        for channel, (question, names) in enumerate(tiny_models.HEADS.items()):
            if question not in heads:
                continue
            head = self.heads[question]
            assert isinstance(head, torch.nn.Linear)
            with torch.no_grad():  # -(c - i / 255)^2, largest at the class whose number the colour is
                head.weight.zero_()
                numbers = torch.arange(len(names)) / 255
                head.weight[:, channel] = 2 * numbers * 255**2
                head.bias.copy_(-((numbers * 255) ** 2))
        self.eval().requires_grad_(False)


def asked(prompt: str) -> Shown:
    """What a prompt of the tiny canvas asks for: its words, by question; "other" and the first style where it does not say."""
    shown = {"object": "other", "member": "lamp", "style": "photo"}
    text = f" {prompt} "
    for concept in tiny_models.CANVAS["concepts"]:
        if f" {concept['name']} " in text:
            shown[concept["kind"]] = concept["name"]
            if concept["kind"] == "member":
                shown["object"] = concept["object"]
    return shown


def _colour(shown: Shown) -> list[float]:
    return [tiny_models.HEADS[question].index(shown[question]) / 255 for question in QUESTIONS]


def painted(model: Model, monkeypatch: pytest.MonkeyPatch, heads: Mapping[str, list[str]] = tiny_models.HEADS) -> Painter:
    """Let the model paint and its classifier read."""
    assert list(tiny_models.HEADS) == list(QUESTIONS)
    painter = Painter(model)
    reader = Reader(heads)
    monkeypatch.setattr(model, "sample", painter)
    monkeypatch.setattr(Classifier, "load", classmethod(lambda cls, path: reader))
    return painter


def no_change(model: Model) -> WeightEdit:
    """An edit that changes nothing: the painter sees that it is on."""
    return WeightEdit({}, Manifest(model=model.name, base=base_fingerprint(model), method="none", concepts=[]))
