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
from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.evaluation import evaluate
from excise.files import CRASH, check_ours, real_path, replacing
from excise.jobs.bench_grid import Gold, PlannedCell, grid
from excise.jobs.crashes import ProcessDied, crash_line, crash_of, crash_told
from excise.jobs.inputs import tell_prompts
from excise.jobs.measure import residual
from excise.jobs.peak_memory import forget_peak, peak_mb
from excise.jobs.processes import in_processes
from excise.jobs.published_suites import PublishedSuites
from excise.jobs.ray_cluster import on_ray
from excise.models import Model, load
from excise.models.drawing import Drawing, Offload
from excise.models.names import resolve
from excise.progress import Progress, silent
from excise.report import before_after, bench_table, suite_table
from excise.report.folder_reader import read
from excise.report.page import NAME, build
from excise.requests.bench import BENCH, BenchRequest, Runner
from excise.requests.request import function
from excise.results.cell import OWN, RETRAINED, Cell, CellInformation, Grid
from excise.results.cells import holds_cells, stored_cells
from excise.results.evaluation import Evaluation
from excise.versions import versions

Made = tuple[Cell, bytes | None]
"""A cell, and its picture of before and after as a PNG file, if it has one."""


def run(request: BenchRequest, progress: Progress = silent) -> list[Cell]:
    """Carry out a request that was checked; returns every cell's content."""
    out, published = request.out, _published(request)
    cells = grid(request.entrants, request.tasks, request.seeds)
    if published is not None:
        published.check(cells)
    written = check_ours(out, BENCH, _files(cells, out))
    common = _common(request, published)
    if request.exact:
        exact = {label: Gold.read(model) for label, model in request.exact.items()}
        cells = grid(request.entrants, request.tasks, request.seeds, exact)
    there = stored_cells(out)
    _check_settings(out, cells, there)
    where = resolve(request.model)
    common, files = _check_common(out, common, there), _identity(where)
    common = common.model_copy(update={"written": written})
    common.write(out / BENCH.marker)
    there |= _note_crashes(out, cells, common)
    missing = [cell for cell in cells if not _done(cell, there.get(cell.path(out)), request.retry)]
    worker = _Worker(
        request.model, common.model_copy(update={"files": files}), min(request.jobs, len(missing)), request.device, request.runner,
        published, request.offload, request.config_from,
    )  # fmt: skip
    if not missing and common.files != files:
        worker.load()  # which refuses other weights than the cells'
        worker.common.write(out / BENCH.marker)
    try:
        _fill(out, missing, worker, progress)
    finally:
        if holds_cells(out):
            (bench_table if published is None else suite_table).write_tables(out)
    build(read(out), out / NAME)
    made = stored_cells(out)
    return [made[cell.path(out)] for cell in cells]


bench = function(BenchRequest, run)


def _published(request: BenchRequest) -> PublishedSuites | None:
    """The published suite that measures the cells; None: the model's own concepts and classifier do."""
    if request.suite == OWN:
        return None
    return PublishedSuites(request.suite, request.suite_settings, request.weights, request.out)


def _common(request: BenchRequest, published: PublishedSuites | None) -> Grid:
    """What all cells have in common."""
    drawing = {key: value for key, value in vars(request.drawing).items() if value is not None}
    common = {"model": request.described.name, "dtype": request.dtype, "suite": request.suite, "drawing": drawing or None}
    if published is not None:
        return Grid(**common, suite_settings={key: str(value) for key, value in published.settings.items()})
    return Grid(
        **common,
        target_pictures=request.target_pictures,
        other_pictures=request.other_pictures,
        bystander_pictures=(request.bystander_pictures or None) if request.described.bystanders else None,
        quality=request.quality,
        information=request.budget if request.information else None,
        nats="unrounded" if request.information and request.dtype == "mixed" else None,  # once they were not
    )


def _check_common(out: Path, common: Grid, there: Mapping[Path, Cell]) -> Grid:
    """What the folder's cells have in common, the weights ("base") too if it has cells already.

    Raises ValueError if its cells cannot be compared with the ones to come.
    """
    path = out / BENCH.marker
    if not there:
        common.write(path)
    before = Grid.read(path)
    pairs = [(name, getattr(before, name), value) for name, value in common if name not in ("base", "files", "written")]
    changed = [f"{name} {then!r}, now {now!r}" for name, then, now in pairs if then != now]
    if changed:
        raise ValueError(f"the cells in {out} cannot be compared with these: {'; '.join(changed)}; choose another folder")
    return before


def _files(cells: Sequence[PlannedCell], out: Path) -> list[str]:
    """What a run writes beside the grid's own file, by the names in its folder; pictures of published suites have lists of their own."""
    paths = [cell.path(out).relative_to(out) for cell in cells]
    tables = ("results.csv", "results.md", "collateral.csv", NAME)
    return [*tables, *(path.with_suffix(ending).as_posix() for path in paths for ending in (".json", ".png", CRASH))]


def _identity(where: Path | str) -> str:
    """What tells without reading them that a model's files are those of before: a digest of their place, sizes and times, or of a hub id."""
    about: list[Any] = [str(where)]
    if isinstance(where, Path):
        where = real_path(where)
        stats = {str(file): file.stat() for file in sorted([where, *where.rglob("*")]) if file.is_file()}
        about = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    return digest_text(json.dumps(about))


def _check_settings(out: Path, cells: Sequence[PlannedCell], there: Mapping[Path, Cell]) -> None:
    """Raise ValueError if the folder has other cells of a method that were made with other settings: one row cannot show both."""
    paths = {cell.path(out) for cell in cells}
    asked = {cell.entrant.text: cell.about["settings"] for cell in cells}
    for found in (found for path, found in there.items() if path not in paths):
        then, now = found.settings, asked.get(found.entrant)
        if now is not None and then != now:
            changed = [f"{key} {then.get(key)}, now {value}" for key, value in now.items() if then.get(key) != value]
            raise ValueError(
                f"{found.about} in {out} was made with other settings ({', '.join(changed) or 'fewer of them'}); "
                f"ask for {', '.join(found.concepts)} too, or choose another folder"
            )


def _check_base(common: Grid, found: Mapping[str, str]) -> None:
    """Raise ValueError if the cells that are there are of other weights by the same name."""
    if common.base not in (None, found):
        raise ValueError(f"the cells that are there are of other weights than {common.model!r} has now; choose another folder")


def _note_crashes(out: Path, cells: Sequence[PlannedCell], common: Grid) -> dict[Path, Cell]:
    """Cells at which an earlier run crashed, by their paths; they have failed: a rerun would crash there again."""
    crashed = {}
    for cell in cells:
        if told := crash_of(path := cell.path(out)):
            crashed[path] = Cell(**cell.about, model=common.model, error=crash_line(told), traceback=told)
            crashed[path].write(path)
    return crashed


def _done(cell: PlannedCell, found: Cell | None, retry: bool) -> bool:
    """Whether what was found is the cell's result as it would be made now."""
    if found is None:
        return False
    gold = found.evaluation and found.evaluation.gold
    complete = not retry if found.error else not cell.gold or (gold and gold.fingerprint) == cell.gold.fingerprint
    return complete and all(getattr(found, name) == value for name, value in cell.about.items())


@dataclass
class _Worker:
    """Runs cells one after another on one model, which is loaded for the first, and anew after a failure.

    jobs   how many work at the same time
    runner "local": in this process, or in local ones if they are several; "ray": on a Ray cluster
    """

    model: str | Path
    common: Grid
    jobs: int
    device: str | None
    runner: Runner = "local"
    published: PublishedSuites | None = None
    offload: Offload = "none"
    config_from: Path | None = None
    loaded: Model | None = None

    def __call__(self, cell: PlannedCell, progress: Progress) -> Made:
        """Erase and measure; a failure becomes the cell's content. Raises what keeps any cell from being run."""
        model = self.load()
        tell_prompts(model, cell.task.concepts, others=self.published is None)
        base = base_fingerprint(model)
        sheet = None
        try:
            found, sheet = _run(model, cell, self.common, self.published, progress)
        except Exception as error:
            self.loaded = None  # whatever the failed run left behind must not reach the next cell
            found = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        about = {**cell.about, "model": self.common.model, "base_fingerprint": base, "jobs": self.jobs}
        return Cell(**about, **found), sheet

    def load(self) -> Model:
        """The model. Raises ValueError if the cells that are there are of other weights."""
        if self.loaded is None:
            self.loaded = load(
                self.model,
                device=self.device,
                dtype=self.common.dtype,
                drawing=_drawing(self.common),
                offload=self.offload,
                config_from=self.config_from,
            )
            _check_base(self.common, base_fingerprint(self.loaded))
        return self.loaded


def _fill(out: Path, cells: Sequence[PlannedCell], worker: _Worker, progress: Progress) -> None:
    """Run the cells and write each when it is done."""
    if not cells:
        return
    common = worker.common
    if worker.published:
        worker.published.make_base(worker.load(), cells[0], progress)
        if worker.jobs > 1:
            worker.loaded = None  # it would go with the worker to every process
    with closing(_results(out, worker, cells, progress)) as results:
        progress("cells", 0, len(cells))
        for done, (cell, result) in enumerate(results, 1):
            if isinstance(result, ProcessDied):
                Cell(**cell.about, model=common.model, error=f"ProcessDied: {result}").write(cell.path(out))
            else:
                made, sheet = result
                _check_base(common, made.base_fingerprint)
                common = common.model_copy(update={"base": made.base_fingerprint})
                common.write(out / BENCH.marker)
                _write(cell.path(out), made, sheet)
            progress("cells", done, len(cells))


def _write(path: Path, made: Cell, sheet: bytes | None) -> None:
    """A cell's file, and beside it the picture of before and after."""
    path.with_suffix(".png").unlink(missing_ok=True)  # of an earlier run
    if sheet:
        with replacing(path.with_suffix(".png")) as temporary:
            temporary.write_bytes(sheet)
    made.write(path)  # last: it says that the cell is done


def _results(
    out: Path, worker: _Worker, cells: Sequence[PlannedCell], progress: Progress
) -> Generator[tuple[PlannedCell, Made | ProcessDied], None, None]:
    """Every cell with its content, as they are done."""
    if worker.runner == "ray":
        yield from on_ray(worker, cells, worker.jobs, gpu=(worker.device or "").startswith("cuda"))
    elif worker.jobs > 1:
        yield from in_processes(worker, cells, worker.jobs)
    else:
        for cell in cells:
            with crash_told(cell.path(out)):
                made = worker(cell, progress)
            yield cell, made


def _run(
    model: Model, cell: PlannedCell, common: Grid, published: PublishedSuites | None, progress: Progress
) -> tuple[dict[str, Any], bytes | None]:
    """Erase and measure: the fields of the cell, and the picture of before and after."""
    forget_peak(model.device)
    began = time.perf_counter()
    edit = cell.erase(model, progress)
    cost = {"seconds": time.perf_counter() - began, "peak_mb": peak_mb(model.device), "edit_mb": edit.nbytes / 2**20}
    if published:
        return {"suite": published.measure(model, cell, edit, progress), **cost, **_machine(model)}, None
    found = {"evaluation": _evaluation(model, cell, edit, common, progress), **_machine(model)}
    sheet = _png(before_after.sheet(model, edit, cell.task.concepts, cell.seed, progress))
    if common.information:
        told = residual(model, cell.task.concepts, edit, budget=common.information, seed=cell.seed, progress=progress)
        found["information"] = CellInformation.of(told)
    return {**found, **({} if cell.entrant.text == RETRAINED else cost)}, sheet


def _evaluation(model: Model, cell: PlannedCell, edit: Edit, common: Grid, progress: Progress) -> Evaluation:
    """By the model's own classifier, and beside the gold standard if there is one."""
    assert common.target_pictures and common.other_pictures
    found = evaluate(
        model,
        cell.task.concepts,
        edit,
        seed=cell.seed,
        target_pictures=common.target_pictures,
        other_pictures=common.other_pictures,
        bystander_pictures=common.bystander_pictures or 0,
        quality=bool(common.quality),
        gold=_gold(cell.gold, model, common) if cell.gold else None,
        progress=progress,
    )
    if cell.gold is None or found.gold is None:
        return found
    return found.model_copy(update={"gold": found.gold.model_copy(update={"fingerprint": dict(cell.gold.fingerprint)})})


def _gold(gold: Gold, model: Model, common: Grid) -> Model:
    """The model that never saw the concept, which makes pictures as the others do."""
    return load(gold.model, device=str(model.device), dtype=common.dtype, drawing=_drawing(common))


def _drawing(common: Grid) -> Drawing:
    drawing: dict[str, Any] = common.drawing or {}
    return Drawing(**drawing)


def _png(picture: Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()


def _machine(model: Model) -> dict[str, Any]:
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if model.device.type == "cuda":
        machine += f", {torch.cuda.get_device_name(model.device)}"
    return {"versions": versions(), "machine": machine, "threads": torch.get_num_threads()}
