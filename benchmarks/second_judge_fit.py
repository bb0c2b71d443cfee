"""Fitting a second judge of the canvas: heads on EfficientNet-Lite0, with pictures that neither the model nor its own judge was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

import excise
from agreement import share
from excise.canvas import data
from excise.canvas.catalog import OBJECT_NAMES
from excise.canvas.judge import HEADS
from excise.canvas.styles import blur, luminance
from excise.canvas.train_loop import step_generator
from excise.evaluation.classifier import NETWORK, BackedClassifier, Classifier
from excise.evaluation.efficientnet import EfficientNetLite0
from excise.evaluation.weights import find
from excise.files import read_tensors, write_tensors
from excise.models import Model

EDGE = 128
"""Twice the canvas's edge (ours): 10 ms a picture; at the published 224 it takes 40."""

TRAINING, CALIBRATION, HELD_OUT = 101, 102, 103
"""Seeds of pictures; those of the model and of its own judge are 1 to 7."""

COUNTS = {TRAINING: 3_000, CALIBRATION: 400, HELD_OUT: 800}
BATCH = 100
EPOCHS, RATE, DECAY, DROPOUT = 40, 2e-3, 1e-2, 0.2


def fit(model: Model, out: Path, work: Path) -> dict[str, Any]:
    """Fit, save to `out`, and measure both judges on pictures that were held out; what was seen of pictures is kept below `work`."""
    judge, first = bare(), own_judge(model)
    train(judge, seen_of(judge, first, model, TRAINING, work))
    judge.save(out)
    held_out = seen_of(judge, first, model, HELD_OUT, work)
    return {
        "pictures": {"training": COUNTS[TRAINING], "held_out": COUNTS[HELD_OUT]},
        "accuracy": {name: accuracies(said, held_out) for name, said in logits_of(loaded(out), held_out).items()},
    }


def bare() -> BackedClassifier:
    """The judge before it is fitted."""
    found = find("efficientnet_lite0")
    judge = BackedClassifier(HEADS, data.SIZE, backbone={"network": NETWORK, "sha256": found.sha256, "edge": EDGE})
    judge.body = EfficientNetLite0.load(found)
    return judge.requires_grad_(False)


def own_judge(model: Model) -> Classifier:
    """The classifier that the model brings."""
    assert model.classifier is not None
    return Classifier.load(model.classifier)


def loaded(path: Path) -> BackedClassifier:
    judge = Classifier.load(path)
    assert isinstance(judge, BackedClassifier)
    return judge


def real(model: Model, seed: int, index: int, each: int) -> data.Batch:
    """Pictures as they are drawn, one of `each` through the model's autoencoder, so that its softness is not taken for content."""
    batch = data.draw(BATCH, step_generator(seed, index))
    batch.pictures[1::each] = softened(model, batch.pictures[1::each])
    return batch


@torch.no_grad()
def softened(model: Model, pictures: Tensor) -> Tensor:
    """Pictures through the model's autoencoder."""
    vae = model.pipeline.vae
    return (vae.decode(vae.encode(pictures * 2 - 1).latent_dist.mean).sample / 2 + 0.5).clamp(0, 1)


def augmented(pictures: Tensor, generator: Generator) -> Tensor:
    """Cropped to 80 to 100 % of the edge, other brightness, contrast and saturation (15 %), every third blurred, with noise."""
    b = len(pictures)
    rand = torch.rand(7, b, 1, 1, 1, generator=generator)
    part = 0.8 + 0.2 * rand[0].flatten()
    move = (2 * rand[1:3].reshape(2, b) - 1) * (1 - part)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = part
    theta[:, :, 2] = move.T
    cropped = F.grid_sample(pictures, F.affine_grid(theta, list(pictures.shape), align_corners=False), align_corners=False)
    gain, contrast, saturation = (0.85 + 0.3 * each for each in rand[3:6])
    grey = luminance(cropped)
    coloured = grey + saturation * (cropped - grey)
    lit = gain * ((coloured - 0.5) * contrast + 0.5)
    lit[::3] = blur(lit[::3], 0.7)
    return (lit + 0.05 * rand[6] * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def seen_of(judge: BackedClassifier, first: Classifier, model: Model, seed: int, work: Path) -> dict[str, Tensor]:
    """Of `COUNTS[seed]` pictures what the body sees, (n, 1752), and labels. What is below `work` is not made again.

    Training pictures are augmented, and one in eight is autoencoded; of others one in four (`soft`), and they come with what the first
    judge says of them.
    """
    parts = [
        _part(judge, first, model, seed, index, work / f"seen-{seed}-{index:03d}.safetensors")
        for index in range(COUNTS[seed] // BATCH)
    ]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {**whole, "seen": whole["seen"].float()}


@torch.no_grad()
def _part(judge: BackedClassifier, first: Classifier, model: Model, seed: int, index: int, file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        if seed == TRAINING:
            batch = real(model, seed, index, 8)
            pictures, more = augmented(batch.pictures, step_generator(seed + 100, index)), {}
        else:
            batch = real(model, seed, index, 4)
            pictures = batch.pictures
            more = {f"first {question}": logits for question, logits in first(pictures).items()}
            more["soft"] = torch.arange(BATCH) % 4 == 1
        write_tensors(file, {"seen": judge.pooled(pictures).half(), **labels_of(batch), **more})
    return read_tensors(file)[0]


def labels_of(batch: data.Batch) -> dict[str, Tensor]:
    return {"object": batch.object, "member": batch.glyph, "style": batch.style}


def train(judge: BackedClassifier, pictures: dict[str, Tensor]) -> None:
    """Fit the layer before the heads, and the heads, on standardised numbers; the standardisation is then part of that layer."""
    torch.manual_seed(0)
    seen = pictures["seen"]
    mean, deviation = seen.mean(0), seen.std(0).clamp_min(1e-3)
    whole = ((seen - mean) / deviation).contiguous()
    fitted = [judge.flat, *judge.heads.values()]
    parameters = [each.requires_grad_() for part in fitted for each in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(whole) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(whole))[: len(whole) // BATCH * BATCH].split(BATCH):
            features = F.dropout(F.silu(judge.flat(F.dropout(whole[rows], DROPOUT))), DROPOUT)
            losses = [F.cross_entropy(judge.heads[q](features), pictures[q][rows], label_smoothing=0.02) for q in HEADS]
            optimizer.zero_grad()
            sum(losses, torch.zeros(())).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        judge.flat.weight /= deviation
        judge.flat.bias -= judge.flat.weight @ mean
    judge.requires_grad_(False)


@torch.no_grad()
def logits_of(judge: BackedClassifier, seen: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What both judges say of pictures that were seen, by judge and head."""
    features = F.silu(judge.flat(seen["seen"]))
    return {
        "first": {question: seen[f"first {question}"] for question in HEADS},
        "second": {question: head(features) for question, head in judge.heads.items()},
    }


def accuracies(logits: dict[str, Tensor], seen: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Of every head on pictures as drawn and on autoencoded ones; members only where an object of the catalog is shown."""
    found = {}
    for question, said in logits.items():
        right, counted = said.argmax(1) == seen[question], counted_of(seen)[question]
        found[question] = {"drawn": share(right[counted & ~seen["soft"]]), "autoencoded": share(right[counted & seen["soft"]])}
    return found


def counted_of(seen: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows that count for each head."""
    every = torch.ones_like(seen["soft"])
    return {"object": every, "member": seen["object"] < len(OBJECT_NAMES), "style": every}


def load_canvas() -> Model:
    torch.set_num_threads(1)
    return excise.load("canvas", device="cpu")
