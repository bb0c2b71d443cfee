"""How a picture is restored, where that is not as published. No torch here."""

from __future__ import annotations

from typing import Literal

Colour = Literal["wavelet", "adain", "none"]
"""How the colours of the low-quality picture are given back: those of coarse structures; mean and deviation of each channel; not at all."""

COLOUR: Colour = "wavelet"
"""Where nobody says otherwise (ours)."""

FIDELITY = 0.5
"""How much the decoder looks at the low-quality picture, 0 (not at all) to 1; the published default."""
