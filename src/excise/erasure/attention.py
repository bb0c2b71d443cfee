"""Cross-attention seen from outside: forward hooks on its layers, whatever computes the attention itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excise.models import Model


def cross_attentions(unet: nn.Module) -> dict[str, Any]:
    """The cross-attention modules by name."""
    return {name: module for name, module in unet.named_modules() if name.endswith(".attn2")}


@contextmanager
def start_token_detached(unet: nn.Module) -> Iterator[None]:
    """Inside the block no gradient reaches keys and values through the start token, which every prompt has."""

    def detach(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1].detach(), output[:, 1:]], 1)

    with ExitStack() as hooks:
        for attention in cross_attentions(unet).values():
            for layer in (attention.to_k, attention.to_v):
                hooks.callback(layer.register_forward_hook(detach).remove)
        yield


@contextmanager
def attention_maps(unet: nn.Module) -> Iterator[list[Tensor]]:
    """A list that a forward pass fills: attention probabilities (b, heads, pixels, tokens) of every cross-attention, with gradients."""
    maps: list[Tensor] = []
    with ExitStack() as hooks:
        for attention in cross_attentions(unet).values():
            seen: dict[str, Tensor] = {}

            def query(module: nn.Module, inputs: Any, output: Tensor, seen: dict[str, Tensor] = seen) -> None:
                seen["query"] = output

            def key(
                module: nn.Module, inputs: Any, output: Tensor, seen: dict[str, Tensor] = seen, attention: Any = attention
            ) -> None:
                maps.append(probabilities(seen.pop("query"), output, attention.heads, attention.scale))

            hooks.callback(attention.to_q.register_forward_hook(query).remove)
            hooks.callback(attention.to_k.register_forward_hook(key).remove)
        yield maps


def probabilities(query: Tensor, key: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(scale q k^T) over tokens; query (b, pixels, heads d), key (b, tokens, heads d) -> (b, heads, pixels, tokens)."""
    query, key = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key))
    return (scale * query @ key.transpose(2, 3)).softmax(3)


def token_positions(model: Model, prompt: str, phrases: Sequence[str], *, end: bool = False) -> list[int]:
    """Where a prompt's tokens are those of a phrase: the longest phrase that it contains counts; [] if none.

    end  also the end token, which has read all the others
    """
    ids = model.token_ids([prompt])[0]
    for words in sorted((ids[1:-1] for ids in model.token_ids(list(phrases))), key=len, reverse=True):
        for first in range(1, len(ids) - len(words)):
            if words and ids[first : first + len(words)] == words:
                return list(range(first, first + len(words))) + ([len(ids) - 1] if end else [])
    return []
