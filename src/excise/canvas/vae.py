"""The canvas's autoencoder: 64 x 64 pictures to 8 x 8 x 8 latents with zero mean and unit covariance."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from excise.canvas import data
from excise.canvas.styles import blur
from excise.canvas.train_loop import CPU, step_generator, train

log = logging.getLogger(__name__)
CHANNELS = 8


def build() -> AutoencoderKL:
    """The untrained autoencoder."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=[16, 32, 64, 128],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=1,  # more groups than this wash out colour: a group of two channels loses its mean
        sample_size=data.SIZE,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def reconstruction_loss(output: Tensor, picture: Tensor) -> Tensor:
    """L1 on the picture and on its edges (difference to its blur), and L2 for flat colour; both (b, 3, s, s) in -1..1."""
    error = output - picture
    return error.abs().mean() + (error - blur(error, 1.0)).abs().mean() + 2 * error.square().mean()


def train_vae(
    work: Path, *, steps: int, batch: int = 16, pool: int = 16384, stop_after: float | None = None, device: torch.device = CPU
) -> bool:
    """Train and save to `work/vae`; resumes from `work/vae.ckpt.safetensors`. Returns whether it finished."""
    vae = build().to(memory_format=torch.channels_last)
    pictures = _pool(pool)

    def loss(step: int) -> Tensor:
        generator = step_generator(1, step)
        picture = pictures[torch.randint(len(pictures), (batch,), generator=generator)].float() / 127.5 - 1
        picture = picture.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(picture).latent_dist
            mean = posterior.mean.float()
            output = vae.decode(mean + 0.05 * torch.randn(mean.shape, generator=generator).to(device)).sample
        penalty = (mean.square().mean((0, 2, 3)) - 1).square().mean()
        return reconstruction_loss(output.float(), picture) + 0.01 * penalty

    checkpoint = work / "vae.ckpt.safetensors"
    done = train(vae, loss, steps=steps, lr=1.5e-3, checkpoint=checkpoint, ema=0.998, stop_after=stop_after, device=device)
    whiten(vae, pictures[:4096].float() / 127.5 - 1)
    vae.save_pretrained(work / "vae")
    return done


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold a linear map into the 1 x 1 convolutions around the latent: zero mean, unit covariance over channels.

    The decoder gets the inverse map, so reconstructions stay as they were. A schedule that ends in pure noise then hides every channel
    equally. The posterior's log-variance is set to that of a near-deterministic encoder (-12).
    """
    latents = torch.cat([vae.encode(chunk).latent_dist.mean for chunk in pictures.split(64)])
    flat = latents.permute(1, 0, 2, 3).flatten(1).double()
    mean = flat.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(flat))
    forward = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    backward = vectors @ torch.diag(values.sqrt()) @ vectors.T
    quant, post = vae.quant_conv, vae.post_quant_conv
    head, tail = quant.weight[:CHANNELS, :, 0, 0].double(), post.weight[:, :, 0, 0].double()
    quant.weight[:CHANNELS, :, 0, 0] = (forward @ head).float()
    quant.bias[:CHANNELS] = (forward @ (quant.bias[:CHANNELS].double() - mean)).float()
    quant.weight[CHANNELS:] = 0
    quant.bias[CHANNELS:] = -12.0
    post.bias += (tail @ mean).float()
    post.weight[:, :, 0, 0] = (tail @ backward).float()


def _pool(count: int) -> Tensor:
    """A fixed training pool, (count, 3, 64, 64) uint8."""
    chunks = [data.draw(512, step_generator(2, i)).pictures.mul(255).round().byte() for i in range(count // 512)]
    return torch.cat(chunks)


@torch.no_grad()
def report(vae: AutoencoderKL) -> dict[str, float]:
    """Peak signal-to-noise ratio (dB) and mean absolute error on 512 fresh pictures."""
    picture = data.draw(512, step_generator(3, 0)).pictures * 2 - 1
    output = torch.cat([vae.decode(vae.encode(chunk).latent_dist.mean).sample for chunk in picture.split(64)])
    mse = F.mse_loss(output.clamp(-1, 1), picture).item() / 4
    return {"psnr_db": -10 * torch.tensor(mse).log10().item(), "l1": (output - picture).abs().mean().item() / 2}
