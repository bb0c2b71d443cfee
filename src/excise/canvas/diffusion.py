"""The canvas's denoiser: a small U-Net on 8 x 8 latents, trained together with its text encoder."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel

from excise.canvas import data, text
from excise.canvas.captions import draw_caption
from excise.canvas.text import WIDTH, build_tokenizer
from excise.canvas.train_loop import CPU, step_generator, train
from excise.canvas.vae import CHANNELS
from excise.files import read_tensors, write_tensors

log = logging.getLogger(__name__)
POOL = 65536
"""Encoded pictures to learn from."""

NOISY = 0.6
"""Timesteps are drawn as 1000 u^0.6, more of them noisy (ours): what is shown is decided there, and fine noise is mostly texture."""


def build_unet() -> UNet2DConditionModel:
    """The untrained denoiser (9.8 M weights)."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        layers_per_block=1,
        block_out_channels=(96, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4),
    )


def build_scheduler() -> DDIMScheduler:
    """Cosine schedule with zero terminal signal, v-prediction: grounds that are all dark or all blue come out right."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


@torch.no_grad()
def latent_pool(vae: AutoencoderKL, path: Path, count: int) -> dict[str, Tensor]:
    """`count` encoded training pictures with labels, cached in `path`: latents (count, 8, 8, 8) float16, all on the CPU."""
    if path.exists():
        return read_tensors(path)[0]
    parts: dict[str, list[Tensor]] = {"latents": [], "glyph": [], "style": []}
    for index in range(count // 512):
        batch = data.draw(512, step_generator(4, index))
        parts["latents"].append(vae.encode((batch.pictures * 2 - 1).to(vae.device)).latent_dist.mean.half().cpu())
        parts["glyph"].append(batch.glyph)
        parts["style"].append(batch.style)
    pool = {name: torch.cat(chunks) for name, chunks in parts.items()}
    write_tensors(path, pool)
    return pool


def train_text(
    work: Path,
    *,
    steps: int,
    without: frozenset[str] = frozenset(),
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """`text.train_text` on the pictures that the U-Net will learn from. Returns whether all steps were done."""
    return text.train_text(_pool(work, without, device), work, steps=steps, stop_after=stop_after, device=device)


def _pool(work: Path, without: frozenset[str], device: torch.device) -> dict[str, Tensor]:
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().to(device)
    pool = latent_pool(vae, work / "latents.safetensors", POOL)
    keep = data.showing_none_of(pool["glyph"], pool["style"], without)
    return {name: values[keep] for name, values in pool.items()}


class Denoiser(nn.Module):
    """U-Net and text encoder as one module, so that one optimiser and one average hold both."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x, t, self.text_encoder(tokens).last_hidden_state).sample


def train_diffusion(
    work: Path,
    *,
    steps: int,
    batch: int = 40,
    lr: float = 8e-4,
    without: frozenset[str] = frozenset(),
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """Train and save a pipeline to `work/pipeline`; resumes from `work/diffusion.ckpt.safetensors`.

    without  names of objects, members or styles that no training picture may show (the retrained gold standard)
    Returns whether all steps were done.
    """
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    pool = _pool(work, without, device)
    tokenizer, scheduler, unet = build_tokenizer(), build_scheduler(), build_unet()
    # On a CPU the fused attention kernel's backward is several times slower at these few tokens.
    unet.set_attn_processor(AttnProcessor())
    text_encoder = CLIPTextModel.from_pretrained(work / "text_encoder").train()
    text_encoder.set_attn_implementation("eager")
    model = Denoiser(unet, text_encoder)

    def loss(step: int) -> Tensor:
        generator = step_generator(5, step)
        rows = torch.randint(len(pool["glyph"]), (batch,), generator=generator)
        latents = pool["latents"][rows].float().to(device)
        labels = zip(pool["glyph"][rows].tolist(), pool["style"][rows].tolist(), strict=True)
        captions = [draw_caption(glyph, style, generator) for glyph, style in labels]
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        slots = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch  # one draw per equal slice
        t = (1000 * slots**NOISY).long()[torch.randperm(batch, generator=generator)].to(device)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        noisy = scheduler.add_noise(latents, noise, t)
        with torch.autocast(device.type, torch.bfloat16):
            output = model(noisy, t, tokens.to(device))
        return F.mse_loss(output.float(), scheduler.get_velocity(latents, noise, t))

    done = train(
        model,
        loss,
        steps=steps,
        lr=lr,
        checkpoint=work / "diffusion.ckpt.safetensors",
        ema=0.9995,
        every=1000,
        stop_after=stop_after,
        slow=("text_encoder.", 0.2),
        device=device,
    )
    unet.set_default_attn_processor()
    text_encoder.set_attn_implementation("sdpa")
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(work / "pipeline")
    return done
