"""UnlearnCanvas as a suite: 51 x 20 x 5 pictures of a model, two vision transformers, one erased target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from excise import bounds
from excise.evaluation.suites import Suite
from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.suites.unlearncanvas import variants as uc
from excise.hints import nearest
from excise.quoting import quoted
from excise.registry import Door
from excise.settings import Settings


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
    steps: int = Field(100, ge=1, le=bounds.STEPS, description="of the sampler")
    guidance: float = Field(9.0, ge=1, le=bounds.STRENGTH, description="classifier-free guidance scale")
    size: int = Field(512, ge=8, le=bounds.EDGE, description="edge of the pictures in pixels")

    @model_validator(mode="after")
    def _known(self) -> UnlearnCanvasSettings:
        for names, known in ((self.styles, uc.STYLES_51), (self.objects, uc.OBJECTS_20)):
            for name in names:
                if name not in known:
                    raise ValueError(f"UnlearnCanvas has no {quoted(name)}; {nearest(name, known)}")
            if len(set(names)) < len(names) or not names:
                raise ValueError("styles and objects must be named once each, and there must be some")
        if len(set(self.seeds)) < len(self.seeds) or not self.seeds:
            raise ValueError("seeds must be different, and there must be some")
        if (pictures := len(self.styles) * len(self.objects) * len(self.seeds)) > bounds.PICTURES:
            raise ValueError(f"{pictures} pictures are asked for, more than {bounds.PICTURES}")
        kind, name = uc.split_target(self.target)
        if name not in (self.styles if kind == "style" else self.objects):
            raise ValueError(f"the target {quoted(self.target)} is not among the {kind}s")
        return self


def items(settings: UnlearnCanvasSettings) -> list[PromptItem]:
    """A picture for every style, object and seed."""
    s = settings
    return uc.items(uc.VARIANTS[s.variant], s.styles, s.objects, s.seeds, s.guidance, s.steps, s.size)


def needs(settings: UnlearnCanvasSettings) -> tuple[str, ...]:
    """Both classifiers, whatever the settings."""
    return ("uc_style", "uc_object")


SUITE = Suite(
    "unlearncanvas",
    title="UnlearnCanvas: UA, IRA and CRA of a style or an object",
    source="arXiv:2402.11846",
    settings=UnlearnCanvasSettings,
    items=items,
    needs=needs,
    load=Door("excise.evaluation.suites.unlearncanvas.scoring", "load"),
    score=Door("excise.evaluation.suites.unlearncanvas.scoring", "score"),
    weights=("uc_style", "uc_object"),
    files="the benchmark's Stable Diffusion 1.5 as the model",
)
