"""What a shell offers where a value is typed: concepts, methods, attacks, suites, models, and the words of a choice. No torch.

Whatever is wrong while somebody types (a config that is no YAML, a model that is not there) means fewer offers, never an error.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

ASKED = "_EXCISE_COMPLETE"
"""The variable of the environment in which a shell asks; typer's scripts set it."""

Offers = Callable[[Mapping[str, Any]], Iterable[str]]
"""(options typed so far) -> values"""


@contextmanager
def offering() -> Iterator[None]:
    """Inside the block nothing is said of what goes wrong."""
    with suppress(Exception), redirect_stderr(io.StringIO()):
        yield


def completer(name: str, kind: Any) -> Callable[[typer.Context, str], list[str]] | None:
    """What offers values for a field, by what it is called and by its type; None if nothing does, so that the shell offers files."""
    offers = OFFERS.get(name)
    choice = get_args(kind) if get_origin(kind) is Literal else ()
    if offers is None and not choice:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with offering():
            values = choice if offers is None else offers(ctx.params)
            found = [_as_typed(value, incomplete) for value in values if value.lower().startswith(incomplete.lower())]
        return found

    return complete


def join_words() -> None:
    """Put together what bash takes apart at colons and equals signs: style : sketch is one word here, and --model = canvas is."""
    words: list[str] = []
    asked = os.environ.get("COMP_WORDS", "").split("\n")
    at = place = int(os.environ.get("COMP_CWORD", 0))
    glued = False
    for index, word in enumerate(asked):
        sign = word in (":", "=")
        if words and word and (sign or glued):
            words[-1] += word
        else:
            words.append(word)
        glued = sign
        if index == at:
            place = len(words) - 1
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(place)}


def in_bash() -> bool:
    """Whether it is bash that asks."""
    return os.environ.get(ASKED) == "complete_bash"


def _as_typed(value: str, incomplete: str) -> str:
    """A value as the shell wants it: bash takes it as it is, from the last colon that was typed on; other shells quote it."""
    if not in_bash():
        return value
    typed = incomplete.rfind(":") + 1
    return re.sub(r"([^\w:./+-])", r"\\\1", value[typed:])


def _methods(typed: Mapping[str, Any]) -> Iterable[str]:
    from excise.methods import methods

    return methods()


def _attacks(typed: Mapping[str, Any]) -> Iterable[str]:
    from excise.attacks import attacks

    return ("all", *attacks())


def _suites(typed: Mapping[str, Any]) -> Iterable[str]:
    from excise.evaluation.suites import suites

    return suites()


def _models(typed: Mapping[str, Any]) -> Iterable[str]:
    from excise.models.built_in import BUILT_IN

    return BUILT_IN


def _concepts(typed: Mapping[str, Any]) -> Iterable[str]:
    """The concepts that the model declares, without their kinds and with them."""
    from excise.models.built_in import BUILT_IN
    from excise.models.names import describe, resolve

    name = _model(typed)
    concepts = describe(BUILT_IN.get(name) or resolve(name)).catalog.concepts
    return [*(concept.name for concept in concepts), *(concept.label for concept in concepts)]


def _model(typed: Mapping[str, Any]) -> str:
    """The model whose concepts are meant, as it was typed or stands in the config: the base, if one is named."""
    from excise.requests.sources import read_yaml

    told: dict[str, Any] = {}
    with suppress(Exception):
        told = read_yaml(Path(typed["config"])) if typed.get("config") else {}
    named = (source.get(field) for field in ("base", "teacher", "student", "model") for source in (typed, told))
    return next((str(model) for model in named if model), "canvas")


OFFERS: dict[str, Offers] = {
    "method": _methods,
    "methods": _methods,
    "attacks": _attacks,
    "SUITE": _suites,
    "suite": _suites,
    "concept": _concepts,
    "concepts": _concepts,
    "against": _concepts,
    "erase": _concepts,
    "model": _models,
    "base": _models,
    "gold": _models,
    "erased": _models,
    "student": _models,
    "teacher": _models,
    "EDIT|MODEL": _models,
}
"""Who offers values of a field, by its name, or by what stands for it in the help."""
