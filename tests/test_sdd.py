"""SDD: the slow teacher against a recursion in numpy, its limits, and where gradients flow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.run import Run
from excise.erasure.states import visits
from excise.erasure.trainable import Trainable
from excise.methods import get
from excise.methods.sdd import erase as sdd
from excise.models import Model
from excise.models.fingerprint import named_tensors
from trained_methods import CAT, DOG, VISITING, asked, bank_of, settings_of


def erase(model: Model, *concepts: Concept, run: Run | None = None, **values: Any) -> WeightEdit:
    settings = settings_of("sdd", **{**VISITING, "parameters": "kv", **values})
    edit = get("sdd").erase(model, concepts or (CAT,), settings, run or Run())
    assert isinstance(edit, WeightEdit)
    return edit


def same(one: WeightEdit, other: WeightEdit) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.equal(one.deltas[name].dense(), other.deltas[name].dense()) for name in one.deltas
    )


def test_the_teacher_is_the_average_of_all_students(sd1: Model) -> None:
    name = subspaces.select(sd1, "kv")[0]
    before = named_tensors(sd1)[name].detach().double().numpy().copy()
    students: list[np.ndarray] = []

    def watch(stage: str, done: int, total: int) -> None:
        if stage == "erasing" and done == len(students) + 1:
            students.append(named_tensors(sd1)[name].detach().double().numpy().copy())

    edit = erase(sd1, run=Run(progress=watch), decay=0.6)
    teacher = before
    for student in students:
        teacher = 0.6 * teacher + 0.4 * student
    assert len(students) == 4
    assert np.abs(teacher - before).max() > 1e-4
    assert np.abs(edit.deltas[name].dense().numpy() - (teacher - before)).max() < 1e-6


def test_decay_one_keeps_the_teacher_and_decay_zero_makes_it_the_student(sd1: Model) -> None:
    assert not erase(sd1, decay=1.0).deltas
    student = erase(sd1, decay=0.0, output="student")
    assert student.deltas and same(erase(sd1, decay=0.0), student)


def test_the_empty_prompt_has_nothing_to_learn_and_gives_no_gradient(sd1: Model) -> None:
    settings, bank = settings_of("sdd", **VISITING, states="fresh"), bank_of(sd1)
    empty = replace(bank, conditioned=bank.empty)
    with Trainable(sd1, subspaces.select(sd1, "attn2")) as trainable:
        teacher = {name: parameter.detach().clone() for name, parameter in trainable.parameters.items()}
        assert float(sdd._round(sd1, bank, empty, trainable, teacher, settings, Run(), 0)(0).detach()) < 1e-12
        sdd._round(sd1, bank, bank, trainable, teacher, settings, Run(), 0)(0).backward()
        found = [parameter.grad.clone() for parameter in trainable.parameters.values()]  # type: ignore[union-attr]
        states = visits(sd1, bank, settings, Run(), 0)(0)
        target = asked(sd1, states.latents, states.t, "")
        error = (sd1.predict(states.latents, states.t, bank.conditioned[states.row]) - target).square().mean()
        expected = torch.autograd.grad(error, list(trainable.parameters.values()))
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(found, expected, strict=True))


def test_the_teacher_visits_the_states(sd1: Model) -> None:
    """Not the base, not the student: the states are those of a model that holds the teacher's tensors."""
    settings, bank = settings_of("sdd", **{**VISITING, "batch": 8, "sampler_steps": 3}), bank_of(sd1)
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        torch.manual_seed(0)
        teacher = {name: parameter + torch.randn_like(parameter) for name, parameter in trainable.before.items()}

        def loss() -> float:
            return sdd._round(sd1, bank, bank, trainable, teacher, settings, Run(), 0)(0).item()

        found = loss()
        with trainable.holding(teacher):
            states = visits(sd1, bank, settings, Run(), 0)(0)
        error = asked(sd1, states.latents, states.t, "a cat") - asked(sd1, states.latents, states.t, "")
        assert np.isclose(found, error.square().mean().item(), rtol=1e-4)
        teacher = dict(trainable.before)
        assert not np.isclose(found, loss(), rtol=1e-3), "the base's states are others"


def test_names_that_do_not_fit_into_one_prompt_are_not_joined(sd1: Model) -> None:
    """What is past the cut would not be taught."""
    long = Concept("long", "object", ("x" * 40,))
    with pytest.raises(ValueError, match=r"joined=student puts 2 names into one prompt, and 'yyyyyy' is cut off"):
        erase(sd1, long, Concept("other", "object", ("y" * 40,)), joined="student")


def test_joined_prompts_matter_only_with_several_concepts(sd1: Model) -> None:
    one = erase(sd1)
    assert same(one, erase(sd1, joined="states")) and same(one, erase(sd1, joined="student"))
    two = erase(sd1, CAT, DOG)
    assert not same(two, erase(sd1, CAT, DOG, joined="states")) and not same(two, erase(sd1, CAT, DOG, joined="student"))
