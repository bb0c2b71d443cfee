"""Names of layers in LoRA files are those that user interfaces look for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from excise.models import Model
from excise.models.dialects import DIFFUSERS, KOHYA, KOHYA_XL
from excise.models.families import FAMILIES, Family, lora_names
from excise.models.fingerprint import named_tensors
from excise.models.footprint import Footprint

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
        assert usual.dialect == family.dialect and usual is (family.kohya if family.dialect == "kohya" else DIFFUSERS)
        assert lora_names(family.name, "diffusers") is DIFFUSERS
        if family.kohya is None:
            with pytest.raises(ValueError, match="in the dialect of diffusers, not in kohya's"):
                lora_names(family.name, "kohya")
    assert lora_names(None) is KOHYA, "edits of before are of Stable Diffusion 1.x and 2.x"


FACTS = json.loads((Path(__file__).parent / "interfaces.json").read_text(encoding="utf-8"))
"""What loaders of user interfaces read: names of layers by family, and the ends of the names of their factors."""


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern.replace(".", r"\.").replace("#", r"\d+"), name) is not None


@pytest.fixture(scope="module")
def models(request: pytest.FixtureRequest) -> dict[str, Model]:
    """A tiny model of each family, without numbers."""
    tiny = ("tiny_sd1", "tiny_sdxl", "tiny_sd3", "tiny_flux", "tiny_z_image", "tiny_flux2_klein", "tiny_qwen_image")
    return {
        family.name: Footprint(request.getfixturevalue(fixture)).model for family, fixture in zip(FAMILIES, tiny, strict=True)
    }


def _products(model: Model) -> list[str]:
    """The weights that a LoRA can hold, of all networks that edits may change."""
    tensors = named_tensors(model).items()
    return [name for name, each in tensors if each.ndim in (2, 4) and name.endswith(".weight") and "embeddings." not in name]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("loader, dialect", [("ComfyUI", None), ("ComfyUI", "kohya"), ("sd-scripts", "kohya")])
def test_loaders_read_what_is_written(loader: str, dialect: Any, family: Family, models: dict[str, Model]) -> None:
    """Every layer's name but for the few that the loader has none for, and no entrance among them but where it is said here."""
    if dialect == "kohya" and family.kohya is None:
        return
    names, known = lora_names(family.name, dialect), FACTS["names"][family.name][loader]
    unread = FACTS["unread"][loader].get(family.name, "-")
    assert [names.up, names.down, names.alpha] in FACTS["endings"][loader]
    written = 0
    for weight in _products(models[family.name]):
        try:
            name = names.module(weight)
        except LookupError:  # queries, keys and values are one layer in kohya's dialect of transformers
            assert dialect == "kohya" and family.dialect == "diffusers", weight
            continue
        written += 1
        assert any(_fits(name, pattern) for pattern in known) != _fits(name, unread), name
    assert written >= 5


def test_every_loader_but_one_reads_every_entrance(models: dict[str, Model]) -> None:
    missed = []
    for family in FAMILIES:
        entrances = [entrance.weight for entrance in models[family.name].entrances]
        for loader, dialect in (("ComfyUI", None), ("ComfyUI", "kohya"), ("sd-scripts", "kohya")):
            if dialect is None or family.kohya is not None:
                named = [lora_names(family.name, dialect).module(weight) for weight in entrances]
                known = FACTS["names"][family.name][loader]
                missed += [(loader, name) for name in named if not any(_fits(name, pattern) for pattern in known)]
    assert set(missed) == {("sd-scripts", "lora_unet_label_emb_0_0")}, "docs/reference/families.md says so"
