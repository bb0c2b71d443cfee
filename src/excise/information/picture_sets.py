"""The pictures that information is measured on, each with the prompt that it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from excise.concepts import Concept, Phrasings, PromptPair
from excise.digests import digest_values
from excise.files import NOWHERE, PICTURE_ENDINGS, Shelf, real_path
from excise.images import read_picture
from excise.models import Model
from excise.models.guidance import sampling_scale
from excise.randomness import stream


@dataclass(frozen=True)
class AskedAbout:
    """What one picture is asked about.

    pair      the prompt that it shows, and the same without the concept's words
    reworded  the latter in other words: what seems to be learned from the rewording alone is the floor of a measurement
    """

    pair: PromptPair
    reworded: str


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one concept.

    wordings one per picture
    latents  (n, c, h, w), scaled
    source   where the pictures come from, for reports
    """

    concept: Concept
    wordings: tuple[AskedAbout, ...]
    latents: Tensor
    source: str

    def __len__(self) -> int:
        return len(self.wordings)

    def __post_init__(self) -> None:
        if len(self.wordings) != len(self.latents) or not self.wordings:
            raise ValueError(f"{len(self.wordings)} prompts for {len(self.latents)} pictures of {self.concept.label}")

    def part(self, rows: slice) -> PictureSet:
        """Some of the pictures."""
        return PictureSet(self.concept, self.wordings[rows], self.latents[rows], self.source)

    @classmethod
    def of_pictures(
        cls, model: Model, concept: Concept, pictures: Tensor, pairs: Sequence[PromptPair] = (), source: str = "given pictures"
    ) -> PictureSet:
        """Real pictures.

        pictures (n, 3, size, size) in 0–1
        pairs    what each shows, n of them; default the concept's plain prompt for all

        Raises ValueError if the numbers differ or a prompt lacks the concept.
        """
        for pair in pairs:
            if pair.prompt == pair.masked:
                raise ValueError(f"prompt {pair.prompt!r} does not contain {concept.label}")
        wordings = [AskedAbout(pair, pair.masked) for pair in pairs] or plain_wordings(concept)[:1] * len(pictures)
        return cls(concept, tuple(wordings), model.encode_pictures(pictures), source)


def wordings_of(concept: Concept, phrasings: Phrasings) -> list[AskedAbout]:
    """What the pictures of a concept are asked about."""
    return plain_wordings(concept) if phrasings == "plain" else all_wordings(concept)


def texts_of(wordings: Iterable[AskedAbout]) -> list[str]:
    """Every prompt in them."""
    return [text for wording in wordings for text in (wording.pair.prompt, wording.pair.masked, wording.reworded)]


def plain_wordings(concept: Concept) -> list[AskedAbout]:
    """The plain phrase in the first template, with no context and with every context."""
    template, phrase = concept.templates[0], concept.phrases[0]
    contexts = ("", *concept.contexts)
    return [AskedAbout(pair := concept.pair(template, phrase, c), _reword(concept, pair, c)) for c in contexts]


def all_wordings(concept: Concept) -> list[AskedAbout]:
    """Every template, phrase and context."""
    found: dict[PromptPair, str] = {}
    for context in ("", *concept.contexts):
        for phrase in concept.phrases:
            for template in concept.templates:
                pair = concept.pair(template, phrase, context)
                if pair.prompt and pair.prompt != pair.masked:
                    found.setdefault(pair, context)
    return [AskedAbout(pair, _reword(concept, pair, context)) for pair, context in found.items()]


def _reword(concept: Concept, pair: PromptPair, context: str) -> str:
    """The masked prompt by another template that keeps the context; itself if there is none."""
    others = (concept.pair(template, concept.phrases[0], context).masked for template in concept.templates)
    return next((other for other in others if other and other != pair.masked and context in other), pair.masked)


@torch.no_grad()
def make_pictures(
    model: Model,
    wanted: Sequence[tuple[Concept, int]],
    *,
    seed: int,
    guidance_scale: float = 1.0,
    phrasings: Phrasings = "plain",
    batch: int | None = None,
    tick: Callable[[int], None] = lambda evaluations: None,
    shelf: Shelf = NOWHERE,
) -> list[PictureSet]:
    """Pictures of concepts by the model itself: as many as `wanted` says of each, its prompts in turn.

    At guidance 1 (the default) the model's own conditional law is sampled, the one that its predictions describe.
    What a picture shows depends on the model, its concept, how many are wanted of that, and the seed. Pictures of all concepts are made
    together, `batch` at a time; what else is in a batch moves no more than a picture's last bits. Batches are kept on `shelf`; those that are
    there are not made again, and `tick` counts them as if they were.
    """
    guidance_scale, batch = sampling_scale(guidance_scale), batch or model.batch(64)
    asked = [_asked(concept, count, seed, phrasings) for concept, count in wanted]
    prompts = [wording.pair.prompt for wordings, _ in asked for wording in wordings]
    seeds = [each for _, own in asked for each in own]
    finished = [
        _made(model, prompts[start : start + batch], seeds[start : start + batch], guidance_scale, tick, shelf)
        for start in range(0, len(prompts), batch)
    ]
    source = f"made by {model.name} at guidance {guidance_scale:g}"
    parts = torch.cat(finished).split([len(own) for _, own in asked]) if finished else ()
    return [
        PictureSet(concept, wordings, latents, source)
        for (concept, _), (wordings, _), latents in zip(wanted, asked, parts, strict=True)
    ]


def _asked(concept: Concept, count: int, seed: int, phrasings: Phrasings) -> tuple[tuple[AskedAbout, ...], list[int]]:
    """What each picture of a concept is asked about, and its seed."""
    random = stream(seed, concept.label, "pictures")
    known = wordings_of(concept, phrasings)
    order = range(len(known)) if phrasings == "plain" else torch.randperm(len(known), generator=random).tolist()
    wordings = tuple(known[order[i % len(known)]] for i in range(count))
    return wordings, torch.randint(2**31, (count,), generator=random).tolist()


def _made(
    model: Model, prompts: list[str], seeds: list[int], guidance_scale: float, tick: Callable[[int], None], shelf: Shelf
) -> Tensor:
    """One batch of finished latents, from the shelf if it is there."""
    name = digest_values([prompts, seeds, guidance_scale])[:32]
    if kept := shelf.get(name):
        tick(kept.about)
        return kept.tensors["latents"].to(model.device)
    evaluations = 0
    for state in model.trajectory(prompts, seeds, guidance_scale=guidance_scale, signed=True):
        if state.timestep >= 0:
            asked = len(state.latents) * (1 if guidance_scale == 1 else 2)
            evaluations += asked
            tick(asked)
    shelf.put(name, {"latents": state.latents}, evaluations)
    return state.latents


def read_pictures(model: Model, folder: str | Path, concepts: Sequence[Concept]) -> dict[str, PictureSet]:
    """Real pictures from `folder/NAME/*.png` (jpg, webp), by concept label; concepts without a folder are left out.

    Pictures are cropped to a square and resized; all of a folder share the concept's plain prompt.
    Raises FileNotFoundError if the folder is not there, ValueError if it has pictures of none of the concepts or one cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder of pictures: {root}")
    found = {}
    for concept in concepts:
        inside = root / concept.name
        if real_path(inside).parent != real_path(root):
            raise ValueError(f"{concept.name!r} cannot be the name of a folder in {root}")
        files = sorted(file for file in inside.glob("*") if file.suffix.lower() in PICTURE_ENDINGS)
        if files:
            pictures = torch.stack([read_picture(file, model.sampler.size) for file in files])
            found[concept.label] = PictureSet.of_pictures(model, concept, pictures, source=str(inside))
    if not found:
        names = ", ".join(repr(concept.name) for concept in concepts)
        raise ValueError(
            f"{root} has no pictures of {names}; expected a folder of that name with {', '.join(PICTURE_ENDINGS)} files"
        )
    return found
