"""Residual information: what a concept's words still say about pictures, in nats."""

from excise.information.measurement import Measurement
from excise.information.picture_sets import PictureSet, make_pictures, read_pictures
from excise.information.residual import measure

__all__ = ["Measurement", "PictureSet", "make_pictures", "measure", "read_pictures"]
