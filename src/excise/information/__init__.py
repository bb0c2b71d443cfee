"""Residual information: what a concept's words still say about pictures, in nats. Torch is loaded when a name below is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.registry import late

if TYPE_CHECKING:
    from excise.information.picture_sets import PictureSet, make_pictures, read_pictures
    from excise.information.residual import Example, measure
    from excise.results.information import Measurement

_HOMES = {
    "Example": "residual",
    "Measurement": "residual",
    "PictureSet": "picture_sets",
    "make_pictures": "picture_sets",
    "measure": "residual",
    "read_pictures": "picture_sets",
}

__all__ = ["Example", "Measurement", "PictureSet", "make_pictures", "measure", "read_pictures"]

__getattr__ = late(__name__, _HOMES)
