"""What families' text encoders have in common: prompts as CLIP (arXiv 2103.00020) and T5 (arXiv 1910.10683) read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.drawing import LongPrompts
from excise.models.entrances import Segment


def check_tokenizers(pipeline: Any, model: object) -> None:
    """Raise ValueError for a tokenizer of a pipeline that is missing, is not its text encoder's, or lost its vocabulary."""
    for number in ("", "_2", "_3"):
        words, encoder = getattr(pipeline, f"tokenizer{number}", None), getattr(pipeline, f"text_encoder{number}", None)
        if encoder is not None:
            whose = f"{model}: its tokenizer{number}"
            if words is None:
                raise ValueError(f"{whose} is missing, without which its text_encoder{number} reads no prompt")
            (check_t5 if type(encoder).__name__.startswith("T5") else check_clip)(words, encoder, whose)


def read_by_clip(tokenizer: Any, encoder: Any, prompts: Sequence[str]) -> Any:
    """What a CLIP text encoder makes of prompts, its hidden states among it; prompts are cut or filled up to its context."""
    tokens = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    return encoder(tokens.input_ids.to(encoder.device), attention_mask=mask, output_hidden_states=True)


class ClipReading:
    """What a CLIP text encoder makes of prompts, each cut or in chunks of its context, which it reads one by one.

    output what the encoder gives, its hidden states among it: a row for each chunk, one prompt's after the other's
    counts chunks of each prompt
    """

    def __init__(self, tokenizer: Any, encoder: Any, prompts: Sequence[str], long_prompts: LongPrompts) -> None:
        if long_prompts == "cut":
            self.output, self.counts = read_by_clip(tokenizer, encoder, prompts), [1] * len(prompts)
            return
        tokens = _chunked(tokenizer, prompts, padding="max_length")
        ids, mask = (torch.tensor(rows, device=encoder.device) for rows in (tokens.input_ids, tokens.attention_mask))
        own = mask if getattr(encoder.config, "use_attention_mask", False) else None
        self.output = encoder(ids, attention_mask=own, output_hidden_states=True)
        self.counts = list(Counter(tokens.overflow_to_sample_mapping).values())

    def told(self, tokens: Tensor, pooled: Tensor | None = None) -> Conditioning:
        """What the denoiser is told by them: the tokens (chunks, n, width) of all chunks of a prompt, and what is pooled (chunks, width) of its
        first chunk, of which interfaces take it (ComfyUI: comfy/sd1_clip.py)."""
        if pooled is not None:
            pooled = pooled[[stop - count for stop, count in zip(accumulate(self.counts), self.counts, strict=True)]]
        if max(self.counts) == 1:
            return Conditioning(tokens, pooled)
        rows = Conditioning.join([Conditioning(each.flatten(0, 1)[None]) for each in tokens.split(self.counts)])
        return Conditioning(rows.tokens, pooled, rows.mask)


def _chunked(tokenizer: Any, prompts: Sequence[str], **how: Any) -> Any:
    """Prompts as a tokenizer reads them in chunks of its context, each with its own start and end."""
    length = tokenizer.model_max_length
    return tokenizer(list(prompts), max_length=length, truncation=True, return_overflowing_tokens=True, **how)


def clip_chunks(tokenizer: Any, prompts: Sequence[str], long_prompts: LongPrompts) -> list[list[list[int]]]:
    """Token ids of each prompt's chunks, start and end included: one that is cut has one chunk."""
    if long_prompts == "cut":
        return [[ids] for ids in clip_ids(tokenizer, prompts)]
    tokens = _chunked(tokenizer, prompts)
    found: list[list[list[int]]] = [[] for _ in prompts]
    for ids, prompt in zip(tokens.input_ids, tokens.overflow_to_sample_mapping, strict=True):
        found[prompt].append(ids)
    return found


def clip_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt, start and end included, cut to the context."""
    return tokenizer(list(prompts), truncation=True, max_length=tokenizer.model_max_length).input_ids


def clip_segment(tokenizer: Any, ids: Sequence[int], chunk: int = 0) -> Segment:
    """How a chunk of these token ids lies in the rows that CLIP gives a prompt."""
    start = chunk * tokenizer.model_max_length
    return Segment(start, start + 1, tuple(ids[1:-1]), start + tokenizer.model_max_length)


def clip_words(tokenizer: Any) -> list[str]:
    """The words of letters alone that CLIP's tokenizer has as one token, sorted."""
    tokens = (token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>"))
    return sorted(token for token in tokens if token.isalpha())


def check_clip(words: Any, encoder: Any, whose: str) -> None:
    """Raise ValueError for a tokenizer that is not its text encoder's, or that lost its vocabulary; `whose` is what the error calls it."""
    config = encoder.config
    _check_knows_words(words, whose)
    tokens = max(len(words), *(number + 1 for number in words.get_vocab().values()))
    if words.model_max_length > config.max_position_embeddings or tokens > config.vocab_size:
        raise ValueError(
            f"{whose} ({tokens} tokens, prompts of {words.model_max_length}) does not fit its text encoder "
            f"({config.vocab_size}, {config.max_position_embeddings})"
        )


def read_by_t5(tokenizer: Any, encoder: Any, prompts: Sequence[str], length: int) -> Tensor:
    """What a T5 encoder makes of prompts, (prompts, length, width); they are cut or filled up to `length`, and the padding is read too."""
    tokens = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return encoder(tokens.input_ids.to(encoder.device))[0]


def t5_segment(ids: Sequence[int], start: int, length: int) -> Segment:
    """How a prompt of these token ids, its end token included, lies in T5's rows, which begin at row `start`: it has no start token."""
    return Segment(start, start, tuple(ids[:-1]), start + length)


def check_t5(words: Any, encoder: Any, whose: str) -> None:
    """The same as `check_clip`; T5 sets no limit to a prompt's length."""
    _check_knows_words(words, whose)
    if len(words) > encoder.config.vocab_size:
        raise ValueError(f"{whose} ({len(words)} tokens) does not fit its text encoder ({encoder.config.vocab_size})")


def _check_knows_words(words: Any, whose: str) -> None:
    one, other = words(["a", "b"]).input_ids
    if one == other:
        raise ValueError(f"{whose} knows no words; its folder lacks the vocabulary")
