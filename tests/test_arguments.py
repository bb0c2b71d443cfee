"""What Python callers give: a wrong value is a ValueError that names the argument, never silence; and nothing global is moved."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import excise
from excise.attacks import probe
from excise.erasure.run import Run
from excise.evaluation import Classifier
from excise.evaluation.suites.unlearncanvas.vision_transformer import VisionTransformer
from excise.methods import get
from excise.models import Model
from excise.models.path import Path as NoisePath

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def canvas(tiny_canvas: Path) -> Model:
    """One for all: nothing here changes it."""
    return excise.load(tiny_canvas, device="cpu")


class TestSampling:
    @pytest.mark.parametrize("how", ["sample", "latents"])
    @pytest.mark.parametrize(
        "name, values",
        [
            ("steps", [0, -1, 1.5, "4", NAN]),
            ("batch", [0, -1, 1.5, "4"]),
            ("guidance_scale", [NAN, INF, "x"]),
            ("eta", [-0.1, 1.1, NAN, "x"]),
            ("skip", [-1, 4, 99, 0.5]),
            ("size", [(0, 16), (16, -16), (17, 16), (16, 16.5)]),
            ("starts", [torch.zeros(1, 4, 8, 8), torch.zeros(3, 4, 8, 8), torch.zeros(2, 4, 8)]),
        ],
    )
    def test_options_out_of_range(self, how: str, name: str, values: list[Any], canvas: Model) -> None:
        for value in values:
            with pytest.raises(ValueError, match=name):
                getattr(canvas, how)(["a cat", "a dog"], [0, 1], **{name: value})

    @pytest.mark.parametrize(
        "prompts, seeds, words",
        [
            ("ab", [0, 1], "list of texts"),
            (["a", 3], [0, 1], "texts"),
            (["a"], [0, 1], "1 prompts but 2 seeds"),
            (["a"], [-1], "seeds"),
            (["a"], [2**63], "seeds"),
            (["a"], [0.5], "seeds"),
            (["a"], ["0"], "seeds"),
        ],
    )
    def test_prompts_and_seeds(self, prompts: Any, seeds: Any, words: str, canvas: Model) -> None:
        for how in (canvas.sample, canvas.latents, lambda *given: list(canvas.trajectory(*given))):
            with pytest.raises(ValueError, match=words):
                how(prompts, seeds)

    def test_numbers_of_numpy_are_numbers(self, canvas: Model) -> None:
        given = canvas.sample(["a cat"], np.array([3]), steps=np.int64(2), batch=np.int32(1), guidance_scale=np.float64(2))
        assert torch.equal(given, canvas.sample(["a cat"], [3], steps=2, guidance_scale=2.0))

    def test_no_prompts_are_no_pictures(self, canvas: Model) -> None:
        assert canvas.sample([], []).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("family", ["canvas", "sdxl", "z_image", "flux2_klein", "qwen_image"])
class TestNetworks:
    @pytest.fixture
    def model(self, family: str, request: pytest.FixtureRequest) -> Model:
        return request.getfixturevalue(family)

    def test_encode(self, model: Model) -> None:
        for prompts, batch in (("a cat", 256), ([3], 256), ([], 256), (["a"], 0), (["a"], -1)):
            with pytest.raises(ValueError, match=r"prompt|batch"):
                model.encode(prompts, batch)  # type: ignore[arg-type]

    def test_predict(self, model: Model) -> None:
        x, told = torch.zeros(2, *model.latent_shape), model.encode(["a", "b"])
        for t in (
            torch.tensor([1]),
            torch.tensor([1, 2, 3]),
            torch.tensor([1, -1]),
            torch.tensor([1, 1001]),
            torch.tensor([1.0, NAN]),
        ):
            with pytest.raises(ValueError, match="timesteps"):
                model.predict(x, t, told)
        with pytest.raises(ValueError, match="2 latents, 2 timesteps and 1 prompts"):
            model.predict(x, torch.tensor([1, 2]), told[:1])

    def test_pictures_and_latents(self, model: Model) -> None:
        for latents in (torch.zeros(model.latent_shape), torch.zeros(1, 3, 8, 8)):
            with pytest.raises(ValueError, match="latents must be"):
                model.decode(latents)
        for pictures in (torch.zeros(3, 16, 16), torch.zeros(1, 1, 16, 16)):
            with pytest.raises(ValueError, match="pictures must be"):
                model.encode_pictures(pictures)
        with pytest.raises(ValueError, match="batch"):
            model.encode_pictures(torch.zeros(1, 3, 16, 16), batch=0)


class TestMeasuring:
    @pytest.mark.parametrize(
        "options",
        [{"seed": -1}, {"seed": 1.5}, {"target_pictures": 0}, {"other_pictures": -1}, {"target_pictures": 2.5}],
        ids=str,
    )
    def test_evaluate(self, options: dict[str, Any], canvas: Model) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            excise.evaluate(canvas, [canvas.catalog.resolve("cat")], **options)

    @pytest.mark.parametrize("targets", ["cat", ["cat"], [], [None]])
    def test_evaluate_takes_concepts(self, targets: Any, canvas: Model) -> None:
        with pytest.raises(ValueError, match="concept"):
            excise.evaluate(canvas, targets)

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": -1},
            {"seed": 1.5},
            {"budget": -1},
            {"budget": 1e4},
            {"batch": 0},
            {"phrasings": "plian"},
            {"guidance_scale": NAN},
        ],
        ids=str,
    )
    def test_measure(self, options: dict[str, Any], canvas: Model) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            excise.measure(canvas, "cat", **options)


def world() -> list[Any]:
    """What is global: generators, default dtype, threads, determinism, gradients."""
    name, keys, *rest = np.random.get_state()
    return [
        torch.get_rng_state().tolist(), name, np.asarray(keys).tolist(), rest, random.getstate(), torch.get_default_dtype(),
        torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(), torch.backends.cudnn.benchmark,
        np.geterr(),
    ]  # fmt: skip


def vision_transformer(folder: Path) -> None:
    from types import SimpleNamespace

    from safetensors.torch import save_file

    state = torch.random.get_rng_state()
    file = folder / "vit.safetensors"
    save_file(VisionTransformer(8, 1, 16, 4, 2, 2).state_dict(), file)
    torch.random.set_rng_state(state)
    found: Any = SimpleNamespace(path=file, weights=SimpleNamespace(purpose="x", name="x"))
    VisionTransformer.of(found, ["a", "b"])


QUICK = {"rounds": 1, "steps": 1, "batch": 1, "trajectories": 2, "sampler_steps": 2}

ACTS: dict[str, Callable[[Model, Path], object]] = {
    "load": lambda model, folder: excise.load(model.folder or "", device="cpu"),
    "sample": lambda model, folder: model.sample(["a cat"], [0]),
    "classifier": lambda model, folder: Classifier.load(model.classifier or Path()),
    "vision transformer": lambda model, folder: vision_transformer(folder),
    "evaluate": lambda model, folder: excise.evaluate(
        model, [model.catalog.resolve("cat")], target_pictures=1, other_pictures=1, quality=True
    ),
    "measure": lambda model, folder: excise.measure(model, "cat", budget=200),
    "probe": lambda model, folder: probe.train(
        torch.zeros(2, 4, 2, 2), torch.ones(2, 4, 2, 2), NoisePath.of(model.pipeline.scheduler), torch.Generator().manual_seed(0),
        steps=1, lr=0.1, power=1.0, width=8,
    ),
    **{
        f"erase by {name}": lambda model, folder, name=name, settings=settings: get(name).erase(
            model, [model.catalog.resolve("cat")], get(name).parse(settings), Run(0)
        )
        for name, settings in (("mim", QUICK), ("uce", {}), ("spm", QUICK))
    },
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_nothing_global_is_moved(act: str, canvas: Model, tmp_path: Path) -> None:
    before = world()
    ACTS[act](canvas, tmp_path)
    assert world() == before


def test_a_classifier_says_what_it_said(canvas: Model) -> None:
    """Weights without initial ones: the same answers as with."""
    from excise.files import read_tensors

    assert canvas.classifier is not None
    loaded = Classifier.load(canvas.classifier)
    tensors, _ = read_tensors(canvas.classifier)
    drawn = Classifier(loaded.names, loaded.size)
    drawn.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    pictures = torch.rand(3, 3, loaded.size, loaded.size, generator=torch.Generator().manual_seed(0))
    for question, logits in drawn.eval()(pictures).items():
        assert torch.equal(logits, loaded(pictures)[question])
