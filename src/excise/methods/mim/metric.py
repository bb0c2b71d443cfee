"""How far a change of keys and values is felt: a metric on weights that read text, and descent that is steepest in it.

A change dW of a weight that reads text rows c adds dW c to what it makes of them. Its squared length in the metric S = E[c c^T] is
E|dW c|^2, what a random prompt feels of it. All rows share a large mean, so gradient steps, which are made of the rows trained on, reach every
prompt; steps g S^-1 of the same effect on those rows reach the others least: dW = A (C^T S^-1 C)^-1 C^T S^-1 is the change of least E|dW c|^2
with dW C = A. (The same weighting as in rank-one editing, arXiv 2202.05262, equation 2, which takes S from an encyclopedia.)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from excise.concepts import Concept, apart
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import PROMPTS, declared_words, in_place, random_strings, vocabulary, words_of
from excise.models import Conditioning, Model
from excise.models.entrances import Way

Metric = Literal["in_place", "near", "vocabulary", "undeclared", "rest", "none"]

MOST = 4096
"""Prompts with random words at most. At least there are `PROMPTS`, and between the two one for each word (ours: docs/research/mim/tried.md)."""
AT_ONCE = 2**24
"""Numbers in the text rows that are held at once, 128 MiB as float64 (ours: 283 prompts of Stable Diffusion 1.x)."""
ENCODED_AT_ONCE = 32
"""Prompts in a pass of the text encoder (ours: what it computes then fits the caches of a processor)."""


def moments(
    model: Model,
    bank: PromptBank,
    concepts: Sequence[Concept],
    kind: Metric,
    generator: Generator,
    moved_by: Mapping[Way, Tensor] | None = None,
) -> dict[Way, Tensor]:
    """S = E[c c^T] of the text rows of every way in, (width, width) float64 on the CPU (not every device has float64); {} for "none".

    moved_by changes D (width, width) of the ways in. A prompt then counts by E|D c|^2, the mean over its rows: the more, the nearer it lies to
             what D changes. What is least in this S spares the few prompts that feel much more than all (ours; one step of iteratively
             reweighted least squares for the fourth power of what a prompt feels)

    in_place    rows of the concepts' own prompts with random words of the tokenizer in their place: no picture, no prediction
    near        the same prompts; the caller weighs them with moved_by
    vocabulary  rows of strings of random words
    undeclared  as in_place, without the words of any concept that the model declares: a control, what is left where no name is known
    rest        rows of the bank's own prompts without the words to erase
    """
    if kind == "none":
        return {}
    others = _others(model, bank, concepts, kind, generator)
    sums, counts = dict[Way, Tensor](), dict.fromkeys(model.ways, 0.0)
    for together in others:
        for way in model.ways:
            rows = model.read(together, way).cpu().double()
            counted = torch.ones_like(rows[:, 0])
            if moved_by is not None:
                counted = _moved(rows, moved_by[way], together, way)
                rows *= counted.sqrt()[:, None]
            sums[way] = sums[way].addmm_(rows.T, rows) if way in sums else rows.T @ rows
            counts[way] += float(counted.sum())
    return {way: total / counts[way] for way, total in sums.items()}


def _moved(rows: Tensor, change: Tensor, told: Conditioning, way: Way) -> Tensor:
    """E|D c|^2 of the prompt that each row (n, width) is of, (n,)."""
    if way == "tokens" and told.mask is not None:
        prompt = told.mask.cpu().bool().nonzero()[:, 0]
    else:
        prompt = torch.arange(len(told)).repeat_interleave(len(rows) // len(told))
    sums = rows.new_zeros(len(told)).index_add_(0, prompt, (rows @ change.T).square().sum(1))
    return (sums / prompt.bincount(minlength=len(told)).clamp_min(1))[prompt]


def inverse(felt: Tensor, ridge: float) -> Tensor:
    """S^-1 (width, width) float64, scaled to largest eigenvalue 1; ridge is the share of S's mean diagonal that is added to its diagonal."""
    found = torch.linalg.inv(felt + ridge * felt.diagonal().mean() * torch.eye(len(felt), dtype=felt.dtype))
    return found / torch.linalg.matrix_norm(found, 2)


class Inverse:
    """S^-1 of a way in, for gradients g that are made of few text rows.

    matrix S^-1 (width, width), in the gradients' dtype and on their device
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self._within: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def reads(self, rows: Tensor) -> None:
        """From here on gradients are of weights that read these text rows (n, width) and no others.

        A gradient is then made of them: g = (g Q^T) Q for an orthonormal basis Q of theirs. With few rows g S^-1 = (g Q^T) (Q S^-1) costs a
        fraction, and what a low precision rounded out of their span is gone. More than an eighth of the width are not worth it (ours).
        """
        rows = rows.to(self.matrix).unique(dim=0)
        self._within = None
        if 8 * len(rows) < len(self.matrix):
            with torch.autocast(rows.device.type, enabled=False):
                basis = torch.linalg.qr(rows.T).Q
                self._within = basis, basis.T @ self.matrix

    def after(self, gradient: Tensor) -> Tensor:
        """g S^-1; gradient (out, width)."""
        if self._within is None:
            return gradient @ self.matrix
        basis, rest = self._within
        return gradient @ basis @ rest


def root(felt: Tensor) -> Tensor:
    """As few rows q as feel a change as all the text does: sum q q^T = S, (width, width) float64."""
    values, vectors = torch.linalg.eigh(felt)
    return (vectors * values.clamp_min(0).sqrt()).T


def _others(
    model: Model, bank: PromptBank, concepts: Sequence[Concept], kind: Metric, generator: Generator
) -> Iterator[Conditioning]:
    """Encoded prompts of which no concept to erase is part, the empty one first, as many at once as memory has room for.

    Each is encoded once, and is there as often as it was drawn.
    """
    yield bank.empty
    count = max(1, AT_ONCE // bank.empty.tokens.numel())
    if kind == "rest":
        yield from (bank.masked[part] for part in torch.arange(len(bank.masked)).split(count))
        return
    times = Counter(_prompts(model, bank, concepts, kind, generator))
    prompts = list(times)
    for start in range(0, len(prompts), count):
        some = prompts[start : start + count]
        encoded = model.encode(some, batch=ENCODED_AT_ONCE)
        yield encoded[torch.arange(len(some)).repeat_interleave(torch.tensor([times[prompt] for prompt in some]))]


def _prompts(model: Model, bank: PromptBank, concepts: Sequence[Concept], kind: Metric, generator: Generator) -> list[str]:
    """Prompts with random words."""
    if kind == "vocabulary":
        return random_strings(model, bank, generator)
    avoid = {word for concept in concepts for word in words_of(concept)}
    if kind == "undeclared":
        avoid |= declared_words(model)
    words = vocabulary(model, avoid)
    each = -(-max(PROMPTS, min(len(words), MOST)) // len(concepts))
    return [prompt for concept in apart(concepts) for prompt in in_place(words, concept, each, generator)]


class Steepest(torch.optim.Optimizer):
    """Momentum along the steepest descent in a metric; every tensor's step has root mean square `lr`, on average.

    One second moment for a tensor, where Adam has one for every number of it: a step stays a mixture of the gradients.
    inverses  S^-1 of each parameter (out, width or more) that reads text rows; None: it has no metric of its own. Columns beyond the text's
              width stay as they are
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, inverses: Sequence[Inverse | None]) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.99)})
        self.inverses = dict(zip(parameters, inverses, strict=True))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], *group["betas"])

    def _move(self, parameter: nn.Parameter, lr: float, first: float, second: float) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad
        inverse = self.inverses[parameter]
        if inverse is not None:
            width = len(inverse.matrix)
            with torch.autocast(gradient.device.type, enabled=False):
                gradient = nn.functional.pad(inverse.after(gradient[:, :width]), (0, gradient.shape[1] - width))
        state: dict[str, Any] = self.state[parameter]
        if not state:
            scalar = gradient.new_zeros((), dtype=torch.float32)
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": scalar}
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].lerp_(gradient.square().mean().to(state["exp_avg_sq"]), 1 - second)
        done = state["step"].item()
        scale = math.sqrt(state["exp_avg_sq"].item() / (1 - second**done)) * (1 - first**done)
        parameter.sub_(state["exp_avg"] / max(scale, 1e-30), alpha=lr)
