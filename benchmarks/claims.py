"""What README and docs claim, with the figure that says so and what would refute it: the table of docs/research/claims.md.

    python benchmarks/claims.py

Every figure is computed from the committed files. A claim whose figure refutes it is printed so, and a test fails: then the pages that say it
are to be changed. Intervals are of 95 %: over concepts by a bootstrap of differences in pairs, over shares by Wilson.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import audit_table
import paired
import removals
from excise.randomness import seeded
from excise.resampling import CONCEPT_RESAMPLES, Estimate, bootstrap, resample
from excise.results.cell import Cell
from markdown_table import markdown
from table import figures_of, worst

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "benchmark"
ON_THE_SAMPLER = ("guidance", "noise", "seeds", "schedule", "samplers", "denoise")
AUDITED = ("cat", "dog", "clock", "house", "style:neon", "style:sepia")


@dataclass(frozen=True)
class Measured:
    """What was found.

    figure as the table shows it
    of     how many concepts, pictures or runs it rests on, and which seeds
    stands whether it bears the claim out
    """

    figure: str
    of: str
    stands: bool


@dataclass(frozen=True)
class Claim:
    """A claim.

    says    one sentence
    page    where docs say it
    files   what the figure is computed from, in docs/benchmark; its README says which command made each
    refuted what would have to be seen
    measure computes the figure
    """

    says: str
    page: str
    files: str
    refuted: str
    measure: Callable[[], Measured]


@cache
def _cells(folder: str, entrant: str) -> tuple[Cell, ...]:
    """The cells of an entrant that did not fail."""
    return tuple(cell for cell in paired.read([DATA / folder], None) if cell.entrant == entrant)


@cache
def _json(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def _over_concepts(values: Sequence[float]) -> Estimate:
    return bootstrap(
        lambda x: x.mean(-1), [torch.tensor(values, dtype=torch.float64)], resample(len(values), seeded(0), CONCEPT_RESAMPLES)
    )[0]


def _told(estimate: Estimate, form: str = "{:.1f}", unit: str = "") -> str:
    low, value, high = (form.format(x) for x in (estimate.low, estimate.value, estimate.high))
    return f"{value}{unit} ({low} to {high})"


def _concepts(cells: Sequence[Cell]) -> str:
    seeds = sorted({cell.seed for cell in cells})
    return (
        f"{len({cell.concepts for cell in cells})} concepts, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )


def neutral_rate() -> Measured:
    cells = _cells("solver", "mim")
    shown = [100 * (1 - figures_of(cell)("ua") - figures_of(cell)("neutral")) for cell in cells]
    found = _over_concepts(shown)
    return Measured(f"{_told(found, '{:+.1f}')} points", _concepts(cells), found.low <= 0 and found.value <= 1)


def _pictures(folder: str) -> tuple[float, float, Sequence[Cell]]:
    """Mean of IRA and CRA of base, the worst single concept's, and the cells."""
    cells = _cells(folder, "mim")
    mean = fmean(100 * figures_of(cell)(key) for cell in cells for key in ("ira_of_base", "cra_of_base"))
    return mean, min(100 * figures_of(cell)(key) for cell in cells for key in ("ira_worst", "cra_worst")), cells


def kept_pictures() -> Measured:
    mean, least, cells = _pictures("solver")
    return Measured(f"{mean:.2f} % of base, worst concept {least:.0f} %", f"{_concepts(cells)}; 8 pictures each", mean >= 99)


def no_picture_lost() -> Measured:
    mean, least, cells = _pictures("all")
    return Measured(f"{mean:.2f} % of base, worst concept {least:.0f} %", f"{_concepts(cells)}; 8 pictures each", least >= 100)


def nats_left() -> Measured:
    cells = _cells("solver", "mim")
    found = _over_concepts([100 * figures_of(cell)("nats_share_left") for cell in cells])
    return Measured(_told(found, unit=" %"), _concepts(cells), found.high <= 5)


def nats_kept() -> Measured:
    cells = _cells("solver", "mim")
    found = _over_concepts([100 * figures_of(cell)("nats_kept") for cell in cells])
    return Measured(_told(found, unit=" %"), _concepts(cells), found.low >= 98)


def bystanders_stay() -> Measured:
    found = [cell.evaluation for cell in _cells("solver", "mim") if cell.evaluation]
    kept = [100 * (each.bystanders_of_base or 0.0) for each in found]
    moved = _over_concepts([100 * each.bystander_change.value for each in found if each.bystander_change])
    figure = f"{fmean(kept):.1f} % of base, worst erasure {min(kept):.0f} %; moved by {_told(moved, unit=' %')}"
    return Measured(figure, f"{_concepts(_cells('solver', 'mim'))}, 80 pictures each", fmean(kept) >= 99 and moved.high <= 3)


def bystanders_of_told_uce() -> Measured:
    edits = _json("unasked.json")["edits"]
    own, told = (
        {each["concept"]: each for each in edits if each["entrant"] == name} for name in ("mim", "uce:preserve=catalog")
    )
    ratios = [each["change"] / own[concept]["change"] for concept, each in told.items()]
    kept = [100 * each["bystanders"] for each in told.values()]
    figure = f"{fmean(kept):.1f} % of base, moved x {min(ratios):.0f} to {max(ratios):.0f} as far"
    return Measured(figure, f"{len(told)} concepts, seed 0, 80 pictures each", fmean(kept) < 99 and min(ratios) > 2)


def _ahead(column: paired.Column, entrant: str) -> Estimate:
    """The other method's figure less MiM-MU's, in pairs of concepts."""
    own, other = column.of(_cells("all", "mim")), column.of(_cells("all", entrant))
    both = sorted(own.keys() & other.keys())
    return _over_concepts([fmean(other[concept]) - fmean(own[concept]) for concept in both])


def fewest_nats() -> Measured:
    others = sorted({cell.entrant for cell in paired.read([DATA / "all"], None)} - {"mim"})
    found = {name: _ahead(paired.LEFT[1], name) for name in others}
    nearest = min(found, key=lambda name: found[name].low)
    figure = f"nearest, `{nearest}`: {_told(found[nearest], '{:+.1f}')} points"
    return Measured(figure, f"{len(others)} others, {_concepts(_cells('all', 'mim'))}", found[nearest].low > 0)


def level_with_uce() -> Measured:
    columns = {"shown": paired.LEFT[0], "IRA": paired.KEPT[0], "CRA": paired.KEPT[1], "nats kept": paired.LEFT[2]}
    found = {name: _ahead(column, "uce:preserve=catalog") for name, column in columns.items()}
    figure = "; ".join(f"{name} {_told(each, '{:+.1f}')}" for name, each in found.items())
    return Measured(figure, _concepts(_cells("all", "mim")), all(each.low <= 0 <= each.high for each in found.values()))


def perfect_and_speaking() -> Measured:
    cells = _cells("all", "spm")
    shares = [figures_of(cell)("nats_share_left") for cell in cells]
    return Measured(
        f"UA {100 * fmean(figures_of(cell)('ua') for cell in cells):.1f} %, nats left {100 * fmean(shares):.0f} %",
        _concepts(cells),
        min(shares) > 0.1,
    )


def worst_neighbour() -> Measured:
    cells = _cells("solver", "mim")
    share, label = min(worst(cell) for cell in cells)
    return Measured(
        f"{100 * share:.0f} % (*{label.partition(':')[2]}*)", f"{_concepts(cells)}; 2 pictures a neighbour", share < 0.95
    )


def _verdicts(attacks: Callable[[str], bool]) -> tuple[int, int]:
    """Of audits of MiM-MU's defaults of today on the six concepts: how many attacks revived, and how many there are."""
    audits = audit_table.read(DATA / "audits-solver", AUDITED)["mim"]
    found = [
        attack.compared.verdict == "revived"
        for audit in audits
        for attack in audit.attacks
        if attack.compared and attacks(attack.text.partition(":")[0])
    ]
    return sum(found), len(found)


def sampler_attacks() -> Measured:
    revived, count = _verdicts(lambda name: name in ON_THE_SAMPLER)
    return Measured(f"{revived} of {count} revived", f"{len(AUDITED)} concepts, 24 prompts each, seed 0", revived == 0)


def guidance_revives_spm() -> Measured:
    audits = audit_table.read(DATA / "audits", ["style:neon", "style:sepia"])["spm"]
    found = [
        attack.compared.erased
        for audit in audits
        for attack in audit.attacks
        if attack.compared and attack.text.startswith("guidance")
    ]
    shown, count = sum(each.shown for each in found), sum(each.rate.n for each in found)
    return Measured(f"{shown} of {count} prompts", "2 styles, seed 0", shown / count > 0.5)


def fewer_steps() -> Measured:
    cells = _json("fewer_steps.json")["cells"]
    own = {(c["entrant"], c["concept"]): c["evaluation"] for c in cells if not c["drawing"]}
    fast = {
        (c["entrant"], c["concept"]): c["evaluation"]
        for c in cells
        if c["drawing"].get("scheduler") == "DPMSolverMultistepScheduler"
    }
    found = _over_concepts([100 * ((1 - fast[key]["ua"]["value"]) - (1 - own[key]["ua"]["value"])) for key in sorted(own)])
    return Measured(f"{_told(found, '{:+.1f}')} points shown", f"{len(own)} edits, seed 0", abs(found.value) <= 1)


def arithmetic() -> Measured:
    flops = {row["recipe"]: row["flops"] for row in _json("recipes.json")["rows"]}
    share = flops["MiM-MU, defaults"] / flops["ESD-x, `preset=paper`"]
    return Measured(f"{100 * share:.1f} %", "counted", share < 0.05)


def cost_of_a_step() -> Measured:
    parts = _json("mim_step.json")["cpu-float32-1"]["parts"]
    bare = sum(parts[name]["best_s"] for name in parts if name.startswith("bare"))
    own = sum(parts[name]["best_s"] for name in parts if name.startswith("MiM-MU"))
    return Measured(f"x {own / bare:.3f}", "random weights of the published shape, once", own / bare <= 1.05)


def edit_is_a_key() -> Measured:
    erasures = [each for each in _json("edit_key.json")["erasures"] if each["entrant"] == "mim"]
    ahead, own = [each["ahead"] for each in erasures], [each["place"] == 1 for each in erasures]
    return Measured(
        f"first of {_json('edit_key.json')['words']} words, x {min(ahead):.0f} to {max(ahead):.0f}",
        f"{len(ahead)} erasures, seed 0",
        all(own),
    )


def after_twelve_removals() -> Measured:
    row = removals.curve_of(DATA / "removals", "mim@joint")[-1][1]
    figure = (
        f"{row.own:.1f}, {row.other:.1f} % of base; nats kept {row.nats:.1f} %; worst relapse {row.worst_relapse:+.1f} points"
    )
    return Measured(
        figure, "12 requests, one order, seed 0", min(row.own, row.other) >= 99 and row.nats >= 97 and row.worst_relapse <= 1.05
    )


def removals_in_turn() -> Measured:
    row = removals.curve_of(DATA / "removals", "mim@sequential")[-1][1]
    return Measured(f"nats kept {row.nats:.1f} %", "12 requests, one order, seed 0", row.nats < 97)


def restored() -> Measured:
    less = [way["less bicubic"]["restored, fidelity 0.5"] for way in _json("restoring/restoring.json")["ways"].values()]
    figure = "; ".join(
        f"{each['psnr']['value']:+.1f} dB, object seen {100 * each['object']['value']:+.1f} points" for each in less
    )
    better = all(each[key]["low"] > 0 for each in less for key in ("psnr", "ssim", "object", "style"))
    return Measured(figure, f"{_json('restoring/restoring.json')['n']} pictures, made low in two ways", better)


def closed_forms() -> Measured:
    ratios = [row["ratio"] for model in ("sd14", "sdxl") for row in _json("closed_form.json")[model]["rows"] if row["ratio"]]
    return Measured(
        f"x {min(ratios):.0f} to {max(ratios):.0f}",
        f"{len(ratios)} sizes, best of {_json('closed_form.json')['sd14']['repeats']}",
        min(ratios) > 1,
    )


def low_memory() -> Measured:
    more = [row["recomputed_mib"] - row["pictures_mib"] for row in _json("low_memory.json")["rows"]]
    return Measured(f"{min(more):.0f} to {max(more):.0f} MiB", f"{len(more)} sizes, once each", max(more) <= 512)


def second_judge() -> Measured:
    rates = [
        each
        for each in _json("second_judge/agree.json")["rates"]
        if each["judge"] == "second" and each["method"] in ("base", "mim")
    ]
    seen = {each["method"]: each["erased"] for each in rates if each["concept"] == "cat"}
    figure = "; ".join(
        f"{name}: {100 * each['value']:.0f} % ({100 * each['low']:.0f} to {100 * each['high']:.0f})"
        for name, each in seen.items()
    )
    return Measured(figure, f"*cat*, {seen['base']['n']} pictures", seen["mim"]["high"] < seen["base"]["low"])


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "MiM-MU erases to the neutral rate.",
        "mim/results.md",
        "solver",
        "shown above neutral by an interval that lacks zero, or by a point in the mean",
        neutral_rate,
    ),
    Claim(
        "Pictures of other concepts stay.",
        "mim/results.md",
        "solver",
        "IRA and CRA below 99 % of base in the mean",
        kept_pictures,
    ),
    Claim("With the older defaults no picture was lost.", "benchmark.md", "all", "a picture lost", no_picture_lost),
    Claim(
        "Little is left of what the erased words say.",
        "mim/results.md",
        "solver",
        "more than 5 % of nats left in the mean",
        nats_left,
    ),
    Claim("Other words keep what they say.", "mim/results.md", "solver", "less than 98 % of nats kept in the mean", nats_kept),
    Claim(
        "Things that nobody named stay as they were.",
        "mim/results.md",
        "solver",
        "bystanders recognised below 99 % of base, or moved by more than 3 %",
        bystanders_stay,
    ),
    Claim(
        "UCE that is told every name to keep changes what nobody named.",
        "benchmark.md",
        "unasked.json",
        "99 % of bystanders recognised, or moved less than twice as far as by MiM-MU",
        bystanders_of_told_uce,
    ),
    Claim(
        "It leaves fewer nats than every other method.",
        "benchmark.md",
        "all",
        "an interval of a difference that holds zero",
        fewest_nats,
    ),
    Claim(
        "UCE that is told all names is level with it in pictures and in nats kept.",
        "benchmark.md",
        "all",
        "an interval that lacks zero",
        level_with_uce,
    ),
    Claim(
        "The worst neighbour loses nats.",
        "mim/results.md",
        "solver",
        "no neighbour below 95 %",
        worst_neighbour,
    ),
    Claim(
        "UA of 100 is not unlearning: SPM's words go on speaking.",
        "evaluation/results.md",
        "all",
        "a tenth of the nats left after some erasure",
        perfect_and_speaking,
    ),
    Claim(
        "No attack on the sampler revives what MiM-MU erased.",
        "audit/results.md",
        "audits-solver",
        "one that revives",
        sampler_attacks,
    ),
    Claim(
        "Negated guidance brings back styles that SPM redirected.",
        "audit/results.md",
        "audits",
        "half of the prompts or fewer",
        guidance_revives_spm,
    ),
    Claim(
        "Half the steps give the same rates.",
        "evaluation/results.md",
        "fewer_steps.json",
        "a difference above a point",
        fewer_steps,
    ),
    Claim(
        "The default recipe takes a twentieth of ESD's arithmetic at most.",
        "mim/cost.md",
        "recipes.json",
        "a larger share",
        arithmetic,
    ),
    Claim("A step costs as much as the predictions in it.", "mim/cost.md", "mim_step.json", "more than x 1.05", cost_of_a_step),
    Claim(
        "After twelve removals at once every other picture stands.",
        "queue.md",
        "removals",
        "IRA or CRA below 99 %, nats kept below 97 %",
        after_twelve_removals,
    ),
    Claim(
        "Twelve removals in turn cost others more nats than the goal allows.",
        "queue.md",
        "removals",
        "97 % of nats kept",
        removals_in_turn,
    ),
    Claim(
        "Restored pictures of the canvas beat bicubic enlargement.",
        "upscaling.md",
        "restoring/restoring.json",
        "an interval that holds zero",
        restored,
    ),
    Claim(
        "Closed forms are faster than the published recipes.",
        "closed_form.md",
        "closed_form.json",
        "a ratio below 1",
        closed_forms,
    ),
    Claim(
        "`--low-memory` learns in no more than making pictures takes, and half a GiB.",
        "mim/cost.md",
        "low_memory.json",
        "more",
        low_memory,
    ),
    Claim(
        "A second judge sees *cat* fall too.",
        "evaluation/results.md",
        "second_judge/agree.json",
        "intervals that overlap",
        second_judge,
    ),
    Claim(
        "An edit tells what it erased.",
        "../background/limitations.md",
        "edit_key.json",
        "another word moved most",
        edit_is_a_key,
    ),
)


def table() -> list[str]:
    """Lines of Markdown, a row a claim."""
    rows = []
    for claim in CLAIMS:
        found = claim.measure()
        figure = found.figure if found.stands else f"**refuted**: {found.figure}"
        rows.append((f"[{claim.says}]({claim.page})", figure, found.of, f"`{claim.files}`", claim.refuted))
    return markdown(("claim", "figure, 95 % interval", "of", "from", "refuted by"), rows)


def main() -> None:
    print("\n".join(table()))


if __name__ == "__main__":
    main()
