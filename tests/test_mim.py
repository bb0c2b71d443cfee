"""MiM-MU: the invariants of mim_mu.md (M1 to M7), on tiny pipelines and on Gaussians whose information is known."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from scipy import integrate
from torch import Tensor, nn

from excise.concepts import Concept, PromptPair
from excise.edits import WeightEdit, applied_edits
from excise.erasure import subspaces
from excise.erasure.counterexamples import Counterexample
from excise.erasure.make_edit import manifest
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import States
from excise.erasure.trainable import Trainable
from excise.erasure.wording import worded
from excise.methods import get
from excise.methods.mim import erase as mim
from excise.models import Conditioning, Model, Sampler, load
from excise.models.families.stable_diffusion import StableDiffusion
from excise.models.fingerprint import named_tensors
from excise.models.path import Path as NoisePath
from excise.models.path import per_row
from trained_methods import asked as answered

SMALL = {"rounds": 2, "steps": 3, "batch": 4, "trajectories": 2, "sampler_steps": 3, "phrasings": "plain"}


def _settings(**values: Any) -> mim.MimSettings:
    return get("mim").parse({**SMALL, **values})  # type: ignore[return-value]


def _erase(model: Model, *names: str, run: Run | None = None, **values: Any) -> WeightEdit:
    concepts = [model.catalog.resolve(name) for name in names or ("cat",)]
    return mim.erase(model, concepts, _settings(**values), run or Run())


def _weights(model: Model) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in named_tensors(model).items()}


def _same(one: WeightEdit, other: WeightEdit) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.equal(delta.dense(), other.deltas[name].dense()) for name, delta in one.deltas.items()
    )


def _bank(model: Model, pairs: list[tuple[str, str]]) -> PromptBank:
    """A bank of any pairs, unchecked."""
    prompts, masked = ([pair[side] for pair in pairs] for side in (0, 1))
    return PromptBank(
        tuple(PromptPair(*pair) for pair in pairs),
        torch.zeros(len(pairs)).long(),
        model.encode(prompts),
        model.encode(masked),
        model.encode([""]),
    )


def _lessons(model: Model, bank: PromptBank, trainable: Trainable, **values: Any) -> mim.Lessons:
    return mim.Lessons(model, bank, torch.tensor([0.1], dtype=torch.float64), trainable, _settings(**values), Run())


# Few pictures, many words


def test_rows_in_other_words_are_of_the_same_concept_and_rest(canvas: Model) -> None:
    """Every one of them is found. Oracle: the pairs themselves."""
    concepts = [canvas.catalog.resolve(name) for name in ("cat", "dog")]
    bank = PromptBank.of(canvas, concepts)
    rows = torch.tensor([0, len(bank.pairs) - 1]).repeat(200)
    other = bank.reworded(rows, torch.Generator().manual_seed(0))
    for row in (0, len(bank.pairs) - 1):
        same = {
            i for i, pair in enumerate(bank.pairs) if pair.masked == bank.pairs[row].masked and bank.owner[i] == bank.owner[row]
        }
        assert len(same) > 1 and set(other[rows == row].tolist()) == same
    assert torch.equal(other, bank.reworded(rows, torch.Generator().manual_seed(0)))


def test_a_counterexample_has_no_other_words(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    shown = Counterexample("object:cat", "a purring thing", "a thing", "prompts")
    bank = PromptBank.of(canvas, [cat], plain=True).with_counterexamples(canvas, [cat], [shown])
    rows = torch.full((20,), len(bank.pairs))
    assert torch.equal(bank.reworded(rows, torch.Generator().manual_seed(0)), rows)


@pytest.mark.parametrize("target", ["masked", "null", "exclude"])
def test_a_picture_is_asked_about_in_several_wordings(canvas: Model, target: str) -> None:
    """What is asked was read before the pictures were made, so that a run which goes on reads the same bits."""
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat")])
    with Trainable(canvas, subspaces.select(canvas, "kv")) as trainable:
        lessons = _lessons(canvas, bank, trainable, target=target, states="forward", trajectories=4, sampler_steps=6)
        ahead, states = set(lessons.prompts.tolist()), lessons.forgetting
        held = lessons._held_out[0]
    for picture in range(4):
        mine = states.row[states.picture == picture]
        assert len(mine.unique()) > 1 and len({bank.pairs[row].masked for row in mine.tolist()}) == 1
    assert ahead >= {*states.row.tolist(), *held.row.tolist()}


# M1: nothing to learn is no loss and no gradient


@pytest.mark.parametrize("kind", ["sd1", "canvas"])
@pytest.mark.parametrize(
    "values", [{}, {"space": "guided"}, {"target": "null"}, {"states": "forward"}, {"weight": "log_snr"}, {"anchor_rest": True}]
)
def test_m1_a_prompt_that_is_its_own_masked_form_teaches_nothing(
    kind: str, values: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    nothing = "" if values.get("target") == "null" else "a dog"

    def loss_and_gradient(pairs: list[tuple[str, str]]) -> tuple[float, float]:
        bank = _bank(model, pairs)
        with Trainable(model, subspaces.select(model, "kv")) as trainable:
            loss = mim._round(_lessons(model, bank, trainable, **values), 0, {})(0)
            loss.backward()
            return loss.item(), max(float(p.grad.abs().max()) for p in trainable.parameters.values() if p.grad is not None)

    loss, gradient = loss_and_gradient([(nothing, nothing)])
    assert loss < 1e-10 and gradient < 1e-6, "zero but for the rounding of batches of different sizes"
    loss, gradient = loss_and_gradient([("a cat", nothing)])
    assert loss > 1e-5 and gradient > 1e-5


def test_m1_prompts_without_the_concept_are_refused(sd1: Model) -> None:
    silent = Concept("cat", "object", ("a cat",), ("neon",), templates=("a picture[ in {style} style]",))
    for phrasings in ("plain", "all"):
        with pytest.raises(ValueError, match=r"does not contain the concept|no template has room"):
            mim.erase(sd1, [silent], _settings(phrasings=phrasings), Run())
    with pytest.raises(ValueError, match=r"prompt 'a dog' does not contain the concept to erase"):
        PromptBank.of_pairs(sd1, [[PromptPair("a dog", "a dog")]])


def _first_round(model: Model, bank: PromptBank, **values: Any) -> tuple[Any, Trainable]:
    """The loss of round 0 and its trainable, entered."""
    trainable = Trainable(model, subspaces.select(model, "kv")).__enter__()
    return mim._round(_lessons(model, bank, trainable, **values), 0, {}), trainable


@pytest.mark.parametrize("target", ["masked", "null"])
def test_targets_are_the_answers_that_they_say(sd1: Model, target: str) -> None:
    """Only a prompt that reads like the target has no loss: the masked one, or the empty one."""
    for prompt, vanishes in (("the masked prompt", target == "masked"), ("", target == "null")):
        loss, trainable = _first_round(sd1, _bank(sd1, [(prompt, "the masked prompt")]), target=target)
        assert (loss(0).item() < 1e-10) == vanishes
        trainable.__exit__()


@pytest.mark.parametrize("kind", ["sd1", "canvas"])
def test_guided_differences_are_the_scale_times_the_plain_ones(kind: str, request: pytest.FixtureRequest) -> None:
    """At the start: scale^2 times the loss of predictions on the same states, for the empty prompt's answers cancel."""
    model, losses = request.getfixturevalue(kind), []
    bank = _bank(model, [("a cat", "it")])
    for space in ("prediction", "guided"):
        loss, trainable = _first_round(model, bank, space=space, guidance_scale=2.5)
        losses.append(loss(0).item())
        trainable.__exit__()
    assert losses[0] > 1e-5 and losses[1] == pytest.approx(2.5**2 * losses[0], rel=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_guidance_that_is_off_compares_predictions(sd1: Model, scale: float) -> None:
    """As the sampler does: told 0 it is off, and does not put the empty prompt in the concept's place."""
    losses = []
    for space in ("prediction", "guided"):
        loss, trainee = _first_round(sd1, _bank(sd1, [("a cat", "it")]), space=space, guidance_scale=scale)
        losses.append(loss(0).item())
        trainee.__exit__()
    assert losses[0] > 1e-5 and losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_guided_loss_written_out(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of moved weights: both of the student's answers are its own, both of the teacher's are the base's."""
    bank = _bank(sd1, [("a cat", "it")])
    states = States(sd1.start_noise(range(3)), torch.tensor([900, 500, 20]), torch.zeros(3).long(), torch.arange(3))
    monkeypatch.setattr(mim.Lessons, "forgetting", states)

    def guided(prompt: str) -> Tensor:
        empty, own = (answered(sd1, states.latents, states.t, text) for text in ("", prompt))
        return empty + 2.5 * (own - empty)

    target = guided("it")
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        loss = mim._round(_lessons(sd1, bank, trainable, space="guided", guidance_scale=2.5, batch=3, weight="simple"), 0, {})
        for parameter in trainable.parameters.values():
            parameter.data *= 1.5
        rows = torch.randint(3, (3,), generator=Run().generator(1, 0, 0))
        assert loss(0).item() == pytest.approx((guided("a cat") - target)[rows].square().mean().item(), rel=1e-3)


def test_every_step_looks_at_states_of_its_own(sd1: Model) -> None:
    loss, trainable = _first_round(sd1, _bank(sd1, [("a cat", "it")]), batch=2)
    values = [loss(step).item() for step in range(6)]
    assert len(set(values)) > 3 and values == [loss(step).item() for step in range(6)]
    trainable.__exit__()


def test_the_rest_that_is_held_is_masked_and_empty_prompts(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """anchor_rest asks for half of each, and it notices when either answer moves."""
    bank = _bank(sd1, [("a cat", "it")])
    loss, trainable = _first_round(sd1, bank, anchor_rest=True, batch=4)
    asked: list[Conditioning] = []
    predict = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, x, t, c: asked.append(c) or predict(self, x, t, c))
    loss(0)
    counts = [[int((c.tokens == row.tokens).all(-1).all(-1).sum()) for row in (bank.masked[0], bank.empty[0])] for c in asked]
    assert counts.count([2, 2]) == 2 and [0, 0] in counts, "teacher and student are asked for the same two halves"
    trainable.__exit__()


def test_a_state_is_held_under_its_own_masked_prompt(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = _bank(sd1, [("a cat", "it"), ("a dog", "that"), ("a bird", "this")])
    t, rows = torch.full((6,), 500), torch.tensor([5, 0, 3, 1, 4])
    states = States(sd1.start_noise(range(6)), t, torch.tensor([2, 1, 0, 2, 1, 0]), torch.arange(6))
    asked: list[tuple[Tensor, Conditioning]] = []
    predict = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, x, t, c: asked.append((x, c)) or predict(self, x, t, c))
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        mim._rest_loss(sd1, bank, trainable, states, rows)
    for latents, conditioning in asked:
        assert torch.equal(latents, states.latents[rows])
        assert torch.equal(
            conditioning.tokens, torch.cat([bank.empty.expand(2).tokens, bank.masked[states.row[rows[2:]]].tokens])
        )


def test_a_round_goes_on_with_the_concepts_that_the_last_one_had_no_turn_for(sd1: Model) -> None:
    bank = PromptBank.of_pairs(sd1, [[PromptPair(name, "it")] for name in ("a", "b", "c", "d", "e")])
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        lessons = _lessons(sd1, bank, trainable, states="trajectory")
        rows = [lessons.visited(round_)[0].row for round_ in range(3)]
    assert [set(found.tolist()) for found in rows] == [{0, 1}, {2, 3}, {4, 0}]


def test_states_that_all_rounds_share_are_of_every_concept(sd1: Model) -> None:
    bank = PromptBank.of_pairs(sd1, [[PromptPair(f"see {name}", "it")] for name in "abcdefghijk"])
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        lessons = _lessons(sd1, bank, trainable)
        assert set(lessons.forgetting.row.tolist()) == set(lessons._held_out[0].row.tolist()) == set(range(11))
        few = _lessons(sd1, PromptBank.of_pairs(sd1, [[PromptPair("see a", "it")]]), trainable)
        assert few.forgetting.picture.max() == 1 and few._held_out[0].picture.max() == mim.HELD_OUT - 1
        learned, held = few.forgetting.latents, few._held_out[0].latents
    assert not any(torch.equal(one, other) for one in learned for other in held)


@pytest.mark.parametrize(
    ("target", "how", "levels"), [("masked", "forward", 3), ("exclude", "forward", mim.LEVELS), ("exclude", "trajectory", 3)]
)
def test_exclude_weighs_the_evidence_at_many_noise_levels(sd1: Model, target: str, how: str, levels: int) -> None:
    """One in each equal part of the schedule; the states of a sampler are those it visits."""
    bank = PromptBank.of_pairs(sd1, [[PromptPair("a cat", "it")]])
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        lessons = _lessons(sd1, bank, trainable, target=target, states=how, sampler_steps=3)
        states = lessons.forgetting if how == "forward" else lessons.visited(0)[0]
    for picture in states.picture.unique():
        t = states.t[states.picture == picture].sort().values
        assert len(t) == levels and (how == "trajectory" or (t * levels // 1000).tolist() == list(range(levels)))


# M2: what may change, and nothing else


@pytest.mark.parametrize("parameters", ["kv", "attn2", "full"])
def test_m2_only_the_selected_parameters_change(canvas: Model, parameters: str) -> None:
    before = _weights(canvas)
    edit = _erase(canvas, parameters=parameters)
    after = _weights(canvas)
    assert all(torch.equal(before[name], after[name]) for name in before), "the base must be bit-identical afterwards"
    assert applied_edits(canvas) == ()
    assert not any(p.requires_grad or p.grad is not None for p in named_tensors(canvas).values())
    selected = set(subspaces.select(canvas, parameters))  # type: ignore[arg-type]
    assert set(edit.deltas) <= selected
    assert len(edit.deltas) > 0.8 * len(selected), "a few biases may have no gradient, the rest must move"


def test_selections_by_name(sd1: Model) -> None:
    """Oracle: the module names of the tiny U-Net, which has 4 transformer blocks."""
    kv = subspaces.select(sd1, "kv")
    assert len(kv) == 8 and all(
        name.startswith("unet.") and name.split(".")[-2] in ("to_k", "to_v") and ".attn2." in name for name in kv
    )
    assert subspaces.select(sd1, "tokens") == kv, "there is no other way in"
    attn2 = subspaces.select(sd1, "attn2")
    assert set(kv) < set(attn2) and len(attn2) == 4 * 5  # q, k, v, out and its bias
    everything = subspaces.select(sd1, "full")
    assert set(everything) == {name for name in named_tensors(sd1) if name.startswith("unet.")}
    with pytest.raises(ValueError, match="tiny-sd1 has no parameters of kind 'txt_in'"):
        subspaces.select(sd1, "txt_in")  # type: ignore[arg-type]


def test_the_base_is_back_after_an_interrupt_in_the_middle(canvas: Model) -> None:
    before = _weights(canvas)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _erase(canvas, run=Run(progress=stop))
    after = _weights(canvas)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad for p in named_tensors(canvas).values())


def test_a_loss_that_is_not_finite_is_refused(canvas: Model) -> None:
    with pytest.raises(FloatingPointError, match="try a smaller learning rate than 1e\\+30"):
        _erase(canvas, lr=1e30, steps=20)


# M3 and M4: Gaussians


class _Gaussian(nn.Module):
    """The exact denoiser of pictures N(m, 1) with m = W c, c being the prompt's one token: noise = sigma (z - alpha m)."""

    def __init__(self, base: Tensor, path: NoisePath) -> None:
        super().__init__()
        self.path = path
        self.attn2 = nn.Module()
        self.attn2.to_v = nn.Linear(2, len(base), bias=False)
        self.attn2.to_v.weight = nn.Parameter(base)
        self.device, self.dtype = torch.device("cpu"), base.dtype

    def forward(self, z: Tensor, t: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: None) -> Any:
        mean = self.attn2.to_v(encoder_hidden_states[:, 0])[:, :, None, None]
        alpha, sigma = per_row(self.path.alpha(t), z), per_row(self.path.sigma(t), z)
        noise = sigma * (z - alpha * mean)
        # velocity = (noise - sigma z) / alpha; with the noise above it is -sigma m, finite at pure noise too
        return SimpleNamespace(sample=noise if self.path.prediction == "epsilon" else -sigma * mean + 0 * z)


class _Toy(StableDiffusion):
    """Prompts with "cat" are the token (1, 1), all others (1, 0): means a + b and a for W = [a, b]."""

    def __init__(self, base: Tensor, prediction: str = "epsilon", **options: Any) -> None:
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
            steps_offset=1, prediction_type=prediction, **options,
        )  # fmt: skip
        unet = _Gaussian(base, NoisePath.of(scheduler))
        vae = nn.Linear(1, 1)
        vae.config = SimpleNamespace(latent_channels=len(base))  # type: ignore[assignment]
        networks = {"unet": unet, "text_encoder": nn.Linear(1, 1), "vae": vae}
        pipeline = SimpleNamespace(**networks, scheduler=scheduler, vae_scale_factor=1)
        super().__init__(pipeline, name="toy", sampler=Sampler(20, 1.0, 1))

    def encode(self, prompts: Any, batch: int = 256) -> Conditioning:
        return Conditioning(torch.tensor([[[1.0, float("cat" in prompt)]] for prompt in prompts], dtype=self.dtype))

    def left_out(self, prompts: Any) -> dict[str, str]:
        return {}

    def mean(self, prompt: str) -> Tensor:
        return self.denoiser.attn2.to_v(self.encode([prompt]).tokens[:, 0])[0]


CAT = Concept("cat", "object", ("a cat",), (), ("see {object|it}",))
TOY = {
    "rounds": 12,
    "steps": 30,
    "batch": 32,
    "trajectories": 32,
    "sampler_steps": 10,
    "tolerance": 0,
    "lr": 0.05,
    "guidance_scale": 1.0,
    "eta": 1.0,
    "start": "base",
    "metric": "none",
}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_m3_the_exact_weight_gives_the_divergence(prediction: str) -> None:
    """1/2 of the log-SNR integral of the squared difference is m^2 / 2 for N(m, 1) against N(0, 1), in float64.

    The schedule covers abar from 0.99915 to 0.00466, so that share of it is found.
    """
    base = torch.tensor([[0.0, 1.5], [0.0, -0.5]], dtype=torch.float64)
    toy = _Toy(base, prediction)
    t = torch.arange(1000)
    z = torch.randn(1000, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with_, rest = (toy.predict(z, t, toy.encode([prompt]).expand(1000)) for prompt in ("see a cat", "see it"))
    squares = (with_ - rest).square().flatten(1).sum(1) * toy.path.noise_scale(t)
    divergence = torch.trapezoid(toy.path.log_snr_weight(t) * squares) / 2
    covered = toy.path.alphas_cumprod[0] - toy.path.alphas_cumprod[-1]
    assert divergence.item() == pytest.approx(2.5 / 2 * covered.item(), rel=1e-3)

    mean_one = mim._weights(toy, t, "log_snr")  # what the method uses: the same but for one constant
    share = (mean_one * (with_ - rest).square().flatten(1).sum(1)).sum() / divergence
    exact = toy.path.log_snr_weight(t) * toy.path.noise_scale(t)
    assert mean_one.mean().item() == pytest.approx(1) and share.item() == pytest.approx(2 / exact.mean().item(), rel=1e-2)


def _information(shift: float, share: float) -> float:
    """I(X; B) of N(0, 1) with probability 1 - share and N(shift, 1) with share, by numerical integration (scipy)."""

    def integrand(x: float) -> float:
        one, other = math.exp(-((x - shift) ** 2) / 2), math.exp(-(x**2) / 2)
        mixture = share * one + (1 - share) * other
        parts = ((weight, density) for weight, density in ((share, one), (1 - share, other)) if density > 1e-300)
        return sum(weight * density * math.log(density / mixture) for weight, density in parts) / math.sqrt(2 * math.pi)

    return float(integrate.quad(integrand, -12, 12 + shift)[0])


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("shift", [0.3, 1.0, 3.0])
def test_m3_the_bound_is_above_the_information(shift: float, share: float) -> None:
    """I(X; B) <= pi KL(p_c || p_r), the loss at the start; both vanish together."""
    information = _information(shift, share)
    assert 0 < information <= share * shift**2 / 2
    assert _information(shift / 100, share) < 1e-3 * shift**2


@pytest.mark.parametrize("weight", ["simple", "log_snr", "high_noise"])
@pytest.mark.parametrize("states", ["trajectory", "forward"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_m3_training_removes_the_information(prediction: str, states: str, weight: str) -> None:
    toy = _Toy(torch.tensor([[0.5, 1.5], [0.0, -0.5]]), prediction)
    rest = toy.mean("it").detach()
    assert _information(float((toy.mean("cat") - rest).norm()), 0.5) > 0.2
    edit = mim.erase(toy, [CAT], _settings(**TOY, states=states, weight=weight), Run())
    with edit.applied(toy):
        left = float((toy.mean("cat") - rest).norm())  # against the *old* answer to the rest
    assert _information(left, 0.5) < 1e-3


def test_m4_the_rest_stays_only_if_the_second_term_is_trained() -> None:
    """Shared weights: without `anchor_rest`, half of the change falls on the prompts without the words."""
    base = torch.tensor([[0.5, 1.5], [0.0, -0.5]])
    for anchored in (False, True):
        toy = _Toy(base.clone())
        before = toy.mean("it").detach()
        edit = mim.erase(toy, [CAT], _settings(**TOY, anchor_rest=anchored), Run())
        with edit.applied(toy):
            moved = toy.mean("it") - before
            assert (toy.mean("cat") - before).norm() < 0.05
        expected = torch.zeros(2) if anchored else -base[:, 1] / 2  # Adam moves both columns alike
        assert (moved - expected).norm() < 0.05


# M5: the same seed gives the same edit, and so does a resumed run


def test_m5_deterministic_per_seed(canvas: Model) -> None:
    torch.manual_seed(1)
    first = _erase(canvas)
    torch.manual_seed(2)
    assert _same(_erase(canvas), first)
    assert not _same(_erase(canvas, run=Run(seed=1)), first)


@pytest.mark.parametrize(
    "values", [{}, {"target": "exclude", "space": "guided"}, {"states": "forward", "anchor_rest": True}, {"eta": 1.0}]
)
def test_m5_resumed_is_uninterrupted_bit_for_bit(canvas: Model, tmp_path: Path, values: dict[str, Any]) -> None:
    options = {**values, "rounds": 3}
    whole = _erase(canvas, **options)
    checkpoint = tmp_path / "run.safetensors"

    def stop_in_round(number: int) -> Any:
        def stop(stage: str, done: int, total: int) -> None:
            if done == 3 * number + 1:
                raise KeyboardInterrupt

        return stop

    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            _erase(canvas, run=Run(checkpoint=checkpoint, progress=stop_in_round(number)), **options)
    seen: list[int] = []
    resumed = _erase(canvas, run=Run(checkpoint=checkpoint, progress=lambda stage, done, total: seen.append(done)), **options)
    assert _same(resumed, whole)
    assert seen[0] == 6 and seen[-1] == 9, "the finished rounds must not be trained again"
    assert _same(_erase(canvas, run=Run(checkpoint=checkpoint), **options), whole), "a finished run, resumed, is finished"


def test_m5_a_checkpoint_of_another_run_is_refused(canvas: Model, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.safetensors"
    _erase(canvas, run=Run(checkpoint=checkpoint))
    for other in ({"run": Run(seed=1, checkpoint=checkpoint)}, {"run": Run(checkpoint=checkpoint), "lr": 3e-3}):
        with pytest.raises(ValueError, match="belongs to a run with other settings"):
            _erase(canvas, **other)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        _erase(canvas, run=Run(checkpoint=checkpoint))


# M6: no retain data


@pytest.fixture
def asked(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every prompt that the model is asked to encode."""
    prompts: set[str] = set()
    encode = StableDiffusion.encode
    monkeypatch.setattr(
        StableDiffusion, "encode", lambda self, given, **how: prompts.update(given) or encode(self, given, **how)
    )
    monkeypatch.setattr(Model, "encode_pictures", lambda *_: pytest.fail("no picture may be read"))
    yield prompts


def test_concepts_erased_together_have_one_target_for_a_prompt(canvas: Model) -> None:
    """A cat in sketch style must not become something in sketch style for the cat's sake and a cat for the style's."""
    concepts = [canvas.catalog.resolve(name) for name in ("cat", "style:sketch")]
    bank = PromptBank.of(canvas, concepts)
    asked = [
        {pair.prompt for pair, owner in zip(bank.pairs, bank.owner.tolist(), strict=True) if owner == number}
        for number in (0, 1)
    ]
    assert min(map(len, asked)) > 10 and not asked[0] & asked[1]
    words = [set(pair.masked.lower().replace(",", " ").split()) for pair in bank.pairs]
    assert not any({"cat", "cats", "sketch"} & each for each in words)
    alone = PromptBank.of(canvas, concepts[:1])
    assert any("sketch" in pair.masked for pair in alone.pairs)


@pytest.mark.parametrize("states", ["forward", "trajectory"])
def test_m5_no_global_randomness_with_a_stochastic_sampler(canvas: Model, states: str) -> None:
    canvas.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(canvas.pipeline.scheduler.config)
    edits = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        edits.append(_erase(canvas, "cat", states=states))
    assert _same(*edits)


def test_m5_a_checkpoint_knows_its_concept(canvas: Model, tmp_path: Path) -> None:
    run = Run(checkpoint=tmp_path / "c.safetensors")
    method, cat = get("mim"), canvas.catalog.resolve("cat")
    method.erase(canvas, [cat], _settings(), run)
    for other in (canvas.catalog.resolve("dog"), replace(cat, contexts=("photo",)), replace(cat, templates=("[{object}]",))):
        with pytest.raises(ValueError, match="belongs to a run with other settings"):
            method.erase(canvas, [other], _settings(), run)


def test_the_mirror_is_only_of_exclude(canvas: Model) -> None:
    def change(**values: Any) -> Tensor:
        deltas = _erase(canvas, "cat", **values).deltas
        return torch.cat([deltas[name].dense().flatten() for name in sorted(deltas)])

    assert torch.equal(change(mirror=0.01), change(mirror=4.0))
    near, far = (change(target="exclude", prior=0.9, mirror=mirror) for mirror in (0.01, 4.0))
    assert not torch.allclose(near, far)


def test_the_prior_of_a_kind_with_one_concept_is_no_certainty(canvas: Model) -> None:
    """At a share of 1 Bayes' rule has nothing to say: its log-odds are infinite."""
    cat = canvas.catalog.resolve("cat")
    assert mim._prior(canvas, cat) == 1 / 3
    for concepts in ((cat,), ()):
        canvas.catalog = replace(canvas.catalog, concepts=concepts)
        assert mim._prior(canvas, cat) == 1 / 20


OWN_PROMPTS: list[dict[str, Any]] = [
    {"metric": "rest"},
    {"start": "base", "metric": "none", "target": "exclude", "anchor_rest": True},
    {"metric": "rest", "states": "forward", "phrasings": "all"},
]


@pytest.mark.parametrize("values", OWN_PROMPTS)
def test_m6_nothing_to_be_kept_is_named(canvas: Model, asked: set[str], values: dict[str, Any]) -> None:
    concept = canvas.catalog.resolve("cat")
    _erase(canvas, "cat", **values)
    allowed = {"", *(text for pair in (*concept.pairs(), *concept.plain_pairs()) for text in (pair.prompt, pair.masked))}
    assert asked <= allowed
    words = {word for prompt in asked for word in prompt.replace(",", "").split()}
    assert not words & {"dog", "dogs", "puppy", "hound", "bird", "birds", "owl"} and "cat" in words


def test_m6_the_network_is_asked_about_nothing_else(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random words in the metric too: they meet the text encoder alone."""
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat")])
    known = Conditioning.join([bank.empty, bank.masked, bank.conditioned]).tokens.flatten(1)
    predict, asked = Model.predict, 0

    def watched(self: Model, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        nonlocal asked
        asked += len(conditioning)
        distances = torch.cdist(conditioning.tokens.flatten(1), known, compute_mode="donot_use_mm_for_euclid_dist")
        assert distances.amin(1).max() < 1e-4
        return predict(self, latents, t, conditioning)

    monkeypatch.setattr(Model, "predict", watched)
    _erase(canvas, "cat", phrasings="all", metric="vocabulary")
    assert asked > 20


# The start


@pytest.mark.parametrize(("target", "names"), [("masked", ("cat",)), ("masked", ("cat", "dog")), ("null", ("cat",))])
def test_the_start_is_the_least_squares_that_others_feel_least(canvas: Model, target: str, names: tuple[str, ...]) -> None:
    """Against numpy: D = sum (mean (g - r) r^T) (sum (mean r r^T) + hold S + ridge)^-1, sums over concepts; keys and values gain W D."""
    concepts = [canvas.catalog.resolve(name) for name in names]
    before = _weights(canvas)
    edit = _erase(canvas, *names, rounds=0, start="solved", target=target, metric="rest", hold=3.0, ridge=0.01, phrasings="all")
    bank = PromptBank.of(canvas, concepts)
    others = Conditioning.join([bank.empty, bank.masked]).tokens.flatten(0, 1).double().numpy()
    felt = others.T @ others / len(others)
    pull, within = np.zeros_like(felt), 3 * felt + 0.01 * np.trace(felt) / len(felt) * np.eye(len(felt))
    for concept in concepts:
        rows, guides = [], []
        for pair in worded(concept, "phrases", "" if target == "null" else None):
            r, g = canvas.encode([pair.prompt, pair.masked]).tokens.double().numpy()
            last, other = (len(ids) - 2 for ids in canvas.token_ids([pair.prompt, pair.masked]))
            tail = len(r) - max(last, other)
            rows.append(r[last : last + tail])
            guides.append(g[other : other + tail])
        r, g = np.concatenate(rows), np.concatenate(guides)
        pull += (g - r).T @ r / len(r)
        within += r.T @ r / len(r)
    change = pull @ np.linalg.inv(within)
    assert sorted(edit.deltas) == sorted(subspaces.select(canvas, "kv"))
    for name, delta in edit.deltas.items():
        expected = before[name].double().numpy() @ change
        assert np.abs(delta.dense().numpy() - expected).max() < 1e-4 * np.abs(expected).max() + 1e-7


def test_learning_goes_on_from_the_start(canvas: Model) -> None:
    start, learned, base = (_erase(canvas, **values) for values in ({"rounds": 0}, {"lr": 3e-4}, {"start": "base", "lr": 3e-4}))
    name = next(iter(start.deltas))
    near, far = ((learned.deltas[name].dense() - other.deltas[name].dense()).norm() for other in (start, base))
    assert not _same(start, learned) and near < far


# M7 and the weights


def test_m7_weights_depend_on_the_timestep_alone_and_average_to_one(sd1: Model, sd2: Model, canvas: Model) -> None:
    t = torch.tensor([1, 999, 500, 1, 250, 500])
    for model in (sd1, sd2, canvas):
        for weight in ("both", "simple", "log_snr", "high_noise"):
            found = mim._weights(model, t, weight)
            assert found.mean().item() == pytest.approx(1) and found.isfinite().all() and (found >= 0).all()
            assert found[0] == found[3] and found[2] == found[5]
    assert torch.equal(mim._weights(sd1, t, "simple"), torch.ones(6, dtype=torch.float64))
    assert torch.equal(mim._weights(sd1, t, "both"), (1 + mim._weights(sd1, t, "log_snr")) / 2)
    noisy = mim._weights(sd1, t, "high_noise")
    assert noisy[1] > noisy[2] > noisy[4] > noisy[0]


# Several concepts, half precision, on top of other edits


def test_several_concepts_share_the_work(canvas: Model) -> None:
    edit = _erase(canvas, "cat", "style:sketch", phrasings="all")
    assert edit.manifest.names == ["object:cat", "style:sketch"]
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat"), canvas.catalog.resolve("style:sketch")])
    owners = bank.owner[bank.draw(10, torch.Generator().manual_seed(0))]
    assert torch.equal(owners, torch.tensor([0, 1] * 5))
    drawn = bank.draw(400, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) > 0.6 * len(bank.pairs), "all phrasings are drawn"


def test_the_manifest_traces_the_run(canvas: Model, tiny_canvas: Path) -> None:
    told = _erase(canvas, run=Run(seed=7)).manifest
    assert (told.method, told.seed, told.model, told.ledger) == ("mim", 7, "tiny canvas", [])
    assert told.concepts == [canvas.catalog.resolve("cat").to_dict()]
    assert told.settings == _settings().model_dump()
    assert told.versions.keys() == {"excise", "torch", "diffusers", "transformers"}
    assert (told.dtype, told.device) == ("float32", "cpu")
    assert _erase(load(tiny_canvas, device="cpu", dtype="mixed"), rounds=0).manifest.dtype == "mixed"


def test_an_edit_trained_on_top_of_another_starts_there(canvas: Model) -> None:
    first = _erase(canvas)
    alone = _erase(canvas, "dog")
    with first.applied(canvas):
        second = _erase(canvas, "dog")
        before = _weights(canvas)
        with second.applied(canvas):
            name = next(iter(second.deltas))
            assert not torch.equal(_weights(canvas)[name], before[name])
    assert not _same(second, alone)
    assert second.manifest.base == first.manifest.base
    assert [entry["concepts"] for entry in second.manifest.ledger] == [first.manifest.concepts]


def test_the_ledger_says_how_strongly_an_edit_is_on(canvas: Model) -> None:
    first, dog = _erase(canvas, rounds=0).with_measurements({"ua": 0.9}), [canvas.catalog.resolve("dog")]
    with first.applied(canvas), first.applied(canvas, 0.25):
        whole, quarter = manifest(canvas, "mim", dog, _settings(), Run()).ledger
    assert whole == first.manifest.model_dump()
    assert quarter == {**whole, "settings": {**whole["settings"], "scale": 0.25}, "measurements": {}}


def test_trains_a_model_in_bfloat16_and_refuses_float16(tiny_canvas: Path) -> None:
    model = load(tiny_canvas, device="cpu", dtype="bfloat16")
    before = _weights(model)
    edit = _erase(model)
    after = _weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(delta.dense().dtype == torch.float32 and delta.dense().any() for delta in edit.deltas.values())
    assert _same(_erase(model), edit)
    with edit.applied(load(tiny_canvas, device="cpu")):
        pass
    with pytest.raises(ValueError, match="bfloat16 or float32"):
        _erase(load(tiny_canvas, device="cpu", dtype="float16"))


def test_the_student_learns_and_the_teacher_does_not(canvas: Model) -> None:
    """Smoke test: from the same states, the trained model's answer to "a cat" is nearer to the frozen answer to the masked prompt."""
    edit = _erase(canvas, start="base", lr=4e-3, rounds=4, steps=20, batch=16, trajectories=8)
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat")], plain=True)
    x, t = canvas.start_noise(range(len(bank.pairs))), torch.full((len(bank.pairs),), 600)
    with torch.no_grad():
        target, start = canvas.predict(x, t, bank.masked), canvas.predict(x, t, bank.conditioned)
        with edit.applied(canvas):
            end = canvas.predict(x, t, bank.conditioned)
    assert (end - target).square().mean() < 0.3 * (start - target).square().mean()


# One network


def test_no_second_network_is_held(canvas: Model) -> None:
    """While training there is one U-Net, and of tensors that are not trained not one more than before."""

    def count() -> tuple[int, int]:
        gc.collect()
        shape = canvas.denoiser.conv_in.weight.shape  # type: ignore[union-attr]
        found = [thing for thing in gc.get_objects() if issubclass(type(thing), (Tensor, UNet2DConditionModel))]
        unets = sum(type(thing) is UNet2DConditionModel for thing in found)
        return unets, sum(isinstance(thing, Tensor) and thing.shape == shape for thing in found)

    before = count()
    during: list[tuple[int, int]] = []
    _erase(canvas, run=Run(progress=lambda *_: during.append(count())), anchor_rest=True)
    assert before[1] >= 1 and max(during) <= before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"taget": "null"}, r"unknown setting of mim: 'taget' \(did you mean 'target'\?"),
        ({"target": "nothing"}, "target"),
        ({"lr": -1}, "lr"),
        ({"rounds": -1, "steps": "many"}, "rounds.*steps|steps.*rounds"),
        ({"prior": 1.0}, "prior"),
        ({"metric": "none"}, "give start=base with it"),
        ({"start": "base", "rounds": 0}, "change nothing"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        get("mim").parse(values)
    assert "\n" not in str(caught.value)
