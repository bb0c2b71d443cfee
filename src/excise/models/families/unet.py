"""What models with a U-Net have in common: pictures read text in cross-attention (`attn2`) alone (arXiv 2112.10752)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from excise.models.attending import Attended
from excise.models.context import left_out, room
from excise.models.entrances import Entrance, Segment
from excise.models.families import unet_changes, unet_pruning
from excise.models.families.text_reading import check_tokenizers, clip_chunks, clip_segment, clip_words
from excise.models.model import Model
from excise.models.networks import Change
from excise.models.pruned import PrunedNetwork
from excise.models.sampling import Sampler
from excise.models.wrappers import own_layers, own_parameters

FEW = 4
"""Steps of models that were distilled to a few (ours; their authors use 1 to 4 for Turbo and 2 to 8 for Lightning)."""


class UNetModel(Model):
    """Predicts noise or velocity at 0-999. Words enter at keys and values of every cross-attention."""

    usual: ClassVar[Sampler]
    """How its authors make pictures with models that were not distilled; the size is the pipeline's own."""

    @classmethod
    def own_sampler(cls, pipeline: Any) -> Sampler:
        size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        if distilled(pipeline.scheduler.config):
            return Sampler(FEW, 0.0, size)
        return Sampler(cls.usual.steps, cls.usual.guidance_scale, size)

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        check_tokenizers(pipeline, model)

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        every = clip_chunks(self.tokenizer, prompts, self.long_prompts)
        return [[chunks[0][0], *(one for ids in chunks for one in ids[1:-1]), chunks[0][-1]] for chunks in every]

    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        every = clip_chunks(self.tokenizer, prompts, self.long_prompts)
        return [tuple(clip_segment(self.tokenizer, ids, number) for number, ids in enumerate(chunks)) for chunks in every]

    def begins(self, rows: Tensor) -> Tensor:
        """The start tokens of all chunks."""
        found = torch.zeros(rows.shape[:-1], dtype=torch.bool, device=rows.device)
        found[:, :: self.tokenizer.model_max_length] = True
        return found

    @property
    def room(self) -> int:
        return room(self.tokenizer)

    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        return {} if self.long_prompts == "chunk" else left_out(self.tokenizer, prompts)

    def words(self) -> list[str]:
        return clip_words(self.tokenizer)

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        read = (name for name in own_parameters(self.denoiser) if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")))
        return tuple(Entrance(f"unet.{name}", "tokens") for name in read)

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
    def attending(self, visit: Callable[[Attended], None]) -> Iterator[None]:
        with ExitStack() as hooks:
            for name, layer in self.cross_attentions().items():
                seen: dict[str, Any] = {}

                def begun(module: Any, inputs: Any, told: dict[str, Any], seen: dict[str, Any] = seen) -> None:
                    seen["mask"] = told.get("attention_mask")

                def query(module: Any, inputs: Any, output: Tensor, seen: dict[str, Any] = seen) -> None:
                    seen["query"] = output

                def key(module: Any, inputs: Any, output: Tensor, seen: dict[str, Any] = seen) -> None:
                    seen["key"] = output

                def read(module: Any, inputs: Any, name: str = name, layer: Any = layer, seen: dict[str, Any] = seen) -> None:
                    value = f"unet.{name}.to_v.weight"
                    visit(Attended(value, read=inputs[0], heads=layer.heads, scale=layer.scale, **seen))
                    seen.clear()

                hooks.callback(layer.register_forward_pre_hook(begun, with_kwargs=True).remove)
                hooks.callback(layer.to_q.register_forward_hook(query).remove)
                hooks.callback(layer.to_k.register_forward_hook(key).remove)
                hooks.callback(layer.to_out[0].register_forward_pre_hook(read).remove)
            yield

    @contextmanager
    def block_outputs(self) -> Iterator[dict[str, Tensor]]:
        found: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name, block in self._blocks().items():

                def keep(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                    found[name] = output[0] if isinstance(output, tuple) else output

                hooks.callback(block.register_forward_hook(keep).remove)
            yield found

    def _blocks(self) -> dict[str, nn.Module]:
        """The stages of the way down, the middle block unless it was taken out, and the stages of the way up."""
        blocks = re.compile(r"(down_blocks|up_blocks)\.\d+|mid_block")
        return {name: module for name, module in own_layers(self.denoiser).items() if blocks.fullmatch(name)}

    def pruned(self, keep: float) -> PrunedNetwork:
        return unet_pruning.pruned(self.denoiser, keep)

    @property
    def residual_blocks(self) -> dict[str, int]:
        return unet_changes.residual_blocks(self.denoiser)

    @property
    def halvings(self) -> int:
        return unet_changes.halvings(self.denoiser)

    def changed_blocks(self, change: Change) -> AbstractContextManager[None]:
        return unet_changes.changed_blocks(self.denoiser, change)

    @property
    def coder_widths(self) -> dict[int, int]:
        return unet_changes.coder_widths(self.pipeline.vae)

    def encoded_levels(self, pictures: Tensor) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}
        with unet_changes.seen_levels(self.pipeline.vae, found):
            self.pipeline.vae.encode(pictures)
        return found

    def decoded_with(self, own: Tensor, change: Change) -> Tensor:
        with unet_changes.changed_levels(self.pipeline.vae, change):
            return self.pipeline.vae.decode(own).sample

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


def distilled(schedule: Any) -> bool:
    """Whether a scheduler's config is that of a model distilled to a few steps without guidance (Turbo, Lightning): Euler's sampler from
    the last timestep on, on a schedule whose last step is not pure noise."""
    return (
        schedule.get("timestep_spacing") == "trailing"
        and str(schedule.get("_class_name", "")).startswith("Euler")
        and not schedule.get("rescale_betas_zero_snr")
    )
