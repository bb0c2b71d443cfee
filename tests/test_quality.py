"""FID, KID, CLIP score, LPIPS and the change of pixels, against closed forms and other libraries; how they enter an evaluation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

import standin_weights
from excise.evaluation import MissingWeightsError, QualityOptions, evaluate
from excise.evaluation.features import Clip, folder_features
from excise.evaluation.lpips import Lpips
from excise.evaluation.quality import caveat, fid, fid_estimate, kid, kid_estimate, mean_estimate
from excise.evaluation.state_files import load_state
from excise.evaluation.weights import KNOWN, find
from excise.models import Model
from excise.report.result_table import QUALITY
from excise.results.evaluation import Evaluation
from painted_pictures import Shown, no_change, painted


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def draws(n: int, d: int = 4, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return shift + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestFid:
    def test_of_a_set_with_itself(self) -> None:
        assert fid(draws(50), draws(50)) < 1e-6

    def test_diagonal_covariances_by_the_closed_form(self) -> None:
        """Columns made exactly uncorrelated: the sum of (difference of means)^2 + (difference of deviations)^2."""
        one, other = (torch.linalg.qr(draws(40, 4, seed) - draws(40, 4, seed).mean(0))[0] * 39**0.5 for seed in (1, 2))
        s1, s2 = torch.tensor([1.0, 2, 3, 0.5]).double(), torch.tensor([2.0, 1, 3, 0.1]).double()
        a, b = one * s1, other * s2 + torch.tensor([1.0, 0, -2, 0]).double()
        a, b = a - a.mean(0), b
        mean = float(((a.mean(0) - b.mean(0)) ** 2).sum())
        assert fid(a, b) == pytest.approx(mean + float(((a.std(0) - b.std(0)) ** 2).sum()), rel=1e-6)

    def test_is_scipys(self) -> None:
        a, b = draws(60, seed=1) @ draws(4, seed=9), draws(80, seed=2, shift=0.3)
        c1, c2 = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
        oracle = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
        assert fid(a, b) == pytest.approx(oracle, rel=1e-9)

    @pytest.mark.parametrize("shapes", [((1, 4), (9, 4)), ((9, 4), (9, 5)), ((9,), (9,))])
    def test_refuses(self, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        with pytest.raises(ValueError, match="at least two vectors of one width"):
            fid(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


class TestKid:
    def test_by_a_loop_over_all_pairs(self) -> None:
        a, b = draws(7, 3, 1), draws(5, 3, 2, shift=0.5)

        def k(x: Tensor, y: Tensor) -> float:
            return (float(x @ y) / 3 + 1) ** 3

        aa = np.mean([k(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
        bb = np.mean([k(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
        ab = np.mean([k(x, y) for x in a for y in b])
        assert kid(a, b) == pytest.approx(aa + bb - 2 * ab, rel=1e-12)

    def test_of_pairs_by_a_loop(self) -> None:
        """Partners are left out of the cross term, so a set has no distance to itself."""
        a = draws(6, 3, 1)
        b = a + 0.3 * draws(6, 3, 2)

        def k(x: Tensor, y: Tensor) -> float:
            return (float(x @ y) / 3 + 1) ** 3

        others = [(i, j) for i in range(6) for j in range(6) if i != j]
        oracle = np.mean([k(a[i], a[j]) + k(b[i], b[j]) - k(a[i], b[j]) - k(b[i], a[j]) for i, j in others])
        assert kid(a, b, paired=True) == pytest.approx(oracle, rel=1e-12)
        assert kid(a, a, paired=True) == pytest.approx(0, abs=1e-12) and kid(a, a) < -0.1

    def test_is_torchmetrics(self) -> None:
        """Its subsets are the whole sets here, so nothing is drawn by chance."""
        from torchmetrics.image.kid import KernelInceptionDistance

        a, b = draws(12, 4, 1), draws(12, 4, 2, shift=1)
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=12)
            metric.update(a, real=True)
            metric.update(b, real=False)
            oracle = float(metric.compute()[0])
        assert kid(a, b) == pytest.approx(oracle, rel=1e-6)

    def test_is_unbiased(self) -> None:
        """Over many pairs of sets of one law the mean is 0 within its error, while FID's is far above."""
        kids = torch.tensor([kid(draws(10, 4, 2 * i), draws(10, 4, 2 * i + 1)) for i in range(300)])
        assert abs(kids.mean()) < 4 * kids.std() / 300**0.5
        assert np.mean([fid(draws(10, 4, 2 * i), draws(10, 4, 2 * i + 1)) for i in range(30)]) > 0.5


class TestIntervals:
    def test_cover_the_spread_over_new_draws(self) -> None:
        """Half-widths are about 1.96 standard deviations of the figure over fresh pictures, on average over eight sets."""
        for estimate, value in ((fid_estimate, fid), (kid_estimate, kid)):
            fresh = [value(draws(80, 3, 100 + i), draws(80, 3, 1300 + i, shift=1)) for i in range(100)]
            found = [estimate(draws(80, 3, 5000 + i), draws(80, 3, 6000 + i, shift=1)) for i in range(8)]
            ratio = np.mean([figure.high - figure.value for figure in found]) / (1.96 * float(np.std(fresh)))
            assert 0.8 < ratio < 1.5
            assert all(figure.low < figure.value < figure.high and figure.n == 80 for figure in found)

    def test_pairs_are_resampled_together(self) -> None:
        """The same vectors but for a shift: every resample has the same distance of means, however much the vectors spread."""
        a = draws(50, 3, 1, scale=10)
        b = a + torch.tensor([2.0, 0, 0]).double()
        together, apart = fid_estimate(a, b, paired=True), fid_estimate(a, b)
        assert together.value == pytest.approx(4, abs=1e-6) and together.high - together.low < 1e-3
        assert apart.high - apart.low > 1
        with pytest.raises(ValueError, match="one size"):
            kid_estimate(draws(5), draws(6), paired=True)

    def test_nothing_changed(self) -> None:
        found = fid_estimate(draws(20), draws(20), paired=True)
        assert found.value < 1e-6 and found.high == found.value
        alike = kid_estimate(draws(20), draws(20), paired=True)
        assert abs(alike.value) < 1e-12 and alike.high - alike.low < 1e-12

    def test_copies_in_a_resample_add_no_width(self) -> None:
        """Many features: a vector's kernel with itself is far above all others, and every resample has copies."""
        fresh = [kid(draws(60, 200, 100 + i), draws(60, 200, 300 + i)) for i in range(60)]
        found = kid_estimate(draws(60, 200, 1), draws(60, 200, 2))
        assert (found.high - found.low) / 2 < 2 * 1.96 * float(np.std(fresh))

    def test_are_the_same_every_time(self) -> None:
        a, b = draws(20, seed=1), draws(30, seed=2)
        state = torch.random.get_rng_state()
        assert fid_estimate(a, b) == fid_estimate(a, b) and kid_estimate(a, b) == kid_estimate(a, b)
        assert torch.equal(state, torch.random.get_rng_state())

    def test_of_many_pictures_are_those_of_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from excise.evaluation import quality

        whole = kid_estimate(draws(120, 3, 1), draws(120, 3, 2, shift=1))
        monkeypatch.setattr(quality, "BLOCK", 20)
        blocks = kid_estimate(draws(120, 3, 1), draws(120, 3, 2, shift=1))
        assert blocks.n == 120 and blocks.low < whole.value < blocks.high

    def test_few_blocks_have_students_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two blocks tell their spread badly: the interval is that of scipy's t with one degree of freedom."""
        from scipy import stats

        from excise.evaluation import quality

        monkeypatch.setattr(quality, "BLOCK", 20)
        held: list[float] = []
        monkeypatch.setattr(quality, "kid", lambda *sets, paired: held.append(kid(*sets, paired=paired)) or held[-1])
        found = kid_estimate(draws(40, 3, 1), draws(40, 3, 2, shift=1))
        expected = stats.t.interval(0.95, 1, loc=np.mean(held), scale=stats.sem(held))
        assert len(held) == 2 and (found.low, found.high) == pytest.approx(expected)

    def test_sets_of_unlike_sizes_never_hold_all_pairs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """30,000 real pictures beside a few hundred would be gigabytes; block by block it is the same."""
        from excise.evaluation import quality

        a, b = draws(90, 3, 1), draws(30, 3, 2, shift=1)
        whole, cubed, held = kid_estimate(a, b), quality._cubed, []

        def watched(products: Tensor, d: int) -> Tensor:
            held.append(products.shape[0] if products.ndim == 2 else 1)
            return cubed(products, d)

        monkeypatch.setattr(quality, "BLOCK", 16)
        monkeypatch.setattr(quality, "_cubed", watched)
        found = kid_estimate(a, b)
        assert max(held) == 16
        assert (found.value, found.low, found.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-9)

    def test_wide_features_have_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from excise.evaluation import quality

        monkeypatch.setattr(quality, "WIDEST", 3)
        found = fid_estimate(draws(20), draws(20, seed=1)).figure
        assert found is not None and found.interval is None and found.value > 0

    def test_of_a_mean(self) -> None:
        values = draws(400, 1, 1).squeeze()
        found = mean_estimate(values)
        half = 1.96 * float(values.std()) / 20
        assert found.value == pytest.approx(float(values.mean()))
        assert found.high - found.low == pytest.approx(2 * half, rel=0.1)

    def test_the_caveat(self) -> None:
        assert "biased upwards" in caveat(456, 192) and "456" in caveat(456, 192)
        assert caveat(30_000, 2048) == ""


class TestLpips:
    def test_same_is_zero_and_order_does_not_matter(self, tmp_path: Path) -> None:
        lpips = Lpips(standin_weights.alexnet(tmp_path / "alex.pth"))
        a, b = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.rand(3, 3, 64, 64)
        assert torch.equal(lpips(a, a), torch.zeros(3))
        assert torch.allclose(lpips(a, b), lpips(b, a)) and (lpips(a, b) > 0).all()
        assert torch.allclose(lpips(a, b, batch=1), lpips(a, b), atol=1e-6)
        near = lpips(a, (a + 0.02).clamp(0, 1))
        assert (near < lpips(a, b)).all()

    def test_by_modules_of_torch(self, tmp_path: Path) -> None:
        """torchvision's AlexNet spelled out, and the formula of the paper by hand."""
        from importlib.resources import files

        found = standin_weights.alexnet(tmp_path / "alex.pth")
        state = load_state(found.path, "AlexNet")
        nn = torch.nn
        layers = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        layers.load_state_dict({name.removeprefix("features."): tensor for name, tensor in state.items()})
        path = str(files("torchmetrics") / "functional" / "image" / "lpips_models" / "alex.pth")
        heads = torch.load(path, map_location="cpu", weights_only=True)
        torch.manual_seed(0)
        pictures = torch.rand(2, 3, 64, 64)
        x = (pictures * 2 - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(3, 1, 1)
        total = torch.zeros(())
        with torch.no_grad():
            for layer, head in zip((1, 4, 7, 9, 11), (f"lin{i}.model.1.weight" for i in range(5)), strict=True):
                out = layers[: layer + 1](x)
                unit = out / (out.pow(2).sum(1, keepdim=True) + 1e-8).sqrt()
                total = total + (heads[head] * (unit[0] - unit[1]) ** 2).sum((0, 1)).mean()
        assert Lpips(found)(pictures[:1], pictures[1:]).item() == pytest.approx(total.item(), rel=1e-5)

    def test_refuses_pictures_that_are_too_small(self, tmp_path: Path) -> None:
        lpips = Lpips(standin_weights.alexnet(tmp_path / "alex.pth"))
        assert lpips(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)) == 0
        with pytest.raises(ValueError, match="at least 32 pixels, got 16x20"):
            lpips(torch.zeros(1, 3, 20, 16), torch.zeros(1, 3, 20, 16))

    def test_refuses_other_networks(self, tmp_path: Path) -> None:
        torch.save({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=r"not AlexNet: features.0.weight is \(3, 3\), expected \(64, 3, 11, 11\)"):
            Lpips(find("lpips", {"lpips": tmp_path / "x.pth"}))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin_weights.clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


class TestClip:
    def test_scores_are_cosines_by_numpy(self, clip_folder: Path) -> None:
        clip = Clip(find("clip", {"clip": clip_folder}))
        torch.manual_seed(0)
        prompts = ["a cat", "a dog", "a dog"]
        seen = clip(torch.rand(3, 3, 16, 16))["clip"]
        found = clip.scores(prompts, seen, batch=1)
        tokens = clip.tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        texts = clip.model.get_text_features(**tokens)
        texts = getattr(texts, "pooler_output", texts).detach().numpy()
        for row in range(3):
            a, b = seen[row].numpy(), texts[row]
            assert found[row].item() == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)

    def test_long_prompts_are_counted(self, clip_folder: Path) -> None:
        clip = Clip(find("clip", {"clip": clip_folder}))
        assert clip.cut(["a cat", "x " * 100]) == 1
        assert torch.isfinite(clip.scores(["x " * 100], torch.ones(1, 16))).all()

    def test_refuses_another_folder(self, tiny_sd1: Path) -> None:
        with pytest.raises(ValueError, match="is not a CLIP folder"):
            Clip(find("clip", {"clip": tiny_sd1}))


SMALL = {"target_pictures": 3, "other_pictures": 6}


class TestInAnEvaluation:
    @pytest.fixture
    def model(self, canvas: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
        """Its edited pictures show a dog as something else: the painted colour of the object changes by 2 / 255."""

        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "object": "other"} if asked["object"] == "dog" else asked

        painted(canvas, monkeypatch).edited = see
        return canvas

    def measured(self, model: Model, quality: bool | QualityOptions = True) -> Evaluation:
        target = [model.catalog.resolve("cat")]
        return evaluate(model, target, no_change(model), quality=quality, **SMALL)  # type: ignore[arg-type]

    def test_figures_by_hand(self, model: Model) -> None:
        """Half of the pictures change by 2/255 in one channel of three; features are the colours themselves."""
        found = self.measured(model)
        assert found.pixel_change and found.pixel_change.value == pytest.approx(2 / 255 / 3 / 2, rel=1e-4)
        fid = found.fid_base
        assert fid and fid.interval and fid.value > 0 and fid.interval[0] <= fid.value <= fid.interval[1]
        assert found.lpips is None and found.fid_real is None and found.clip_score is None
        about = found.protocol.quality
        assert about and about["n"] == found.pictures.retained == fid.n == 12 and about["features"] == "classifier"
        assert about["dimensions"] == 192 and "biased upwards" in str(about["caveat"])

    def test_nothing_changed(self, canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        painted(canvas, monkeypatch)
        found = self.measured(canvas)
        assert found.pixel_change and found.pixel_change.value == 0
        assert found.fid_base and found.fid_base.value == pytest.approx(0, abs=1e-9)

    def test_not_asked_for(self, model: Model) -> None:
        found = self.measured(model, quality=False)
        assert [getattr(found, name) for name in QUALITY] == [None] * len(QUALITY) and found.protocol.quality is None

    def test_pictures_are_made_once(self, canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        painter = painted(canvas, monkeypatch)
        self.measured(canvas)
        made = painter.made.copy()
        assert len(set(made)) == len(made)
        painter.made.clear()
        self.measured(canvas)
        assert all(changed for *_, changed in painter.made)

    def test_real_pictures_and_clip(
        self, canvas: Model, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from PIL import Image

        (tmp_path / "real" / "cats").mkdir(parents=True)
        for i in range(5):
            colour = np.full((20, 30, 3), 40 * i, dtype=np.uint8)
            Image.fromarray(colour).save(tmp_path / "real" / "cats" / f"{i}.png")
        options = QualityOptions(features="clip", real=tmp_path / "real", clip=clip_folder)
        found = self.measured(canvas, options)
        real, score, base = found.fid_real, found.clip_score, found.base
        assert real and base.fid_real and real.value > 0 and base.fid_real.value == pytest.approx(real.value)
        assert score and base.clip_score and score.value == pytest.approx(base.clip_score.value) and -1 <= score.value <= 1
        about: Any = found.protocol.quality
        assert about["n_real"] == 5 and about["features"] == "tiny-clip, 16" and about["clip_score_scale"] == "cosine"
        assert about["prompts_cut"] == 0 and len(about["clip"]["sha256"]) == 64

    def test_what_is_not_there_is_named_before_any_picture(self, model: Model, tmp_path: Path) -> None:
        model.sample = lambda *a, **k: pytest.fail("a picture was made")  # type: ignore[method-assign]
        for options, words in (
            (QualityOptions(lpips=tmp_path / "alex.pth"), "alexnet-owt-7be5be79.pth"),
            (QualityOptions(features="clip"), "clip-vit-base-patch32"),
            (QualityOptions(features="inception"), "weights-inception-2015-12-05-6726825d.pth"),
            (QualityOptions(real=tmp_path / "nowhere"), "no such folder of real pictures"),
        ):
            with pytest.raises(FileNotFoundError, match=words):
                self.measured(model, options)
        with pytest.raises(ValueError, match="unknown features 'vgg'"):
            self.measured(model, QualityOptions(features="vgg"))


class TestWeights:
    def test_the_order_of_places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("argument", "variable", "cache/weights/style50.pth"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert find("uc_style").source == "cache"
        monkeypatch.setenv("UC_STYLE_WEIGHTS", str(tmp_path / "variable"))
        assert find("uc_style").path.name == "variable"
        found = find("uc_style", {"uc_style": tmp_path / "argument"})
        assert found.path.name == "argument" and found.source == "argument" and found.published is None

    def test_missing_ones_are_named_with_where_to_get_them(self) -> None:
        for name, weights in KNOWN.items():
            with pytest.raises(MissingWeightsError) as error:
                find(name)
            for words in (weights.file, weights.address, f"{name}=PATH", f"{name.upper()}_WEIGHTS", "Nothing is downloaded"):
                assert words in str(error.value)

    def test_a_path_that_is_wrong_is_not_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wrong argument is an error even where the variable would do."""
        (tmp_path / "there").write_text("x")
        monkeypatch.setenv("UC_STYLE_WEIGHTS", str(tmp_path / "there"))
        with pytest.raises(MissingWeightsError, match=r"nowhere \(argument\) is not there"):
            find("uc_style", {"uc_style": tmp_path / "nowhere"})
        with pytest.raises(MissingWeightsError, match="not a folder"):
            find("clip", {"clip": tmp_path / "there"})

    def test_unknown_names(self) -> None:
        with pytest.raises(ValueError, match="did you mean 'uc_style'"):
            find("uc_styles")

    def test_whether_it_is_the_published_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.onnx").write_text("x")
        assert find("nudenet", {"nudenet": tmp_path / "x.onnx"}).published is False

    def test_pickles_of_anything_else_are_refused(self, tmp_path: Path) -> None:
        ran = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (ran,))

        torch.save({"model_state_dict": {"a": torch.ones(1)}, "more": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(ValueError, match="could not be read as the weights of a test"):
            load_state(tmp_path / "evil.pth", "a test")
        assert not ran.exists()

    @pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}])
    def test_files_without_tensors_are_refused(self, content: Any, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(ValueError, match="holds no tensors by name"):
            load_state(tmp_path / "x.pth", "a test")

    def test_tensors_are_found_where_they_are(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"a": torch.ones(2)}
        torch.save({"model_state_dict": tensors}, tmp_path / "a.pth")
        torch.save(tensors, tmp_path / "b.pth")
        save_file(tensors, tmp_path / "c.safetensors")
        for name in ("a.pth", "b.pth", "c.safetensors"):
            assert torch.equal(load_state(tmp_path / name, "a test")["a"], torch.ones(2))


def test_a_folder_of_pictures_is_read_in_order(tmp_path: Path) -> None:
    from PIL import Image

    class Mean:
        identity, key = "mean", "mean"

        def __init__(self) -> None:
            self.about: dict[str, Any] = {}

        def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
            return {"mean": pictures.mean((2, 3))}

    for name, value in (("b.png", 255), ("a.png", 0), ("sub/c.jpg", 255)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((9, 12, 3), value, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = folder_features(tmp_path, Mean(), 4, batch=2)
    assert found.shape == (3, 3) and found[:, 0].round().tolist() == [0, 1, 1]
    with pytest.raises(FileNotFoundError, match="no such folder of pictures"):
        folder_features(tmp_path / "nowhere", Mean(), 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no pictures"):
        folder_features(tmp_path / "empty", Mean(), 4)
