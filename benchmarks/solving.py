"""What MiM-MU's solver leaves, what others feel of it and what it takes, beside other settings in the same run (docs/research/mim/results.md).

    python benchmarks/solving.py                            # writes docs/benchmark/solving.json; an hour of one CPU core
    python benchmarks/solving.py --concepts cat --entrants mim mim:rounds=0 --out solving.json
    python benchmarks/solving.py --model canvas-flow --concepts cat clock style:sketch --out docs/benchmark/flow-solving.json
    python benchmarks/solving.py --show docs/benchmark/solving.json
    python benchmarks/solving.py --figure docs/benchmark/solving.png     # the front: time against what is left

An erasure is judged on pictures of the base model that it never saw, noised at levels of equal parts of the schedule. "left" is the share of
||answer with the words - answer without||^2 that is left of what the base model has, weighed as predictions are and as nats are; "felt" is
||answer - the base model's||^2 for prompts of each other declared concept, in shares of what their own words say (as nats are weighed).
CPU seconds are those of one thread, and count the erasure alone. Finished erasures in the file are not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from torch import Tensor

from excise import load
from excise.concepts import Concept
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import States, forgetting_set, forward_states
from excise.files import write_json
from excise.methods.mim.erase import _ask, _weights
from excise.models import Model
from excise.requests.grid import Entrant
from timing import machine

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "solving.json"
BEFORE = "mim:start=solved,rounds=8,steps=60,lr=3e-4,sampler_steps=20,tolerance=0,weight=simple"
"""480 steps from the closed form for the names, as the defaults were before heads were solved (but for states that all rounds share)."""

ENTRANTS = (
    "mim:start=solved,rounds=0", "mim:rounds=0", "mim", "mim:rounds=1,tolerance=0", "mim:tolerance=0", BEFORE,
)  # fmt: skip
TUNING = ("cat", "clock", "style:sketch")
"""The concepts on which settings were chosen."""

PICTURES, OTHERS, LEVELS, SEED = 24, 3, 8, 99
"""Pictures of the concept, of each other concept, noise levels of each, and the seed that none of an erasure's numbers come from."""


class Probe:
    """Noised pictures of a concept and what the base model says there with its words and without.

    phrasings of the pictures: plain, or all
    """

    def __init__(self, model: Model, concept: Concept, pictures: int, *, plain: bool) -> None:
        self.bank = PromptBank.of(model, [concept], plain=plain)
        random = torch.Generator().manual_seed(SEED)
        rows = self.bank.draw(pictures, random)
        clean = forgetting_set(model, self.bank, rows, random, steps=20, guidance_scale=4.0)
        self.states: States = forward_states(model, clean, rows, LEVELS, random)
        self.told, self.rest = (_ask(model, self.states, text) for text in (self.bank.conditioned, self.bank.masked))
        self.weights = {name: _weights(model, self.states.t, name) for name in ("simple", "log_snr")}

    def share(self, answer: Tensor, target: Tensor, weight: str, of: Tensor | None = None) -> float:
        """Weighed ||answer - target||^2 in shares of what the words say, of some states or all."""
        of = torch.arange(len(self.states)) if of is None else of

        def total(difference: Tensor) -> float:
            return float((self.weights[weight][of] * difference[of].double().square().flatten(1).sum(1)).sum())

        return total(answer - target) / total(self.told - self.rest)

    def answer(self, model: Model) -> Tensor:
        return _ask(model, self.states, self.bank.conditioned)

    def not_naming(self, concept: Concept) -> Tensor:
        """States whose prompts have none of the concept's words."""
        words = {word for phrase in concept.phrases for word in phrase.split()} - {"a", "an"}
        free = torch.tensor([not words & set(pair.prompt.split()) for pair in self.bank.pairs])
        return free[self.states.row].nonzero().squeeze(1)


@torch.no_grad()
def judged(model: Model, concept: Concept, probes: dict[str, Probe], entrant: str, seed: int) -> dict[str, Any]:
    """One erasure and what it leaves."""
    asked = Entrant.parse(entrant)
    calls: list[int] = []
    hook = model.denoiser.register_forward_hook(lambda module, inputs, output: calls.append(len(output[0])))
    began = time.process_time()
    with torch.enable_grad():
        edit = asked.method.erase(model, [concept], asked.settings, Run(seed))
    spent = time.process_time() - began
    network_calls = sum(calls)
    hook.remove()
    own = probes[concept.label]
    with edit.applied(model):
        now = own.answer(model)
        felt = {}
        for label, probe in probes.items():
            if label != concept.label and len(rows := probe.not_naming(concept)):
                felt[label] = probe.share(probe.answer(model), probe.told, "log_snr", rows)
    worst = max(felt, key=lambda label: felt[label])
    return {
        "concept": concept.label, "entrant": entrant, "seed": seed, "cpu_s": spent, "network_calls": network_calls,
        "left": own.share(now, own.rest, "simple"), "left_nats": own.share(now, own.rest, "log_snr"),
        "felt": sum(felt.values()) / len(felt), "felt_most": felt[worst], "felt_by": worst, "told": dict(edit.manifest.measurements),
    }  # fmt: skip


def table(found: Sequence[dict[str, Any]]) -> str:
    """Means over concepts of each kind, an entrant a row."""
    lines = [
        "| settings | concepts | left, % | left in nats, % | others feel, % (most) | CPU s | network calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(each["concept"].partition(":")[0] for each in found):
        for entrant in dict.fromkeys(each["entrant"] for each in found):
            rows = [each for each in found if each["entrant"] == entrant and each["concept"].startswith(f"{kind}:")]
            if rows:
                mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if isinstance(rows[0][key], float)}
                shares = " | ".join(f"{100 * mean[key]:.2f}" for key in ("left", "left_nats", "felt"))
                felt = f"{shares} ({100 * mean['felt_most']:.2f})"
                calls = round(sum(row["network_calls"] for row in rows) / len(rows))
                lines.append(f"| `{entrant}` | {len(rows)} {kind}s | {felt} | {mean['cpu_s']:.1f} | {calls:,} |")
    return "\n".join(lines)


def figure(found: Sequence[dict[str, Any]]) -> Figure:
    """Objects and styles apart: the nats that are left of the words against the time, a point for each setting's mean; small: single ones."""
    drawn = Figure(figsize=(8.4, 3.6), layout="constrained")
    for axis, kind in zip(drawn.subplots(1, 2), ("object", "style"), strict=True):
        for place, entrant in enumerate(dict.fromkeys(each["entrant"] for each in found)):
            rows = [each for each in found if each["entrant"] == entrant and each["concept"].startswith(f"{kind}:")]
            if not rows:
                continue
            x, y = ([each[key] * scale for each in rows] for key, scale in (("cpu_s", 1), ("left_nats", 100)))
            colour = f"C{place}"
            axis.scatter(x, y, s=8, color=colour, alpha=0.35, linewidths=0)
            name = (
                "the defaults before"
                if entrant == BEFORE
                else "the default"
                if entrant == "mim"
                else entrant.removeprefix("mim:")
            )
            axis.scatter(
                fmean(x),
                fmean(y),
                s=70,
                color=colour,
                marker="*" if entrant == "mim" else "o",
                label=name,
                zorder=4 if entrant == "mim" else 3,
            )
        axis.set(xscale="log", yscale="log", xlabel="CPU seconds of an erasure", title=f"{kind}s")
        axis.spines[["top", "right"]].set_visible(False)
        for line in (axis.xaxis, axis.yaxis):
            line.set_major_formatter(ScalarFormatter())
            line.set_minor_formatter(NullFormatter())
        axis.set_xticks([2, 5, 10, 20, 50])
        axis.set_yticks([1, 2, 5, 10, 20])
    drawn.axes[0].set_ylabel("nats left of the words, %")
    drawn.axes[0].legend(fontsize=7, frameon=False)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description="What MiM-MU's solver leaves, and what it takes.")
    parser.add_argument(
        "--concepts", nargs="+", default=[], help="default: every object and style, those first on which settings were chosen"
    )
    parser.add_argument("--entrants", nargs="+", default=list(ENTRANTS))
    parser.add_argument("--model", default="canvas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", type=Path, help="print the table of a file")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the front of the file --out, and measure nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())["erasures"]))
        return
    if options.figure:
        figure(json.loads(options.out.read_text())["erasures"]).savefig(options.figure, dpi=150, metadata={"Software": None})
        return
    torch.set_num_threads(1)
    model = load(options.model, device="cpu")
    others = [concept for concept in model.catalog.concepts if concept.kind in ("object", "style")]
    tuned = [model.catalog.resolve(name) for name in TUNING]
    chosen = [model.catalog.resolve(name) for name in options.concepts]
    wanted = chosen or [*tuned, *(concept for concept in others if concept not in tuned)]
    print("making probes", file=sys.stderr)
    probes = {concept.label: Probe(model, concept, OTHERS, plain=True) for concept in others}
    found = json.loads(options.out.read_text())["erasures"] if options.out.exists() else []
    for concept in wanted:
        mine = {**probes, concept.label: Probe(model, concept, PICTURES, plain=False)}
        for entrant in options.entrants:
            if not any(
                (each["concept"], each["entrant"], each["seed"]) == (concept.label, entrant, options.seed) for each in found
            ):
                found.append(judged(model, concept, mine, entrant, options.seed))
                write_json(
                    options.out,
                    {"model": model.name, "pictures": PICTURES, "levels": LEVELS, "machine": machine(), "erasures": found},
                )
    print(table(found))


if __name__ == "__main__":
    main()
