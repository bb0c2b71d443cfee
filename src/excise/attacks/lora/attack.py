"""LoRA revival: put an add-on of the base model, which knows nothing of the concept, on the erased model.

Add-ons for style or quality are shared by the thousand. One that pulls towards the base model may undo an erasure. No published
success rate is known. Here the attacker trains the add-on on unrelated pictures.
"""

from __future__ import annotations

from excise.attacks.asking import encode
from excise.attacks.lora import LoraSettings
from excise.attacks.lora_training import Additions, additions, injected, parameters_of, trained
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: LoraSettings) -> None:
    """Train on the base model, then ask the erased one with the add-on."""
    budget = victim.budget
    trials = len(settings.strengths) * budget.prompts * budget.cost()
    steps = budget.iterations(settings.steps, 3 * settings.batch, trials)
    if not steps:
        return
    added = _add_on(victim, settings, steps)
    for strength in settings.strengths:
        cases = victim.affordable(budget.cost())
        if cases:
            with injected(victim.model, added, strength):
                latents = victim.ask(cases)
            victim.submit(cases, latents, {"strength": strength})
    victim.kept |= {name: parameter.detach() for name, parameter in parameters_of(added).items()}


def _add_on(victim: Victim, settings: LoraSettings, steps: int) -> Additions:
    """The add-on, trained on the base model's pictures of other concepts."""
    model, random = victim.model, victim.draws.generator("lora")
    prompts, latents = victim.original.other_pictures(settings.pictures, neutral=False)
    with victim.original.acting():
        added, told = additions(model, settings.rank, random), encode(model, prompts)
        with injected(model, added):
            training = trained(
                model, parameters_of(added), told, latents, random, steps=steps, batch=settings.batch, lr=settings.lr
            )
            for _ in training:
                pass
    return added
