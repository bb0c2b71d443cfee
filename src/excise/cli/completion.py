"""What a shell offers where a value is typed: concepts, methods, attacks, suites, models, and the words of a choice. No torch.

Whatever is wrong while somebody types (a config that is no YAML, a model that is not there) means fewer offers, never an error.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from excise.cli import screen

ASKED = "_EXCISE_COMPLETE"
"""The variable of the environment in which a shell asks; typer's scripts set it."""

_SIGNS = (":", "=")

_HARMLESS = re.compile(r"[\w .,:+/-]+")
"""What is offered: zsh evaluates what it gets, and names of concepts come from strangers."""

Offers = Callable[[Mapping[str, Any]], Iterable[str]]
"""(options typed so far) -> values"""


def answer(offer: Callable[[], None]) -> None:
    """Answer a shell by what prints the offers.

    Bash takes words apart at colons and equals signs. So style : sk is put together before, and of the offer style:sketch bash gets sketch.
    """
    if os.environ[ASKED] != "complete_bash":
        with _unheard():
            offer()
        return
    offers = io.StringIO()
    with _unheard(), redirect_stdout(offers), suppress(SystemExit):
        typed = _join_words()
        offer()
    for line in offers.getvalue().splitlines():
        screen.say(re.sub(r"([^\w:./+-])", r"\\\1", line[typed.rfind(":") + 1 :]))


@contextmanager
def _unheard() -> Iterator[None]:
    """Inside the block nothing is said of what goes wrong."""
    with suppress(Exception), redirect_stderr(io.StringIO()):
        yield


def _join_words() -> str:
    """Put words together in which a colon or an equals sign stands. Returns the one that is typed."""
    words: list[str] = []
    asked, at = os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"])
    place, glued = at, False
    for index, word in enumerate(asked):
        if words and word and (glued or word in _SIGNS):
            words[-1] += word
        else:
            words.append(word)
        glued = word in _SIGNS
        if index == at:
            place = len(words) - 1
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(place)}
    return words[place]


def completer(name: str, kind: Any) -> Callable[[typer.Context, str], list[str]] | None:
    """What offers values for a field, by what it is called and by its type; None if nothing does, so that the shell offers files."""
    offers = OFFERS.get(name)
    choice = get_args(kind) if get_origin(kind) is Literal else ()
    if offers is None and not choice:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with _unheard():
            values = choice if offers is None else offers(ctx.params)
            found = [value for value in values if value.startswith(incomplete) and _HARMLESS.fullmatch(value)]
        return found

    return complete


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
    """The concepts that are meant, without their kinds and with them."""
    labels = list(_labels(typed))
    return [*(label.partition(":")[2] for label in labels), *labels]


def _labels(typed: Mapping[str, Any]) -> Iterable[str]:
    """What a queue asks to erase where requests are withdrawn, what an edit erases where it is given back, else what the model declares."""
    from excise.models.built_in import BUILT_IN
    from excise.models.names import describe, resolve

    if "queue" in typed and "method" not in typed:
        from excise.requests.removals import Queue

        return [entry.label for entry in Queue.read(Path(typed["queue"])).wanted]
    if "edit" in typed and "model" not in typed:
        from excise.edits.manifest import Manifest

        return [f"{concept['kind']}:{concept['name']}" for concept in Manifest.of(Path(typed["edit"])).concepts]
    name = _model(typed)
    return [concept.label for concept in describe(BUILT_IN.get(name) or resolve(name)).catalog.concepts]


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
