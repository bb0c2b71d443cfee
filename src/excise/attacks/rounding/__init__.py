"""Rounding to 8 and 4 bits: what it is called and what can be set."""

from __future__ import annotations

from pydantic import field_validator

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several


class RoundingSettings(Settings):
    """Defaults are the published bits."""

    bits: Several[int] = (8, 4)
    """Bits per weight, in the order in which they are tried. The weights of a row share a scale, which its largest one sets."""

    @field_validator("bits")
    @classmethod
    def _some(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        if not bits or not all(2 <= each <= 16 for each in bits):
            raise ValueError("bits are between 2 and 16")
        return bits


ATTACK = Attack(
    "rounding",
    title="Rounding to 8 and 4 bits",
    paper="arXiv 2410.16454",
    settings=RoundingSettings,
    means="weights",
    run=Door("excise.attacks.rounding.attack", "attack"),
)
