"""`AdapterEdit`: small additions to layers whose strength depends on the prompt, sample by sample (SPM, arXiv 2312.16145).

A layer y = W x becomes W x + sum over adapters of m up down x. m is computed from the conditioning of each sample, so one batch may hold
prompts that an adapter acts on and prompts that it leaves alone, among them the empty prompt of guidance. No weight is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, normalize

from excise.edits import applied
from excise.edits.deltas import Delta
from excise.edits.edit import Edit
from excise.edits.manifest import Kind, Manifest
from excise.interrupts import uninterrupted
from excise.models.fingerprint import components, denoiser_of, told_shape, told_to
from excise.models.recomputing import Block, remember
from excise.models.wrappers import is_fused, own_layers


@dataclass(frozen=True)
class Factors:
    """An addition to a linear layer or a convolution: up (out, r), down (r, in) or (r, in, height, width)."""

    up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Transport:
    """How strongly an adapter acts on a prompt, 0..1, from its conditioning alone ("facilitated transport").

    prompts (p, tokens, width), conditionings of erased prompts: the largest cosine with one of them, flattened (as published; p may be 0)
    weight  (tokens, width) and bias (1,): otherwise the probability sigmoid(<conditioning, weight> + bias) that the prompt names the
            concept (ours; the published share of equal tokens needs more than a conditioning)
    empty   (1, tokens, width), the empty prompt's conditioning: in a batch whose first half is that, as guidance asks, each row of the
            half has the strength of its row in the second half (as published); default its own, as any prompt
    """

    prompts: Tensor
    weight: Tensor
    bias: Tensor
    empty: Tensor | None = None

    @classmethod
    def always(cls, tokens: int, width: int) -> Transport:
        """Strength 1 for every prompt."""
        return cls(torch.zeros(0, tokens, width), torch.zeros(tokens, width), torch.tensor([100.0]))

    def __call__(self, conditioning: Tensor) -> Tensor:
        """Strength for each sample, (b,) float32; conditioning (b, tokens, width), or several chunks of as many tokens."""
        if self.empty is not None and self._guided(conditioning):
            return self._strongest(conditioning[len(conditioning) // 2 :]).repeat(2)
        return self._strongest(conditioning)

    def _guided(self, conditioning: Tensor) -> bool:
        """Whether the first half is the empty prompt, but for what another dtype or batch makes of it."""
        assert self.empty is not None
        half, odd = divmod(len(conditioning), 2)
        begun = conditioning[:half, : len(self.weight)]
        away = (begun.float() - self.empty.to(conditioning.device)).flatten(1).norm(dim=1)
        return not odd and bool((away < 0.05 * self.empty.norm()).all())

    def _strongest(self, conditioning: Tensor) -> Tensor:
        """Of all chunks; rows of zeros fill up and are none."""
        first, *rest = conditioning.split(len(self.weight), 1)
        found = [torch.where(chunk.flatten(1).any(1), self._alone(chunk), 0) for chunk in rest]
        return torch.stack([self._alone(first), *found]).amax(0)

    def _alone(self, conditioning: Tensor) -> Tensor:
        flat = conditioning.float().flatten(1)
        if len(self.prompts):
            cosines = normalize(flat, dim=1) @ normalize(self.prompts.flatten(1), dim=1).to(flat).T
            return cosines.amax(1).clamp(0, 1)
        return (flat @ self.weight.flatten().to(flat) + self.bias.to(flat)).sigmoid()

    def check(self, label: str) -> None:
        """Raise ValueError unless all is of prompts of as many tokens, as wide; `label` is what the error calls it."""
        fit = self.weight.ndim == 2 and self.prompts.ndim == 3 and self.prompts.shape[1:] == self.weight.shape
        if not fit or self.bias.shape != (1,) or (self.empty is not None and self.empty.shape != (1, *self.weight.shape)):
            shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in self.tensors().items())
            raise ValueError(
                f"the transport of {label[:200]!r} does not fit together: {shapes}, expected (prompts, tokens, width), (tokens, width), "
                "(1,), (1, tokens, width)"
            )

    def tensors(self) -> dict[str, Tensor]:
        named = {"prompts": self.prompts, "weight": self.weight, "bias": self.bias}
        return named if self.empty is None else {**named, "empty": self.empty}


@dataclass(frozen=True)
class Adapter:
    """Additions by canonical name of the layer, and when they act."""

    factors: Mapping[str, Factors]
    transport: Transport


@dataclass(frozen=True, eq=False)
class AdapterEdit(Edit):
    """Adapters, for the pipelines that `Edit` names.

    parts  adapters by label: a concept's ("object:cat"), or, of a composition, with the number of the member before it ("0/object:cat")
    folder where it was read from, if it was

    It adds to layers that fused projections replace. So it refuses a pipeline with fused projections, and if they are fused while it is on,
    the next pass of the network raises RuntimeError. Compiled code is compiled anew when it comes or goes.
    """

    parts: Mapping[str, Adapter]
    manifest: Manifest
    folder: Path | None = None
    kind: ClassVar[Kind] = "adapter"

    @classmethod
    def of_parts(cls, parts: Mapping[str, Adapter], manifest: Manifest) -> AdapterEdit:
        return cls({label: parts[label] for label in sorted(parts)}, manifest)

    @property
    def deltas(self) -> Mapping[str, Delta]:  # type: ignore[override]
        """It changes no weight."""
        return {}

    def apply(self, model: Any, scale: float = 1.0) -> None:
        """Hook the adapters into the denoiser of a Model or a diffusers pipeline, `scale` times as strong.

        Raises ValueError if the model is another one than the edit was made for, or lacks a layer, or the scale is not finite.
        """
        self.check_base(model)
        network = components(model)[denoiser_of(model)]
        layers = own_layers(network)
        adapters = [
            {
                name: Factors(f.up.to(layers[name].weight), f.down.to(layers[name].weight))
                for name, f in _inside(adapter).items()
            }
            for adapter in self.parts.values()
        ]
        transports = [adapter.transport for adapter in self.parts.values()]
        with uninterrupted():
            application = applied.put_on(model, self, scale)
            application.hooks = Injection(
                network, adapters, lambda c: scale * torch.stack([transport(c) for transport in transports], 1)
            )

    def remove(self, model: Any) -> None:
        """Take the newest application of the edit off again. ValueError if it is not on."""
        with uninterrupted():
            applied.take_off(model, self).hooks.close()

    def check_base(self, model: Any) -> None:
        """Raise ValueError unless `model` (without its edits) is the base that this edit names, and computes with the layers it adds to."""
        applied.check_base(model, self)
        prefix = denoiser_of(model)
        layers = own_layers(components(model)[prefix])
        expected = told_shape(model)
        for adapter in self.parts.values():
            if expected and adapter.transport.weight.shape != expected:
                raise ValueError(
                    f"{self.called} asks prompts of {tuple(adapter.transport.weight.shape)} (tokens, width), the model's are {expected}"
                )
            for name, factors in _inside(adapter).items():
                weight = getattr(layers.get(name), "weight", None)
                if weight is None:
                    raise ValueError(f"{self.called} adds to {prefix}.{name}, which the model does not have")
                shape = (len(factors.up), *factors.down.shape[1:])
                if tuple(weight.shape) != shape:
                    raise ValueError(
                        f"{self.called}: the addition to {prefix}.{name} is {shape}, the weight is {tuple(weight.shape)}"
                    )
                if is_fused(layers[_parent(name)]):
                    raise ValueError(FUSED.format(name))

    def scaled(self, factor: float) -> AdapterEdit:
        """The same edit, `factor` times as strong."""
        parts = {
            label: replace(adapter, factors={name: Factors(factor * f.up, f.down) for name, f in adapter.factors.items()})
            for label, adapter in self.parts.items()
        }
        return replace(self, parts=parts, manifest=self.manifest.scaled(factor))

    def tensors(self) -> dict[str, Tensor]:
        """What the file holds: "LAYER:LABEL:up", "LAYER:LABEL:down", and of the transport "transport:LABEL:weight" and so on."""
        found: dict[str, Tensor] = {}
        for label, adapter in self.parts.items():
            for name, factors in adapter.factors.items():
                found |= {f"{name}:{label}:up": factors.up, f"{name}:{label}:down": factors.down}
            found |= {f"transport:{label}:{key}": tensor for key, tensor in adapter.transport.tensors().items()}
        return found

    @classmethod
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest) -> AdapterEdit:
        return cls.of_parts(_parse(tensors), manifest)


FUSED = (
    "the projections of {} are fused, so that this edit would not act; undo that (pipeline.unfuse_qkv_projections()), and have the "
    "pipeline unfused while the edit is on"
)


class Injection:
    """Adapters hooked into a network until `close`; also a context manager. A deep copy of the network has a copy of it.

    adapters  by layer name in the plain network
    strengths conditioning (b, tokens, width) -> (b, adapters); asked at every pass of the network
    """

    def __init__(
        self, network: nn.Module, adapters: Sequence[Mapping[str, Factors]], strengths: Callable[[Tensor], Tensor]
    ) -> None:
        layers = own_layers(network)
        names = dict.fromkeys(name for adapter in adapters for name in adapter)
        self.strengths, self.now = strengths, torch.empty(0)
        self.parents = {name: layers[_parent(name)] for name in names}
        self.handles = [layers[""].register_forward_pre_hook(self._ask, with_kwargs=True)]
        for name in names:
            own = [(index, adapter[name]) for index, adapter in enumerate(adapters) if name in adapter]
            self.handles.append(layers[name].register_forward_hook(partial(self._add, own)))
        self.handles.append(remember(layers[""], self._as_now))
        _recompile()

    def _as_now(self) -> Block:
        """A block inside which the adapters are as strong as they are now."""
        return partial(self._at, self.now)

    @contextmanager
    def _at(self, strengths: Tensor) -> Iterator[None]:
        now, self.now = self.now, strengths
        try:
            yield
        finally:
            self.now = now

    def _ask(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        for name, parent in self.parents.items():
            if is_fused(parent):
                raise RuntimeError(FUSED.format(name))
        self.now = self.strengths(told_to(inputs, named))

    def _add(self, own: list[tuple[int, Factors]], layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        for index, factors in own:
            output = output + addition(layer, inputs[0], factors, self.now[:, index])
        return output

    def close(self) -> None:
        """Take the adapters out again."""
        for handle in self.handles:
            handle.remove()
        _recompile()

    def __enter__(self) -> Injection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _recompile() -> None:
    """Have compiled networks compiled anew: torch.compile does not look whether hooks came or went (`skip_nnmodule_hook_guards`)."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def addition(layer: Any, x: Tensor, factors: Factors, strength: Tensor) -> Tensor:
    """strength up(down(x)), shape of the layer's output, computed in the dtype of x; x (b, ...), strength (b,)."""
    up, down, strength = factors.up.to(x), factors.down.to(x), strength.to(x)
    if down.ndim == 2:
        return linear(linear(x, down) * strength.view(-1, *[1] * (x.ndim - 1)), up)
    low = conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
    return conv2d(low * strength.view(-1, 1, 1, 1), up[:, :, None, None])


def _inside(adapter: Adapter) -> dict[str, Factors]:
    """Its factors by the names that the layers have in the network."""
    return {name.partition(".")[2]: factors for name, factors in adapter.factors.items()}


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _parse(tensors: Mapping[str, Tensor]) -> dict[str, Adapter]:
    layers: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        place, _, what = key.rpartition(":")
        name, _, label = place.partition(":")
        layers.setdefault(label, {}).setdefault(name, {})[what] = tensor
    found = {}
    for label, entries in layers.items():
        try:
            transport = Transport(**entries.pop("transport"))
            factors = {name: Factors(**pair) for name, pair in entries.items()}
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an adapter: {label[:200]!r} is incomplete or has unknown tensors ({error})") from None
        for name, pair in factors.items():
            if pair.up.ndim != 2 or pair.down.ndim not in (2, 4) or pair.up.shape[1] != len(pair.down):
                raise ValueError(f"the factors of {name} do not fit together: {tuple(pair.up.shape)}, {tuple(pair.down.shape)}")
        transport.check(label)
        found[label] = Adapter(factors, transport)
    if not found:
        raise ValueError("it holds no adapter")
    return found
