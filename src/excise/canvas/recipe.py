"""The order and the length of the canvas's training: autoencoder, classifier, text encoder, then U-Net with the text encoder."""

from __future__ import annotations

import time
from pathlib import Path

PARTS: dict[str, int] = {"vae": 8500, "classifier": 1500, "text": 900, "diffusion": 24000}
"""Steps of each part, in training order."""


def train(part: str, work: Path, *, steps: int | None = None, stop_after: float | None = None) -> bool:
    """Train one part, or "all" of them in order, in the folder `work`; goes on where an earlier call stopped.

    steps       default those of `PARTS`
    stop_after  seconds after which to write a checkpoint and stop, for all parts together

    Returns whether everything asked for is done. Raises ValueError for an unknown part or "all" with `steps`.
    """
    if part != "all" and part not in PARTS:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(PARTS)}, all")
    if part == "all" and steps is not None:
        raise ValueError("steps differ from part to part; give them with one part at a time")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    deadline = None if stop_after is None else time.monotonic() + stop_after
    work.mkdir(parents=True, exist_ok=True)
    for name in PARTS if part == "all" else (part,):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not _train(name, work, steps or PARTS[name], left):
            return False
    return True


def _train(part: str, work: Path, steps: int, stop_after: float | None) -> bool:
    from excise.canvas import diffusion, judge, vae

    if part == "vae":
        return vae.train_vae(work, steps=steps, stop_after=stop_after)
    needed = {"vae": work / "vae"} | ({"text": work / "text_encoder"} if part == "diffusion" else {})
    for name, folder in needed.items():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{work} has no trained {name} part yet; train {name} first")
    run = {"classifier": judge.train_classifier, "text": diffusion.train_text, "diffusion": diffusion.train_diffusion}[part]
    return run(work, steps=steps, stop_after=stop_after)
