"""Which families of models there are, and what each offers to methods and attacks (no torch here).

A family is one file in this folder, with a class derived from `Model`, and one entry in `FAMILIES`. Nothing outside `models` knows its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from excise.models.checkpoint_file import contents, description_of
from excise.models.dialects import DIFFUSERS, KOHYA, KOHYA_FLUX, KOHYA_SD3, KOHYA_XL, Dialect, LoraNames
from excise.models.drawing import LongPrompts
from excise.models.names import model_index, resolve
from excise.models.quantised import check_folder

if TYPE_CHECKING:
    from excise.models.model import Model

Offer = Literal["entrances", "attention maps", "attention layers", "U-Net", "token embeddings", "diffusion path"]
"""What a method or an attack may need of a model beside what all have:

entrances         linear maps that read text and no picture (`Model.entrances`)
attention layers  linear layers of the attention in which words act, as a subspace (`Model.subspace`: attn)
attention maps    layers in which pictures attend to text alone (`Model.attending`)
U-Net             the published subspaces of a U-Net, such as its cross-attention, its transformer blocks' layers (`Model.adaptable`),
                  and blocks that can be taken out and compared (`Model.pruned`, `Model.block_outputs`)
token embeddings  one text encoder that embeds tokens, which can be given embeddings of no token (`Model.encode_embedded`)
diffusion path    noise and picture whose squared factors add up to 1, as DDIM has it
"""

OFFERS: tuple[Offer, ...] = get_args(Offer)


@dataclass(frozen=True)
class Family:
    """A family of models.

    name     what lists and errors call it
    pipeline the diffusers class that `model_index.json` names
    home     file in this folder, and the class in it
    offers   what methods and attacks can count on
    original whether it has a layout of one file for all networks (`models.original_layout`)
    in_chunks whether its prompts can be read in chunks of the context: where CLIP alone reads them
    kohya    names of its layers in LoRA files of kohya's dialect; None: nobody here reads it
    dialect  of LoRA files that user interfaces expect
    """

    name: str
    pipeline: str
    home: tuple[str, str]
    offers: frozenset[Offer]
    kohya: LoraNames | None = None
    dialect: Dialect = "diffusers"
    original: bool = False
    in_chunks: bool = False

    def model(self) -> type[Model]:
        """Its class; loads torch."""
        file, name = self.home
        found: type[Model] = getattr(importlib.import_module(f"{__name__}.{file}"), name)
        return found


FAMILIES: tuple[Family, ...] = (
    Family(
        "Stable Diffusion 1.x and 2.x",
        pipeline="StableDiffusionPipeline",
        home=("stable_diffusion", "StableDiffusion"),
        offers=frozenset({"entrances", "attention layers", "attention maps", "U-Net", "token embeddings", "diffusion path"}),
        kohya=KOHYA,
        dialect="kohya",
        original=True,
        in_chunks=True,
    ),
    Family(
        "Stable Diffusion XL",
        pipeline="StableDiffusionXLPipeline",
        home=("sdxl", "StableDiffusionXL"),
        offers=frozenset({"entrances", "attention layers", "attention maps", "U-Net", "diffusion path"}),
        kohya=KOHYA_XL,
        dialect="kohya",
        original=True,
        in_chunks=True,
    ),
    Family(
        "Stable Diffusion 3",
        pipeline="StableDiffusion3Pipeline",
        home=("sd3", "StableDiffusion3"),
        offers=frozenset({"entrances", "attention layers"}),
        kohya=KOHYA_SD3,
    ),
    Family(
        "FLUX.1",
        pipeline="FluxPipeline",
        home=("flux", "Flux"),
        offers=frozenset({"entrances", "attention layers"}),
        kohya=KOHYA_FLUX,
    ),
    Family("Z-Image", pipeline="ZImagePipeline", home=("z_image", "ZImage"), offers=frozenset({"entrances"})),
    Family(
        "FLUX.2-klein",
        pipeline="Flux2KleinPipeline",
        home=("flux2_klein", "Flux2Klein"),
        offers=frozenset({"entrances", "attention layers"}),
    ),
    Family(
        "Qwen-Image",
        pipeline="QwenImagePipeline",
        home=("qwen_image", "QwenImage"),
        offers=frozenset({"entrances", "attention layers"}),
    ),
)


def family_of(where: Path | str) -> Family:
    """The family of a diffusers folder, a single checkpoint file or a hub id, without loading a weight.

    Raises ValueError for a pipeline that is not supported, or what `model_index` and `contents` raise.
    """
    if isinstance(where, Path) and where.is_file():
        kind: str | None = contents(where).pipeline
    else:
        kind = model_index(where).get("_class_name")
        if isinstance(where, Path):
            check_folder(where)
    found = next((family for family in FAMILIES if family.pipeline == kind), None)
    if found is None:
        known = ", ".join(f"{family.pipeline} ({family.name})" for family in FAMILIES)
        raise ValueError(f"{where} holds a {kind}; supported: {known}")
    return found


def lora_names(family: str | None, dialect: Dialect | None = None) -> LoraNames:
    """How LoRA files of a family's models call its layers; None: of Stable Diffusion 1.x and 2.x, the only one that edits did not name.

    dialect  default what user interfaces expect

    Raises ValueError for a dialect that nobody reads for this family.
    """
    known = next((known for known in FAMILIES if known.name == family), FAMILIES[0])
    if (dialect or known.dialect) == "diffusers":
        return DIFFUSERS
    if known.kohya is None:
        raise ValueError(f"user interfaces read LoRA files of {known.name} in the dialect of diffusers, not in kohya's")
    return known.kohya


def family_name(model: object) -> str | None:
    """The name of a loaded model's family; None if it is of none here."""
    return next((family.name for family in FAMILIES if family.home[1] == type(model).__name__), None)


def check_long_prompts(family: Family, how: LongPrompts | None) -> None:
    """Raise ValueError for a way to read long prompts that a family does not have."""
    if how == "chunk" and not family.in_chunks:
        able = ", ".join(known.name for known in FAMILIES if known.in_chunks)
        raise ValueError(
            f"prompts of {family.name} are not read in chunks of the context (those of {able} are); leave long_prompts at cut"
        )


def check_described(model: str | Path, config_from: Path | None) -> None:
    """Raise ValueError for a single file whose description is missing, or a description of a model that describes itself."""
    where = resolve(model)
    if isinstance(where, Path) and where.is_file():
        description_of(where, config_from)
    elif config_from is not None:
        raise ValueError(f"config_from describes single checkpoint files; {model} describes itself")


def check_original(model: str | Path) -> None:
    """Raise ValueError unless a model's family has an original layout, all networks in one file, that is written here."""
    family = family_of(resolve(model))
    if not family.original:
        able = ", ".join(known.name for known in FAMILIES if known.original)
        raise ValueError(f"models of {family.name} are not written as one file (those of {able} are); give a folder")


def check_offers(where: Path | str, who: str, needs: Sequence[Offer]) -> None:
    """Raise ValueError if a model is of a family that lacks what a method or an attack needs; `who` is what the error calls it."""
    family = family_of(where)
    missing = [need for need in needs if need not in family.offers]
    if missing:
        raise ValueError(f"{who} needs {' and '.join(missing)}, which {family.name} does not have")
