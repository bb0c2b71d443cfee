"""Names of models and the files that describe them, without loading any weight (no torch here)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.concepts import Catalog, Concept
from excise.files import read_json
from excise.models.built_in import BUILT_IN, built_in

INDEX = "model_index.json"


@dataclass(frozen=True)
class Description:
    """What a model folder's `excise.json` says: name, concepts, default sampler, classifier file, and what it was trained without."""

    name: str
    catalog: Catalog
    sampler: dict[str, Any]
    classifier: Path | None
    without: tuple[str, ...] = ()


def resolve(model: str | Path) -> Path | str:
    """The path that a model name or path means, or the name unchanged if it is a hub id ("owner/name").

    Raises FileNotFoundError when it is neither, with what to do.
    """
    if str(model) in BUILT_IN:
        return built_in(str(model))
    path = Path(model).expanduser()
    if path.exists():
        return path
    text = str(model)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith(".safetensors"):
        return text
    raise FileNotFoundError(
        f"no such model: {text!r} is not a file or folder here; built in: {', '.join(BUILT_IN)}; for the hub write owner/name"
    )


def model_index(where: Path | str) -> dict[str, Any]:
    """What `model_index.json` says of a diffusers folder or a hub id ("owner/name"): which pipeline it is (`_class_name`), of which parts.

    Raises FileNotFoundError if the hub does not give it, ValueError for a folder without it, or a damaged one.
    """
    path = where / INDEX if isinstance(where, Path) else _from_hub(where)
    if not path.is_file():
        raise ValueError(f"{where} is not a model folder: it has no {INDEX}")
    return read_json(path)


def _from_hub(model: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(model, INDEX))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        why = " ".join(str(error).split())
        raise FileNotFoundError(
            f"no such model: {model!r} is no folder here, and the hub gives no {INDEX} of it ({why})"
        ) from None


def describe(folder: Path | str) -> Description:
    """Read `excise.json` of a model folder; a model without one takes any concept and has no classifier.

    Raises ValueError if the file is there but is not what it should be.
    """
    path = Path(folder) / "excise.json"
    if not path.is_file():
        return Description(Path(folder).name or str(folder), Catalog(), {}, None)
    data = read_json(path)
    try:
        classifier = path.parent / data["classifier"] if "classifier" in data else None
        if classifier is not None and Path(data["classifier"]).name != data["classifier"]:
            raise ValueError("the classifier must lie in the model's own folder")
        sampler = dict(data.get("sampler", {}))
        if sampler.keys() - {"steps", "guidance_scale", "size"}:
            raise ValueError(f"sampler has keys {sorted(sampler)}; known: steps, guidance_scale, size")
        whole = {key: sampler[key] for key in ("steps", "size") if key in sampler}
        if any(type(value) is not int or value < 1 for value in whole.values()):
            raise ValueError(f"sampler needs whole numbers from 1 on, not {whole}")
        if not math.isfinite(sampler.get("guidance_scale", 1.0)):
            raise ValueError(f"sampler has guidance_scale {sampler['guidance_scale']}")
        return Description(data["name"], Catalog.from_dict(data), sampler, classifier, tuple(data.get("without", ())))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a model description: {error!r}") from None


def check_never_saw(model: str | Path, concept: Concept) -> None:
    """Raise ValueError if a model says that it was trained without others than this concept, FileNotFoundError if there is none."""
    without = describe(resolve(model)).without
    if without and not {concept.label, concept.name} & set(without):
        raise ValueError(
            f"{str(model)!r} was trained without {', '.join(without)}; it is no gold standard of erasing {concept.name}"
        )
