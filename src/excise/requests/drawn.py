"""What all requests have in common for which pictures are made."""

from __future__ import annotations

from pydantic import Field

from excise import bounds
from excise.models.drawing import Drawing, LongPrompts
from excise.models.families import check_long_prompts, family_of
from excise.models.names import check_scheduler, resolve
from excise.requests.fields import Scheduler, Steps
from excise.requests.on_model import OnModel


class Drawn(OnModel):
    """How the model makes pictures; every default is its own."""

    steps: Steps
    guidance: float | None = Field(
        None, ge=0, le=bounds.STRENGTH, description="Guidance scale, as users of the model mean it; default the model's."
    )
    size: int | None = Field(None, ge=8, le=bounds.EDGE, description="Edge of a picture in pixels; default the model's.")
    scheduler: Scheduler
    long_prompts: LongPrompts | None = Field(
        None,
        description="Prompts longer than the context: cut them (the default), or read them in chunks as A1111 and ComfyUI do.",
    )

    def check(self) -> None:
        super().check()
        check_scheduler(resolve(self.model), self.scheduler)
        if self.long_prompts == "chunk":
            check_long_prompts(family_of(resolve(self.model)), self.long_prompts)

    @property
    def drawing(self) -> Drawing:
        """All together."""
        return Drawing(self.steps, self.guidance, self.size, self.scheduler, self.long_prompts)
