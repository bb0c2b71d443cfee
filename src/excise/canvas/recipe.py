"""The order and the length of the canvas's training: autoencoder, classifier, text encoder, then U-Net with the text encoder.

The restorer is trained apart from these, on the canvas that ships. The parts of canvas-flow are in `flow/flow_recipe.py`; the same command
trains them, in a folder of their own.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from excise.canvas import diffusion, judge, restorer_training, vae
from excise.canvas.flow import flow_recipe as flow
from excise.canvas.requests import TrainRequest
from excise.files import read_record, write_json
from excise.models.loading import pick_device
from excise.requests.request import function

PARTS: dict[str, int] = {"vae": 8500, "classifier": 1500, "text": 900, "diffusion": 24000}
"""Steps of each part, in training order."""
ALL: dict[str, dict[str, int]] = {"all": PARTS, "flow": flow.PARTS}

SR = 2400
"""Steps of the restorer, of both stages together."""

WITHOUT = "without.json"


def run(request: TrainRequest) -> bool:
    """Carry out a request that was checked; returns whether everything asked for is done."""
    deadline = None if request.stop_after is None else time.monotonic() + request.stop_after
    left_out, picked = frozenset(request.without), pick_device(request.device)
    request.work.mkdir(parents=True, exist_ok=True)
    _check_model(request.work, request.part)
    if request.part not in ("vae", "classifier", "sr", "flow-places"):
        _check_without(request.work, left_out)
    every = {**PARTS, **flow.PARTS, "sr": SR}
    for name in ALL.get(request.part, (request.part,)):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not _train(name, request.work, request.steps or every[name], left_out, left, picked):
            return False
    return True


train = function(TrainRequest, run)


def never_met(work: Path) -> list[str]:
    """What text encoders and denoiser in the folder never meet, sorted."""
    path = work / WITHOUT
    return read_record(path, list[str], "the list of what was left out") if path.is_file() else []


def _check_model(work: Path, part: str) -> None:
    """Raise ValueError if the folder has parts of the other model."""
    other, sign = ("canvas", "vae") if part.startswith("flow") else ("canvas-flow", flow.POOLED)
    if (work / sign).exists():
        raise ValueError(f"{work} has trained parts of {other}; choose another folder")


def _check_without(work: Path, without: frozenset[str]) -> None:
    """Raise ValueError if the folder's text encoder or denoiser was begun with something else left out; else say what is."""
    begun = any((work / f"{part}.ckpt.safetensors").exists() for part in ("text", "diffusion", "transformer"))
    if begun and never_met(work) != sorted(without):
        raise ValueError(f"{work} was begun without {', '.join(never_met(work)) or 'nothing'}; choose another folder")
    write_json(work / WITHOUT, sorted(without))


def _train(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None, device: torch.device) -> bool:
    if part in flow.PARTS:
        return flow.train(part, work, steps, without, stop_after, device)
    if part == "vae":
        return vae.train_vae(work, steps=steps, stop_after=stop_after, device=device)
    if part == "sr":
        return restorer_training.train_restorer(work, steps=steps, stop_after=stop_after, device=device)
    needed = {"vae": work / "vae"} | ({"text": work / "text_encoder"} if part == "diffusion" else {})
    for name, folder in needed.items():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{work} has no trained {name} part yet; train {name} first")
    if part == "classifier":
        return judge.train_classifier(work, steps=steps, stop_after=stop_after, device=device)
    run = diffusion.train_text if part == "text" else diffusion.train_diffusion
    return run(work, steps=steps, without=without, stop_after=stop_after, device=device)
