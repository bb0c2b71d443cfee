"""Training the canvas's classifier: object, member and style heads on fresh pictures, real and passed through the autoencoder."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

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
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().requires_grad_(False).to(device)
    torch.manual_seed(0)
    model = Classifier(HEADS, data.SIZE)

    def loss(step: int) -> Tensor:
        generator = step_generator(6, step)
        drawn = data.draw(batch, generator)
        pictures = drawn.pictures.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            soft = vae.decode(vae.encode(pictures[::3] * 2 - 1).latent_dist.mean).sample
        pictures[::3] = (soft.float() / 2 + 0.5).clamp(0, 1)
        strength = 0.06 * torch.rand(batch, 1, 1, 1, generator=generator)
        noise = strength * torch.randn(pictures.shape, generator=generator)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(pictures + noise.to(device))
        labels = {"object": drawn.object, "member": drawn.glyph, "style": drawn.style}
        losses = (F.cross_entropy(logits[q].float(), labels[q].to(device), label_smoothing=0.02) for q in HEADS)
        return sum(losses, torch.zeros((), device=device))

    checkpoint = work / "classifier.ckpt.safetensors"
    done = train(model, loss, steps=steps, lr=1.5e-3, checkpoint=checkpoint, ema=0.998, stop_after=stop_after, device=device)
    model.save(work / "classifier.safetensors")
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
