"""What models have in common whose prompts a language model of the Qwen kind reads: each as a user's message in a chat."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.entrances import Segment
from excise.models.model import Model
from excise.models.networks import check_prompts

PROMPT = "\ue000"
"""A character of no script: where the prompt comes in a chat."""
SPACE = "Ġ"
"""How byte-level tokenizers write the space before a word, which belongs to it."""

SHORT = 32
"""Tokens of a short prompt's chat."""


class QwenModel(Model):
    """Words enter by the tokens alone: hidden states of the language model, which is never edited."""

    hidden: ClassVar[tuple[int, ...]]
    """Which of the hidden states the denoiser is told, side by side; see `hidden_states`."""
    thinking: ClassVar[bool]
    """Whether the chat leaves the answer open, for thoughts; if not, empty ones begin it."""
    longest: ClassVar[int] = 512
    """Tokens of a chat that are read."""
    untold: ClassVar[int] = 0
    """Tokens at the beginning of a chat that the denoiser is not told."""
    filled: ClassVar[bool] = False
    """Whether every chat is filled up to the greatest length, and all of it is told; else its own tokens are, by a mask."""

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        check_qwen(pipeline, model)
        if pipeline.tokenizer.chat_template is None:
            raise ValueError(f"{model}: its tokenizer has no chat template, and its prompts are read as chats")

    @cached_property
    def chat(self) -> tuple[str, str]:
        """What stands before a prompt, and after it."""
        told = [{"role": "user", "content": PROMPT}]
        text = self.tokenizer.apply_chat_template(
            told, tokenize=False, add_generation_prompt=True, enable_thinking=self.thinking
        )
        before, after = text.split(PROMPT)
        return before, after

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 16) -> Conditioning:
        check_prompts(prompts, batch)
        parts = (self._told(prompts[start : start + batch]) for start in range(0, len(prompts), batch))
        return Conditioning.join(list(parts))

    def _told(self, prompts: Sequence[str]) -> Conditioning:
        """What `encode` gives, of so few prompts that they can be read at once."""
        encoder = self.pipeline.text_encoder
        tokens = self._tokens(prompts, padding="max_length" if self.filled else True, padding_side="right", return_tensors="pt")
        tokens = tokens.to(self.device)
        rows = hidden_states(encoder, self.hidden, tokens)[:, self.untold :].to(self.device, self.dtype)
        if self.filled:
            return Conditioning(rows)
        mask = tokens.attention_mask[:, self.untold :].bool().to(self.device)
        return Conditioning(rows * mask[..., None], mask=mask)

    def _tokens(self, prompts: Sequence[str], **how: Any) -> Any:
        before, after = self.chat
        chats = [f"{before}{prompt}{after}" for prompt in prompts]
        return self.tokenizer(chats, truncation=True, max_length=self.longest, **how)

    def outline(self) -> Conditioning:
        width = len(self.hidden) * self.pipeline.text_encoder.get_input_embeddings().embedding_dim
        rows = self.longest if self.filled else SHORT
        return Conditioning(torch.zeros(1, rows, width, device=self.device, dtype=self.dtype))

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        return [ids[self.untold :] for ids in self._tokens(prompts).input_ids]

    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        read = self._tokens(prompts, return_offsets_mapping=True)
        return [(self._segment(*one),) for one in zip(prompts, read.input_ids, read.offset_mapping, strict=True)]

    def _segment(self, prompt: str, ids: Sequence[int], places: Sequence[tuple[int, int]]) -> Segment:
        """How a chat lies in its rows; places (start, stop) are those of its tokens in its text."""
        first = len(self.chat[0])
        before = sum(stop <= first for _, stop in places)
        own = tuple(ids[row] for row, (start, _) in enumerate(places) if row >= before and start < first + len(prompt))
        return Segment(0, before - self.untold, own, (self.longest if self.filled else len(ids)) - self.untold)

    @property
    def room(self) -> int:
        return self.longest - len(self.tokenizer(self.chat[0]).input_ids)

    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        distinct, before = list(dict.fromkeys(prompts)), self.chat[0]
        if not distinct:
            return {}
        begun = self.tokenizer([f"{before}{prompt}" for prompt in distinct], return_offsets_mapping=True, verbose=False)
        places = zip(distinct, begun.offset_mapping, strict=True)
        return {prompt: prompt[at[self.longest][0] - len(before) :] for prompt, at in places if len(at) > self.longest}

    def words(self) -> list[str]:
        """In small letters of the English alphabet, one token with the space before them and one without."""
        tokens = self.tokenizer.get_vocab()
        marked = (token.removeprefix(SPACE) for token in tokens if token.startswith(SPACE))
        return sorted(word for word in marked if word in tokens and word.isascii() and word.isalpha() and word.islower())


def check_qwen(pipeline: Any, model: object) -> None:
    """Raise ValueError for a tokenizer that is not its text encoder's, or that lost its vocabulary; `model` is what the error calls them."""
    words, encoder = pipeline.tokenizer, pipeline.text_encoder
    one, other = words(["a", "b"]).input_ids
    if one == other:
        raise ValueError(f"{model}: its tokenizer knows no words; its folder lacks the vocabulary")
    known = encoder.get_input_embeddings().num_embeddings
    if len(words) > known:
        raise ValueError(f"{model}: its tokenizer ({len(words)} tokens) does not fit its text encoder ({known})")
    if words.pad_token is None:
        raise ValueError(f"{model}: its tokenizer has no token to fill prompts up with")


def hidden_states(encoder: Any, numbers: Sequence[int], tokens: Any) -> Tensor:
    """What a language model makes of tokens after some of its layers, side by side, (b, n, len(numbers) * width).

    numbers  1 is after the first layer, -1 after the last one and its norm, -2 after the last but one: as transformers counts them
    tokens   its `input_ids` and `attention_mask`, both (b, n)

    The other layers' are not kept (all of Qwen 3's for 16 chats of 512 tokens are 3 GB), and no next word is predicted but one.
    """
    decoder, found = encoder.get_decoder(), dict[int, Tensor]()
    stages = [*decoder.layers[:-1], decoder.norm]
    with ExitStack() as hooks:
        for number in numbers:

            def keep(stage: Any, inputs: Any, output: Tensor, number: int = number) -> None:
                found[number] = output

            hooks.callback(stages[number - 1 if number > 0 else number].register_forward_hook(keep).remove)
        few = {} if encoder.get_output_embeddings() is None else {"logits_to_keep": 1}
        encoder(tokens.input_ids, attention_mask=tokens.attention_mask, use_cache=False, **few)
    return torch.cat([found[number] for number in numbers], -1)
