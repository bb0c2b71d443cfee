"""Residual information of concepts in a model, before and after edits, from names and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from excise.concepts import Catalog, Concept
from excise.files import write_json
from excise.jobs.inputs import check_new_file, check_seed, erased_concepts, load_base, read_edits
from excise.jobs.provenance import provenance
from excise.models.names import describe, resolve
from excise.progress import Progress, silent

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.information import Measurement
    from excise.information.picture_sets import PictureSet
    from excise.models import Model

BUDGET = 16_000
"""Network evaluations of a default run, as in `excise.information.budget` (which loads torch)."""

BESIDE = 8_000
"""Network evaluations of the measurement that comes with an erasure: 20 s for the canvas on two CPU cores (ours)."""

NONE = "none"


def measure(
    concepts: str | Sequence[str] = (),
    *,
    edit: str | Path | Sequence[str | Path] = (),
    against: str | Sequence[str] | None = None,
    model: str | Path = "canvas",
    base: str | Path | None = None,
    kind: str | None = None,
    pictures: str | Path | None = None,
    phrasings: Literal["plain", "all"] = "plain",
    budget: int = BUDGET,
    seed: int = 0,
    json: str | Path | None = None,
    figure: str | Path | None = None,
    curves: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> Measurement:
    """How many nats the words of concepts still say about pictures.

    concepts  what to measure; default what the edits say they erase
    edit      folders of edits, measured together
    against   other concepts, whose loss is measured; default every other object and style that the model declares (with an edit or a
              base to compare with), "none" for none
    model     the model; with `base`, one that was erased elsewhere (for example a folder, or a file with some of the U-Net's tensors)
    base      the model that it was made from
    pictures  folder with real pictures in `NAME/*.png`; default: the base model makes them
    phrasings "plain" prompts, or "all" templates, synonyms and members
    budget    network evaluations
    json      file for all numbers, curves and maps
    figure    .png or .svg file for the heat maps; curves: the same for nats by noise level

    Raises ValueError, FileNotFoundError or FileExistsError for bad input, before any weight is loaded where that can be known.
    """
    check_seed(seed)
    for path in (json, figure, curves):
        check_new_file(path, overwrite)
    for path in (figure, curves):
        if path is not None and Path(path).suffix.lower() not in (".png", ".svg"):
            raise ValueError(f"{path} should end in .png or .svg")
    edits = read_edits(edit)
    catalog = describe(resolve(model if base is None else base)).catalog
    named = [concepts] if isinstance(concepts, str) else list(concepts)
    targets = [catalog.resolve(text, kind) for text in named] or erased_concepts(edits, catalog)
    if not targets:
        raise ValueError("nothing to measure: name a concept, or give an edit")
    others = _others(catalog, targets, against, compared=bool(edits) or base is not None)
    loaded, edits = _load(model, base, edits, device, dtype, progress)
    found = _measure(loaded, targets, others, edits, pictures, phrasings, budget, seed, progress)
    if json is not None:
        write_json(Path(json), {**found.to_dict(), "provenance": provenance(loaded, edits, seed)})
    _draw(found, figure, curves)
    return found


def residual(
    model: Model,
    targets: Sequence[Concept],
    edit: Edit,
    *,
    budget: int,
    seed: int = 0,
    full: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What an edit left of its concepts, in nats, and what the other objects and styles that the model declares keep; for its manifest.

    budget  network evaluations; more are spent where that would not pay for a picture of every concept
    full    with curves and maps
    """
    from excise.information import measure
    from excise.information.budget import least_budget

    others = _others(model.catalog, targets, None, compared=True)
    least = least_budget(targets, others, models=2, making=model.sampler.steps, given={})
    found = measure(model, targets, edit=edit, against=others, budget=max(budget, least), seed=seed, progress=progress)
    return found.to_dict(full=full)


def diff(
    base: str | Path,
    erased: str | Path,
    *,
    out: str | Path,
    concept: str | Sequence[str] = (),
    kind: str | None = None,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> Edit:
    """Write what was changed in `base` to make `erased` as an edit's folder, which is then applied, measured and removed like any other.

    base, erased names or paths of models; `erased` may be a file with some of the U-Net's tensors
    concept      what was erased, for the manifest
    dtype        what both are loaded in: the edit is the difference of these weights

    Raises ValueError if one is not a form of the other or nothing differs, or for an unknown dtype or device, FileExistsError if `out`
    is there.
    """
    from excise.files import check_replaceable
    from excise.jobs.checkpoints import MARKER

    check_replaceable(Path(out), MARKER, overwrite)
    catalog = describe(resolve(base)).catalog
    named = [concept] if isinstance(concept, str) else concept
    concepts = tuple(catalog.resolve(text, kind) for text in named)
    _, edits = _load(erased, base, [], device, dtype, progress, concepts)
    edits[0].save_pretrained(out, overwrite=overwrite)
    return edits[0]


def _others(
    catalog: Catalog, targets: Sequence[Concept], against: str | Sequence[str] | None, *, compared: bool
) -> list[Concept]:
    if against is None:
        labels = {target.label for target in targets}
        declared = [*catalog.of_kind("object"), *catalog.of_kind("style")] if compared else []
        return [concept for concept in declared if concept.label not in labels]
    named = [against] if isinstance(against, str) else list(against)
    return [] if named == [NONE] else [catalog.resolve(text) for text in named]


def _load(
    model: str | Path,
    base: str | Path | None,
    edits: list[Edit],
    device: str | None,
    dtype: str,
    progress: Progress,
    concepts: Sequence[Concept] = (),
) -> tuple[Model, list[Edit]]:
    """The model to measure and its edits. With a base it is the base, and what makes it the other model is an edit: one network stays."""
    from excise.edits.importing import import_edit, is_partial
    from excise.models import load

    if edits and base is not None:
        raise ValueError("give edits, or a base for a model that was erased elsewhere, not both")
    progress("loading the model", 0, 1)
    if base is None:
        loaded = load_base(model, edits, device, dtype)
    else:
        loaded = load(base, device=device, dtype=dtype)
        erased = model if is_partial(model) else load(model, device=device, dtype=dtype)
        edits = [import_edit(loaded, erased, concepts=tuple(concept.to_dict() for concept in concepts))]
    progress("loading the model", 1, 1)
    return loaded, edits


def _measure(
    model: Model,
    targets: Sequence[Concept],
    others: Sequence[Concept],
    edits: Sequence[Edit],
    pictures: str | Path | None,
    phrasings: Literal["plain", "all"],
    budget: int,
    seed: int,
    progress: Progress,
) -> Measurement:
    from excise.information import measure, read_pictures

    given: Mapping[str, PictureSet] = read_pictures(model, pictures, [*targets, *others]) if pictures is not None else {}
    return measure(
        model, targets,
        edit=list(edits), against=others, pictures=given, budget=budget, seed=seed, phrasings=phrasings, progress=progress,
    )  # fmt: skip


def _draw(found: Measurement, figure: str | Path | None, curves: str | Path | None) -> None:
    if figure is None and curves is None:
        return
    from excise.information.heat_map import heat_map_figure, save_figure
    from excise.report.plots import curves as curve_figure

    if figure is not None:
        save_figure(heat_map_figure(found), figure)
    if curves is not None and (drawn := curve_figure(found.to_dict()["concepts"])):
        save_figure(drawn, curves)
