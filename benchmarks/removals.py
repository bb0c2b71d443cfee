"""The erosion curve of continual removal: requests come one at a time, and after each the model is measured.

    python benchmarks/removals.py --out out/removals [--jobs 2] [--entrants mim@sequential mim@joint "uce:preserve=catalog@resolve"]
    python benchmarks/removals.py --show docs/benchmark/removals
    python benchmarks/removals.py --draw docs/benchmark/removals     # the curves of all cells there, but for the weights' change

An entrant is a method, settings after a colon, and the strategy of a queue after "@". Each serves the same requests, objects and styles in a
drawn order, through `excise queue run`. A measurement is a cell, OUT/cells/ENTRANT/NUMBER.json; OUT/queues/ENTRANT is the queue and its edits.
The same command again does what is missing, and tries once more what failed. OUT/removals.md has the tables, OUT/removals.png the curves.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from excise.concepts import Concept
from excise.edits import load_edit
from excise.evaluation import evaluate
from excise.files import write_json, write_text
from excise.information.budget import BESIDE
from excise.jobs.measure import residual
from excise.jobs.processes import in_processes
from excise.jobs.queue import run_queue
from excise.jobs.queue_file import add_removal
from excise.models import Model, load
from excise.models.names import describe, resolve
from excise.progress import Progress, silent
from excise.quoting import quoted
from excise.report import plots
from excise.report.erosion_table import NOTHING, ErosionRow, rows, slope
from excise.requests.grid import Entrant, file_name
from excise.requests.queue import RESULT
from excise.requests.removals import Queue
from excise.results.cell import Cell, CellInformation
from excise.results.cells import cell_path, stored_cells
from excise.results.removal_ledger import ErosionPoint, RemovalLedger
from excise.settings import parse_named

ENTRANTS = ("mim@sequential", "mim@joint", "uce@resolve", "uce:preserve=catalog@resolve", "esd@sequential", "duge@sequential")
REQUESTS, NEAR = 12, 3
"""Requests, and neighbours of each that are looked at (ours)."""

STEP_COLUMNS = (
    "request", "UA now", "UA earlier", "worst relapse", "near", "future", "generic", "IRA of base", "CRA of base", "FID", "nats kept",
    "weights changed", "seconds",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "entrant", "earlier ones above neutral: mean, worst", "IRA, CRA of base", "FID", "nats kept", "slope of generic, nats", "seconds",
)  # fmt: skip
NOTES = (
    "UA and accuracies in per cent; relapse: an earlier concept is shown, minus how often it is without its words, in points. Near: the "
    f"{NEAR} concepts of its kind whose prompts are read most alike; future: those whose request is still to come; generic: those that nobody "
    "asks to erase; all three edited over base accuracy, of what is not erased yet. Slope: change with every further request, by least squares."
)


@dataclass(frozen=True)
class Service:
    """One entrant and what it serves.

    text     METHOD[:SETTINGS]@STRATEGY
    requests labels in the order in which they come
    """

    text: str
    requests: tuple[str, ...]
    out: Path
    model: str
    seed: int
    dtype: str
    target_pictures: int
    other_pictures: int
    budget: int

    @classmethod
    def parts(cls, text: str) -> tuple[Entrant, str]:
        """The method with its settings, and the strategy. Raises ValueError for an unknown one."""
        method, at, strategy = text.rpartition("@")
        if not at or strategy not in ("joint", "sequential", "resolve"):
            raise ValueError(f"expected METHOD@STRATEGY, such as mim@sequential, got {quoted(text)}")
        return Entrant.parse(method), strategy

    @cached_property
    def entrant(self) -> Entrant:
        return self.parts(self.text)[0]

    @cached_property
    def strategy(self) -> str:
        return self.parts(self.text)[1]

    @property
    def queue(self) -> Path:
        return self.out / "queues" / file_name(self.text) / "queue.yaml"

    def cell(self, number: int) -> Path:
        """The file about the model after that many requests."""
        return cell_path(self.out, file_name(self.text), f"{number:02}")

    def about(self, number: int) -> dict[str, Any]:
        """What makes a cell: a file that says anything else is not its result."""
        return {
            "method": self.entrant.method.name,
            "entrant": self.text,
            "concepts": self.requests[:number],
            "in_turn": self.strategy == "sequential",
            "seed": self.seed,
            "settings": self.entrant.settings.model_dump(mode="json"),
            "model": self.model,
        }

    def missing(self) -> list[int]:
        """After how many requests no good cell is there. Raises ValueError if one was made otherwise."""
        there = stored_cells(self.out)
        return [number for number in range(1, len(self.requests) + 1) if not self._done(number, there.get(self.cell(number)))]

    def _done(self, number: int, found: Cell | None) -> bool:
        if found is None:
            return False
        changed = [name for name, value in self.about(number).items() if getattr(found, name) != value]
        if changed:
            raise ValueError(f"{self.cell(number)} was made otherwise ({', '.join(changed)}); choose another folder")
        return found.error is None


def serve(service: Service, progress: Progress = silent) -> str | None:
    """Serve and measure what is missing; returns what went wrong (None: nothing), which ends the entrant."""
    missing = service.missing()
    model = load(service.model, dtype=service.dtype) if missing else None
    for number in missing:
        try:
            assert model is not None
            cell = _served(service, model, number, progress)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            Cell(**service.about(number), error=told).write(service.cell(number))
            return f"request {number}: {told}"
        cell.write(service.cell(number))
        print(f"{service.text} {number}/{len(service.requests)} {service.requests[number - 1]}: done", flush=True)
    return None


def _served(service: Service, model: Model, number: int, progress: Progress) -> Cell:
    """The model after that many requests."""
    _ask(service, number)
    ledger = run_queue(service.queue, evaluate="none", dtype=service.dtype, progress=progress)
    concepts = [model.catalog.resolve(label) for label in service.requests[:number]]
    edit = load_edit(service.queue.with_suffix("") / RESULT)
    found = evaluate(
        model, concepts, edit,
        seed=service.seed, target_pictures=service.target_pictures, other_pictures=service.other_pictures, quality=True,
        progress=progress,
    )  # fmt: skip
    told = residual(model, concepts, edit, budget=service.budget, seed=service.seed, progress=progress)
    newest = [step for step in ledger.steps if concepts[-1].label in step.concepts]
    return Cell(
        **service.about(number),
        base_fingerprint=edit.manifest.base,
        evaluation=found,
        information=CellInformation.of(told),
        seconds=None if any(step.seconds is None for step in newest) else sum(step.seconds or 0.0 for step in newest),
        edit_mb=edit.nbytes / 2**20,
        versions=ledger.versions,
        threads=torch.get_num_threads(),
    )


def _ask(service: Service, number: int) -> None:
    """The queue's file with so many requests. Raises ValueError if it has more: their edits would be measured as well."""
    service.queue.parent.mkdir(parents=True, exist_ok=True)
    if not service.queue.is_file():
        text = f"model: {service.model}\nstrategy: {service.strategy}\nseed: {service.seed}\nrequests:\n"
        write_text(service.queue, text)
    there = len(Queue.read(service.queue).content.requests)
    if there > number:
        raise ValueError(f"{service.queue} has {there} requests already; take it away to measure after {number}")
    settings = parse_named(service.text.rpartition("@")[0])[1]
    for label in service.requests[there:number]:
        add_removal(service.queue, label, method=service.entrant.method.name, settings=settings)


def order(model: str, count: int, seed: int) -> tuple[str, ...]:
    """Requests in a drawn order: objects and styles, without repeats."""
    catalog = describe(resolve(model)).catalog
    labels = [concept.label for kind in ("object", "style") for concept in catalog.of_kind(kind)]
    if count >= len(labels):
        raise ValueError(f"the model declares {len(labels)} objects and styles; ask for fewer requests than that")
    return tuple(random.Random(seed).sample(labels, count))


def neighbours(model: Model, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Of each label the concepts of its kind whose plain prompts are read most alike, by cosine after the mean is taken off (ours)."""
    found = {}
    for label in labels:
        own = model.catalog.resolve(label)
        others: list[Concept] = [each for each in model.catalog.of_kind(own.kind) if each.label != label]
        read = model.encode([each.plain_pairs()[0].prompt for each in (own, *others)]).tokens.flatten(1).float()
        read = torch.nn.functional.normalize(read - read.mean(0), dim=1)
        near = (read[1:] @ read[0]).argsort(descending=True)[:NEAR]
        found[label] = tuple(others[place].label for place in near.tolist())
    return found


def removals(
    *, out: Path, entrants: Sequence[str] = ENTRANTS, requests: int = REQUESTS, order_seed: int = 0, jobs: int = 1, model: str = "canvas",
    **how: Any,
) -> dict[str, str]:  # fmt: skip
    """Make what is missing and write tables and curves; returns what went wrong, by entrant.

    Raises ValueError for a bad name before anything is made, and if what is in `out` was made otherwise.
    """
    for text in entrants:
        Service.parts(text)[0].method.check_model(model)
    asked = order(model, requests, order_seed)
    services = [Service(text, asked, out, model, **how) for text in dict.fromkeys(entrants)]
    failed: dict[str, str] = {}
    with closing(_all(services, jobs)) as results:
        for service, error in results:
            if error is not None:
                failed[service.text] = str(error)
            write(out, services, failed)
    return failed


def _all(services: Sequence[Service], jobs: int) -> Generator[tuple[Service, Any], None, None]:
    if jobs > 1 and len(services) > 1:
        yield from in_processes(serve, services, min(jobs, len(services)))
    else:
        yield from ((service, serve(service)) for service in services)


def write(out: Path, services: Sequence[Service], failed: Mapping[str, str]) -> None:
    """The tables, the curves, and what the requests and their neighbours were."""
    near = neighbours(load(services[0].model, device="cpu"), services[0].requests)
    write_json(out / "order.json", {"requests": services[0].requests, "near": near})
    curves = {service.text: curve(service) for service in services}
    found = {text: each for text, each in curves.items() if each}
    lines = [*_table(SUMMARY_COLUMNS, [summary(text, each) for text, each in found.items()]), ""]
    for text, each in found.items():
        lines += [f"## {text}", "", *_table(STEP_COLUMNS, [line(cell, row, near) for cell, row in each]), ""]
    lines += [NOTES, *(f"- `{text}` failed: {error}" for text, error in failed.items())]
    write_text(out / "removals.md", "\n".join(lines) + "\n")
    if figure := plots.erosion({text: [row for _, row in each] for text, each in found.items()}):
        plots.save(figure, out, "removals")


def curve(service: Service) -> list[tuple[Cell, ErosionRow]]:
    """The cells that are there, in order, each with its point of the curve."""
    there = stored_cells(service.out)
    cells = [there[path] for number in range(1, len(service.requests) + 1) if (path := service.cell(number)) in there]
    cells = [cell for cell in cells if cell.error is None]
    marker = service.queue.with_suffix("") / "queue.json"
    drifts = {point.concepts: point.drift for point in RemovalLedger.read(marker).points} if marker.is_file() else {}
    return _rows(cells, drifts)


def _rows(cells: Sequence[Cell], drifts: Mapping[Any, float | None]) -> list[tuple[Cell, ErosionRow]]:
    cells = sorted(cells, key=lambda cell: len(cell.concepts))
    points = [
        ErosionPoint(steps=(), concepts=cell.concepts, drift=drifts.get(cell.concepts), evaluation=cell.evaluation)
        for cell in cells
    ]
    return [(cell, replace(row, nats=_nats(cell))) for cell, row in zip(cells, rows(points), strict=True)]


def summary(text: str, curve: Sequence[tuple[Cell, ErosionRow]]) -> tuple[str, ...]:
    """What an entrant comes to in the end."""
    last = curve[-1][1]
    generic = [(row.erased, value) for cell, row in curve if (value := _kept(cell, _generic(cell, curve))) is not None]
    nats = [(row.erased, row.nats) for _, row in curve if row.nats is not None]
    return (
        f"`{text}`", f"{_number(last.relapse, '{:+.1f}')}, {_number(last.worst_relapse, '{:+.1f}')}",
        f"{_number(last.own)}, {_number(last.other)}", _number(last.fid, "{:.2f}"), _number(last.nats),
        f"{_number(slope(generic), '{:+.2f}')}, {_number(slope(nats), '{:+.2f}')}",
        f"{sum(cell.seconds or 0.0 for cell, _ in curve):.0f}",
    )  # fmt: skip


def shown(folder: Path) -> list[str]:
    """The summary of a folder's cells: a row for each entrant, in the order of `ENTRANTS`, after its last request.

    Raises FileNotFoundError if there are none.
    """
    found = _stored(folder)
    return _table(SUMMARY_COLUMNS, [summary(text, _rows(found[text], {})) for text in _in_order(found)])


def _in_order(entrants: Iterable[str]) -> list[str]:
    known = {text: place for place, text in enumerate(ENTRANTS)}
    return sorted(entrants, key=lambda text: (known.get(text, len(known)), text))


def draw(folder: Path) -> None:
    """The curves of all entrants in a folder's cells, as `removals.png` there. Raises FileNotFoundError if there are no cells."""
    found = _stored(folder)
    if figure := plots.erosion({text: [row for _, row in _rows(found[text], {})] for text in _in_order(found)}):
        plots.save(figure, folder, "removals")


def curve_of(folder: Path, text: str) -> list[tuple[Cell, ErosionRow]]:
    """An entrant's measurements in a folder's cells, in order; without drift. Raises KeyError if it has none."""
    return _rows(_stored(folder)[text], {})


def _stored(folder: Path) -> dict[str, list[Cell]]:
    """The cells that did not fail, by entrant. Raises FileNotFoundError if there are none."""
    found: dict[str, list[Cell]] = {}
    for cell in stored_cells(folder).values():
        if cell.error is None:
            found.setdefault(cell.entrant, []).append(cell)
    if not found:
        raise FileNotFoundError(f"no cells of a queue of removals in {folder}")
    return found


def line(cell: Cell, row: ErosionRow, near: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """One measurement."""
    found = cell.evaluation
    assert found is not None
    shares = {each.concept: 100 * (1 - each.edited) for each in found.targets}
    newest, earlier = cell.concepts[-1], cell.concepts[:-1]
    future = [label for label in near if label not in cell.concepts]
    generic = [each.concept for each in found.retained if each.concept not in near]
    return (
        f"{row.erased}: {newest}", _number(shares[newest]), _number(fmean(shares[label] for label in earlier) if earlier else None),
        _number(row.worst_relapse, "{:+.1f}"), *(_number(_kept(cell, labels)) for labels in (near[newest], future, generic)),
        _number(row.own), _number(row.other), _number(row.fid, "{:.2f}"), _number(row.nats), _number(row.drift, "{:.2f}"),
        _number(cell.seconds, "{:.0f}"),
    )  # fmt: skip


def _generic(cell: Cell, curve: Sequence[tuple[Cell, ErosionRow]]) -> list[str]:
    """Kept concepts that the last cell has not erased either."""
    asked = set(curve[-1][0].concepts)
    return [each.concept for each in cell.evaluation.retained if each.concept not in asked] if cell.evaluation else []


def _kept(cell: Cell, labels: Sequence[str]) -> float | None:
    """Edited over base accuracy of these concepts, each at most 1, in per cent; of those that are not erased and that the base model knows."""
    assert cell.evaluation is not None
    ratios = [min(1.0, each.edited / each.base) for each in cell.evaluation.retained if each.concept in labels and each.base]
    return 100 * fmean(ratios) if ratios else None


def _nats(cell: Cell) -> float | None:
    kept = cell.information.kept if cell.information else None
    return 100 * kept.mean.value if kept and kept.mean else None


def _number(value: float | None, form: str = "{:.1f}") -> str:
    return NOTHING if value is None else form.format(value)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(each)} |" for each in lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path)
    where.add_argument("--show", type=Path, metavar="FOLDER", help="print what the cells there come to, and measure nothing")
    where.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the curves of the cells there, and measure nothing")
    parser.add_argument("--entrants", nargs="+", default=ENTRANTS, metavar="METHOD@STRATEGY")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--order-seed", type=int, default=0, help="of the order in which requests come")
    parser.add_argument("--model", default="canvas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed")
    parser.add_argument("--target-pictures", type=int, default=96)
    parser.add_argument("--other-pictures", type=int, default=8)
    parser.add_argument("--budget", type=int, default=BESIDE, help="network evaluations for nats, of each measurement")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the entrants")
    options = vars(parser.parse_args())
    show, drawn = options.pop("show"), options.pop("draw")
    try:
        if drawn is not None:
            draw(drawn)
            return
        if show is not None:
            print("\n".join(shown(show)))
            return
        removals(**options)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    print((options["out"] / "removals.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
