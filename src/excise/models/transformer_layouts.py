"""Single files of models with a transformer: how they are told, and which of a pipeline's networks are in one (no torch here).

Facts read in huggingface/diffusers (loaders/single_file_utils.py) and Comfy-Org/ComfyUI (comfy/supported_models.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DENOISER = "model.diffusion_model."
"""How the names of the denoiser's tensors begin in a file that holds more than the denoiser."""

AUTOENCODER = ("first_stage_model.", "vae.")
ENCODERS = "text_encoders."
CLIP_L, CLIP_G, T5 = (f"{ENCODERS}{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))


@dataclass(frozen=True)
class TransformerLayout:
    """A family's single files. What a file does not hold comes from a diffusers folder, which describes everything.

    name     what messages call it
    pipeline the diffusers class that it becomes
    signs    how the name of a tensor begins that only its transformer has, in the original layout and as diffusers names it
    encoders how the names of each text encoder's tensors begin, by its name in the pipeline; those that are not here are never in one file
    """

    name: str
    pipeline: str
    signs: tuple[str, ...]
    encoders: Mapping[str, str] = field(default_factory=dict)

    def networks(self, keys: Iterable[str]) -> dict[str, str]:
        """The networks that a file with these tensors holds, by their names in the pipeline: how the names of their tensors begin."""
        names = list(keys)
        inside = any(name.startswith(DENOISER) for name in names)
        found = {"transformer": DENOISER if inside else ""}
        if inside:
            known = {**{start: "vae" for start in AUTOENCODER}, **{start: part for part, start in self.encoders.items()}}
            found |= {part: start for start, part in known.items() if any(name.startswith(start) for name in names)}
        return found


TRANSFORMERS = (
    TransformerLayout("FLUX.2-klein", "Flux2KleinPipeline", ("double_stream_modulation_img.",)),
    TransformerLayout(
        "FLUX.1", "FluxPipeline", ("double_blocks.", "single_transformer_blocks."), {"text_encoder": CLIP_L, "text_encoder_2": T5}
    ),
    TransformerLayout(
        "Stable Diffusion 3", "StableDiffusion3Pipeline", ("joint_blocks.", "pos_embed.pos_embed"),
        {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5},
    ),
    TransformerLayout("Z-Image", "ZImagePipeline", ("cap_embedder.",)),
    TransformerLayout("Qwen-Image", "QwenImagePipeline", ("txt_norm.",)),
)  # fmt: skip
"""In the order in which they are told: FLUX.2 has `double_blocks` too."""


def layout_of(keys: Iterable[str]) -> TransformerLayout | None:
    """The layout of a file with these tensors; None for any other file."""
    names = [key.removeprefix(DENOISER) for key in keys]
    return next((each for each in TRANSFORMERS if any(name.startswith(each.signs) for name in names)), None)
