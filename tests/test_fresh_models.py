"""The models that tests have for themselves are those that `load` gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from excise.models import Model, load
from fresh_models import fresh


def _networks(model: Model) -> dict[str, nn.Module]:
    return {part: getattr(model.pipeline, part) for part in type(model).parts}


@pytest.mark.parametrize("which", ["canvas", "sdxl", "flux2_klein"])
@pytest.mark.parametrize("dtype", ["float32", "mixed"])
def test_they_are_as_they_would_be_loaded(which: str, dtype: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(f"tiny_{which}")
    found, loaded = fresh(folder, dtype), load(folder, device="cpu", dtype=dtype)
    assert type(found) is type(loaded) and found.precision == loaded.precision
    same = ("name", "catalog", "sampler", "folder", "classifier", "mixed")
    assert [getattr(found, name) for name in same] == [getattr(loaded, name) for name in same]
    assert dict(found.pipeline.scheduler.config) == dict(loaded.pipeline.scheduler.config)
    for mine, theirs in zip(_networks(found).values(), _networks(loaded).values(), strict=True):
        assert (mine.training, mine.dtype) == (theirs.training, theirs.dtype)
        hooks = [[len(layer._forward_hooks) for layer in network.modules()] for network in (mine, theirs)]
        assert hooks[0] == hooks[1]
        told = [dict(network.named_parameters(remove_duplicate=False)) for network in (mine, theirs)]
        assert told[0].keys() == told[1].keys()
        assert all(torch.equal(told[0][name], told[1][name]) for name in told[1])
        assert all(told[0][name].requires_grad == told[1][name].requires_grad for name in told[1])


def test_nobody_else_has_them(tiny_sd1: Path) -> None:
    one, other = fresh(tiny_sd1), fresh(tiny_sd1)
    for mine, theirs in zip(_networks(one).values(), _networks(other).values(), strict=True):
        places = [{tensor.data_ptr() for tensor in network.state_dict().values()} for network in (mine, theirs)]
        assert not places[0] & places[1]
    one.told_cut.add("x")
    assert not fresh(tiny_sd1).told_cut
