"""UnlearnCanvas as a suite: 51 x 20 x 5 pictures of a model, two vision transformers, one erased target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from excise.evaluation.suites.detections import detect
from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.suites.suite import Figure, Score, Suite, register
from excise.evaluation.suites.unlearncanvas import protocol as uc
from excise.evaluation.weights import find
from excise.hints import nearest
from excise.settings import Settings

if TYPE_CHECKING:
    from excise.evaluation.suites.answer_set import AnswerSet
    from excise.evaluation.suites.classifier_networks import TransformerJudge
    from excise.progress import Progress


def _words(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_words)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_words)]


class UnlearnCanvasSettings(Settings):
    """The benchmark's own sampler and seeds by default."""

    target: str = Field(description="what was erased: style:Van_Gogh, object:Dogs, ...")
    variant: Literal["uc", "uc-script", "uc-incl-seed", "uc-cross-excl", "saeuron", "cuig"] = Field(
        "uc", description="which pictures count, and the prompts"
    )
    styles: Names = Field(uc.STYLES_51, description="a part of the 51 themes; not comparable with published rows")
    objects: Names = Field(uc.OBJECTS_20, description="a part of the 20 objects")
    seeds: Numbers = Field(uc.SEEDS, description="one picture of every pair for each")
    steps: int = Field(100, ge=1, description="of the sampler")
    guidance: float = Field(9.0, ge=1, description="classifier-free guidance scale")
    size: int = Field(512, ge=8, description="edge of the pictures in pixels")

    @model_validator(mode="after")
    def _known(self) -> UnlearnCanvasSettings:
        for names, known in ((self.styles, uc.STYLES_51), (self.objects, uc.OBJECTS_20)):
            for name in names:
                if name not in known:
                    raise ValueError(f"UnlearnCanvas has no {name!r}; {nearest(name, known)}")
            if len(set(names)) < len(names) or not names:
                raise ValueError("styles and objects must be named once each, and there must be some")
        if len(set(self.seeds)) < len(self.seeds) or not self.seeds:
            raise ValueError("seeds must be different, and there must be some")
        kind, name = uc.split_target(self.target)
        if name not in (self.styles if kind == "style" else self.objects):
            raise ValueError(f"the target {self.target!r} is not among the {kind}s")
        return self


@register
class UnlearnCanvas(Suite):
    """UA, IRA and CRA of one target."""

    name = "unlearncanvas"
    title = "UnlearnCanvas: UA, IRA and CRA of a style or an object"
    source = "arXiv:2402.11846"
    settings = UnlearnCanvasSettings
    weights = ("uc_style", "uc_object")
    files = "the benchmark's Stable Diffusion 1.5 as the model"

    def items(self, settings: UnlearnCanvasSettings) -> list[PromptItem]:
        s, variant = settings, uc.VARIANTS[settings.variant]
        return uc.items(variant, s.styles, s.objects, s.seeds, s.guidance, s.steps, s.size)

    def tools(self, settings: UnlearnCanvasSettings, weights: Mapping[str, str | Path]) -> TransformerJudge:
        found = {"style": find("uc_style", weights), "object": find("uc_object", weights)}
        from excise.evaluation.suites.classifier_networks import TransformerJudge, VisionTransformer

        classes = {"style": uc.STYLES_51, "object": uc.OBJECTS_20}
        return TransformerJudge({q: VisionTransformer.of(found[q], classes[q]) for q in found}, found)

    def score(
        self, settings: UnlearnCanvasSettings, tools: Any, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *,
        allow_partial: bool,
    ) -> Score:  # fmt: skip
        said: dict[uc.Key, tuple[str, str]] = {}
        for picture, answer in detect(answers, tools, progress, allow_partial=allow_partial):
            tags = picture.item.tags
            seen = uc.STYLES_51[answer["style"]], uc.OBJECTS_20[answer["object"]]
            said[(tags["style"], tags["object"], picture.item.seed)] = seen
        variant = uc.VARIANTS[settings.variant]
        figures, accuracies = uc.score(said, settings.target, variant, settings.styles, settings.objects)
        return Score(
            figures,
            {"per_concept": {label: figure.to_dict() for label, figure in accuracies.items()}, **self._others(settings, said)},
            {**tools.about, "variant": settings.variant, "counts": variant.counts},
            self._warnings(settings),
        )

    def _others(self, settings: UnlearnCanvasSettings, said: uc.Said) -> dict[str, Any]:
        """The same pictures by the other denominators, where the prompts are the same."""
        prompts = uc.VARIANTS[settings.variant].prompt
        found: dict[str, dict[str, Any]] = {}
        for name, variant in uc.VARIANTS.items():
            if variant.prompt == prompts and not variant.plain:
                figures: Mapping[str, Figure] = uc.score(said, settings.target, variant, settings.styles, settings.objects)[0]
                found[name] = {key: figure.to_dict() for key, figure in figures.items()}
        return {"variants": found}

    def _warnings(self, settings: UnlearnCanvasSettings) -> Sequence[str]:
        changed = [
            name for name, field in UnlearnCanvasSettings.model_fields.items()
            if name not in ("target", "variant") and getattr(settings, name) != field.default
        ]  # fmt: skip
        return [f"not comparable with published rows: {', '.join(changed)} differ from the benchmark's"] if changed else []
