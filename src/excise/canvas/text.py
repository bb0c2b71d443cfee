"""The canvas's tokenizer (every known word is one token, anything else falls apart into pieces) and its text encoder."""

from __future__ import annotations

import re

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from excise.canvas.captions import HELD_OUT, TEMPLATES
from excise.canvas.catalog import EXTRAS, OBJECTS, STYLES

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
    """A CLIP tokenizer whose merges make every known word one token; byte-level, so any text can be encoded."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = bytes_ + [symbol + "</w>" for symbol in bytes_]
    trainer = trainers.BpeTrainer(vocab_size=8000, end_of_word_suffix="</w>", initial_alphabet=bytes_, show_progress=False)
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator([" ".join(words())], trainer)
    import json

    merges = [tuple(merge) for merge in json.loads(raw.to_str())["model"]["merges"]]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(alphabet + [a + b for a, b in merges]))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder: two layers of width 256."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=CONTEXT,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
