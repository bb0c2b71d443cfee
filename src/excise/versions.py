"""Which versions made a number or a weight."""

from __future__ import annotations

from importlib.metadata import version


def versions() -> dict[str, str]:
    """Versions of excise and of what computes the weights."""
    from excise import __version__

    return {"excise": __version__, **{name: version(name) for name in ("torch", "diffusers", "transformers")}}
