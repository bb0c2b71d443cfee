"""Networks of a single file that holds a transformer, alone or with an autoencoder and text encoders beside it.

diffusers knows the original names; what it makes of the file's header is held against the networks before a tensor is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from excise.files import FLOATS, Declared, check_dtypes, read_header, reading
from excise.models.checkpoint_file import contents
from excise.models.families import Family
from excise.models.fingerprint import canonical_name
from excise.models.names import model_index
from excise.models.parts import made, network_config

UNREAD = ("text_model.embeddings.position_ids", "logit_scale", "encoder.embed_tokens.weight")
"""Tensors of text encoders that some files have and no network needs: numbers of places, what compares text with pictures, and T5's
embedding once more."""
PROJECTION = "text_projection.weight"
"""Of CLIP-L, whose pooled row is not projected in such files: their authors leave it out, and it is the identity. FLUX.1's has none."""


def networks_in_file(path: Path, folder: Path, family: Family, dtype: torch.dtype) -> dict[str, Any]:
    """The networks that a checkpoint holds, by their names in the pipeline.

    folder diffusers folder whose configs describe them

    Raises ValueError for a folder of another family, and for a tensor that is missing, of another shape, or none of the network's.
    """
    index = model_index(folder)
    if index.get("_class_name") != family.pipeline:
        raise ValueError(
            f"{path} is {family.name} and {folder} describes a {index.get('_class_name')}; give a folder of its family"
        )
    kind, declared = family.model(), read_header(path)[0]
    parts, _ = kind.declared(index)
    networks = {}
    for part, start in contents(path).networks.items():
        if part not in parts:
            raise ValueError(f"{path} holds {part}, which {folder} says that the model is without")
        unread = UNREAD if "Projection" in kind.parts[part] else (*UNREAD, PROJECTION)
        own = [name for name in declared if name.startswith(start) and name.removeprefix(start) not in unread]
        shapes = {name.removeprefix(start): declared[name] for name in own}
        check_dtypes(path, {name: declared[name] for name in own}, FLOATS)
        _check_fits(path, folder, part, kind.parts[part], shapes)
        with reading(path), safe_open(str(path), "pt") as file:
            tensors = {name.removeprefix(start): file.get_tensor(name) for name in own}
        networks[part] = _network(path, folder, part, kind.parts[part], tensors, dtype)
    return networks


def _network(path: Path, folder: Path, part: str, named: str, tensors: dict[str, Tensor], dtype: torch.dtype) -> Any:
    """A network of its tensors, which fit."""
    kind, config = network_config(folder / part, named)
    with reading(path, f"it does not fit the {part} that {folder} describes: "):
        if not issubclass(kind, PreTrainedModel):
            return kind.from_single_file(tensors, config=str(folder), subfolder=part, dtype=dtype, local_files_only=True)
        named_so = _renamed(kind, config, tensors)
        network, report = kind.from_pretrained(None, config=config, state_dict=named_so, dtype=dtype, output_loading_info=True)
        if report["missing_keys"]:
            raise ValueError(f"it lacks {min(report['missing_keys'])}")
        return network.eval()


def _check_fits(path: Path, folder: Path, part: str, named: str, declared: Mapping[str, Declared]) -> None:
    """Raise ValueError unless the tensors of a header are those of the network that a folder describes."""
    kind, config = network_config(folder / part, named)
    with reading(folder / part), torch.device("meta"):
        network = made(kind, config, 4 * len(declared) + 100)  # where the file has one tensor for queries, keys and values
        empty = {name: torch.empty(each.shape) for name, each in declared.items()}
    with reading(path, f"it does not fit the {part} that {folder} describes: "):
        found = _renamed(kind, config, empty)
    tied = {_name(part, name) for name in getattr(network, "all_tied_weights_keys", {})}
    expected = {_name(part, name): tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {_name(part, name): tuple(tensor.shape) for name, tensor in found.items()}
    if lacking := sorted(expected.keys() - shapes.keys() - tied):
        raise ValueError(f"{path} lacks {lacking[0]} of the {kind.__name__} that {folder} describes")
    if more := sorted(shapes.keys() - expected.keys()):
        raise ValueError(f"{path} holds {more[0][:200]}, which the {kind.__name__} that {folder} describes does not have")
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise ValueError(f"{path}: {name} is {shape}, expected {expected[name]} as {folder} says")


def _name(part: str, name: str) -> str:
    """What a tensor is called whatever transformers version named it."""
    return canonical_name(f"{part}.{name}").removeprefix(f"{part}.")


def _renamed(kind: Any, config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that the network has for them."""
    if not issubclass(kind, PreTrainedModel):
        return dict(tensors) if _own_names(kind, config, tensors) else _converted(kind, config, tensors)
    found = dict(tensors)
    if "Projection" in kind.__name__ and PROJECTION not in found:
        found[PROJECTION] = torch.eye(config.projection_dim, device=next(iter(found.values())).device)
    return found


def _own_names(kind: Any, config: Any, names: Iterable[str]) -> bool:
    """Whether tensors have diffusers' names already."""
    with torch.device("meta"):
        return set(kind.from_config(config).state_dict()) == set(names)


def _converted(kind: Any, config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the original layout by diffusers' names."""
    known = SINGLE_FILE_LOADABLE_CLASSES.get(kind.__name__)
    if known is None:
        raise ValueError(f"a {kind.__name__} is read from a folder alone")
    found: dict[str, Tensor] = known["checkpoint_mapping_fn"](checkpoint=dict(tensors), config=config)
    return found
