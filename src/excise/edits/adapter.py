"""`AdapterEdit`: small additions to layers whose strength depends on the prompt, sample by sample (SPM, arXiv 2312.16145).

A layer y = W x becomes W x + sum over adapters of m up down x. m is computed from the conditioning of each sample, so one batch may hold
prompts that an adapter acts on and prompts that it leaves alone, among them the empty prompt of guidance. No weight is changed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, normalize

from excise.edits import applied
from excise.edits.edit import Delta, Edit
from excise.edits.manifest import Kind, Manifest
from excise.models.fingerprint import components


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
    """

    prompts: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def always(cls, tokens: int, width: int) -> Transport:
        """Strength 1 for every prompt."""
        return cls(torch.zeros(0, tokens, width), torch.zeros(tokens, width), torch.tensor([100.0]))

    def __call__(self, conditioning: Tensor) -> Tensor:
        """Strength for each sample, (b,) float32; conditioning (b, tokens, width)."""
        flat = conditioning.float().flatten(1)
        if len(self.prompts):
            cosines = normalize(flat, dim=1) @ normalize(self.prompts.flatten(1), dim=1).to(flat).T
            return cosines.amax(1).clamp(0, 1)
        return (flat @ self.weight.flatten().to(flat) + self.bias.to(flat)).sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        return {"prompts": self.prompts, "weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class Adapter:
    """Additions by module ("unet.….to_k"), and when they act."""

    factors: Mapping[str, Factors]
    transport: Transport


@dataclass(frozen=True, eq=False)
class AdapterEdit(Edit):
    """Adapters by label: a concept's ("object:cat"), or, of a composition, with the number of the member before it ("0/object:cat")."""

    parts: Mapping[str, Adapter]
    manifest: Manifest
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
        unet = components(model)["unet"]
        layers = dict(unet.named_modules())
        adapters = [
            {
                name: Factors(f.up.to(layers[name].weight), f.down.to(layers[name].weight))
                for name, f in _inside_unet(adapter).items()
            }
            for adapter in self.parts.values()
        ]
        transports = [adapter.transport for adapter in self.parts.values()]
        applied.put_on(model, self, scale)
        hooks = inject(unet, adapters, lambda c: scale * torch.stack([transport(c) for transport in transports], 1))
        _hooks.setdefault(unet, []).append((self, hooks))

    def remove(self, model: Any) -> None:
        """Take the newest application of the edit off again. ValueError if it is not on."""
        applied.take_off(model, self)
        on = _hooks[components(model)["unet"]]
        index = max(i for i, (edit, _) in enumerate(on) if edit is self)
        on.pop(index)[1].close()

    def check_base(self, model: Any) -> None:
        super().check_base(model)
        layers = dict(components(model)["unet"].named_modules())
        for adapter in self.parts.values():
            for name, factors in _inside_unet(adapter).items():
                weight = getattr(layers.get(name), "weight", None)
                if weight is None:
                    raise ValueError(f"this edit adds to unet.{name}, which the model does not have")
                shape = (len(factors.up), *factors.down.shape[1:])
                if tuple(weight.shape) != shape:
                    raise ValueError(f"this edit's addition to unet.{name} is {shape}, the weight is {tuple(weight.shape)}")

    def scaled(self, factor: float) -> AdapterEdit:
        """The same edit, `factor` times as strong."""
        parts = {
            label: replace(adapter, factors={name: Factors(factor * f.up, f.down) for name, f in adapter.factors.items()})
            for label, adapter in self.parts.items()
        }
        return AdapterEdit(parts, self.manifest.scaled(factor))

    def tensors(self) -> dict[str, Tensor]:
        """What the file holds: "LAYER:LABEL:up", "LAYER:LABEL:down", and of the transport "transport:LABEL:weight" and so on."""
        found: dict[str, Tensor] = {}
        for label, adapter in self.parts.items():
            for name, factors in adapter.factors.items():
                found |= {f"{name}:{label}:up": factors.up, f"{name}:{label}:down": factors.down}
            found |= {f"transport:{label}:{key}": tensor for key, tensor in adapter.transport.tensors().items()}
        return found

    @classmethod
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest, path: Path) -> AdapterEdit:
        return cls.of_parts(_parse(tensors, path), manifest)


def inject(unet: nn.Module, adapters: Sequence[Mapping[str, Factors]], strengths: Callable[[Tensor], Tensor]) -> ExitStack:
    """Hook adapters into a network until the returned stack is closed.

    adapters  by layer name, as `unet.named_modules()` has it
    strengths conditioning (b, tokens, width) -> (b, adapters); asked at every pass of the network
    """
    now: dict[str, Tensor] = {}

    def ask(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        now["strengths"] = strengths(named["encoder_hidden_states"] if "encoder_hidden_states" in named else inputs[2])

    hooks = ExitStack()
    hooks.callback(unet.register_forward_pre_hook(ask, with_kwargs=True).remove)
    layers = dict(unet.named_modules())
    for name in dict.fromkeys(name for adapter in adapters for name in adapter):
        own = [(index, adapter[name]) for index, adapter in enumerate(adapters) if name in adapter]

        def add(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor, own: list[tuple[int, Factors]] = own) -> Tensor:
            for index, factors in own:
                output = output + addition(layer, inputs[0], factors, now["strengths"][:, index])
            return output

        hooks.callback(layers[name].register_forward_hook(add).remove)
    return hooks


def addition(layer: Any, x: Tensor, factors: Factors, strength: Tensor) -> Tensor:
    """strength up(down(x)), shape of the layer's output, computed in the dtype of x; x (b, ...), strength (b,)."""
    up, down, strength = factors.up.to(x), factors.down.to(x), strength.to(x)
    if down.ndim == 2:
        return linear(linear(x, down) * strength.view(-1, *[1] * (x.ndim - 1)), up)
    low = conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
    return conv2d(low * strength.view(-1, 1, 1, 1), up[:, :, None, None])


_hooks: weakref.WeakKeyDictionary[nn.Module, list[tuple[AdapterEdit, ExitStack]]] = weakref.WeakKeyDictionary()


def _inside_unet(adapter: Adapter) -> dict[str, Factors]:
    return {name.removeprefix("unet."): factors for name, factors in adapter.factors.items()}


def _parse(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Adapter]:
    layers: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        place, _, what = key.rpartition(":")
        name, _, label = place.partition(":")
        layers.setdefault(label, {}).setdefault(name, {})[what] = tensor
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {key} has values that are not finite (NaN or infinity)")
    found = {}
    for label, entries in layers.items():
        try:
            transport = Transport(**entries.pop("transport"))
            factors = {name: Factors(**pair) for name, pair in entries.items()}
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not an adapter's file: {label!r} is incomplete or has unknown tensors ({error})"
            ) from None
        for name, pair in factors.items():
            if pair.up.ndim != 2 or pair.down.ndim not in (2, 4) or pair.up.shape[1] != len(pair.down):
                raise ValueError(
                    f"{path}: the factors of {name} do not fit together: {tuple(pair.up.shape)}, {tuple(pair.down.shape)}"
                )
        found[label] = Adapter(factors, transport)
    return found
