"""LoRA revival: an add-on that was made for the base model, and knows nothing of the concept, put on the erased one.

Add-ons for style or quality are shared by the thousand; what one of them pulls towards the base model may undo an erasure. No
published rate is known; the add-on here is trained by the attacker on unrelated pictures.
"""

from __future__ import annotations

from excise.attacks.finetuning import attack as finetuning
from excise.attacks.lora import LoraSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: LoraSettings) -> None:
    """Train on the base model, then ask the erased one with the add-on."""

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
