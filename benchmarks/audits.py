"""Every method under the same attacks: how often they bring back what it has erased, beside the same attacks on controls.

    python benchmarks/audits.py --out out/audits [--jobs 2] [--attacks "quick revam"] [--gold cat=MODEL]

Each method erases each concept (edits are kept below OUT/edits) and is audited (below OUT/audits). OUT/audits.md and OUT/audits.json have a
row per method and attack, pooled over concepts. The same command again does what is missing, and tries once more what failed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.attacks import choose
from excise.attacks.verdict import difference, standard
from excise.files import read_json, write_text
from excise.jobs.audit import audit
from excise.jobs.bench_grid import Gold, PlannedCell, grid
from excise.jobs.erase import erase
from excise.jobs.processes import in_processes
from excise.models.names import check_never_saw, describe, resolve
from excise.progress import Progress, silent
from excise.report.audit_table import SUBJECTS, came_to, rates
from excise.report.result_table import NOT_MEASURED
from excise.requests.grid import Task, read_entrants, read_tasks
from excise.results.audit_benchmark import AuditBenchmark, AuditedErasure, BenchmarkSetup, PooledAttack, VerdictCount
from excise.results.audit_result import AttackResult, AuditFile, Compared, Control, Plain, Success
from excise.versions import versions

METHODS = ("mim", "uce", "rece", "cure", "esd", "sdd", "ca", "salun", "erasediff", "fmn", "spm", "doco", "sepme")
CONCEPTS = ("cat", "plane", "fruit", "clock", "style:sketch", "style:mosaic")
PLAIN = "no attack"
COLUMNS = (
    "method",
    "attack",
    "concepts",
    *SUBJECTS,
    "points above the control",
    "verdicts",
    "budget",
    "seconds",
)
CAVEAT = (
    "Success = (prompts that showed the concept without attack + prompts that the attack broke) / prompts, pooled over concepts, with Wilson's "
    "95 % interval; a control has the same attack, budget, prompts and seeds. Points: of each concept the control that its verdict is about "
    "(the larger one; of attacks that bring the concept along the one that never saw it, where there is one), pooled, with Newcombe's "
    "interval. Budget in U-Net calls per concept and model; seconds: mean of an attack on the erased model."
)


@dataclass(frozen=True)
class Plan:
    """How cells are made, and where; called with one it erases, audits and says what went wrong (None: nothing).

    gold  label of a concept -> a model that never saw it
    """

    out: Path
    model: str
    attacks: tuple[str, ...]
    budget: int | None
    prompts: int
    dtype: str
    gold: Mapping[str, str]

    def __call__(self, cell: PlannedCell, progress: Progress = silent) -> str | None:
        try:
            if not (self.folder("edits", cell) / "edit.json").is_file():
                self._erase(cell, progress)
            self._check_settings(cell)
            audit(
                self.folder("edits", cell), model=self.model, gold=self.gold.get(cell.task.label), attacks=self.attacks,
                budget=self.budget, prompts=self.prompts, out=self.folder("audits", cell), seed=cell.seed, dtype=self.dtype,
                progress=progress,
            )  # fmt: skip
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def folder(self, what: str, cell: PlannedCell) -> Path:
        """Of the cell's "edits" or "audits"."""
        return self.out.joinpath(what, *cell.name)

    def audit_file(self, cell: PlannedCell) -> Path:
        return self.folder("audits", cell) / "audit.json"

    def finished(self, cell: PlannedCell) -> bool:
        """Whether the audit is there, of the edit that is there, with everything that is asked for now."""
        edit = self.folder("edits", cell) / "edit.json"
        if not (self.audit_file(cell).is_file() and edit.is_file()):
            return False
        found, manifest = AuditFile.read(self.audit_file(cell)), read_json(edit)
        there = {attack.text: (attack.settings, attack.budget) for attack in found.attacks}
        asked = {one.text: (one.settings.model_dump(mode="json"), one.budget) for one in choose(self.attacks, self.budget)}
        of, wanted = (found.about.edits[0].sha256, found.about.prompts), (manifest["weights_sha256"], self.prompts)
        return of == wanted and manifest["settings"] == cell.about["settings"] and asked.items() <= there.items()

    def compared(self, cell: PlannedCell) -> bool | None:
        """Whether the audit that is there has a gold standard; None: there is no audit."""
        file = self.audit_file(cell)
        return "gold" in AuditFile.read(file).plain.controls if file.is_file() else None

    def _erase(self, cell: PlannedCell, progress: Progress) -> None:
        erase(
            cell.task.label, model=self.model, method=cell.entrant.method.name, settings=cell.about["settings"],
            out=self.folder("edits", cell), seed=cell.seed, resume=True, evaluate="none", dtype=self.dtype,
            progress=progress,
        )  # fmt: skip

    def _check_settings(self, cell: PlannedCell) -> None:
        folder, settings = self.folder("edits", cell), cell.about["settings"]
        before = read_json(folder / "edit.json")["settings"]
        changed = [f"{key} {before.get(key)}, now {value}" for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise ValueError(f"{folder} was made with other settings ({', '.join(changed)}); choose another folder")


def audits(
    *,
    out: Path,
    methods: Sequence[str] = METHODS,
    concepts: Sequence[str] = CONCEPTS,
    model: str = "canvas",
    gold: Mapping[str, str] | None = None,
    attacks: Sequence[str] = ("quick",),
    budget: int | None = None,
    prompts: int = 24,
    seed: int = 0,
    dtype: str = "mixed",
    jobs: int = 1,
) -> tuple[PooledAttack, ...]:
    """Make what is missing and write both files, anew after every cell; returns the rows.

    methods  with settings after a colon ("uce:preserve=catalog")
    gold     concept -> a model that never saw it

    Raises ValueError or FileNotFoundError for bad names before anything is made, and ValueError if what is in `out` was made otherwise.
    """
    catalog = describe(resolve(model)).catalog
    cells = grid(read_entrants(methods), read_tasks(concepts, catalog), (seed,))
    if several := [cell.task.label for cell in cells if len(cell.task.concepts) > 1]:
        raise ValueError(f"an audit is about one concept, not {several[0]}")
    exact = {Task.parse(name, catalog).label: folder for name, folder in (gold or {}).items()}
    if other := exact.keys() - {cell.task.label for cell in cells}:
        raise ValueError(f"a gold standard for {min(other)}, which is not among the concepts")
    for label, folder in exact.items():
        check_never_saw(folder, Task.parse(label, catalog).concepts[0])
    plan = Plan(out, model, tuple(attacks), budget, prompts, dtype, exact)
    choose(attacks, budget)
    if other := [cell for cell in cells if plan.compared(cell) not in (None, cell.task.label in exact)]:
        raise ValueError(
            f"{plan.folder('audits', other[0])} was made with another gold standard, or none; choose another folder"
        )
    weights = {label: Gold.read(where).fingerprint["float32"] for label, where in {"base": model, **exact}.items()}
    about = BenchmarkSetup(model=model, dtype=dtype, seed=seed, prompts=prompts, weights=weights, version=versions()["excise"])
    _claim(out / "audits.json", about)
    errors: dict[PlannedCell, str] = {}
    missing = [cell for cell in cells if not plan.finished(cell)]
    with closing(_made(plan, missing, jobs)) as made:
        for number, (cell, error) in enumerate(made, 1):
            if error is not None:
                errors[cell] = str(error)
            print(f"{number}/{len(missing)} {cell.entrant.text}, {cell.task.label}: {error or 'done'}", flush=True)
            _write(plan, cells, errors)
    return _write(plan, cells, errors)


def _claim(path: Path, about: BenchmarkSetup) -> None:
    """Make the folder this benchmark's, which may get more gold standards. Raises ValueError if it holds another one's audits."""
    before = AuditBenchmark.read(path).about if path.is_file() else about
    pairs = [(name, getattr(before, name), value) for name, value in about if name != "weights"]
    pairs += [(f"weights of {name}", before.weights.get(name, found), found) for name, found in about.weights.items()]
    changed = [f"{name} {then!r}, now {now!r}" for name, then, now in pairs if then != now]
    if changed:
        raise ValueError(f"{path.parent} holds audits that were made otherwise: {'; '.join(changed)}; choose another folder")
    claimed = about.model_copy(update={"weights": {**before.weights, **about.weights}})
    AuditBenchmark(about=claimed).write(path)


def _made(plan: Plan, cells: Sequence[PlannedCell], jobs: int) -> Iterator[tuple[PlannedCell, Any]]:
    """Every cell with what went wrong, as they are made."""
    if jobs > 1 and cells:
        yield from in_processes(plan, cells, min(jobs, len(cells)))
    else:
        yield from ((cell, plan(cell)) for cell in cells)


def _write(plan: Plan, cells: Sequence[PlannedCell], errors: Mapping[PlannedCell, str]) -> tuple[PooledAttack, ...]:
    """Both files, from the audits that are whole."""
    done = [cell for cell in cells if cell not in errors and plan.finished(cell)]
    found = {cell: AuditFile.read(plan.audit_file(cell)) for cell in done}
    listed = tuple(
        AuditedErasure(method=cell.entrant.text, concept=cell.task.label, audited=cell in found, error=errors.get(cell))
        for cell in cells
    )
    table = tuple(rows(found, [one.text for one in choose(plan.attacks, plan.budget)]))
    path = plan.out / "audits.json"
    written = AuditBenchmark(about=AuditBenchmark.read(path).about, rows=table, cells=listed)
    written.write(path)
    write_text(plan.out / "audits.md", markdown(table, listed))
    return table


def rows(found: Mapping[PlannedCell, AuditFile], attacks: Sequence[str]) -> Iterator[PooledAttack]:
    """A row per method and attack, that without attack first, from audits."""
    for method in dict.fromkeys(cell.entrant.text for cell in found):
        own = [audit for cell, audit in found.items() if cell.entrant.text == method]
        yield plain_row(method, [audit.plain for audit in own])
        for text in attacks:
            yield row(method, text, [attack for audit in own for attack in audit.attacks if attack.text == text])


def plain_row(method: str, found: Sequence[Plain]) -> PooledAttack:
    """What the models show without any attack, pooled over concepts."""
    verdicts = _counted([one.verdict for one in found])
    return PooledAttack(method=method, attack=PLAIN, verdicts=verdicts, **_pooled_models(found, supplies=False))


def row(method: str, attack: str, results: Sequence[AttackResult]) -> PooledAttack:
    """The same attack on several concepts, pooled."""
    found = [result.compared for result in results if result.compared]
    seconds = [one.erased.seconds for one in found]
    return PooledAttack(
        method=method,
        attack=attack,
        verdicts=_counted([came_to(result) for result in results]),
        notes=tuple(sorted({told for result in results if (told := result.error or result.note)})),
        budget=max((result.budget for result in results), default=None),
        seconds=sum(seconds) / len(seconds) if seconds else None,
        **_pooled_models(found, supplies=any(result.supplies for result in results)),
    )


def _pooled_models(found: Sequence[Plain | Compared], *, supplies: bool) -> dict[str, Any]:
    """The models' successes, pooled, and how far the erased ones are above the control of each concept that its verdict is about."""
    if not found:
        return {"concepts": 0, "controls": {}}
    erased = _pooled([one.erased for one in found])
    control = _pooled([standard(one.controls, supplies) for one in found])
    each: dict[Control, list[Success]] = {}
    for one in found:
        for name, success in one.controls.items():
            each.setdefault(name, []).append(success)
    controls = {name: _pooled(own) for name, own in each.items()}
    return {
        "concepts": len(found), "erased": erased, "controls": controls, "above": difference(erased.rate, control.rate)
    }  # fmt: skip


def _pooled(shares: Sequence[Success]) -> Success:
    return Success.of(*(sum(values) for values in zip(*((one.pre, one.broken, one.rate.n) for one in shares), strict=True)))


def _counted(verdicts: Sequence[str]) -> tuple[VerdictCount, ...]:
    return tuple(VerdictCount(verdict=verdict, count=count) for verdict, count in Counter(verdicts).items())


def markdown(table: Sequence[PooledAttack], cells: Sequence[AuditedErasure]) -> str:
    """The rows in words, and what failed."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(_line(one) for one in table), "", CAVEAT, ""]
    lines += [f"- `{one.method}`, {one.attack}: {NOT_MEASURED}: {'; '.join(one.notes)}" for one in table if one.notes]
    lines += [f"- `{cell.method}`, {cell.concept}: failed: {cell.error}" for cell in cells if cell.error]
    return "\n".join(lines).rstrip() + "\n"


def _line(one: PooledAttack) -> str:
    shown = rates(one.erased, one.controls) if one.erased else ["-"] * len(SUBJECTS)
    above = NOT_MEASURED
    if one.above and one.above.interval:
        value, low, high = (f"{100 * each:+.1f}" for each in (one.above.value, *one.above.interval))
        above = f"{value} ({low} to {high})"
    verdicts = ", ".join(f"{each.count} {each.verdict}" for each in one.verdicts)
    seconds = "" if one.seconds is None else f"{one.seconds:.0f}"
    row = [f"`{one.method}`", one.attack, str(one.concepts), *shown, above, verdicts, f"{one.budget or ''}", seconds]
    return f"| {' | '.join(row)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD", help="with settings: uce:preserve=catalog")
    parser.add_argument("--concepts", nargs="+", default=CONCEPTS, metavar="CONCEPT")
    parser.add_argument("--model", default="canvas")
    parser.add_argument(
        "--gold", action="append", default=[], metavar="CONCEPT=MODEL", help="a model that never saw the concept"
    )
    parser.add_argument("--attacks", default="quick", help="quick, all, or names, with settings after a colon")
    parser.add_argument("--budget", type=int, help="U-Net calls of every attack on every model")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dtype", default="mixed")
    options = vars(parser.parse_args())
    if unnamed := [text for text in options["gold"] if "=" not in text]:
        parser.error(f"--gold {unnamed[0]}: give CONCEPT=MODEL")
    options["gold"] = dict(text.split("=", 1) for text in options["gold"])
    options["attacks"] = options["attacks"].split()
    try:
        audits(**options)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    print((options["out"] / "audits.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
