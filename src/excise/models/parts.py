"""The parts of a diffusers folder. A config is a claim of strangers: it is held against the weights before anything is made of it.

No code of a folder is imported, and no class that it names is looked up but samplers of diffusers and tokenizers of transformers.
"""

from __future__ import annotations

import importlib
import inspect
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from excise import bounds
from excise.files import FLOATS, Declared, check_dtypes, check_shards, read_header, read_json, reading
from excise.models.fingerprint import canonical_name
from excise.models.quantised import check_config
from excise.quoting import cut

ROUNDING = 2.0**-24
"""diffusers' samplers of zero terminal SNR that divide by alpha put this in the place of 0."""


def load_network(folder: Path, part: str, named: str, dtype: torch.dtype, variant: str | None, weights: Sequence[Path]) -> Any:
    """A network of a folder, of the class that the family says, from safetensors alone.

    named   its class with a dot: "diffusers.AutoencoderKL"
    weights its files: each whole, or the shards of one list

    Raises ValueError that names the part, and the first tensor that is not what config.json says.
    """
    kind, config = network_config(folder / part, named)
    with reading(folder / part):
        check_shards(folder / part)
        options = {} if isinstance(config, dict) else {"config": config}
        _check_declared(kind, config, part, weights)
        network, report = kind.from_pretrained(
            folder, subfolder=part, variant=variant, output_loading_info=True, dtype=dtype, use_safetensors=True, **options
        )
        if report["missing_keys"]:
            raise ValueError(f"{part} lacks {min(report['missing_keys'])}")
        if report["unexpected_keys"]:
            raise ValueError(f"{part} holds {cut(min(report['unexpected_keys']), 200)}, which its network does not have")
    return network


def network_config(folder: Path, named: str) -> tuple[Any, Any]:
    """The class of a network by its dotted name, and what its folder's config.json says, as `made` takes it.

    Raises ValueError for a config that is damaged, or describes quantised weights.
    """
    module, _, name = named.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    config = _config(folder / "config.json")
    with reading(folder / "config.json"):
        return kind, _transformers_config(kind, config) if issubclass(kind, transformers.PreTrainedModel) else config


def made(kind: Any, config: Any, most: int = bounds.TENSORS) -> nn.Module:
    """A network of random weights, on the device and in the dtype that new tensors have. Raises ValueError for more than `most` tensors."""
    with _at_most(most):
        network: nn.Module = kind.from_config(config) if isinstance(config, dict) else kind(config)
    return network


def assembled(pipeline: Any, folder: Path, index: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """A pipeline of its networks, with the sampler, the tokenizers and the switches of its folder. Other parts, which nobody here uses, are
    left out.

    pipeline its class
    index    what model_index.json says
    own      what the pipeline is told of its parts already
    """
    found = dict(own)
    for name, parameter in inspect.signature(pipeline.__init__).parameters.items():
        told = index.get(name)
        if name == "self" or name in own:
            continue
        if isinstance(told, list):
            found[name] = _other(folder, name, told)
        elif isinstance(told, bool):
            found[name] = told
        elif parameter.default is inspect.Parameter.empty:
            found[name] = None
    with reading(folder):
        return pipeline(**found)


def _other(folder: Path, name: str, told: Sequence[Any]) -> Any:
    """A sampler or a tokenizer by what model_index.json says of it: its library and its class; None for anything else."""
    if name.startswith("scheduler"):
        return load_scheduler(folder, told, name)
    if name.startswith("tokenizer"):
        return _tokenizer(folder / name, _class(transformers, told, transformers.PreTrainedTokenizerBase, folder, name))
    return None


def _class(library: Any, told: Any, base: type, folder: Path, name: str) -> Any:
    found = None
    if isinstance(told, list) and len(told) == 2 and told[0] == library.__name__ and isinstance(told[1], str):
        found = getattr(library, told[1], None)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ValueError(
            f"{folder / 'model_index.json'}: {name} is {str(told)[:200]}, expected a {base.__name__} of {library.__name__}"
        )
    return found


def load_scheduler(folder: Path, told: Any, name: str = "scheduler") -> Any:
    """The sampler of a folder, by what model_index.json tells of it."""
    path, kind = folder / name / "scheduler_config.json", _class(diffusers, told, diffusers.SchedulerMixin, folder, name)
    config = _config(path)
    steps = config.get("num_train_timesteps", 1000)
    with reading(path):
        if type(steps) is not int or not 1 <= steps <= bounds.TIMESTEPS:
            raise ValueError(f"num_train_timesteps is {str(steps)[:200]}, expected a whole number from 1 to {bounds.TIMESTEPS}")
        scheduler = kind.from_config(config)
        told = scheduler.config.get("prediction_type", "flow_prediction" if kind.__name__.startswith("FlowMatch") else None)
        if told != "flow_prediction":
            _check_alphas(scheduler, steps)
    return scheduler


def _check_alphas(scheduler: Any, steps: int) -> None:
    """Raise ValueError for a diffusion without falling alphas, one for each step, in 0..1."""
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, torch.Tensor) or alphas.shape != (steps,):
        raise ValueError(
            f"the sampler {type(scheduler).__name__} does not tell the noise of its {steps} steps (alphas_cumprod)"
        )
    if not (alphas.ge(0).all() and alphas.le(1).all() and alphas.diff().le(ROUNDING).all()):
        raise ValueError(f"the sampler's steps do not lead to noise: alphas_cumprod is {alphas[0]:g}, ..., {alphas[-1]:g}")


def _tokenizer(folder: Path, kind: Any) -> Any:
    for file in sorted(folder.glob("*.json")):
        read_json(file)
    files = {key: folder / name for key, name in kind.vocab_files_names.items()}
    with reading(folder):
        # the files are given by name, so that none that tokenizer_config.json names is opened
        return kind.from_pretrained(folder, **{key: str(file) if file.is_file() else None for key, file in files.items()})


def _config(path: Path) -> dict[str, Any]:
    """What a config says. Raises ValueError for numbers that no model has, and for quantised weights."""
    config: dict[str, Any] = read_json(path)
    for place, number in _numbers(config):
        if not (abs(number) <= bounds.CONFIG_NUMBER if isinstance(number, int) else math.isfinite(number)):
            raise ValueError(f"{path} is damaged: {place} is {str(number)[:200]}, expected at most {bounds.CONFIG_NUMBER}")
    check_config(path, config)
    return config


def _numbers(data: Any, place: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number in a JSON value, and where it stands."""
    if isinstance(data, int | float):
        yield place, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _numbers(value, f"{place}.{key}"[-200:].lstrip("."))


def _transformers_config(kind: Any, config: Mapping[str, Any]) -> Any:
    """A config without what a file could say of how its network is computed: such names may lead to code from the hub."""
    made = kind.config_class.from_dict({key: value for key, value in config.items() if not key.startswith("_")})
    made._attn_implementation = None
    return made


def _check_declared(kind: Any, config: Any, part: str, weights: Sequence[Path]) -> None:
    """Raise ValueError if a network would be larger than its weights, or one of its tensors have another shape or no float dtype.

    Names that hosts rename while loading are left to their loaders.
    """
    found: dict[str, tuple[Path, str, Declared]] = {}
    for path in weights:
        declared, _ = read_header(path)
        found |= {canonical_name(f"{part}.{name}"): (path, name, each) for name, each in declared.items()}
    with torch.device("meta"):
        described = made(kind, config, 2 * len(found) + 100)  # twice: tied tensors are made before they are tied
    expected = {canonical_name(f"{part}.{name}"): tensor for name, tensor in described.state_dict().items()}
    for key, tensor in expected.items():
        if key not in found:
            continue
        path, name, each = found[key]
        if tensor.is_floating_point():
            check_dtypes(path, {name: each}, FLOATS)
        if each.shape != tuple(tensor.shape):
            raise ValueError(
                f"{part}: {name} in {path.name} is {each.shape}, expected {tuple(tensor.shape)} as config.json says"
            )
    tied = {canonical_name(f"{part}.{name}"): canonical_name(f"{part}.{other}") for name, other in _tied(described).items()}
    lacking = {key: tensor.numel() for key, tensor in expected.items() if key not in found and tied.get(key) not in found}
    spare = sum(math.prod(each.shape) for key, (_, _, each) in found.items() if key not in expected)
    if sum(lacking.values()) > spare:
        raise ValueError(f"{part} lacks {min(lacking).removeprefix(f'{part}.')}")


def _tied(network: Any) -> Mapping[str, str]:
    """Tensors that are another one, which alone is in files: transformers' word for it, such as a head's that is the token embedding."""
    return getattr(network, "all_tied_weights_keys", {})


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Modules that this thread makes inside the block have at most `count` tensors.

    Raises ValueError for more: a config can ask for a billion layers.
    """
    thread, made = threading.get_ident(), 0

    def counted(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > count:
            raise ValueError("config.json describes more layers than there are weights for")

    hook = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        hook.remove()
