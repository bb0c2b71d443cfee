"""What others call the tensors of a model's networks: LoRA files in kohya's dialect, files of a denoiser's tensors alone. No torch here."""

from __future__ import annotations

KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
"""How kohya's LoRA files begin the names of a network's layers."""

_BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")


def kohya_name(weight: str) -> str:
    """Kohya's name of the layer that has a weight, by the weight's canonical name.

    >>> kohya_name("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight")
    'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0'
    """
    network, _, rest = weight.removesuffix(".weight").partition(".")
    return KOHYA[network] + rest.replace(".", "_")


def names_denoiser(key: str) -> bool:
    """Whether a file's key names a tensor of a U-Net as diffusers does."""
    return key.removeprefix("unet.").startswith(_BLOCKS)


def published_name(key: str) -> str:
    """The canonical name of a tensor in a file that holds those of a denoiser (ESD, UCE and others publish such), with or without its prefix.

    >>> published_name("mid_block.resnets.0.conv1.weight")
    'unet.mid_block.resnets.0.conv1.weight'
    """
    return key if key.startswith(tuple(f"{network}." for network in KOHYA)) else f"unet.{key}"
