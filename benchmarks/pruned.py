"""A pruned model repaired and erased: first the one and then the other, or both at once, with as many gradient steps for every way.

    python benchmarks/pruned.py --out docs/benchmark/pruned [--models out/pruned] [--budget 2100] [--concepts "dog clock style:mosaic"]
    python benchmarks/pruned.py --out docs/benchmark/pruned --table

The canvas is pruned to about 60 % of its U-Net's parameters. Every entrant then has `budget` gradient steps of its model's weights: repairing
alone; repairing and after it a method of erasing, whose steps are taken off the repairing ones; or both levels at once (`excise distill
--erase`), whose steps are counted together. Models are kept below --models, and below OUT/cells is a file for every entrant and concept.
The same command again goes on where it was stopped, and tries again what failed.

Figures: UA, IRA and CRA of the model itself; "shows" is how often the concept's prompts show it, beside how often the whole model's neutral
prompts do. FID is to pictures that the canvas was trained on. Nats are compared with the whole model's, on its pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.canvas.real import write as draw_real
from excise.concepts import Concept
from excise.evaluation import QualityOptions, evaluate
from excise.files import read_json, write_json
from excise.information import measure
from excise.information.budget import BESIDE, least_budget
from excise.jobs.apply import apply
from excise.jobs.distill import distill
from excise.jobs.erase import erase
from excise.jobs.prune import prune
from excise.methods import get
from excise.models import Model, load
from excise.models.names import describe, resolve
from excise.progress import Progress, silent
from excise.requests.measure import declared_beside
from excise.requests.students import STUDENT
from excise.results.evaluation import Evaluation
from excise.results.information import Measurement
from excise.results.student import StudentFile

CONCEPTS = ("dog", "clock", "style:mosaic")
"""Two objects and a style, none of which settings were sought on."""
KEEP = 0.6
BUDGET = 2100
WHOLE, REPAIRED = "the whole model", "repaired"
COLUMNS = ("", "concept", "shows", "neutral", "UA", "IRA", "CRA", "FID", "nats left", "nats kept", "worst", "seconds")


@dataclass(frozen=True)
class Bench:
    """Where things are, how much may be done, and how it is measured.

    settings of distillations and of erasures, beside their steps
    pictures of an evaluation
    """

    out: Path
    models: Path
    model: str = "canvas"
    budget: int = BUDGET
    rounds: int = 20
    keep: float = KEEP
    seed: int = 0
    dtype: str = "float32"
    device: str | None = None
    distilling: dict[str, Any] = field(default_factory=dict)
    erasing: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    real: int = 2016
    nats: int = BESIDE
    progress: Progress = silent

    @property
    def how(self) -> dict[str, Any]:
        return {"seed": self.seed, "dtype": self.dtype, "device": self.device, "progress": self.progress}


Way = Callable[[Bench, str], Path]
"""Makes the model of an entrant for a concept, and returns its folder; what is there is not made again."""


def student(bench: Bench) -> Path:
    """The pruned model, not repaired."""
    folder = bench.models / "student"
    if not (folder / STUDENT.marker).is_file():
        prune(bench.model, keep=bench.keep, out=folder, dtype=bench.dtype, device=bench.device)
    return folder


def distilled(bench: Bench, folder: Path, steps: int, **given: Any) -> Path:
    """The student after so many steps of distillation, in whole rounds."""
    if not (folder / STUDENT.marker).is_file():
        settings = {
            **bench.distilling,
            "rounds": bench.rounds,
            "steps": max(1, steps // bench.rounds),
            **given.pop("settings", {}),
        }
        distill(student(bench), teacher=bench.model, out=folder, settings=settings, resume=True, **given, **bench.how)
    return folder


def repaired(bench: Bench, concept: str) -> Path:
    return distilled(bench, bench.models / f"repaired-{bench.budget}", bench.budget)


def one_after_the_other(method: str) -> Way:
    """Repair, then erase: the steps of a method that trains are taken off those of repairing."""

    def make(bench: Bench, concept: str) -> Path:
        folder, edit = (bench.models / kind / method / named(concept) for kind in ("erased", "edits"))
        if (folder / "excise_edits.json").is_file():
            return folder
        parsed = get(method).parse(bench.erasing.get(method, {}))
        taken = getattr(parsed, "rounds", 0) * getattr(parsed, "steps", 0)
        steps = max(bench.rounds, bench.budget - taken)
        base = distilled(bench, bench.models / f"repaired-{steps}", steps)
        if not (edit / "edit.json").is_file():
            erase(
                concept, model=base, method=method, settings=bench.erasing.get(method, {}), out=edit, resume=True, evaluate="none",
                **bench.how,
            )  # fmt: skip
        return apply(edit, model=base, to=folder, dtype=bench.dtype, device=bench.device)

    return make


def both_at_once(mode: str, upper: str, **settings: Any) -> Way:
    """Bilevel, with the steps of both levels within the budget."""
    name = "-".join([mode, upper, *settings])

    def make(bench: Bench, concept: str) -> Path:
        steps = bench.budget
        if mode == "alternating":  # a step of the upper level comes on top of `every` of the lower one
            steps = steps * 10 // 11
        folder = bench.models / "bilevel" / name / named(concept)
        return distilled(bench, folder, steps, erase=concept, mode=mode, upper=upper, settings=settings)

    return make


ENTRANTS: dict[str, Way] = {
    WHOLE: lambda bench, concept: Path(resolve(bench.model)),
    "pruned": lambda bench, concept: student(bench),
    REPAIRED: repaired,
    "repaired, then esd": one_after_the_other("esd"),
    "repaired, then uce": one_after_the_other("uce"),
    "repaired, then mim": one_after_the_other("mim"),
    "penalty, esd": both_at_once("penalty", "esd"),
    "penalty, mim": both_at_once("penalty", "mim"),
    "penalty, esd, warm start": both_at_once("penalty", "esd", warm_start=True),
    "alternating, esd": both_at_once("alternating", "esd"),
    "alternating, mim": both_at_once("alternating", "mim"),
}
"""By name. The warm start is a reading of ours of what the paper leaves open."""


def named(text: str) -> str:
    """A name as part of a file's."""
    return text.replace(":", "-").replace(", ", "-").replace(" ", "_")


def cell_file(bench: Bench, entrant: str, concept: str) -> Path:
    return bench.out / "cells" / named(entrant) / f"{named(concept)}.json"


def run(bench: Bench, entrants: Sequence[str], concepts: Sequence[str]) -> list[str]:
    """Make every cell that is not there; returns what failed, a line each."""
    failed = []
    for concept in concepts:
        for entrant in entrants:
            file = cell_file(bench, entrant, concept)
            if file.is_file():
                continue
            try:
                write_json(file, _cell(bench, entrant, concept))
            except (ValueError, FloatingPointError, RuntimeError, OSError) as error:
                failed.append(f"{entrant}, {concept}: {' '.join(str(error).split())}")
    return failed


def _cell(bench: Bench, entrant: str, concept: str) -> dict[str, Any]:
    """Make a model and measure it."""
    folder = ENTRANTS[entrant](bench, concept)
    target = describe(resolve(bench.model)).catalog.resolve(concept)
    model, whole = (load(where, dtype=bench.dtype, device=bench.device) for where in (folder, bench.model))
    quality = QualityOptions(real=_real(bench))
    evaluation = evaluate(model, [target], None, seed=bench.seed, quality=quality, progress=bench.progress, **bench.pictures)
    about = folder / STUDENT.marker
    learned = StudentFile.read(about).distilled if about.is_file() else ()
    return {
        "entrant": entrant,
        "concept": target.label,
        "budget": bench.budget,
        "seed": bench.seed,
        "dtype": model.precision,
        "evaluation": evaluation.model_dump(mode="json", exclude_none=True),
        "information": _nats(bench, model, whole, target).to_dict(),
        "distilled": [each.model_dump(mode="json", exclude_none=True) for each in learned],
    }


def _real(bench: Bench) -> Path:
    """Pictures that the canvas was trained on."""
    folder = bench.models / "real"
    if not folder.is_dir():
        draw_real(folder, bench.real, (), bench.seed)
    return folder


def _nats(bench: Bench, model: Model, whole: Model, target: Concept) -> Measurement:
    others = declared_beside([target], whole.catalog)
    least = least_budget([target], others, models=2, making=whole.sampler.steps, given={})
    found = measure(
        model, [target], base=whole, against=others, budget=max(bench.nats, least), seed=bench.seed, progress=bench.progress
    )
    return found.brief()


def table(bench: Bench, entrants: Iterable[str] = ENTRANTS) -> list[str]:
    """Lines of Markdown: a row per cell that is there."""
    lines = [f"| {' | '.join(COLUMNS)} |".replace("|  |", "| |"), "|---" * len(COLUMNS) + "|"]
    for entrant in entrants:
        for file in sorted((bench.out / "cells" / named(entrant)).glob("*.json")):
            lines.append(f"| {' | '.join(_row(bench, read_json(file)))} |")
    return lines


def _row(bench: Bench, cell: dict[str, Any]) -> list[str]:
    figures, nats = Evaluation.model_validate(cell["evaluation"]), Measurement.model_validate(cell["information"])
    whole = cell_file(bench, WHOLE, cell["concept"].removeprefix("object:"))
    neutral = Evaluation.model_validate(read_json(whole)["evaluation"]).neutral if whole.is_file() else None
    left, kept = nats.concepts[0].conditional.share_left, nats.collateral
    return [
        cell["entrant"],
        cell["concept"],
        f"{100 * figures.erased:.1f}",
        _percent(neutral),
        _percent(figures.ua),
        _percent(figures.ira),
        _percent(figures.cra),
        f"{figures.fid_real.value:.2f}" if figures.fid_real else "-",
        _percent(left),
        _percent(kept and kept.mean),
        _percent(kept and kept.worst),
        f"{cell['distilled'][-1]['seconds']:.0f}" if cell["distilled"] else "-",
    ]


def _percent(figure: Any) -> str:
    return "-" if figure is None else f"{100 * figure.value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("out/pruned"))
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--concepts", default=" ".join(CONCEPTS))
    parser.add_argument("--entrants", default="; ".join(ENTRANTS), help="names, with ';' between")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and make nothing")
    given = parser.parse_args()
    entrants = [name.strip() for name in given.entrants.split(";")]
    if unknown := [name for name in entrants if name not in ENTRANTS]:
        parser.error(f"no such entrant: {unknown[0]!r}; known: {'; '.join(ENTRANTS)}")
    bench = Bench(given.out, given.models, budget=given.budget, dtype=given.dtype, device=given.device, seed=given.seed)
    failed = [] if given.table else run(bench, entrants, given.concepts.split())
    print("\n".join(table(bench, entrants)))
    for line in failed:
        print(line, file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
