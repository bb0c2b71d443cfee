"""SPM: one rank-1 adapter per concept that lets other prompts pass (Semi-Permeable Membrane, arXiv 2312.16145)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from excise.concepts import Concept
from excise.edits import AdapterEdit
from excise.edits.adapter import Adapter, Factors, Injection
from excise.erasure.make_edit import manifest
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import visits
from excise.erasure.targets import mean_squares, predictions, steered
from excise.erasure.trainable import check_trainable
from excise.erasure.training import train
from excise.erasure.wording import worded
from excise.methods.spm import SpmSettings
from excise.methods.spm.transport import transport
from excise.models import Conditioning, Model


def erase(model: Model, concepts: Sequence[Concept], settings: SpmSettings, run: Run) -> AdapterEdit:
    """Train the adapter of each concept alone; together they are the sum of what each does."""

    check_trainable(model)
    parts, total = {}, settings.rounds * settings.steps
    for number, concept in enumerate(concepts):
        inner = replace(run, progress=_shifted(run, number * total, len(concepts) * total))
        if run.checkpoint is not None and number:
            inner = replace(inner, checkpoint=run.checkpoint.with_stem(f"{run.checkpoint.stem}-{number}"))
        parts[concept.label] = adapter(model, concept, settings, inner)
    return AdapterEdit.of_parts(parts, manifest(model, "spm", concepts, settings, run, kind="adapter"))


def adapter(model: Model, concept: Concept, settings: SpmSettings, run: Run) -> Adapter:
    """Train one adapter on the model as it is."""

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None)])
    if bank.conditioned.tokens.shape[1] > model.tokenizer.model_max_length:
        raise ValueError(
            f"spm tells prompts apart by one context of {model.room} tokens, and {concept.label} has prompts of more; leave long_prompts at cut"
        )
    membrane = Membrane(model, concept.label, run.generator(5))
    with Injection(model.denoiser, [membrane.factors], membrane.strengths):
        train(membrane, lambda round_: _round(model, bank, membrane, settings, run, round_), settings, run)
    factors = {
        f"{model.prefix}.{name}": Factors(f.up.detach().cpu().clone(), f.down.detach().cpu().clone())
        for name, f in membrane.factors.items()
    }
    found = transport(model, concept, bank, settings.transport, run.generator(7))
    if settings.empty_strength == "prompt":
        found = replace(found, empty=bank.empty.tokens.float().cpu())
    return Adapter(factors, found)


class Membrane:
    """The adapter in training: every linear layer and convolution of every transformer block, rank 1, at first without effect.

    It is trained in float32 and acts in the dtype that the model computes in.

    on  whether it acts; the network without it is the frozen original
    """

    def __init__(self, model: Model, label: str, generator: Generator) -> None:

        self.on = True
        self.factors: dict[str, Factors] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        for name, layer in model.adaptable().items():
            shape, device = (1, *layer.weight.shape[1:]), layer.weight.device
            bound = layer.weight[0].numel() ** -0.5  # Kaiming's uniform law with a = sqrt(5)
            down = nn.Parameter(((2 * torch.rand(shape, generator=generator) - 1) * bound).to(device))
            up = nn.Parameter(torch.zeros(len(layer.weight), 1, device=device))
            self.factors[name] = Factors(up, down)
            self.parameters |= {f"{name}:{label}:up": up, f"{name}:{label}:down": down}

    def strengths(self, conditioning: Tensor) -> Tensor:
        """Always full, or nothing."""

        return torch.full((len(conditioning), 1), float(self.on), device=conditioning.device)


def _round(
    model: Model, bank: PromptBank, membrane: Membrane, settings: SpmSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """The loss of a step: aim at negative guidance, and do nothing on random conditionings. Raw outputs are compared."""

    visit = visits(model, bank, settings, run, round_)

    def original(x: Tensor, t: Tensor, *asked: Conditioning) -> tuple[Tensor, ...]:
        membrane.on = False
        with torch.no_grad():
            answer = predictions(model, x, t, *asked)
        membrane.on = True
        return answer

    def loss(step: int) -> Tensor:
        states = visit(step)
        x, t, prompts = states.latents, states.t, bank.conditioned[states.row]
        empty, with_concept = original(x, t, bank.empty, prompts)
        erasing = mean_squares(model.predict(x, t, prompts) - steered(empty, empty, with_concept, settings.eta)).mean()
        if not settings.anchors or not settings.anchor_weight:
            return erasing
        picks = torch.arange(settings.anchors) % len(states)
        named = prompts[picks]
        drawn = random_anchors(named.tokens, run.generator(6, round_, step))
        if settings.interleaved:
            drawn[::2] = bank.empty.tokens
        anchors = named.with_tokens(drawn)
        (before,) = original(x[picks], t[picks], anchors)
        return erasing + settings.anchor_weight * mean_squares(model.predict(x[picks], t[picks], anchors) - before).mean()

    return loss


def random_anchors(targets: Tensor, generator: Generator) -> Tensor:
    """Gaussian conditionings with 0.8 to 1.2 times the norm of targets (n, tokens, width), accepted with probability 1 - cosine."""

    found = torch.empty_like(targets)
    for row, target in enumerate(targets):
        accepted = False
        while not accepted:
            noise = torch.randn(target.shape, generator=generator).to(target)
            length, chance = torch.rand(2, generator=generator).tolist()
            found[row] = noise * (0.8 + 0.4 * length) * target.norm() / noise.norm()
            accepted = chance < 1 - float(torch.cosine_similarity(found[row].flatten(), target.flatten(), dim=0))
    return found


def _shifted(run: Run, before: int, total: int) -> Callable[[str, int, int], None]:
    return lambda stage, done, _: run.progress(stage, before + done, total)
