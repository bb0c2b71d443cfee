"""What all requests have in common that are about a model."""

from __future__ import annotations

from excise.models.families import check_described
from excise.requests.fields import ConfigFrom, Device, Dtype, ModelName, Offloaded
from excise.requests.request import Request


class OnModel(Request):
    """Which model, and how it is loaded."""

    model: ModelName
    config_from: ConfigFrom
    device: Device
    dtype: Dtype
    offload: Offloaded

    def check(self) -> None:
        check_described(self.model, self.config_from)
