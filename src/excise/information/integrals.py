"""Asking a model and its edited form about pictures at shared states, and integrating the answers over log-SNR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from excise.digests import digest_tensors, digest_values
from excise.files import NOWHERE, Shelf
from excise.finite import check_finite
from excise.information import estimators
from excise.information.picture_sets import PictureSet
from excise.information.quadrature import Nodes
from excise.models import Model

Prompts = dict[str, list[str]]
"""Branch -> one prompt per picture. Branches: "with" the concept, the "rest" of the prompt, "empty", the rest "reworded"."""


@dataclass(frozen=True)
class Subject:
    """A model in a certain condition.

    on    a context in which the edits to be measured are on
    shelf where what it predicts is kept
    """

    model: Model
    on: Callable[[], AbstractContextManager[Any]]
    shelf: Shelf = NOWHERE


@dataclass(frozen=True)
class Contrast:
    """What one set of words says in one model, by picture: "with" against the branch `without`, in nats.

    orthogonal, plain (n,)
    maps              (n, h, w) orthogonal form by latent pixel; sums to `orthogonal`
    curve             (n, k, 2) what every node adds to (orthogonal, plain); sums to them
    """

    orthogonal: Tensor
    plain: Tensor
    maps: Tensor
    curve: Tensor


@dataclass(frozen=True)
class SharedInformation:
    """What base and edited model share, by picture, in nats.

    shared       (n,) integral of the product of the words' effects, against the rest of the prompt
    shared_empty (n,) the same against the empty prompt
    destruction  (n,) log-likelihood lost by the empty prompt
    rest_loss    (n,) log-likelihood lost by the rest of the prompt
    """

    shared: Tensor
    shared_empty: Tensor
    destruction: Tensor
    rest_loss: Tensor


@dataclass(frozen=True)
class Integrals:
    """All that is known about one concept's pictures; the edited model's parts are None when there is none.

    base, edited             against the rest of the prompt
    base_empty, edited_empty against the empty prompt
    base_floor, edited_floor the rest of the prompt against its rewording; None if that was not asked
    """

    base: Contrast
    base_empty: Contrast
    base_floor: Contrast | None = None
    edited: Contrast | None = None
    edited_empty: Contrast | None = None
    edited_floor: Contrast | None = None
    comparison: SharedInformation | None = None


def prompts_of(pictures: PictureSet, branches: Sequence[str]) -> Prompts:
    """What the pictures are asked about, one prompt per picture and branch."""
    wordings = pictures.wordings
    known = {
        "with": [wording.pair.prompt for wording in wordings],
        "rest": [wording.pair.masked for wording in wordings],
        "empty": [""] * len(wordings),
        "reworded": [wording.reworded for wording in wordings],
    }
    return {branch: known[branch] for branch in branches}


@torch.no_grad()
def ask(
    subject: Subject, latents: Tensor, noise: Tensor, nodes: Nodes, prompts: Prompts, batch: int, tick: Callable[[int], None]
) -> dict[str, Tensor]:
    """The noise predicted at every node under every branch, {branch: (n, k, c, h, w) float64 on the CPU}.

    latents (n, c, h, w) in any dtype; noise (n, k, c, h, w); batch is the number of network evaluations at a time.

    What lies on the subject's shelf is not asked for again, and `tick` counts it as if it were.

    Raises FloatingPointError for a prediction that is not finite: no nats follow from it.
    """
    model = subject.model
    distinct = list(dict.fromkeys(prompt for branch in prompts.values() for prompt in branch))
    encoded = model.encode(distinct)
    row = {prompt: i for i, prompt in enumerate(distinct)}
    rows = torch.tensor([[row[prompt] for prompt in branch] for branch in prompts.values()])  # (branches, n)
    n, k = nodes.t.shape
    branches = len(prompts)
    picture = torch.arange(n).repeat_interleave(k)
    t, levels = nodes.t.flatten(), nodes.log_snr.flatten()
    keeping = _Keeping.of(subject.shelf, [prompts, batch], {"latents": latents, "noise": noise, "t": nodes.t})
    answers = []
    for points in torch.arange(n * k).split(max(1, batch // branches)):
        clean = latents[picture[points].to(latents.device)]
        z = model.path.noised(clean, noise.flatten(0, 1)[points].to(clean), t[points])
        output = keeping.next()
        if output is None:
            output = model.predict(
                z.repeat(branches, 1, 1, 1),
                t[points].repeat(branches).to(z.device),
                encoded[rows[:, picture[points]].flatten()],
            )
            keeping.add(output)
        check_finite(output, "a prediction of the model")
        predicted = estimators.noise_prediction(
            output.cpu().double().view(branches, len(points), *z.shape[1:]),
            z.cpu().double(),
            levels[points].view(-1, 1, 1, 1),
            model.path.prediction,
        )
        answers.append(predicted)
        tick(len(output))
    keeping.write()
    whole = torch.cat(answers, 1).view(branches, n, k, *latents.shape[1:])
    return dict(zip(prompts, whole, strict=True))


@dataclass
class _Keeping:
    """What a model predicts of one set of questions, batch by batch: as it lies on a shelf, or to be kept there.

    name  of the entry
    there what was kept, in order; None: nothing
    made  what was predicted meanwhile
    """

    shelf: Shelf
    name: str
    there: list[Tensor] | None
    made: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, shelf: Shelf, about: Any, tensors: dict[str, Tensor]) -> _Keeping:
        """Of everything that decides the answers beside the model."""
        if shelf is NOWHERE:
            return cls(shelf, "", None)
        name = digest_values([about, digest_tensors(tensors)])[:32]
        kept = shelf.get(name)
        return cls(shelf, name, None if kept is None else [kept.tensors[str(place)] for place in range(len(kept.tensors))])

    def next(self) -> Tensor | None:
        """What was kept of the next batch; None if that is to be asked for."""
        return None if self.there is None else self.there.pop(0)

    def add(self, output: Tensor) -> None:
        """Note a batch that was asked for."""
        if self.shelf is not NOWHERE:
            self.made.append(output)

    def write(self) -> None:
        """Keep what was asked for."""
        if self.made:
            self.shelf.put(self.name, {str(place): each for place, each in enumerate(self.made)})


def contrast(noise: Tensor, with_: Tensor, without: Tensor, weights: Tensor) -> Contrast:
    """Both forms of the information that `with_` has over `without`, all (n, k, c, h, w) float64, weights (n, k)."""
    squared = estimators.orthogonal(with_, without).sum(2)  # over channels
    values = torch.stack([squared.sum((2, 3)), estimators.plain(noise, with_, without).sum((2, 3, 4))], -1)
    curve = 0.5 * weights[..., None] * values / weights.shape[1]
    orthogonal, plain = curve.sum(1).unbind(-1)
    return Contrast(orthogonal, plain, estimators.integrate(squared, weights), curve)


def compare(noise: Tensor, base: dict[str, Tensor], edited: dict[str, Tensor], weights: Tensor) -> SharedInformation:
    """What the answers of base and edited model, at the same states, have in common."""

    def nats(values: Tensor) -> Tensor:
        return estimators.integrate(values.sum((2, 3, 4)), weights)

    def shared(without: str) -> Tensor:
        return nats(estimators.cross(edited["with"], edited[without], base["with"], base[without]))

    return SharedInformation(
        shared("rest"),
        shared("empty"),
        nats(estimators.excess(noise, edited["empty"], base["empty"])),
        nats(estimators.excess(noise, edited["rest"], base["rest"])),
    )


def integrals(
    base: Subject,
    edited: Subject | None,
    pictures: PictureSet,
    nodes: Nodes,
    noise: Tensor,
    *,
    floor: bool,
    batch: int,
    tick: Callable[[int], None],
) -> Integrals:
    """Everything about some pictures; noise (n, k, c, h, w) is shared by all prompts and by both models."""
    prompts = prompts_of(pictures, ("with", "rest", "empty", *(("reworded",) if floor else ())))
    answers: list[dict[str, Tensor]] = []
    for subject in (base, edited):
        if subject is not None:
            with subject.on():
                answers.append(ask(subject, pictures.latents, noise, nodes, prompts, batch, tick))
    exact = noise.double()
    found: dict[str, Any] = {}
    for name, answer in zip(("base", "edited"), answers, strict=False):
        found[name] = contrast(exact, answer["with"], answer["rest"], nodes.weights)
        found[f"{name}_empty"] = contrast(exact, answer["with"], answer["empty"], nodes.weights)
        if floor:
            found[f"{name}_floor"] = contrast(exact, answer["reworded"], answer["rest"], nodes.weights)
    if edited is not None:
        found["comparison"] = compare(exact, answers[0], answers[1], nodes.weights)
    return Integrals(**found)


def join(parts: Sequence[Any]) -> Any:
    """Integrals (or their parts) of some pictures and of further ones, as one."""
    first = parts[0]
    if first is None or len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    return type(first)(**{f.name: join([getattr(part, f.name) for part in parts]) for f in fields(first)})
