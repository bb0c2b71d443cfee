"""Settings that trained methods have in common (no torch here): how long and how fast, where they look, what they look at, how they judge."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from excise import bounds
from excise.erasure.prompt_settings import Retain, Wording
from excise.settings import Settings


class Trained(Settings):
    """The optimiser and its budget; published ones are presets of the methods.

    Defaults are for the canvas (ours): as many steps on as many states for every method, so that a comparison is about the methods
    (MiM-MU, which begins near its goal, takes a seventh of them), and the learning rates that `benchmarks/tune.py` found, with as many
    trials for each (docs/benchmark/tuning).
    """

    rounds: int = Field(8, ge=1, description="parts of the run; a checkpoint is written after each")
    steps: int = Field(60, ge=1, description="gradient steps in a round")
    batch: int = Field(8, ge=1, le=4096, description="states in a step")
    lr: float = Field(1e-3, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="learning rate: falling to zero over the run, or constant"
    )
    weight_decay: float = Field(0.0, ge=0, description="of AdamW; 0 is Adam")
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient; default none")

    @model_validator(mode="after")
    def _finite_run(self) -> Self:
        if self.rounds * self.steps > bounds.TRAINING_STEPS:
            raise ValueError(f"{self.rounds} rounds of {self.steps} steps are more than {bounds.TRAINING_STEPS} steps")
        return self


class Worded(Settings):
    """Methods that erase the prompts that name a concept."""

    wording: Wording = Field(
        "templates", description="prompts to erase: the plain name, every phrase, or every phrase in every template"
    )


class Visiting(Trained, Worded):
    """Methods that look at states which a sampler visits on the way to pictures of the concept."""

    states: Literal["pool", "fresh"] = Field(
        "pool", description="all states of a round's pictures, used many times (ours), or a new one for every use (published)"
    )
    trajectories: int = Field(16, ge=1, description="states=pool: pictures whose states a round collects")
    sampler_steps: int = Field(20, ge=2, description="steps of the sampler")
    guidance_scale: float = Field(4.0, ge=0, description="guidance of the sampler, 1 or less = off")
    within_bin: bool = Field(
        False, description="redraw a state's timestep within its step of the sampler, as the first codes of ESD and SDD do"
    )


class Pictured(Trained, Worded):
    """Methods that look at noised pictures, made by the model before it is edited, or given."""

    pictures: int = Field(128, ge=1, description="pictures to make")
    folder: str | None = Field(None, description="folder of pictures to use instead of making them")
    picture_steps: int | None = Field(None, ge=1, description="sampler's steps for the pictures; default the model's")
    picture_guidance: float | None = Field(
        None, ge=0, description="guidance for the pictures, 1 or less = off; default the model's"
    )


class Anchored(Pictured):
    """Methods that send a concept to an anchor, on pictures of the anchor."""

    anchor: str = Field(
        "masked",
        description="what the concept should be taken for: masked (the prompt without its words), next (declared concept), empty, or a phrase",
    )
    captions: str | None = Field(
        None,
        description="file of anchor captions, one a line, to make prompts of instead of templates; anchor is then its word in them",
    )
    detach_start: bool = Field(
        True, description="no gradient through keys and values of the start token, as in the authors' code"
    )


class Retaining(Pictured):
    """What goes on being learned from pictures of what is to be kept."""

    retain: Retain = Field(
        "catalog", description='what to keep: catalog (all other declared concepts), masked, or "a dog; a house"'
    )
    retained: int = Field(256, ge=1, description="pictures of what to keep")
    retain_folder: str | None = Field(
        None,
        description="folder of pictures to keep instead of making them; its pictures.json says what each shows, or retain is what all show",
    )


class Relabelling(Retaining):
    """Methods that take a concept for something else on its pictures, while they go on learning pictures that are to be kept."""

    pseudo: str = Field(
        "next", description="what the concept should be taken for: next (declared concept), masked, empty, or a phrase"
    )


Divergence = Literal["mse", "jeffreys", "hellinger", "chi2", "alpha", "tv"]


class Divergent(Settings):
    """Settings of a loss that may be any of them."""

    divergence: Divergence = Field(
        "mse",
        description="how errors are judged: mse (= KL), hellinger (large ones count less), chi2 (more), alpha, jeffreys (= mse), tv",
    )
    divergence_alpha: float = Field(
        0.5,
        description="divergence=alpha: 0.5 is hellinger, 2 chi2, 0 and 1 mse; inside 0..1 large errors count less",
    )
    divergence_sigma: float = Field(1.0, gt=0, description="standard deviation that errors are measured in")
