"""The order and the length of the wide canvas's training: text encoders, then transformer with text encoders, then the judge of places."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from excise.canvas.flow import transformer, two_encoders, two_places, wide_data
from excise.canvas.flow.things import NAMES
from excise.canvas.flow.wide_data import Labels
from excise.canvas.train_loop import step_generator
from excise.digests import digest_values
from excise.erasure.saved_round import check_saved, read_round, write_round
from excise.models.built_in import built_in

log = logging.getLogger(__name__)
PARTS: dict[str, int] = {"flow-text": 2000, "flow-transformer": 15000, "flow-places": 1000}
"""Steps of each part, in training order."""

POOLED = "pool.safetensors"
"""Where the pictures to learn from are kept."""

POOL, CHUNK = 98304, 512
"""Encoded pictures to learn from, and how many are drawn at once (32 at a time are encoded: twice as fast as all)."""


def train(part: str, work: Path, steps: int, without: frozenset[str], stop_after: float | None, device: torch.device) -> bool:
    """Train a part; see `PARTS`. Returns whether all steps were done. The autoencoder is the canvas's own.

    Raises FileNotFoundError if an earlier part is not trained.
    """
    vae = AutoencoderKL.from_pretrained(built_in("canvas") / "vae").eval()
    if part == "flow-places":
        return two_places.train_places(vae, work, steps=steps, stop_after=stop_after, device=device)
    if part == "flow-transformer" and not all((work / folder / "config.json").is_file() for folder in two_encoders.FOLDERS):
        raise FileNotFoundError(f"{work} has no trained flow-text part yet; train flow-text first")
    latents, labels = latent_pool(vae.to(device), work / POOLED)
    keep = wide_data.showing_none_of(labels, without)
    run = two_encoders.train_text if part == "flow-text" else transformer.train_transformer
    return run(latents[keep], labels[keep], work, steps=steps, stop_after=stop_after, device=device)


@torch.no_grad()
def latent_pool(vae: AutoencoderKL, path: Path, count: int = POOL) -> tuple[torch.Tensor, Labels]:
    """`count` encoded training pictures, (count, 8, 8, 8) float16, with labels, all on the CPU; drawn once and kept in `path`.

    Raises ValueError for a file that is damaged or has other pictures.
    """
    columns = ("left", "right", "size", "style")
    identity = digest_values([count, list(NAMES)])
    if path.exists():
        pool = read_round(path, identity, 0)[0]
        label = torch.zeros(count, dtype=torch.int64)
        check_saved(path, pool, {"latents": torch.zeros(count, 8, 8, 8).half(), **dict.fromkeys(columns, label)})
    else:
        vae.to(memory_format=torch.channels_last)
        log.info("drawing %d pictures to learn from", count)
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in ("latents", *columns)}
        for index in range(count // CHUNK):
            pictures, labels = wide_data.draw(CHUNK, step_generator(10, index))
            for few in pictures.to(vae.device, memory_format=torch.channels_last).split(32):
                parts["latents"].append(vae.encode(few * 2 - 1).latent_dist.mean.half().cpu().contiguous())
            for name in columns:
                parts[name].append(getattr(labels, name))
        pool = {name: torch.cat(chunks) for name, chunks in parts.items()}
        write_round(path, pool, identity, 0)
    return pool["latents"], Labels(*(pool[name] for name in columns))
