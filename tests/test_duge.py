"""DUGE: the invariants of its losses, target maps against numpy, what it looks at on top of other edits, and who makes its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.edits import Edit, WeightEdit, load_edit
from excise.edits.applied import original_tensors
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import kept_pictures, learning_pictures
from excise.evaluation.prompt_grid import questions
from excise.methods import get
from excise.methods.duge import erase as duge
from excise.methods.duge.losses import DugeLosses
from excise.methods.duge.maps import columns, fitting, map_error, negated, targets
from excise.models import Model
from excise.models.fingerprint import named_tensors
from trained_methods import CAT, DOG, PICTURED, bank_of, settings_of

VALUES: dict[str, Any] = {
    **PICTURED, "prior": "a dog", "memory": "a house", "prior_pictures": 2, "memory_pictures": 2, "lr": 1e-3,
    "rounds": 1, "steps": 1, "picture_steps": 1,
}  # fmt: skip
"""Quick settings for a model that declares nothing."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("excise.methods.duge.losses.BALANCE", 2)


@contextmanager
def losses_of(model: Model, names: list[str] | None = None, **values: Any) -> Iterator[DugeLosses]:
    """The losses of erasing a cat before any step, with what is trained being trainable inside the block."""
    settings = settings_of("duge", **{**VALUES, **values})
    trainable = Trainable(model, names or model.subspace(settings.parameters))
    bank = bank_of(model)
    shown = learning_pictures(model, bank, settings, Run(), shows="conditioned")
    prior, memory = (kept_pictures(model, [[prompt]], 2, settings, Run()) for prompt in ("a dog", "a house"))
    counted = columns(model, bank, [CAT], settings)
    with trainable:
        yield DugeLosses(model, trainable, trainable.before, bank, counted, shown, prior, memory, settings)


def erase(model: Model, *concepts: Any, **values: Any) -> WeightEdit:
    edit = get("duge").erase(model, concepts or [CAT], settings_of("duge", **{**VALUES, **values}), Run())
    assert isinstance(edit, WeightEdit)
    return edit


def same(one: Edit, other: Edit) -> bool:
    first, second = one.tensors(), other.tensors()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def states(model: Model) -> tuple[Tensor, Tensor]:
    return torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(3)), torch.tensor([100, 800])


class TestLosses:
    @pytest.mark.parametrize("target", ["null", "negated"])
    def test_the_empty_prompt_has_nothing_to_unlearn_and_the_concept_has(self, sd1: Model, target: str) -> None:
        with losses_of(sd1, target=target) as losses:
            bank = replace(losses.bank, conditioned=losses.bank.empty.expand(len(losses.bank.conditioned)))
            nothing = replace(losses, bank=bank).unlearning(Run().generator(1))
            assert losses.unlearning(Run().generator(1)) > 0
            assert nothing == 0 if target == "null" else nothing < 1e-12
            assert losses.distilled(losses.memory, Run().generator(1)) == 0 and losses.drift() == 0  # type: ignore[arg-type]

    def test_values_of_the_last_layer_do_not_move_a_map_and_its_keys_do(self, sd1: Model) -> None:
        last = f"unet.{[name for name in sd1.cross_attentions() if name.startswith('up_blocks')][-1]}"
        with losses_of(sd1, [f"{last}.to_v.weight"]) as losses:
            assert not losses.unlearning(Run().generator(1)).requires_grad
        with losses_of(sd1, [f"{last}.to_k.weight"]) as losses:
            losses.unlearning(Run().generator(1)).backward()
            assert losses.trainable.parameters[f"{last}.to_k.weight"].grad.abs().max() > 0  # type: ignore[union-attr]

    @pytest.mark.parametrize("target", ["null", "negated"])
    @pytest.mark.parametrize("counted", ["all", "words"])
    def test_a_small_step_takes_the_map_loss_down(self, sd1: Model, target: str, counted: str) -> None:
        with losses_of(sd1, target=target, columns=counted) as losses:
            before = losses.unlearning(Run().generator(1))
            before.backward()
            length = sum(p.grad.square().sum() for p in losses.trainable.parameters.values() if p.grad is not None)
            with torch.no_grad():
                for parameter in losses.trainable.parameters.values():
                    if parameter.grad is not None:
                        parameter -= 0.01 * before * parameter.grad / length
            after = losses.unlearning(Run().generator(1))
            assert after.item() == pytest.approx(0.99 * before.item(), rel=2e-3)

    def test_the_map_loss_is_balanced_with_the_training_loss(self, sd1: Model) -> None:
        """Oracle: torch's gradients of the two, batch by batch."""
        with losses_of(sd1) as losses:
            parameters, (learning, texts) = list(losses.trainable.parameters.values()), losses.prior  # type: ignore[misc]
            lengths = []
            generators = [Run().generator(4, number) for number in range(2)]
            for ordinary in (False, True):
                total = [torch.zeros_like(parameter) for parameter in parameters]
                for generator in generators:
                    if ordinary:
                        clean, rows = learning.draw(2, generator)
                        loss = denoising_error(sd1, clean, texts[rows], generator).mean()
                    else:
                        loss = losses.unlearning(generator)
                    for gradient, sum_ in zip(torch.autograd.grad(loss, parameters, allow_unused=True), total, strict=True):
                        sum_ += 0 if gradient is None else gradient / 2
                lengths.append(torch.cat([gradient.flatten() for gradient in total]).norm().item())
            assert losses.balance(Run()) == pytest.approx(lengths[1] / lengths[0], rel=1e-3)
            assert replace(losses, prior=None, memory=None).balance(Run()) == 1

    def test_drift_is_a_mean_square(self, sd1: Model) -> None:
        with losses_of(sd1) as losses:
            with torch.no_grad():
                for parameter in losses.trainable.parameters.values():
                    parameter += 0.5
            assert losses.drift().item() == pytest.approx(0.25, rel=1e-4)


class TestMaps:
    @pytest.mark.parametrize("target", ["null", "negated", "anchor"])
    def test_target_maps_are_probabilities_without_gradients(self, sd1: Model, target: str) -> None:
        with losses_of(sd1, target=target, eta=3.0) as losses:
            maps = targets(sd1, *states(sd1), losses.bank, torch.tensor([0, 0]), losses.settings)
            assert len(maps) == len(sd1.cross_attentions())
            for found in maps:
                assert found.min() >= 0 and torch.allclose(found.sum(3), torch.ones(found.shape[:3]), atol=1e-5)
                assert not found.requires_grad

    def test_led_away_by_nothing_is_null(self, sd1: Model) -> None:
        bank, rows = bank_of(sd1), torch.tensor([0, 0])
        null, away, zero = (
            targets(sd1, *states(sd1), bank, rows, settings_of("duge", **values))
            for values in ({}, {"target": "negated"}, {"target": "negated", "eta": 0.0})
        )
        for one, other in zip(null, zero, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
        assert any((one - other).abs().max() > 1e-4 for one, other in zip(null, away, strict=True))

    def test_numpy_finds_the_same(self) -> None:
        random = np.random.default_rng(0)
        shapes = [(2, 3, pixels, 5) for pixels in (4, 9)]
        empty, own = ([random.dirichlet(np.ones(5), shape[:3]) for shape in shapes] for _ in range(2))
        counted = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 0, 1]], bool)
        expected = np.zeros(2)
        for e, o in zip(empty, own, strict=True):
            cut = np.maximum(e - 2.0 * (o - e), 0)
            cut /= cut.sum(3, keepdims=True)
            assert np.allclose(negated(torch.tensor(e), torch.tensor(o), 2.0).numpy(), cut)
            for row in range(2):
                expected[row] += ((o - e)[row][:, :, counted[row]] ** 2).mean() / 2
        tensors = [[torch.tensor(each) for each in maps] for maps in (own, empty)]
        assert np.allclose(map_error(*tensors, torch.tensor(counted)).numpy(), expected)

    def test_words_are_the_concept_and_what_has_read_it(self, canvas: Model) -> None:
        """One token per letter; the start token is row 0, "a" is row 1."""
        cat = canvas.catalog.resolve("cat")
        found = columns(canvas, bank_of(canvas, cat), [cat], settings_of("duge", columns="words"))
        assert found.shape == (1, 77) and found[0].nonzero().flatten().tolist() == [2, 3, 4, *range(5, 77)]
        assert columns(canvas, bank_of(canvas, cat), [cat], settings_of("duge")).all()

    def test_anchors_with_other_token_positions_learn_null(self, sd1: Model) -> None:
        bank = bank_of(sd1, CAT, DOG)
        pairs = tuple(replace(pair, masked=text) for pair, text in zip(bank.pairs, ("a cow", "a horse"), strict=True))
        fitted = fitting(sd1, replace(bank, pairs=pairs, masked=sd1.encode(["a cow", "a horse"])))
        assert torch.equal(fitted.masked.tokens, sd1.encode(["a cow", ""]).tokens)
        with pytest.raises(
            ValueError, match=r"^no anchor has as many tokens .* such as 'an animal' for 'a cat'; [^\n]*target=null$"
        ):
            erase(sd1, target="anchor", anchor="an animal")
        assert erase(sd1, target="anchor", anchor="a cow").deltas


class TestWhole:
    def test_without_the_map_loss_nothing_moves(self, sd1: Model) -> None:
        """Distilled losses begin at their minimum, to the bit."""
        assert erase(sd1, unlearn_weight=0.0, prior_loss="distilled").deltas == {}
        assert erase(sd1, unlearn_weight=0.0).deltas, "but pictures of the prior teach something"

    def test_the_map_loss_goes_down_on_states_that_it_did_not_see(self, sd1: Model) -> None:
        """Smoke test."""
        edit = erase(sd1, rounds=1, steps=15, lr=3e-3, prior_weight=0.0, memory_weight=0.0)
        bank, rows, counted = bank_of(sd1), torch.tensor([0, 0]), torch.ones(2, 77, dtype=torch.bool)
        (noisy, t), settings = states(sd1), settings_of("duge")
        wanted = targets(sd1, noisy, t, bank, rows, settings)

        @torch.no_grad()
        def error() -> float:
            with sd1.attention_maps() as maps:
                sd1.predict(noisy, t, bank.conditioned[rows])
            return float(map_error(maps, wanted, counted).mean())

        before = error()
        with edit.applied(sd1):
            assert error() < 0.9 * before

    def test_a_second_request_leaves_the_first_edit_alone(self, sd1: Model, tmp_path: Path) -> None:
        erase(sd1).save_pretrained(tmp_path / "cat")
        files = {file: file.read_bytes() for file in (tmp_path / "cat").iterdir()}
        first = load_edit(tmp_path / "cat")
        with first.applied(sd1):
            weights = {name: parameter.detach().clone() for name, parameter in named_tensors(sd1).items()}
            second = erase(sd1, DOG, prior="a bird")
            assert all(torch.equal(parameter, weights[name]) for name, parameter in named_tensors(sd1).items())
        assert {file: file.read_bytes() for file in (tmp_path / "cat").iterdir()} == files
        assert [edit["method"] for edit in second.manifest.ledger] == ["duge"]

    def test_a_first_request_has_one_reference_whatever_it_is_called(self, sd1: Model) -> None:
        assert same(erase(sd1, reference="previous"), erase(sd1, reference="base"))
        assert same(erase(sd1, pictures_by="current"), erase(sd1, pictures_by="base"))

    def test_what_an_evaluation_asks_does_not_depend_on_the_weights(self, canvas: Model) -> None:
        cat = canvas.catalog.resolve("cat")
        before = questions(canvas, [cat], 8, 4, 0)
        edit = erase(canvas, cat)
        with edit.applied(canvas):
            assert questions(canvas, [cat], 8, 4, 0) == before


class TestOnTopOfOthers:
    def test_the_base_is_seen_past_the_edits(self, canvas: Model) -> None:
        """Also where they changed what is not trained now."""
        x, t = states(canvas)
        told = canvas.encode(["a cat", "a dog"])
        with torch.no_grad():
            base = canvas.predict(x, t, told)
        cat, dog = (canvas.catalog.resolve(name) for name in ("cat", "dog"))
        first = get("esd").erase(
            canvas, [dog], settings_of("esd", rounds=1, steps=1, batch=1, trajectories=1, sampler_steps=2, variant="all"), Run()
        )
        with first.applied(canvas):
            trainable = Trainable(canvas, canvas.subspace("kv"))
            tensors = duge.unedited(canvas, trainable)
            assert len(trainable.parameters) < len(tensors)
            with trainable:
                for parameter in trainable.parameters.values():
                    parameter.data += 1
                with trainable.holding(tensors):
                    assert torch.equal(canvas.predict(x, t, told), base)
            assert [concept.label for concept in duge.erased_before(canvas)] == ["object:dog"]
            kept = {"prior_pictures": 2, "memory_pictures": 2, "prior": "catalog", "memory": "catalog"}
            base_too, previous = (erase(canvas, cat, **kept, reference=which) for which in ("base", "previous"))
            assert not same(base_too, previous)
            assert original_tensors(canvas).keys() == named_tensors(canvas).keys()

    def test_what_was_erased_before_is_not_kept(self, canvas: Model) -> None:
        cat, dog, sketch = (canvas.catalog.resolve(name) for name in ("cat", "dog", "style:sketch"))
        found = duge.kept_groups(canvas, [cat], [dog, sketch], settings_of("duge"))
        assert found.keys() == {"prior", "memory"}
        texts = {which: [text for group in groups for text in group] for which, groups in found.items()}
        assert "a picture of a bird in photo style" in texts["prior"] and "a picture in pixel art style" in texts["memory"]
        for text in (text for each in texts.values() for text in each):
            assert not re.search("cat|dog|sketch", text)
        assert len(found["prior"]) == 1 and len(found["memory"]) == 2
        assert duge.kept_groups(canvas, [cat], [], settings_of("duge", prior_weight=0, memory_weight=0)) == {}

    def test_a_model_that_declares_nothing_is_told_which_setting_lists_it(self, sd1: Model) -> None:
        for which in ("prior", "memory"):
            with pytest.raises(ValueError, match=rf"declares nothing else to keep; list it, such as {which}='a dog; a house'"):
                erase(sd1, **{which: "catalog"})

    def test_the_base_makes_the_pictures(self, sd1: Model) -> None:
        """Oracle: a model that never had an edit on."""
        settings = settings_of("duge", **VALUES)
        base, kept = (
            learning_pictures(sd1, bank_of(sd1), settings, Run(), shows="conditioned").latents,
            kept_pictures(sd1, [["a dog"]], 2, settings, Run())[0].latents,
        )
        seen: list[Tensor] = []

        def look(model: Model, bank: Any, settings: Any, run: Run, shows: Any) -> Any:
            seen.append(learning_pictures(model, bank, settings, run, shows=shows).latents)
            seen.append(kept_pictures(model, [["a dog"]], 2, settings, run)[0].latents)
            raise KeyboardInterrupt

        first = get("uce").erase(sd1, [DOG], settings_of("uce"), Run())
        with pytest.MonkeyPatch.context() as patch, first.applied(sd1):
            patch.setattr(duge, "learning_pictures", look)
            before = {name: parameter.detach().clone() for name, parameter in named_tensors(sd1).items()}
            for who in ("base", "current"):
                with pytest.raises(KeyboardInterrupt):
                    erase(sd1, prior="a bird", pictures_by=who)
                assert all(torch.equal(parameter, before[name]) for name, parameter in named_tensors(sd1).items())
        assert torch.equal(seen[0], base) and torch.equal(seen[1], kept)
        assert not torch.equal(seen[3], kept)

    def test_an_adapter_hides_the_base(self, sd1: Model) -> None:
        adapter = get("spm").erase(
            sd1, [DOG], settings_of("spm", wording="name", rounds=1, steps=1, batch=1, trajectories=1, sampler_steps=2), Run()
        )
        with adapter.applied(sd1):
            with pytest.raises(
                ValueError, match=r"^reference=base does not see past .* removes object:dog \(spm\): [^\n]*previous$"
            ):
                erase(sd1, reference="base")
            assert erase(sd1, prior="a bird").deltas
