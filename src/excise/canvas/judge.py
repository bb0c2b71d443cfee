"""Training the canvas's classifier: object, member and style heads on fresh pictures, real and passed through the autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Generator, Tensor

from excise.canvas import data
from excise.canvas.catalog import GLYPHS, OBJECT_NAMES, STYLE_NAMES
from excise.canvas.train_loop import CPU, step_generator, train
from excise.evaluation.classifier import Classifier

HEADS = {"object": [*OBJECT_NAMES, "other"], "member": list(GLYPHS), "style": list(STYLE_NAMES)}


def train_classifier(
    work: Path, *, steps: int, batch: int = 96, stop_after: float | None = None, device: torch.device = CPU
) -> bool:
    """Train and save to `work/classifier.safetensors`; resumes from `work/classifier.ckpt.safetensors`.

    A third of the pictures go through the autoencoder of `work/vae`, so that its softness is not mistaken for content; noise is added to
    all. Returns whether all steps were done.
    """

    def draw(generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = data.draw(batch, generator)
        return drawn.pictures, {"object": drawn.object, "member": drawn.glyph, "style": drawn.style}

    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    return train_on(draw, HEADS, vae, work / "classifier.safetensors", steps=steps, stop_after=stop_after, device=device)


def train_on(
    draw: Callable[[Generator], tuple[Tensor, dict[str, Tensor]]],
    heads: Mapping[str, list[str]],
    vae: AutoencoderKL,
    out: Path,
    *,
    steps: int,
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """Train a classifier on what `draw` gives: pictures (b, 3, 64, 64) in 0–1 and, for every head, labels (b,) int64."""
    vae = vae.requires_grad_(False).to(device)
    torch.manual_seed(0)
    model = Classifier(heads, data.SIZE)

    def loss(step: int) -> Tensor:
        generator = step_generator(6, step)
        pictures, labels = draw(generator)
        pictures = pictures.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            soft = vae.decode(vae.encode(pictures[::3] * 2 - 1).latent_dist.mean).sample
        pictures[::3] = (soft.float() / 2 + 0.5).clamp(0, 1)
        strength = 0.06 * torch.rand(len(pictures), 1, 1, 1, generator=generator)
        noise = strength * torch.randn(pictures.shape, generator=generator)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(pictures + noise.to(device))
        losses = (F.cross_entropy(logits[q].float(), labels[q].to(device), label_smoothing=0.02) for q in heads)
        return sum(losses, torch.zeros((), device=device))

    checkpoint = out.with_name(f"{out.stem}.ckpt.safetensors")
    done = train(model, loss, steps=steps, lr=1.5e-3, checkpoint=checkpoint, ema=0.998, stop_after=stop_after, device=device)
    model.save(out)
    return done


def accuracy(model: Classifier, count: int = 4096) -> dict[str, float]:
    """Share of fresh real pictures that each head gets right; members only on pictures of evaluated objects."""
    right: dict[str, list[Tensor]] = {question: [] for question in HEADS}
    for index in range(count // 256):
        batch = data.draw(256, step_generator(7, index))
        said = model.classify(batch.pictures)
        evaluated = batch.object < len(OBJECT_NAMES)
        right["object"].append(said["object"] == batch.object)
        right["style"].append(said["style"] == batch.style)
        right["member"].append((said["member"] == batch.glyph)[evaluated])
    return {question: torch.cat(parts).float().mean().item() for question, parts in right.items()}
