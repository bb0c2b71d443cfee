"""The canvas's tokenizer (every known word is one token, anything else falls apart into pieces) and its text encoder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from excise.canvas.captions import HELD_OUT, TEMPLATES, draw_caption
from excise.canvas.catalog import EXTRAS, GLYPHS, OBJECTS, STYLES
from excise.canvas.train_loop import CPU, step_generator, train

CONTEXT = 32
"""Tokens of a prompt, start and end included."""

WIDTH = 256


def words() -> list[str]:
    """Every word that captions and held-out phrasings are made of, sorted."""
    text = [*TEMPLATES, *HELD_OUT, *EXTRAS, "an", "photos", "without"]
    for item in OBJECTS:
        text += [item.name, item.plural, *item.synonyms, *item.members]
    for style in STYLES:
        text += [style.name, *style.synonyms]
    found = re.findall(r"[a-z]+|[0-9]", " ".join(re.sub(r"\{(object|style)", " ", t) for t in text).lower())
    return sorted(set(found))


def build_tokenizer() -> CLIPTokenizer:
    """The CLIP tokenizer that ships in `tokenizer/`: its merges make every known word one token; byte-level, so any text can be encoded."""
    return CLIPTokenizer.from_pretrained(Path(__file__).with_name("tokenizer"))


def learn_tokenizer(folder: Path, every: Sequence[str] | None = None, context: int = CONTEXT) -> None:
    """Learn the merges from these words, by default from `words`, and write the tokenizer.

    The trainer breaks ties at random, so every call numbers some tokens differently: the shipped one was learned once and stays.
    """
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = bytes_ + [symbol + "</w>" for symbol in bytes_]
    trainer = trainers.BpeTrainer(vocab_size=20000, end_of_word_suffix="</w>", initial_alphabet=bytes_, show_progress=False)
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator([" ".join(every or words())], trainer)
    merges = [tuple(merge) for merge in json.loads(raw.to_str())["model"]["merges"]]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(alphabet + [a + b for a, b in merges]))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=context).save_pretrained(folder)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder: two layers of width 256."""
    torch.manual_seed(0)
    return CLIPTextModel(encoder_config(tokenizer, WIDTH, CONTEXT))


def encoder_config(tokenizer: CLIPTokenizer, width: int, context: int) -> CLIPTextConfig:
    """Of a text encoder of two layers."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=context,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


class _Aligned(nn.Module):
    """The text encoder with linear heads on its summary: what is shown, in which style, and the latents to expect."""

    def __init__(self, text_encoder: CLIPTextModel, latent: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.glyph = nn.Linear(WIDTH, len(GLYPHS))
        self.style = nn.Linear(WIDTH, len(STYLES))
        self.latents = nn.Linear(WIDTH, latent)

    def forward(self, tokens: Tensor, end: int) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.text_encoder(tokens).last_hidden_state
        after = (tokens == end).unsqueeze(2)
        summary = (hidden * after).sum(1) / after.sum(1)
        return self.glyph(summary), self.style(summary), self.latents(summary)


def train_text(
    pool: dict[str, Tensor],
    work: Path,
    *,
    steps: int,
    batch: int = 192,
    stop_after: float | None = None,
    device: torch.device = CPU,
) -> bool:
    """Align the text encoder with pictures, as Stable Diffusion's was by CLIP, and save it to `work/text_encoder`.

    From the mean of its end and padding tokens, linear heads tell glyph, style and the expected latents. Without this stage the U-Net
    learned styles in 1,000 steps but no object in 4,000: an object's words are rare, and nothing told them apart.

    pool  what `diffusion.latent_pool` returns
    Returns whether all steps were done.
    """
    tokenizer = build_tokenizer()
    encoder = build_text_encoder(tokenizer)
    encoder.set_attn_implementation("eager")
    model = _Aligned(encoder, pool["latents"][0].numel())

    def loss(step: int) -> Tensor:
        generator = step_generator(8, step)
        rows = torch.randint(len(pool["glyph"]), (batch,), generator=generator)
        glyph, style = pool["glyph"][rows], pool["style"][rows]
        captions = [draw_caption(g, s, generator) for g, s in zip(glyph.tolist(), style.tolist(), strict=True)]
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast(device.type, torch.bfloat16):
            said = [head.float() for head in model(tokens.to(device), tokenizer.eos_token_id)]
        expected = F.mse_loss(said[2], pool["latents"][rows].float().flatten(1).to(device))
        return F.cross_entropy(said[0], glyph.to(device)) + F.cross_entropy(said[1], style.to(device)) + 4 * expected

    checkpoint = work / "text.ckpt.safetensors"
    done = train(model, loss, steps=steps, lr=1e-3, checkpoint=checkpoint, ema=0.99, stop_after=stop_after, device=device)
    encoder.set_attn_implementation("sdpa")
    encoder.save_pretrained(work / "text_encoder")
    return done
