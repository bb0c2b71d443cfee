"""UnlearnCanvas's figures: UA, IRA and CRA of one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from excise.evaluation.suites.annotations import annotate
from excise.evaluation.suites.answer_set import AnswerSet
from excise.evaluation.suites.score import Score
from excise.evaluation.suites.unlearncanvas import UnlearnCanvasSettings, accuracies
from excise.evaluation.suites.unlearncanvas import variants as uc
from excise.evaluation.suites.unlearncanvas.vision_transformer import TransformerAnnotator, VisionTransformer
from excise.evaluation.weights import FoundWeights
from excise.progress import Progress
from excise.results.suite_result import SuiteFigures


def load(settings: UnlearnCanvasSettings, found: Mapping[str, FoundWeights]) -> TransformerAnnotator:
    """The classifiers of styles and of objects."""
    weights = {"style": found["uc_style"], "object": found["uc_object"]}
    classes = {"style": uc.STYLES_51, "object": uc.OBJECTS_20}
    return TransformerAnnotator({q: VisionTransformer.of(weights[q], classes[q]) for q in weights}, weights)


def score(
    settings: UnlearnCanvasSettings, tools: TransformerAnnotator, answers: AnswerSet, base: AnswerSet | None, progress: Progress,
    *, allow_partial: bool,
) -> Score:  # fmt: skip
    """The target's figures, and the accuracy of every retained concept."""
    said: dict[uc.Key, tuple[str, str]] = {}
    for picture, answer in annotate(answers, tools, progress, allow_partial=allow_partial):
        tags = picture.item.tags
        seen = uc.STYLES_51[answer["style"]], uc.OBJECTS_20[answer["object"]]
        said[(tags["style"], tags["object"], picture.item.seed)] = seen
    variant = uc.VARIANTS[settings.variant]
    figures, retained = accuracies.score(said, settings.target, variant, settings.styles, settings.objects)
    return Score(
        figures,
        {"per_concept": _told(retained), "variants": _others(settings, said)},
        {**tools.about, "variant": settings.variant, "counts": variant.counts},
        _warnings(settings),
    )


def _others(settings: UnlearnCanvasSettings, said: accuracies.Said) -> dict[str, Any]:
    """The same pictures by the other denominators, where the prompts are the same."""
    prompts = uc.VARIANTS[settings.variant].prompt
    alike = {name: variant for name, variant in uc.VARIANTS.items() if variant.prompt == prompts and not variant.plain}
    return {
        name: _told(accuracies.score(said, settings.target, variant, settings.styles, settings.objects)[0])
        for name, variant in alike.items()
    }


def _told(figures: SuiteFigures) -> dict[str, Any]:
    return {name: figure and figure.model_dump(exclude_none=True) for name, figure in figures.items()}


def _warnings(settings: UnlearnCanvasSettings) -> Sequence[str]:
    changed = [
        name for name, field in UnlearnCanvasSettings.model_fields.items()
        if name not in ("target", "variant") and getattr(settings, name) != field.default
    ]  # fmt: skip
    return [f"not comparable with published rows: {', '.join(changed)} differ from the benchmark's"] if changed else []
