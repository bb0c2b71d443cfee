"""What a checkpoint's file holds: a training's tensors after a round, a digest over all of it, and what decided their last bits."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from excise.digests import digest_tensors, digest_values
from excise.erasure.checkpoints import DamagedCheckpointError
from excise.files import check_shapes, read_tensors, write_tensors


def write_round(path: Path, tensors: Mapping[str, Tensor], identity: str, rounds: int) -> None:
    """Write the tensors after so many rounds of the run that `identity` tells from others."""
    about = {"identity": identity, "round": str(rounds), "made": circumstances()}
    write_tensors(path, tensors, {**about, "digest": _digest(tensors, about)})


def read_round(path: Path, identity: str, rounds: int) -> tuple[dict[str, Tensor], int]:
    """The tensors of a run of so many rounds, and how many of them are done.

    Raises DamagedCheckpointError, or ValueError for a checkpoint of another run. Warns if it was written in other circumstances, in which
    numbers are rounded otherwise.
    """
    try:
        tensors, metadata = read_tensors(path)
        about = {key: metadata.get(key, "") for key in ("identity", "round", "made")}
        if metadata.get("digest") != _digest(tensors, about):
            raise ValueError(f"{path} is damaged: its content is not what was written (the digest differs)")
    except ValueError as error:
        raise DamagedCheckpointError(path, error) from None
    if about["identity"] != identity:
        raise ValueError(f"{path} belongs to a run with other settings; use the same ones or start without --resume")
    if not about["round"].isdecimal() or int(about["round"]) > rounds:
        raise DamagedCheckpointError(path, f"{path} is damaged: it is after round {about['round'][:200]!r} of {rounds}")
    if about["made"] != (now := circumstances()):
        warnings.warn(
            f"this run began with {about['made']} and goes on with {now}: its last bits may differ from those of a run that was not stopped",
            stacklevel=2,
        )
    return tensors, int(about["round"])


def check_saved(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise DamagedCheckpointError unless the names, shapes and dtypes are those of `expected`."""
    try:
        check_shapes(
            path, {name: tuple(t.shape) for name, t in tensors.items()}, {name: tuple(t.shape) for name, t in expected.items()}
        )
        for name, tensor in expected.items():
            if tensors[name].dtype != tensor.dtype:
                raise ValueError(f"{path} is damaged: {name} is {tensors[name].dtype}, expected {tensor.dtype}")
    except ValueError as error:
        raise DamagedCheckpointError(path, error) from None


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    return digest_values([digest_tensors(tensors), dict(about)])


def circumstances() -> str:
    """What, of equal versions, decides how numbers are rounded: threads, processor, graphics processor."""
    graphics = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    processor = [platform.machine(), torch.backends.cpu.get_cpu_capability(), *graphics]
    return f"{torch.get_num_threads()} threads on {' '.join(processor)}"
