"""Training a restorer on the canvas that ships: pictures of 16 x 16 pixels become pictures of 64 x 64 again (StableSR, arXiv 2305.07015).

Two stages, as in the paper. The first trains the encoder and the modulation by the model's own denoising loss; the second samples latents with
them and trains the wrapping alone to make of these, and of the low pictures, the good ones.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from excise.canvas import data
from excise.canvas.train_loop import CPU, step_generator, train
from excise.files import read_tensors, write_tensors
from excise.models import Model, load
from excise.restoration.degradation import degrade
from excise.restoration.restorer import Restorer
from excise.restoration.restorer_settings import RestorerSettings

log = logging.getLogger(__name__)

SETTINGS = RestorerSettings(
    width=64, multipliers=(1, 1), blocks=2, heads=4, features=64, hidden=32, levels=(1, 2), dense=1, growth=16
)
"""2.6 M weights, 5.2 MB in half precision (ours): as wide as the file may be, and cheap beside the U-Net, which takes most of a step."""

FIRST = 0.75
"""Share of the steps that the first stage takes (ours)."""

TIMES = 2
"""Timesteps at which the first stage asks about each picture (ours): a picture costs as much as a step of the network."""

PAIRS, CHUNK = 1024, 128
"""Pictures that the second stage learns from, and how many are sampled and kept at once (ours; paper: about 100,000)."""

SAMPLING_STEPS = 8
"""With which their latents are sampled (ours; paper: 200)."""


def train_restorer(
    work: Path, *, steps: int, batch: int = 32, stop_after: float | None = None, device: torch.device = CPU
) -> bool:
    """Train and save to `work/restorer.safetensors`, ready to ship; resumes from what lies in `work`. Returns whether all steps were done."""
    ends = None if stop_after is None else time.monotonic() + stop_after
    model = load("canvas", device=str(device))
    model.pipeline.unet.set_attn_processor(_plain_attention())
    restorer = Restorer.new(model, SETTINGS, seed=0)
    first = max(1, round(FIRST * steps))
    done = (
        _train_modulation(restorer, work, first, batch, _left(ends))
        and _draw_pairs(restorer, work / "sr_pairs", ends)
        and _train_wrapping(restorer, work, max(1, steps - first), batch // 4, _left(ends))
    )
    restorer.networks.to(CPU)
    restorer.write(work / "restorer.safetensors")
    return done


def _left(ends: float | None) -> float | None:
    return None if ends is None else max(0.0, ends - time.monotonic())


def _plain_attention() -> object:
    """On a CPU the fused attention kernel's backward is several times slower at these few tokens."""
    from diffusers.models.attention_processor import AttnProcessor

    return AttnProcessor()


def draw_low(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Good pictures and low ones of the same size, (count, 3, 64, 64) each."""
    pictures = data.draw(count, generator).pictures
    return pictures, degrade(pictures, generator)


def _train_modulation(restorer: Restorer, work: Path, steps: int, batch: int, stop_after: float | None) -> bool:
    model = restorer.model
    told, count = model.unconditional(), batch // TIMES
    _learn(restorer, ("encoder.", "modulation."))

    def loss(step: int) -> Tensor:
        generator = step_generator(8, step)
        pictures, low = draw_low(count, generator)
        clean, read = (model.encode_pictures(some).repeat(TIMES, 1, 1, 1) for some in (pictures, low))
        slots = (torch.arange(len(clean)) + torch.rand(len(clean), generator=generator)) / len(
            clean
        )  # one draw per equal slice
        t = (model.path.steps * slots).long()[torch.randperm(len(clean), generator=generator)]
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        with torch.autocast(model.device.type, torch.bfloat16):
            output = restorer.predict(model.path.noised(clean, noise, t), t, read, told)
        return F.mse_loss(output.float(), model.path.output(clean, noise, t))

    checkpoint = work / "sr.ckpt.safetensors"
    return train(
        restorer.networks, loss, steps=steps, lr=8e-4, checkpoint=checkpoint, ema=0.998, every=100, stop_after=stop_after,
        device=model.device,
    )  # fmt: skip


@torch.no_grad()
def _draw_pairs(restorer: Restorer, folder: Path, ends: float | None) -> bool:
    """Fill the folder with pairs, a file a chunk; what is there stays. Returns whether all are there."""
    for index in range(PAIRS // CHUNK):
        path = folder / f"{index:03d}.safetensors"
        if path.is_file():
            continue
        generator = step_generator(9, index)
        pictures, low = draw_low(CHUNK, generator)
        restorer.networks.to(restorer.model.device)
        latents = torch.cat([sampled(restorer, some, generator) for some in low.split(32)])
        folder.mkdir(exist_ok=True)
        as_bytes = {name: value.mul(255).round().byte() for name, value in (("pictures", pictures), ("low", low))}
        write_tensors(path, {"latents": latents.half(), **as_bytes})
        log.info("pairs %d/%d", (index + 1) * CHUNK, PAIRS)
        if ends is not None and time.monotonic() > ends:
            break
    return all((folder / f"{index:03d}.safetensors").is_file() for index in range(PAIRS // CHUNK))


def sampled(restorer: Restorer, low: Tensor, generator: Generator, steps: int = SAMPLING_STEPS) -> Tensor:
    """Latents (b, c, h, w) of low pictures (b, 3, 64, 64), by DDIM without noise from the noised low latents on."""
    model = restorer.model
    read, told = model.encode_pictures(low), model.unconditional()
    times = model.timesteps(steps)
    rows = [t.expand(len(low)) for t in times]
    x = model.path.noised(read, torch.randn(read.shape, generator=generator).to(read), rows[0])
    for index, t in enumerate(rows):
        output = restorer.predict(x, t, read, told)
        clean, noise = model.path.to_x0(output, x, t), model.path.to_noise(output, x, t)
        x = clean if index == len(rows) - 1 else model.path.noised(clean, noise, rows[index + 1])
    return x


def _train_wrapping(restorer: Restorer, work: Path, steps: int, batch: int, stop_after: float | None) -> bool:
    model = restorer.model
    chunks = [read_tensors(path)[0] for path in sorted((work / "sr_pairs").glob("*.safetensors"))]
    pairs = {name: torch.cat([chunk[name] for chunk in chunks]) for name in ("latents", "pictures", "low")}
    _learn(restorer, ("wrapping.",))

    def loss(step: int) -> Tensor:
        generator = step_generator(10, step)
        rows = torch.randint(len(pairs["low"]), (batch,), generator=generator)
        pictures, low = (pairs[name][rows].to(model.device).float() / 255 for name in ("pictures", "low"))
        with torch.autocast(model.device.type, torch.bfloat16):
            output = restorer.wrapped(pairs["latents"][rows].to(model.device).float(), low, 1.0)
            apart = perceived(model, output, pictures)
        return F.l1_loss(output.float(), pictures) + apart

    checkpoint = work / "sr_wrapping.ckpt.safetensors"
    return train(
        restorer.networks, loss, steps=steps, lr=5e-4, checkpoint=checkpoint, ema=0.998, every=100, stop_after=stop_after,
        device=model.device,
    )  # fmt: skip


def perceived(model: Model, one: Tensor, other: Tensor) -> Tensor:
    """A distance of the form of LPIPS in what the model's own autoencoder sees of pictures (b, 3, 64, 64), a scalar.

    Every pixel's channels have length 1, squared differences are added over channels, and pixels and levels count alike. It needs no weights of
    others, and the classifier that judges restored pictures has no part in it.
    """
    ours = model.encoded_levels(one * 2 - 1)
    with torch.no_grad():
        theirs = model.encoded_levels(other * 2 - 1)
    apart = [F.normalize(ours[level].float(), dim=1) - F.normalize(theirs[level].float(), dim=1) for level in ours]
    return torch.stack([each.square().sum(1).mean() for each in apart]).mean()


def _learn(restorer: Restorer, parts: tuple[str, ...]) -> None:
    """Let these parts of the networks learn, and no others."""
    for name, weight in restorer.networks.named_parameters():
        weight.requires_grad_(name.startswith(parts))
