"""When an adapter acts: telling prompts that name a concept from others by their conditioning, without any prompt that is to be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from excise.concepts import Concept
from excise.edits.adapter import Transport
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import random_prompts
from excise.models import Conditioning, Model


def transport(
    model: Model, concept: Concept, bank: PromptBank, kind: Literal["calibrated", "cosine", "off"], generator: Generator
) -> Transport:
    """The strength of a concept's adapter by prompt.

    calibrated  the probability that the prompt names the concept: a logistic regression on the bank's prompts against the same prompts
                without the words, with random words of the vocabulary in their place, and the empty prompt
    cosine      the largest cosine with a plain phrase, as published; never near 0, for all prompts share much
    off         always 1
    """
    always = Transport.always(*bank.empty.tokens.shape[1:])
    if kind == "off":
        return always
    if kind == "cosine":
        return replace(always, prompts=model.encode(concept.phrases).tokens.float().cpu())
    random = model.encode(random_prompts(model, concept, 512, generator))
    others = Conditioning.join([bank.empty, bank.masked, random]).tokens.unique(dim=0).cpu()
    weight, bias = discriminant(bank.conditioned.tokens.cpu(), others)
    return replace(always, weight=weight, bias=bias)


def discriminant(named: Tensor, others: Tensor, ridge: float = 1e-5, steps: int = 100) -> tuple[Tensor, Tensor]:
    """Logistic regression of which set a conditioning (tokens, width) belongs to, both sets counting alike.

    named, others (n, tokens, width)
    ridge         weight of the squared length of the solution in features of mean norm 1; sets how sharp it is (ours, from held-out
                  phrasings on the canvas)

    Returns weight (tokens, width) and bias (1,): sigmoid(<x, weight> + bias) is the probability of `named`.
    """
    features, shape = torch.cat([named, others]).double().flatten(1), named.shape[1:]
    centre, spread = (f(features[len(named) :]) for f in (lambda x: x.mean(0), lambda x: x.std(0)))
    spread = spread.clamp_min(0.05 * features.std())  # rows that hardly vary say nothing
    scaled = (features - centre) / spread
    length = scaled.norm(dim=1).mean()
    scaled = scaled / length
    target = torch.zeros(len(features), dtype=torch.float64)
    target[: len(named)] = 1
    counts = torch.where(target > 0, 0.5 / len(named), 0.5 / len(others))
    weight, bias = torch.zeros(scaled.shape[1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    solver = torch.optim.LBFGS(
        [weight.requires_grad_(True), bias.requires_grad_(True)],
        max_iter=steps,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = binary_cross_entropy_with_logits(scaled @ weight + bias, target, counts, reduction="sum")
        value = value + ridge * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    found = weight.detach() / spread / length
    return found.view(shape).float(), (bias.detach() - found @ centre).float()
