"""A grid of erasures: methods x concepts x seeds. Each cell is a file, so a rerun does only what is missing.

No figure depends on which other methods are in the grid.
"""

from __future__ import annotations

import io
import json
import os
import platform
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from excise.digests import digest_text
from excise.edits.applied import base_fingerprint
from excise.evaluation import evaluate
from excise.files import read_json, replacing, write_json
from excise.jobs.bench_grid import Cell, Gold, grid
from excise.jobs.measure import residual
from excise.jobs.peak_memory import forget_peak, peak_mb
from excise.jobs.processes import ProcessDied, in_processes
from excise.jobs.published_suites import PublishedSuites
from excise.jobs.ray_cluster import on_ray
from excise.models import Model, load
from excise.models.names import resolve
from excise.progress import Progress, silent
from excise.report import before_after, bench_table, information_table, suite_table
from excise.report.folder_reader import read
from excise.report.method_table import RETRAINED
from excise.report.page import NAME, build
from excise.requests.bench import GRID, OWN, BenchRequest, Runner
from excise.requests.request import function
from excise.versions import versions

EARLIER = {"dtype": "float32", "information": None, "suite": OWN, "nats": "as the model computes"}
"""What was so in all cells before `GRID` said it."""


def run(request: BenchRequest, progress: Progress = silent) -> list[dict[str, Any]]:
    """Carry out a request that was checked; returns every cell's content."""
    out, published = request.out, _published(request)
    cells = grid(request.entrants, request.tasks, request.seeds)
    if published is not None:
        published.check(cells)
    common = _common(request, published)
    if request.exact:
        exact = {label: Gold.read(model) for label, model in request.exact.items()}
        cells = grid(request.entrants, request.tasks, request.seeds, exact)
    _check_settings(out, cells)
    where = resolve(request.model)
    common, files = _check_common(out, common), _identity(where)
    missing = [cell for cell in cells if not _done(cell, out, request.retry)]
    worker = _Worker(
        request.model, {**common, "files": files}, min(request.jobs, len(missing)), request.device, request.runner, published
    )
    if not missing and common.get("files") != files:
        worker.load()  # which refuses other weights than the cells'
        write_json(out / GRID, worker.common)
    try:
        _fill(out, missing, worker, progress)
    finally:
        if (out / "cells").is_dir():
            (bench_table if published is None else suite_table).write_tables(out)
    build(read(out), out / NAME)
    return [read_json(cell.path(out)) for cell in cells]


bench = function(BenchRequest, run)


def _published(request: BenchRequest) -> PublishedSuites | None:
    """The published suite that measures the cells; None: the model's own concepts and classifier do."""
    if request.suite == OWN:
        return None
    return PublishedSuites(request.suite, request.suite_settings, request.weights, request.out)


def _common(request: BenchRequest, published: PublishedSuites | None) -> dict[str, Any]:
    """What all cells have in common."""
    common: dict[str, Any] = {"model": request.described.name, "dtype": request.dtype, "suite": request.suite}
    if published is not None:
        return {**common, "suite_settings": {key: str(value) for key, value in published.settings.items()}}
    common |= {"target_pictures": request.target_pictures, "other_pictures": request.other_pictures}
    common |= {"quality": request.quality, "information": request.budget if request.information else None}
    if request.information and request.dtype == "mixed":
        common["nats"] = "unrounded"  # once they were not
    return common


def _check_common(out: Path, common: Mapping[str, Any]) -> dict[str, Any]:
    """What the folder's cells have in common, the weights ("base") too if it has cells already.

    Raises ValueError if its cells cannot be compared with the ones to come.
    """
    path = out / GRID
    if not any((out / "cells").glob("*/*.json")):
        write_json(path, dict(common))
    before = {**EARLIER, **read_json(path)}
    changed = [f"{key} {before.get(key)!r}, now {value!r}" for key, value in common.items() if before.get(key) != value]
    if changed:
        raise ValueError(f"the cells in {out} cannot be compared with these: {'; '.join(changed)}; choose another folder")
    return before


def _identity(where: Path | str) -> str:
    """What tells without reading them that a model's files are those of before: a digest of their place, sizes and times, or of a hub id."""
    about: list[Any] = [str(where)]
    if isinstance(where, Path):
        where = where.resolve()
        stats = {str(file): file.stat() for file in sorted([where, *where.rglob("*")]) if file.is_file()}
        about = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    return digest_text(json.dumps(about))


def _check_settings(out: Path, cells: Sequence[Cell]) -> None:
    """Raise ValueError if the folder has other cells of a method that were made with other settings: one row cannot show both."""
    paths = {cell.path(out) for cell in cells}
    asked = {cell.entrant.text: cell.about["settings"] for cell in cells}
    for path in sorted((out / "cells").glob("*/*.json")):
        content = read_json(path) if path not in paths else {}
        then, now = content.get("settings") or {}, asked.get(content.get("entrant", ""))
        if now is not None and then != now:
            changed = [f"{key} {then.get(key)}, now {value}" for key, value in now.items() if then.get(key) != value]
            raise ValueError(
                f"{path} was made with other settings of {content['entrant']} ({', '.join(changed) or 'fewer of them'}); "
                f"ask for {', '.join(content['concepts'])} too, or choose another folder"
            )


def _check_base(common: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """Raise ValueError if the cells that are there are of other weights by the same name."""
    if common.get("base", found) != found:
        raise ValueError(
            f"the cells that are there are of other weights than {common['model']!r} has now; choose another folder"
        )


def _done(cell: Cell, out: Path, retry: bool) -> bool:
    """Whether the cell's file is there and was made as it would be made now."""
    path = cell.path(out)
    if not path.is_file():
        return False
    content = read_json(path)
    if "error" in content:
        complete = not retry
    else:
        complete = not cell.gold or (content.get("gold") or {}).get("fingerprint") == cell.gold.fingerprint
    return complete and {"in_turn": False, **content}.items() >= cell.about.items()


@dataclass
class _Worker:
    """Runs cells one after another on one model, which is loaded for the first, and anew after a failure.

    jobs   how many work at the same time
    runner "local": in this process, or in local ones if they are several; "ray": on a Ray cluster
    """

    model: str | Path
    common: Mapping[str, Any]
    jobs: int
    device: str | None
    runner: Runner = "local"
    published: PublishedSuites | None = None
    loaded: Model | None = None

    def __call__(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        """Erase and measure; a failure becomes the cell's content. Raises what keeps any cell from being run."""
        model = self.load()
        base = base_fingerprint(model)
        try:
            found = _run(model, cell, self.common, self.published, progress)
        except Exception as error:
            self.loaded = None  # whatever the failed run left behind must not reach the next cell
            found = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return {**cell.about, "model": self.common["model"], "base_fingerprint": base, **found, "jobs": self.jobs}

    def load(self) -> Model:
        """The model. Raises ValueError if the cells that are there are of other weights."""
        if self.loaded is None:
            self.loaded = load(self.model, device=self.device, dtype=self.common["dtype"])
            _check_base(self.common, base_fingerprint(self.loaded))
        return self.loaded


def _fill(out: Path, cells: Sequence[Cell], worker: _Worker, progress: Progress) -> None:
    """Run the cells and write each when it is done."""
    if not cells:
        return
    common = dict(worker.common)
    if worker.published:
        worker.published.make_base(worker.load(), cells[0], progress)
        if worker.jobs > 1:
            worker.loaded = None  # it would go with the worker to every process
    with closing(_results(worker, cells, progress)) as results:
        progress("cells", 0, len(cells))
        for done, (cell, result) in enumerate(results, 1):
            if isinstance(result, ProcessDied):
                write_json(cell.path(out), {**cell.about, "model": common["model"], "error": f"ProcessDied: {result}"})
            else:
                _check_base(common, result["base_fingerprint"])
                write_json(out / GRID, common := {**common, "base": result["base_fingerprint"]})
                _write(cell.path(out), result)
            progress("cells", done, len(cells))


def _write(path: Path, result: dict[str, Any]) -> None:
    """A cell's file, and beside it the picture of before and after."""
    sheet = result.pop("sheet", None)
    path.with_suffix(".png").unlink(missing_ok=True)  # of an earlier run
    if sheet:
        with replacing(path.with_suffix(".png")) as temporary:
            temporary.write_bytes(sheet)
    write_json(path, result)  # last: it says that the cell is done


def _results(
    worker: _Worker, cells: Sequence[Cell], progress: Progress
) -> Generator[tuple[Cell, dict[str, Any] | ProcessDied], None, None]:
    """Every cell with its content, as they are done."""
    if worker.runner == "ray":
        yield from on_ray(worker, cells, worker.jobs, gpu=(worker.device or "").startswith("cuda"))
    elif worker.jobs > 1:
        yield from in_processes(worker, cells, worker.jobs)
    else:
        for cell in cells:
            yield cell, worker(cell, progress)


def _run(
    model: Model, cell: Cell, common: Mapping[str, Any], published: PublishedSuites | None, progress: Progress
) -> dict[str, Any]:
    """Erase and measure."""
    forget_peak(model.device)
    began = time.perf_counter()
    edit = cell.erase(model, progress)
    cost = {"seconds": time.perf_counter() - began, "peak_mb": peak_mb(model.device), "edit_mb": edit.nbytes / 2**20}
    if published:
        return {**published.measure(model, cell, edit, progress), **cost, **_machine(model)}
    gold = load(cell.gold.model, device=str(model.device), dtype=common["dtype"]) if cell.gold else None
    evaluation = evaluate(
        model,
        cell.task.concepts,
        edit,
        seed=cell.seed,
        target_pictures=common["target_pictures"],
        other_pictures=common["other_pictures"],
        quality=common["quality"],
        gold=gold,
        progress=progress,
    )
    found = {**evaluation.to_dict(), **({} if cell.entrant.text == RETRAINED else cost), **_machine(model)}
    if cell.gold:
        found["gold"]["fingerprint"] = cell.gold.fingerprint
    found["sheet"] = _png(before_after.sheet(model, edit, cell.task.concepts, cell.seed, progress))
    if common["information"]:
        told = residual(
            model, cell.task.concepts, edit, budget=common["information"], seed=cell.seed, full=True, progress=progress
        )
        found["information"] = {**information_table.figures(told), "readings": information_table.readings(told)}
    return found


def _png(picture: Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()


def _machine(model: Model) -> dict[str, Any]:
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if model.device.type == "cuda":
        machine += f", {torch.cuda.get_device_name(model.device)}"
    return {"versions": versions(), "machine": machine, "threads": torch.get_num_threads()}
