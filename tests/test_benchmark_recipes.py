"""benchmarks/recipes.py says from settings what methods ask of the network: here they are run, and what they ask is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import recipes
from excise.concepts import Concept
from excise.erasure.run import Run
from excise.methods import get
from excise.models import Model

CAT = Concept("cat", "object", ("a cat",), ("photo", "sketch"))
SMALL: dict[str, dict[str, Any]] = {
    "mim": {"rounds": 2, "steps": 3, "batch": 5, "trajectories": 4, "sampler_steps": 3},
    "esd": {"rounds": 2, "steps": 10, "batch": 1, "sampler_steps": 4},
    "salun": {
        "rounds": 2, "steps": 3, "batch": 5, "pictures": 6, "retained": 4, "picture_steps": 3, "retain": "a dog", "pseudo": "a dog",
    },
}  # fmt: skip


TITLES = [title for title, (method, values, _) in recipes.RECIPES.items() if method in SMALL and values.get("rounds") != 0]


@pytest.mark.parametrize("title", TITLES)
def test_calls_are_those_of_the_method(title: str, sd1: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    monkeypatch.setattr(recipes, "MOST", 32)  # as of the metric's in all tests
    method, values, counted = recipes.RECIPES[title]
    settings = get(method).parse({**values, **SMALL[method]})
    found = {"forward": 0, "learning": 0, "prompts": 0}

    def asked(network: Any, inputs: Any, output: Any) -> None:
        found["learning" if output[0].requires_grad else "forward"] += len(output[0])

    def read(network: Any, inputs: Any, output: Any) -> None:
        found["prompts"] += len(output[0])

    sd1.denoiser.register_forward_hook(asked)
    sd1.pipeline.text_encoder.register_forward_hook(read)
    get(method).erase(sd1, [CAT], settings, Run())
    expected = counted(settings)
    assert found["learning"] == expected.learning
    if method == "esd":  # where it stops on the sampler's way is drawn: 20 times one of 0 to 3 steps
        assert found["forward"] == pytest.approx(expected.sampling + expected.asking, rel=0.2)
    else:
        assert found["forward"] == expected.sampling + expected.asking
    assert found["prompts"] < expected.prompts + 100
