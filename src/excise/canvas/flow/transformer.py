"""The wide canvas's denoiser: a small MMDiT on 8 x 8 latents (SD 3, arXiv 2403.03206), trained as a rectified flow with its text encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from diffusers.models.attention_processor import JointAttnProcessor2_0
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection

from excise.canvas.flow.teacher import Teacher
from excise.canvas.flow.two_encoders import FOLDERS, JOINT, build_tokenizer, drawn_captions, read
from excise.canvas.flow.wide_data import Labels
from excise.canvas.train_loop import CPU, step_generator, train
from excise.canvas.vae import CHANNELS

HEADS, LAYERS = (4, 48), 6
"""Attention heads and the width of each, and layers: 7.8 M weights, and 3.9 M of the text encoders (ours: wider ones draw too slowly)."""

MEAN, SPREAD = 0.5, 1.2
"""Noise levels are the sigmoid of this normal distribution (ours: noisier than SD 3's 0 and 1, as what is shown is decided there)."""

DROP = 0.1
"""How often each way in, tokens and pooled, is told nothing, and the other one alone says what is shown (ours)."""

TAUGHT = 4.0
"""Weight of what the canvas's U-Net teaches (ours): its answers have no noise of single pictures, which is most of the gradient's."""

LESSONS = 0.5
"""Share of a batch that the U-Net teaches for certain (ours); the rest is drawn as the world is, and in part taught too."""

TRAINED = "trained"
"""Folder of the text encoders as they are after the transformer's training; those beside it are where that begins."""

T5_ROWS, T5_ODDS = 256, 0.25
"""Rows of zeros that StableDiffusion3Pipeline puts in T5's place by default, and how often training has them (ours). Otherwise there are
none, as with `max_sequence_length=0`, which is what excise asks for."""


def build_transformer() -> SD3Transformer2DModel:
    """The untrained denoiser."""
    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=LAYERS,
        num_attention_heads=HEADS[0],
        attention_head_dim=HEADS[1],
        caption_projection_dim=HEADS[0] * HEADS[1],
        joint_attention_dim=JOINT,
        pooled_projection_dim=JOINT,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Noise levels in equal steps: so small a picture needs no shift."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0)


class BiasedAttention:
    """Joint attention as diffusers computes it, in plain operations, with a number added to the logits of each key.

    On a CPU the fused kernel's backward is slower at these few tokens. n equal tokens are one with log n added to its logits: they stay
    equal in every layer, as text has no positions. So T5's 256 rows of zeros cost training one row.
    """

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None, *, bias: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        def heads(*parts: Tensor) -> list[Tensor]:
            return [part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts]

        q, k, v = heads(attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states))
        text = encoder_hidden_states
        text_q, text_k, text_v = heads(attn.add_q_proj(text), attn.add_k_proj(text), attn.add_v_proj(text))
        q = torch.cat([attn.norm_q(q), attn.norm_added_q(text_q)], 2)
        k = torch.cat([attn.norm_k(k), attn.norm_added_k(text_k)], 2)
        v = torch.cat([v, text_v], 2)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        weight = (logits + bias.to(logits.dtype)).softmax(-1).to(v.dtype)
        picture, text = (weight @ v).transpose(1, 2).flatten(2).split([hidden_states.shape[1], text.shape[1]], 1)
        return attn.to_out[0](picture), None if attn.context_pre_only else attn.to_add_out(text)


class FlowDenoiser(nn.Module):
    """Transformer and text encoders as one module, so that one optimiser and one average hold all."""

    def __init__(self, transformer: SD3Transformer2DModel, encoders: list[CLIPTextModelWithProjection]) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoders = nn.ModuleList(encoders)

    def forward(self, x: Tensor, t: Tensor, ids: Tensor, keep: Tensor, rows: Tensor) -> Tensor:
        """The velocity.

        ids  (b + 1, n) of the captions, and of the empty one
        keep (2, b) whether tokens, and pooled, are the caption's; otherwise they are the empty one's
        rows (b,) of zeros in T5's place
        """
        tokens, pooled = read(list(self.text_encoders), ids)
        tokens = torch.where(keep[0, :, None, None], tokens[:-1], tokens[-1:])
        pooled = torch.where(keep[1, :, None], pooled[:-1], pooled[-1:])
        bias = torch.cat([rows.new_zeros(len(x), x[0, 0].numel() + tokens.shape[1]), rows.log()[:, None]], 1)[:, None, None]
        told = F.pad(tokens, (0, 0, 0, 1))
        return self.transformer(x, told, pooled, t, joint_attention_kwargs={"bias": bias}).sample


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Random sigmas in 0–1, (count,), logit-normal, one draw in each equal slice of the distribution."""
    slots = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (MEAN + SPREAD * torch.special.ndtri(slots.clamp(1e-4, 1 - 1e-4))).sigmoid()[
        torch.randperm(count, generator=generator)
    ]


def train_transformer(
    latents: Tensor,
    labels: Labels,
    work: Path,
    *,
    steps: int,
    batch: int = 48,
    lr: float = 1e-3,
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """Train transformer and text encoders and save them to `work`; resumes from `work/transformer.ckpt.safetensors`.

    latents (n, 8, 8, 8) of encoded pictures, and their labels

    Returns whether all steps were done.
    """
    tokenizer = build_tokenizer()
    folders = [work / folder for folder in FOLDERS]
    encoders = [CLIPTextModelWithProjection.from_pretrained(folder, attn_implementation="eager").train() for folder in folders]
    model = FlowDenoiser(build_transformer(), encoders)
    model.transformer.set_attn_processor(BiasedAttention())
    teacher = Teacher(device)
    single, lessons = teacher.shown(labels).nonzero().squeeze(1), max(1, round(LESSONS * batch))
    empty = tokenizer([""], padding="max_length", return_tensors="pt").input_ids

    def loss(step: int) -> Tensor:
        generator = step_generator(9, step)
        rows = torch.randint(len(labels), (batch - lessons,), generator=generator)
        rows = torch.cat([rows, single[torch.randint(len(single), (lessons,), generator=generator)]])
        x0 = latents[rows].float().to(device)
        captions = drawn_captions(labels[rows[:-lessons]], generator) + teacher.lessons(labels[rows[-lessons:]], generator)
        ids = torch.cat([tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids, empty])
        sigma, known = noise_levels(batch, generator), teacher.knows(labels[rows], captions)
        t = teacher.nearest(sigma[known])
        sigma[known] = teacher.sigma[t]
        sigma = sigma.to(device)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        chance = torch.rand(2, batch, generator=generator)
        keep = torch.stack([chance[0] >= DROP, (chance[0] < DROP) | (chance[0] >= 2 * DROP)])
        zeros = torch.where(chance[1] < T5_ODDS, float(T5_ROWS), 0.0)
        level = sigma[:, None, None, None]
        x, target, weight = (1 - level) * x0 + level * noise, noise - x0, torch.ones(batch, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            if len(known):
                target[known], weight[known] = teacher.velocity(x[known], t, [captions[row] for row in known.tolist()]), TAUGHT
            output = model(x, 1000 * sigma, ids.to(device), keep.to(device), zeros.to(device))
        return (weight * (output.float() - target).square().flatten(1).mean(1)).mean()

    done = train(
        model,
        loss,
        steps=steps,
        lr=lr,
        checkpoint=work / "transformer.ckpt.safetensors",
        ema=0.9995,
        every=1000,
        stop_after=stop_after,
        slow=("text_encoders.", 0.2),
        device=device,
    )
    model.transformer.set_attn_processor(JointAttnProcessor2_0())
    for part, folder in zip(
        (model.transformer, *encoders), (work / "transformer", *(work / TRAINED / f for f in FOLDERS)), strict=True
    ):
        part.eval().save_pretrained(folder)
    return done
