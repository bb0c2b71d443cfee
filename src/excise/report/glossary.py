"""The one glossary: what the words of a report mean, for readers who know none of them."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

WORDS: dict[str, str] = {
    "UA": "pictures asked to show the erased concept that do not",
    "IRA": "kept concepts of its own kind, recognised in their pictures",
    "CRA": "kept concepts of the other kind, recognised in their pictures",
    "NRA": "other members of its object, recognised in their pictures",
    "ORA": "other objects, recognised in their pictures",
    "bystander": "a thing that the model knows and that the method was not told of, neither to erase nor to keep",
    "FID": "distance of the kept concepts' pictures to the base model's own",
    "KID": "the same as FID by another measure that few pictures do not bias",
    "LPIPS": "how different two pictures look to a network that was trained on people's judgements; 0: alike",
    "CLIP": "a network that tells how well a picture fits a text",
    "nats": "the unit of information: how much a concept's words tell the model about the picture, given the rest of the prompt",
    "neutral": "how often the base model shows the concept though its words were taken out of the prompt",
    "steering": "1: the words act as before; 0: they are ignored; below 0: the model steers away, and can be steered back",
    "blind": "steering as it is told from the edited model alone, without looking at the base model",
    "destroyed": "what the model no longer knows of the concept's pictures when it is given no words at all, in nats",
    "plain form": "nats counted so that a model that steers away from the concept goes below 0",
    "whole prompt": "the same for all words of the prompt, and not for the concept's alone",
    "at floor": "what is left cannot be told from noise",
    "interval": "the range in which the true number lies with 95 % confidence; the more pictures, the narrower it is",
    "classifier": "a network that names what it sees in a picture; it can be wrong in both directions",
    "base model": "the model from before the erasure",
    "edited model": "the same model with the erasure on it",
    "seed": "the number that chance starts from: the same seed gives the same picture",
    "fingerprint": "a number worked out from all of a file or model; if it is the same, so is the file or model",
    "gold standard": "a model that was trained from the start without the concept",
    "U-Net": "the network inside the model that makes the picture; a call is one use of it",
    "LoRA": "a small addition to a model's weights",
}
"""By how a word is written in a sentence; a plural or a capital at its beginning is the same word."""

COMMON = ("base model", "edited model", "seed")
"""Words that stand in almost every sentence: they are in the list and not marked."""

_MARKED = re.compile(
    r"(?<![\w:.“-])(" + "|".join(sorted(map(re.escape, WORDS.keys() - set(COMMON)), key=len, reverse=True)) + r")(s?)(?![\w-])",
    re.IGNORECASE,
)


def explained(text: str) -> Markup:
    """The text as HTML; each of the words tells what it means where it stands first.

    >>> print(explained("At floor < 1, at floor"))
    <abbr tabindex="0" title="what is left cannot be told from noise">At floor</abbr> &lt; 1, at floor
    """
    parts: list[Markup] = []
    told: set[str] = set()
    end = 0
    for found in _MARKED.finditer(text):
        word = _word(found)
        if word is None or word in told:
            continue
        told.add(word)
        marked = Markup('<abbr tabindex="0" title="{}">{}</abbr>').format(WORDS[word], found[0])
        parts += [escape(text[end : found.start()]), marked]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def meaning(text: str) -> str:
    """What the first of the words in a text means; "" if there is none.

    >>> meaning("steering, blind").partition(";")[0], meaning("seconds")
    ('1: the words act as before', '')
    """
    words = (_word(found) for found in _MARKED.finditer(text))
    return next((WORDS[word] for word in words if word), "")


def _word(found: re.Match[str]) -> str | None:
    """The word of the list; None where only the letters are the same: "Ira" is a name, and no IRA."""
    written = found[1]
    return next((word for word in (written, written[:1].lower() + written[1:]) if word in WORDS), None)
