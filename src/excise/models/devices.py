"""Which devices there may be, as far as that is known without torch."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version

from excise.hints import nearest
from excise.quoting import quoted

DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "mtia", "xla", "vulkan", "maia", "meta")
"""What torch calls the devices on which a model can lie; a number may follow, as in cuda:1."""


def check_device(device: str | None) -> None:
    """Raise ValueError for a device that no machine has, or that this one or its torch is not made for. `load` tells of the others."""
    if device is None:
        return
    kind = device.partition(":")[0]
    if kind not in DEVICES or not re.fullmatch(r"[a-z]+(:\d{1,3})?", device):
        raise ValueError(f"no device {quoted(device)} here; {nearest(kind, DEVICES)}")
    if kind == "mps" and sys.platform != "darwin":
        raise ValueError(f"no device {quoted(device)} here: Apple's machines alone have mps")
    if kind == "cuda" and _torch().endswith("+cpu"):
        raise ValueError(f"no device {quoted(device)} here: the torch that is installed ({_torch()}) is made for the CPU alone")


def _torch() -> str:
    """The version of torch that is installed, with what it is made for."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
