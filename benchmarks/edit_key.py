"""Can one read from an edit what it erases? Without its manifest: from its weights and the base model.

    python benchmarks/edit_key.py                                     # six minutes of one CPU core
    python benchmarks/edit_key.py --show docs/benchmark/edit_key.json

Whoever has both asks base and edited model for "a picture of a WORD" with every word that the canvas reads, on noised pictures of its own, and
sorts the words by how far the two answers are apart. A row says where the first word of the erased concept stands, and by what factor it is
ahead of the first word that is none of the concept's. Results go to docs/benchmark/edit_key.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import excise
import recorded
from excise.canvas.text import words
from excise.edits import Edit
from excise.files import write_json
from excise.models import Model, load
from excise.requests.grid import Entrant
from markdown_table import markdown
from timing import machine

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "edit_key.json"
ENTRANTS = ("mim", "uce", "uce:preserve=catalog", "rece", "cure:alpha=1e3")
CONCEPTS = ("cat", "clock", "style:neon")
PICTURES, TIMES, SEED = 2, (250, 500, 750), 7
"""Pictures of the empty prompt, the timesteps to which they are noised, and the seed of both (ours)."""
COLUMNS = ("method", "concept", "place of its first word", "which", "ahead of others by a factor", "first five")


@dataclass(frozen=True)
class Reader:
    """What an attacker asks.

    words    that are asked for
    states   (s, c, h, w) noised latents of pictures of the empty prompt; times (s,) their timesteps
    """

    model: Model
    words: tuple[str, ...]
    states: Tensor
    times: Tensor

    @classmethod
    def of(cls, model: Model) -> Reader:
        clean = model.latents([""] * PICTURES, list(range(SEED, SEED + PICTURES)))
        noise = torch.randn(len(TIMES), *clean.shape, generator=torch.Generator().manual_seed(SEED))
        times = torch.tensor(TIMES).repeat_interleave(PICTURES)
        return cls(
            model, tuple(words()), model.path.noised(clean.repeat(len(TIMES), 1, 1, 1), noise.flatten(0, 1), times), times
        )

    @torch.no_grad()
    def answers(self) -> Tensor:
        """(words, s, c, h, w) what the model predicts on every state for every word."""
        told = self.model.encode([f"a picture of a {word}" for word in self.words])
        rows = [self.model.predict(self.states, self.times, told[[row] * len(self.states)]) for row in range(len(self.words))]
        return torch.stack(rows)

    def apart(self, base: Tensor, edit: Edit) -> Tensor:
        """(words,) how far the edited model's answers are from the base model's."""
        with edit.applied(self.model):
            return (self.answers() - base).square().flatten(1).mean(1)


def measure(out: Path) -> dict[str, Any]:
    """What can be read from every edit, written at the end."""
    torch.set_num_threads(1)
    model = load("canvas", device="cpu", dtype="mixed")
    reader = Reader.of(model)
    base, found = reader.answers(), []
    for text in ENTRANTS:
        entrant = Entrant.parse(text)
        for name in CONCEPTS:
            settings = entrant.settings.model_dump(exclude_unset=True)
            edit = excise.erase(
                name, method=entrant.method.name, settings=settings, evaluate="none", device="cpu", dtype="mixed"
            ).edit
            own = {word for phrase in model.catalog.resolve(name).phrases for word in phrase.split()} - {"a", "an"}
            found.append({"entrant": text, "concept": name, **placed(reader.words, reader.apart(base, edit), own)})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    told = {"words": len(reader.words), "states": len(reader.states), "erasures": found, "machine": machine()}
    write_json(out, told)
    return told


def placed(asked: tuple[str, ...], apart: Tensor, own: set[str]) -> dict[str, Any]:
    """Where the first of the concept's own words stands among all."""
    order = [(asked[place], float(apart[place])) for place in apart.argsort(descending=True).tolist()]
    place, (word, most) = next((place, each) for place, each in enumerate(order, 1) if each[0] in own)
    other = next(value for name, value in order if name not in own)
    return {"place": place, "word": word, "ahead": most / other, "first": [name for name, _ in order[:5]]}


def table(found: dict[str, Any]) -> list[str]:
    """Lines of Markdown: a row for each erasure."""
    return markdown(
        COLUMNS,
        [
            (
                f"`{each['entrant']}`",
                f"*{each['concept'].rpartition(':')[2]}*",
                f"{each['place']} of {found['words']}",
                each["word"],
                f"{each['ahead']:.1f}",
                ", ".join(each["first"]),
            )
            for each in found["erasures"]
        ],
    )


if __name__ == "__main__":
    recorded.main(__doc__, RESULTS, measure, table)
