"""DoCo: a critic shall not tell the concept from an anchor; gradients that would harm the anchor are turned (arXiv 2405.15304)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.anchors import Anchored, anchored
from excise.methods import register

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.trainable import Trainable
    from excise.erasure.training_pictures import Learning
    from excise.methods.doco.critic import Critic
    from excise.models import Model

Surgery = Literal["projection", "released", "none"]

_PAPER = {"wording": "name", "rounds": 27, "steps": 37, "warm_up": 1001, "batch": 8, "lr": 4.8e-5, "schedule": "constant"} | {
    "critic_lr": 1e-4, "surgery": "released", "entangled": True, "pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0
}  # fmt: skip


class DocoSettings(Anchored):
    """Published values are presets for Stable Diffusion 1.x (lr as it was used, 6e-6 x batch 8); the defaults are for the canvas.

    The anchor and captions of an instance are the user's to choose: "airplane" for parachutes. The authors' augmentation (rescaled and
    mirrored pictures) is left out.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "style": {**_PAPER, "critic_lr": 5e-4, "anchor": "painting"},
        "instance": _PAPER,
        "nudity": {**_PAPER, "anchor": "clothed"},
    }

    parameters: Literal["kv", "full"] = Field("kv", description="which weights may change")
    lr: float = Field(5e-4, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    clip: float | None = Field(1.0, gt=0, description="largest norm of each of the two gradients before surgery")
    warm_up: int = Field(80, ge=0, description="steps of the critic alone, before")
    critic_lr: float = Field(2e-4, gt=0, description="learning rate of the critic (Adam)")
    surgery: Surgery = Field(
        "projection",
        description="where the gradient conflicts with the anchor's: project it (text), turn it further (code), or leave it",
    )
    surgery_strength: float = Field(1.0, ge=0, description="lambda_s: 1 as published, 0 no surgery")
    entangled: bool = Field(False, description="critic's steps also carry the adversarial gradient, as in the authors' code")


@register("doco", title="DoCo", paper="arXiv 2405.15304", settings=DocoSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: DocoSettings, run: Run) -> WeightEdit:
    """Make pictures of the anchor, train the critic alone, then critic and model against each other."""
    from excise.erasure import subspaces
    from excise.erasure.attention import start_token_detached
    from excise.erasure.make_edit import finish
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train_in_rounds
    from excise.erasure.training_pictures import learning_pictures
    from excise.methods.doco.critic import Critic

    trainable = Trainable(model, subspaces.select(model.unet, settings.parameters))
    bank = anchored(model, concepts, settings)
    anchors = learning_pictures(model, bank, settings, run, shows="masked")
    critic = Critic(anchors.latents, settings.critic_lr, run.generator(3), entangled=settings.entangled)
    with trainable:
        prepare, adjust, after = _duel(model, bank, anchors, critic, trainable, settings, run)
        with start_token_detached(model.unet) if settings.detach_start else nullcontext():
            train_in_rounds(
                trainable, prepare, rounds=settings.rounds, steps=settings.steps, lr=settings.lr, run=run, settings=settings,
                schedule=settings.schedule, weight_decay=settings.weight_decay, adjust=adjust, after=after, state=critic.state,
            )  # fmt: skip
        deltas = trainable.deltas()
    return finish(model, deltas, "doco", concepts, settings, run)


def _duel(
    model: Model, bank: PromptBank, anchors: Learning, critic: Critic, trainable: Trainable, settings: DocoSettings, run: Run
) -> tuple[Callable[[int], Callable[[int], Tensor]], Callable[[], None], Callable[[], None]]:
    """What a round begins with and its loss, what happens to the gradients, and the critic's turn after every step."""
    import torch

    from excise.erasure.targets import denoising_error

    pair: list[Tensor] = []
    prior: dict[str, Tensor] = {}
    names, parameters = list(trainable.parameters), list(trainable.parameters.values())

    def look(generator: Generator) -> None:
        pair[:] = predicted(model, bank, anchors, trainable, settings.batch, generator)

    def prepare(round_: int) -> Callable[[int], Tensor]:
        for step in range(settings.warm_up if round_ == 0 else 0):
            run.progress("training the critic", step, settings.warm_up)
            with torch.no_grad():
                look(run.generator(4, step))
            critic.step(*pair)
        return lambda step: loss(run.generator(1, round_, step))

    def loss(generator: Generator) -> Tensor:
        if settings.surgery != "none":
            clean, rows = anchors.draw(settings.batch, generator)
            error = denoising_error(model, clean, bank.masked[rows], generator).mean()
            prior.update(zip(names, torch.autograd.grad(error, parameters, materialize_grads=True), strict=True))
        look(generator)
        return critic.adversarial(pair[1])

    def adjust() -> None:
        found = {name: parameter.grad for name, parameter in trainable.parameters.items() if parameter.grad is not None}
        gradients = clipped(found, settings.clip)
        if settings.surgery != "none":
            gradients = turned(gradients, clipped(prior, settings.clip), settings.surgery, settings.surgery_strength)
        for name, gradient in gradients.items():
            trainable.parameters[name].grad = gradient

    return prepare, adjust, lambda: critic.step(*pair)


def predicted(
    model: Model, bank: PromptBank, anchors: Learning, trainable: Trainable, batch: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Clean latents that the base predicts for the anchor, and those that the model as it is predicts for the concept, (b, c, h, w).

    Both see the same noisy pictures of the anchor.
    """
    from excise.erasure.targets import noised

    clean, rows = anchors.draw(batch, generator)
    noisy, _, t = noised(model, clean, generator)
    with trainable.untrained():
        real = model.schedule.to_sample(model.predict(noisy, t, bank.masked[rows]), noisy, t)
    return real, model.schedule.to_sample(model.predict(noisy, t, bank.conditioned[rows]), noisy, t)


def clipped(gradients: Mapping[str, Tensor], limit: float | None) -> dict[str, Tensor]:
    """The gradients, scaled so that all together have at most this norm."""
    import torch

    if limit is None:
        return dict(gradients)
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    return {name: gradient * (limit / norm.clamp_min(limit)) for name, gradient in gradients.items()}


def turned(
    gradients: Mapping[str, Tensor], others: Mapping[str, Tensor], surgery: Surgery, strength: float
) -> dict[str, Tensor]:
    """The gradients a without the conflict with b: where <a, b> < 0 a multiple of b is subtracted, tensor by tensor.

    projection  a - strength <a, b> b / |b|^2: then <a, b> = 0, and the step leaves the other loss as it is, to first order
    released    a - strength cos(a, b) b / |b|: with |a| < 1, as it is after clipping, more than that, so that the step lowers the
                other loss
    """
    found = {}
    for name, a in gradients.items():
        b = others[name]
        along, size = (a * b).sum() / b.norm(), a.norm()  # NaN where b is zero: then nothing conflicts
        if along < 0:
            a = a - strength * (along if surgery == "projection" else along / size) * b / b.norm()
        found[name] = a
    return found
