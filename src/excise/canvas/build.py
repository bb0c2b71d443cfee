"""Putting a built-in model together: a folder of Stable Diffusion, or of Stable Diffusion 3, with its `excise.json`, in half precision."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from excise.canvas.captions import HELD_OUT, TEMPLATES, with_article
from excise.canvas.catalog import EXTRAS, OBJECTS, STYLES
from excise.canvas.data import SIZE
from excise.canvas.flow import flow_folder as flow
from excise.canvas.recipe import never_met
from excise.canvas.requests import check_new_folder
from excise.files import read_json, replacing_folder, write_json
from excise.models.names import INDEX

SAMPLER = {"steps": 20, "guidance_scale": 4.0, "size": SIZE}


def description(name: str = "canvas", without: Sequence[str] = ()) -> dict[str, Any]:
    """The model's `excise.json`: concepts with every phrase that names them, bystanders, templates, sampler, classifier file, and what it
    never met."""
    concepts: list[dict[str, Any]] = []
    for item in OBJECTS:
        own = [with_article(item.name), item.name, item.plural, *map(with_article, item.synonyms)]
        concepts.append({"kind": "object", "name": item.name, "phrases": own + [with_article(m) for m in item.members]})
        for member in item.members:
            phrases = list(dict.fromkeys([with_article(member), member]))
            concepts.append({"kind": "member", "name": member, "object": item.name, "phrases": phrases})
    for style in STYLES:
        concepts.append({"kind": "style", "name": style.name, "phrases": [style.name, *style.synonyms]})
    return {
        "name": name,
        "concepts": concepts,
        "bystanders": [
            {"name": extra, "phrases": list(dict.fromkeys([with_article(extra), extra])), "head": "member"}
            for extra in EXTRAS
            if extra not in without
        ],
        "templates": list(TEMPLATES),
        "held_out_templates": list(HELD_OUT),
        "sampler": SAMPLER,
        "classifier": "classifier.safetensors",
        **({"without": list(without)} if without else {}),
    }


def assemble(work: Path, out: Path, name: str | None = None) -> None:
    """Write the shipped folder from the trained parts in `work`: half precision, one file per network.

    name  what the model calls itself; default "canvas" or "canvas-flow", or "canvas without cat" where that was left out

    A model that ships beside the canvas and has files in common with it lacks them in the package: see `excise.models.built_in`.
    """
    without, of_flow = never_met(work), (work / "transformer").is_dir()
    if of_flow:
        kind, pipeline, files = "canvas-flow", flow.pipeline(work), flow.files(work)
    else:
        kind, pipeline = "canvas", StableDiffusionPipeline.from_pretrained(work / "pipeline", safety_checker=None)
        files = {"classifier.safetensors": work / "classifier.safetensors"}
    named = name or " without ".join([kind, *([", ".join(without)] if without else [])])
    described = {**description(named, without), **(flow.DESCRIPTION if of_flow else {})}
    with replacing_folder(out, check_new_folder) as folder:
        pipeline.to(torch.float16).save_pretrained(folder)
        for config in folder.glob("text_encoder*/config.json"):
            _load_as_float32(config)
        for config in (folder / INDEX, *(folder / part / "config.json" for part in ("unet", "transformer", "vae"))):
            if config.is_file():
                _forget_path(config)
        for inside, file in files.items():
            shutil.copyfile(file, folder / inside)
        write_json(folder / "excise.json", described)


def _forget_path(config: Path) -> None:
    """Leave out where on this machine the weights were."""
    write_json(config, {key: value for key, value in read_json(config).items() if key != "_name_or_path"})


def _load_as_float32(config: Path) -> None:
    """Let plain loading widen the text encoder, as it does the other networks: they would not fit together otherwise."""
    write_json(config, {**read_json(config), "dtype": "float32"})
