"""Fine-tuning revival: train the erased model a little, on pictures that have nothing to do with the concept, or on a few that show it.

Unrelated pictures bring erased concepts back in SD 1.4 and 2.1 (arXiv 2410.08074). A few steps of LoRA on few pictures of the
concept tell short-term from long-term forgetting (MemoRa, arXiv 2510.03263). The gold standard tells how fast a model learns a
concept that it never knew. The weights are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Generator, Tensor, nn

from excise.attacks.asking import encode
from excise.attacks.finetuning import FewShotSettings, TuningSettings
from excise.attacks.lora_training import additions, injected, parameters_of, trained
from excise.attacks.victim import Victim
from excise.erasure.subspaces import select
from excise.erasure.trainable import Trainable
from excise.models import Model


def unrelated(victim: Victim, settings: TuningSettings) -> None:
    """Train on pictures of other concepts."""
    prompts, latents = victim.original.other_pictures(settings.pictures, neutral=False)
    _revive(victim, settings, prompts, latents)


def few_shot(victim: Victim, settings: FewShotSettings) -> None:
    """Train on a few pictures of the concept, named by its own words. The neutral control learns these words too, but is asked without."""
    contexts, latents = victim.original.concept_pictures(settings.pictures)
    concept = victim.concept
    prompts = [concept.pair(concept.templates[0], concept.phrases[0], context).prompt for context in contexts]
    _revive(victim, settings, prompts, latents)


def _revive(victim: Victim, settings: TuningSettings, prompts: Sequence[str], latents: Tensor) -> None:
    """Train, and try the prompts several times on the way."""
    model, budget = victim.model, victim.budget
    steps = budget.iterations(settings.steps, 3 * settings.batch, settings.tests * budget.prompts * budget.cost())
    tests = {max(1, steps >> number) for number in range(settings.tests)}
    told, random = encode(model, prompts), victim.draws.generator("tuning")
    with training(model, settings.mode, settings.rank, random) as parameters:
        for step in trained(model, parameters, told, latents, random, steps=steps, batch=settings.batch, lr=settings.lr):
            cases = victim.affordable(budget.cost()) if step in tests else []
            if cases:
                victim.submit(cases, victim.ask(cases), {"steps": step})
        if settings.mode == "lora":
            victim.kept |= {name: parameter.detach().clone() for name, parameter in parameters.items()}


@contextmanager
def training(model: Model, mode: str, rank: int, random: Generator) -> Iterator[dict[str, nn.Parameter]]:
    """Gives what is trained, by name. The network computes with it inside the block, and as before after it."""
    if mode == "full":
        with Trainable(model, select(model, "full")) as trainable:
            yield trainable.parameters
    else:
        added = additions(model, rank, random)
        with injected(model, added):
            yield parameters_of(added)
