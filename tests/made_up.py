"""Small folders of results, as the jobs write them, with numbers that are known: for the report and its check in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

from excise.attacks import get as registered
from excise.attacks.verdict import difference
from excise.figures import Figure, NamedFigure
from excise.report.audit_table import LIMITS
from excise.results.audit_result import (
    AttackResult,
    AuditedEdit,
    AuditFile,
    AuditSetup,
    Compared,
    Outcome,
    Plain,
    PlainVerdict,
    Success,
    Verdict,
)
from excise.results.cell import Cell, CellInformation, Grid, NatsLeft
from excise.results.erasure import ErasureResult
from excise.results.evaluation import ConceptShares, Evaluation, Figures, PictureCounts, Protocol
from excise.results.information import (
    Collateral,
    ConceptReading,
    Curve,
    Densities,
    Forms,
    Maps,
    Measurement,
    MeasurementSettings,
    NoiseLaw,
    Profile,
    Reading,
)
from excise.results.origin import EditIdentity, Provenance
from excise.results.removal_ledger import ErosionPoint, RemovalLedger, RemovalRecord, RemovalStep
from excise.results.upscaled import UpscaledPicture, UpscaleFile, UpscaleSettings
from excise.results.variation import AskedOtherwise, Variation

HOSTILE = ("<script>alert(1)</script>", "{{7*7}}", "\"><img src=x onerror='alert(2)'>", "größe $x^2$ ü 猫 \u202e")
"""Names that must be shown and never be obeyed."""

ENTRANTS = ("mim", "uce", "esd:variant=x")
CONCEPTS = ("object:cat", "object:dog", "style:sketch")
KEPT = ("object:cat", "object:dog", "object:bird", "style:sketch", "style:pixel art")

CURVE = Curve(
    edges=(-9, -4, -1, 1, 4, 9),
    base=Densities(orthogonal=(0.1, 1, 3, 1, 0.1), plain=(0.1, 1, 2, 1, 0.1)),
    edited=Densities(orthogonal=(0, 0.1, 0.2, 0, 0), plain=(0, 0.1, 0.1, 0, 0)),
)
MAPS = Maps(base=((0.1, 0.4), (0.6, 0.2)), edited=((0.0, 0.02), (0.03, 0.0)))
SETTINGS = MeasurementSettings(
    seed=0, budget=16000, evaluations=15000, noise_levels=8, log_snr_range=(-9, 9), log_snr_law=NoiseLaw(loc=0, scale=1),
    latent_dimensions=256, guidance_scale=1, sampler_steps=20, phrasings="plain", self_made_pictures=False,
)  # fmt: skip


def figure(value: float, below: float | None = None, above: float | None = None, n: int = 40) -> Figure:
    """A figure, its interval so much below and above it; none by default."""
    ends = {} if below is None or above is None else {"low": value - below, "high": value + above}
    return Figure(value=value, n=n, **ends)


def named(concept: str, value: float) -> NamedFigure:
    return NamedFigure(concept=concept, value=value, n=40)


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def words(
    concept: str = "object:cat",
    *,
    left: float = 0.6,
    base: float = 20.0,
    share: Figure | None = None,
    steering: Figure | None = None,
    destruction: float = 0.1,
    mean: Figure | None = None,
    worst: NamedFigure | None = None,
    others: Sequence[NamedFigure] = (),
) -> CellInformation:
    """What a cell says in nats; what others keep only with `mean` or `worst`."""
    nats = NatsLeft(base=figure(base), left=figure(left), share_left=share, at_floor=False)
    kept = None
    if mean or worst:
        least = worst or named("object:dog", 0.5)
        kept = Collateral(mean=mean or figure(0.9), worst=least, kept=(least,))
    return CellInformation(
        nats=nats, whole_prompt=nats, steering=steering, destruction=figure(destruction), kept=kept, steering_of_others=tuple(others),
        settings=SETTINGS, seconds=40, profiles=(Profile(concept=concept, curve=CURVE, maps=MAPS),),
    )  # fmt: skip


def evaluation(concept: str, *, ua: float = 0.95, kept: float = 0.9, **other: Any) -> Evaluation:
    """Every kept concept keeps `kept` of the base model's 0.8, but the first of them half as much; `other` overrules."""
    labels = [label for label in KEPT if label != concept]
    shares = [
        ConceptShares(concept=label, base=0.8, edited=0.8 * kept * (0.5 if label == labels[0] else 1), n=24) for label in labels
    ]
    own = [each.edited for each in shares if each.concept.split(":")[0] == concept.split(":")[0]]
    rest = [each.edited for each in shares if each.concept.split(":")[0] != concept.split(":")[0]]
    ira, cra = sum(own) / len(own), sum(rest) / len(rest)
    neutral = figure(0.02, 0.01, 0.02)
    fields: dict[str, Any] = {
        "ua": Figure(value=ua, low=ua - 0.03, high=min(1.0, ua + 0.02), n=200), "neutral": neutral, "ira": figure(ira, 0.1, 0.1),
        "cra": figure(cra, 0.1, 0.1), "ira_of_base": ira / 0.8, "cra_of_base": cra / 0.8, "ira_worst": min(own) / 0.8,
        "cra_worst": min(rest) / 0.8, "fid_base": figure(3.25, 0.75, 0.75), "kid_base": figure(0.0012, 0.0002, 0.0008),
        "base": Figures(ua=figure(0.04, 0.02, 0.04), ira=figure(0.8), cra=figure(0.8), neutral=neutral),
        "targets": (ConceptShares(concept=concept, base=0.96, edited=1 - ua, neutral=0.02, n=200),), "retained": tuple(shares),
        "variants": (), "pictures": PictureCounts(target=200, retained=480, neutral=200), "seeds_from": 0,
        "protocol": Protocol(
            name="catalog", variant="uc-cross-excl", template="a picture", sampler={"steps": 20, "size": 64}, classifier="none",
        ),
    }  # fmt: skip
    return Evaluation(**{**fields, **other})


def cell(
    entrant: str,
    concept: str | Sequence[str],
    seed: int = 0,
    *,
    information: CellInformation | str | None = "some",
    seconds: float | None = 12.5,
    machine: str = "x86_64, 2 cores",
    **figures: Any,
) -> Cell:
    """A benchmark's cell; by default its words were measured, but what they leave is undefined."""
    concepts = (concept,) if isinstance(concept, str) else tuple(concept)
    return Cell(
        **_about(entrant, concepts, seed), base_fingerprint={"float32": "a" * 64}, evaluation=evaluation(concepts[0], **figures),
        information=words(concepts[0]) if isinstance(information, str) else information, seconds=seconds, edit_mb=2.06,
        versions={"excise": "0.1.0"}, machine=machine,
    )  # fmt: skip


def failed(entrant: str, concept: str, seed: int = 0, error: str = "no") -> Cell:
    """A cell whose erasure failed."""
    return Cell(**_about(entrant, (concept,), seed), error=error, traceback="...")


def _about(entrant: str, concepts: Sequence[str], seed: int) -> dict[str, Any]:
    settings = {"lr": 0.001, "words": ["a", "b"]}
    about = {"method": entrant.partition(":")[0], "entrant": entrant, "concepts": concepts, "seed": seed, "model": "canvas"}
    return {**about, "settings": settings}


def write_bench(
    folder: Path, entrants: Sequence[str] = ENTRANTS, concepts: Sequence[str] = CONCEPTS, sheets: bool = True
) -> Path:
    """A folder of `excise bench`: each entrant keeps less than the one before, and the last one fails on the last concept."""
    asked = {"target_pictures": 200, "other_pictures": 24, "quality": True}
    Grid(model="canvas", dtype="float32", suite="canvas", base={}, **asked).write(folder / "bench.json")
    for place, entrant in enumerate(entrants):
        for number, concept in enumerate(concepts):
            noise = Random(f"{entrant} {concept}").uniform(-0.02, 0.02)
            path = folder / "cells" / f"m{place:02}" / f"c{number:02}-s0.json"
            made = cell(entrant, concept, ua=0.97 - 0.02 * place + noise, kept=max(0.2, 0.97 - 0.05 * place + noise))
            if (place, number) == (len(entrants) - 1, len(concepts) - 1):
                made = failed(entrant, concept, error="FloatingPointError: the loss is not a number")
            elif sheets:
                write_picture(path.with_suffix(".png"))
            made.write(path)
    return folder


def write_erasure(folder: Path, name: str = "cat", **other: Any) -> Path:
    """A folder of `excise erase`."""
    fields: dict[str, Any] = {"evaluation": evaluation(f"object:{name}"), "told": {"bytes": 2162688, "rank": 4}, **other}
    result = ErasureResult(
        model="canvas", method="mim", concepts=(f"object:{name}",), seed=0, seconds=12.5, peak_mb=900.0, **fields
    )
    result.write(folder / "result.json")
    write_json(
        folder / "edit.json",
        {
            "format": 1, "kind": "weights", "model": "canvas", "base": {"float32": "b" * 64}, "method": "mim",
            "concepts": [{"name": name, "kind": "object", "phrases": [f"a {name}"]}], "settings": {"lr": 0.001, "target": "masked"},
            "seed": 0, "versions": {"excise": "0.1.0"}, "weights_sha256": "c" * 64, "measurements": result.to_dict(), "ledger": [],
        },
    )  # fmt: skip
    write_picture(folder / "before_after.png")
    return folder


def outcome(pre: int = 0, broken: int = 0, n: int = 24, **values: Any) -> Outcome:
    """What came of an attack on one model."""
    spent = {"untried": 0, "calls": 5760, "forwards": 5760, "backwards": 0, "encodes": 2, "seconds": 61.3, "weights": "e" * 64}
    return Outcome(**dict(Success.of(pre, broken, n)), **{**spent, **values})


def attack(text: str, compared: Compared | None = None, note: str = "", **values: Any) -> AttackResult:
    """An attack of the registry, in an audit; with nothing compared it was not made."""
    known = registered(text.partition(":")[0])
    about = {"attack": known.name, "title": known.title, "paper": known.paper, "means": known.means, "supplies": known.supplies}
    made: dict[str, Any] = {"settings": {}, "budget": 8000, "seed": 0, **about, **values}
    return AttackResult(text=text, compared=compared, note=note, **made)


def compared(verdict: Verdict, erased: Outcome, **controls: Outcome) -> Compared:
    """The erased model beside these controls."""
    above = {name: difference(erased.rate, control.rate) for name, control in controls.items()}
    return Compared.model_validate({"verdict": verdict, "above": above, "erased": erased, "controls": controls})


def audit(
    *attacks: AttackResult, concept: str = "object:cat", erased: int = 0, prompts: int = 24, verdict: PlainVerdict = "erased",
    **controls: int,
) -> AuditFile:  # fmt: skip
    """An audit with these attacks, and so many plain prompts of each model that show the concept."""
    about = AuditSetup(
        model="canvas", base="d" * 64, edits=(AuditedEdit(method="mim", erases=(concept,), sha256="c" * 64),), concept=concept,
        phrases=(f"a {concept.partition(':')[2]}",), prompts=prompts, seed=0, sampler={"steps": 20}, detector="f" * 64,
    )  # fmt: skip
    shown = {name: Success.of(count, 0, prompts) for name, count in controls.items()}
    plain = Plain.model_validate({"erased": Success.of(erased, 0, prompts), "controls": shown, "verdict": verdict})
    return AuditFile(about=about, plain=plain, attacks=attacks, limits=LIMITS)


def write_audit(folder: Path, name: str = "cat") -> Path:
    """A folder of `excise audit`: one attack that revives, one that was not made."""
    found = compared("revived", outcome(broken=12), neutral=outcome(broken=1))
    guidance = attack("guidance", found, settings={"kappas": [-1.0, 3.0]})
    lora = attack("lora", note="it needs the model from before the erasure")
    audit(guidance, lora, concept=f"object:{name}", neutral=1).write(folder / "audit.json")
    guidance.write(folder / "attacks" / "guidance.json")
    write_picture(folder / "attacks" / "guidance.png", rows=3)
    return folder


def write_measurement(path: Path, name: str = "cat") -> Path:
    """What `excise measure --json` writes, with an edit."""

    def estimate(value: float) -> Figure:
        return figure(value, abs(value) / 10, abs(value) / 10)

    def forms(value: float) -> Forms:
        return Forms(orthogonal=estimate(value), plain=estimate(value / 2), steering=estimate(1.1), floor=0.02, at_floor=False)

    def reading(label: str, base: float, edited: float, **other: Any) -> ConceptReading:
        words = Reading(
            base=forms(base), edited=forms(edited), share_left=estimate(edited / base), steering=estimate(0.01), alignment=None
        )
        return ConceptReading(
            concept=label, pictures=40, source="made by canvas at guidance 1", prompts=(f"a {label}",), conditional=words,
            unconditional=words, destruction=estimate(-0.07), rest_loss=estimate(0.1), **other,
        )  # fmt: skip

    others = (reading("object:dog", 9.7, 4.7), reading("style:sketch", 8.0, 7.9))
    kept = [
        NamedFigure(concept=label, **dict(estimate(value))) for label, value in (("object:dog", 0.48), ("style:sketch", 0.99))
    ]
    Measurement(
        model="canvas", edits=("uce",), concepts=(reading(f"object:{name}", 12.3, 0.18, curve=CURVE, maps=MAPS),), others=others,
        collateral=Collateral(mean=estimate(0.735), worst=kept[0], kept=tuple(kept)), settings=SETTINGS, seconds=43.7,
    ).write(path)  # fmt: skip
    return path


def write_variation(path: Path, name: str = "cat") -> Path:
    """What `excise vary --json` writes."""

    def share(value: float) -> Figure:
        return Figure(value=value, low=value / 2, high=(1 + value) / 2, n=64)

    rows = [
        ("wording", "plain", 0.95, 0.05, 0.04),
        ("guidance", "10", 0.98, 0.2, 0.05),
        ("image to image", "0.3", 1.0, 0.9, 0.95),
    ]
    conditions = tuple(
        AskedOtherwise(group=group, name=how, prompt=f"a {name}", n=64, base=share(a), edited=share(b), neutral=share(c))
        for group, how, a, b, c in rows
    )
    edit = EditIdentity(name="mim", concepts=(f"object:{name}",), params={}, artefact_hash="c" * 64)
    made = Provenance(
        model="canvas",
        base_fingerprint={"float32": "a" * 64},
        edits=(edit,),
        seed=0,
        dtype="float32",
        device="cpu",
        versions={},
    )
    Variation(concept=f"object:{name}", provenance=made, conditions=conditions).write(path)
    return path


def write_queue(folder: Path, name: str = "cat") -> Path:
    """What `excise queue run` writes: a concept was erased, another one on top of it, and the first one was given back."""
    first, second = f"object:{name}", "style:sketch"
    steps = tuple(RemovalStep(name=f"step-{n}", works=(f"{n}",), concepts=(each,), method="mim", below=(), separable=False, seconds=9.5)
                  for n, each in enumerate((first, second)))  # fmt: skip
    records = tuple(
        RemovalRecord(key=each, concept=each, phrases=(f"a {name}",), reason=f"letter about {name}", method="mim", settings={}, work=f"{n}",
                      state="served" if n else "withdrawn", step=f"step-{n}", served="2026-03-17", withdrawn=None if n else "2026-03-18",
                      given_back=None if n else "by erasing others anew")
        for n, each in enumerate((first, second))
    )  # fmt: skip
    left = [
        ConceptShares(concept=each, base=0.96, edited=edited, neutral=0.02, n=200)
        for each, edited in ((first, 0.12), (second, 0.05))
    ]
    both = evaluation(second, targets=tuple(left), kept=0.8)
    points = (
        ErosionPoint(steps=("step-0",), concepts=(first,), drift=0.01, evaluation=evaluation(first)),
        ErosionPoint(steps=("step-0", "step-1"), concepts=(first, second), drift=0.02, evaluation=both),
        ErosionPoint(steps=("step-1",), concepts=(second,), drift=0.015, note="no evaluation was asked for"),
    )
    ledger = RemovalLedger(model="canvas", strategy="sequential", seed=0, records=records, steps=steps[1:], points=points)
    folder.mkdir(parents=True, exist_ok=True)
    ledger.write(folder / "queue.json")
    return folder


def write_upscaled(folder: Path, name: str = "cat") -> Path:
    """What `excise upscale` writes: two pictures, of which one was lost since."""
    made = Provenance(
        model="canvas", base_fingerprint={"float32": "a" * 64}, seed=0, dtype="float32", device="cpu", versions={},
        edits=(EditIdentity(name="mim", concepts=(f"object:{name}",), params={}, artefact_hash="c" * 64),),
    )  # fmt: skip
    pictures = tuple(
        UpscaledPicture(file=file, source=f"{name}.jpg", sha256="d" * 64, low_width=16, low_height=16, width=64, height=64)
        for file in ("cat.png", "cat-2.png")
    )
    settings = UpscaleSettings(
        restorer="e" * 64, scale=4, steps=20, scheduler="DDIMScheduler", fidelity=0.5, colour="wavelet", tile=64, overlap=32
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_picture(folder / "cat.png")
    UpscaleFile(settings=settings, provenance=made, pictures=pictures, seconds=9.5).write(folder / "upscale.json")
    return folder


def write_everything(folder: Path) -> Path:
    """One of each, a concept and a method of every hostile name among them: 14 cells, the last of the grid failed."""
    bench = write_bench(folder / "bench", ("mim", *HOSTILE), ("object:cat", "style:sketch"))
    for number, name in enumerate(HOSTILE):
        path = bench / "cells" / "m00" / f"hostile{number}-s0.json"
        cell("mim", f"object:{name}").write(path)
        write_picture(path.with_suffix(".png"))
    for name in ("cat", HOSTILE[0]):
        number = str(HOSTILE.index(name)) if name in HOSTILE else name
        write_erasure(folder / f"edit {number}", name)
        write_audit(folder / f"edit {number}-audit", name)
        write_measurement(folder / f"nats {number}.json", name)
        write_variation(folder / f"asked {number}.json", name)
        write_queue(folder / f"queue {number}", name)
        write_upscaled(folder / f"upscaled {number}", name)
    return folder


def write_picture(path: Path, rows: int = 2, columns: int = 6) -> None:
    """A sheet of discs in seeded colours: no picture of a model, but as large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random, edge = Random(rows), 132
    sheet = Image.new("RGB", (56 + columns * edge, 24 + rows * edge), "white")
    pen = ImageDraw.Draw(sheet)
    for row in range(rows):
        pen.text((8, 24 + row * edge + edge // 2), ("base", "edited", "attacked")[row], fill="black")
        for column in range(columns):
            left, top = 56 + column * edge, 24 + row * edge
            colours = [f"#{random.randrange(0x404040, 0xFFFFFF):06x}" for _ in range(2)]
            pen.rectangle((left, top, left + 127, top + 127), fill=colours[0])
            pen.ellipse((left + 24, top + 24, left + 104, top + 104), fill=colours[1])
    sheet.save(path)
