"""The gradient loop of all trained methods: rounds that collect states anew, steps within a round, exact resume."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from excise.digests import digest_text
from excise.erasure.counterexamples import record
from excise.erasure.run import Run
from excise.erasure.saved_round import check_saved, read_round, write_round
from excise.erasure.training_settings import Trained

log = logging.getLogger(__name__)
Loss = Callable[[int], Tensor]
CHECKPOINTS = 50
"""A run of more rounds does not write a checkpoint after each."""


class HasParameters(Protocol):
    """What is trained: a `Trainable`, or anything else with parameters by name."""

    parameters: dict[str, nn.Parameter]


def train(
    trainable: HasParameters,
    prepare: Callable[[int], Loss],
    settings: Trained,
    run: Run,
    *,
    descent: Callable[[list[nn.Parameter], float], torch.optim.Optimizer] | None = None,
    adjust: Callable[[], None] | None = None,
    clips: bool = True,
    after: Callable[[], bool | None] | None = None,
    enough: Callable[[], bool] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Rounds of steps of Adam (AdamW if there is weight decay) on the trainable's parameters, as the settings say.

    prepare  round -> loss of a step; called at the start of a round with the weights as they are then
    descent  another optimizer than Adam, made of parameters and learning rate; keeps "step", "exp_avg" and "exp_avg_sq" as Adam does
    adjust   called when the gradients are there, before they are clipped and used: masks, surgery
    clips    whether the settings' `clip` is for the gradients after that; False for a method that clips something else by it
    after    called after every step; a true answer ends the training
    enough   called before every round and after the last, with the weights as they are then; a true answer ends the training
    state    further tensors that change in place while training (averages, a critic); checkpoints hold them too
    A checkpoint is written after every round (of many rounds, after about every fiftieth of the run) and after an early end; a run with the
    same settings and seed goes on from it, on the CPU and with as many threads to the same bits.

    Raises FloatingPointError if the loss is not finite, ValueError for a checkpoint of another run.
    """
    rounds, steps, lr = settings.rounds, settings.steps, settings.lr
    parameters = list(trainable.parameters.values())
    optimizer = descent(parameters, lr) if descent is not None else _adam(parameters, settings)
    identity = _identity(trainable, settings, run)
    state = dict(state or {})
    first = _restore(trainable, optimizer, run, identity, state, rounds)
    total = rounds * steps
    run.team.follow_leader([*parameters, *state.values()])
    run.all_read()
    for round_ in range(first, rounds):
        run.progress("erasing", round_ * steps, total)
        if enough is not None and run.team.agreed(enough()):
            log.info("enough after %d of %d rounds", round_, rounds)
            run.progress("erasing", total, total)
            return
        loss = prepare(round_)
        for step in range(steps):
            done = round_ * steps + step
            for group in optimizer.param_groups:
                group["lr"] = _rate(settings, done, total)
            with run.team.learning():
                value = loss(step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            run.team.average(parameters)
            if not torch.isfinite(value):
                raise FloatingPointError(f"the loss is {value.item()} at step {done}; try a smaller learning rate than {lr}")
            if adjust is not None:
                adjust()
            if clips and settings.clip is not None:
                nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            run.progress("erasing", done + 1, total)
            if after is not None and run.team.agreed(bool(after())):
                log.info("ended after %d of %d steps", done + 1, total)
                _store(trainable, optimizer, run, identity, state, rounds)
                return
        log.info("round %d: loss %.5f", round_, value.item())
        if (round_ + 1) % max(1, rounds // CHECKPOINTS) == 0:
            _store(trainable, optimizer, run, identity, state, round_ + 1)
    if enough is not None:
        enough()


def _adam(parameters: list[nn.Parameter], settings: Trained) -> torch.optim.Optimizer:
    if settings.weight_decay:
        return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.Adam(parameters, lr=settings.lr)


def _rate(settings: Trained, done: int, total: int) -> float:
    """The learning rate of a step: falling as a half cosine over the whole run, or constant."""
    return settings.lr * (1 + math.cos(math.pi * done / total)) / 2 if settings.schedule == "cosine" else settings.lr


def _identity(trainable: HasParameters, settings: Trained, run: Run) -> str:
    text = json.dumps([sorted(trainable.parameters), settings.model_dump(), run.seed, record(run.counterexamples), run.task])
    return digest_text(text)


def _store(
    trainable: HasParameters,
    optimizer: torch.optim.Optimizer,
    run: Run,
    identity: str,
    state: Mapping[str, Tensor],
    round_: int,
) -> None:
    if run.checkpoint is None or not run.team.leads:
        return
    tensors: dict[str, Tensor] = {f"weight.{name}": parameter for name, parameter in trainable.parameters.items()}
    tensors |= {f"state.{name}": tensor for name, tensor in state.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    write_round(run.checkpoint, tensors, identity, round_)


def _restore(
    trainable: HasParameters,
    optimizer: torch.optim.Optimizer,
    run: Run,
    identity: str,
    state: Mapping[str, Tensor],
    rounds: int,
) -> int:
    """Go on from the checkpoint, if there is one; returns how many rounds are done."""
    if run.checkpoint is None or not run.checkpoint.exists():
        return 0
    parameters = trainable.parameters
    saved, done = read_round(run.checkpoint, identity, rounds)
    moments = [
        index for index in range(len(parameters)) if f"optimizer.{index}.step" in saved
    ]  # none without a gradient so far
    check_saved(run.checkpoint, saved, _expected(parameters, state, moments, saved))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[f"weight.{name}"])
        for name, tensor in state.items():
            tensor.copy_(saved[f"state.{name}"])
    kept = {index: {key: saved[f"optimizer.{index}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")} for index in moments}
    optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})
    return done


def _expected(
    parameters: Mapping[str, Tensor], state: Mapping[str, Tensor], moments: list[int], saved: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors of the shapes and dtypes that a checkpoint holds, with moments of these parameters; a second one may be a number for all."""
    expected = {f"weight.{name}": parameter for name, parameter in parameters.items()}
    expected |= {f"state.{name}": tensor for name, tensor in state.items()}
    for index, parameter in enumerate(parameters.values()):
        if index in moments:
            second = saved.get(f"optimizer.{index}.exp_avg_sq", parameter)
            like = {
                "step": torch.tensor(0.0),
                "exp_avg": parameter,
                "exp_avg_sq": parameter if second.ndim else torch.tensor(0.0),
            }
            expected |= {f"optimizer.{index}.{key}": tensor for key, tensor in like.items()}
    return expected
