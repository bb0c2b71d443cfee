"""What there is to be shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from excise.requests.fields import Flag, ModelName
from excise.requests.request import Request


class ListRequest(Request):
    """List erasure methods, attacks of an audit, built-in models, or the concepts that a model declares."""

    what: Annotated[Literal["methods", "attacks", "models", "concepts"], Flag(positional=True)] = Field(
        description="methods, attacks, models or concepts."
    )
    model: ModelName


class InfoRequest(Request):
    """Say what an edit or a model is."""

    what: Annotated[str, Flag(positional=True, metavar="EDIT|MODEL")] = Field(
        description="Folder of an edit; or a model: built-in name, diffusers folder, .safetensors checkpoint or hub id (owner/name)."
    )
