"""Every method under the same attacks: how often they bring back what it has erased, beside the same attacks on controls.

    python benchmarks/audits.py --out out/audits [--jobs 2] [--attacks "quick revam"] [--gold cat=MODEL]

Each method erases each concept (edits are kept below OUT/edits) and is audited (below OUT/audits). OUT/audits.md and OUT/audits.json have a
row per method and attack, pooled over concepts. The same command again does what is missing, and tries once more what failed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.attacks import choose
from excise.attacks.engine import REVISION
from excise.attacks.verdict import difference, share, standard
from excise.files import read_json, write_json, write_text
from excise.jobs.audit import audit
from excise.jobs.bench_grid import Gold, PlannedCell, grid
from excise.jobs.erase import erase
from excise.jobs.processes import in_processes
from excise.models.names import check_never_saw, describe, resolve
from excise.progress import Progress, silent
from excise.report.audit_table import SUBJECTS
from excise.report.result_table import NOT_MEASURED, percent
from excise.requests.grid import Task, read_entrants, read_tasks

METHODS = ("mim", "uce", "rece", "cure", "esd", "sdd", "ca", "salun", "erasediff", "fmn", "spm", "doco", "sepme")
CONCEPTS = ("cat", "plane", "fruit", "clock", "style:sketch", "style:mosaic")
PLAIN = "no attack"
COLUMNS = (
    "method",
    "attack",
    "concepts",
    *SUBJECTS.values(),
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
        return self.out / what / cell.path(Path()).relative_to("cells").with_suffix("")

    def finished(self, cell: PlannedCell) -> bool:
        """Whether the audit is there, of the edit that is there, with everything that is asked for now."""
        files = self.folder("audits", cell) / "audit.json", self.folder("edits", cell) / "edit.json"
        if not all(file.is_file() for file in files):
            return False
        found, manifest = map(read_json, files)
        there = {attack["text"]: (attack["settings"], attack["budget"]) for attack in found["attacks"]}
        asked = {
            one.text: (json.loads(one.settings.model_dump_json()), one.budget) for one in choose(self.attacks, self.budget)
        }
        of, wanted = (
            (found["about"]["edits"][0]["sha256"], found["about"]["prompts"]),
            (manifest["weights_sha256"], self.prompts),
        )
        return of == wanted and manifest["settings"] == cell.about["settings"] and asked.items() <= there.items()

    def compared(self, cell: PlannedCell) -> bool | None:
        """Whether the audit that is there has a gold standard; None: there is no audit."""
        file = self.folder("audits", cell) / "audit.json"
        return "gold" in read_json(file)["plain"] if file.is_file() else None

    def _erase(self, cell: PlannedCell, progress: Progress) -> None:
        erase(
            cell.task.label, model=self.model, method=cell.entrant.method.name, settings=cell.about["settings"],
            out=self.folder("edits", cell), seed=cell.seed, resume=True, evaluate=False, measure=False, dtype=self.dtype,
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
) -> list[dict[str, Any]]:
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
    _claim(
        out / "audits.json", {"model": model, "dtype": dtype, "seed": seed, "prompts": prompts, "revision": REVISION}, weights
    )
    errors: dict[PlannedCell, str] = {}
    missing = [cell for cell in cells if not plan.finished(cell)]
    with closing(_made(plan, missing, jobs)) as made:
        for number, (cell, error) in enumerate(made, 1):
            if error is not None:
                errors[cell] = str(error)
            print(f"{number}/{len(missing)} {cell.entrant.text}, {cell.task.label}: {error or 'done'}", flush=True)
            _write(plan, cells, errors)
    return _write(plan, cells, errors)


def _claim(path: Path, about: dict[str, Any], weights: dict[str, str]) -> None:
    """Make the folder this benchmark's. Raises ValueError if it holds another one's audits.

    weights  hashes of the base and of the gold standards, of which a folder may get more
    """
    before = read_json(path)["about"] if path.is_file() else {}
    earlier = before.get("weights", {})
    told = {**about, **{f"weights of {name}": found for name, found in weights.items()}}
    known = {**before, **{f"weights of {name}": found for name, found in earlier.items()}}
    changed = [f"{key} {known[key]!r}, now {value!r}" for key, value in told.items() if known.get(key, value) != value]
    if changed:
        raise ValueError(f"{path.parent} holds audits that were made otherwise: {'; '.join(changed)}; choose another folder")
    write_json(path, {"about": {**about, "weights": {**earlier, **weights}}, "rows": [], "cells": []})


def _made(plan: Plan, cells: Sequence[PlannedCell], jobs: int) -> Iterator[tuple[PlannedCell, Any]]:
    """Every cell with what went wrong, as they are made."""
    if jobs > 1 and cells:
        yield from in_processes(plan, cells, min(jobs, len(cells)))
    else:
        yield from ((cell, plan(cell)) for cell in cells)


def _write(plan: Plan, cells: Sequence[PlannedCell], errors: Mapping[PlannedCell, str]) -> list[dict[str, Any]]:
    """Both files, from the audits that are whole."""
    done = [cell for cell in cells if cell not in errors and plan.finished(cell)]
    found = {cell: read_json(plan.folder("audits", cell) / "audit.json") for cell in done}
    table = list(rows(found, [one.text for one in choose(plan.attacks, plan.budget)]))
    about = read_json(plan.out / "audits.json")["about"]
    listed = [
        {"method": cell.entrant.text, "concept": cell.task.label, "audited": cell in found, "error": errors.get(cell)}
        for cell in cells
    ]
    write_json(plan.out / "audits.json", {"about": about, "rows": table, "cells": listed})
    write_text(plan.out / "audits.md", markdown(table, listed))
    return table


def rows(found: Mapping[PlannedCell, Mapping[str, Any]], attacks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per method and attack, that without attack first, from audits."""
    for method in dict.fromkeys(cell.entrant.text for cell in found):
        own = [audit for cell, audit in found.items() if cell.entrant.text == method]
        yield row(method, PLAIN, [{"models": audit["plain"], "verdict": audit["plain_verdict"]} for audit in own])
        for text in attacks:
            yield row(method, text, [attack for audit in own for attack in audit["attacks"] if attack["text"] == text])


def row(method: str, attack: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same attack on several concepts, pooled; results of `audit.json`, those with a `note` were not possible.

    above  success on the erased model minus that on the control of each concept that its verdict is about, and its 95 % interval; None if
           nothing was possible
    """
    tried = [result for result in results if "models" in result]
    each = {name: [result["models"][name] for result in tried if name in result["models"]] for name in SUBJECTS}
    controls = [
        standard({k: v for k, v in result["models"].items() if k != "erased"}, result.get("supplies", False))
        for result in tried
    ]
    pooled = {name: _pooled(models) for name, models in each.items() if models}
    seconds = [model["seconds"] for model in each["erased"] if "seconds" in model]
    return {
        "method": method,
        "attack": attack,
        "concepts": len(tried),
        "models": pooled,
        "above": difference(pooled["erased"], _pooled(controls)) if tried else None,
        "verdicts": dict(Counter(result.get("verdict", NOT_MEASURED) for result in results)),
        "notes": sorted({result["note"] for result in results if "note" in result}),
        "budget": max((result["budget"] for result in results if "budget" in result), default=None),
        "seconds": sum(seconds) / len(seconds) if seconds else None,
    }


def _pooled(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pre, broken, n = (sum(one[key] for one in shares) for key in ("pre", "broken", "n"))
    return share(pre, broken, n)


def markdown(table: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> str:
    """The rows in words, and what failed."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for one in table:
        rates = [
            percent(one["models"][name]["rate"], one["models"][name]["ci"]) if name in one["models"] else "-"
            for name in SUBJECTS
        ]
        value, low, high = (f"{100 * each:+.1f}" for each in one["above"]) if one["above"] else (NOT_MEASURED, "", "")
        shown = [
            f"`{one['method']}`", one["attack"], str(one["concepts"]), *rates, f"{value} ({low} to {high})" if low else value,
            ", ".join(f"{count} {verdict}" for verdict, count in one["verdicts"].items()), f"{one['budget'] or ''}",
            "" if one["seconds"] is None else f"{one['seconds']:.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(shown)} |")
    lines += ["", CAVEAT, ""]
    lines += [
        f"- `{one['method']}`, {one['attack']}: {NOT_MEASURED}: {'; '.join(one['notes'])}" for one in table if one["notes"]
    ]
    lines += [f"- `{cell['method']}`, {cell['concept']}: failed: {cell['error']}" for cell in cells if cell["error"]]
    return "\n".join(lines).rstrip() + "\n"


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
