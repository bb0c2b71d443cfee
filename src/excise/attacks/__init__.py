"""The registry of attacks: one folder each in this package; adding a folder is enough. The files beside them are shared ingredients.

An attack tries to make a model show a concept again that was erased from it. A folder's `__init__.py` declares an `Attack`, without torch;
its `attack.py` does the work. The work is given a `Victim`: the model with its edits on, cases to break, a budget in U-Net calls, random
draws, and the original model. It hands every picture that it makes to `Victim.submit`, which asks the detector, and changes nothing for good.
The `Engine` runs attacks on the erased model and on its controls, and compares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from excise.models.families import OFFERS, Offer, check_offers
from excise.models.names import resolve
from excise.registry import Door, Registry
from excise.settings import Settings, parse_named, parse_settings

Means = Literal["sampler", "words", "pictures", "weights"]
"""What an attacker works with: how pictures are sampled; words and token rows; pictures of the concept; changes of the weights."""

QUICK_BUDGET, BUDGET = 8_000, 20_000
"""U-Net calls per attack and model that is attacked (ours): about 20 and 80 seconds on the built-in model and two cores, so that `all` takes
at most five minutes an attack with the neutral control."""


@dataclass(frozen=True)
class Attack:
    """A published attack or probe.

    means      what the attacker works with
    needs_base whether the model from before the erasure must be at hand
    supplies   whether it brings the concept along (pictures, the base model's predictions, its direction): then the neutral control shows
               it too, and only a gold standard tells what was supplied from what was found
    quick      settings in a quick audit; None: not part of one
    run        where its function stands: (victim, settings) -> None
    needs      what a model's family must offer
    """

    name: str
    title: str
    paper: str
    settings: type[Settings]
    means: Means
    run: Door
    needs_base: bool = False
    supplies: bool = False
    quick: Mapping[str, Any] | None = None
    needs: tuple[Offer, ...] = ()

    def check_model(self, model: str | Path) -> None:
        """Raise ValueError for a model, by name or path, whose family lacks what the attack needs. No weight is loaded."""
        check_offers(resolve(model), f"attack {self.name!r}", self.needs)

    def parse(self, values: Mapping[str, Any]) -> Settings:
        """Its settings from plain values. Raises ValueError in one line that names every wrong key or value, with the nearest known key."""
        return parse_settings(self.settings, values, f"attack {self.name!r}", f"setting of {self.name}")


@dataclass(frozen=True)
class Chosen:
    """An attack with its settings and budget, as it was asked for: "p4d:preset=published"."""

    text: str
    attack: Attack
    settings: Settings
    budget: int


def _order(attack: Attack) -> tuple[int, str]:
    """Those that need least of the attacker first."""
    return get_args(Means).index(attack.means), attack.name


ATTACKS: Registry[Attack] = Registry(Attack, "attack", __name__, order=_order, reserved=("all", "quick"))


def attacks() -> dict[str, Attack]:
    """Every attack by name, those that need least of the attacker first."""
    return ATTACKS.entries


def get(name: str) -> Attack:
    """The attack of that name. Raises ValueError with the nearest match."""
    return ATTACKS.get(name)


def choose(texts: Sequence[str], budget: int | None = None, offers: Collection[Offer] = OFFERS) -> list[Chosen]:
    """The attacks that a user names: "all", "quick" (each is then called "NAME:quick"), or names, with settings after a colon
    ("p4d:preset=published,lr=0.05").

    budget  U-Net calls of each; default those of a quick audit for quick ones, else the full ones
    offers  what the attacked model's family offers: "all" and "quick" are those that need nothing else

    Raises ValueError for unknown names or wrong settings, or if nothing is chosen.
    """
    if budget is not None and budget < 1:
        raise ValueError(f"the budget is a number of U-Net calls, at least 1, not {budget}")
    found: dict[str, Chosen] = {}
    possible = [attack for attack in attacks().values() if set(attack.needs) <= set(offers)]
    for text in texts:
        if text == "quick":
            chosen = [_quick(attack, budget) for attack in possible if attack.quick is not None]
        elif text == "all":
            chosen = [Chosen(attack.name, attack, attack.parse({}), budget or BUDGET) for attack in possible]
        elif text.endswith(":quick"):
            chosen = [_quick(get(text.removesuffix(":quick")), budget)]
        else:
            name, values = parse_named(text)
            attack = get(name)
            chosen = [Chosen(text, attack, attack.parse(values), budget or BUDGET)]
        found |= {one.text: one for one in chosen}
    if not found:
        raise ValueError(f"name at least one attack: all, quick, {', '.join(attacks())}")
    return list(found.values())


def _quick(attack: Attack, budget: int | None) -> Chosen:
    if attack.quick is None:
        known = ", ".join(other.name for other in attacks().values() if other.quick is not None)
        raise ValueError(f"attack {attack.name!r} is not part of a quick audit; those that are: {known}")
    return Chosen(f"{attack.name}:quick", attack, attack.parse(attack.quick), budget or QUICK_BUDGET)
