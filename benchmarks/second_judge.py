"""A second judge of the canvas: how right it is, how far it agrees with the model's own, and what each takes for nothing.

    python benchmarks/second_judge.py fit                  # docs/benchmark/second_judge/judge.safetensors and fit.json
    python benchmarks/second_judge.py agree                # docs/benchmark/second_judge/agree.json
    python benchmarks/second_judge.py --show docs/benchmark/second_judge/agree.json --table rates

The model's own classifier was trained on pictures of the code that draws the model's training pictures. The second stands on
EfficientNet-Lite0, which was trained on ImageNet's photographs; a layer and the heads are fitted to other drawn pictures, changed in other
ways. What both have in common are the glyphs and styles themselves. Its body is the user's file: see "Bring your own classifier". What was
made of pictures is kept below --work, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import second_judge_fit as fitting
import second_judge_pictures as showing
from agreement import Acceptance, kappa_figure, share
from excise.canvas import data
from excise.canvas.catalog import OTHER
from excise.canvas.judge import HEADS
from excise.evaluation.classifier import Classifier
from excise.files import write_json
from excise.models import Model
from excise.resampling import macro_interval
from markdown_table import markdown
from second_judge_pictures import Shown

FOLDER = showing.ROOT / "docs" / "benchmark" / "second_judge"
FILE = FOLDER / "judge.safetensors"
JUDGES = ("first", "second")
DESTROYED = 19
"""Pictures of a destroyed model."""

Logits = dict[str, dict[str, Tensor]]
"""What judges say, by judge and head, (n, classes)."""


def agree(model: Model, concepts: Sequence[str], work: Path, target: int, other: int) -> dict[str, Any]:
    """Both judges on the same pictures of the model and of the model with edits on."""
    judges = dict(zip(JUDGES, (fitting.own_judge(model), fitting.loaded(FILE)), strict=True))
    accepted, told = calibrated(model, judges, work)
    seen = [(each, said_by(judges, each.pictures)) for each in showing.shown(model, concepts, work, target, other)]
    return {
        "target_pictures": target,
        "other_pictures": other,
        "judges": {name: judge.identity for name, judge in judges.items()},
        "rejection": told,
        "agreement": agreement(seen),
        "concepts": by_concept(seen),
        "rates": [rates(each, said[name], name) for each, said in seen for name in JUDGES],
        "instead": [
            instead(each, said[name], name, accepted[name]) for each, said in seen for name in JUDGES if ":" not in each.concept
        ],
    }


@torch.no_grad()
def said_by(judges: dict[str, Classifier], pictures: Tensor) -> Logits:
    """What each judge says of pictures (n, 3, 64, 64)."""
    found: Logits = {}
    for name, judge in judges.items():
        parts = [judge(some) for some in pictures.split(50)]
        found[name] = {head: torch.cat([part[head] for part in parts]) for head in HEADS}
    return found


def calibrated(model: Model, judges: dict[str, Classifier], work: Path) -> tuple[dict[str, Acceptance], dict[str, Any]]:
    """From when on each judge is taken at its word, and how often it rejects real pictures and such that show nothing."""
    fit, held_out = (
        fitting.seen_of(fitting.bare(), judges["first"], model, seed, work) for seed in (fitting.CALIBRATION, fitting.HELD_OUT)
    )
    second = fitting.loaded(FILE)
    on_fit, on_held_out = fitting.logits_of(second, fit), fitting.logits_of(second, held_out)
    counted = {head: rows for head, rows in fitting.counted_of(fit).items() if head != "style"} | {
        "member": torch.ones_like(fit["soft"])
    }
    accepted = {name: Acceptance.fit(on_fit[name], {head: fit[head] for head in counted}, counted) for name in JUDGES}
    real = data.draw(60, fitting.step_generator(fitting.HELD_OUT + 1, 0)).pictures
    kinds = {**showing.nothing(real), "of a destroyed model": showing.destroyed(model, work, DESTROYED)}
    said = {kind: said_by(judges, pictures) for kind, pictures in kinds.items()}
    told: dict[str, Any] = {}
    for name, each in accepted.items():
        rejected = {"real, held out": ~each.accepts(on_held_out[name])}
        rejected |= {kind: ~each.accepts(logits[name]) for kind, logits in said.items()}
        told[name] = {
            "temperatures": each.temperatures,
            "threshold": each.threshold,
            "rejected": {kind: share(hits) for kind, hits in rejected.items()},
        }
    return accepted, told


def agreement(seen: Sequence[tuple[Shown, Logits]]) -> list[dict[str, Any]]:
    """Kappa of each head, of the base model's pictures and of each method's."""
    found = []
    for method in dict.fromkeys(each.method for each, _ in seen):
        labels = _labels(pair for pair in seen if pair[0].method == method)
        found += [{"method": method, "head": head, **kappa_figure(*labels[head], len(names))} for head, names in HEADS.items()]
    return found


def by_concept(seen: Sequence[tuple[Shown, Logits]]) -> dict[str, Any]:
    """Kappa of "shows it" or "does not" for every object and style, of all pictures together."""
    labels = _labels(seen)
    return {
        f"{head}:{name}": kappa_figure(*((each == index).long() for each in labels[head]), 2)
        for head in ("object", "style")
        for index, name in enumerate(HEADS[head])
    }


def _labels(seen: Iterable[tuple[Shown, Logits]]) -> dict[str, tuple[Tensor, Tensor]]:
    """What both judges say, by head; a picture that belongs to two concepts counts once."""
    rows: dict[Any, dict[str, tuple[int, int]]] = {}
    for each, said in seen:
        items = [question.item for question in each.asked.all] + each.asked.neutral
        most = {head: [said[name][head].argmax(1).tolist() for name in JUDGES] for head in HEADS}
        for row, item in enumerate(items[: len(each.pictures)]):
            edit = each.method if each.method == "base" else (each.method, each.concept)
            rows[edit, item] = {head: (first[row], second[row]) for head, (first, second) in most.items()}
    return {head: tuple(torch.tensor([row[head] for row in rows.values()]).T) for head in HEADS}


def rates(each: Shown, said: dict[str, Tensor], judge: str) -> dict[str, Any]:
    """What an evaluation counts: the erased concept, in its pictures and without its words; and the kept ones of its own and the other kind."""
    most = {head: logits.argmax(1) for head, logits in said.items()}
    target, _, neutral = each.parts
    head, name, _ = each.asked.target[0].shows[0]
    is_it = most[head] == HEADS[head].index(name)
    hits: dict[str, list[bool]] = {}
    for row, question in enumerate(each.asked.retained, len(target)):
        for own, kept, label in question.shows:
            hits.setdefault(label, []).append(bool(most[own][row] == HEADS[own].index(kept)))
    return {
        "concept": each.concept,
        "method": each.method,
        "judge": judge,
        "erased": share(is_it[target]),
        "neutral": share(is_it[neutral]) if len(neutral) else None,
        "own": _mean([hits[label] for label in each.asked.groups.own]),
        "other": _mean([hits[label] for label in each.asked.groups.other]),
    }


def _mean(hits: list[list[bool]]) -> dict[str, float]:
    low, high = macro_interval([sum(each) for each in hits], [len(each) for each in hits])
    return {
        "value": sum(sum(each) / len(each) for each in hits) / len(hits),
        "low": low,
        "high": high,
        "n": sum(map(len, hits)),
    }


def instead(each: Shown, said: dict[str, Tensor], judge: str, accepted: Acceptance) -> dict[str, Any]:
    """What pictures show that were asked to show an erased object: it, another object, a thing that no catalog names, or nothing."""
    target = each.parts[0]
    most, sure = said["object"].argmax(1)[target], accepted.accepts(said)[target]
    own = HEADS["object"].index(each.concept)
    shown = {
        "itself": sure & (most == own),
        "another object": sure & (most != own) & (most != OTHER),
        "an undeclared thing": sure & (most == OTHER),
        "nothing": ~sure,
    }
    others = most[shown["another object"]].tolist()
    commonest = max(set(others), key=others.count) if others else None
    return {
        "concept": each.concept,
        "method": each.method,
        "judge": judge,
        "n": len(target),
        "shown": {kind: share(hits) for kind, hits in shown.items()},
        "commonest": None
        if commonest is None
        else {"name": HEADS["object"][commonest], "share": others.count(commonest) / len(target)},
    }


def percent(figure: dict[str, float] | None) -> str:
    """A share with its interval, in percent."""
    return "-" if figure is None else f"{100 * figure['value']:.1f} ({100 * figure['low']:.0f}–{100 * figure['high']:.0f})"


def _kappa(figure: dict[str, Any]) -> str:
    if figure["kappa"] is None:
        return "-"
    return f"{figure['kappa']:.2f}" + ("" if figure["low"] is None else f" ({figure['low']:.2f}–{figure['high']:.2f})")


def accuracy_table(found: dict[str, Any]) -> list[str]:
    rows = [
        (
            head,
            kind,
            str(found["accuracy"]["first"][head][kind]["n"]),
            *(percent(found["accuracy"][name][head][kind]) for name in JUDGES),
        )
        for head in HEADS
        for kind in ("drawn", "autoencoded")
    ]
    return markdown(("head", "pictures", "n", "the model's own, %", "the second, %"), rows)


def kappa_table(found: dict[str, Any]) -> list[str]:
    methods = list(dict.fromkeys(each["method"] for each in found["agreement"]))
    rows = []
    for method in methods:
        heads = {each["head"]: each for each in found["agreement"] if each["method"] == method}
        same = " / ".join(f"{100 * heads[head]['same']:.1f}" for head in HEADS)
        rows.append((_named(method), str(heads["object"]["n"]), *(_kappa(heads[head]) for head in HEADS), same))
    return markdown(("pictures of", "n", *HEADS, "the same, %"), rows)


def concept_table(found: dict[str, Any]) -> list[str]:
    """The ten concepts on which the judges agree least."""
    known = {label: figure for label, figure in found["concepts"].items() if figure["kappa"] is not None}
    least = sorted(known, key=lambda label: known[label]["kappa"])[:10]
    return markdown(
        ("concept", "kappa", "the same, %"),
        [(label, _kappa(known[label]), f"{100 * known[label]['same']:.1f}") for label in least],
    )


def rates_table(found: dict[str, Any]) -> list[str]:
    rows = [
        (
            each["concept"],
            _named(each["method"]),
            each["judge"],
            *(percent(each[key]) for key in ("erased", "neutral", "own", "other")),
        )
        for each in found["rates"]
    ]
    return markdown(("concept", "model", "judge", "shows it", "neutral", "kept, own kind", "kept, other kind"), rows)


def nothing_table(found: dict[str, Any]) -> list[str]:
    told = [found["rejection"][name]["rejected"] for name in JUDGES]
    rows = [(kind, str(told[0][kind]["n"]), *(percent(each[kind]) for each in told)) for kind in told[0]]
    return markdown(("pictures", "n", "the model's own rejects, %", "the second rejects, %"), rows)


def instead_table(found: dict[str, Any]) -> list[str]:
    rows = []
    for each in found["instead"]:
        common = (
            "" if each["commonest"] is None else f", most {each['commonest']['name']} {100 * each['commonest']['share']:.0f}"
        )
        shares = {kind: f"{100 * figure['value']:.0f}" for kind, figure in each["shown"].items()}
        shares["another object"] += common
        rows.append((f"*{each['concept']}*, {_named(each['method'])}", each["judge"], str(each["n"]), *shares.values()))
    return markdown(
        ("asked for, model", "judge", "n", "itself, %", "another object, %", "an undeclared thing, %", "nothing, %"), rows
    )


def _named(method: str) -> str:
    return "the base model" if method == "base" else f"`{method}`"


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "accuracy": accuracy_table,
    "kappa": kappa_table,
    "concepts": concept_table,
    "rates": rates_table,
    "nothing": nothing_table,
    "instead": instead_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("act", nargs="?", choices=("fit", "agree"))
    parser.add_argument("--work", type=Path, default=Path("out/second_judge"), help="where what is seen of pictures is kept")
    parser.add_argument("--concepts", nargs="+", default=["cat"])
    parser.add_argument("--target-pictures", type=int, default=24)
    parser.add_argument("--other-pictures", type=int, default=2)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a table of a file, and measure nothing")
    parser.add_argument("--table", choices=TABLES, default="rates")
    options = parser.parse_args()
    if options.show is not None:
        print("\n".join(TABLES[options.table](json.loads(options.show.read_text(encoding="utf-8")))))
    elif options.act == "fit":
        write_json(FOLDER / "fit.json", fitting.fit(fitting.load_canvas(), FILE, options.work))
    elif options.act == "agree":
        write_json(
            FOLDER / "agree.json",
            agree(fitting.load_canvas(), options.concepts, options.work, options.target_pictures, options.other_pictures),
        )
    else:
        parser.error("what to do: fit, agree, or --show FILE")


if __name__ == "__main__":
    main()
