"""What families' text encoders have in common: prompts as CLIP (arXiv 2103.00020) and T5 (arXiv 1910.10683) read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

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


def clip_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt, start and end included, cut to the context."""
    return tokenizer(list(prompts), truncation=True, max_length=tokenizer.model_max_length).input_ids


def clip_segment(tokenizer: Any, ids: Sequence[int]) -> Segment:
    """How a prompt of these token ids lies in CLIP's rows."""
    return Segment(0, 1, tuple(ids[1:-1]), tokenizer.model_max_length)


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
