"""ESD: its loss at the start by hand, the two conventions, whose states and which weights."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from excise.erasure import subspaces
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import States, visits
from excise.erasure.targets import steered
from excise.erasure.trainable import Trainable
from excise.methods import get
from excise.methods.esd import erase as esd
from excise.models import Model
from excise.models.fingerprint import named_tensors
from trained_methods import CAT, DOG, VISITING, asked, bank_of, settings_of


def loss_at_start(model: Model, bank: PromptBank | None = None, **values: object) -> Tensor:
    settings = settings_of("esd", **{**VISITING, "states": "fresh", **values})
    with Trainable(model, subspaces.select(model, "kv")) as trainable:
        return esd._round(model, bank or bank_of(model), trainable, settings, Run(), 0)(0).detach()


def states_at_start(model: Model, bank: PromptBank | None = None) -> States:
    return visits(model, bank or bank_of(model), settings_of("esd", **VISITING, states="fresh"), Run(), 0)(0)


def push(model: Model, states: States) -> Tensor:
    """Output for the concept less output for the empty prompt."""
    return asked(model, states.latents, states.t, "a cat") - asked(model, states.latents, states.t, "")


@pytest.mark.parametrize("which", ["sd1", "sd2"])
@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_the_loss_at_the_start_is_the_push_times_one_plus_eta_squared(
    which: str, eta: float, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    expected = (1 + eta) ** 2 * push(model, states_at_start(model)).square().mean()
    assert float(expected) > 1e-4
    assert torch.allclose(loss_at_start(model, eta=eta), expected, rtol=1e-4)


def test_the_rewrite_s_eta_is_the_paper_s_plus_one(sd1: Model) -> None:
    for eta in (1.0, 2.0, 3.0):
        rewrite, paper = loss_at_start(sd1, eta=eta, convention="rewrite"), loss_at_start(sd1, eta=eta - 1)
        assert torch.allclose(rewrite, paper, rtol=1e-4)


def test_an_empty_concept_asks_for_nothing(sd1: Model) -> None:
    bank = bank_of(sd1)
    empty = replace(bank, conditioned=bank.empty)
    for eta in (0.0, 1.0, 3.0):
        assert float(loss_at_start(sd1, empty, eta=eta)) < 1e-12


def test_erased_from_another_prompt_that_prompt_is_taught(sd1: Model) -> None:
    """At the start its own prediction cancels: what is left is the push of the concept at states of the other prompt."""
    bank = bank_of(sd1)
    shown = replace(bank, conditioned=sd1.encode(["a cat on a roof"]))
    expected = 4 * push(sd1, states_at_start(sd1, shown)).square().mean()
    assert torch.allclose(loss_at_start(sd1, convention="rewrite", eta=2.0, erase_from="a cat on a roof"), expected, rtol=1e-4)


def test_the_optimum_is_negative_guidance_in_noise_and_in_velocity(sd2: Model) -> None:
    """Steered velocities, read as noise, are the steered noises: guidance with scale -eta."""
    states = states_at_start(sd2)
    empty, own = (asked(sd2, states.latents, states.t, prompt) for prompt in ("", "a cat"))
    noise, own_noise = (sd2.path.to_noise(output, states.latents, states.t) for output in (empty, own))
    found = sd2.path.to_noise(steered(empty, empty, own, 1.5), states.latents, states.t)
    assert torch.allclose(found, noise + -1.5 * (own_noise - noise), atol=1e-5)


def test_a_divergence_judges_the_same_errors(sd1: Model) -> None:
    states = states_at_start(sd1)
    delta = 4 * 4 * push(sd1, states).square().mean((1, 2, 3))  # (1 + eta)^2 = 4, four channels
    expected = (8 / 4 * (1 - torch.exp(-delta / 8))).mean()
    assert torch.allclose(loss_at_start(sd1, divergence="hellinger"), expected, rtol=1e-4)


def test_only_the_student_s_prediction_has_a_gradient(sd1: Model) -> None:
    bank, settings = bank_of(sd1), settings_of("esd", **VISITING, states="fresh")
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        esd._round(sd1, bank, trainable, settings, Run(), 0)(0).backward()
        found = {name: parameter.grad.clone() for name, parameter in trainable.parameters.items()}  # type: ignore[union-attr]
        states = states_at_start(sd1)
        empty = asked(sd1, states.latents, states.t, "")
        target = empty - (asked(sd1, states.latents, states.t, "a cat") - empty)
        error = (sd1.predict(states.latents, states.t, bank.conditioned[states.row]) - target).square().mean()
        expected = torch.autograd.grad(error, list(trainable.parameters.values()))
    for (name, grad), wanted in zip(found.items(), expected, strict=True):
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-7), name


def test_variants_on_a_real_unet_s_names(sd1: Model) -> None:
    variants = ("x", "x-strict", "u", "all")
    names = {variant: set(subspaces.select_first(sd1, esd.VARIANTS[variant])) for variant in variants}
    assert names["x-strict"] < names["x"] < names["all"] and not names["x"] & names["u"]
    outside = {name for name in names["all"] - names["x"] - names["u"]}
    assert outside and all(name.split(".")[1] in ("time_embedding", "conv_norm_out", "conv_out") for name in outside)
    assert any(".time_emb_proj." in name for name in names["u"]), "the residual blocks' own reading of the time is trained"


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("x-strict", r".*\.attn2\.to_[kv]\.weight"),
        ("u", r"(?!.*\.attn2\.)(?!unet\.(time_embedding|conv_norm_out|conv_out)\.).*"),
        ("all", r".*"),
    ],
    ids=["x-strict", "u", "all"],
)
def test_e6_training_changes_the_tensors_of_its_variant_and_no_other(sd1: Model, variant: str, changed: str) -> None:
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(sd1).items() if name.startswith("unet.")}
    edit = get("esd").erase(sd1, [CAT], settings_of("esd", **VISITING, variant=variant, lr=1e-3), Run())
    wanted = {name for name in before if re.fullmatch(changed, name)}
    with edit.applied(sd1):
        moved = {
            name for name, tensor in named_tensors(sd1).items() if name in before and not torch.equal(tensor, before[name])
        }
    assert moved <= wanted and len(wanted - moved) < 0.2 * len(wanted), "a few biases may have no gradient"


def test_the_text_stream_is_a_transformer_s(sd1: Model) -> None:
    with pytest.raises(ValueError, match=r"has no parameters of kind 'text-qk'$"):
        get("esd").erase(sd1, [CAT], settings_of("esd", **VISITING, variant="text-qk"), Run())


def test_the_release_s_u_also_has_the_time_embedding_and_the_last_convolution_but_no_norms(sd1: Model) -> None:
    """esd-u of the diffusers release: every linear layer and convolution outside attn2. Here `u` is the first code's under any preset."""
    settings = settings_of("esd", preset="rewrite", variant="u")
    ours = set(subspaces.select_first(sd1, esd.VARIANTS[settings.variant]))
    layers = {
        name: m for name, m in sd1.denoiser.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "attn2" not in name
    }
    theirs = {f"unet.{name}.{part}" for name, layer in layers.items() for part, _ in layer.named_parameters()}
    assert {name.split(".")[1] for name in theirs - ours} == {"time_embedding", "conv_out"}
    assert ours - theirs and all("norm" in name.split(".")[-2] for name in ours - theirs)


def test_bad_settings_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="variant"):
        get("esd").parse({"variant": "xattn"})
    with pytest.raises(ValueError, match="convention=rewrite"):
        get("esd").parse({"erase_from": "a cat"})


def test_several_concepts_each_get_their_turn(sd1: Model) -> None:
    bank = bank_of(sd1, CAT, DOG)
    assert bank.draw(4, torch.Generator(), first=1).tolist() == [1, 0, 1, 0]
