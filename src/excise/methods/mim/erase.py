"""MiM-MU: remove the mutual information between a concept's words and the picture (arXiv 2603.00992)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from excise.concepts import Concept, apart
from excise.erasure.divergences import Divergent, judged
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.states import States
    from excise.erasure.trainable import Trainable
    from excise.models import Model


class MimSettings(Divergent):
    """Every part of the method is an option; defaults are the ones that measured best on the canvas (docs/mim.md).

    Preset "paper" is what the paper says of its own run, as far as it does: a forgetting set of noised pictures, the empty prompt
    as target, keys and values. Its learning rate and steps are ours.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "target": "null", "states": "forward", "start": "base", "metric": "none", "lr": 1e-3, "steps": 40, "batch": 32, "trajectories": 32,
        },
    }  # fmt: skip

    target: Literal["masked", "null", "exclude"] = Field(
        "masked",
        description="what a prompt should give: the prompt without the words, the empty prompt, or that without the concept",
    )
    states: Literal["trajectory", "forward"] = Field(
        "forward", description="states of the current model's own sampler, or noised pictures of a forgetting set"
    )
    start: Literal["solved", "base"] = Field(
        "solved", description="keys and values begin where the target's are, in least squares (ours), or as they were"
    )
    hold: float = Field(
        20.0, gt=0, description="weight of what others feel of that start: larger moves both less (docs/mim.md has 5 to 100)"
    )
    parameters: Literal["kv", "attn2", "full"] = Field("kv", description="which weights may change")
    weight: Literal["simple", "log_snr", "high_noise"] = Field("simple", description="weight of a timestep")
    space: Literal["prediction", "guided"] = Field("prediction", description="compare predictions, or guided predictions")
    anchor_rest: bool = Field(False, description="also hold the prompts without the words where they were (the paper does not)")
    rounds: int = Field(8, ge=0, description="how often states are collected anew; 0: the start alone")
    steps: int = Field(60, ge=1, description="gradient steps in a round")
    batch: int = Field(8, ge=1, description="states in a step")
    metric: Literal["in_place", "vocabulary", "undeclared", "rest", "none"] = Field(
        "in_place",
        description="keys and values descend along what these feel least (ours): the prompts with random words of the vocabulary in the "
        "concept's place (undeclared: without names of declared concepts, a control), strings of random words, or the prompts without the "
        "concept; or none: Adam",
    )
    ridge: float = Field(
        0.0001, gt=0, description="of the metric: larger is nearer to none; smaller disturbs less and learns slower"
    )
    lr: float = Field(3e-4, gt=0, description="peak learning rate, falls to zero over the run; the root mean square of a step")
    trajectories: int = Field(16, ge=1, description="pictures whose states a round collects")
    sampler_steps: int = Field(20, ge=2, description="steps of the sampler that visits the states")
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
        if self.start == "solved" and self.metric == "none":
            raise ValueError("metric=none has nothing for start=solved to hold; give start=base with it")
        if self.start == "base" and not self.rounds:
            raise ValueError("start=base and rounds=0 change nothing")
        return self


@register("mim", title="MiM-MU", paper="arXiv 2603.00992", settings=MimSettings, hardens=True)
def erase(model: Model, concepts: Sequence[Concept], settings: MimSettings, run: Run) -> WeightEdit:
    """Train until prompts with the concept predict what the frozen model predicts without its words.

    It begins at a closed-form solution for the concept's names, and learns what that leaves.
    No picture and no prompt of anything to be kept is used. What showed the concepts in an audit is trained beside their own prompts.
    """
    import torch

    from excise.erasure import subspaces
    from excise.erasure.make_edit import finish
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train_in_rounds
    from excise.methods.mim import metric

    bank = PromptBank.of(model, concepts, plain=settings.phrasings == "plain").with_counterexamples(
        model, concepts, run.counterexamples
    )
    priors = torch.tensor([settings.prior or _prior(model, concept) for concept in concepts] * 2, dtype=torch.float64)
    felt = metric.moment(model, bank, concepts, settings.metric, run.generator(2))
    names = subspaces.select(model.unet, settings.parameters)
    descent = None
    if felt is not None:
        text = set(subspaces.select(model.unet, "kv"))
        inverse = metric.inverse(felt, settings.ridge).to(model.device, torch.promote_types(model.dtype, torch.float32))
        descent = partial(metric.Steepest, inverse=inverse, reads_text=[name in text for name in names])
    with Trainable(model, names) as trainable:
        if felt is not None and settings.start == "solved":
            _begin(model, concepts, bank, trainable, felt, settings)
        train_in_rounds(
            trainable,
            lambda round_: _round(model, bank, priors, trainable, settings, run, round_),
            rounds=settings.rounds,
            steps=settings.steps,
            lr=settings.lr,
            run=run,
            settings=settings,
            descent=descent,
        )
        deltas = trainable.deltas()
    return finish(model, deltas, "mim", concepts, settings, run)


def _begin(
    model: Model, concepts: Sequence[Concept], bank: PromptBank, trainable: Trainable, felt: Tensor, settings: MimSettings
) -> None:
    """Put keys and values where the concepts' names, and counterexamples, give what their target prompt gives, in least squares.

    UCE's solve (arXiv 2308.14761), with the metric in the place of concepts to preserve.
    """
    import torch

    from excise.erasure import closed_form, subspaces
    from excise.methods.mim import metric

    groups = [*_names(model, concepts, settings), *_counterexamples(bank, settings)]
    rows, guides = (torch.cat([part.cpu().double() for part in side]) for side in zip(*groups, strict=True))
    strength = torch.cat([rows.new_full((len(own),), 1 / len(own)) for own, _ in groups])  # each group as if it were alone
    others = metric.root(felt)
    held = rows.new_full((len(others),), settings.hold)
    ridge = settings.ridge * float(felt.diagonal().mean())
    change = closed_form.redirect(rows, guides, strength, others, held, ridge).change()
    with torch.no_grad():
        for name in subspaces.select(model.unet, "kv"):
            weight = trainable.parameters[name]
            weight.add_((weight.cpu().double() @ change).to(weight))


def _names(model: Model, concepts: Sequence[Concept], settings: MimSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each concept the rows of its names, from the last word on, and those of the same prompts without it, (n, width) float64."""
    import torch

    from excise.erasure.token_rows import TokenRows
    from excise.erasure.wording import Wording, worded

    wording: Wording = "name" if settings.phrasings == "plain" else "phrases"
    for concept in apart(concepts):
        pairs = worded(concept, wording, "" if settings.target == "null" else None)
        encoded = TokenRows.of(model, [text for pair in pairs for text in (pair.prompt, pair.masked)])
        found = [encoded.paired(pair.prompt, pair.masked, "aligned") for pair in pairs]
        rows, guides = (torch.cat(side) for side in zip(*found, strict=True))
        yield rows, guides


def _counterexamples(bank: PromptBank, settings: MimSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Of the counterexamples of each concept all rows, and those of what they are to be taken for, (n, width)."""
    rest = bank.empty.expand_as(bank.masked) if settings.target == "null" else bank.masked
    owner, told, masked = (part[len(bank.pairs) :] for part in (bank.owner, bank.conditioned, rest))
    for index in owner.unique():
        yield told[owner == index].flatten(0, 1), masked[owner == index].flatten(0, 1)


def _round(
    model: Model, bank: PromptBank, priors: Tensor, trainable: Trainable, settings: MimSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """Collect states and their targets; return the loss of a step."""
    import torch

    states = _collect(model, bank, trainable, settings, run, round_)
    with trainable.untrained():
        target = _targets(model, bank, priors, states, settings)
    weights = _weights(model, states.t, settings.weight).to(target.device, target.dtype)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(states), (settings.batch,), generator=run.generator(1, round_, step))
        error = (_student(model, bank, states, rows, settings) - target[rows]).square().flatten(1).mean(1)
        error = judged(error, settings, channels=target.shape[1])
        total = (weights[rows] * error).mean()
        return total + _rest_loss(model, bank, trainable, states, rows) if settings.anchor_rest else total

    return loss


def _prior(model: Model, concept: Concept) -> float:
    """Share of neutral pictures that show the concept, as if all declared ones of its kind were equally common; 1/20 of fewer than two."""
    declared = len(model.catalog.of_kind(concept.kind))
    return 1 / declared if declared > 1 else 1 / 20


def _collect(model: Model, bank: PromptBank, trainable: Trainable, settings: MimSettings, run: Run, round_: int) -> States:
    from excise.erasure import states

    generator = run.generator(0, round_)
    rows = bank.draw(settings.trajectories, generator, first=round_ * settings.trajectories)
    steps, scale = settings.sampler_steps, settings.guidance_scale
    if settings.states == "trajectory":
        return states.trajectory_states(model, bank, rows, generator, steps=steps, guidance_scale=scale, eta=settings.eta)
    with trainable.untrained():
        pictures = states.forgetting_set(model, bank, rows, generator, steps=steps, guidance_scale=scale)
    return states.forward_states(model, pictures, rows, steps, generator)


def _targets(model: Model, bank: PromptBank, priors: Tensor, states: States, settings: MimSettings) -> Tensor:
    """The frozen model's answer for every state, in the space of the loss."""
    from excise.erasure import targets

    rest = bank.empty if settings.target == "null" else bank.masked[states.row]
    answer = _ask(model, states, rest)
    if settings.target == "exclude":
        with_concept = _ask(model, states, bank.conditioned[states.row])
        shown = targets.posterior(model, states, answer, with_concept, priors[bank.owner[states.row]])
        answer = targets.exclude(answer, with_concept, shown, settings.mirror)
    if settings.space == "guided":
        answer = targets.guided(_ask(model, states, bank.empty), answer, settings.guidance_scale)
    return answer


def _ask(model: Model, states: States, conditioning: Tensor) -> Tensor:
    """The model's output for every state; conditioning has one row per state, or one for all."""
    import torch

    parts = torch.arange(len(states)).split(model.batch(64))
    conditioning = conditioning.expand(len(states), -1, -1)
    return torch.cat([model.predict(states.latents[part], states.t[part], conditioning[part]) for part in parts])


def _student(model: Model, bank: PromptBank, states: States, rows: Tensor, settings: MimSettings) -> Tensor:
    from excise.erasure import targets

    x, t = states.latents[rows], states.t[rows]
    answer = model.predict(x, t, bank.conditioned[states.row[rows]])
    if settings.space == "guided":
        empty = model.predict(x, t, bank.empty.expand(len(rows), -1, -1))
        answer = targets.guided(empty, answer, settings.guidance_scale)
    return answer


def _rest_loss(model: Model, bank: PromptBank, trainable: Trainable, states: States, rows: Tensor) -> Tensor:
    """The bound's second term: prompts without the words (half of them empty) must answer as before."""
    import torch

    x, t = states.latents[rows], states.t[rows]
    half = len(rows) // 2
    rest = torch.cat([bank.empty.expand(half, -1, -1), bank.masked[states.row[rows[half:]]]])
    with trainable.untrained():
        before = model.predict(x, t, rest)
    return (model.predict(x, t, rest) - before).square().mean()


def _weights(model: Model, t: Tensor, weight: str) -> Tensor:
    """Weight of every state's squared error, mean one over the pool, (n,) float64."""
    import torch

    if weight == "simple":
        return torch.ones_like(t, dtype=torch.float64)
    if weight == "log_snr":  # T/2 |d log-SNR / dt| in noise space, up to a constant
        value = model.schedule.log_snr_weight(t) * model.schedule.epsilon_scale(t)
    else:
        value = 1 - model.schedule.alphas_cumprod[t]
    return value / value.mean()
