"""MiM-MU: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from excise.erasure.training_settings import Divergent, Trained
from excise.methods import Method
from excise.registry import Door


class MimSettings(Trained, Divergent):
    """Every part of the method is an option; defaults are the ones that measured best on the canvas (docs/research/mim/tried.md).

    Preset "paper" is what the paper says of its own run, as far as it does: a forgetting set of noised pictures, the empty prompt
    as target, keys and values. Its learning rate and steps are ours.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "target": "null", "states": "forward", "start": "base", "metric": "none", "weight": "simple", "lr": 1e-3, "rounds": 8, "steps": 40,
            "batch": 32, "trajectories": 32, "tolerance": 0,
        },
    }  # fmt: skip

    # Ours, on cat, clock and sketch of canvas-flow (docs/research/canvas_flow.md): one layer takes longer to learn what many can.
    one_entrance: ClassVar[dict[str, Any]] = {"rounds": 6, "lr": 4e-3, "metric": "near", "hold": 5}

    target: Literal["masked", "null", "exclude"] = Field(
        "masked",
        description="what a prompt should give: the prompt without the words, the empty prompt, or that without the concept",
    )
    states: Literal["trajectory", "forward"] = Field(
        "forward", description="states of the current model's own sampler, or noised pictures of a forgetting set"
    )
    start: Literal["attended", "solved", "base"] = Field(
        "attended",
        description="keys and values begin where the target's are in least squares (ours), and values of cross-attention then where what "
        "is read of them is (solved: without this), or as they were",
    )
    hold: float = Field(
        20.0,
        gt=0,
        description="weight of what others feel of that start: larger moves both less (5 to 100: docs/research/mim/tried.md); unless set, 5 on "
        "a model whose tokens enter by one layer alone",
    )
    parameters: Literal["kv", "tokens", "attn2", "text-kv", "text-qk", "attn-kv", "full"] = Field(
        "kv",
        description="which weights may change: the entrances; those of the tokens alone; cross-attention; of a transformer the text's keys "
        "and values, its queries and keys, or the pictures' too; or all",
    )
    weight: Literal["both", "simple", "log_snr", "high_noise"] = Field(
        "both", description="weight of a timestep; both: half as predictions are compared (simple), half as nats are (log_snr)"
    )
    space: Literal["prediction", "guided"] = Field("prediction", description="compare predictions, or guided predictions")
    anchor_rest: bool = Field(False, description="also hold the prompts without the words where they were (the paper does not)")
    steps: int = Field(24, ge=1, description="gradient steps in a round")
    rounds: int = Field(
        3,
        ge=0,
        description="parts of learning, each with a look at what is left; 0: the start alone; unless set, 6 on a model whose tokens enter by "
        "one layer alone",
    )
    tolerance: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="learning ends when no more than this share of what the words say is left, with 95 %% confidence, on states that it "
        "did not see; 0: all rounds",
    )
    metric: Literal["in_place", "near", "vocabulary", "undeclared", "rest", "none"] = Field(
        "in_place",
        description="keys and values descend along what these feel least (ours): the prompts with random words of the vocabulary in the "
        "concept's place (near: each counts by what it feels of the start; undeclared: without names of declared concepts, a control), strings "
        "of random words, or the prompts without the concept; or none: Adam; unless set, near on a model whose tokens enter by one layer alone",
    )
    ridge: float = Field(
        0.0001, gt=0, description="of the metric: larger is nearer to none; smaller disturbs less and learns slower"
    )
    lr: float = Field(
        2e-3,
        gt=0,
        description="learning rate at the start of the run; the root mean square of a step; unless set, 4e-3 on a model whose tokens enter by "
        "one layer alone",
    )
    trajectories: int = Field(16, ge=1, description="pictures whose states a round collects")
    sampler_steps: int = Field(5, ge=2, description="steps of the sampler that makes the pictures, or visits the states")
    guidance_scale: float = Field(4.0, ge=0, description="guidance of that sampler, and of space=guided")
    eta: float = Field(0.0, ge=0, le=1, description="noise of that sampler: 0 deterministic, 1 the path measure of the bound")
    phrasings: Literal["all", "plain"] = Field(
        "all", description="templates, synonyms, plurals and members; or the plain prompt only"
    )
    mirror: float = Field(
        1.0,
        gt=0,
        description="target=exclude: how far at most to go beyond the prompt without the words; 1: as far as the words lead away from it",
    )
    prior: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="target=exclude: share of the concept in neutral pictures; default 1 / concepts of its kind",
    )

    @model_validator(mode="after")
    def _consistent(self) -> MimSettings:
        if self.start != "base" and self.metric == "none":
            raise ValueError(f"metric=none has nothing for start={self.start} to hold; give start=base with it")
        if self.metric != "none" and self.weight_decay:
            raise ValueError("weight_decay belongs to AdamW, which takes the steps with metric=none; give both")
        if self.start == "base" and not self.rounds:
            raise ValueError("start=base and rounds=0 change nothing")
        return self


METHOD = Method(
    "mim",
    title="MiM-MU",
    paper="arXiv 2603.00992",
    shares=True,
    settings=MimSettings,
    hardens=True,
    run=Door("excise.methods.mim.erase", "erase"),
    needs=("entrances",),
)
