"""The loop that trains every part of the canvas: AdamW, warm-up and final decay, weight averaging, exact resume.

Each step draws its randomness on the CPU, from a generator seeded by (seed, step), so a run resumed from a checkpoint sees what the
uninterrupted run does, and on the CPU of the same machine repeats it bit for bit. Checkpoints are the same on every device: a run
that was begun on one may go on on another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from excise.erasure.saved_round import check_saved, read_round, write_round

log = logging.getLogger(__name__)
CPU = torch.device("cpu")
WHAT = "a part of the canvas"
"""What its checkpoints are, told from those of erasures."""


def step_generator(seed: int, step: int) -> Generator:
    """The generator of one step (CPU)."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 200, decay: float = 0.25) -> float:
    """Linear warm-up over `warmup` steps, then constant, then a linear fall to 2 % over the last `decay` of the run."""
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, max(0.02, (steps - step) / (decay * steps)))
    return peak * rise * fall


def train(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    checkpoint: Path,
    ema: float = 0.999,
    weight_decay: float = 0.01,
    every: int = 500,
    stop_after: float | None = None,
    slow: tuple[str, float] | None = None,
    device: torch.device = CPU,
) -> bool:
    """Train `module` in place; at the end it holds the averaged weights, on the CPU.

    loss       step -> scalar tensor on `device`; draws everything random from `step_generator`
    checkpoint file to resume from and to write every `every` steps
    ema        decay of the weight average, warmed up as (1 + n) / (10 + n)
    stop_after seconds after which to write the checkpoint and stop, or None
    slow       (prefix, factor): parameters whose names start with it learn at `factor` times the rate; they must come last
    device     where the module is trained

    Returns whether all steps were done. Raises ValueError for a checkpoint that is damaged, of another module or of more steps.
    """
    module.to(device)
    parameters = [p for p in module.parameters() if p.requires_grad]
    prefix, factor = slow or ("", 1.0)
    named = [(name.startswith(prefix), p) for name, p in module.named_parameters() if p.requires_grad]
    groups = [{"params": [p for s, p in named if s is late], "factor": factor if late else 1.0} for late in (False, True)]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in parameters]
    start = _load(checkpoint, module, optimizer, parameters, average, steps)
    began, mean = time.time(), 0.0
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate(step, steps, lr)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        mean += (value.item() - mean) / min(step - start + 1, 100)
        if (step + 1) % 100 == 0:
            speed = (time.time() - began) / (step + 1 - start)
            log.info("step %d/%d  loss %.4f  %.3f s/step", step + 1, steps, mean, speed)
        out_of_time = stop_after is not None and time.time() - began > stop_after
        if (step + 1) % every == 0 or step + 1 == steps or out_of_time:
            _save(checkpoint, step + 1, module, optimizer, average)
        if out_of_time and step + 1 < steps:
            break
    finished = start >= steps or step + 1 == steps
    with torch.no_grad():
        for parameter, mean_weight in zip(parameters, average, strict=True):
            parameter.copy_(mean_weight)
    module.to(CPU)
    return finished


def _save(path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> None:
    write_round(path, _tensors(module, optimizer, average), WHAT, step)


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> dict[str, Tensor]:
    """All that a training is, by the names that its checkpoint has."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average.{index}": tensor for index, tensor in enumerate(average)}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": tensor for key, tensor in state.items()}
    return tensors


def _load(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    average: list[Tensor],
    steps: int,
) -> int:
    """Go on from a checkpoint; how many steps are done. Raises ValueError for one that is damaged, or of another module."""
    if not path.exists():
        return 0
    tensors, step = read_round(path, WHAT, steps)
    expected = _tensors(module, optimizer, average)
    for index, parameter in enumerate(parameters):
        moments = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
        expected |= {f"optimizer.{index}.{key}": tensor for key, tensor in moments.items()}
    check_saved(path, tensors, expected)
    module.load_state_dict({k.removeprefix("module."): t for k, t in tensors.items() if k.startswith("module.")})
    for index, weight in enumerate(average):
        weight.copy_(tensors[f"average.{index}"])
    keys = ("step", "exp_avg", "exp_avg_sq")
    state = {index: {key: tensors[f"optimizer.{index}.{key}"] for key in keys} for index in range(len(parameters))}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    log.info("resumed from %s at step %d", path, step)
    return step
