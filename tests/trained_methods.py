"""What tests of trained methods share: concepts, settings, a method's prompts, and the network asked without our code around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.wording import worded
from excise.methods import get
from excise.models import Model

CAT, DOG = (Concept(name, "object", (f"a {name}",)) for name in ("cat", "dog"))
QUICK: dict[str, Any] = {"wording": "name", "rounds": 2, "steps": 2, "batch": 2}
VISITING: dict[str, Any] = {**QUICK, "trajectories": 2, "sampler_steps": 2}
PICTURED: dict[str, Any] = {**QUICK, "pictures": 3, "picture_steps": 2}


def settings_of(method: str, **values: Any) -> Any:
    return get(method).parse(values)


def bank_of(model: Model, *concepts: Concept) -> PromptBank:
    return PromptBank.of_pairs(model, [worded(concept, "name", None) for concept in concepts or (CAT,)])


@torch.no_grad()
def asked(model: Model, x: Tensor, t: Tensor, prompt: str) -> Tensor:
    """The U-Net's output for one prompt, called as diffusers calls it."""
    text = model.encode([prompt]).tokens.expand(len(x), -1, -1)
    return model.pipeline.unet(x, t, encoder_hidden_states=text).sample
