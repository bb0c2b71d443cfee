"""What the reference says is made of the code when the site is built. A page has a mark where it goes; nothing here loads torch.

<!-- from the code: commands -->
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

import excise
from command_pages import commands
from excise.attacks import BUDGET, QUICK_BUDGET, attacks
from excise.cli.command import word
from excise.evaluation.suites import suites
from excise.evaluation.weights import KNOWN
from excise.methods import Method, methods
from excise.models.families import FAMILIES
from excise.pruning.distill_settings import DistillSettings
from excise.report.glossary import WORDS
from excise.settings import Settings
from file_pages import files
from markup import attributes, code, named, paragraphs, plain, table
from message_pages import messages

_MARK = re.compile(r"<!-- from the code: (\w+) -->")


MEANS = {"sampler": "the sampler", "words": "words", "pictures": "pictures of the concept", "weights": "the weights"}
SHOWN = 8
"""Values of a list that a table shows."""


def filled(text: str) -> str:
    """A page with what the code says in the place of its marks. Raises ValueError for a mark that nothing here knows."""
    return _MARK.sub(lambda found: _made(found[1]), text)


def _made(name: str) -> str:
    if name not in PARTS:
        raise ValueError(f"no part of the reference is called {name}; there are {', '.join(PARTS)}")
    return PARTS[name]()


def method_list() -> str:
    """Every method: what it is, its presets, its settings."""
    return "\n\n".join(part for each in methods().values() for part in _method(each))


def _method(method: Method) -> list[str]:
    says = [
        f"Published as {method.paper}.",
        "Its edits are changes of weights." if method.kind == "weights" else "Its edits are adapters.",
        *(["It has a closed form: earlier edits of it are solved again together with a new one."] if method.solves else []),
        *(["It also erases what showed a concept in an audit (`--harden`)."] if method.hardens else []),
        f"It needs of a model: {', '.join(method.needs)}." if method.needs else "It runs on every family.",
    ]
    return [f"## {method.title} (`{method.name}`)", " ".join(says), *_settings(method.settings)]


def distill_settings() -> str:
    """Settings of a distillation, which `excise distill --set` takes."""
    return "\n\n".join(_settings(DistillSettings))


def family_table() -> str:
    """A row a method, a column for families that offer the same; what the method needs that they lack."""
    alike: dict[frozenset[str], list[str]] = {}
    for family in FAMILIES:
        alike.setdefault(family.offers, []).append(family.name)
    rows = []
    for method in methods().values():
        lacks = [[need for need in method.needs if need not in offers] for offers in alike]
        rows.append([method.title, *("yes" if not missing else f"no {' or '.join(missing)}" for missing in lacks)])
    return table(["method", *(", ".join(names) for names in alike.values())], rows)


def attack_list() -> str:
    """Every attack: what it works with, what it may spend, its settings."""
    parts = [f"An attack may spend {BUDGET:,} calls of the network on each model, and {QUICK_BUDGET:,} in a quick audit."]
    for attack in attacks().values():
        says = [
            *([f"Published as {attack.paper}."] if attack.paper else ["It is ours."]),
            f"The attacker works with {MEANS[attack.means]}.",
            *(["The model from before the erasure must be at hand."] if attack.needs_base else []),
            *(["It brings the concept along, so only a gold standard tells what it found."] if attack.supplies else []),
            *(["It is part of a quick audit."] if attack.quick is not None else []),
            *([f"It needs of a model: {', '.join(attack.needs)}."] if attack.needs else []),
        ]
        parts += [f"## {attack.title} (`{attack.name}`)", " ".join(says), *_settings(attack.settings)]
    return "\n\n".join(parts)


def suite_list() -> str:
    """Every suite: its source, what the user supplies, its settings, its weights."""
    parts = []
    for suite in suites().values():
        about = f"From {plain(suite.source)}. You supply: {plain(suite.files)}."
        weights = [
            (code(name), plain(KNOWN[name].purpose), f"{code(KNOWN[name].file)} of {plain(KNOWN[name].address)}")
            for name in suite.weights
        ]
        parts += [
            f"## {plain(suite.title)} (`{suite.name}`)",
            about,
            *_settings(suite.settings),
            table(("weights", "for", "published as"), weights),
        ]
    return "\n\n".join(parts)


def glossary() -> str:
    """The words that a report explains."""
    return table(
        ("word", "meaning"),
        ((f"**{name}**", plain(text)) for name, text in sorted(WORDS.items(), key=lambda each: each[0].lower())),
    )


def api() -> str:
    """Entries for the classes and functions that `excise` offers; the site makes them of docstrings."""
    homes = {**excise._HOMES, **{name: f"excise.jobs.{name}" for name in excise._VERBS}}
    entries = [f".. auto{'class' if name[0].isupper() else 'function'}:: {homes[name]}.{name}" for name in excise.__all__]
    entries = [entry + "\n   :members:" * entry.startswith(".. autoclass") for entry in entries]
    return "```{eval-rst}\n" + "\n\n".join(entries) + "\n```"


def jobs() -> str:
    """Entries for the function of every other verb."""
    names = (name for name in _verbs() if name.rpartition(".")[2] not in excise._VERBS)
    return "```{eval-rst}\n" + "\n\n".join(f".. autofunction:: {name}" for name in names) + "\n```"


def _verbs() -> list[str]:
    """Functions that files of `excise.jobs` make of a request, by their full names."""
    found = []
    for path in sorted((Path(excise.__file__).parent / "jobs").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        found += [f"excise.jobs.{path.stem}.{name}" for name in re.findall(r"^(\w+) = function\(", text, re.MULTILINE)]
    return found


def _settings(schema: type[Settings]) -> list[str]:
    """What a class of settings says of itself, its presets, and a table of its fields."""
    below = attributes(schema)
    about = {
        key: text
        for each in reversed(schema.__mro__)
        if each.__module__.startswith("excise")
        for part in paragraphs(each)[1:]
        for key, text in named(part).items()
    }
    rows = [
        (code(name), _default(field), plain(field.description or below.get(name) or about.get(name, "")))
        for name, field in schema.model_fields.items()
    ]
    said = [plain(part) for part in paragraphs(schema) if not named(part)]
    presets = getattr(schema, "presets", {})
    chosen = [
        (code(name), ", ".join(code(f"{key}={_word(value)}") for key, value in values.items()))
        for name, values in presets.items()
    ]
    return [
        *said,
        *([table(("preset", "sets"), chosen)] if chosen else []),
        *([table(("setting", "default", "meaning"), rows)] if rows else []),
    ]


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is PydanticUndefined else code(_word(value))


def _word(value: object) -> str:
    if isinstance(value, tuple | list):
        more = [f"and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
        return "; ".join([*map(_word, value[:SHOWN]), *more]) or "-"
    return str(value).lower() if isinstance(value, bool) else word(value)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "methods": method_list,
    "distill": distill_settings,
    "families": family_table,
    "attacks": attack_list,
    "suites": suite_list,
    "files": files,
    "messages": messages,
    "glossary": glossary,
    "api": api,
    "jobs": jobs,
}
