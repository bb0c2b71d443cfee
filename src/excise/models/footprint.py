"""How large a model is and what working with it takes, from its configs alone: no weight is read and no memory is used for any.

The networks are built as fake tensors (`torch._subclasses.fake_tensor`), which have shapes and no numbers; a pass through them allocates and
frees what a real one would, and is watched.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from excise.files import reading, real_path
from excise.models.checkpoint_file import contents, description_of
from excise.models.conditioning import Conditioning
from excise.models.families import Family, family_of
from excise.models.fingerprint import named_tensors
from excise.models.model import Model
from excise.models.names import describe, model_index
from excise.models.parts import assembled, made, network_config
from excise.models.sampling import Sampler
from excise.models.single_file import tokenizers

_CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Part:
    """A network: its name in the pipeline, its class, its number of parameters, and the bytes of them in a dtype."""

    name: str
    kind: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Work:
    """The most bytes at once beside the networks' own, of passes through a model.

    sampling of a prediction without gradients for a batch of pictures
    decoding of the autoencoder for a batch
    learning of a prediction and its gradients for a batch
    """

    sampling: int
    decoding: int
    learning: int


class Footprint:
    """A model without its weights.

    where       a diffusers folder, or a single checkpoint file
    dtype       of the weights
    config_from of a checkpoint: the folder that describes it, as `load` takes it

    Raises ValueError for a model that is not supported, or whose configs do not describe its networks.
    """

    def __init__(self, where: Path, dtype: torch.dtype = torch.float32, config_from: Path | None = None) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.model = _faked(where, _described(where, config_from), dtype, self._mode)

    @property
    def parts(self) -> list[Part]:
        """The networks, in the order of the family's list."""
        found = []
        for name in self.model.parts:
            network = getattr(self.model.pipeline, name)
            if network is not None:
                sizes = [(tensor.numel(), tensor.element_size()) for tensor in network.parameters()]
                found.append(
                    Part(
                        name,
                        type(network).__name__,
                        sum(count for count, _ in sizes),
                        sum(count * each for count, each in sizes),
                    )
                )
        return found

    @property
    def bytes(self) -> int:
        """Of all weights."""
        return sum(part.bytes for part in self.parts)

    def work(self, trained: Sequence[str], batch: int, pictures: int) -> Work:
        """What predictions, decoding and learning take at once.

        trained  canonical names of the tensors that gradients are wanted of
        batch    states in a step of learning
        pictures that are sampled and decoded at once; guidance doubles them in the network
        """
        model, parameters = self.model, named_tensors(self.model)
        passes = 1 if model.guidance(model.sampler.guidance_scale) == 1 else 2
        with self._mode:
            told = model.outline()
            with _watched() as sampling, torch.no_grad():
                self._predict(passes * pictures, told)
            with _watched() as decoding, torch.no_grad():
                model.autodecode(model.unscaled(self._latents(pictures).to(model.pipeline.vae.dtype)))
            for name in trained:
                parameters[name].requires_grad_(True)
            with _watched() as learning:
                self._predict(batch, told).float().square().mean().backward()
            for name in trained:
                parameters[name].requires_grad_(False).grad = None
        return Work(sampling.most, decoding.most, learning.most)

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, *self.model.latent_shape, dtype=self.model.dtype)

    def _predict(self, count: int, told: Conditioning) -> Tensor:
        t = torch.full((count,), self.model.path.steps // 2)
        return self.model._output(
            self._latents(count), t, told.expand(count)
        )  # `predict` looks at numbers, which these have not


class _Watch(TorchDispatchMode):
    """Counts the bytes of storages that operations allocate and that nobody has let go of."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in known and storage._cdata not in self._seen:
                    self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen[key] = weakref.finalize(storage, self._gone, key, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _gone(self, key: int, size: int) -> None:
        self._seen.pop(key, None)
        self.now -= size


@contextmanager
def _watched() -> Iterator[_Watch]:
    watch = _Watch()
    with watch:
        yield watch


def _described(where: Path, config_from: Path | None) -> Path:
    """The folder whose configs describe a model. Raises ValueError if there is none."""
    if not where.is_file():
        return where
    folder, layout = description_of(where, config_from), contents(where).layout
    if folder is None and layout is None:
        raise ValueError(f"{where} has networks of sizes that no config here describes")
    return folder or _CONFIGS / layout.configs  # type: ignore[union-attr]


def _faked(where: Path, folder: Path, dtype: torch.dtype, mode: FakeTensorMode) -> Model:
    """A model whose networks have shapes and no numbers."""
    family = family_of(where)
    kind = family.model()
    pipeline, description = _pipeline(family, folder, dtype, mode), describe(where)
    with mode:
        model = kind(pipeline, name=description.name)
    model.sampler = Sampler(**{**vars(kind.own_sampler(pipeline)), **description.sampler})
    return model


def _pipeline(family: Family, folder: Path, dtype: torch.dtype, mode: FakeTensorMode) -> Any:
    kind, index = family.model(), model_index(folder)
    parts, absent = kind.declared(index)
    with mode, _default_dtype(dtype):  # the networks alone: schedulers read their numbers
        networks = {part: _network(kind.parts[part], folder / part).eval() for part in parts}
    own = tokenizers(folder.name) if real_path(folder).parent == _CONFIGS else {}
    told = {**networks, **own, **absent, **kind.left_out_parts}
    return assembled(getattr(diffusers, family.pipeline), folder, index, told)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Networks that are made inside the block have this dtype: those of fake tensors cannot be cast."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _network(named: str, folder: Path) -> nn.Module:
    """A network of a class, such as "diffusers.AutoencoderKL", as a folder's config describes it."""
    found, config = network_config(folder, named)
    if not isinstance(config, dict):
        config.dtype = torch.get_default_dtype()
    with reading(folder, f"it does not describe a {found.__name__}: "):
        return made(found, config)
