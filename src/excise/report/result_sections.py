"""Sections of the page about single results: an erasure, an audit, a measurement, a student, restored pictures, suites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from excise.edits.manifest import Manifest
from excise.report import audit_table as audits
from excise.report import (
    downstream_table,
    information_table,
    plain_words,
    result_table,
    student_table,
    suite_table,
    upscale_table,
    variation_table,
    worded_table,
)
from excise.report.folder_reader import AuditFolder, ErasureFolder
from excise.report.page_parts import Drawer, Section, Table, picture, sentence, where
from excise.results.audit_result import AuditFile
from excise.results.erasure import ErasureResult
from excise.results.evaluation import ConceptShares, Evaluation
from excise.results.information import Measurement
from excise.results.student import StudentFile
from excise.results.suite_result import SuiteResult
from excise.results.upscaled import UpscaleFile
from excise.results.variation import Variation

SHOWN = 6
"""Restored pictures that a section shows (ours): pages stay small."""


def erasure(found: ErasureFolder, root: Path) -> Section:
    """An edit and what was measured of it, or an evaluation alone."""
    result, manifest = found.result, found.manifest
    evaluation = result.evaluation if result else None
    names = ", ".join(found.concepts) or "the concept"
    pictures = []
    if found.picture:
        alt = f"Base model above, the model with {names} erased below, same prompts and seeds"
        pictures.append(picture(found.picture, alt, "Base model above, edited model below; same prompts, same seeds."))
    model = manifest.model if manifest else result.model if result else None
    return Section(
        f"{names} removed from {model}" if model else f"Evaluation: {names}",
        "erasure" if manifest else "evaluation",
        where(found.path, root),
        _said(found),
        pictures,
        _measured(result) if result else [],
        [*(_notes(evaluation) if evaluation else []), *_hurried(result)],
        _facts(manifest, result),
        lead=plain_words.summary(found.concepts, model or "the model", result),
    )


def _notes(evaluation: Evaluation) -> list[str]:
    """What is to be known of the tables."""
    told = [f"95 % intervals in brackets; pictures: {result_table.counts(evaluation)}."]
    if task := evaluation.downstream:
        told += [f"Super-resolution: {sentence('; '.join(downstream_table.lines(task)))}", downstream_table.NOTE]
    return told


def _hurried(result: ErasureResult | None) -> list[str]:
    """What is to be known of a quick evaluation."""
    quick = result is not None and result.extent == "quick" and (result.evaluation or result.information)
    return [sentence(result_table.QUICK)] if quick else []


def _facts(manifest: Manifest | None, result: ErasureResult | None) -> dict[str, object]:
    """What made the edit and what measured it."""
    kept = manifest.model_dump(exclude={"measurements", "format"}, exclude_unset=True) if manifest else {}
    measured: dict[str, object] = {}
    if result and result.evaluation:
        evaluation = result.evaluation
        counts = {**evaluation.pictures.model_dump(exclude_none=True), "seeds_from": evaluation.seeds_from}
        measured = {"protocol": evaluation.protocol.model_dump(exclude_none=True), "n": counts}
    if result:
        measured["seed"] = result.seed
    return {**kept, "measured": measured}


def audit(found: AuditFolder, root: Path) -> Section:
    """Every attack with its controls, and the best pictures of each."""
    told, concept = found.found, found.found.about.concept
    pictures = []
    for attack in told.attacks:
        if path := found.pictures.get(attack.text):
            alt = f"{attack.title} on {concept}: rows of pictures of the models, attacked and not, at the same seeds"
            pictures.append(
                picture(path, alt, f"{attack.title}: {audits.came_to(attack)}. Best pictures first; same seed in each column.")
            )
    settings = {attack.text: {"budget": attack.budget, **attack.settings} for attack in told.attacks}
    return Section(
        f"Audit: {concept}",
        "audit",
        where(found.path, root),
        [sentence(line) for line in audits.lines(told)[: -len(audits.LIMITS)]],
        pictures,
        [Table("Success of attacks", audits.COLUMNS, audits.table(told)), *_worded(told)],
        told.limits,
        {"about": told.about.model_dump(mode="json", exclude_none=True), "attacks": settings},
    )


def _worded(found: AuditFile) -> list[Table]:
    """Other wordings, kind by kind and each."""
    return [
        table
        for text, compared in worded_table.titles(found)
        for table in (
            Table(f"Worded otherwise ({text}), by kind", worded_table.COLUMNS, worded_table.table(compared)),
            Table(f"Worded otherwise ({text}), each", worded_table.EACH, worded_table.each(compared)),
        )
    ]


def measurement(found: Measurement, path: Path, root: Path, draw: Drawer) -> Section:
    """Residual information: the words' nats, where along the path and where in the picture."""
    from excise.report import plots

    names = ", ".join(reading.concept for reading in found.concepts)
    pictures = draw(
        plots.curves(found.concepts),
        f"curves-{path.stem}",
        f"Nats by noise level of {names}, in every model measured",
        "Where along the noise path the words are heard.",
    ) + draw(
        plots.maps(found.concepts),
        f"maps-{path.stem}",
        f"Nats by place in the picture of {names}; the totals are in the titles",
        "Where in the picture the words are seen: mean over pictures, orthogonal form.",
    )
    of = ", ".join(found.edits) or found.model
    return Section(
        f"Information left: {names}, {of}",
        "measurement",
        where(path, root),
        [sentence(line) for line in information_table.lines(found)],
        pictures,
        [Table("Residual information", information_table.columns(found), information_table.table(found))],
        ["Nats per picture, given the rest of the prompt; 95 % intervals in brackets."],
        {"model": found.model, "edits": found.edits, "settings": found.settings.model_dump()},
    )


def variation(found: Variation, path: Path, root: Path) -> Section:
    """The concept asked for in other words, with other samplers, from its pictures."""
    return Section(
        f"Asked otherwise: {found.concept}",
        "wording and sampling",
        where(path, root),
        [sentence(line) for line in variation_table.lines(found)],
        tables=[Table("Ways to ask", variation_table.COLUMNS, variation_table.table(found))],
        notes=[variation_table.NOTE],
        facts={"concept": found.concept, **found.provenance.model_dump()},
    )


def student(found: StudentFile, path: Path, root: Path) -> Section:
    """A model with fewer blocks than its base, or one that learned from a teacher."""
    return Section(
        f"Student: {found.model.model}",
        "pruned model",
        where(path, root),
        [sentence(line) for line in student_table.lines(found)],
        tables=[
            Table(f"Distillation {number}", student_table.COLUMNS, student_table.table(learned))
            for number, learned in enumerate(found.distilled, 1)
        ],
        notes=[student_table.NOTE] if found.distilled else [],
        facts={
            **found.model.model_dump(),
            "distilled": [learned.model_dump(exclude={"rounds"}) for learned in found.distilled],
        },
    )


def upscaled(found: UpscaleFile, path: Path, root: Path) -> Section:
    """Pictures that were restored; the first of them are shown."""
    shown = [each for each in found.pictures if (path / each.file).is_file()][:SHOWN]
    return Section(
        f"Restored pictures: {found.provenance.model}",
        "upscaling",
        where(path, root),
        [sentence(line) for line in upscale_table.lines(found)],
        [
            picture(path / each.file, f"{each.source}, restored", f"{each.source}, {each.width} x {each.height} pixels")
            for each in shown
        ],
        [Table("Pictures", upscale_table.COLUMNS, upscale_table.table(found))],
        [upscale_table.NOTE],
        {"settings": found.settings.model_dump(), **found.provenance.model_dump()},
    )


def protocols(found: Mapping[Path, SuiteResult], root: Path) -> Section:
    """Results of suites side by side."""
    columns, rows, notes = suite_table.table(suite_table.rows_of(list(found.values())))
    facts = {where(path, root): result.model_dump(exclude={"format", "kind", "metrics"}) for path, result in found.items()}
    return Section(
        "Published protocols", "suites", "", tables=[Table("Results of suites", columns, rows)], notes=notes, facts=facts
    )


def _said(found: ErasureFolder) -> list[str]:
    """What there is to say beside the one sentence."""
    result, manifest = found.result, found.manifest
    method = manifest.method if manifest else result.method if result else None
    evaluation, information = (result.evaluation, result.information) if result else (None, None)
    told: Mapping[str, object] = result.told if result else {**manifest.measurements} if manifest else {}
    return [
        plain_words.NO_PROMISE if evaluation else "",
        plain_words.without_words(evaluation) if evaluation else "",
        plain_words.bystanders(evaluation) if evaluation else "",
        *([sentence(line) for line in information_table.lines(information)] if information else []),
        *plain_words.learned(told),
        f"Method: {method}." if method else "",
    ]


def _measured(result: ErasureResult) -> list[Table]:
    tables, evaluation, information = [], result.evaluation, result.information
    if evaluation:
        tables.append(Table("Before and after", result_table.COLUMNS, result_table.table(evaluation)))
        if quality := result_table.quality_table(evaluation):
            tables.append(Table("Pictures of what is kept", result_table.COLUMNS[:3], quality))
        if task := evaluation.downstream:
            tables.append(Table("Super-resolution on this model", downstream_table.COLUMNS, downstream_table.table(task)))
    if information:
        columns, rows = information_table.columns(information), information_table.table(information)
        tables.append(Table("What its words still say, nats per picture", columns, rows))
    if evaluation:
        columns = ("concept", "what became of it", "base model", "edited model", "pictures")
        tables.append(Table("By concept: share of pictures that show it", columns, _concepts(evaluation)))
    return tables


def _concepts(found: Evaluation) -> list[tuple[str, ...]]:
    """A row per concept, the erased ones first, then the kept ones and the bystanders from the worst on."""
    kept, beside = (
        sorted(shares, key=lambda each: each.edited / (each.base or 1))
        for shares in (found.retained, found.each_bystander or ())
    )
    return [
        *(_concept(each, "erased") for each in found.targets),
        *(_concept(each, "kept") for each in kept),
        *(_concept(each, "bystander") for each in beside),
    ]


def _concept(shares: ConceptShares, became: str) -> tuple[str, ...]:
    return shares.concept, became, result_table.percent(shares.base), result_table.percent(shares.edited), str(shares.n)
