"""The wide canvas's tokenizer and its two CLIP text encoders, and how they are aligned with pictures."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from excise.canvas import text
from excise.canvas.catalog import EXTRAS, STYLES
from excise.canvas.flow.things import FURTHER, NAMES, NOTHING, plural
from excise.canvas.flow.wide_captions import BOTH, PLACED, SIZES, draw_caption
from excise.canvas.flow.wide_data import Labels
from excise.canvas.train_loop import CPU, step_generator, train

CONTEXT = 26
"""Tokens of a prompt, start and end included: as the longest template needs for one object in one style, as each costs time in every layer."""

WIDTHS = (128, 192)
"""Of the two text encoders."""

JOINT = sum(WIDTHS)
"""Width of a token as the transformer reads it: both encoders' side by side. No T5 will follow, for which there would have to be room."""

FOLDERS = ("text_encoder", "text_encoder_2")


def words() -> list[str]:
    """Every word that captions are made of, sorted."""
    found = [*(thing.name for thing in FURTHER), *(plural(thing.name) for thing in FURTHER), *map(plural, EXTRAS)]
    found += [tag for thing in FURTHER for tag in thing.tags] + [word for size in SIZES.values() for word in size]
    found += ["something", "two", *(re.sub(r"\{[ab]\}", " ", pattern) for pattern in (*BOTH, *PLACED))]
    return sorted({*text.words(), *re.findall(r"[a-z]+", " ".join(found))})


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer that ships in `flow/tokenizer/`; both text encoders read by it."""
    return CLIPTokenizer.from_pretrained(Path(__file__).with_name("tokenizer"))


def learn_tokenizer(folder: Path) -> None:
    """Learn it from `words`; see `text.learn_tokenizer`."""
    text.learn_tokenizer(folder, words(), CONTEXT)


def build_text_encoders(tokenizer: CLIPTokenizer) -> list[CLIPTextModelWithProjection]:
    """The untrained text encoders: two layers each, of which SD 3 gives the first one's output as tokens, the last one's end as pooled."""
    torch.manual_seed(0)
    encoders = [CLIPTextModelWithProjection(text.encoder_config(tokenizer, width, CONTEXT)) for width in WIDTHS]
    for encoder in encoders:
        encoder.set_attn_implementation("eager")
    return encoders


def read(encoders: list[CLIPTextModelWithProjection], ids: Tensor) -> tuple[Tensor, Tensor]:
    """What StableDiffusion3Pipeline makes of token ids (b, n): tokens (b, n, JOINT), and pooled (b, JOINT)."""
    told = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    return torch.cat([each.hidden_states[-2] for each in told], -1), torch.cat([each.text_embeds for each in told], -1)


def tokenized(tokenizer: CLIPTokenizer, labels: Labels, generator: torch.Generator) -> Tensor:
    """Token ids (b, CONTEXT) of a caption drawn for every picture."""
    return tokenizer(drawn_captions(labels, generator), padding="max_length", truncation=True, return_tensors="pt").input_ids


def drawn_captions(labels: Labels, generator: torch.Generator) -> list[str]:
    """A caption drawn for every picture."""
    rows = zip(*(column.tolist() for column in (labels.left, labels.right, labels.size, labels.style)), strict=True)
    return [draw_caption(left, right, size, style, generator) for left, right, size, style in rows]


class _Heads(nn.Module):
    """What is shown left and right, in which style, and the latents to expect, from one summary of the text."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.left = nn.Linear(JOINT, len(NAMES))
        self.right = nn.Linear(JOINT, NOTHING + 1)
        self.style = nn.Linear(JOINT, len(STYLES))
        self.latents = nn.Linear(JOINT, latent)

    def loss(self, summary: Tensor, labels: Labels, latents: Tensor) -> Tensor:
        answers = ((self.left, labels.left), (self.right, labels.right), (self.style, labels.style))
        losses = [F.cross_entropy(head(summary).float(), label.to(summary.device)) for head, label in answers]
        expected = F.mse_loss(self.latents(summary).float(), latents.flatten(1))
        return torch.stack(losses).sum() + 4 * expected


class _BothAligned(nn.Module):
    """Both text encoders, with heads on what is pooled and heads on the mean of the tokens: each way in must say everything."""

    def __init__(self, encoders: list[CLIPTextModelWithProjection], latent: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.pooled, self.tokens = _Heads(latent), _Heads(latent)

    def forward(self, ids: Tensor, labels: Labels, latents: Tensor) -> Tensor:
        tokens, pooled = read(list(self.encoders), ids)
        return self.pooled.loss(pooled, labels, latents) + self.tokens.loss(tokens.mean(1), labels, latents)


def train_text(
    latents: Tensor,
    labels: Labels,
    work: Path,
    *,
    steps: int,
    batch: int = 192,
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """Align the text encoders with pictures, as `text.train_text` does, and save them to `work/text_encoder` and `work/text_encoder_2`.

    latents (n, 8, 8, 8) of encoded pictures, and their labels

    Returns whether all steps were done.
    """
    tokenizer = build_tokenizer()
    encoders = build_text_encoders(tokenizer)
    model = _BothAligned(encoders, latents[0].numel())

    def loss(step: int) -> Tensor:
        generator = step_generator(8, step)
        rows = torch.randint(len(labels), (batch,), generator=generator)
        ids = tokenized(tokenizer, labels[rows], generator)
        with torch.autocast(device.type, torch.bfloat16):
            return model(ids.to(device), labels[rows], latents[rows].float().to(device))

    checkpoint = work / "text.ckpt.safetensors"
    done = train(model, loss, steps=steps, lr=1e-3, checkpoint=checkpoint, ema=0.99, stop_after=stop_after, device=device)
    for encoder, folder in zip(encoders, FOLDERS, strict=True):
        encoder.save_pretrained(work / folder)
    return done
