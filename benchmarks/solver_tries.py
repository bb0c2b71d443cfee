"""What else was tried to solve what MiM-MU's start leaves: other solvers, batches, averages, and pictures.

    python benchmarks/solver_tries.py                     # writes docs/benchmark/solver_tries.json; ten minutes on 2 CPU cores
    python benchmarks/solver_tries.py --show docs/benchmark/solver_tries.json

Every try erases cat and sketch with the default settings but for what its name says, and without a look at what is left (`tolerance=0`). It
is judged as in benchmarks/solving.py. Gauss-Newton takes the place of all steps: conjugate gradients on |J X - what is missing|^2 + hold |X|^2
over a fixed pool of states, for changes X of keys and values in the span of the concept's rows, in the metric. Control variates are those of
SVRG (Johnson and Zhang, 2013): the gradient of all states where a round began, and a step's own there, are taken along. CPU seconds are of
one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from excise import load
from excise.concepts import Concept
from excise.edits import Edit
from excise.erasure.run import Run
from excise.files import write_json
from excise.methods import get
from excise.methods.mim import MimSettings, heads, metric
from excise.methods.mim import erase as mim
from excise.models import Model
from markdown_table import markdown
from solving import OTHERS, PICTURES, Probe
from timing import machine

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "solver_tries.json"
CONCEPTS = ("cat", "style:sketch")
COLUMNS = ("try", "concept", "left, %", "left in nats, %", "others feel, % (most)", "CPU s")
LAST = 10
"""Iterates that are averaged."""

Changes = dict[str, Tensor]
of_a_round, mim_batch = mim._round, mim._batch


class Averaged(metric.Steepest):
    """Steps as ever; where the last of them have come to, in the mean, is where they end."""

    def __init__(self, parameters: Any, lr: float, inverses: Any, steps: int) -> None:
        super().__init__(parameters, lr, inverses)
        self.left, self.sums = steps, dict[Any, Tensor]()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step()
        self.left -= 1
        for parameter in self.inverses:
            if self.left < LAST:
                self.sums[parameter] = self.sums.get(parameter, torch.zeros_like(parameter)) + parameter
            if self.left == 0:
                parameter.copy_(self.sums[parameter] / LAST)


@contextmanager
def gauss_newton(states: int, iterations: int, hold: float) -> Iterator[None]:
    """In the place of the gradient loop."""
    basis: list[Tensor] = []
    found = heads._basis

    def kept(*given: Any) -> Tensor:
        basis[:] = [found(*given)]
        return basis[0]

    def train(trainable: Any, prepare: Any, *_: Any, **__: Any) -> None:
        lessons = prepare.__closure__[_place(prepare, "lessons")].cell_contents
        _solve(lessons, basis[0].float(), states, iterations, hold)

    with patch.object(heads, "_basis", kept), patch.object(mim, "train", train):
        yield


def _place(function: Any, name: str) -> int:
    place: int = function.__code__.co_freevars.index(name)
    return place


def _solve(lessons: mim.Lessons, basis: Tensor, count: int, iterations: int, hold: float) -> None:
    """Conjugate gradients from no change on; J by forward mode, J^T by reverse mode."""
    model, pool = lessons.model, lessons.forgetting
    pick = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:count]
    x, t, told = pool.latents[pick], pool.t[pick], lessons.bank.conditioned[pool.row[pick]].tokens
    weights = mim._weights(model, pool.t, lessons.settings.weight)[pick].to(x).sqrt().view(-1, 1, 1, 1)
    scale = weights / (len(pick) * x[0].numel()) ** 0.5
    weights_of = {name: lessons.trainable.parameters[name] for name in model.entrances_of("tokens")}
    before = {name: parameter.detach().clone() for name, parameter in weights_of.items()}

    def answer(change: Changes) -> Tensor:
        new = {name.partition(".")[2]: before[name] + part @ basis.T for name, part in change.items()}
        return functional_call(model.denoiser, new, (x, t), {"encoder_hidden_states": told}).sample * scale

    def back(cotangent: Tensor) -> Changes:
        leaves = {name: torch.zeros(len(weight), basis.shape[1], requires_grad=True) for name, weight in before.items()}
        return dict(zip(leaves, torch.autograd.grad(answer(leaves), list(leaves.values()), cotangent), strict=True))

    for parameter in weights_of.values():
        parameter.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no forward mode
        none = {name: torch.zeros(len(weight), basis.shape[1]) for name, weight in before.items()}
        with torch.no_grad():
            short = lessons.targets[pick] * scale - answer(none)
        change, rest = none, back(short)
        along, size = rest, _dot(rest, rest)
        for _ in range(iterations):
            curved = back(jvp(answer, (none,), (along,))[1])
            curved = {name: curved[name] + hold * along[name] for name in curved}
            step = size / _dot(along, curved)
            change = {name: change[name] + step * along[name] for name in change}
            rest = {name: rest[name] - step * curved[name] for name in rest}
            before_size, size = size, _dot(rest, rest)
            along = {name: rest[name] + size / before_size * along[name] for name in rest}
    for name, parameter in weights_of.items():
        parameter.data = before[name] + change[name] @ basis.T
        parameter.requires_grad_(True)


def _dot(one: Changes, other: Changes) -> float:
    return sum(float((one[name] * other[name]).sum()) for name in one)


def each_once(count: int, settings: MimSettings, run: Run, round_: int, step: int) -> Tensor:
    """A step's states: none a second time before all others were drawn."""
    first = (round_ * settings.steps + step) * settings.batch
    drawn = torch.arange(first, first + settings.batch)
    orders = [torch.randperm(count, generator=run.generator(1, epoch)) for epoch in range(int(drawn[-1]) // count + 1)]
    return torch.cat(orders)[drawn]


def svrg(lessons: mim.Lessons, round_: int, inverses: Any) -> Callable[[int], Tensor]:
    """A round's loss whose gradient has less noise: minus a step's own gradient where the round began, plus that of all states there."""
    loss, weights = of_a_round(lessons, round_, inverses), list(lessons.trainable.parameters.values())
    began = [weight.detach().clone() for weight in weights]
    states, settings = lessons.forgetting, lessons.settings

    def gradients(rows: Tensor, step: int) -> list[Tensor]:
        with patch.object(mim, "_batch", lambda *_: rows):
            return list(torch.autograd.grad(loss(step), weights))

    parts = torch.arange(len(states)).split(settings.batch)
    shares = [[len(part) / len(states) * each for each in gradients(part, 0)] for part in parts]
    everywhere = [torch.stack(each).sum(0) for each in zip(*shares, strict=True)]

    def steadied(step: int) -> Tensor:
        now = [weight.detach().clone() for weight in weights]
        _set(weights, began)
        there = gradients(mim_batch(len(states), settings, lessons.run, round_, step), step)
        _set(weights, now)
        lead = ((weight * (mean - own)).sum() for weight, mean, own in zip(weights, everywhere, there, strict=True))
        return loss(step) + torch.stack(list(lead)).sum()

    return steadied


def _set(weights: list[torch.nn.Parameter], values: list[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.data.copy_(value)


TRIES: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "no steps": ({"rounds": 0}, nullcontext),
    "24 steps": ({"rounds": 1}, nullcontext),
    "72 steps": ({}, nullcontext),
    "72 steps, the last 10 averaged": ({}, lambda: patch.object(metric, "Steepest", partial(Averaged, steps=72))),
    "72 steps, each state once before any twice": ({}, lambda: patch.object(mim, "_batch", each_once)),
    "24 steps with control variates": ({"rounds": 1}, lambda: patch.object(mim, "_round", svrg)),
    "72 steps with control variates": ({}, lambda: patch.object(mim, "_round", svrg)),
    "8 steps of 48": ({"rounds": 1, "steps": 8, "batch": 48, "lr": 4e-3}, nullcontext),
    "72 steps of twice the rate": ({"lr": 4e-3}, nullcontext),
    "Gauss-Newton, 64 states, 2 iterations": ({}, partial(gauss_newton, 64, 2, 1e-4)),
    "Gauss-Newton, 64 states, 4 iterations": ({}, partial(gauss_newton, 64, 4, 1e-4)),
    "24 steps, pictures by DDIM": ({"rounds": 1}, lambda: patch.object(mim, "HIGHER_ORDER", None)),
    "24 steps, pictures of 10 steps": ({"rounds": 1, "sampler_steps": 10}, nullcontext),
}
"""By name: settings, and what is changed in the code meanwhile."""


def tried(model: Model, concept: Concept, probes: dict[str, Probe], name: str) -> dict[str, Any]:
    settings, change = TRIES[name]
    with change():
        began = time.process_time()
        edit: Edit = get("mim").erase(model, [concept], get("mim").parse({"tolerance": 0, **settings}), Run(0))
        spent = time.process_time() - began
    own = probes[concept.label]
    with edit.applied(model), torch.no_grad():
        now = own.answer(model)
        felt = [
            probe.share(probe.answer(model), probe.told, "log_snr", rows)
            for label, probe in probes.items()
            if label != concept.label and len(rows := probe.not_naming(concept))
        ]
    shares = {"left": own.share(now, own.rest, "simple"), "left_nats": own.share(now, own.rest, "log_snr")}
    return {
        "concept": concept.label,
        "try": name,
        "cpu_s": spent,
        **shares,
        "felt": sum(felt) / len(felt),
        "felt_most": max(felt),
    }


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [each["try"], each["concept"], f"{100 * each['left']:.2f}", f"{100 * each['left_nats']:.2f}",
         f"{100 * each['felt']:.2f} ({100 * each['felt_most']:.2f})", f"{each['cpu_s']:.1f}"]
        for each in found
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Other solvers, batches, averages, and pictures.")
    parser.add_argument("--concepts", nargs="+", default=list(CONCEPTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", type=Path, help="print the table of a file")
    options = parser.parse_args()
    if options.show:
        print("\n".join(markdown(COLUMNS, rows(json.loads(options.show.read_text())["tries"]))))
        return
    torch.set_num_threads(1)
    model = load("canvas", device="cpu")
    others = [concept for concept in model.catalog.concepts if concept.kind in ("object", "style")]
    print("making probes", file=sys.stderr)
    probes = {concept.label: Probe(model, concept, OTHERS, plain=True) for concept in others}
    found = json.loads(options.out.read_text())["tries"] if options.out.exists() else []
    for concept in map(model.catalog.resolve, options.concepts):
        mine = {**probes, concept.label: Probe(model, concept, PICTURES, plain=False)}
        for name in TRIES:
            if not any((each["concept"], each["try"]) == (concept.label, name) for each in found):
                found.append(tried(model, concept, mine, name))
                write_json(options.out, {"model": model.name, "pictures": PICTURES, "machine": machine(), "tries": found})
    print("\n".join(markdown(COLUMNS, rows(found))))


if __name__ == "__main__":
    main()
