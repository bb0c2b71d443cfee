"""The registry of attacks: one file each in this package; dropping in a file is enough. Files that begin with "_" are shared ingredients.

An attack tries to make a model show a concept again that was erased from it. It is given a `Victim` (the model with its edits
on, prompts that no longer show the concept, a detector, a budget in U-Net calls), hands every picture that it tries to
`victim.submit`, and changes nothing for good. It imports torch inside its functions, so that listing attacks and checking their
settings stay instant.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator

from excise.hints import nearest
from excise.settings import Settings, parse

if TYPE_CHECKING:
    from excise.attacks.victim import Victim

Means = Literal["sampler", "words", "pictures", "weights"]
"""What an attacker works with: how pictures are sampled; words and token rows; pictures of the concept; changes of the weights."""

QUICK_BUDGET, BUDGET = 8_000, 20_000
"""U-Net calls per attack and model that is attacked (ours): about 20 and 80 seconds on the built-in model and two cores, so that `all` takes
at most five minutes an attack with the neutral control."""

Run = Callable[["Victim", Any], None]


@dataclass(frozen=True)
class Attack:
    """A published attack or probe.

    means      what the attacker works with
    needs_base whether the model from before the erasure must be at hand
    supplies   whether it brings the concept along (pictures, the base model's predictions, its direction): then the neutral control shows
               it too, and only a gold standard tells what was supplied from what was found
    quick      settings in a quick audit; None: not part of one
    """

    name: str
    title: str
    paper: str
    settings: type[Settings]
    means: Means
    needs_base: bool
    supplies: bool
    quick: Mapping[str, Any] | None
    run: Run


@dataclass(frozen=True)
class Chosen:
    """An attack with its settings and budget, as it was asked for: "p4d:preset=published"."""

    text: str
    attack: Attack
    settings: Settings
    budget: int


_attacks: dict[str, Attack] = {}


def register(
    name: str,
    *,
    title: str,
    paper: str,
    settings: type[Settings],
    means: Means,
    needs_base: bool = False,
    supplies: bool = False,
    quick: Mapping[str, Any] | None = None,
) -> Callable[[Run], Run]:
    """Decorator that enters an attack. Raises ValueError for a taken or not lower-case name."""

    def enter(function: Run) -> Run:
        if name in _attacks or name != name.lower() or name in ("all", "quick"):
            raise ValueError(f"attack name {name!r} is taken or not lower-case")
        _attacks[name] = Attack(name, title, paper, settings, means, needs_base, supplies, quick, function)
        return function

    return enter


def attacks() -> dict[str, Attack]:
    """Every attack by name, those that need least of the attacker first."""
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}.attack")
    order = get_args(Means)
    return dict(sorted(_attacks.items(), key=lambda item: (order.index(item[1].means), item[0])))


def get(name: str) -> Attack:
    """The attack of that name. Raises ValueError with the nearest match."""
    known = attacks()
    if name not in known:
        raise ValueError(f"unknown attack {name!r}; {nearest(name, ['all', 'quick', *known])}")
    return known[name]


def choose(texts: Sequence[str], budget: int | None = None) -> list[Chosen]:
    """The attacks that a user names: "all", "quick" (each is then called "NAME:quick"), or names, with settings after a colon
    ("p4d:preset=published,lr=0.05").

    budget  U-Net calls of each; default those of a quick audit for quick ones, else the full ones

    Raises ValueError for unknown names or wrong settings, or if nothing is chosen.
    """
    if budget is not None and budget < 1:
        raise ValueError(f"the budget is a number of U-Net calls, at least 1, not {budget}")
    found: dict[str, Chosen] = {}
    for text in texts:
        if text == "quick":
            chosen = [_quick(attack, budget) for attack in attacks().values() if attack.quick is not None]
        elif text == "all":
            chosen = [_chosen(a.name, a, {}, budget or BUDGET) for a in attacks().values()]
        else:
            name, _, rest = text.partition(":")
            attack = get(name)
            chosen = [
                _quick(attack, budget) if rest == "quick" else _chosen(text, attack, _assignments(name, rest), budget or BUDGET)
            ]
        found |= {one.text: one for one in chosen}
    if not found:
        raise ValueError(f"name at least one attack: all, quick, {', '.join(attacks())}")
    return list(found.values())


def _quick(attack: Attack, budget: int | None) -> Chosen:
    if attack.quick is None:
        known = ", ".join(other.name for other in attacks().values() if other.quick is not None)
        raise ValueError(f"attack {attack.name!r} is not part of a quick audit; those that are: {known}")
    return _chosen(f"{attack.name}:quick", attack, attack.quick, budget or QUICK_BUDGET)


def _chosen(text: str, attack: Attack, values: Mapping[str, Any], budget: int) -> Chosen:
    values = dict(values)
    preset = values.pop("preset", None)
    if preset is not None and preset not in attack.settings.presets:
        raise ValueError(
            f"attack {attack.name!r} has no preset {preset!r}; {nearest(str(preset), list(attack.settings.presets))}"
        )
    values = {**attack.settings.presets.get(str(preset), {}), **values}
    return Chosen(text, attack, parse(attack.settings, values, f"setting of {attack.name}"), budget)


def _assignments(name: str, text: str) -> dict[str, str]:
    values = {}
    for assignment in filter(None, text.split(",")):
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"expected key=value after {name!r}:, got {assignment!r}")
        values[key.strip()] = value.strip()
    return values
