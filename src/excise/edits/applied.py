"""Which edits are on a model right now, and the tensors they displaced.

Original tensors are set aside, not recomputed: taking the last edit off puts the very same values back, bit for bit. With several edits
on, the weights are base + sum of scaled deltas, summed in float32 in the order in which they were put on. Before a tensor is set, it must
be what was left there: what other code wrote is never lost. Every change is prepared as a whole first, and then made or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from excise.edits.casts import Casts, cast, casts_between, edited, same_bits, with_added_rows
from excise.edits.edit import Edit
from excise.finite import check_finite
from excise.interrupts import uninterrupted
from excise.models.fingerprint import (
    added_tokens,
    canonical_name,
    check_recognisable,
    components,
    denoiser_of,
    fingerprint,
    named_tensors,
    rounded_from,
    same_base,
    short,
    state_of,
)
from excise.models.wrappers import check_plain, fused_lora, fused_projections


@dataclass
class Application:
    """An edit that is on, how strongly, and the hooks that it needs (None: no hooks)."""

    edit: Edit
    scale: float
    hooks: Any = field(default=None, compare=False)


@dataclass
class Trace:
    """What edits did to one network. It lies on the network itself: whoever has the network has it, and a copy has a copy.

    on         edits that touch the network, oldest first; the denoiser's has all edits of its pipeline
    originals  displaced tensors by canonical name, in the dtype and on the device that they had, without the rows of added tokens
    known      fingerprint of the pipeline's base, and what shows whether a value has changed since
    """

    on: list[Application] = field(default_factory=list)
    originals: dict[str, Tensor] = field(default_factory=dict)
    known: tuple[list[Any], dict[str, str]] | None = None

    def casts(self, parameters: Mapping[str, nn.Parameter], names: Sequence[str]) -> Casts | None:
        """What displaced tensors have been through since they were left; None if they were changed."""
        left = {name: edited(self.originals[name], _changes(self.on, name)) for name in names}
        return casts_between(left, {name: parameters[name].data for name in names})


def _traces(model: Any) -> dict[str, Trace]:
    return {prefix: vars(network).setdefault("_excise", Trace()) for prefix, network in components(model).items()}


def _changes(on: Sequence[Application], name: str) -> list[tuple[Any, float]]:
    return [(each.edit.deltas[name], each.scale) for each in on if name in each.edit.deltas]


def applied_edits(model: Any) -> tuple[tuple[Edit, float], ...]:
    """The edits that are on, with their scales, oldest first."""
    return tuple((each.edit, each.scale) for each in _traces(model)[denoiser_of(model)].on)


@contextmanager
def all_removed(model: Any) -> Iterator[None]:
    """No edit is on inside the block; all are on again after it, in their order and as strong as they were, whatever ends it."""
    with uninterrupted() as heard, ExitStack() as back:
        for edit, scale in reversed(applied_edits(model)):
            edit.remove(model)
            back.callback(edit.apply, model, scale)
        with heard():
            yield


@torch.no_grad()
def original_tensors(model: Any) -> dict[str, Tensor]:
    """Every editable tensor as it is without any edit (no copies, unless the model was cast or moved with an edit on)."""
    parameters = named_tensors(model)
    found: dict[str, Tensor] = dict(parameters)
    for trace in _traces(model).values():
        names = [name for name in trace.originals if name in parameters]
        casts = trace.casts(parameters, names) or ()
        found |= {name: cast(trace.originals[name], casts, parameters[name]) for name in names}
    return found


def base_tensors(model: Any) -> dict[str, Tensor]:
    """The tensors of the base model: `original_tensors` without the rows of added tokens."""
    found = original_tensors(model)
    if added := added_tokens(model):
        name, rows = added
        found[name] = found[name][:rows]
    return found


def base_fingerprint(model: Any) -> dict[str, str]:
    """Fingerprint of the model without its edits; computed once, and again only if a value has changed since.

    Raises ValueError for weights that are quantised or offloaded.
    """
    for prefix, network in components(model).items():
        check_plain(network, prefix)
    trace, tensors = _traces(model)[denoiser_of(model)], base_tensors(model)
    seen = state_of(tensors)
    if trace.known is None or trace.known[0] != seen:
        trace.known = seen, fingerprint(tensors)
    return trace.known[1]


def check_base(model: Any, edit: Edit) -> dict[str, Tensor]:
    """Raise ValueError unless `model` (without its edits) is the base that the edit names, in whatever precision. Returns `base_tensors`."""
    check_recognisable(model)
    found, base, tensors = base_fingerprint(model), edit.manifest.base, base_tensors(model)
    if same_base(found, base) or rounded_from(tensors, found, base):
        return tensors
    if fused := [f"{prefix}.{name}" for prefix, network in components(model).items() for name in fused_lora(network)]:
        raise ValueError(
            f"a LoRA is fused into {fused[0]} and others ({len(fused)} layers), which makes another model of this one; load the model "
            "again and put the edit on before fusing"
        )
    raise ValueError(
        f"{edit.called} was made for another model: it names base {short(base)} ({edit.manifest.model}), but this one is {short(found)}"
    )


def put_on(model: Any, edit: Edit, scale: float) -> Application:
    """Add an edit to those that are on. Raises ValueError, with nothing changed, for a scale that is not finite and where `_set` does."""
    if not math.isfinite(scale):
        raise ValueError(f"the scale of an edit must be a finite number, not {scale}")
    application = Application(edit, scale)
    _set(model, edit, [*_traces(model)[denoiser_of(model)].on, application])
    return application


def take_off(model: Any, edit: Edit) -> Application:
    """Remove the newest application of an edit. Raises ValueError, with nothing changed, if it is not on and where `_set` does."""
    on = _traces(model)[denoiser_of(model)].on
    for index in reversed(range(len(on))):
        if on[index].edit is edit:
            _set(model, edit, on[:index] + on[index + 1 :])
            return on[index]
    raise ValueError(f"{edit.called} is not on this model")


@torch.no_grad()
def _set(model: Any, edit: Edit, on: Sequence[Application]) -> None:
    """Let `on` be what is on the model. It differs from what is on now in applications of `edit` alone.

    All displaced tensors of a network that the edit changes are set, so that all have been left at one time and share what casts do to them.

    Raises ValueError, with nothing changed, if one of them is missing, quantised, offloaded or not what was left there, or if another
    pipeline that shares a network has edits on it; FloatingPointError, with nothing changed, if one would not be finite.
    """
    traces, parameters = _traces(model), named_tensors(model)
    for prefix, network in components(model).items():
        check_plain(network, prefix)
    _check_shared(traces)
    if missing := edit.deltas.keys() - parameters.keys():
        raise ValueError(f"{edit.called} changes {min(missing)}, which the model does not have now")
    originals = {prefix: _originals(parameters, trace, edit, prefix) for prefix, trace in traces.items()}
    tensors = {
        name: with_added_rows(edited(original, _changes(on, name)), parameters[name].data)
        for own in originals.values()
        for name, original in own.items()
    }
    check_finite(tensors, "a weight with the edits on")
    fused = _fused(model, parameters, tensors)
    with uninterrupted():  # nothing fails from here on
        for name, tensor in tensors.items():
            parameters[name].data = tensor
        for copy, tensor in fused:
            copy.data = tensor
        for prefix, trace in traces.items():
            trace.on = [each for each in on if prefix == denoiser_of(model) or _touches(each.edit, prefix)]
            now = trace.originals | originals[prefix]
            trace.originals = {name: original for name, original in now.items() if _changes(on, name)}


def _check_shared(traces: Mapping[str, Trace]) -> None:
    """Raise ValueError if a network has edits on that its pipeline's denoiser does not know, or lacks some."""
    first = next(iter(traces))
    for prefix, trace in traces.items():
        if trace.on != [each for each in traces[first].on if prefix == first or _touches(each.edit, prefix)]:
            raise ValueError(
                f"the {prefix} of this pipeline has other edits on than its {first}: another pipeline shares it, or one of the two was "
                "exchanged; put together what was edited together and take the edit off there first"
            )


def _touches(edit: Edit, prefix: str) -> bool:
    """Whether an edit changes weights of a network."""
    return any(name.startswith(f"{prefix}.") for name in edit.deltas)


def _originals(parameters: Mapping[str, nn.Parameter], trace: Trace, edit: Edit, prefix: str) -> dict[str, Tensor]:
    """The tensors of a network that are to be set, as they are without any edit; none if the edit does not change the network.

    Raises ValueError if one is not as it was left.
    """
    names = [name for name in edit.deltas if name.startswith(f"{prefix}.")]
    if not names:
        return {}
    displaced = [name for name in trace.originals if name in parameters]
    casts = trace.casts(parameters, displaced)
    if casts is None:
        name = next((name for name in displaced if trace.casts(parameters, [name]) is None), displaced[0])
        raise ValueError(
            f"{name} is no longer as the edits left it: it was trained, loaded anew, or a LoRA is fused into it, and that would be lost. "
            "To keep it, save the pipeline as it is (save_pretrained); to have the base back, load the model again"
        )
    found = {name: parameters[name].data[: edit.deltas[name].shape[0]] for name in names}
    return found | {name: cast(trace.originals[name], casts, parameters[name]) for name in displaced}


def _fused(model: Any, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Fused projections of which a part is about to change, and what they become. Raises ValueError for one that is not its parts."""
    found: list[tuple[Tensor, Tensor]] = []
    for prefix, network in components(model).items():
        for fused in fused_projections(network):
            parts = [canonical_name(f"{prefix}.{part}") for part in fused.parts]
            if tensors.keys().isdisjoint(parts):
                continue
            now = [parameters[part].data for part in parts]
            if fused.used and not same_bits(torch.cat(now), fused.parameter.data):
                raise ValueError(
                    f"{prefix}.{fused.name} is no longer what {' and '.join(fused.layers)} say: it was trained or loaded anew, and that "
                    "would be lost. Undo the fusing (pipeline.unfuse_qkv_projections()) if it may be"
                )
            found.append((fused.parameter, torch.cat([tensors.get(part, old) for part, old in zip(parts, now, strict=True)])))
    return found
