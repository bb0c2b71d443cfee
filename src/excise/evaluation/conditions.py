"""Whether an erasure holds when the question is put otherwise: other words, guidance, steps, samplers, or from a picture of the concept.

Every condition asks three times with the same seeds: the base model with the concept's words, the edited model with the same prompts, and the
base model with the words taken out (neutral: where perfect removal ends under that very condition).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from excise.concepts import Concept, PromptPair
from excise.edits import Edit, all_applied
from excise.evaluation.prompt_grid import APART
from excise.figures import Figure
from excise.models import Model
from excise.models.context import check_read, tell_cut
from excise.progress import Progress, silent
from excise.results.variation import AskedOtherwise

GUIDANCE = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
STEPS = (10, 20, 50)
STRENGTHS = (0.3, 0.5, 0.7)

NOISE_SEED = 2_000_000
"""Added to a picture's seed for the noise that image to image puts on it: that of its own seed is what it was made from."""


@dataclass(frozen=True)
class Condition:
    """One way to ask.

    group    wording, guidance, steps, sampler or image to image
    pairs    prompts with and without the concept's words, asked in turn
    strength share of the sampler's steps that are made, from the base model's own picture of the concept; None: from noise
    """

    group: str
    name: str
    pairs: tuple[PromptPair, ...]
    guidance_scale: float | None = None
    steps: int | None = None
    sampler: str | None = None
    strength: float | None = None


def conditions(model: Model, concept: Concept) -> list[Condition]:
    """Every condition for a concept of the model.

    Wordings: each phrase that names it in the first template, the plain phrase in each template, also those held out from every training,
    and in capitals. Whatever else is varied is asked in plain words.
    """
    plain = Condition("wording", "plain", concept.plain_pairs())
    first, name = concept.templates[0], concept.phrases[0]
    found = [plain]
    for phrase in concept.phrases[1:]:
        found.append(replace(plain, name=f"as {phrase!r}", pairs=_asked(concept, first, phrase)))
    for template in concept.templates[1:]:
        found.append(replace(plain, name=f"as {template!r}", pairs=_asked(concept, template, name)))
    for template in model.catalog.held_out:
        found.append(replace(plain, name=f"held out {template!r}", pairs=_asked(concept, template, name)))
    capitals = tuple(PromptPair(pair.prompt.upper(), pair.masked.upper()) for pair in plain.pairs)
    found.append(replace(plain, name="in capitals", pairs=capitals))
    found += [replace(plain, group="guidance", name=f"{scale:g}", guidance_scale=scale) for scale in GUIDANCE]
    found += [replace(plain, group="steps", name=str(steps), steps=steps) for steps in STEPS]
    found += [
        replace(plain, group="sampler", name=name.removesuffix("Scheduler"), sampler=name) for name in model.other_samplers
    ]
    found += [replace(plain, group="image to image", name=f"{share:g}", strength=share) for share in STRENGTHS]
    return [condition for condition in found if condition.pairs]


def _asked(concept: Concept, template: str, phrase: str) -> tuple[PromptPair, ...]:
    pairs = (concept.pair(template, phrase, context) for context in ("", *concept.contexts))
    return tuple(dict.fromkeys(pair for pair in pairs if pair.prompt and pair.prompt != pair.masked))


def vary(
    model: Model,
    concept: Concept,
    edits: Sequence[Edit],
    shows: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    pictures: int,
    seed: int = 0,
    among: Sequence[Condition] | None = None,
    progress: Progress = silent,
) -> tuple[AskedOtherwise, ...]:
    """How often the concept is recognised under each condition: base, edited, neutral.

    edits     on together
    shows     tells of pictures (n, 3, h, w) which show the concept, (n,) bool, and how likely, such as `detector.ClassifierDetector`
    pictures  of each condition and model
    among     conditions; default all of `conditions`

    Raises ValueError for a concept that is longer than the model reads.
    """
    check_read(model, [concept])
    found, among = [], conditions(model, concept) if among is None else among
    tell_cut(model, [text for each in among for pair in each.pairs for text in (pair.prompt, pair.masked)])
    for index, condition in enumerate(among):
        progress("conditions", index, len(among))
        pairs = [condition.pairs[i % len(condition.pairs)] for i in range(pictures)]
        seeds = range(seed * APART, seed * APART + pictures)
        with_words, without = [pair.prompt for pair in pairs], [pair.masked for pair in pairs]
        start = None
        if condition.strength is not None:
            start = model.encode_pictures(model.sample(with_words, seeds))
        shown: dict[str, Figure | None] = {}
        for who, prompts in (("base", with_words), ("edited", with_words), ("neutral", without)):
            with all_applied(model, edits if who == "edited" else ()):
                made = _sample(model, condition, prompts, seeds, start)
            shown[who] = Figure.share(int(shows(made)[0].sum()), pictures)
        sets = {key: value for key, value in vars(condition).items() if key != "pairs"}
        found.append(AskedOtherwise(**sets, prompt=with_words[0], n=pictures, **shown))
    progress("conditions", len(among), len(among))
    return tuple(found)


@torch.no_grad()
def _sample(
    model: Model,
    condition: Condition,
    prompts: Sequence[str],
    seeds: Sequence[int],
    start: Tensor | None,
    batch: int | None = None,
) -> Tensor:
    """Pictures (n, 3, h, w) under a condition; `start` (n, c, h, w) clean latents to begin from."""
    steps = condition.steps or model.sampler.steps
    with model.sampled_by(condition.sampler):
        starts, skip = None, 0
        if start is not None and condition.strength is not None:
            noise = model.start_noise([NOISE_SEED + seed for seed in seeds])
            starts, skip = model.partway(start, noise, strength=condition.strength, steps=steps)
        return model.sample(
            prompts, seeds, starts=starts, skip=skip, batch=batch, steps=steps, guidance_scale=condition.guidance_scale
        )
