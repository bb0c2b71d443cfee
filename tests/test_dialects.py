"""Names of layers in LoRA files are those that user interfaces look for."""

from __future__ import annotations

import pytest

from excise.models.dialects import DIFFUSERS, KOHYA, KOHYA_XL
from excise.models.families import FAMILIES, lora_names

BLOCK = "transformer_blocks.0.attn2.to_k.weight"
EXPECTED = {
    f"unet.down_blocks.1.attentions.0.{BLOCK}": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
    f"unet.down_blocks.2.attentions.1.{BLOCK}": "lora_unet_input_blocks_8_1_transformer_blocks_0_attn2_to_k",
    f"unet.mid_block.attentions.0.{BLOCK}": "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k",
    f"unet.up_blocks.0.attentions.2.{BLOCK}": "lora_unet_output_blocks_2_1_transformer_blocks_0_attn2_to_k",
    f"unet.up_blocks.1.attentions.0.{BLOCK}": "lora_unet_output_blocks_3_1_transformer_blocks_0_attn2_to_k",
    "unet.down_blocks.1.attentions.0.transformer_blocks.1.ff.net.0.proj.weight": (
        "lora_unet_input_blocks_4_1_transformer_blocks_1_ff_net_0_proj"
    ),
    "unet.up_blocks.0.upsamplers.0.conv.weight": "lora_unet_output_blocks_2_2_conv",
    "unet.down_blocks.0.downsamplers.0.conv.weight": "lora_unet_input_blocks_3_0_op",
    "unet.down_blocks.1.resnets.0.conv1.weight": "lora_unet_input_blocks_4_0_in_layers_2",
    "unet.add_embedding.linear_1.weight": "lora_unet_label_emb_0_0",
    "unet.time_embedding.linear_2.weight": "lora_unet_time_embed_2",
    "text_encoder.encoder.layers.3.self_attn.q_proj.weight": "lora_te1_text_model_encoder_layers_3_self_attn_q_proj",
    "text_encoder_2.encoder.layers.31.mlp.fc2.weight": "lora_te2_text_model_encoder_layers_31_mlp_fc2",
}
"""What sd-scripts writes for Stable Diffusion XL (networks/lora.py on library/sdxl_original_unet.py), by the names of diffusers."""


@pytest.mark.parametrize("weight, name", EXPECTED.items())
def test_names_of_xl_are_those_of_sd_scripts(weight: str, name: str) -> None:
    assert KOHYA_XL.module(weight) == name


def test_names_of_stable_diffusion_are_those_of_sd_scripts() -> None:
    """There sd-scripts trains diffusers' own U-Net."""
    assert KOHYA.module(f"unet.down_blocks.1.attentions.0.{BLOCK}") == (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    )
    assert KOHYA.module("text_encoder.encoder.layers.3.mlp.fc1.weight") == "lora_te_text_model_encoder_layers_3_mlp_fc1"


def test_every_family_has_the_dialect_that_is_usual_for_it() -> None:
    for family in FAMILIES:
        usual = lora_names(family.name)
        assert usual is (family.kohya or DIFFUSERS)
        assert lora_names(family.name, "diffusers") is DIFFUSERS
        if family.kohya is None:
            with pytest.raises(ValueError, match="in the dialect of diffusers, not in kohya's"):
                lora_names(family.name, "kohya")
    assert lora_names(None) is KOHYA, "edits of before are of Stable Diffusion 1.x and 2.x"
