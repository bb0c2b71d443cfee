"""Which versions made a number or a weight."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def own_version() -> str:
    """That of excise, as it was installed: of a release "0.2.0", between two "0.2.0.post1.dev3+g1234abc" (`pyproject.toml` says how)."""
    try:
        return version("excise")
    except PackageNotFoundError:  # sources on the path that were never installed
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of excise and of what computes the weights."""
    return {"excise": own_version(), **{name: version(name) for name in ("torch", "diffusers", "transformers")}}
