"""What a single checkpoint file holds, from its header alone (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from excise.files import COUNTS, FLOATS, Declared, check_dtypes, read_header
from excise.models.names import INDEX
from excise.models.quantised import check_ending, check_names
from excise.models.transformer_layouts import DENOISER, ENCODERS, TRANSFORMERS, TransformerLayout, layout_of

VELOCITY, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors that trainers put beside the weights (kohya-ss/sd-scripts, comfyanonymous/ComfyUI: comfy/supported_models.py): the network
predicts velocity; it was trained on a schedule whose last step has no signal left."""

WIDTH = f"{DENOISER}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
"""A tensor that all have whose denoiser is a U-Net that reads text: (out, width of the text)."""

_FIRST = f"{DENOISER}input_blocks.0.0.weight"
_PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
_OTHERS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "distilled_guidance_layer.": "a Chroma model",
    "control": "a ControlNet",
    "lora_": "a LoRA",
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
_KNOWN = ", ".join(known.name for known in (*LAYOUTS, *TRANSFORMERS))


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    pipeline    the diffusers class that it becomes
    width       of the text that its U-Net reads; 0 if it has none
    metadata    of the file
    markers     which of `VELOCITY` and `ZERO_SNR` it has
    transformer its layout, if it has a transformer in place of the U-Net
    networks    of such a file: those in it, by their names in the pipeline, and how the names of their tensors begin
    """

    pipeline: str
    width: int
    metadata: Mapping[str, str]
    markers: frozenset[str]
    transformer: TransformerLayout | None = None
    networks: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout | None:
        """The published layout that it has, or None if its networks have other sizes."""
        return next((known for known in LAYOUTS if (known.pipeline, known.width) == (self.pipeline, self.width)), None)

    @property
    def name(self) -> str:
        """What messages call it."""
        known = self.layout or self.transformer
        return known.name if known else f"Stable Diffusion with text of width {self.width}"

    @property
    def needs_folder(self) -> bool:
        """Whether a diffusers folder must describe it, and hold what it does not."""
        return self.transformer is not None

    @property
    def parts(self) -> str:
        """What is in the file, in words."""
        if self.transformer is None:
            return "all in one file"
        return "the transformer alone" if len(self.networks) == 1 else f"in one file: {', '.join(self.networks)}"


def contents(path: Path) -> Contents:
    """What a file holds. Raises ValueError for a pickle, a file that is not whole, quantised weights, or a model that is none of these."""
    if path.suffix in _PICKLES:
        raise ValueError(f"{path} is a pickle file and pickles are never loaded; convert it to .safetensors first")
    check_ending(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    keys, metadata = read_header(path)
    check_names(path, keys)
    starts = [key.removeprefix(DENOISER) for key in keys]
    other = next((what for start, what in _OTHERS.items() if any(name.startswith(start) for name in starts)), None)
    if other is None and any(".lora_" in key for key in keys):
        other = "a LoRA"
    if other is not None:
        raise ValueError(f"{path} is {other}, no model that can be read from one file; known: {_KNOWN}")
    transformer = layout_of(keys)
    if transformer is not None:
        return _of_transformer(path, transformer, keys, metadata)
    shapes = {name: keys[name].shape for name in (WIDTH, _FIRST) if name in keys}
    if len(shapes.get(WIDTH, ())) != 2:
        raise ValueError(f"{path} is no checkpoint of {_KNOWN}: it has no {WIDTH}, and no transformer of these")
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


def is_checkpoint(path: Path) -> bool:
    """Whether `contents` can tell what a file holds."""
    try:
        contents(path)
    except ValueError:
        return False
    return True


def description_of(path: Path, config_from: Path | None = None) -> Path | None:
    """The diffusers folder that describes a checkpoint, and holds what the file does not; None: of a U-Net, if none is given.

    config_from default: of a transformer, the folder that the file lies in

    Raises ValueError if there is none, or what `contents` raises.
    """
    if not contents(path).needs_folder:
        return config_from
    folder = path.parent if config_from is None else config_from
    if not (folder / INDEX).is_file():
        told = "" if config_from is None else f", and {config_from} has no {INDEX}"
        raise ValueError(
            f"{path} is {contents(path).name}, {contents(path).parts}{told}; give config_from, a diffusers folder with the rest of the model"
        )
    return folder


def _of_transformer(
    path: Path, layout: TransformerLayout, keys: Mapping[str, Declared], metadata: Mapping[str, str]
) -> Contents:
    networks = layout.networks(keys)
    for name in keys:
        if name.startswith(ENCODERS) and not name.startswith(tuple(networks.values())) and name.count(".") > 2:
            raise ValueError(
                f"{path} holds a text encoder ({name}) that is not read from one file; give the model's diffusers folder"
            )
    return Contents(layout.pipeline, 0, metadata, frozenset(), layout, networks)
