"""CLIP's tokenizer without a download: checkpoint files hold weights only, so the merges ship with the package.

`configs/clip_merges.txt.gz` holds the first 48,894 merges of OpenAI's `bpe_simple_vocab_16e6.txt`, the ones that CLIP uses (MIT licence,
see NOTICE). The vocabulary follows from them: 256 bytes, the same at the end of a word, the merges, start and end.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

CONTEXT = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = Path(__file__).parent / "configs" / "clip_merges.txt.gz"


def clip_tokenizer(pad_token: str = END) -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion 1.x; 2.x pads with "!" (token 0) instead."""
    with gzip.open(_MERGES, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().splitlines()]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(merge) for merge in merges), START, END]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad_token, model_max_length=CONTEXT)
