"""One network as student and teacher: swapping tensors shows either, exactly, and everything is as it was afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.edits import Dense, Manifest, WeightEdit
from excise.edits.applied import base_fingerprint
from excise.erasure.subspaces import select
from excise.erasure.trainable import Trainable
from excise.models import Model, load
from excise.models.fingerprint import named_tensors


def _ask(model: Model) -> Tensor:
    with torch.no_grad():
        return model.predict(model.start_noise([0, 1]), torch.tensor([500, 100]), model.encode(["a cat", "a dog"]))


def _push(trainable: Trainable) -> None:
    with torch.no_grad():
        for parameter in trainable.parameters.values():
            parameter += 0.5 * parameter.sign()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_student_and_teacher_are_told_apart_exactly(tiny_sd1: Path, dtype: str) -> None:
    model = load(tiny_sd1, device="cpu", dtype=dtype)
    base = _ask(model)
    with Trainable(model, select(model, "kv")) as trainable:
        assert torch.equal(_ask(model), base), "nothing is trained yet"
        for _ in range(2):
            _push(trainable)
            student = _ask(model)
            assert (student - base).abs().max() > 1e-2
            with trainable.untrained():
                assert torch.equal(_ask(model), base), "the teacher must not learn"
            assert torch.equal(_ask(model), student)
        assert all(parameter.dtype == torch.float32 for parameter in trainable.parameters.values())
        deltas = trainable.deltas()
    assert torch.equal(_ask(model), base)
    assert len(deltas) == 8 and all(torch.allclose(d.dense().abs(), torch.tensor(1.0), atol=1e-6) for d in deltas.values())
    assert {tensor.dtype for tensor in named_tensors(model).values()} == {model.dtype}


def test_only_what_changed_is_a_delta(sd1: Model) -> None:
    with Trainable(sd1, select(sd1, "kv")) as trainable:
        assert trainable.deltas() == {}
        name = next(iter(trainable.parameters))
        with torch.no_grad():
            trainable.parameters[name][0, 0] += 1
        assert set(trainable.deltas()) == {name}


def test_gradients_reach_the_student_and_no_one_else(sd1: Model) -> None:
    names = select(sd1, "kv")
    with Trainable(sd1, names) as trainable:
        x, t, c = sd1.start_noise([0]), torch.tensor([500]), sd1.encode(["a cat"])
        with trainable.untrained():
            assert not sd1.predict(x, t, c).requires_grad
        sd1.predict(x, t, c).square().mean().backward()
        with_gradient = {name for name, parameter in named_tensors(sd1).items() if parameter.grad is not None}
        assert with_gradient == set(names)
        assert all(parameter.grad.any() for parameter in trainable.parameters.values())  # type: ignore[union-attr]
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in named_tensors(sd1).values())


def test_an_edit_that_is_on_is_where_training_starts(sd1: Model) -> None:
    names = select(sd1, "kv")
    manifest = Manifest(model="tiny", base=base_fingerprint(sd1), method="random", concepts=[])
    edit = WeightEdit({names[0]: Dense(torch.full(named_tensors(sd1)[names[0]].shape, 0.3))}, manifest)
    bare, base = _ask(sd1), base_fingerprint(sd1)
    with edit.applied(sd1):
        on = _ask(sd1)
        with Trainable(sd1, names) as trainable:
            _push(trainable)
            with trainable.untrained():
                assert torch.equal(_ask(sd1), on)
            assert torch.allclose(trainable.deltas()[names[0]].dense().abs(), torch.tensor(0.5), atol=1e-6)
        assert torch.equal(_ask(sd1), on) and base_fingerprint(sd1) == base
    assert torch.equal(_ask(sd1), bare)


def test_other_values_can_be_held_for_a_moment(sd1: Model) -> None:
    with Trainable(sd1, select(sd1, "kv")) as trainable:
        _push(trainable)
        student = _ask(sd1)
        zeros = {name: torch.zeros_like(parameter) for name, parameter in trainable.parameters.items()}
        with pytest.raises(ValueError), trainable.holding(zeros):
            assert not any(parameter.any() for parameter in trainable.parameters.values())
            raise ValueError
        assert torch.equal(_ask(sd1), student)


def test_float16_is_refused_before_anything_changes(tiny_sd1: Path) -> None:
    model = load(tiny_sd1, device="cpu", dtype="float16")
    with pytest.raises(ValueError, match="load the model as bfloat16 or float32"):
        Trainable(model, select(model, "kv"))
