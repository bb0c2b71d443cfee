"""How far a change of keys and values is felt: a metric on weights that read text, and descent that is steepest in it.

A change dW of a weight that reads text rows c adds dW c to what it makes of them. Its squared length in the metric S = E[c c^T] is
E|dW c|^2, what a random prompt feels of it. All rows share a large mean, so gradient steps, which are made of the rows trained on, reach every
prompt; steps g S^-1 of the same effect on those rows reach the others least: dW = A (C^T S^-1 C)^-1 C^T S^-1 is the change of least E|dW c|^2
with dW C = A. (The same weighting as in rank-one editing, arXiv 2202.05262, equation 2, which takes S from an encyclopedia.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor, nn

from excise.concepts import fill
from excise.erasure.prompts import PromptBank

if TYPE_CHECKING:
    from excise.models import Model

Metric = Literal["vocabulary", "undeclared", "rest", "none"]
ARTICLES = {"a", "an"}
STRINGS, WORDS = 512, 12
"""Random strings that stand for all prompts, and words in the longest (ours: twice as many change nothing on the canvas)."""


def inverse_metric(model: Model, bank: PromptBank, kind: Metric, ridge: float, generator: Generator) -> Tensor | None:
    """S^-1 of text rows, (width, width) in the model's dtype and on its device, scaled to largest eigenvalue 1; None for "none".

    vocabulary  rows of random words of the tokenizer, without the words to erase: no prompt that anybody wrote, no picture, no prediction
    undeclared  the same without the words of any concept that the model declares: a control, what is left of it where no name is known
    rest        rows of the bank's own prompts without the words to erase
    ridge       share of S's mean diagonal that is added to its diagonal
    """
    if kind == "none":
        return None
    if kind == "rest":
        others = bank.masked
    else:
        declared = _declared(model) if kind == "undeclared" else set()
        others = model.encode(random_strings(model, bank, generator, avoid=declared))
    rows = torch.cat([bank.empty, others]).flatten(0, 1).double()
    moment = rows.T @ rows / len(rows)
    moment += ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    inverse = torch.linalg.inv(moment)
    return (inverse / torch.linalg.matrix_norm(inverse, 2)).to(torch.promote_types(model.dtype, torch.float32))


def random_strings(model: Model, bank: PromptBank, generator: Generator, *, avoid: Collection[str] = ()) -> list[str]:
    """Strings of 1 to `WORDS` words of the tokenizer's vocabulary, none of them to `avoid` or a word that only the prompts to erase have."""
    erased = {*avoid, *(word for pair in bank.pairs for word in _words(pair.prompt) - _words(pair.masked))}
    tokens = (token.removesuffix("</w>") for token in model.pipeline.tokenizer.get_vocab() if token.endswith("</w>"))
    words = sorted(word for word in tokens if word.isalpha() and word not in erased)
    lengths = torch.randint(1, WORDS + 1, (STRINGS,), generator=generator).tolist()
    return [
        " ".join(words[i] for i in torch.randint(len(words), (length,), generator=generator).tolist()) for length in lengths
    ]


def _declared(model: Model) -> set[str]:
    """Words that name a concept the model declares and that its templates do not have anyway ("a", "style")."""
    plain = {word for template in model.catalog.templates for word in _words(fill(template, object="", style=""))}
    return (
        {word for concept in model.catalog.concepts for phrase in concept.phrases for word in _words(phrase)} - plain - ARTICLES
    )


def _words(prompt: str) -> set[str]:
    return {word.strip(".,:;!?\"'()") for word in prompt.lower().split()}


class Steepest(torch.optim.Optimizer):
    """Momentum along the steepest descent in a metric; every tensor's step has root mean square `lr`, on average.

    One second moment for a tensor, where Adam has one for every number of it: a step stays a mixture of the gradients.
    inverse     S^-1 (width, width)
    reads_text  of each parameter, whether it is (out, width) and reads text rows; the others have no metric of their own
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, inverse: Tensor, reads_text: Sequence[bool]) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.99)})
        self.inverse = inverse
        self.text = {parameter for parameter, reads in zip(parameters, reads_text, strict=True) if reads}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], *group["betas"])

    def _move(self, parameter: nn.Parameter, lr: float, first: float, second: float) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad
        if parameter in self.text:
            with torch.autocast(gradient.device.type, enabled=False):
                gradient = gradient @ self.inverse
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.tensor(0.0)}
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].lerp_(gradient.square().mean().to(state["exp_avg_sq"]), 1 - second)
        done = state["step"].item()
        scale = math.sqrt(state["exp_avg_sq"].item() / (1 - second**done)) * (1 - first**done)
        parameter.sub_(state["exp_avg"], alpha=lr / max(scale, 1e-30))
