"""docs/benchmark/README.md: what every folder and file beside it is, how it was made, and when.

    python benchmarks/index.py            prints the page
    python benchmarks/index.py --write    writes it

Commands of grids are made of their cells: together they ask for exactly those that are there. Dates are those of the commits that added or
changed the figures, as git tells.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from excise.evaluation.picture_counts import BYSTANDER_PICTURES
from excise.files import write_text
from excise.information.budget import BESIDE
from excise.models.names import describe, resolve
from excise.requests.grid import SETS
from excise.results.cell import RETRAINED, Cell, Grid
from excise.results.cells import stored_cells
from markdown_table import markdown

FOLDER = Path(__file__).parents[1] / "docs" / "benchmark"
PAGE = FOLDER / "README.md"


@dataclass(frozen=True)
class Entry:
    """A folder or file of measurements.

    what  it is
    how   the commands; None of a grid of `excise bench`, whose cells say it
    shown the file of a folder to begin with
    dated what was committed when figures came or changed; None: itself
    """

    name: str
    what: str
    how: str | None = None
    shown: str = ""
    dated: str | None = None

    @property
    def link(self) -> str:
        return f"[{self.name}]({'/'.join(filter(None, (self.name, self.shown)))})"


def _grid(name: str, what: str, how: str | None = None) -> Entry:
    return Entry(name, what, how, "results.md", f"{name}/results.csv")


GRIDS = (
    _grid("all", "MiM-MU, SPM and the closed forms on every object and style"),
    _grid("subset", "every method on twelve objects and styles"),
    _grid("solver", "MiM-MU's defaults of today on every object and style, in half the steps"),
    _grid("timed", "five methods on *cat*, for their seconds"),
    _grid("seed", "MiM-MU on every object and style, with a second seed"),
    _grid("gold", "every method on *cat*, beside the model that never saw one"),
    _grid("gold-480", "the nearest to that model, with 480 pictures and three seeds"),
    _grid("members", "MiM-MU on single members of objects"),
    _grid("several", "several objects at once"),
    _grid("exclude", "MiM-MU with `target=exclude` on every object and style"),
    _grid("members-exclude", "the same on single members of objects"),
    _grid("mirror", "the same with a limit on how far it leads away"),
    _grid("ablation", "parts of MiM-MU left out or replaced"),
    _grid("settings", "the search for MiM-MU's settings: steps, batch, ridge"),
    _grid("weights", "the search for MiM-MU's settings: the weight of a timestep"),
    _grid("start", "MiM-MU's metric and start, with the settings that were chosen"),
    _grid(
        "neon",
        "two trials against what is left of *neon*",
        'excise bench --methods "mim:weight=log_snr mim:weight=log_snr,lr=1e-3" --concepts style:neon --target-pictures 100 --other-pictures 8 '
        "--bystander-pictures 0 --budget 6000 --dtype mixed --out docs/benchmark/neon",
    ),
    Entry(
        "tuning",
        "settings of every peer, sought with one budget of trials",
        "python benchmarks/tune.py --out docs/benchmark/tuning",
        "tuning.md",
        "tuning/results.csv",
    ),
)
EVERY = "mim uce:preserve=catalog spm rece:preserve=catalog cure:alpha=1e3 ca doco esd sdd sepme salun erasediff fmn"
GOLD, CAT = "--gold canvas-without-cat", "docs/benchmark/audits-default/edits/mim/object-cat-s0"
AUDITED = "python benchmarks/audits.py --out docs/benchmark/"
HARDENED = f'--attacks "inversion unlearndiffatk prompts" --budget 8000 {GOLD} --dtype mixed'
AUDITS = (
    Entry(
        "audits",
        "every method under the quick attacks, on six concepts",
        f"{AUDITED}audits --gold cat=canvas-without-cat --concepts cat dog clock house style:neon style:sepia --methods {EVERY}",
        "audits.md",
        "audits/audits.json",
    ),
    Entry(
        "audits-solver",
        "MiM-MU's defaults of today under the quick attacks, on the same concepts",
        f"{AUDITED}audits-solver --gold cat=canvas-without-cat --concepts cat dog clock house style:neon style:sepia --methods mim",
        "audits.md",
        "audits-solver/audits.json",
    ),
    Entry(
        "audits-all",
        "three methods under every attack, on *cat*",
        f"{AUDITED}audits-all --gold cat=canvas-without-cat --concepts cat --methods mim uce:preserve=catalog spm --attacks all --budget 10000",
        "audits.md",
        "audits-all/audits.json",
    ),
    Entry(
        "audits-default",
        "MiM-MU under every attack with its default budget, on *cat*, *dog* and *neon*",
        f"excise erase cat --out {CAT}\n"
        f"excise audit {CAT} --attacks all {GOLD} --out docs/benchmark/audits-default/audits/mim/object-cat-s0\n"
        f"{AUDITED}audits-default --methods mim mim:target=exclude,mirror=0.25 --concepts dog --attacks all\n"
        f"{AUDITED}audits-default --methods mim --concepts style:neon --attacks all",
    ),
    Entry(
        "audits-96",
        "three attacks on the first of these, with 96 prompts",
        f'excise audit {CAT} --attacks "few-shot image-to-image completion" --prompts 96 {GOLD} '
        "--out docs/benchmark/audits-96/audits/mim/object-cat-s0",
    ),
    Entry(
        "harden",
        "an erasure, its audit, and the erasure that was hardened against it",
        "excise erase cat --dtype mixed --out out/cat\n"
        f"excise audit out/cat {HARDENED}\n"
        "excise erase cat --dtype mixed --harden out/cat-audit --out out/cat-hardened\n"
        f"excise audit out/cat-hardened {HARDENED}",
    ),
)
SINGLE = (
    Entry(
        "evaluate",
        "one erasure with 96 pictures of every kept concept",
        "excise evaluate --edit out/cat --target-pictures 96 --other-pictures 96 --seed 1 --json docs/benchmark/evaluate/object-cat.json",
    ),
    Entry(
        "vary",
        "erasures asked for in other ways",
        "excise vary out/cat --pictures 24 --dtype mixed --json docs/benchmark/vary/object-cat.json",
    ),
    Entry(
        "worst",
        "nats of the neighbours that lose most",
        "excise measure --edit out/sepia --against style:sketch --dtype mixed --json docs/benchmark/worst/sepia.json",
    ),
    Entry("removals", "a model after each of twelve removals", "python benchmarks/removals.py --out docs/benchmark/removals"),
    Entry("restoring", "restored pictures beside true ones", "python benchmarks/restoring.py --out docs/benchmark/restoring"),
    Entry(
        "second_judge",
        "a second judge of the canvas beside the model's own",
        "python benchmarks/second_judge.py fit; python benchmarks/second_judge.py agree",
    ),
    Entry("closed_form.json", "time of closed forms at Stable Diffusion size", "python benchmarks/closed_form.py"),
    Entry("edit_key.json", "what can be read from an edit", "python benchmarks/edit_key.py"),
    Entry("evaluating.json", "what would make an evaluation quicker", "python benchmarks/evaluating.py"),
    Entry("fewer_steps.json", "whether fewer steps of another sampler give the same rates", "python benchmarks/fewer_steps.py"),
    Entry("footprint.json", "memory as estimated and as taken", "python benchmarks/footprint.py"),
    Entry("full_size.json", "erasing at the size of large models", "python benchmarks/full_size.py sdxl sd3.5-medium flux.1"),
    Entry("low_memory.json", "what `--low-memory` saves", "python benchmarks/low_memory.py --batch 1 8"),
    Entry("many.json", "many concepts at once", "python benchmarks/many.py"),
    Entry("mim_step.json", "a step of MiM-MU at Stable Diffusion size", "python benchmarks/mim_step.py"),
    Entry("profile.json", "where the time of `excise erase` goes", "python benchmarks/profile_erase.py --evaluate quick"),
    Entry("recipes.json", "what whole recipes ask of the network", "python benchmarks/recipes.py"),
    Entry("small_cells.json", "three cells made small, which a test makes again", "python benchmarks/small_cells.py --write"),
    Entry("unasked.json", "bystanders, diversity and the empty prompt", "python benchmarks/unasked.py"),
    Entry(
        "solving.json",
        "what MiM-MU's solver leaves and takes",
        "python benchmarks/solving.py",
    ),
    Entry(
        "solving.png",
        "the same as a picture",
        "python benchmarks/solving.py --figure docs/benchmark/solving.png",
    ),
    Entry("solver_tries.json", "other ways to learn what the start leaves", "python benchmarks/solver_tries.py"),
)
ENTRIES = (*GRIDS, *AUDITS, *SINGLE)

ABOUT = """\
# Measurements

What the pages of this documentation say of figures stands here, with settings, seeds, sample counts and intervals. All of it is of the built-in
model unless it says otherwise. This page is written by `python benchmarks/index.py --write`; do not edit it by hand.

A grid holds one cell for every method, concept and seed. `cells.jsonl.gz` has all of them, a line of JSON for each; `results.csv` has their
figures with intervals, `collateral.csv` what erasing each concept did to every other one, `results.md` a row for every method, `bench.json`
what the cells have in common. Everything reads a packed grid as one that is being made:

```
excise report docs/benchmark/all --out all.html      # a page with every figure
python benchmarks/table.py docs/benchmark/all        # the tables of the documentation
zcat docs/benchmark/all/cells.jsonl.gz | head -1     # a cell
excise convert docs/benchmark/all --pack             # after `excise bench` has added to it: new cells into the file
```

A cell says all settings of its method, the version and the machine. A command below names what was asked for; what it does not name was the
default when the cell was made. A few settings of then are refused today (`metric=none` wants `start=base` with it).
"""


def page(dates: Mapping[str, str]) -> str:
    """The page. `dates`: by entries' names."""
    return (
        "\n".join(
            [
                ABOUT,
                "## Grids of erasures",
                "",
                *markdown(
                    ("", "what it is", "cells", "committed"), [_row(each, dates, str(len(_cells(each)))) for each in GRIDS]
                ),
                "",
                "## Audits",
                "",
                *markdown(("", "what it is", "committed"), [_row(each, dates) for each in AUDITS]),
                "",
                "## Single measurements",
                "",
                *markdown(("", "what it is", "made by", "committed"), [_row(each, dates, f"`{each.how}`") for each in SINGLE]),
                "",
                "## How grids and audits were made",
                "",
                *(line for each in (*GRIDS, *AUDITS) for line in (f"{each.link}:", "", "```", *_commands(each), "```", "")),
            ]
        ).rstrip("\n")
        + "\n"
    )


def _row(entry: Entry, dates: Mapping[str, str], *more: str) -> tuple[str, ...]:
    return entry.link, entry.what, *more, dates[entry.name]


@cache
def _cells(entry: Entry) -> list[Cell]:
    return list(stored_cells(FOLDER / entry.name).values())


def _commands(entry: Entry) -> list[str]:
    return (
        entry.how.split("\n")
        if entry.how
        else commands(_cells(entry), Grid.read(FOLDER / entry.name / "bench.json"), entry.name)
    )


def commands(cells: Sequence[Cell], about: Grid, name: str) -> list[str]:
    """What makes exactly these cells: a command for methods that have the same concepts and seeds."""
    asked: dict[str, list[tuple[str, int]]] = {}
    for cell in cells:
        asked.setdefault(cell.entrant, []).append((_typed(cell), cell.seed))
    retrained = dict.fromkeys(concept for concept, _ in asked.pop(RETRAINED, []))
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for entrant, own in asked.items():
        alike.setdefault(tuple(own), []).append(entrant)
    found = []
    for own, entrants in alike.items():
        concepts, seeds = list(dict.fromkeys(concept for concept, _ in own)), sorted({seed for _, seed in own})
        gold = [f"--gold {concept.removeprefix('object:')}=canvas-without-cat" for concept in concepts if concept in retrained]
        words = [
            f'excise bench --methods "{" ".join(entrants)}" --concepts "{" ".join(_folded(concepts, about.model))}"',
            *gold,
        ]
        words += [f"--seeds {seed}" for seed in seeds if seeds != [0]]
        found.append(" ".join([*words, *_measured(about), f"--out docs/benchmark/{name}"]))
    return found


def _typed(cell: Cell) -> str:
    """What was erased, as it is typed."""
    return (">" if cell.in_turn else "+").join(cell.concepts).replace(" ", "_")


def _folded(concepts: Sequence[str], model: str) -> list[str]:
    """Concepts, with the word for all of a kind in the place of these."""
    catalog, left = describe(resolve(model)).catalog, list(concepts)
    for word, kind in SETS.items():
        every = [each.label.replace(" ", "_") for each in catalog.of_kind(kind)]
        if set(every) <= set(left):
            left = [word, *(each for each in left if each not in every)]
    return left


def _measured(about: Grid) -> list[str]:
    """How the cells were measured, as options."""
    nats = (
        "--no-information"
        if about.information is None
        else ""
        if about.information == BESIDE
        else f"--budget {about.information}"
    )
    return [
        f"--target-pictures {about.target_pictures}",
        f"--other-pictures {about.other_pictures}",
        *_bystanders(about),
        *([] if about.quality else ["--no-quality"]),
        *filter(None, [nats]),
        *(f"--{name.removesuffix('_scale').replace('_', '-')} {value}" for name, value in (about.drawing or {}).items()),
        f"--dtype {about.dtype}",
    ]


def _bystanders(about: Grid) -> list[str]:
    """How many pictures of bystanders, as an option, where it is not the default; a model without any asks for none by itself."""
    count = about.bystander_pictures or 0
    return (
        []
        if count == BYSTANDER_PICTURES or not describe(resolve(about.model)).bystanders
        else [f"--bystander-pictures {count}"]
    )


def committed(entry: Entry) -> str:
    """When figures were committed first and last, as git tells. Of folders without a table: when their files came."""
    path = FOLDER / (entry.dated or entry.name)
    added = [] if path.is_file() else ["--diff-filter=A"]
    told = subprocess.run(
        ["git", "log", "--format=%as", *added, "--", str(path)], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    days = sorted(told.stdout.split())
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def dates_on(text: str) -> dict[str, str]:
    """The dates that a page says."""
    return {name: date for name, date in re.findall(r"^\| \[([^]]+)\].* \| ([^|]+) \|$", text, re.MULTILINE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    text = page({entry.name: committed(entry) for entry in ENTRIES})
    if parser.parse_args().write:
        write_text(PAGE, text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
