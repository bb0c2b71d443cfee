"""SPM and its `AdapterEdit`: against dense weights, per sample, files, composition, and what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.func import functional_call

from excise.edits import AdapterEdit, Dense, WeightEdit, applied_edits, compose, load_edit, restored
from excise.edits.adapter import Adapter, Factors, Injection, Transport, addition
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Manifest
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import random_prompts
from excise.erasure.run import Run
from excise.erasure.states import States, visits
from excise.jobs.apply import apply
from excise.methods import get
from excise.methods.spm import erase as spm
from excise.methods.spm.transport import discriminant, transport
from excise.models import Model
from trained_methods import CAT, DOG, VISITING, asked, bank_of, settings_of

QUICK: dict[str, Any] = {**VISITING, "anchors": 2, "lr": 0.01}


def erase(model: Model, *concepts: Any, run: Run | None = None, **values: Any) -> AdapterEdit:
    edit = get("spm").erase(model, concepts or (CAT,), settings_of("spm", **{**QUICK, **values}), run or Run())
    assert isinstance(edit, AdapterEdit)
    return edit


def random_factors(model: Model, seed: int) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    return {
        name: Factors(noise(len(layer.weight), 1), noise(1, *layer.weight.shape[1:]))
        for name, layer in model.adaptable().items()
    }


def edit_of(model: Model, seeds: Sequence[int], concept: str = "cat") -> AdapterEdit:
    always = Transport.always(*model.encode([""]).tokens.shape[1:])
    parts = {
        f"object:{concept}{seed}": Adapter({f"unet.{n}": f for n, f in random_factors(model, seed).items()}, always)
        for seed in seeds
    }
    concepts = [{"name": f"{concept}{seed}", "kind": "object", "phrases": []} for seed in seeds]
    manifest = Manifest(kind="adapter", model="x", base=base_fingerprint(model), method="spm", concepts=concepts)
    return AdapterEdit.of_parts(parts, manifest)


@torch.no_grad()
def output(model: Model, prompts: Sequence[str] = ("a cat", "a dog", "")) -> Tensor:
    x = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0)).expand(len(prompts), -1, -1, -1)
    return model.predict(x, torch.full((len(prompts),), 500), model.encode(prompts))


@torch.no_grad()
def dense_output(model: Model, *seeds: int, scale: float = 1.0) -> Tensor:
    """The weights themselves changed by the sum of up down, and put back."""
    layers, kept = model.adaptable(), dict[str, Tensor]()
    for seed in seeds:
        for name, f in random_factors(model, seed).items():
            kept.setdefault(name, layers[name].weight.data)
            change = torch.einsum("or,r...->o...", f.up, f.down)
            layers[name].weight.data = layers[name].weight.data + scale * change
    try:
        return output(model)
    finally:
        for name, weight in kept.items():
            layers[name].weight.data = weight


@pytest.mark.parametrize("which", ["sd1", "sd2"])
def test_in_full_strength_it_is_a_dense_change_of_the_weights(which: str, request: pytest.FixtureRequest) -> None:
    """sd1 has convolutions around its blocks, sd2 linear layers; two adapters are a sum, without cross terms."""
    model = request.getfixturevalue(which)
    base = output(model)
    for seeds in ((1,), (1, 2)):
        with edit_of(model, seeds).applied(model):
            found = output(model)
        assert (found - base).abs().max() > 0.05
        assert torch.allclose(found, dense_output(model, *seeds), atol=1e-4)
    with edit_of(model, [1]).applied(model), edit_of(model, [2]).applied(model):
        one_by_one = output(model)
    assert torch.allclose(one_by_one, dense_output(model, 1, 2), atol=1e-4)
    half = dense_output(model, 1, scale=0.5)
    with edit_of(model, [1]).applied(model, scale=0.5):
        assert torch.allclose(output(model), half, atol=1e-4)
    with edit_of(model, [1]).scaled(0.5).applied(model):
        assert torch.allclose(output(model), half, atol=1e-4)
    assert torch.equal(output(model), base)


def test_a_scale_that_is_no_number_is_refused(sd1: Model) -> None:
    base = output(sd1)
    with pytest.raises(ValueError, match="must be a finite number, not nan"):
        edit_of(sd1, [1]).apply(sd1, float("nan"))
    assert torch.equal(output(sd1), base) and applied_edits(sd1) == ()


def test_each_sample_of_a_batch_has_its_own_strength(sd1: Model) -> None:
    base, full = output(sd1), dense_output(sd1, 1)
    strengths = torch.tensor([[1.0], [0.0], [0.5]])
    with torch.no_grad(), Injection(sd1.denoiser, [random_factors(sd1, 1)], lambda conditioning: strengths):
        found = output(sd1)
    assert torch.allclose(found[0], full[0], atol=1e-4) and torch.allclose(found[1], base[1], atol=1e-6)
    assert torch.allclose(found[2], dense_output(sd1, 1, scale=0.5)[2], atol=1e-4)


def test_each_adapter_of_several_has_its_own_strength(sd1: Model) -> None:
    adapters = [random_factors(sd1, 1), random_factors(sd1, 2)]
    for strengths, seed in (((1.0, 0.0), 1), ((0.0, 1.0), 2)):
        expected = dense_output(sd1, seed)
        with torch.no_grad(), Injection(sd1.denoiser, adapters, lambda c, s=strengths: torch.tensor([s]).expand(len(c), 2)):  # type: ignore[misc]
            assert torch.allclose(output(sd1), expected, atol=1e-4)


def test_an_addition_is_linear_in_its_strength(sd1: Model) -> None:
    name, layer = next((n, m) for n, m in sd1.adaptable().items() if n.endswith("attn2.to_k"))
    x, factors = torch.randn(3, 5, layer.in_features), random_factors(sd1, 1)[name]
    one = addition(layer, x, factors, torch.ones(3))
    assert torch.allclose(
        addition(layer, x, factors, torch.tensor([0.0, 0.3, 2.0])), one * torch.tensor([0, 0.3, 2]).view(3, 1, 1)
    )


def test_strength_depends_on_the_prompt_and_the_empty_one_has_its_own(canvas: Model) -> None:
    """Of the untrained text encoder of a tiny model: near 1 with the concept's words, near 0 without, in the two halves of guidance."""
    cat = canvas.catalog.resolve("cat")
    bank = PromptBank.of_pairs(canvas, [cat.pairs()])
    found = transport(canvas, cat, bank, "calibrated", torch.Generator().manual_seed(0))
    assert float(found(bank.conditioned.tokens).mean()) > 0.9
    assert float(found(bank.masked.tokens).mean()) < 0.1 and float(found(bank.empty.tokens)) < 0.1
    batch = torch.cat([bank.empty.tokens, canvas.encode(["a kitty, sketch"]).tokens])
    assert torch.allclose(found(batch), torch.cat([found(batch[:1]), found(batch[1:])]), atol=1e-5)
    assert float(found(batch)[1]) > 0.9


def test_the_empty_prompt_of_guidance_may_have_the_prompt_s_strength(sd1: Model, tmp_path: Path) -> None:
    """As published: one strength for both halves of a guided pass; another for other passes; the file says so."""
    x = torch.randn(1, *sd1.latent_shape, generator=torch.Generator().manual_seed(0))
    edit = erase(sd1, transport="cosine", empty_strength="prompt")
    parts = {
        label: replace(part, factors={f"unet.{n}": f for n, f in random_factors(sd1, 1).items()})
        for label, part in edit.parts.items()
    }
    edit = AdapterEdit.of_parts(parts, edit.manifest)
    transport = edit.parts["object:cat"].transport
    own = replace(transport, empty=None)
    empty, cat, dog = (sd1.encode([text]).tokens for text in ("", "a cat", "a dog"))
    strength, alone = float(own(dog)), float(own(empty))
    assert 0.05 < strength < 0.95 and abs(strength - alone) > 0.01
    assert transport(torch.cat([empty, empty, dog, cat])).tolist() == pytest.approx([strength, 1, strength, 1], abs=1e-5)
    assert transport(torch.cat([empty.bfloat16(), dog.bfloat16()])).tolist() == pytest.approx([strength] * 2, abs=0.02)
    assert transport(empty).item() == pytest.approx(alone, abs=1e-5)
    for batch in (torch.cat([dog, empty]), torch.cat([empty, dog, cat]), torch.cat([empty, dog, cat, cat])):
        assert torch.allclose(transport(batch), own(batch), atol=1e-6), "no guided pass"

    def guided(steps: int = 2) -> Tensor:
        *_, last = sd1.trajectory(["a dog"], [0], starts=x, steps=steps, guidance_scale=4.0)
        return last.latents

    layers = sd1.adaptable()
    kept = {name: layer.weight.data for name, layer in layers.items()}
    base = guided()
    for name, f in random_factors(sd1, 1).items():
        layers[name].weight.data = kept[name] + strength * torch.einsum("or,r...->o...", f.up, f.down)
    expected = guided()
    for name, weight in kept.items():
        layers[name].weight.data = weight
    edit.save_pretrained(tmp_path / "edit")
    loaded = load_edit(tmp_path / "edit")
    assert isinstance(loaded, AdapterEdit) and torch.equal(loaded.parts["object:cat"].transport.empty, transport.empty)  # type: ignore[arg-type]
    with loaded.applied(sd1):
        found = guided()
    with AdapterEdit.of_parts({"x": replace(parts["object:cat"], transport=own)}, edit.manifest).applied(sd1):
        otherwise = guided()
    assert (expected - base).abs().max() > 0.05 and torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(otherwise, expected, atol=1e-2)


def test_the_discriminant_is_scipy_s() -> None:
    """The same objective, written in numpy and minimised by scipy."""
    random = np.random.default_rng(0)
    named, others = random.normal(0.4, 1, (12, 2, 3)), random.normal(0, 1, (40, 2, 3))
    weight, bias = discriminant(torch.from_numpy(named), torch.from_numpy(others), ridge=1e-3)
    x = np.concatenate([named, others]).reshape(52, 6)
    centre, spread = x[12:].mean(0), np.maximum(x[12:].std(0, ddof=1), 0.05 * x.std(ddof=1))
    z = (x - centre) / spread
    length = np.linalg.norm(z, axis=1).mean()
    sign = np.where(np.arange(52) < 12, 1, -1)

    def objective(p: np.ndarray) -> float:
        losses = np.log1p(np.exp(-sign * (z / length @ p[:6] + p[6])))
        return losses[:12].mean() / 2 + losses[12:].mean() / 2 + 1e-3 * (p[:6] ** 2).sum()

    best = minimize(objective, np.zeros(7), tol=1e-12).x
    logits = z / length @ best[:6] + best[6]
    found = x @ weight.double().numpy().ravel() + float(bias)
    assert np.abs(logits).max() > 1 and np.abs(found - logits).max() < 1e-3


def test_random_prompts_do_not_name_the_concept(canvas: Model) -> None:
    letters = replace(canvas.catalog.resolve("cat"), phrases=("a b", "c"))

    def fillers(**avoid: set[str]) -> set[str]:
        prompts = random_prompts(canvas, letters, 300, torch.Generator().manual_seed(0), **avoid)
        assert len(set(prompts)) > 100
        plain = [prompt for prompt in prompts if prompt.startswith("a picture of ") and " in " not in prompt]
        return {prompt.removeprefix("a picture of ") for prompt in plain}

    found = fillers()
    assert len(found) > 5 and not found & {"a", "b", "c"}
    plain = replace(letters, contexts=(), templates=("{object|it}",))
    often = Counter(random_prompts(canvas, plain, 300, torch.Generator().manual_seed(0))).values()
    assert max(often) - min(often) <= 1, "every word as often as any other"
    assert fillers(avoid={min(found)}) and min(found) not in fillers(avoid={min(found)})


def test_the_published_cosine_against_numpy(sd1: Model) -> None:
    found = transport(sd1, CAT, bank_of(sd1), "cosine", torch.Generator())
    prompts = ["a cat", "a dog", ""]
    own, *_ = rows = sd1.encode(prompts).tokens.flatten(1).double().numpy()
    expected = [float(row @ own / (row @ row) ** 0.5 / (own @ own) ** 0.5) for row in rows]
    assert found(sd1.encode(prompts).tokens).tolist() == pytest.approx(expected, abs=1e-5)
    assert expected[0] == pytest.approx(1) and expected[1] > 0.3, "prompts share most of their rows"
    assert transport(sd1, CAT, bank_of(sd1), "off", torch.Generator())(sd1.encode(prompts).tokens).tolist() == [1, 1, 1]


def test_training_starts_without_effect_and_leaves_the_base_alone(sd1: Model) -> None:
    base, before = output(sd1), base_fingerprint(sd1)
    membrane = spm.Membrane(sd1, "x", Run().generator(0))
    with torch.no_grad(), Injection(sd1.denoiser, [membrane.factors], membrane.strengths):
        assert torch.equal(output(sd1), base)
        for factors in membrane.factors.values():
            factors.up.add_(1)
        assert not torch.equal(output(sd1), base)
        membrane.on = False
        assert torch.equal(output(sd1), base), "the original is the network with the adapter off"
    edit = erase(sd1)
    assert torch.equal(output(sd1), base) and base_fingerprint(sd1) == before
    with edit.applied(sd1):
        changed = (output(sd1) - base).abs().amax((1, 2, 3))
    assert float(changed[0]) > 1e-4


@pytest.mark.parametrize(("which", "eta"), [("sd1", 0.0), ("sd1", 2.5), ("sd2", 1.0)])
def test_the_loss_at_the_start_is_the_push_times_one_plus_eta_squared(
    which: str, eta: float, request: pytest.FixtureRequest
) -> None:
    """As ESD's; an adapter without effect has nothing to answer for on random conditionings."""
    model, settings = request.getfixturevalue(which), settings_of("spm", **QUICK, states="fresh", eta=eta)
    membrane = spm.Membrane(model, "x", Run().generator(5))
    with Injection(model.denoiser, [membrane.factors], membrane.strengths):
        found = spm._round(model, bank_of(model), membrane, settings, Run(), 0)(0).detach()
    states = visits(model, bank_of(model), settings, Run(), 0)(0)
    push = asked(model, states.latents, states.t, "a cat") - asked(model, states.latents, states.t, "")
    expected = (1 + eta) ** 2 * push.square().mean()
    assert float(expected) > 1e-4
    assert torch.allclose(found, expected, rtol=1e-4)


def moved(model: Model) -> spm.Membrane:
    """An adapter as it may be in the middle of its training."""
    membrane = spm.Membrane(model, "x", Run().generator(5))
    for name, factors in random_factors(model, 1).items():
        membrane.factors[name].up.data = factors.up
    return membrane


def found_loss(model: Model, membrane: spm.Membrane, settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The method's loss of the first step, and its gradient."""
    with Injection(model.denoiser, [membrane.factors], membrane.strengths):
        found = spm._round(model, bank_of(model), membrane, settings, Run(), 0)(0)
        return found, torch.autograd.grad(found, list(membrane.parameters.values()))


class Written:
    """The network with the adapter on and off, without hooks: dense weights W + up down in their place."""

    def __init__(self, model: Model, membrane: spm.Membrane) -> None:
        self.model, self.unet = model, model.pipeline.unet
        self.dense = {
            f"{name}.weight": layer.weight
            + torch.einsum("or,r...->o...", *(membrane.factors[name].up, membrane.factors[name].down))
            for name, layer in model.adaptable().items()
        }

    def visited(self, settings: Any) -> States:
        """The student's own states of the first step."""
        kept = {name: self.unet.get_parameter(name).data for name in self.dense}
        for name, weight in self.dense.items():
            self.unet.get_parameter(name).data = weight.detach()
        states = visits(self.model, bank_of(self.model), settings, Run(), 0)(0)
        for name, weight in kept.items():
            self.unet.get_parameter(name).data = weight
        return states

    def on(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        output: Tensor = functional_call(self.unet, self.dense, (x, t), {"encoder_hidden_states": text}).sample
        return output

    @torch.no_grad()
    def off(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        output: Tensor = self.unet(x, t, encoder_hidden_states=text).sample
        return output


def assert_same(
    found: tuple[Tensor, tuple[Tensor, ...]], expected: Tensor, membrane: spm.Membrane, tolerance: float = 1e-3
) -> None:
    """Loss and gradient."""
    assert torch.allclose(found[0], expected, rtol=tolerance)
    for found_, wanted in zip(found[1], torch.autograd.grad(expected, list(membrane.parameters.values())), strict=True):
        assert (found_ - wanted).abs().max() < tolerance * wanted.abs().max() + 1e-6


def test_the_loss_and_its_gradient_written_out(sd1: Model) -> None:
    """The adapter visits the states; targets and anchors' answers are without it."""
    settings = settings_of(
        "spm", **{**QUICK, "states": "fresh", "sampler_steps": 4, "eta": 0.7, "anchors": 3, "anchor_weight": 3.0}
    )
    membrane, base = moved(sd1), visits(sd1, bank_of(sd1), settings, Run(), 0)(0)
    written = Written(sd1, membrane)
    on, off, states = written.on, written.off, written.visited(settings)
    x, t, cat = states.latents, states.t, sd1.encode(["a cat"]).tokens.expand(2, -1, -1)
    assert not torch.allclose(x, base.latents, atol=1e-2), "the student's own states"

    nothing, own = off(x, t, sd1.encode(["", ""]).tokens), off(x, t, cat)
    erasing = (on(x, t, cat) - (nothing - 0.7 * (own - nothing))).square().mean()
    anchors = spm.random_anchors(cat[[0, 1, 0]], Run().generator(6, 0, 0))
    x, t = x[[0, 1, 0]], t[[0, 1, 0]]
    holding = (on(x, t, anchors) - off(x, t, anchors)).square().mean()
    assert min(erasing.item(), holding.item()) > 1e-4
    assert_same(found_loss(sd1, membrane, settings), erasing + 3.0 * holding, membrane)


def test_the_paper_s_preset_has_the_released_loss_and_its_gradient(sd1: Model) -> None:
    """Con6924/SPM at 3dd762e: batches as its guidance makes them, of which it keeps what guidance 1 leaves.

    Anchors are eight prompts, ['', g] four times (src/engine/sampling.py:24), on eight times the latents (src/engine/train_util.py:161,
    train_spm.py:249). The output's second half answers for all (train_util.py:173): ['', g, '', g]. The loss is the mean over that
    (src/configs/prompt.py:171), times la_strength (178).
    """
    settings = settings_of("spm", preset="paper", sampler_steps=4)
    membrane = moved(sd1)
    written = Written(sd1, membrane)
    states = written.visited(settings)
    x, t, empty, cat = states.latents, int(states.t), sd1.encode([""]).tokens, sd1.encode(["a cat"]).tokens

    def predicted(network: Any, latents: Tensor, text: Tensor) -> Tensor:
        assert len(text) == 2 * len(latents)
        without, with_ = network(torch.cat([latents, latents]), torch.tensor(t), text).chunk(2)
        answer: Tensor = without + 1 * (with_ - without)
        return answer

    neutral, positive = (predicted(written.off, x, torch.cat([empty, text])) for text in (empty, cat))
    target = predicted(written.on, x, torch.cat([empty, cat]))
    erasing = (target - (neutral - 1 * (positive - neutral))).square().mean()

    drawn = spm.random_anchors(cat.expand(4, -1, -1), Run().generator(6, 0, 0))
    batch = torch.cat([torch.stack([empty[0], drawn[place]]) for place in (0, 2, 1, 3)])
    on, off = (predicted(network, x.repeat(4, 1, 1, 1), batch) for network in (written.on, written.off))
    expected = erasing + 1000 * (on - off).square().mean()
    assert erasing.item() > 1e-4
    assert_same(found_loss(sd1, membrane, settings), expected, membrane)
    other, _ = found_loss(sd1, membrane, settings.model_copy(update={"interleaved": False}))
    assert abs(other - expected) > 0.02 * expected, "random conditionings alone are another loss"


def test_down_starts_as_diffusers_and_torch_start_a_layer(sd1: Model) -> None:
    """Kaiming's uniform law with a = sqrt(5): the bound is 1 / sqrt(inputs)."""
    membrane = spm.Membrane(sd1, "x", Run().generator(0))
    for name, layer in sd1.adaptable().items():
        fresh = torch.empty(2000, *layer.weight.shape[1:])
        torch.nn.init.kaiming_uniform_(fresh, a=5**0.5)
        found = membrane.factors[name].down.abs().max()
        largest = fresh.abs().max().item()
        assert 0.5 * largest < found.item() <= 1.01 * largest


def test_together_each_adapter_is_what_it_is_alone(sd1: Model, tmp_path: Path) -> None:
    run = Run(checkpoint=tmp_path / "checkpoint.safetensors")
    both, alone = erase(sd1, CAT, DOG, run=run), erase(sd1, DOG)
    assert list(both.parts) == ["object:cat", "object:dog"]
    for name, factors in alone.parts["object:dog"].factors.items():
        other = both.parts["object:dog"].factors[name]
        assert torch.equal(factors.up, other.up) and torch.equal(factors.down, other.down) and factors.up.any()


def test_random_anchors_have_the_length_of_real_prompts() -> None:
    targets = torch.randn(50, 7, 32, generator=torch.Generator().manual_seed(0))
    ratio = spm.random_anchors(targets, torch.Generator().manual_seed(0)).flatten(1).norm(dim=1) / targets.flatten(1).norm(
        dim=1
    )
    assert 0.8 <= float(ratio.min()) < 0.85 and 1.15 < float(ratio.max()) <= 1.2001


def test_anchors_near_the_target_are_turned_away() -> None:
    """In two dimensions, where it matters: accepted with probability 1 - cosine, at most 1; the mean of the cosine by integration."""
    targets = torch.tensor([[[1.0, 0.0]]]).expand(4000, 1, 2)
    cosine = torch.cosine_similarity(spm.random_anchors(targets, torch.Generator().manual_seed(0)), targets, dim=2)
    assert float(cosine.mean()) == pytest.approx(-(pi / 2) / (2 * pi - 2), abs=0.03)


def test_files_hold_the_same_bits(sd1: Model, tmp_path: Path) -> None:
    edit = erase(sd1, CAT, DOG)
    edit.save_pretrained(tmp_path / "edit")
    assert sorted(path.name for path in (tmp_path / "edit").iterdir()) == ["edit.json", "edit.safetensors"]
    found = load_edit(tmp_path / "edit")
    assert isinstance(found, AdapterEdit) and found.manifest.names == edit.manifest.names
    one, other = edit.tensors(), found.tensors()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    with edit.applied(sd1):
        here = output(sd1)
    with found.applied(sd1):
        assert torch.equal(output(sd1), here)
    assert found.nbytes == edit.nbytes > 0
    with pytest.raises(ValueError, match="kind 'adapter', not 'weights'"):
        WeightEdit.from_pretrained(tmp_path / "edit")


def test_it_works_on_a_plain_pipeline(sd1: Model) -> None:
    edit, pipeline = edit_of(sd1, [1]), sd1.pipeline

    def picture() -> Any:
        options = {"num_inference_steps": 2, "output_type": "np", "generator": torch.Generator().manual_seed(0)}
        return pipeline("a cat", **options).images[0]

    before = picture()
    with edit.applied(pipeline):
        assert [one for one, _ in applied_edits(pipeline)] == [edit]
        during = picture()
    assert abs(during - before).max() > 0.01 and (picture() == before).all()
    assert applied_edits(pipeline) == ()


def test_the_newest_of_two_applications_is_taken_off(sd1: Model) -> None:
    edit = edit_of(sd1, [1])
    edit.apply(sd1)
    once = output(sd1)
    edit.apply(sd1, scale=2.0)
    edit.remove(sd1)
    assert torch.equal(output(sd1), once)
    edit.remove(sd1)
    with pytest.raises(ValueError, match="not on this model"):
        edit.remove(sd1)


def test_compositions_and_what_is_given_back(sd1: Model, tmp_path: Path) -> None:
    one, other = edit_of(sd1, [1]), edit_of(sd1, [2], concept="dog")
    both = compose([one, other])
    both.save_pretrained(tmp_path / "both")
    both = load_edit(tmp_path / "both")  # type: ignore[assignment]
    expected, base = dense_output(sd1, 1, 2), output(sd1)
    with both.applied(sd1):
        assert torch.allclose(output(sd1), expected, atol=1e-4)
    for left in (restored(both, ["dog2"]), restored(edit_of(sd1, [1, 2]), ["object:cat2"])):
        assert left.manifest.names == ["object:cat1"]
        with left.applied(sd1), one.applied(sd1, scale=-1.0):
            assert torch.allclose(output(sd1), base, atol=1e-4)


def test_it_does_not_mix_with_changes_of_weights_in_one_edit(sd1: Model) -> None:
    name = next(n for n, _ in sd1.denoiser.named_parameters() if n.endswith("attn2.to_v.weight"))
    manifest = Manifest(model="x", base=base_fingerprint(sd1), method="x", concepts=[])
    weights = WeightEdit({f"unet.{name}": Dense(torch.full_like(sd1.denoiser.get_parameter(name), 0.1))}, manifest)
    with pytest.raises(ValueError, match="different kinds"):
        compose([weights, edit_of(sd1, [1])])
    base = output(sd1)
    with weights.applied(sd1), edit_of(sd1, [1]).applied(sd1):
        assert len(applied_edits(sd1)) == 2 and not torch.equal(output(sd1), base)
    assert torch.equal(output(sd1), base)


def test_it_cannot_be_written_into_a_model(tiny_sd1: Path, sd1: Model, tmp_path: Path) -> None:
    edit_of(sd1, [1]).save_pretrained(tmp_path / "edit")
    with pytest.raises(
        ValueError, match="cannot be written into a model: it is an adapter whose strength depends on the prompt"
    ):
        apply(tmp_path / "edit", to=tmp_path / "model", model=tiny_sd1)
    assert not (tmp_path / "model").exists()


def test_another_base_and_damaged_files_are_refused(sd1: Model, sd2: Model, tmp_path: Path) -> None:
    from excise.files import write_tensors

    edit = edit_of(sd1, [1])
    with pytest.raises(ValueError, match="made for another model"):
        edit.apply(sd2)
    assert applied_edits(sd2) == ()
    key = next(key for key in edit.tensors() if key.endswith(":up"))

    def write(tensors: dict[str, Tensor]) -> Path:
        import hashlib

        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        edit.save_pretrained(folder)
        write_tensors(folder / "edit.safetensors", tensors)
        manifest = json.loads((folder / "edit.json").read_text(encoding="utf-8"))
        manifest["weights_sha256"] = hashlib.sha256((folder / "edit.safetensors").read_bytes()).hexdigest()
        (folder / "edit.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    tensors = edit.tensors()
    for damaged, words in [
        ({**tensors, key: tensors[key] * torch.nan}, "not finite"),
        ({k: t for k, t in tensors.items() if k != key}, "incomplete"),
        ({k: t for k, t in tensors.items() if not k.startswith("transport")}, "incomplete"),
        ({**tensors, key: torch.ones(3, 2)}, "do not fit together"),
    ]:
        with pytest.raises(ValueError, match=words):
            load_edit(write(damaged))
    short = load_edit(write({**tensors, key: torch.ones(3, 1)}))
    with pytest.raises(ValueError, match="the weight is"):
        short.apply(sd1)
    strange = load_edit(write({k.replace("attn2", "attn9"): t for k, t in tensors.items()}))
    with pytest.raises(ValueError, match="which the model does not have"):
        strange.apply(sd1)
