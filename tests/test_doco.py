"""DoCo: critic, surgery and one whole step against numpy and plain loops, invariants D1 to D11 of its spec."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.edits import WeightEdit
from excise.erasure.attention import start_token_detached
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.subspaces import select
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import Learning, learning_pictures
from excise.methods import get
from excise.methods.doco import DocoSettings, Surgery
from excise.methods.doco.critic import Critic, discriminator
from excise.methods.doco.erase import _duel, clipped, predicted, turned
from excise.models import Conditioning, Model
from excise.models.fingerprint import named_tensors
from trained_methods import asked

QUICK: dict[str, Any] = {
    "wording": "name", "rounds": 2, "steps": 2, "batch": 2, "pictures": 2, "picture_steps": 2, "warm_up": 2
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def erase(model: Model, *, run: Run | None = None, **settings: Any) -> WeightEdit:
    method = get("doco")
    edit = method.erase(model, [model.catalog.resolve("cat")], method.parse({**QUICK, **settings}), run or Run())
    assert isinstance(edit, WeightEdit)
    return edit


def same(one: WeightEdit, other: WeightEdit) -> bool:
    found, expected = one.tensors(), other.tensors()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- surgery ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surgery", ["released", "projection"])
def test_d4_d5_d6_surgery_in_numpy(surgery: Surgery) -> None:
    """Tensor by tensor; what is left along b, that nothing grows by projection, and that the size of b does not matter."""
    conflicts = 0
    for seed in range(20):
        a, b = 0.1 * random(6, 5, seed=seed), random(6, 5, seed=100 + seed)
        found = turned({"x": a, "y": -b}, {"x": b, "y": b}, surgery, 1.0)
        assert torch.allclose(found["y"], turned({"y": -b}, {"y": b}, surgery, 1.0)["y"]), "each tensor for itself"
        assert torch.allclose(found["x"], turned({"x": a}, {"x": 1e4 * b}, surgery, 1.0)["x"], atol=1e-6)
        p, q = a.double().numpy(), b.double().numpy()
        size, unit = np.linalg.norm(p), q / np.linalg.norm(q)
        cos = np.sum(p * unit) / size
        new = found["x"].double().numpy()
        if cos >= 0:
            assert np.array_equal(new, p)
            continue
        conflicts += 1
        left = np.sum(new * unit)
        if surgery == "released":
            assert abs(left - cos * (size - 1)) < 1e-6 and np.abs(new - (p - cos * unit)).max() < 1e-6
        else:
            assert abs(left) < 1e-6 and np.linalg.norm(new) <= size + 1e-9
            assert np.abs(new - (p - size * cos * unit)).max() < 1e-6
    assert 5 < conflicts < 15
    assert torch.equal(turned({"x": -b}, {"x": b}, surgery, 0.0)["x"], -b), "strength 0 does nothing"
    assert torch.equal(turned({"x": a}, {"x": 0 * b}, surgery, 1.0)["x"], a)
    assert torch.equal(turned({"x": 0 * a}, {"x": b}, surgery, 1.0)["x"], 0 * a)


def test_gradients_are_clipped_together() -> None:
    gradients = {"x": random(3, 4), "y": random(5, seed=1)}
    flat = np.concatenate([g.double().numpy().ravel() for g in gradients.values()])
    found = np.concatenate([g.double().numpy().ravel() for g in clipped(gradients, 0.5).values()])
    assert np.abs(found - 0.5 * flat / np.linalg.norm(flat)).max() < 1e-7
    for limit in (100.0, None):
        assert all(torch.equal(g, gradients[name]) for name, g in clipped(gradients, limit).items())


# --- the critic -------------------------------------------------------------------------------------------------------------------


def test_d8_the_published_discriminator() -> None:
    network = discriminator(4, 64, Run().generator(0))
    assert network(random(2, 4, 64, 64)).shape == (2, 1, 3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_767_553
    largest = next(network.parameters()).abs().max().item()
    assert largest <= (4 * 4 * 4) ** -0.5 < 1.01 * largest, "uniform, up to 1 / sqrt(inputs)"


@pytest.mark.parametrize(("channels", "edge", "side"), [(4, 8, 3), (8, 8, 3), (4, 2, 2), (4, 16, 3), (16, 128, 7)])
def test_other_latents_get_as_many_layers(channels: int, edge: int, side: int) -> None:
    network = discriminator(channels, edge, Run().generator(0))
    assert network(random(2, channels, edge, edge)).shape == (2, 1, side, side)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network) == 5


def softplus(x: Tensor) -> Tensor:
    return (1 + x.double().exp()).log()


def test_d7_d9_losses_and_their_gradients() -> None:
    """Anchor 0, concept 1; equal pictures cannot cost less than 2 ln 2; the adversarial gradient stays out unless it is asked in."""
    real, fake = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1).requires_grad_(True)
    clean, mixed = (Critic(real, 1e-3, Run().generator(0), entangled=entangled) for entangled in (False, True))
    low, high = clean.network(real), clean.network(fake)
    assert torch.allclose(clean.loss(real, fake).double(), softplus(low).mean() + softplus(-high).mean(), atol=1e-6)
    assert torch.allclose(clean.adversarial(fake).double(), softplus(high).mean(), atol=1e-6)
    assert clean.loss(real, real).item() >= 2 * np.log(2) - 1e-6

    weights = list(clean.network.parameters())
    own = torch.autograd.grad(clean.loss(real, fake), weights)
    towards = torch.autograd.grad(mixed.adversarial(fake), list(mixed.network.parameters()))
    for critic, expected in ((clean, own), (mixed, [g + h for g, h in zip(own, towards, strict=True)])):
        fake.grad = None
        critic.adversarial(fake).backward()
        critic.loss(real, fake).backward()
        assert fake.grad is not None and fake.grad.abs().max() > 0
        for parameter, gradient in zip(critic.network.parameters(), expected, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    with torch.no_grad():
        weights[-1].zero_(), weights[-2].zero_()
    assert abs(clean.loss(real, fake).item() - 2 * np.log(2)) < 1e-6, "equality for a critic that says nothing"


def test_the_critic_s_state_is_all_that_changes() -> None:
    """Three steps = two steps, state copied to a new critic, one more step; and torch's own Adam agrees."""
    real, fake = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1)
    one, other = (Critic(real, 1e-3, Run().generator(seed)) for seed in (0, 1))
    plain = discriminator(4, 8, Run().generator(0))
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for step in range(3):
        if step == 2:
            with torch.no_grad():
                for name, tensor in other.state.items():
                    tensor.copy_(one.state[name])
        one.step(real, fake)
        adam.zero_grad()
        (softplus(plain(real)).mean() + softplus(-plain(fake)).mean()).backward()
        adam.step()
    other.step(real, fake)
    for name, parameter in plain.named_parameters():
        assert torch.equal(one.state[name], other.state[name])
        if parameter.ndim > 1:  # biases before a normalisation get rounding as gradients, and Adam makes it as large as any
            assert (one.state[name] - parameter).abs().median() < 1e-5
            assert (parameter - discriminator(4, 8, Run().generator(0)).get_parameter(name)).abs().median() > 1e-4
    assert one.state["0.weight.step"] == 3


# --- a step -----------------------------------------------------------------------------------------------------------------------


def stage(model: Model, settings: DocoSettings) -> tuple[PromptBank, Learning, Critic]:
    bank = PromptBank.of_pairs(model, redirected(model, [model.catalog.resolve("cat")], settings.wording, settings.anchor))
    anchors = learning_pictures(model, bank, settings, Run(), shows="masked")
    return bank, anchors, Critic(anchors.latents, settings.critic_lr, Run().generator(3))


def draws(model: Model, anchors: Learning, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Clean pictures, noise, times and noisy pictures as a step draws them, in formulas of this file."""
    picks = torch.randint(len(anchors.rows), (2,), generator=generator)
    clean, t = anchors.latents[picks], torch.randint(1000, (2,), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    abar = model.pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    return clean, noise, t, abar, abar.sqrt() * clean + (1 - abar).sqrt() * noise


@pytest.mark.parametrize("surgery", ["projection", "released"])
def test_the_first_step_by_hand(canvas: Model, surgery: Surgery) -> None:
    """Losses written out for velocity; AdamW's first step is lr sign(gradient) + lr decay weight."""
    settings = DocoSettings(**{**QUICK, "surgery": surgery})
    _, anchors, critic = stage(canvas, settings)
    anchor, concept = (canvas.encode([text]).expand(2) for text in ("something", "a cat"))
    weights = {name: named_tensors(canvas)[name] for name in select(canvas, "kv")}
    parameters = [weight.requires_grad_(True) for weight in weights.values()]
    generator = Run().generator(1, 0, 0)

    def gradients(loss: Tensor) -> dict[str, np.ndarray]:
        found = [g.double().numpy() for g in torch.autograd.grad(loss, parameters)]
        norm = np.sqrt(sum((g**2).sum() for g in found))
        return {name: g / max(norm, 1) for name, g in zip(weights, found, strict=True)}

    with start_token_detached(canvas):
        clean, noise, t, abar, noisy = draws(canvas, anchors, generator)
        v = canvas.denoiser(noisy, t, encoder_hidden_states=anchor.tokens).sample
        b = gradients(((v - (abar.sqrt() * noise - (1 - abar).sqrt() * clean)) ** 2).mean())
        clean, noise, t, abar, noisy = draws(canvas, anchors, generator)
        v = canvas.denoiser(noisy, t, encoder_hidden_states=concept.tokens).sample
        a = gradients(softplus(critic.network(abar.sqrt() * noisy - (1 - abar).sqrt() * v)).mean())
    for weight in parameters:
        weight.requires_grad_(False)

    edit = erase(canvas, warm_up=0, rounds=1, steps=1, surgery=surgery, schedule="constant")
    conflicts = 0
    for name, weight in weights.items():
        unit = b[name] / np.linalg.norm(b[name])
        along = np.sum(a[name] * unit)
        if along < 0:
            conflicts += 1
            a[name] = a[name] - unit * (along if surgery == "projection" else along / np.linalg.norm(a[name]))
        clear = np.abs(a[name]) > 1e-5  # far from AdamW's epsilon and from rounding
        expected = -5e-4 * (np.sign(a[name]) + 1e-2 * weight.numpy())
        assert clear.mean() > 0.2
        assert np.abs(edit.deltas[name].dense().numpy() - expected)[clear].max() < 3e-6
    assert conflicts > 0


def test_d1_true_noise_gives_the_clean_picture(sd1: Model, canvas: Model) -> None:
    for model in (sd1, canvas):
        clean, noise, t = random(4, 4, 8, 8), random(4, 4, 8, 8, seed=1), torch.tensor([0, 300, 700, 900])
        noisy = model.path.noised(clean, noise, t)
        found = model.path.to_x0(model.path.output(clean, noise, t), noisy, t)
        assert (found - clean).abs().max() < 1e-4


def test_the_critic_sees_the_base_s_answer_to_the_anchor_as_real(canvas: Model) -> None:
    """And that of the model as trained so far, to the concept, as not: by the formula for velocity, after the weights have moved."""
    settings = DocoSettings(**{**QUICK, "warm_up": 1})
    bank, anchors, critic = stage(canvas, settings)
    _, _, twin = stage(canvas, settings)
    _, _, t, abar, noisy = draws(canvas, anchors, Run().generator(4, 0))

    def clean(prompt: str) -> Tensor:
        return abar.sqrt() * noisy - (1 - abar).sqrt() * asked(canvas, noisy, t, prompt)

    base = clean("something")
    with Trainable(canvas, select(canvas, "kv")) as trainable:
        with torch.no_grad():
            for parameter in trainable.parameters.values():
                parameter += 0.3 * parameter.sign()
            real, fake = predicted(canvas, bank, anchors, trainable, 2, Run().generator(4, 0))
        assert torch.allclose(real, base, atol=1e-4) and torch.allclose(fake, clean("a cat"), atol=1e-4)
        for other in (clean("something"), clean("a cat")):
            assert (base - other).abs().max() > 0.1
        _duel(canvas, bank, anchors, critic, trainable, settings, Run())[0](0)
    low, high = twin.network(real), twin.network(fake)
    (softplus(low).mean() + softplus(-high).mean()).backward()
    twin.optimizer.step()
    moved = [(critic.state[name] - tensor).abs().median() for name, tensor in twin.state.items() if name.endswith("weight")]
    assert max(moved) < 0.1 * settings.critic_lr, "Adam's first step: twice the learning rate if the two were exchanged"


def test_d2_in_the_warm_up_only_the_critic_learns(canvas: Model) -> None:
    settings = DocoSettings(**QUICK)
    bank, anchors, critic = stage(canvas, settings)
    before = {name: tensor.clone() for name, tensor in critic.state.items()}
    with Trainable(canvas, select(canvas, "kv")) as trainable:
        prepare, _, after = _duel(canvas, bank, anchors, critic, trainable, settings, Run())
        loss = prepare(0)
        assert not trainable.deltas() and all(parameter.grad is None for parameter in trainable.parameters.values())
        assert critic.state["0.weight.step"] == 2 and not torch.equal(critic.state["0.weight"], before["0.weight"])
        loss(0).backward()
        assert all(parameter.grad is not None for parameter in trainable.parameters.values())
        assert all(parameter.grad is None for parameter in critic.network.parameters())
        after()
        assert critic.state["0.weight.step"] == 3
        prepare(1)
        assert critic.state["0.weight.step"] == 3, "once"


def test_d10_the_start_token_gets_no_gradient(canvas: Model) -> None:
    """With a text that is zero but for its first token, keys and values depend on the weights through that token alone."""
    text = torch.zeros(1, 77, 32)
    text[:, 0] = canvas.encode([""]).tokens[:, 0]
    x, t = canvas.start_noise([0]), torch.tensor([500])
    with Trainable(canvas, select(canvas, "kv")) as trainable:
        for detached in (False, True):
            for parameter in trainable.parameters.values():
                parameter.grad = None
            if detached:
                with start_token_detached(canvas):
                    canvas.predict(x, t, Conditioning(text)).square().sum().backward()
            else:
                canvas.predict(x, t, Conditioning(text)).square().sum().backward()
            sizes = [float(p.grad.abs().max()) for p in trainable.parameters.values()]  # type: ignore[union-attr]
            assert all(size == 0 for size in sizes) if detached else max(sizes) > 1e-4


# --- whole erasures ---------------------------------------------------------------------------------------------------------------


def test_d3_only_keys_and_values_change_and_the_base_does_not(canvas: Model) -> None:
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(canvas).items()}
    edit = erase(canvas)
    assert list(edit.deltas) == select(canvas, "kv")
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(canvas).items())
    assert same(erase(canvas), edit), "the same seed, the same bits"


@pytest.mark.parametrize(
    "change", [{"surgery": "released"}, {"surgery": "none"}, {"entangled": True}, {"detach_start": False}, {"anchor": "a dog"}]
)
def test_every_option_counts(canvas: Model, change: dict[str, Any]) -> None:
    assert not same(erase(canvas, **change), erase(canvas))


def test_a_stopped_run_goes_on_to_the_same_bits(canvas: Model, tmp_path: Path) -> None:
    """Of the critic as well, warm-up included."""
    calls = itertools.count()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "erasing" and next(calls) == 4:
            raise KeyboardInterrupt

    run = Run(checkpoint=tmp_path / "checkpoint.safetensors")
    with pytest.raises(KeyboardInterrupt):
        erase(canvas, run=dataclasses.replace(run, progress=progress))
    assert run.checkpoint is not None and run.checkpoint.exists()
    assert same(erase(canvas, run=run), erase(canvas))


def test_captions_of_the_anchor(canvas: Model, tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a dog in the rain\na small dog\n", encoding="utf-8")
    edit = erase(canvas, captions=str(path), anchor="dog")
    assert edit.deltas and edit.manifest.settings["captions"] == str(path)
