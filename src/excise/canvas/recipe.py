"""The order and the length of the canvas's training: autoencoder, classifier, text encoder, then U-Net with the text encoder.

The restorer is trained apart from these, on the canvas that ships.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from excise.canvas import diffusion, judge, restorer_training, vae
from excise.canvas.requests import TrainRequest
from excise.files import read_record, write_json
from excise.models.loading import pick_device
from excise.requests.request import function

PARTS: dict[str, int] = {"vae": 8500, "classifier": 1500, "text": 900, "diffusion": 24000}
"""Steps of each part, in training order."""

SR = 2400
"""Steps of the restorer, of both stages together."""

WITHOUT = "without.json"


def run(request: TrainRequest) -> bool:
    """Carry out a request that was checked; returns whether everything asked for is done."""
    deadline = None if request.stop_after is None else time.monotonic() + request.stop_after
    left_out, picked = frozenset(request.without), pick_device(request.device)
    request.work.mkdir(parents=True, exist_ok=True)
    if request.part not in ("vae", "classifier", "sr"):
        _check_without(request.work, left_out)
    for name in PARTS if request.part == "all" else (request.part,):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not _train(name, request.work, request.steps or PARTS.get(name, SR), left_out, left, picked):
            return False
    return True


train = function(TrainRequest, run)


def never_met(work: Path) -> list[str]:
    """What text encoder and U-Net in the folder never meet, sorted."""
    path = work / WITHOUT
    return read_record(path, list[str], "the list of what was left out") if path.is_file() else []


def _check_without(work: Path, without: frozenset[str]) -> None:
    """Raise ValueError if the folder's text encoder or U-Net was begun with something else left out; else say what is."""
    begun = any((work / f"{part}.ckpt.safetensors").exists() for part in ("text", "diffusion"))
    if begun and never_met(work) != sorted(without):
        raise ValueError(f"{work} was begun without {', '.join(never_met(work)) or 'nothing'}; choose another folder")
    write_json(work / WITHOUT, sorted(without))


def _train(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None, device: torch.device) -> bool:
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
