"""Anchors: what a concept should be taken for, in prompts from templates or from a file of captions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from excise import bounds
from excise.concepts import ARTICLES, Concept, PromptPair, bare
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.training_settings import Anchored
from excise.files import at_home, read_text
from excise.models import Model
from excise.quoting import quoted


def anchored(model: Model, concepts: Sequence[Concept], settings: Anchored) -> PromptBank:
    """The concepts' prompts, each with the anchor's as `masked`.

    Raises FileNotFoundError for captions that are not there, ValueError if none of them or no declared concept serves as anchor.
    """
    if settings.captions is None:
        return PromptBank.of_pairs(model, redirected(model, concepts, settings.wording, settings.anchor))
    captions = read_captions(settings.captions)
    return PromptBank.of_pairs(model, [captioned(concept, settings.anchor, captions) for concept in concepts])


def captioned(concept: Concept, anchor: str, captions: Sequence[str]) -> list[PromptPair]:
    """Prompts of the concept made from captions of the anchor: its word is replaced, an article stays; a style is put before or behind.

    Captions without the anchor's word would stay as they are; they are left out, with a warning. Raises ValueError if none is left.
    """
    name = concept.phrases[0]
    if concept.kind == "style":
        return [
            PromptPair(f"{caption}, in the style of {name}" if number % 3 == 0 else f"in {name}'s style, {caption}", caption)
            for number, caption in enumerate(captions)
        ]
    word = re.compile(rf"\b{re.escape(anchor)}\b", re.IGNORECASE)
    own = name if anchor.lower().startswith(ARTICLES) else bare(name)
    pairs = [PromptPair(word.sub(lambda _: own, caption), caption) for caption in captions if word.search(caption)]
    if not pairs:
        raise ValueError(
            f"no caption contains the anchor {quoted(anchor)}; give the word that stands in them for what {quoted(name)} is to become"
        )
    if len(pairs) < len(captions):
        warnings.warn(f"{len(captions) - len(pairs)} captions do not contain {quoted(anchor)} and are left out", stacklevel=2)
    return pairs


def read_captions(path: str) -> list[str]:
    """The lines of a file that are not empty. Raises FileNotFoundError, or ValueError if there are none or it is not UTF-8."""
    file = at_home(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such file of captions: {file}")
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{file} has no captions")
    if len(lines) > bounds.PICTURES or max(map(len, lines)) > bounds.CHARACTERS:
        raise ValueError(f"{file} has more than {bounds.PICTURES} captions, or one of more than {bounds.CHARACTERS} characters")
    return lines
