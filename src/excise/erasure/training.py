"""The gradient loop of all trained methods: rounds that collect states anew, steps within a round, exact resume."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

from excise.erasure.run import Run
from excise.erasure.trainee import Trainee
from excise.files import read_tensors, write_tensors
from excise.methods import Settings

log = logging.getLogger(__name__)
Loss = Callable[[int], Tensor]


def train_in_rounds(
    trainee: Trainee,
    prepare: Callable[[int], Loss],
    *,
    rounds: int,
    steps: int,
    lr: float,
    run: Run,
    settings: Settings,
) -> None:
    """Adam on the trainee's parameters, learning rate falling as a half cosine over the whole run.

    prepare  round -> loss of a step; called at the start of a round with the weights as they are then
    A checkpoint is written after every round; a run with the same settings and seed goes on from it to the same bits.

    Raises FloatingPointError if the loss is not finite, ValueError for a checkpoint of another run.
    """
    parameters = list(trainee.parameters.values())
    optimizer = torch.optim.Adam(parameters, lr=lr)
    identity = _identity(trainee, settings, run)
    first = _restore(trainee, optimizer, run, identity)
    total = rounds * steps
    for round_ in range(first, rounds):
        run.progress("erasing", round_ * steps, total)
        loss = prepare(round_)
        for step in range(steps):
            done = round_ * steps + step
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * done / total)) / 2
            value = loss(step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if not torch.isfinite(value):
                raise FloatingPointError(f"the loss is {value.item()} at step {done}; try a smaller learning rate than {lr}")
            optimizer.step()
            run.progress("erasing", done + 1, total)
        log.info("round %d: loss %.5f", round_, value.item())
        _store(trainee, optimizer, run, identity, round_ + 1)


def _identity(trainee: Trainee, settings: Settings, run: Run) -> str:
    text = json.dumps([sorted(trainee.parameters), settings.model_dump(), run.seed])
    return hashlib.sha256(text.encode()).hexdigest()


def _store(trainee: Trainee, optimizer: torch.optim.Optimizer, run: Run, identity: str, round_: int) -> None:
    if run.checkpoint is None:
        return
    tensors = {f"weight.{name}": parameter for name, parameter in trainee.parameters.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    write_tensors(run.checkpoint, tensors, {"identity": identity, "round": str(round_)})


def _restore(trainee: Trainee, optimizer: torch.optim.Optimizer, run: Run, identity: str) -> int:
    if run.checkpoint is None or not run.checkpoint.exists():
        return 0
    tensors, metadata = read_tensors(run.checkpoint)
    if metadata.get("identity") != identity:
        raise ValueError(f"{run.checkpoint} belongs to a run with other settings; use the same ones or start without --resume")
    with torch.no_grad():
        for name, parameter in trainee.parameters.items():
            parameter.copy_(tensors[f"weight.{name}"])
    keys = ("step", "exp_avg", "exp_avg_sq")
    state = {i: {key: tensors[f"optimizer.{i}.{key}"] for key in keys} for i in range(len(trainee.parameters))}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["round"])
