"""What a single checkpoint file holds, from its header alone (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from excise.files import COUNTS, FLOATS, check_dtypes, read_header

VELOCITY, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors that trainers put beside the weights (kohya-ss/sd-scripts, comfyanonymous/ComfyUI: comfy/supported_models.py): the network
predicts velocity; it was trained on a schedule whose last step has no signal left."""

DENOISER = "model.diffusion_model."
"""How the names of the denoiser's tensors begin."""

WIDTH = f"{DENOISER}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
"""A tensor that all have whose denoiser is a U-Net that reads text: (out, width of the text)."""

_FIRST = f"{DENOISER}input_blocks.0.0.weight"
_PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
_OTHERS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "double_blocks.": "the transformer of a FLUX model alone",
    "joint_blocks.": "a Stable Diffusion 3 model",
    "cap_embedder.": "the transformer of a Z-Image model alone",
    "transformer_blocks.0.": "a transformer alone",
}
"""What other files are, by how a name in them begins, the denoiser's prefix left aside."""


@dataclass(frozen=True)
class Layout:
    """A kind of checkpoint that can be read without its folder.

    name     what messages call it
    pipeline the diffusers class that it becomes
    configs  folder of this package that describes its networks
    width    of the text that its denoiser reads
    """

    name: str
    pipeline: str
    configs: str
    width: int


LAYOUTS = (
    Layout("Stable Diffusion 1.x", "StableDiffusionPipeline", "sd1", 768),
    Layout("Stable Diffusion 2.x", "StableDiffusionPipeline", "sd2", 1024),
    Layout("Stable Diffusion XL", "StableDiffusionXLPipeline", "sdxl", 2048),
)


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    pipeline the diffusers class that it becomes
    width    of the text that its denoiser reads
    metadata of the file
    markers  which of `VELOCITY` and `ZERO_SNR` it has
    """

    pipeline: str
    width: int
    metadata: Mapping[str, str]
    markers: frozenset[str]

    @property
    def layout(self) -> Layout | None:
        """The published layout that it has, or None if its networks have other sizes."""
        return next((known for known in LAYOUTS if (known.pipeline, known.width) == (self.pipeline, self.width)), None)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.layout.name if self.layout else f"Stable Diffusion with text of width {self.width}"


def contents(path: Path) -> Contents:
    """What a file holds. Raises ValueError for a pickle, a file that is not whole, or one that is no whole checkpoint of these models."""
    if path.suffix in _PICKLES:
        raise ValueError(f"{path} is a pickle file and pickles are never loaded; convert it to .safetensors first")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    keys, metadata = read_header(path)
    other = next(
        (what for start, what in _OTHERS.items() if any(key.removeprefix(DENOISER).startswith(start) for key in keys)), None
    )
    if other is not None:
        raise ValueError(f"{path} is {other}, which cannot be read from one file; give its diffusers folder")
    shapes = {name: keys[name].shape for name in (WIDTH, _FIRST) if name in keys}
    if len(shapes.get(WIDTH, ())) != 2:
        known = ", ".join(layout.name for layout in LAYOUTS)
        raise ValueError(f"{path} is no checkpoint of {known}: it has no {WIDTH}")
    check_dtypes(path, keys, FLOATS | COUNTS)
    channels = (*shapes.get(_FIRST, ()), 0, 0)[1]
    if channels not in (0, 4):
        raise ValueError(
            f"{path} is an inpainting or editing model (its U-Net takes {channels} channels instead of 4), which is not supported"
        )
    two = any(key.startswith("conditioner.embedders.1.") for key in keys)
    return Contents(
        "StableDiffusionXLPipeline" if two else "StableDiffusionPipeline",
        shapes[WIDTH][1],
        metadata,
        frozenset({VELOCITY, ZERO_SNR} & keys.keys()),
    )
