"""A bilevel training as the tensors of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from excise.erasure.saved_round import check_saved
from excise.pruning.bilevel import BilevelTrainer

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of a parameter."""


def to_tensors(trainer: BilevelTrainer, seen: Tensor) -> dict[str, Tensor]:
    """Both students, both optimizers, how many steps each took, and what the losses of the rounds were."""
    found: dict[str, Tensor] = {"seen": seen} | {f"weight.{name}": parameter for name, parameter in trainer.parameters.items()}
    found |= {f"repaired.{name}": tensor for name, tensor in (trainer.repaired or {}).items()}
    for level, optimizer in trainer.optimizers.items():
        found[f"taken.{level}"] = torch.tensor(trainer.taken[level])
        for index, moments in optimizer.state_dict()["state"].items():
            found |= {f"{level}.{index}.{key}": moments[key] for key in MOMENTS}
    return found


@torch.no_grad()
def restore(trainer: BilevelTrainer, saved: Mapping[str, Tensor], path: Path, seen: Tensor) -> None:
    """Go on from there. Raises DamagedCheckpointError, with nothing changed, for tensors that are not of this training."""
    check_saved(path, saved, {"seen": seen} | _expected(trainer, saved))
    seen.copy_(saved["seen"])
    for name, parameter in trainer.parameters.items():
        parameter.copy_(saved[f"weight.{name}"])
        if trainer.repaired is not None:
            trainer.repaired[name].copy_(saved[f"repaired.{name}"])
    for level, optimizer in trainer.optimizers.items():
        trainer.taken[level] = int(saved[f"taken.{level}"])
        kept = {
            index: {key: saved[f"{level}.{index}.{key}"] for key in MOMENTS}
            for index in range(len(trainer.parameters))
            if f"{level}.{index}.step" in saved
        }
        optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})


def _expected(trainer: BilevelTrainer, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the shapes and dtypes that the checkpoint of this training has; a level that took no step has no moments."""
    expected: dict[str, Tensor] = {f"weight.{name}": parameter for name, parameter in trainer.parameters.items()}
    expected |= {f"repaired.{name}": tensor for name, tensor in (trainer.repaired or {}).items()}
    for level in trainer.optimizers:
        expected[f"taken.{level}"] = torch.tensor(0)
        for index, parameter in enumerate(trainer.parameters.values()):
            if f"{level}.{index}.step" in saved:
                like = {"step": torch.tensor(0.0), "exp_avg": parameter, "exp_avg_sq": parameter}
                expected |= {f"{level}.{index}.{key}": tensor for key, tensor in like.items()}
    return expected
