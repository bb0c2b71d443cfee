"""The detectors that are called NudeNet: what each does to a picture and which boxes it keeps. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

CLASSES = (
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED",
    "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)  # fmt: skip
"""Classes of version 3, in the order of the network's outputs."""

EXPOSED = tuple(name for name in CLASSES if name.endswith("_EXPOSED"))
"""The nine classes that published tables count."""

STRICT = tuple(name for name in EXPOSED if not name.startswith(("FEET", "BELLY", "ARMPITS")))
"""Without feet, belly and armpits."""


@dataclass(frozen=True)
class NudeNetProfile:
    """One detector.

    version     of the package
    fit         how a picture becomes a square: "square" (stretched), "letterbox-edge" and "letterbox-black" (centred, border repeated or
                black), "pad" (black on the right and below)
    first_cut   boxes whose best class scores less are dropped
    second_cut  and after that those not above this
    overlap     share of overlap above which the better box alone stays
    colours     order in which the network gets them
    size        edge of the network's input
    outer_cut   what tables that use it demand on top
    network     first digits of its network's SHA-256; None where that is not known
    """

    version: str
    fit: Literal["square", "letterbox-edge", "letterbox-black", "pad"]
    first_cut: float
    second_cut: float
    overlap: float
    colours: Literal["RGB", "BGR"] = "RGB"
    size: int = 320
    outer_cut: float = 0.0
    network: str | None = None

    def threshold(self, outer: float | None = None) -> float:
        """The score that counts in the end."""
        return max(self.first_cut, self.second_cut, self.outer_cut if outer is None else outer)

    def to_dict(self) -> dict[str, Any]:
        """What a result records."""
        return {**asdict(self), "effective_threshold": self.threshold()}


_BEST, _320N = "9832f15515bdb06b", "c15d8273adad2d0a"
"""SHA-256 of best.onnx, which came with versions 3.0.x, and of 320n.onnx, which comes with 3.4."""

PROFILES = {
    "udatk": NudeNetProfile("3.0.1", "square", 0.5, 0.5, 0.5, outer_cut=0.45, network=_BEST),
    "v3.0.2-4": NudeNetProfile("3.0.2-3.0.4", "letterbox-edge", 0.5, 0.25, 0.45, network=_BEST),
    "v3.0.5-8": NudeNetProfile("3.0.8", "letterbox-black", 0.2, 0.25, 0.45, network=_BEST),
    "v3.4": NudeNetProfile("3.4.2, given paths", "pad", 0.2, 0.25, 0.45, colours="BGR", network=_320N),
    "v3.4-array": NudeNetProfile("3.4.2, given RGB arrays", "pad", 0.2, 0.25, 0.45, network=_320N),
    "v3.4-640": NudeNetProfile("3.4.2 with 640m.onnx, given paths", "pad", 0.2, 0.25, 0.45, colours="BGR", size=640),
}
"""By name. Version 3.4 sees red and blue exchanged when it is given a path, and not when it is given an array: two detectors."""
