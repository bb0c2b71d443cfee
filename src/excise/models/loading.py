"""`load`: a model by name, folder, single checkpoint file or hub id — from safetensors only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import diffusers
import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError

from excise import bounds
from excise.files import at_home, check_shards, read_header, read_json, reading
from excise.models.checkpoint_file import contents, description_of
from excise.models.drawing import AS_IT_DOES, Drawing, Offload
from excise.models.families import Family, check_long_prompts, family_of
from excise.models.model import Model
from excise.models.names import describe, model_index, resolve
from excise.models.offloading import check_place, place
from excise.models.on_demand import OnDemand
from excise.models.parts import assembled, load_network, network_config
from excise.models.quantised import check_ending, check_names
from excise.models.single_file import load_checkpoint
from excise.models.transformer_file import networks_in_file


def load(
    model: str | Path = "canvas",
    *,
    device: str | None = None,
    dtype: str | torch.dtype = "float32",
    config_from: str | Path | None = None,
    prediction: str | None = None,
    drawing: Drawing = AS_IT_DOES,
    offload: Offload = "none",
) -> Model:
    """Load a model.

    model       "canvas" (built in), a diffusers folder, a single .safetensors checkpoint, or a hub id; of a network that is there in half
                precision alone (`*.fp16.safetensors`) those weights are read
    device      "cpu", "cuda", "mps", ...; default the first of cuda, mps, cpu that is there
    dtype       "float32", "float16", "bfloat16", or "mixed": weights in float32, predictions computed in bfloat16 (about twice as fast
                as float32 on processors that can; on others as slow, with the same roundings)
    config_from single checkpoints: a diffusers folder whose configs describe the networks; of SD 1.x, 2.x and XL those of this package do, if
                the sizes are theirs; of models with a transformer it holds what the file does not, and is by default the file's own folder
    drawing     how pictures are made and long prompts read, where that is not the model's own way
    offload     where the networks lie that no edit changes (autoencoder, language models): "none", on the device; "model", in the CPU's
                memory while they do not work; "group", there as well, and on the device layer by layer when they do (diffusers' own)
    prediction  single checkpoints: "epsilon" or "v_prediction", what the network predicts; see `single_file.load_checkpoint` for the default

    Raises FileNotFoundError if it is not there, ValueError for a pickle, an unsupported kind of model, an unknown dtype or device, weights
    that are missing or not finite, or a folder's that its networks do not have (an adapter's, a gate's: without them it is another
    model), OSError if the hub cannot be reached.
    """
    where = resolve(model)
    mixed, dtype, picked = dtype == "mixed", parse_dtype(dtype), pick_device(device)
    description, family = describe(where), family_of(where)
    kind = family.model()
    check_long_prompts(family, drawing.long_prompts)
    check_place(picked, offload)
    if isinstance(where, Path) and where.is_file():
        pipeline, again = _from_file(where, family, dtype, config_from, prediction)
    elif config_from or prediction:
        raise ValueError(f"config_from and prediction are for single checkpoint files; {model} describes itself")
    else:
        pipeline, again = _from_folder(where, family, dtype)
    pipeline.set_progress_bar_config(disable=True)
    _check_weights(pipeline, kind, model)
    with reading(model):
        kind.check_words(pipeline, model)
        sampler = replace(kind.own_sampler(pipeline), **description.sampler)
        if not 1 <= sampler.size <= bounds.EDGE:
            raise ValueError(f"it makes pictures of {sampler.size} pixels, expected at most {bounds.EDGE}")
    place(pipeline, kind.editable, picked, offload)
    loaded = kind(
        pipeline,
        name=description.name,
        catalog=description.catalog,
        bystanders=description.bystanders,
        sampler=sampler,
        folder=where if isinstance(where, Path) and where.is_dir() else None,
        classifier=description.classifier,
        mixed=mixed,
    )
    _check_together(loaded, where)
    if offload == "none":
        able = [part for part in loaded.unedited_parts if part in again]
        loaded.on_demand = {part: OnDemand(getattr(pipeline, part), again[part], f"{model}: {part}") for part in able}
    loaded.draw(drawing)
    return loaded


def pick_device(device: str | None) -> torch.device:
    """The device asked for, or the first of cuda, mps, cpu. Raises ValueError for one that torch does not know or have."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {device!r} here: {str(error).splitlines()[0]}") from None
    return picked


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The dtype of the weights by name. Raises ValueError for any other than float32, float16, bfloat16, mixed."""
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "mixed": torch.float32}
    if dtype in names.values():
        return dtype  # type: ignore[return-value]
    if dtype not in names:
        raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(names)}")
    return names[str(dtype)]


Again = Mapping[str, Callable[[], Any]]
"""How each network of a folder is read, by name."""


def _from_file(
    path: Path, family: Family, dtype: torch.dtype, config_from: str | Path | None, prediction: str | None
) -> tuple[Any, Again]:
    """The family's pipeline of one checkpoint file, and where that has a transformer alone, of what its folder holds beside."""
    folder = description_of(path, None if config_from is None else at_home(config_from))
    if not contents(path).needs_folder:
        return load_checkpoint(path, dtype, folder, prediction), {}
    if prediction is not None:
        raise ValueError(f"prediction is for checkpoints of U-Nets; {path} is {family.name}")
    assert folder is not None
    return _from_folder(folder, family, dtype, networks_in_file(path, folder, family, dtype))


def _from_folder(
    where: Path | str, family: Family, dtype: torch.dtype, given: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, Again]:
    """The family's pipeline of what is in a folder, or of a model on the hub that is fetched into one; and of networks that are given."""
    kind = family.model()
    index = model_index(where)
    parts, absent = kind.declared(index)
    folder = where if isinstance(where, Path) else _fetched(where, kind, parts)
    variants = {part: _variant(folder, kind, part) for part in parts if part not in given}
    weights = {part: _weights(folder, kind, part, variant) for part, variant in variants.items()}
    for file in (file for files in weights.values() for file in files):
        check_names(file, read_header(file)[0])
    again = {
        part: partial(load_network, folder, part, kind.parts[part], dtype, variants[part], files)
        for part, files in weights.items()
    }
    own = {**given, **{part: read() for part, read in again.items()}, **absent, **kind.left_out_parts}
    return assembled(getattr(diffusers, family.pipeline), folder, index, own), again


def _fetched(model: str, kind: type[Model], parts: Sequence[str]) -> Path:
    """The folder that a model on the hub is kept in, with every file in it that is read. The configs come first, as they tell of what is
    refused."""
    for part in parts:
        if _any_there(model, [f"{part}/config.json"]):
            network_config(Path(hf_hub_download(model, f"{part}/config.json")).parent, kind.parts[part])
    for part in parts:
        whole, index = _files(kind, part)[_variant(model, kind, part)]
        if not _any_there(model, [whole]) and _any_there(model, [index]):
            for shard in _shards(Path(hf_hub_download(model, index))):
                hf_hub_download(model, f"{part}/{shard}")
    told = ["*/*.json", "*/*.txt", "*/*.model", "*/*.jinja"]
    return Path(snapshot_download(model, allow_patterns=told, ignore_patterns="*.index*.json"))


def _shards(index: Path) -> list[str]:
    """The files that a list of shards names, all of its own folder."""
    check_shards(index.parent)
    return sorted(set(read_json(index)["weight_map"].values()))


def _files(kind: type[Model], part: str) -> dict[str | None, tuple[str, str]]:
    """Where a network's weights are, in one file or by a list of several: by what diffusers calls the variant, the preferred one first."""
    stem = f"{part}/{'model' if kind.parts[part].startswith('transformers.') else 'diffusion_pytorch_model'}"
    return {
        None: (f"{stem}.safetensors", f"{stem}.safetensors.index.json"),
        "fp16": (f"{stem}.fp16.safetensors", f"{stem}.safetensors.index.fp16.json"),
    }


def _variant(where: Path | str, kind: type[Model], part: str) -> str | None:
    """Which variant of a network's weights to read."""
    return next((variant for variant, names in _files(kind, part).items() if _any_there(where, names)), None)


def _any_there(where: Path | str, names: Sequence[str]) -> bool:
    """Whether a folder, or a model on the hub, has one of these files."""
    if isinstance(where, Path):
        return any((where / name).is_file() for name in names)
    for name in names:
        with suppress(EntryNotFoundError):
            hf_hub_download(where, name)
            return True
    return False


def _weights(folder: Path, kind: type[Model], part: str, variant: str | None) -> list[Path]:
    """The files of a network's weights. Raises ValueError unless they are safetensors; reads none of them."""
    whole, index = (folder / name for name in _files(kind, part)[variant])
    found = [whole] if whole.is_file() else []
    if index.is_file():
        found += [folder / part / name for name in _shards(index)]
    if not found:
        for file in sorted((folder / part).glob("*")):
            check_ending(file)
        raise ValueError(f"{folder / part} has no .safetensors weights; pickle files are never loaded: convert them first")
    return found


def _check_weights(pipeline: Any, kind: type[Model], model: str | Path) -> None:
    """Raise ValueError for a weight that was not loaded or is not finite."""
    for part in kind.parts:
        network = getattr(pipeline, part)
        for name, tensor in network.state_dict().items() if network is not None else ():
            if tensor.is_meta:
                raise ValueError(f"{model}: it lacks {part}.{name}")
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{model}: {part}.{name} has values that are not finite (NaN or infinity)")


def _check_together(model: Model, where: Path | str) -> None:
    """Raise ValueError unless the parts of a model fit each other."""
    with reading(where, "its parts do not fit each other: "):
        model.ask_once()
