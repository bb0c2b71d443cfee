"""What nobody asked a method about: bystanders, how unlike the pictures of one prompt are, and pictures of the empty prompt.

    python benchmarks/unasked.py                                     # half an hour of one CPU core; the same command goes on where it stopped
    python benchmarks/unasked.py --show docs/benchmark/unasked.json

Eight methods with their defaults, or with what tuning found, on three concepts of the canvas that nothing was tuned on. Base and edited model
draw the same prompts and seeds. Three figures of each edit:

- bystanders: whether 80 pictures of things that no method was told of are recognised, of how often the base model's are, and how far they
  moved (`excise.evaluation.bystander_figures`);
- diversity: the mean distance between two pictures of one prompt, over the base model's, for eight prompts of kept objects, twelve pictures
  each;
- empty: how far pictures of the empty prompt moved, as a share of how far two of the base model's are apart; squared, as bystanders are.

All distances are between the classifier's features. In brackets the table has the least and the most of single edits. Results go to
docs/benchmark/unasked.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

import excise
import recorded
from excise.concepts import Concept
from excise.edits import Edit
from excise.evaluation.bystander_figures import bystander_figures
from excise.evaluation.classifier import Classifier
from excise.evaluation.picture_cache import Item, Judge, read
from excise.evaluation.prompt_grid import questions
from excise.files import read_json, write_json
from excise.models import Model, load
from excise.models.drawing import HIGHER_ORDER, Drawing
from excise.requests.grid import Entrant
from markdown_table import markdown
from timing import machine

BENCHMARK = Path(__file__).resolve().parents[1] / "docs" / "benchmark"
RESULTS = BENCHMARK / "unasked.json"
ENTRANTS = ("mim", "uce", "uce:preserve=catalog", "rece:preserve=catalog", "cure:alpha=1e3", "esd", "spm", "salun")
CONCEPTS = ("dog", "house", "style:sepia")
BYSTANDERS, PROMPTS, EACH, EMPTY = 80, 8, 12, 64
"""Pictures of bystanders, prompts of kept objects and pictures of each, pictures of the empty prompt (ours)."""
DRAWING = Drawing(steps=10, scheduler=HIGHER_ORDER)
"""Answers are the same as of the model's own 20 steps (docs/research/evaluation/results.md)."""
COLUMNS = ("method", "edits", "bystanders, % of base", "they moved, %", "diversity, % of base", "empty prompt moved, %")


class Look:
    """What a model without an edit draws, to stand beside what it draws with one."""

    def __init__(self, model: Model) -> None:
        self.model = model
        assert model.classifier is not None
        self.judge = Judge(Classifier.load(model.classifier))
        self.empty = [Item("", seed) for seed in range(EMPTY)]
        self.blank = self._features(self.empty)

    def _features(self, items: Sequence[Item]) -> Tensor:
        return read(self.model, items, [self.judge])["features"].double()

    def figures(self, concept: Concept, edit: Edit) -> dict[str, Any]:
        """Of one edit; the picture cache knows what the base model draws."""
        asked = questions(self.model, [concept], 1, 1, 0, BYSTANDERS).bystanders
        crowd = [question.item for question in asked]
        several = [Item(prompt, seed) for prompt in self._kept(concept) for seed in range(EACH)]
        before, unlike = read(self.model, crowd, [self.judge]), apart(self._features(several))
        with edit.applied(self.model):
            after, now = read(self.model, crowd, [self.judge]), apart(self._features(several))
            moved = self._features(self.empty) - self.blank
        told = bystander_figures(asked, before, after, self.judge)[1]
        return {
            "bystanders": told["bystanders_of_base"],
            "change": told["bystander_change"].value,
            "diversity": float(now.mean() / unlike.mean()),
            "empty": float(moved.square().sum(1).mean() / between(self.blank)),
        }

    def _kept(self, concept: Concept) -> list[str]:
        """Plain prompts of objects that are not erased, evenly from the catalog."""
        others = [each for each in self.model.catalog.of_kind("object") if each.label != concept.label]
        chosen = [others[place * len(others) // PROMPTS] for place in range(PROMPTS)]
        return [each.pair(self.model.catalog.templates[0], each.phrases[0], "").prompt for each in chosen]


def apart(features: Tensor) -> Tensor:
    """Mean distance between two pictures of a prompt, (PROMPTS,); features (PROMPTS x EACH, d)."""
    each = features.unflatten(0, (-1, EACH))
    return torch.cdist(each, each).sum((1, 2)) / (EACH * (EACH - 1))


def between(features: Tensor) -> Tensor:
    """Mean squared distance between two of n pictures; features (n, d)."""
    count = len(features)
    return torch.cdist(features, features).square().sum() / (count * (count - 1))


def measure(out: Path) -> dict[str, Any]:
    """The figures of every edit, written after each; what the file has is not made again."""
    torch.set_num_threads(1)
    found = read_json(out) if out.is_file() else {"edits": [], "machine": machine()}
    there = {(each["entrant"], each["concept"]) for each in found["edits"]}
    look = Look(load("canvas", device="cpu", dtype="mixed", drawing=DRAWING))
    for text, name in ((text, name) for name in CONCEPTS for text in ENTRANTS if (text, name) not in there):
        entrant, concept = Entrant.parse(text), look.model.catalog.resolve(name)
        settings = entrant.settings.model_dump(exclude_unset=True)
        edit = excise.erase(
            name, method=entrant.method.name, settings=settings, evaluate="none", device="cpu", dtype="mixed"
        ).edit
        found["edits"].append({"entrant": text, "concept": name, **look.figures(concept, edit)})
        write_json(out, found)
        print(found["edits"][-1], file=sys.stderr, flush=True)
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines of Markdown: a row for each method, those first whose bystanders moved least."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for each in found["edits"]:
        methods.setdefault(each["entrant"], []).append(each)
    rows = []
    for method, edits in sorted(methods.items(), key=lambda pair: fmean(each["change"] for each in pair[1])):
        kept, change, diversity, empty = (
            _percent([each[key] for each in edits]) for key in ("bystanders", "change", "diversity", "empty")
        )
        rows.append((f"`{method}`", str(len(edits)), kept, change, diversity, empty))
    return markdown(COLUMNS, rows)


def _percent(values: Sequence[float]) -> str:
    """The mean, and the least and the most of single edits."""
    mean, least, most = (f"{100 * value:.1f}" for value in (fmean(values), min(values), max(values)))
    return mean if len(values) < 2 else f"{mean} ({least} to {most})"


if __name__ == "__main__":
    recorded.main(__doc__, RESULTS, measure, table)
