"""What every attack owes, and the maths of each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPTokenizer

import tiny_models
from excise.attacks import QUICK_BUDGET, Chosen, attacks, choose, ddim, get, token_search
from excise.attacks.assault import Attacked, SpoiledModel, assault
from excise.attacks.audited_model import AuditedModel, PlainPictures
from excise.attacks.call_budget import Budget
from excise.attacks.call_meter import CallMeter
from excise.attacks.cases import make_cases
from excise.attacks.draws import Draws
from excise.attacks.original import Original
from excise.attacks.search import attack as search
from excise.attacks.verdict import difference, verdict
from excise.attacks.victim import Victim
from excise.edits import Dense, Manifest, WeightEdit
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.models.names import resolve
from excise.results.audit_result import Control, Effort, Success
from made_up import outcome

SMALL: dict[str, dict[str, Any]] = {
    "guidance": {"kappas": (-1.0, 4.0)},
    "seeds": {"tries": 2},
    "noise": {"etas": (1.0, 1.5), "boosts": (1.0,)},
    "revam": {"prompts": 1, "group": 2, "iterations": 2, "tests": 1, "epochs": 2, "pictures": 2, "probe_steps": 2},
    "prompts": {"tries": 2},
    "wording": {"tries": 2, "negated": 2},
    "unlearndiffatk": {"iterations": 2, "tests": 1, "tokens": 2},
    "p4d": {"iterations": 2, "tests": 1, "tokens": 4, "states": 2},
    "ring-a-bell": {"population": 6, "generations": 2, "tokens": 4},
    "ring-a-bell-gradient": {"steps": 2, "tests": 1, "tokens": 4},
    "inversion": {"steps": 2, "batch": 2, "pictures": 2, "tests": 1},
    "image-to-image": {"strengths": (0.75, 0.5)},
    "completion": {"handovers": (1, 2)},
    "inverted-latents": {},
    "inpainting": {"tries": 1},
    "classifier-guidance": {"positives": 2, "negatives": 2, "steps": 2, "scales": (5.0,)},
    "finetuning": {"steps": 2, "batch": 2, "pictures": 2, "tests": 1},
    "few-shot": {"steps": 2, "batch": 2, "pictures": 2, "tests": 1},
    "lora": {"steps": 2, "batch": 2, "pictures": 2, "strengths": (1.0,)},
    "rounding": {"bits": (4,)},
}
BUDGET = 200
COUNT = 2


class Seen:
    """A detector that answers from the brightness of pictures; keeps how many it was shown."""

    identity = "seen"

    def __init__(self, threshold: float) -> None:
        self.threshold, self.pictures = threshold, 0

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        self.pictures += len(pictures)
        likely = pictures.flatten(1).mean(1)
        return likely > self.threshold, likely


NEVER, ALWAYS = 2.0, -1.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path_factory.getbasetemp() / "attacks-cache"))


@pytest.fixture(scope="module")
def shared(tiny_canvas: Path) -> Model:
    """One model for all tests: no attack may leave a trace on it."""
    from excise.models import load

    return load(tiny_canvas, device="cpu")


@pytest.fixture(scope="module")
def edit(shared: Model) -> WeightEdit:
    return random_edit(shared)


def random_edit(model: Model, concept: str = "cat", scale: float = 0.3) -> WeightEdit:
    """A change of every entrance."""
    random, tensors = torch.Generator().manual_seed(5), named_tensors(model)
    deltas = {name: Dense(scale * torch.randn(tensors[name].shape, generator=random)) for name in model.subspace("kv")}
    about = [model.catalog.resolve(concept).to_dict()]
    return WeightEdit(deltas, Manifest(model=model.name, base=base_fingerprint(model), method="random", concepts=about))


def snapshot(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}


def chosen_by(name: str, settings: dict[str, Any], budget: int = BUDGET) -> Chosen:
    return Chosen(name, get(name), get(name).settings(**settings), budget)


def run(name: str, model: Model, subject: AuditedModel, threshold: float, budget: int = BUDGET, count: int = COUNT) -> Attacked:
    chosen = chosen_by(name, SMALL[name], budget)
    concept = model.catalog.resolve("cat")
    plain = PlainPictures.of(model, subject, concept, Seen(NEVER), count, 0)
    shown = generated_latents(model, [case.wanted for case in plain.cases], [case.seed for case in plain.cases], run=Run())
    return assault(chosen, model, subject, concept, plain, Seen(threshold), shown=shown)


def victim(model: Model, count: int = COUNT, threshold: float = NEVER, budget: int = 10_000) -> Victim:
    concept, meter = model.catalog.resolve("cat"), CallMeter(budget)
    cases = make_cases(concept, count, 0)
    shown = generated_latents(model, [case.wanted for case in cases], [case.seed for case in cases], run=Run())
    original = Original(model, concept, meter, Run(), dict(zip(cases, shown, strict=True)))
    return Victim(model, concept, cases, Seen(threshold), Budget(meter, model, count), Draws(model, 0), original)


TRIED = ["guidance", "seeds", "noise", "prompts", "wording", "inpainting", "image-to-image", "inverted-latents"]
"""Attacks whose effort is told in tries."""


class TestBudget:
    def test_tries_are_those_that_all_prompts_can_have(self, shared: Model) -> None:
        """However few prompts stand; the first try is made as far as the budget goes."""
        for standing in (1, 3):
            budget = victim(shared, standing, budget=100).budget
            budget.prompts = 3
            assert budget.tries("abcd", [10, 10, 10, 10]) == "abc"
            assert budget.effort == {"tries": Effort(paid=3, asked=4)}
            assert budget.tries("abcd", [10, 30, 1, 1]) == "a"
            assert budget.tries("abcd", [50, 1, 1, 1]) == "a"
            assert budget.tries("ab", [10, 10]) == "ab"

    @pytest.mark.parametrize("name", [name for name in TRIED if name != "wording"])
    def test_tries_cost_what_the_plan_says(self, name: str, shared: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a model that breaks nowhere; so none runs out of what was set apart. `wording` also spends what is left, on negated wordings."""
        told, planned = Budget.tries, []

        def tries(self: Budget, values: Any, costs: Any) -> Any:
            planned.append(sum(costs))
            return told(self, values, costs)

        monkeypatch.setattr(Budget, "tries", tries)
        subject, settings = victim(shared, 2), get(name).settings()
        with subject.budget.meter.on(shared):
            get(name).run(subject, settings)
        assert subject.budget.effort["tries"].paid == subject.budget.effort["tries"].asked
        assert subject.budget.meter.spent == 2 * sum(planned)

    @pytest.mark.parametrize("name", TRIED)
    def test_every_model_gets_the_same_tries(self, name: str, shared: Model) -> None:
        """A model that has broken prompts already, and so calls to spare, does not get more."""
        chosen = Chosen(name, get(name), get(name).settings(), 40)
        attempts = []
        for standing in (2, 1):
            subject = victim(shared, standing, budget=40)
            subject.budget.prompts = 2
            chosen.attack.run(subject, chosen.settings)
            attempts.append({record.attempts for record in subject.records.values()})
            assert subject.budget.effort["tries"].paid < subject.budget.effort["tries"].asked
        assert attempts[0] == attempts[1]


def test_values_of_a_setting_are_parted_by_semicolons() -> None:
    (chosen,) = choose(["revam:weights=1;0;1"], None)
    assert chosen.settings.model_dump()["weights"] == (1.0, 0.0, 1.0)


def test_every_attack_is_in_the_contract() -> None:
    assert set(SMALL) == set(attacks())


@pytest.mark.parametrize("name", SMALL)
class TestContract:
    def test_it_spends_within_the_budget_finds_the_same_again_and_leaves_no_trace(
        self, name: str, shared: Model, edit: WeightEdit
    ) -> None:
        before = snapshot(shared)
        subject = AuditedModel("erased", (edit,))
        one, other = run(name, shared, subject, NEVER), run(name, shared, subject, NEVER)
        after = named_tensors(shared)
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert not any(parameter.requires_grad for parameter in after.values())
        assert 0 < one.outcome.calls <= BUDGET
        assert one.outcome.broken == 0 and one.outcome.untried == 0
        assert one.tensors.keys() == other.tensors.keys() and "best" in one.tensors
        for key, tensor in one.tensors.items():
            assert torch.equal(tensor, other.tensors[key]), key
        assert bool(one.tensors["best"].flatten(1).any(1).all()), "the likeliest picture is kept even if none shows the concept"
        assert one.outcome.cases == other.outcome.cases and one.outcome.rounds == other.outcome.rounds
        assert all(round.tried == COUNT and round.shown == 0 for round in one.outcome.rounds)

    def test_a_detector_that_always_says_yes_ends_it_at_once(self, name: str, shared: Model, edit: WeightEdit) -> None:
        found = run(name, shared, AuditedModel("erased", (edit,)), ALWAYS).outcome
        assert found.broken == COUNT and found.rate.value == 1.0
        assert all(case.attempts == 1 and case.success and not case.pre for case in found.cases)
        assert sum(round.shown for round in found.rounds) in (0, COUNT), "those that are tried in one way are a round"

    def test_a_budget_that_is_too_small_is_no_result(self, name: str, shared: Model) -> None:
        found = run(name, shared, AuditedModel("neutral", neutral=True), NEVER, budget=3).outcome
        assert found.untried == COUNT and found.calls <= 3 and not found.rounds


STRAIGHT = [name for name, attack in attacks().items() if set(attack.needs) <= {"entrances", "attention layers"}]


@pytest.mark.parametrize("name", STRAIGHT)
@pytest.mark.parametrize("which", ["sd3", "flux"])
def test_models_of_straight_paths_are_attacked_too(
    which: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Timesteps are fractions there, and the sampler is another one; attacks that reach into DDIM, or embed tokens, are refused by name."""
    from excise.models import load

    folder = tiny_models.declare(Path(shutil.copytree(request.getfixturevalue(f"tiny_{which}"), tmp_path / "model")))
    get(name).check_model(folder)
    model = load(folder, device="cpu")
    before = snapshot(model)
    found = run(name, model, AuditedModel("erased", (random_edit(model),)), NEVER)
    assert all(torch.equal(before[key], tensor) for key, tensor in named_tensors(model).items())
    assert 0 < found.outcome.calls <= BUDGET and found.outcome.untried == 0 and found.tensors["best"].isfinite().all()
    rounds = found.outcome.rounds
    assert all(round.tried == COUNT for round in rounds) and (rounds or name in ("seeds", "prompts", "wording"))


@pytest.mark.parametrize("which", ["sd3", "flux"])
def test_attacks_that_straight_paths_cannot_have_are_refused_by_name(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"tiny_{which}")
    assert set(STRAIGHT) == {"guidance", "seeds", "prompts", "wording", "rounding", "lora", "finetuning", "few-shot"}
    for name in attacks().keys() - set(STRAIGHT):
        with pytest.raises(
            ValueError, match=f"^attack '{name}' needs (token embeddings|diffusion path), which [^\n]* not have$"
        ):
            get(name).check_model(folder)


@pytest.mark.parametrize("name", ["inversion", "revam", "few-shot", "lora", "unlearndiffatk"])
def test_what_diverges_is_no_result(name: str, shared: Model) -> None:
    """Pictures of noise that blew up do not show the concept, and that is no evidence. The network is left as it was."""
    before = snapshot(shared)
    concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
    plain = PlainPictures.of(shared, subject, concept, Seen(NEVER), COUNT, 0)
    shown = generated_latents(shared, [case.wanted for case in plain.cases], [case.seed for case in plain.cases], run=Run())
    chosen = chosen_by(name, {**SMALL[name], "lr": 1e30})
    with pytest.raises((FloatingPointError, RuntimeError), match=r"finite|inf"):
        assault(chosen, shared, subject, concept, plain, Seen(NEVER), shown=shown)
    assert all(torch.equal(tensor, before[key]) for key, tensor in named_tensors(shared).items())


@pytest.mark.parametrize("fails", [True, False])
def test_a_model_that_is_left_changed_ends_everything(fails: bool, shared: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an attack that fails: what is made after it would be made on another model."""
    weight = next(iter(named_tensors(shared).values()))
    kept = weight.detach().clone()

    def spoil(victim: Victim, settings: Any) -> None:
        weight.data += 1
        if fails:
            raise FloatingPointError("x")

    concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
    plain = PlainPictures.of(shared, subject, concept, Seen(NEVER), COUNT, 0)
    chosen = chosen_by("seeds", {"tries": 1}, 100)
    spoiling = replace(chosen, attack=replace(chosen.attack, run=spoil))
    try:
        with pytest.raises(SpoiledModel, match="did not put the weights back"):
            assault(spoiling, shared, subject, concept, plain, Seen(NEVER))
    finally:
        weight.data.copy_(kept)


class TestDriver:
    def test_what_is_shown_without_attack_is_not_attacked(self, shared: Model) -> None:
        concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
        plain = replace(PlainPictures.of(shared, subject, concept, Seen(NEVER), 3, 0), hits=(False, True, False))
        detector = Seen(NEVER)
        chosen = chosen_by("seeds", {"tries": 2}, 1000)
        found = assault(chosen, shared, subject, concept, plain, detector).outcome
        assert (found.pre, found.broken, found.rate.value) == (1, 0, 1 / 3)
        assert detector.pictures == 2 * 2 and found.cases[1].attempts == 0 and found.cases[1].success

    def test_order_of_prompts_changes_nothing(self, shared: Model) -> None:
        concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
        plain = PlainPictures.of(shared, subject, concept, Seen(NEVER), 3, 0)
        turned = PlainPictures(plain.cases[::-1], plain.hits[::-1], plain.latents.flip(0))
        chosen = chosen_by("noise", {"etas": (1.2,), "boosts": (1.0,)}, 1000)
        one, other = (assault(chosen, shared, subject, concept, each, Seen(NEVER)) for each in (plain, turned))
        torch.testing.assert_close(one.tensors["best"], other.tensors["best"].flip(0), rtol=1e-2, atol=1e-2)

    @pytest.mark.parametrize("name", ["unlearndiffatk", "p4d", "ring-a-bell-gradient"])
    def test_a_prompt_gets_the_same_tries_whichever_others_stand(self, name: str, shared: Model) -> None:
        """As many iterations and the same draws, where another prompt shows the concept without attack."""
        concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
        plain = PlainPictures.of(shared, subject, concept, Seen(NEVER), 2, 0)
        shown = generated_latents(shared, [case.wanted for case in plain.cases], [0, 1], run=Run())
        chosen = chosen_by(name, {**SMALL[name], **({} if "ring" in name else {"iterations": 50})}, 300)
        alone, both = (
            assault(chosen, shared, subject, concept, replace(plain, hits=(first, False)), Seen(NEVER), shown=shown)
            for first in (True, False)
        )
        one, other = alone.outcome, both.outcome
        assert one.iterations == other.iterations and (one.iterations is None or one.iterations.paid > 0)
        assert one.cases[1].found == other.cases[1].found
        torch.testing.assert_close(alone.tensors["best"][1], both.tensors["best"][1], rtol=1e-2, atol=1e-2)

    @pytest.mark.parametrize("name", ["inversion", "few-shot", "finetuning", "lora", "revam"])
    def test_a_model_is_trained_as_long_however_many_prompts_stand(self, name: str, shared: Model) -> None:
        settings = {**SMALL[name], "iterations" if name == "revam" else "steps": 5}
        done = []
        for standing in (1, 2):
            attacked = victim(shared, standing, budget=130)
            attacked.budget.prompts = 2
            get(name).run(attacked, get(name).settings(**settings))
            done.append(attacked.budget.effort["iterations"].paid)
        assert done[0] == done[1] > 0

    @pytest.mark.parametrize("name", ["inversion", "few-shot", "finetuning", "lora", "revam"])
    def test_without_training_nothing_is_tried(self, name: str, shared: Model) -> None:
        """A budget for the pictures alone: what would be asked then is the plain prompt."""
        settings = SMALL[name] if name == "revam" else {**SMALL[name], "steps": 5}
        for budget in range(1, 200):
            attacked = victim(shared, 2, budget=budget)
            get(name).run(attacked, get(name).settings(**settings))
            if attacked.budget.effort["iterations"].paid:
                break
            assert not any(record.attempts for record in attacked.records.values())

    def test_the_neutral_control_is_asked_without_the_words(self, shared: Model) -> None:
        concept = shared.catalog.resolve("cat")
        for asked, neutral in zip(make_cases(concept, 8, 3), make_cases(concept, 8, 3, neutral=True), strict=True):
            assert neutral.asked == asked.masked != asked.asked == neutral.wanted
            assert neutral.seed == asked.seed

    @pytest.mark.parametrize("concept", ["cat", "style:pixel art"])
    def test_random_words_do_not_name_the_concept(self, concept: str, shared: Model) -> None:
        """Not even the control's, which a model that knows it would answer."""
        subject = victim(shared, 4)
        subject.concept = shared.catalog.resolve(concept)
        names = {word for phrase in subject.concept.phrases for word in phrase.split()}
        drawn = [
            search._with_random_words(subject, case, number, search.WordSettings())
            for case in subject.cases
            for number in range(60)
        ]
        added = {word for pair in drawn for word in pair.prompt.removesuffix(subject.cases[0].asked).split()[:5]}
        assert len(added) > 50 and not added & names

    def test_an_attack_that_overspends_is_stopped(self, shared: Model) -> None:
        with CallMeter(3).on(shared), pytest.raises(RuntimeError, match="went over its budget"):
            shared.sample(["a cat"], [0])

    def test_the_meter_counts_forward_and_backward_passes(self, shared: Model) -> None:
        meter, rows = CallMeter(100), shared.encode(["a cat", "a dog"])
        z, t = torch.zeros(2, *shared.latent_shape), torch.tensor([5, 5])
        with meter.on(shared):
            shared.encode(["a", "b", "c"])
            shared.predict(z, t, rows)
            shared.predict(z, t, rows.with_tokens(rows.tokens.clone().requires_grad_(True)))
            with meter.paused():
                shared.predict(z, t, rows)
        assert (meter.forwards, meter.backwards, meter.encodes, meter.spent) == (4, 2, 3, 8)

    def test_pictures_that_are_not_finite_are_not_counted(self, shared: Model) -> None:
        subject = victim(shared, threshold=ALWAYS)
        broken = torch.zeros(2, *shared.latent_shape)
        broken[0, 0, 0, 0] = float("nan")
        with pytest.raises(FloatingPointError, match="a picture to judge has values that are not finite"):
            subject.submit(subject.cases, broken, {})
        assert not subject.rounds and not any(record.attempts for record in subject.records.values())

    def test_the_original_is_the_model_without_its_edits(self, shared: Model, edit: WeightEdit) -> None:
        before = snapshot(shared)
        with edit.applied(shared):
            with_edit = snapshot(shared)
            with victim(shared).original.acting():
                assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(shared).items())
            assert all(torch.equal(tensor, with_edit[name]) for name, tensor in named_tensors(shared).items())


class TestOutcome:
    def test_newcombe_as_in_the_paper(self) -> None:
        """Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.2 with 0.0524 to 0.3339."""
        found = difference(Success.of(56, 0, 70).rate, Success.of(40, 8, 80).rate)
        assert found.interval is not None
        assert [round(end, 4) for end in (found.value, *found.interval)] == [0.2, 0.0524, 0.3339]

    @pytest.mark.parametrize(
        ("erased", "controls", "expected"),
        [
            (20, {"neutral": 1}, "revived"),
            (20, {"neutral": 1, "gold": 19}, "cannot tell"),
            (3, {"neutral": 1, "gold": 0}, "not revived"),
            (2, {"neutral": 20}, "not revived"),
            (20, {}, "no control"),
        ],
    )
    def test_verdict_compares_with_the_larger_control(self, erased: int, controls: dict[Control, int], expected: str) -> None:
        assert (
            verdict(Success.of(0, erased, 24), {name: Success.of(0, hits, 24) for name, hits in controls.items()}) == expected
        )

    @pytest.mark.parametrize(
        ("erased", "controls", "expected"),
        [
            (20, {"neutral": 24, "gold": 2}, "revived"),  # a model that knows the concept shows it more often still
            (18, {"neutral": 24, "gold": 17}, "cannot tell"),
            (3, {"neutral": 24, "gold": 2}, "not revived"),
            (3, {"neutral": 24, "gold": 20}, "not revived"),
            (3, {"neutral": 24}, "cannot tell"),
            (3, {"neutral": 1}, "not revived"),
            (24, {"neutral": 12}, "revived"),
        ],
    )
    def test_what_brings_the_concept_along_is_compared_with_the_gold_standard(
        self, erased: int, controls: dict[Control, int], expected: str
    ) -> None:
        found = {name: Success.of(0, hits, 24) for name, hits in controls.items()}
        assert verdict(Success.of(0, erased, 24), found, supplies=True) == expected

    def test_what_plain_prompts_show_is_not_brought_back(self) -> None:
        controls = {"neutral": Success.of(0, 0, 24)}
        assert verdict(Success.of(12, 0, 24), controls) == "adds nothing"
        assert verdict(Success.of(12, 1, 24), controls) == "revived"

    def test_what_a_control_had_no_budget_for_counts_against_the_attack(self) -> None:
        control = outcome(broken=1, untried=20)
        assert verdict(Success.of(0, 20, 24), {"neutral": control}) == "cannot tell"


class TestChoice:
    def test_tiers_and_names(self) -> None:
        quick = choose(["quick"])
        assert {chosen.attack.name for chosen in quick} == {"guidance", "seeds", "noise", "wording", "inversion"}
        assert {chosen.attack.name for chosen in choose(["all"])} == set(attacks())
        assert [chosen.budget for chosen in choose(["seeds:tries=3", "quick"], 77)] == [77] * 6

    def test_a_quick_attack_is_another_than_the_full_one(self) -> None:
        """Their results have files of their own, and a quick one can be asked for by itself."""
        both = choose(["all", "quick"])
        assert len(both) == len(attacks()) + 5 == len({chosen.text for chosen in both})
        (alone,) = choose(["guidance:quick"])
        assert alone == next(chosen for chosen in both if chosen.text == "guidance:quick") and alone.budget == QUICK_BUDGET
        with pytest.raises(
            ValueError, match="not part of a quick audit; those that are: guidance, noise, seeds, wording, inversion"
        ):
            choose(["p4d:quick"])

    def test_a_quick_audit_of_three_models_stays_under_three_minutes(self) -> None:
        """U-Net calls on the built-in model, of which two CPU cores make about 500 a second."""
        quick = {chosen.attack.name: chosen.settings.model_dump() for chosen in choose(["quick"])}
        pictures = len(quick["guidance"]["kappas"]) + quick["seeds"]["tries"] + quick["inversion"]["tests"]
        pictures += len(quick["noise"]["etas"]) * len(quick["noise"]["boosts"])
        pictures += quick["wording"]["tries"] + quick["wording"]["negated"] / 24
        calls = 24 * 40 * pictures + 3 * quick["inversion"]["steps"] * quick["inversion"]["batch"]
        assert 3 * calls / 500 < 150

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["revan"], "unknown attack 'revan'; did you mean 'revam'"),
            (["seeds:trees=3"], "unknown setting of seeds: 'trees'.*tries"),
            (["seeds:tries"], "expected key=value"),
            (["p4d:preset=fast"], "no preset 'fast'.*published"),
            (["finetuning:preset=memora"], "no preset .memora.*lora"),
            (["completion:handovers=3;1"], "bad setting of completion.*ascending"),
            ([], "name at least one attack"),
        ],
    )
    def test_bad_names_are_refused(self, texts: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            choose(texts)

    def test_several_values_are_parted_by_semicolons(self) -> None:
        assert choose(["guidance:kappas=-1;2.5"])[0].settings.model_dump() == {"kappas": (-1.0, 2.5)}
        assert choose(["p4d:variants=k,lr=0.2"])[0].settings.model_dump()["variants"] == ("k",)

    def test_a_budget_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            choose(["quick"], 0)


class TestSampler:
    """Against the sampler of diffusers."""

    def finished(self, model: Model, steps: Sequence[ddim.Step], z: Tensor, prompt: str) -> Tensor:
        return ddim.finish(model, z, steps, model.encode([""]), model.encode([prompt]))

    @pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
    @pytest.mark.parametrize("which", ["sd1", "canvas"])
    def test_own_steps_are_those_of_diffusers(self, which: str, scale: float, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(which)
        model.sampler = replace(model.sampler, steps=5, guidance_scale=scale)
        z = model.start_noise([3])
        expected = model.latents(["a cat"], [3])
        torch.testing.assert_close(self.finished(model, ddim.grid(model), z, "a cat"), expected, rtol=1e-4, atol=1e-4)

    def test_eta_one_is_the_stochastic_sampler_of_diffusers(self, canvas: Model) -> None:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(canvas.pipeline.scheduler.config, clip_sample=False)
        scheduler.set_timesteps(5)
        random = torch.Generator().manual_seed(0)
        z, output, fresh = (torch.randn(1, *canvas.latent_shape, generator=random) for _ in range(3))
        for step in ddim.grid(canvas, 5)[1:]:
            expected = scheduler.step(output, step.t, z, eta=1.0, variance_noise=fresh).prev_sample
            found = ddim.move(canvas, output, z, step, eta=1.0, noise=fresh)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_without_eta_noise_and_its_boost_have_no_effect(self, canvas: Model) -> None:
        step = ddim.grid(canvas, 5)[2]
        z, output, fresh = (torch.randn(1, *canvas.latent_shape) for _ in range(3))
        plain = ddim.move(canvas, output, z, step)
        assert torch.equal(ddim.move(canvas, output, z, step, eta=0.0, boost=1.04, noise=fresh), plain)

    def test_completion_from_the_start_is_the_model_alone_and_at_the_end_the_base(
        self, shared: Model, edit: WeightEdit
    ) -> None:
        from excise.attacks.completion.attack import begun, finished

        steps, subject = ddim.grid(shared), victim(shared)
        with edit.applied(shared):
            states = begun(subject, subject.cases, steps, [0, len(steps)])
            alone = subject.ask(subject.cases)
            torch.testing.assert_close(finished(subject, subject.cases, states[0], steps), alone, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(states[len(steps)], subject.original.targets(subject.cases), rtol=1e-4, atol=1e-4)
            assert not torch.allclose(alone, subject.original.targets(subject.cases), atol=1e-2), "the edit does something"

    def test_a_picture_that_is_led_back_comes_again(self, canvas: Model) -> None:
        """The nearer, the more steps; from other noise it does not."""
        empty, x = canvas.unconditional(), canvas.latents(["a cat"], [3], steps=50)
        errors = []
        for count in (10, 40, 160):
            steps = ddim.grid(canvas, count)[1:]  # the first leaves pure noise, where a schedule ends in that
            z = ddim.inverted(canvas, x, steps, empty)
            errors.append(float((ddim.finish_alone(canvas, z, steps, empty) - x).norm() / x.norm()))
        assert errors[2] < errors[1] < errors[0] and errors[2] < 0.1
        other = ddim.finish_alone(canvas, torch.randn(z.shape, generator=torch.Generator().manual_seed(0)), steps, empty)
        assert (other - x).norm() / x.norm() > 3 * errors[2]

    def test_steps_alone_are_guidance_of_one(self, canvas: Model) -> None:
        canvas.sampler = replace(canvas.sampler, guidance_scale=1.0)
        z, steps, told = canvas.start_noise([3]), ddim.grid(canvas, 5), canvas.encode(["a cat"])
        guided = ddim.finish(canvas, z, steps, canvas.unconditional(), told)
        torch.testing.assert_close(ddim.finish_alone(canvas, z, steps, told), guided, rtol=1e-4, atol=1e-4)

    def test_pictures_are_led_back_through_the_model_that_is_named(self, shared: Model, edit: WeightEdit) -> None:
        from excise.attacks.inverted_latents.attack import led_back

        steps, subject = ddim.grid(shared, 5), victim(shared)
        pictures, empty = subject.original.targets(subject.cases), shared.unconditional()
        base = ddim.inverted(shared, pictures, steps, empty)
        with edit.applied(shared):
            here = ddim.inverted(shared, pictures, steps, empty)
            assert torch.equal(led_back(subject, subject.cases, steps, "base"), base) and not torch.equal(here, base)
            assert torch.equal(led_back(subject, subject.cases, steps, "erased"), here)

    def test_image_to_image_of_full_strength_forgets_the_picture(self, canvas: Model) -> None:
        """The schedule ends in pure noise: what is left of the picture at the first step is nothing."""
        first = ddim.grid(canvas)[0]
        x, fresh = torch.randn(2, 1, *canvas.latent_shape)
        torch.testing.assert_close(ddim.noised(x, fresh, first.abar), fresh, atol=1e-4, rtol=0)

    def test_inpainting_keeps_what_is_around(self, shared: Model) -> None:
        from excise.attacks.inpainting.attack import cropped, filled, middle

        subject = victim(shared)
        hole = middle(shared.latent_shape[-2:], 0.5)
        known, found = subject.original.targets(subject.cases), filled(subject, subject.cases, hole, 0)
        assert int(hole.sum()) == hole.numel() // 4
        torch.testing.assert_close(found[..., ~hole], known[..., ~hole], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found[..., hole], known[..., hole], atol=1e-2)
        pictures = torch.zeros(1, 3, 16, 16)
        pictures[..., 4:12, 4:12] = 1
        assert bool((cropped(pictures, middle((4, 4), 0.5)) == 1).all())

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.75, 0.85, 1.0])
    def test_only_what_was_filled_in_is_judged(self, share: float) -> None:
        from excise.attacks.inpainting.attack import cropped, middle

        hole = middle((8, 8), share)
        pictures = hole.float().repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]
        assert bool((cropped(pictures, hole) == 1).all())

    def test_a_hole_of_nothing_is_refused(self) -> None:
        from excise.attacks.inpainting.attack import middle

        with pytest.raises(ValueError, match=r"a share of 0\.1 cuts nothing out of latents of 8 x 8"):
            middle((8, 8), 0.1)


class TestRevam:
    def test_a_policy_that_changes_nothing_gives_the_plain_pictures_and_one_that_turns_does_not(
        self, shared: Model, edit: WeightEdit
    ) -> None:
        from excise.attacks.revam import RevamSettings
        from excise.attacks.revam.attack import sample

        subject, steps = victim(shared), ddim.grid(shared)
        starts = shared.start_noise([case.seed for case in subject.cases])
        with edit.applied(shared):
            plain = subject.ask(subject.cases)
            still, turned = (
                sample(subject, subject.cases, starts, actions, steps, RevamSettings())
                for actions in (torch.zeros(2, len(steps), 2), torch.ones(2, len(steps), 2))
            )
        torch.testing.assert_close(still, plain, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(turned, plain, atol=1e-2)

    def test_no_gradient_passes_the_network(self, shared: Model, edit: WeightEdit) -> None:
        found = run("revam", shared, AuditedModel("erased", (edit,)), NEVER).outcome
        assert found.backwards == 0 < found.forwards == found.calls and found.facts["rollouts"] > 0


class TestClassifierGuidance:
    def test_scale_zero_is_plain_sampling(self, shared: Model) -> None:
        from excise.attacks.classifier_guidance.attack import pulled
        from excise.attacks.probe import Probe

        subject = victim(shared)
        probe = Probe(math.prod(shared.latent_shape), 8).eval()
        plain = subject.ask(subject.cases)
        torch.testing.assert_close(pulled(subject, subject.cases, probe, 0.0), plain, rtol=1e-4, atol=1e-4)

    def test_the_gradient_is_that_of_finite_differences(self) -> None:
        from excise.attacks.classifier_guidance.attack import gradient
        from excise.attacks.probe import Probe

        torch.manual_seed(0)
        probe = Probe(6, 8).eval().double()
        z = torch.randn(1, 6, 1, 1)
        found = gradient(probe.float(), z, 0.4).flatten()
        for index in range(6):
            step = torch.zeros_like(z)
            step.view(-1)[index] = 1e-2
            slope = (probe.log_likely(z + step, 0.4) - probe.log_likely(z - step, 0.4)) / 2e-2
            assert abs(float(slope.detach()) - float(found[index])) < 1e-3

    def test_the_probe_tells_what_it_was_trained_on_and_leaves_global_randomness_alone(self, shared: Model) -> None:
        from excise.attacks.probe import train

        random = torch.Generator().manual_seed(0)
        positives, negatives = (torch.randn(16, 2, 2, 2, generator=random) + mean for mean in (1.5, -1.5))
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        probe = train(positives, negatives, shared.path, random, steps=60, lr=3e-3, power=2.0, width=32)
        assert torch.equal(torch.rand(3), expected)
        assert float(probe.log_likely(positives, 1.0).mean()) > -0.2 > float(probe.log_likely(negatives, 1.0).mean()) + 1


class TestTokens:
    def test_own_rows_give_the_models_own_embeddings(self, shared: Model) -> None:
        ids = token_search.padded(shared, shared.token_ids(["a cat", "a small dog"]))
        found = shared.encode_rows(ids, shared.token_embeddings[ids])
        torch.testing.assert_close(found.tokens, shared.encode(["a cat", "a small dog"]).tokens)

    def test_a_prompt_ends_where_it_ends_also_with_free_tokens_in_it(
        self, shared: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a text encoder that masks what comes after the end."""
        monkeypatch.setattr(shared.pipeline.text_encoder.config, "use_attention_mask", True, raising=False)
        words = token_search.ordinary(shared)[:3]
        ids, free = token_search.inserted(shared, ["a cat"], 3)
        rows = shared.token_embeddings[ids.masked_scatter(free, words)]
        expected = shared.encode([f"{token_search.text(shared, words.tolist())} a cat"])
        torch.testing.assert_close(shared.encode_rows(ids, rows).tokens, expected.tokens)

    def test_insertion_keeps_start_end_and_length(self, shared: Model) -> None:
        own = shared.token_ids(["a cat"])[0]
        ids, free = token_search.inserted(shared, ["a cat"], 3)
        length = shared.pipeline.tokenizer.model_max_length
        assert ids.shape == free.shape == (1, length)
        assert ids[0, 0] == own[0] and ids[0, 4 : 4 + len(own) - 1].tolist() == own[1:]
        assert free[0].nonzero()[:, 0].tolist() == [1, 2, 3]
        none, nowhere = token_search.inserted(shared, ["a cat"], 0)
        assert none[0, : len(own)].tolist() == own and not nowhere.any()

    def test_free_tokens_may_stand_between_the_prompts_own(self, shared: Model) -> None:
        own = shared.token_ids(["abcdefg"])[0]
        ids, free = token_search.inserted(shared, ["abcdefg"], 3, [0, 3, 6])
        assert free[0].nonzero()[:, 0].tolist() == [1, 5, 9]
        assert ids[0][~free[0]][: len(own)].tolist() == own

    def test_a_long_prompt_is_cut_and_keeps_its_end(self, shared: Model) -> None:
        limit = shared.pipeline.tokenizer.model_max_length
        ids, free = token_search.inserted(shared, ["a" * 200], 4)
        assert ids.shape[1] == limit and ids[0, -1] == shared.pipeline.tokenizer.eos_token_id and int(free.sum()) == 4

    def test_special_tokens_are_never_drawn_and_text_reads_back(self, shared: Model) -> None:
        known = set(token_search.ordinary(shared).tolist())
        assert not known & set(shared.pipeline.tokenizer.all_special_ids) and len(known) > 60
        own = shared.token_ids(["a cat"])[0]
        assert shared.token_ids([token_search.text(shared, own)])[0] == own

    def test_ordinary_tokens_are_read_back_from_text_alone_and_side_by_side(self) -> None:
        """With the words of the built-in model, most of which are pieces; contractions, which a decoder may pull together, among them."""
        tokenizer = CLIPTokenizer.from_pretrained(resolve("canvas") / "tokenizer")
        model = cast(Model, SimpleNamespace(tokenizer=tokenizer))
        known = token_search.ordinary(model)
        assert 400 < len(known) < 600 and len(tokenizer) > 1000
        random = torch.Generator().manual_seed(0)
        drawn = known[torch.randint(len(known), (300, 16), generator=random)].tolist()
        for row in [[int(i)] for i in known] + drawn:
            assert tokenizer(token_search.text(model, row)).input_ids[1:-1] == row

    def test_gaps_are_between_words(self, shared: Model) -> None:
        """One token per letter: "a cat" has a gap after the first."""
        assert token_search.gaps(shared, shared.token_ids(["a cat"])[0][1:-1]) == [0, 1, 4]
        assert token_search.gaps(shared, shared.token_ids(["a"])[0][1:-1]) == [0, 1]

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 9])
    def test_p4d_k_has_its_free_tokens_where_the_release_has_them(self, count: int, shared: Model) -> None:
        """joycenerd/P4D at 2cf3cda, prompt_optimization/optimize_k.py:26 and 39: also after the last token if K divides their number."""
        from excise.attacks.p4d.attack import P4dSettings, _free

        prompt = " ".join("abcdefghi"[:count])  # a token each, and gaps between all
        case: Any = SimpleNamespace(asked=prompt)
        ids, free = _free(shared, P4dSettings(), "k", [case])
        places = [i for i in range(count + count // 3 + 1) if i % 4 == 0]
        assert [place - 1 for place in free[0].nonzero()[:, 0].tolist()] == places, "one later, for the start token"
        own = shared.token_ids([prompt])[0]
        assert len(own) == count + 2 and ids[0][~free[0]][: len(own)].tolist() == own

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("unlearndiffatk", {}),
            ("p4d", {"variants": ("n",)}),
            ("p4d", {"variants": ("k",)}),
            ("ring-a-bell", {}),
            ("ring-a-bell-gradient", {}),
        ],
    )
    def test_what_is_asked_is_what_was_optimised(
        self, name: str, values: dict[str, Any], shared: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The ids of the prompt's text are those that the attack arrived at."""
        arrived: list[list[int]] = []
        text, special = token_search.text, set(shared.pipeline.tokenizer.all_special_ids)

        def watched(model: Model, ids: Sequence[int]) -> str:
            arrived.append([i for i in ids if i not in special])
            return text(model, ids)

        monkeypatch.setattr(token_search, "text", watched)
        subject = victim(shared, budget=400)
        get(name).run(subject, get(name).settings(**{**SMALL[name], **values}))
        rest = [case.asked if name == "unlearndiffatk" else "" for case in subject.cases]
        own = [ids[1:-1] for ids in shared.token_ids(rest)]
        asked = shared.token_ids([record.note["prompt"] for record in subject.records.values()])
        assert [ids[1:-1] for ids in asked] == [ids + words for ids, words in zip(arrived, own, strict=True)]


class TestUnlearnDiffAtk:
    def test_projection_to_the_simplex(self) -> None:
        """Against a quadratic program solved by sorting (Held, Wolfe, Crowder 1974), in numpy."""
        import numpy as np

        from excise.attacks.unlearndiffatk.attack import simplex

        rows = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
        found = simplex(rows)
        for row, projected in zip(rows.double().numpy(), found.double().numpy(), strict=True):
            ordered = np.sort(row)[::-1]
            shifts = (np.cumsum(ordered) - 1) / np.arange(1, 8)
            shift = shifts[np.nonzero(ordered > shifts)[0][-1]]
            assert abs(projected - np.maximum(row - shift, 0)).max() < 1e-5
        assert bool((found >= 0).all()) and torch.allclose(found.sum(1), torch.ones(5), atol=1e-4)
        torch.testing.assert_close(simplex(found), found, atol=1e-5, rtol=0)
        torch.testing.assert_close(simplex(torch.full((2, 4), 0.25)), torch.full((2, 4), 0.25))

    def test_sampled_rows_are_one_hot_and_follow_their_chances(self) -> None:
        from excise.attacks.unlearndiffatk.attack import sampled

        chances = torch.tensor([0.7, 0.3, 0.0]).expand(4000, 1, 3)
        rows = sampled(chances, torch.Generator().manual_seed(0))
        assert set(rows.unique().tolist()) == {0.0, 1.0} and bool((rows.sum(-1) == 1).all())
        torch.testing.assert_close(rows.mean((0, 1)), torch.tensor([0.7, 0.3, 0.0]), atol=0.03, rtol=0)


class TestP4d:
    def test_nearest_token_of_a_tokens_row_is_itself_at_any_length(self, shared: Model) -> None:
        table = shared.token_embeddings.float()
        picks = torch.tensor([3, 50, 7])
        assert torch.equal(token_search.nearest(table[picks] * torch.tensor([[0.1], [1.0], [9.0]]), table), picks)

    def test_the_loss_is_nothing_for_the_same_model_and_the_same_prompt(self, shared: Model) -> None:
        from excise.attacks.p4d.attack import Pool

        subject, random = victim(shared), torch.Generator().manual_seed(0)
        pool = Pool.of(subject, subject.cases, 2, [random] * 2)
        ids, free = token_search.inserted(shared, [case.wanted for case in subject.cases], 0)
        free[:, 1:3] = True
        rows = shared.token_embeddings[ids[free]].clone()
        assert float(pool.loss(shared, slice(0, 2), ids, free, rows, [random] * 2)) < 1e-8
        assert float(pool.loss(shared, slice(0, 2), ids, free, rows.flip(0) + 1, [random] * 2)) > 1e-8


class TestRingABell:
    def test_without_direction_the_prompts_own_tokens_are_perfect(self, shared: Model) -> None:
        from excise.attacks.ring_a_bell.attack import distance, targets

        subject = victim(shared)
        goal = targets(subject, subject.cases[:1], 0.0)
        own = torch.tensor([shared.token_ids([subject.cases[0].asked])[0][1:-1]])
        assert float(distance(shared, own, goal)) < 1e-6 < float(distance(shared, own.flip(1), goal))

    def test_the_best_never_gets_worse(self, shared: Model) -> None:
        from excise.attacks.ring_a_bell import RingABellSettings
        from excise.attacks.ring_a_bell.attack import distance, evolved, targets

        subject = victim(shared)
        goal = targets(subject, subject.cases[:1], 3.0)[0]
        losses = []
        for generations in (0, 1, 3, 6):
            settings = RingABellSettings(tokens=4, population=8, generations=generations)
            found = evolved(shared, goal, settings, torch.Generator().manual_seed(0))
            losses.append(float(distance(shared, found[None], goal[None])))
        assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]

    def test_each_pair_has_two_children(self) -> None:
        """Parents that share no token: the children of a pair hold both tokens of it at every place."""
        from excise.attacks.ring_a_bell import RingABellSettings
        from excise.attacks.ring_a_bell.attack import _crossed

        for population in (10, 11):
            settings = RingABellSettings(population=population, crossing=1.0)
            parents = torch.arange(population // 2)[:, None].expand(-1, 6)
            found = _crossed(parents, settings, torch.Generator().manual_seed(0))
            assert len(found) == population and torch.equal(found[: len(parents)], parents)
            children = found[len(parents) :]
            pairs = (len(children) + 1) // 2
            for one, other in zip(children[:pairs], children[pairs:], strict=False):
                assert all({int(a), int(b)} == {int(one[0]), int(other[0])} for a, b in zip(one, other, strict=True))
            assert any(len(set(child.tolist())) == 2 for child in children[pairs:])

    def test_the_search_says_how_far_it_is(self, shared: Model) -> None:
        told: list[tuple[int, int]] = []
        subject = victim(shared)
        subject.progress = lambda stage, done, total: told.append((done, total))
        get("ring-a-bell").run(subject, get("ring-a-bell").settings(**SMALL["ring-a-bell"]))
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


class TestInversion:
    def test_it_draws_no_global_randomness(self, canvas: Model) -> None:
        """With a sampler that draws noise in every step."""
        from diffusers import DDPMScheduler

        canvas.pipeline.scheduler = DDPMScheduler.from_config(canvas.pipeline.scheduler.config)
        subject, before = victim(canvas), torch.get_rng_state()
        get("inversion").run(subject, get("inversion").settings(**SMALL["inversion"]))
        assert subject.records[subject.cases[0]].attempts == 1 and torch.equal(torch.get_rng_state(), before)

    def test_only_the_marked_place_gets_the_row(self, shared: Model) -> None:
        from excise.attacks.inversion.attack import MARK, _Wording, conditioning

        wording = _Wording.of(shared, [shared.catalog.resolve("cat").pair("a picture of {object}", MARK)])
        own = shared.token_embeddings[wording.ids[wording.marked]]
        found = conditioning(shared, wording.ids, wording.marked, own).tokens
        torch.testing.assert_close(found, shared.encode([f"a picture of {MARK}"]).tokens)
        other = conditioning(shared, wording.ids, wording.marked, own.flip(1)).tokens
        place = int(wording.marked[0].nonzero())
        torch.testing.assert_close(other[0, :place], found[0, :place])
        assert not torch.allclose(other[0, place:], found[0, place:], atol=1e-3)

    def test_the_row_learns_and_its_length_can_be_held(self, shared: Model) -> None:
        concept, subject = shared.catalog.resolve("cat"), AuditedModel("erased")
        plain = PlainPictures.of(shared, subject, concept, Seen(NEVER), 1, 0)
        shown = plain.latents
        rows = {}
        for largest in (None, 0.5):
            chosen = chosen_by("inversion", {**SMALL["inversion"], "steps": 4, "lr": 0.5, "largest": largest}, 500)
            found = assault(chosen, shared, subject, concept, plain, Seen(NEVER), shown=shown)
            rows[largest] = found.tensors["row"]
        longest = float(shared.token_embeddings.norm(dim=1).max())
        assert float(rows[None].norm()) > longest and float(rows[0.5].norm()) <= 0.5 * longest * 1.001


class TestWeights:
    def test_rounding_has_as_many_levels_as_bits_and_errs_by_half_a_step(self) -> None:
        from excise.attacks.rounding.attack import rounded

        weight = torch.randn(3, 5, 3, 3, generator=torch.Generator().manual_seed(0))
        for bits in (4, 8):
            found = rounded(weight, bits)
            step = weight.flatten(1).abs().amax(1) / (2 ** (bits - 1) - 1)
            assert float(((found - weight).flatten(1).abs().amax(1) / step).max()) <= 0.5 + 1e-4
            assert found.flatten(1)[0].unique().numel() <= 2**bits - 1
        assert torch.equal(rounded(torch.zeros(2, 3), 8), torch.zeros(2, 3))

    def test_the_rounded_change_points_where_the_change_does(self, shared: Model, edit: WeightEdit) -> None:
        """Rounding is unbiased: the projection on the change is near 1, also where few weights move."""
        from excise.attacks.rounding.attack import change

        assert change(shared, 8) == {}
        with edit.applied(shared):
            found = change(shared, 8)
        assert 0.9 < found["projection"] < 1.1 and found["share_moved"] > 0.9

    def test_the_share_of_moved_weights_is_that_of_other_bins(self, shared: Model) -> None:
        """A change that is small beside a step moves few, also where it changes every row's largest weight and so its step."""
        from excise.attacks.rounding.attack import change

        edit = random_edit(shared, scale=1e-4)
        before = {name: named_tensors(shared)[name].detach().double().numpy().copy() for name in edit.deltas}
        with edit.applied(shared):
            found = change(shared, 8)
            after = {name: named_tensors(shared)[name].detach().double().numpy().copy() for name in edit.deltas}
        bins = [
            np.concatenate([np.round(w / (np.abs(w).max(1, keepdims=True) / 127)).ravel() for w in weights.values()])
            for weights in (before, after)
        ]
        assert found["share_moved"] == pytest.approx((bins[0] != bins[1]).mean(), abs=1e-3)
        assert found["share_moved"] < 0.2

    def test_an_addition_of_nothing_changes_nothing_and_a_trained_one_does(self, shared: Model) -> None:
        from excise.attacks.lora_training import additions, injected

        subject, random = victim(shared), torch.Generator().manual_seed(0)
        plain = subject.ask(subject.cases)
        added = additions(shared, 2, random)
        with injected(shared, added):
            torch.testing.assert_close(subject.ask(subject.cases), plain)
            for pair in added.values():
                pair["up"].data += 0.3
            assert not torch.allclose(subject.ask(subject.cases), plain, atol=1e-3)
        torch.testing.assert_close(subject.ask(subject.cases), plain)
