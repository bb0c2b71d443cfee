"""What others call the tensors of a model's networks: LoRA files, and files of a denoiser's tensors alone. No torch here.

Facts read in kohya-ss/sd-scripts (networks/lora.py, lora_flux.py, lora_sd3.py; library/sdxl_model_util.py), Comfy-Org/ComfyUI (comfy/lora.py,
comfy/utils.py) and huggingface/diffusers (loaders/lora_conversion_utils.py). tests/interfaces.json has the names that each reads, and
tests/test_dialects.py holds what is written here against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from excise.models.original_names import FLUX, SD3, XL, transformer_name, unet_name

Dialect = Literal["kohya", "diffusers"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_NETWORKS = ("unet.", "transformer.", "text_encoder.", "text_encoder_2.")


@dataclass(frozen=True)
class LoraNames:
    """How a LoRA file calls the parts of a layer's factors.

    dialect kohya's: sd-scripts', which is usual for U-Nets; or that of diffusers and peft, which is usual for transformers
    module what it calls the layer that has a weight, by the weight's canonical name
    up     (out, rank), down (rank, in), alpha: endings; without alpha the scale is 1 whatever the rank
    """

    dialect: Dialect
    module: Callable[[str], str]
    up: str
    down: str
    alpha: str | None


def _kohya_name(weight: str) -> str:
    """Kohya's name of the layer that has a weight, of Stable Diffusion 1.x and 2.x.

    >>> _kohya_name("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight")
    'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0'
    """
    network, layer = _layer(weight)
    return {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[network] + layer.replace(".", "_")


def _xl_name(weight: str) -> str:
    """The same of Stable Diffusion XL.

    >>> _xl_name("unet.add_embedding.linear_1.weight"), _xl_name("text_encoder_2.encoder.layers.0.mlp.fc1.weight")
    ('lora_unet_label_emb_0_0', 'lora_te2_text_model_encoder_layers_0_mlp_fc1')
    """
    network, layer = _layer(weight)
    return "lora_unet_" + unet_name(layer, XL).replace(".", "_") if network == "unet" else _numbered(network, layer)


def _transformer_name(weight: str, names: Mapping[str, str]) -> str:
    """The same of a transformer, by its layers' original names.

    >>> _transformer_name("transformer.time_text_embed.text_embedder.linear_1.weight", FLUX)
    'lora_unet_vector_in_in_layer'
    """
    network, layer = _layer(weight)
    if network != "transformer":
        return _numbered(network, layer)
    return "lora_unet_" + transformer_name(layer, names).replace(".", "_")


def _numbered(encoder: str, layer: str) -> str:
    """Kohya's name of a text encoder's layer where there are several."""
    prefix = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[encoder]
    return f"{prefix}{layer}" if layer == "text_projection" else f"{prefix}text_model_{layer.replace('.', '_')}"


def _diffusers_name(weight: str) -> str:
    """Diffusers' name, with the prefix of its pipeline's network.

    >>> _diffusers_name("transformer.context_embedder.weight"), _diffusers_name("text_encoder.encoder.layers.0.mlp.fc1.weight")
    ('transformer.context_embedder', 'text_encoder.text_model.encoder.layers.0.mlp.fc1')
    """
    network, layer = _layer(weight)
    return (
        f"{network}.text_model.{layer}"
        if network.startswith("text_encoder") and layer != "text_projection"
        else f"{network}.{layer}"
    )


def _layer(weight: str) -> tuple[str, str]:
    """The network and the layer of a weight."""
    network, _, layer = weight.removesuffix(".weight").partition(".")
    return network, layer


KOHYA = LoraNames("kohya", _kohya_name, "lora_up.weight", "lora_down.weight", "alpha")
KOHYA_XL = LoraNames("kohya", _xl_name, "lora_up.weight", "lora_down.weight", "alpha")
"""Of Stable Diffusion XL sd-scripts trains the U-Net in its original layout."""
KOHYA_FLUX, KOHYA_SD3 = (
    LoraNames("kohya", partial(_transformer_name, names=names), "lora_up.weight", "lora_down.weight", "alpha")
    for names in (FLUX, SD3)
)
"""Of these sd-scripts trains the transformer in its original layout, in which queries, keys and values are one layer."""
DIFFUSERS = LoraNames("diffusers", _diffusers_name, "lora_B.weight", "lora_A.weight", None)


def published_name(key: str, denoiser: str) -> str:
    """The canonical name of a tensor in a file that holds those of a denoiser (ESD, UCE and others publish such), with or without its prefix.

    denoiser the base's prefix of it: "unet" or "transformer"

    >>> published_name("mid_block.resnets.0.conv1.weight", "unet")
    'unet.mid_block.resnets.0.conv1.weight'
    """
    return key if key.startswith(_NETWORKS) else f"{denoiser}.{key}"
