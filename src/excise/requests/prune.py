"""What is asked for when blocks are taken out of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise.files import check_replaceable
from excise.models.contents import model_files
from excise.models.families import check_described, check_offers
from excise.models.names import resolve
from excise.requests.fields import ConfigFrom, Device, Dtype, Flag, Overwrite, PathOrName, UserPath
from excise.requests.request import Request
from excise.requests.students import STUDENT, check_outside


class PruneRequest(Request):
    """Take whole blocks out of a U-Net: writes a smaller model that plain diffusers loads, to be repaired with `excise distill`.

    Pairs of a residual block and an attention block go first (BK-SDM), then the middle block, then the attention of stages. The folder's
    student.json says what went. Pictures of a model that was not repaired yet are poor.

    Returns what student.json holds. Raises ValueError for a model without a U-Net, one that cannot become so small, or a folder inside the
    model's; FileNotFoundError; FileExistsError if `out` is there and may not be replaced.
    """

    reports = False

    model: Annotated[PathOrName, Flag(positional=True)] = Field(
        "canvas", description="Built-in name, diffusers folder, .safetensors checkpoint or hub id (owner/name)."
    )
    keep: float = Field(
        0.6, gt=0, lt=1, description="Share of the U-Net's parameters to keep; the nearest that whole blocks give."
    )
    out: UserPath = Field(description="Folder for the smaller model.")
    config_from: ConfigFrom
    overwrite: Overwrite
    device: Device
    dtype: Dtype

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        base = resolve(self.model)
        check_described(self.model, self.config_from)
        check_offers(base, "pruning", ("U-Net",))
        check_outside(self.out, base, *filter(None, [self.config_from]))
        check_replaceable(self.out, STUDENT, self.overwrite)
        if isinstance(base, Path) and base.is_dir():
            model_files(base)
