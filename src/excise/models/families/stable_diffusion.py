"""Stable Diffusion 1.x and 2.x: a U-Net that reads one CLIP text encoder's tokens through cross-attention (arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from excise.models.conditioning import Conditioning
from excise.models.context import left_out, room
from excise.models.entrances import Entrance, Segment
from excise.models.model import Model
from excise.models.wrappers import own_layers, own_parameters


class StableDiffusion(Model):
    """Predicts noise or velocity at 0-999. Words enter at keys and values of every cross-attention (`attn2`)."""

    parts: ClassVar = {
        "unet": "diffusers.UNet2DConditionModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModel",
    }
    editable: ClassVar = ("unet", "text_encoder")
    left_out_parts: ClassVar = {"safety_checker": None, "requires_safety_checker": False}

    @staticmethod
    def own_size(pipeline: Any) -> int:
        return pipeline.unet.config.sample_size * pipeline.vae_scale_factor

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        words, config = pipeline.tokenizer, pipeline.text_encoder.config
        one, other = words(["a", "b"]).input_ids
        if one == other:
            raise ValueError(f"{model}: its tokenizer knows no words; the folder tokenizer lacks its vocabulary")
        if words.model_max_length > config.max_position_embeddings or len(words) > config.vocab_size:
            raise ValueError(
                f"{model}: its tokenizer ({len(words)} tokens, prompts of {words.model_max_length}) does not fit its text encoder "
                f"({config.vocab_size}, {config.max_position_embeddings})"
            )

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        tokenizer, encoder = self.tokenizer, self.pipeline.text_encoder
        parts = []
        for start in range(0, len(prompts), batch):
            tokens = tokenizer(
                list(prompts[start : start + batch]),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
            parts.append(encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0])
        return Conditioning(torch.cat(parts).to(self.dtype))

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        tokenizer = self.tokenizer
        return tokenizer(list(prompts), truncation=True, max_length=tokenizer.model_max_length).input_ids

    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        stop = self.tokenizer.model_max_length
        return [(Segment(0, 1, tuple(ids[1:-1]), stop),) for ids in self.token_ids(prompts)]

    @property
    def room(self) -> int:
        return room(self.tokenizer)

    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        return left_out(self.tokenizer, prompts)

    def words(self) -> list[str]:
        tokens = (token.removesuffix("</w>") for token in self.tokenizer.get_vocab() if token.endswith("</w>"))
        return sorted(token for token in tokens if token.isalpha())

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        read = (name for name in own_parameters(self.denoiser) if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")))
        return tuple(Entrance(f"unet.{name}", "tokens") for name in read)

    @property
    def token_embeddings(self) -> Tensor:
        return self.pipeline.text_encoder.get_input_embeddings().weight.detach()

    def encode_rows(self, ids: Tensor, rows: Tensor) -> Conditioning:
        encoder = self.pipeline.text_encoder
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            ends = (ids == self.tokenizer.eos_token_id).int().argmax(1, keepdim=True)
            mask = (torch.arange(ids.shape[1], device=ids.device) <= ends).long()
        hook = encoder.get_input_embeddings().register_forward_hook(lambda module, inputs, output: rows.to(output.dtype))
        try:
            return Conditioning(encoder(ids, attention_mask=mask)[0].to(self.dtype))
        finally:
            hook.remove()

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return self.pipeline.unet(x, t, encoder_hidden_states=conditioning.tokens).sample

    def in_subspace(self, name: str, subspace: str) -> bool:
        """attn1, attn2 and attn are self-attention, cross-attention and both; not-attn2 all but cross-attention; noxattn the same without
        the time embedding and the last block (ESD-u)."""
        if subspace in ("not-attn2", "noxattn"):
            outer = name.startswith(("time_embedding.", "conv_norm_out.", "conv_out."))
            return ".attn2." not in name and not (outer and subspace == "noxattn")
        if subspace == "attn":
            return ".attn1." in name or ".attn2." in name
        return subspace in ("attn1", "attn2") and f".{subspace}." in name

    @contextmanager
    def attention_maps(self) -> Iterator[list[Tensor]]:
        maps: list[Tensor] = []
        with ExitStack() as hooks:
            for attention in self.cross_attentions().values():
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

    def cross_attentions(self) -> dict[str, Any]:
        """The cross-attention modules by name."""
        return {name: module for name, module in own_layers(self.denoiser).items() if name.endswith(".attn2")}

    def adaptable(self) -> dict[str, Any]:
        return {
            f"{outer}.{inner}": layer
            for outer, block in own_layers(self.denoiser).items()
            if type(block).__name__ == "Transformer2DModel"
            for inner, layer in own_layers(block).items()
            if isinstance(layer, nn.Linear | nn.Conv2d)
        }


def probabilities(query: Tensor, key: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(scale q k^T) over tokens; query (b, pixels, heads d), key (b, tokens, heads d) -> (b, heads, pixels, tokens)."""
    query, key = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key))
    return (scale * query @ key.transpose(2, 3)).softmax(3)
