"""LoRA revival: an add-on that was made for the base model, and knows nothing of the concept, put on the erased one.

Add-ons for style or quality are shared by the thousand; what one of them pulls towards the base model may undo an erasure. No
published rate is known; the add-on here is trained by the attacker on unrelated pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from excise.attacks import register
from excise.settings import Settings, Several

if TYPE_CHECKING:
    from excise.attacks.victim import Victim


class LoraSettings(Settings):
    rank: int = Field(4, ge=1, description="of the additions")
    steps: int = Field(300, ge=1, description="training steps on the base model, fewer if the budget ends before")
    batch: int = Field(8, ge=1, description="noised pictures per step")
    lr: float = Field(5e-4, gt=0, description="rate of AdamW")
    pictures: int = Field(64, ge=1, description="pictures of other concepts, made by the base model")
    strengths: Several[float] = (1.0, 2.0, -1.0)
    """How strongly the add-on is put on, in the order in which it is tried."""


@register("lora", title="LoRA of the base model", paper="ours", settings=LoraSettings, means="weights", needs_base=True)
def attack(victim: Victim, settings: LoraSettings) -> None:
    """Train on the base model, then ask the erased one with the add-on."""
    from excise.attacks.finetuning import attack as finetuning

    trials = len(settings.strengths) * victim.prompts * victim.cost()
    steps = victim.iterations(settings.steps, 3 * settings.batch, trials)
    if not steps:
        return
    prompts, latents = victim.other_pictures(settings.pictures, neutral=False)
    random, shown = victim.generator("lora"), {}
    with victim.original():
        additions = finetuning.lora(victim, settings.rank, random)
        parameters = {f"{name}:{part}": one for name, pair in additions.items() for part, one in pair.items()}
        told = victim.encode(prompts)
        with finetuning.injected(victim, additions):
            for _ in finetuning.trained(
                victim, parameters, told, latents, random, steps=steps, batch=settings.batch, lr=settings.lr
            ):
                pass
    for strength in settings.strengths:
        rows = victim.affordable(victim.standing, victim.cost())
        if rows:
            with finetuning.injected(victim, additions, strength):
                latents = victim.ask(rows, [victim.cases[row].asked for row in rows])
            shown[f"{strength:g}"] = [sum(victim.submit(rows, latents, {"strength": strength})), len(rows)]
    victim.kept |= {name: parameter.detach() for name, parameter in parameters.items()}
    victim.facts["shown of tried, by strength"] = shown
