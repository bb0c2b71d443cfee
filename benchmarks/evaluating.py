"""What would make an evaluation of the canvas quicker, and whether its answers stay the same.

    python benchmarks/evaluating.py                                    # five minutes of one CPU core
    python benchmarks/evaluating.py --show docs/benchmark/evaluating.json

Each way makes every second picture of a quick evaluation of *cat*, of the base model and with an edit (UCE), on one thread. A way's CPU
seconds stand beside those of the plain way right before and after it, in the same process: cores that are shared are fast now and slow then.
Results go to docs/benchmark/evaluating.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import excise
from excise.evaluation.classifier import Classifier
from excise.evaluation.picture_counts import ASKED_FOR
from excise.evaluation.prompt_grid import Question, questions
from excise.models import Model
from markdown_table import markdown
from timing import machine

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "evaluating.json"
BATCH = 21
"""Pictures at once. Ways are timed on so many, every third, and those that only round otherwise make no others."""
COLUMNS = ("way", "CPU time, of as it is", "largest change of a pixel", "same answers", "edited", "right", "edited")


@dataclass(frozen=True)
class Way:
    """A way to make pictures.

    around what is on meanwhile; options of `Model.sample`; scheduler: another sampler
    """

    name: str
    around: Callable[[Model], AbstractContextManager[Any]] = lambda model: nullcontext()
    options: dict[str, Any] = field(default_factory=dict)
    scheduler: str | None = None


@contextmanager
def channels_last(model: Model) -> Iterator[None]:
    """The denoiser with weights and latents laid out pixel by pixel."""

    def laid_out(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])

    denoiser: Any = model.denoiser
    denoiser.to(memory_format=torch.channels_last)
    hook = denoiser.register_forward_pre_hook(laid_out)
    try:
        yield
    finally:
        hook.remove()
        denoiser.to(memory_format=torch.contiguous_format)


PLAIN = Way("as it is")
MODELS = ("base", "edited")
WAYS = (
    Way("what words give computed at every step", lambda model: patch("excise.models.model.SMALL", 0)),
    Way("batches of 8", options={"batch": 8}),
    Way("torch.inference_mode", lambda model: torch.inference_mode()),
    Way("attention by its formula", lambda model: sdpa_kernel(SDPBackend.MATH)),
    Way("channels last", channels_last),
    Way("mixed (bfloat16)", lambda model: patch.object(model, "mixed", True)),
    Way("10 steps", options={"steps": 10}),
    Way("10 steps of DPM-Solver++", options={"steps": 10}, scheduler="DPMSolverMultistepScheduler"),
    Way("10 steps of UniPC", options={"steps": 10}, scheduler="UniPCMultistepScheduler"),
)


@dataclass
class Bench:
    """The model, what is asked of it, and the edit."""

    model: Model
    classifier: Classifier
    asked: list[Question]
    edit: Any

    @classmethod
    def of(cls, concept: str) -> Bench:
        model, counts = excise.load("canvas", device="cpu"), ASKED_FOR["quick"]
        assert model.classifier is not None
        found = questions(model, [model.catalog.resolve(concept)], counts.target, counts.other, 0)
        edit = excise.erase(concept, method="uce", evaluate="none", device="cpu").edit
        return cls(model, Classifier.load(model.classifier), found.all[::2], edit)

    def pictures(self, way: Way, asked: list[Question]) -> tuple[Tensor, float]:
        """The pictures (n, 3, h, w), and the CPU seconds that they took."""
        made, options = [], {"batch": BATCH, **way.options}
        began = time.process_time()
        with way.around(self.model), self.model.sampled_by(way.scheduler):
            for first in range(0, len(asked), BATCH):
                some = [question.item for question in asked[first : first + BATCH]]
                made.append(self.model.sample([item.prompt for item in some], [item.seed for item in some], **options))
        return torch.cat(made).clone(), time.process_time() - began

    def made(self, way: Way, name: str, asked: list[Question]) -> Tensor:
        """The pictures of the base or the edited model."""
        with self.edit.applied(self.model) if name == "edited" else nullcontext():
            return self.pictures(way, asked)[0]

    def answers(self, pictures: Tensor) -> dict[str, Tensor]:
        return self.classifier.classify(pictures)

    def right(self, said: dict[str, Tensor], asked: list[Question]) -> float:
        """Share of what the pictures were asked to show that is seen."""
        names = self.classifier.names
        seen = [
            names[head][int(said[head][place])] == name
            for place, question in enumerate(asked)
            for head, name, _ in question.shows
        ]
        return sum(seen) / len(seen)

    def same(self, one: dict[str, Tensor], other: dict[str, Tensor], asked: list[Question]) -> float:
        """Share of what the pictures were asked to show of which both say the same."""
        alike = [
            bool(one[head][place] == other[head][place])
            for place, question in enumerate(asked)
            for head, _, _ in question.shows
        ]
        return sum(alike) / len(alike)


def measure(concept: str) -> dict[str, Any]:
    """Every way, on the base model and on the edited one."""
    torch.set_num_threads(1)
    bench = Bench.of(concept)
    bench.pictures(PLAIN, bench.asked[:4])
    plain = {name: bench.made(PLAIN, name, bench.asked) for name in MODELS}
    return {
        "concept": concept,
        "pictures": len(bench.asked),
        "right": {name: bench.right(bench.answers(pictures), bench.asked) for name, pictures in plain.items()},
        "ways": [_row(bench, way, plain) for way in WAYS],
        "machine": machine(),
    }


def _row(bench: Bench, way: Way, plain: dict[str, Tensor]) -> dict[str, Any]:
    some = bench.asked[::3]
    seconds = [bench.pictures(each, some)[1] for each in (PLAIN, way, PLAIN)]
    found: dict[str, Any] = {"way": way.name, "plain_cpu_s": seconds[0::2], "cpu_s": seconds[1]}
    each = 1 if "steps" in way.options else 3
    asked = bench.asked[::each]
    for name in MODELS:
        pictures, expected = bench.made(way, name, asked), plain[name][::each]
        now = bench.answers(pictures)
        found[name] = {
            "pictures": len(asked),
            "largest_change": float((pictures - expected).abs().max()),
            "same": bench.same(now, bench.answers(expected), asked),
            "right": bench.right(now, asked),
            "right_plain": bench.right(bench.answers(expected), asked),
        }
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines of Markdown, a row for each way."""
    rows = []
    for each in found["ways"]:
        base, edited = (each[name] for name in MODELS)
        ratio = len(each["plain_cpu_s"]) * each["cpu_s"] / sum(each["plain_cpu_s"])
        change = max(base["largest_change"], edited["largest_change"])
        right = (f"{100 * part['right_plain']:.1f} → {100 * part['right']:.1f} %" for part in (base, edited))
        same = (f"{100 * part['same']:.1f} %" for part in (base, edited))
        rows.append((each["way"], f"{ratio:.2f}", f"{change:.0e}" if change else "0", *same, *right))
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("concept", nargs="?", default="cat")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    options = parser.parse_args()
    if options.show is not None:
        print("\n".join(table(json.loads(options.show.read_text(encoding="utf-8")))))
        return
    found = measure(options.concept)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)), file=sys.stderr)


if __name__ == "__main__":
    main()
