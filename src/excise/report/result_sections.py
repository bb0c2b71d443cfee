"""Sections of the page about single results: an erasure, an audit, a measurement, suites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from excise.report import audit_table as audits
from excise.report import information_table, result_table, suite_table, variation_table
from excise.report.folder_reader import Audit, Erasure
from excise.report.page_parts import Drawer, Section, Table, picture, sentence, where


def erasure(found: Erasure, root: Path) -> Section:
    """An edit and what was measured of it, or an evaluation alone."""
    result, manifest = found.result, found.manifest
    names = ", ".join(found.concepts) or "the concept"
    model = manifest.get("model") or result.get("model")
    pictures = []
    if found.picture:
        alt = f"Base model above, the model with {names} erased below, same prompts and seeds"
        pictures.append(picture(found.picture, alt, "Base model above, edited model below; same prompts, same seeds."))
    measured = {key: result[key] for key in ("protocol", "n", "seed") if key in result}
    kept = {key: value for key, value in manifest.items() if key not in ("measurements", "format")}
    return Section(
        f"{names} removed from {model}" if model else f"Evaluation: {names}",
        "erasure" if manifest else "evaluation",
        where(found.path, root),
        [_removed(result, names), _cost(manifest, result), *_said(result)],
        pictures,
        _measured(result),
        [f"95 % intervals in brackets; pictures: {result_table.counts(result)}."] if result.get("n") else [],
        {**kept, "measured": measured},
    )


def audit(found: Audit, root: Path) -> Section:
    """Every attack with its controls, and the best pictures of each."""
    told, about = found.found, found.found.get("about")
    pictures = []
    for attack in told["attacks"]:
        if path := found.pictures.get(attack["text"]):
            alt = f"{attack['title']} on {told['concept']}: rows of pictures of the models, attacked and not, at the same seeds"
            verdict = attack.get("verdict", result_table.NOT_MEASURED)
            pictures.append(picture(path, alt, f"{attack['title']}: {verdict}. Best pictures first; same seed in each column."))
    settings = {
        attack["text"]: {"budget": attack.get("budget"), **(attack.get("settings") or {})} for attack in told["attacks"]
    }
    return Section(
        f"Audit: {told['concept']}",
        "audit",
        where(found.path, root),
        [sentence(line) for line in audits.lines(told)[: -len(audits.LIMITS)]],
        pictures,
        [Table("Success of attacks", audits.COLUMNS, audits.table(told))],
        told.get("limits") or audits.LIMITS,
        {"about": about, "attacks": settings},
    )


def measurement(content: Mapping[str, Any], path: Path, root: Path, draw: Drawer) -> Section:
    """Residual information: the words' nats, where along the path and where in the picture."""
    from excise.report import plots

    names = ", ".join(reading["concept"] for reading in content["concepts"])
    pictures = draw(
        plots.curves(content["concepts"]),
        f"curves-{path.stem}",
        f"Nats by noise level of {names}, in every model measured",
        "Where along the noise path the words are heard.",
    ) + draw(
        plots.maps(content["concepts"]),
        f"maps-{path.stem}",
        f"Nats by place in the picture of {names}; the totals are in the titles",
        "Where in the picture the words are seen: mean over pictures, orthogonal form.",
    )
    of = ", ".join(content["edits"]) or content["model"]
    return Section(
        f"Information left: {names}, {of}",
        "measurement",
        where(path, root),
        [sentence(line) for line in information_table.lines(content)],
        pictures,
        [Table("Residual information", information_table.columns(content), information_table.table(content))],
        ["Nats per picture, given the rest of the prompt; 95 % intervals in brackets."],
        {key: content.get(key) for key in ("model", "edits", "settings")},
    )


def variation(content: Mapping[str, Any], path: Path, root: Path) -> Section:
    """The concept asked for in other words, with other samplers, from its pictures."""
    facts = {key: value for key, value in content.items() if key != "conditions"}
    return Section(
        f"Asked otherwise: {content['concept']}",
        "wording and sampling",
        where(path, root),
        [sentence(line) for line in variation_table.lines(content)],
        tables=[Table("Ways to ask", variation_table.COLUMNS, variation_table.table(content))],
        notes=[variation_table.NOTE],
        facts=facts,
    )


def protocols(found: Mapping[Path, Mapping[str, Any]], root: Path) -> Section:
    """Results of suites side by side."""
    columns, rows, notes = suite_table.table(suite_table.rows_of(list(found.values())))
    facts = {where(path, root): {k: v for k, v in result.items() if k != "metrics"} for path, result in found.items()}
    return Section(
        "Published protocols", "suites", "", tables=[Table("Results of suites", columns, rows)], notes=notes, facts=facts
    )


def _removed(result: Mapping[str, Any], names: str) -> str:
    """What the numbers say, for a reader who knows none of their names."""
    base = (result.get("base") or {}).get("ua")
    if result.get("ua") is None or base is None:
        return f"Not measured: {result.get('note') or 'the folder holds no numbers'}."
    before, after = (f"{100 * (1 - ua):.1f} %" for ua in (base, result["ua"]))
    said = f"Asked for {names}, the base model shows it in {before} of pictures, the edited model in {after}."
    if result.get("neutral") is None:
        return said
    return f"{said} Without its words in the prompt the base model shows it in {100 * result['neutral']:.1f} %."


def _cost(manifest: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    method = manifest.get("method") or result.get("method")
    units = {"seconds": (1, "{:.1f} s"), "peak_mb": (1, "{:.0f} MiB of memory"), "bytes": (2**20, "{:.2f} MiB on disk")}
    parts = [form.format(result[key] / unit) for key, (unit, form) in units.items() if result.get(key) is not None]
    return f"Method {method}{': ' if parts else ''}{', '.join(parts)}." if method else ""


def _said(result: Mapping[str, Any]) -> list[str]:
    """What the words still say, in words, if that was measured."""
    return [sentence(line) for line in information_table.lines(result["information"])] if result.get("information") else []


def _measured(result: Mapping[str, Any]) -> list[Table]:
    tables = []
    if result.get("ua") is not None:
        tables.append(Table("Before and after", result_table.COLUMNS, result_table.table(result)))
    if quality := result_table.quality_table(result):
        tables.append(Table("Pictures of what is kept", result_table.COLUMNS[:3], quality))
    if information := result.get("information"):
        tables.append(
            Table(
                "What its words still say, nats per picture",
                information_table.columns(information),
                information_table.table(information),
            )
        )
    if concepts := _concepts(result):
        columns = ("concept", "what became of it", "base model", "edited model", "pictures")
        tables.append(Table("By concept: share of pictures that show it", columns, concepts))
    return tables


def _concepts(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per concept, the erased ones first, then the kept ones from the worst on."""
    kept = sorted((result.get("per_concept") or {}).items(), key=lambda each: each[1]["edited"] / (each[1]["base"] or 1))
    parts = [(label, "erased", found) for label, found in (result.get("per_target") or {}).items()]
    parts += [(label, "kept", found) for label, found in kept]
    return [
        (label, what, *(result_table.percent(shares[m]) for m in ("base", "edited")), str(shares["n"]))
        for label, what, shares in parts
    ]
