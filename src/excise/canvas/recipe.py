"""The order and the length of the canvas's training: autoencoder, classifier, text encoder, then U-Net with the text encoder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files import read_json, write_json

if TYPE_CHECKING:
    import torch

PARTS: dict[str, int] = {"vae": 8500, "classifier": 1500, "text": 900, "diffusion": 24000}
"""Steps of each part, in training order."""
WITHOUT = "without.json"


def train(
    part: str,
    work: Path,
    *,
    without: Sequence[str] = (),
    steps: int | None = None,
    stop_after: float | None = None,
    device: str = "cpu",
) -> bool:
    """Train one part, or "all" of them in order, in the folder `work`; goes on where an earlier call stopped.

    without     objects, members and styles that text encoder and U-Net never meet: the gold standard of their removal. Autoencoder and
                classifier are the same with and without, so those of another `work` may be copied
    steps       default those of `PARTS`
    stop_after  seconds after which to write a checkpoint and stop, for all parts together
    device      "cpu", "cuda", "mps", ...; a folder that was begun on one may go on on another. The default is not the fastest there is:
                on the CPU the same machine makes the same weights to the bit, stopped in between or not

    Returns whether everything asked for is done. Raises ValueError for an unknown part, name or device, "all" with `steps`, or a folder
    that was begun with another `without`.
    """
    if part != "all" and part not in PARTS:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(PARTS)}, all")
    if part == "all" and steps is not None:
        raise ValueError("steps differ from part to part; give them with one part at a time")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    from excise.models.loading import pick_device

    deadline = None if stop_after is None else time.monotonic() + stop_after
    left_out = frozenset(without)
    _check_names(left_out)
    picked = pick_device(device)
    work.mkdir(parents=True, exist_ok=True)
    if part not in ("vae", "classifier"):
        _check_without(work, left_out)
    for name in PARTS if part == "all" else (part,):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not _train(name, work, steps or PARTS[name], left_out, left, picked):
            return False
    return True


def never_met(work: Path) -> list[str]:
    """What text encoder and U-Net in the folder never meet, sorted."""
    path = work / WITHOUT
    return read_json(path, list) if path.is_file() else []


def _check_names(without: frozenset[str]) -> None:
    import torch

    from excise.canvas.data import showing_none_of

    none = torch.zeros(0, dtype=torch.int64)
    showing_none_of(none, none, without)


def _check_without(work: Path, without: frozenset[str]) -> None:
    """Raise ValueError if the folder's text encoder or U-Net was begun with something else left out; else say what is."""
    begun = any((work / f"{part}.ckpt.safetensors").exists() for part in ("text", "diffusion"))
    if begun and never_met(work) != sorted(without):
        raise ValueError(f"{work} was begun without {', '.join(never_met(work)) or 'nothing'}; choose another folder")
    write_json(work / WITHOUT, sorted(without))


def _train(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None, device: torch.device) -> bool:
    from excise.canvas import diffusion, judge, vae

    if part == "vae":
        return vae.train_vae(work, steps=steps, stop_after=stop_after, device=device)
    needed = {"vae": work / "vae"} | ({"text": work / "text_encoder"} if part == "diffusion" else {})
    for name, folder in needed.items():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{work} has no trained {name} part yet; train {name} first")
    if part == "classifier":
        return judge.train_classifier(work, steps=steps, stop_after=stop_after, device=device)
    run = diffusion.train_text if part == "text" else diffusion.train_diffusion
    return run(work, steps=steps, without=without, stop_after=stop_after, device=device)
