"""The manifest of an edit: everything needed to trace it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 1


class Manifest(BaseModel):
    """What `edit.json` holds.

    base         fingerprints of the model the edit was made for, by dtype
    ledger       manifests of the edits that this one contains or was trained on top of, oldest first
    measurements what was measured on base and edited model
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: str = "weights"
    model: str
    base: dict[str, str]
    method: str
    concepts: list[dict[str, Any]]
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = ""
    measurements: dict[str, Any] = Field(default_factory=dict)
    ledger: list[dict[str, Any]] = Field(default_factory=list)

    @classmethod
    def parse(cls, text: str, where: str) -> Manifest:
        """Read JSON. Raises ValueError in one line if it is not a manifest or of a newer format."""
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "file"
            raise ValueError(f"{where} is not the manifest of an edit: {place}: {first['msg']}") from None
        if manifest.format > FORMAT:
            raise ValueError(f"{where} has format {manifest.format}; this version of excise reads up to {FORMAT}")
        return manifest

    @property
    def names(self) -> list[str]:
        """Labels of the erased concepts, such as "object:cat"."""
        return [f"{concept['kind']}:{concept['name']}" for concept in self.concepts]


def versions() -> dict[str, str]:
    """Versions of excise and of what computes the weights."""
    from importlib.metadata import version

    return {name: version(name) for name in ("excise", "torch", "diffusers", "transformers")}
