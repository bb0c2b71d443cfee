"""The canvas's U-Net as a teacher: what it answers to captions that it reads takes the place of one picture's noise."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Generator, Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from excise.canvas import text
from excise.canvas.captions import TEMPLATES
from excise.canvas.catalog import MEMBERS, OBJECTS, STYLES
from excise.canvas.flow.things import NOTHING
from excise.canvas.flow.two_encoders import drawn_captions
from excise.canvas.flow.wide_data import Labels
from excise.models.built_in import built_in


def _words(phrases: Sequence[str]) -> set[str]:
    return set(re.findall(r"[a-z]+|[0-9]", " ".join(phrases).lower()))


class Teacher:
    """Velocities that the canvas's U-Net predicts on the straight path, for captions that name one of its objects alone.

    Of these both worlds draw the same pictures, so the answer is what the mean of many pictures would teach: training sees the same in far
    fewer steps.
    """

    def __init__(self, device: torch.device) -> None:
        folder = built_in("canvas")
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").to(device).eval().requires_grad_(False)
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").to(device).eval().requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        signal = DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod.double()
        self.alpha, self.noise = signal.sqrt().float().to(device), (1 - signal).sqrt().float().to(device)
        self.sigma = (self.noise / (self.alpha + self.noise)).cpu()
        self.reads = set(text.words())
        others = _words([*TEMPLATES, *(phrase for style in STYLES for phrase in (style.name, *style.synonyms))])
        names = (name for item in OBJECTS for name in (item.name, item.plural, *item.synonyms, *item.members))
        self.naming = _words(list(names)) - others

    def knows(self, labels: Labels, captions: Sequence[str]) -> Tensor:
        """Rows whose picture shows one object of the canvas, and whose caption names it in words that the canvas reads, (n,) int64."""
        return (torch.tensor([self._reads(caption) for caption in captions]) & self.shown(labels)).nonzero().squeeze(1)

    def shown(self, labels: Labels) -> Tensor:
        """Whether pictures show one object of the canvas, (b,) bool."""
        return (labels.left < len(MEMBERS)) & (labels.right == NOTHING)

    def lessons(self, labels: Labels, generator: Generator) -> list[str]:
        """Captions, each drawn until it names what the picture shows in words that the canvas reads."""
        found = drawn_captions(labels, generator)
        while poor := [row for row, caption in enumerate(found) if not self._reads(caption)]:
            for row, caption in zip(poor, drawn_captions(labels[torch.tensor(poor)], generator), strict=True):
                found[row] = caption
        return found

    def _reads(self, caption: str) -> bool:
        words = _words([caption])
        return words <= self.reads and bool(words & self.naming)

    def nearest(self, sigma: Tensor) -> Tensor:
        """The timesteps at which there is as much noise as at these levels of the straight path, (n,) int64."""
        return (self.sigma[None] - sigma[:, None]).abs().argmin(1)

    @torch.no_grad()
    def velocity(self, x: Tensor, t: Tensor, captions: Sequence[str]) -> Tensor:
        """The velocity at x (n, 8, 8, 8), which is at `sigma[t]` of the straight path, float32."""
        alpha, noise = (part[t].view(-1, 1, 1, 1) for part in (self.alpha, self.noise))
        z = x * (alpha + noise)
        ids = self.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids
        told = self.encoder(ids.to(x.device)).last_hidden_state
        v = self.unet(z, t.to(x.device), told).sample.float()
        return noise * z + alpha * v - (alpha * z - noise * v)
