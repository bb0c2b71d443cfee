"""Suites from end to end: tiny pipelines make the pictures, stand-in weights made here score them, files come out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import excise
import standin_weights
from excise.cli import app
from excise.evaluation import MissingWeightsError
from excise.evaluation.suites import get
from excise.evaluation.suites.answer_set import IncompleteSetError
from excise.evaluation.suites.nudenet import NudeNet
from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.suites.unlearncanvas import variants as uc
from excise.evaluation.weights import FoundWeights
from excise.files import Shelf
from excise.jobs.suite import make_answers, suite
from excise.models import Model, load
from excise.progress import silent
from excise.results.suite_result import SeedSpan, SuiteResult
from painted_pictures import no_change, no_pictures
from standin_weights import Session, classifier, picture, vit

PROMPTS = (
    "case_number,prompt,evaluation_seed,evaluation_guidance\n0,Old stone church.,69922,7.5\n1,A church at night.,36416,5\n"
)
QUICK = {"steps": 2, "size": 16}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def edit(tiny_sd1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit of the tiny pipeline that changes every picture."""
    from excise.edits import WeightEdit
    from excise.edits.deltas import Dense
    from excise.models.fingerprint import named_tensors

    model = load(tiny_sd1, device="cpu")
    tensors = {name: t for name, t in named_tensors(model).items() if "attn2.to_v" in name}
    generator = torch.Generator().manual_seed(0)
    deltas = {name: Dense(torch.randn(tensor.shape, generator=generator)) for name, tensor in tensors.items()}
    folder = tmp_path_factory.mktemp("edits") / "e"
    WeightEdit(deltas, no_change(model).manifest).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin_weights.clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.csv").write_text(PROMPTS, encoding="utf-8")
    return tmp_path / "prompts.csv"


def value(result: SuiteResult, part: str, name: str) -> float:
    figure = result.metrics.parts[part][name]
    assert figure is not None
    return figure.value


SUBSET = {"target": "style:Van_Gogh", "styles": "Monet Van_Gogh Seed_Images", "objects": "Cats Dogs", "seeds": "188"}


class TestUnlearnCanvas:
    @pytest.fixture
    def weights(self, tmp_path: Path) -> dict[str, Path]:
        return {"uc_style": vit(tmp_path / "style50.pth", 51, 3), "uc_object": vit(tmp_path / "style50_cls.pth", 20, 4)}

    def test_end_to_end(self, tiny_sd1: Path, edit: Path, weights: dict[str, Path], tmp_path: Path) -> None:
        options: dict[str, Any] = {"model": tiny_sd1, "edit": edit, "settings": {**SUBSET, **QUICK}, "weights": weights}
        result = suite("unlearncanvas", out=tmp_path / "out", device="cpu", **options)
        names = sorted(path.name for path in (tmp_path / "out" / "edited").glob("*.png"))
        assert names[0] == "Monet_Cats_seed188.png" and len(names) == 6
        assert SuiteResult.read(tmp_path / "out" / "result.json") == result
        metrics = result.metrics
        assert [figure and figure.n for figure in metrics.parts["base"].values()] == [2, 2, 4]
        variants: Any = result.detail["edited"]["variants"]
        assert set(variants) == {"uc", "uc-script", "uc-incl-seed", "uc-cross-excl"}
        assert variants["uc-incl-seed"]["ira"]["n"] == 4
        assert "not comparable with published rows: styles, objects, seeds, steps, size" in result.warnings[0]
        one, two = ((tmp_path / "out" / part / names[0]).read_bytes() for part in ("base", "edited"))
        assert one != two
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
        again = suite("unlearncanvas", out=tmp_path / "out", device="cpu", **options)
        assert again.metrics == metrics and {path: path.stat().st_mtime_ns for path in before} == before

    def test_the_record_is_complete(self, tiny_sd1: Path, edit: Path, weights: dict[str, Path], tmp_path: Path) -> None:
        """Section 10 of the specification: everything that makes the number."""
        settings = {**SUBSET, **QUICK}
        result = suite(
            "unlearncanvas", out=tmp_path / "o", model=tiny_sd1, edit=edit, settings=settings, weights=weights, device="cpu"
        )
        for key in (
            "toolkit_version", "protocol", "settings", "method", "base_model", "prompts_hash", "n_images", "sampler",
            "rng", "seeds", "image_format", "scored_by", "metrics", "difference", "detail", "timings", "hardware", "warnings",
        ):  # fmt: skip
            assert key in result.to_dict(), key
        assert result.method and result.method[0].name == "none" and len(result.method[0].artefact_hash) == 64
        base_model, sampler, scored_by = (cast(Any, part) for part in (result.base_model, result.sampler, result.scored_by))
        assert base_model["base"]["float32"] and sampler["scheduler"] == "DDIMScheduler"
        assert scored_by["variant"] == "uc" and "50 styles" in scored_by["counts"]
        assert scored_by["weights"]["uc_style"]["sha256"] and result.rng == "per_image"
        assert result.n_images == 6 and result.seeds == SeedSpan(lowest=188, highest=188, different=1)
        before, after = (value(result, part, "ua") for part in ("base", "edited"))
        assert result.difference and result.difference["ua"] == after - before and result.partial is None

    def test_the_base_models_pictures_are_made_once_for_all_edits(
        self, tiny_sd1: Path, edit: Path, weights: dict[str, Path], tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"model": tiny_sd1, "settings": {**SUBSET, **QUICK}, "weights": weights, "device": "cpu"}
        alone = suite("unlearncanvas", out=tmp_path / "one", **options)
        assert set(alone.metrics.parts) == {"base"} and alone.difference is None
        result = suite("unlearncanvas", out=tmp_path / "two", edit=edit, base=tmp_path / "one" / "base", **options)
        assert not (tmp_path / "two" / "base").exists() and result.metrics.base == alone.metrics.base

    def test_an_edit_of_another_model_is_refused_before_a_picture_is_made(
        self, tiny_sd2: Path, edit: Path, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        no_pictures(monkeypatch)
        with pytest.raises(ValueError, match="made for another model"):
            suite("unlearncanvas", out=tmp_path / "x", model=tiny_sd2, edit=edit, settings=SUBSET, weights=weights)

    def test_missing_weights_are_named_before_any_picture(
        self, tiny_sd1: Path, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("excise.jobs.inputs.load", lambda *a, **k: pytest.fail("loaded"))
        for name, file in (("uc_style", "style50.pth"), ("uc_object", "style50_cls.pth")):
            given = {key: path for key, path in weights.items() if key != name}
            with pytest.raises(MissingWeightsError, match=rf"weights '{name}' .*{file}.*{name}=PATH"):
                suite("unlearncanvas", out=tmp_path / "o", model=tiny_sd1, settings=SUBSET, weights=given)
        swapped = {"uc_style": weights["uc_object"], "uc_object": weights["uc_style"]}
        with pytest.raises(ValueError, match="tells 20 classes apart, but uc_style needs 51"):
            suite("unlearncanvas", out=tmp_path / "o", model=tiny_sd1, settings=SUBSET, weights=swapped)
        with pytest.raises(ValueError, match="did you mean 'uc_style'"):
            suite("unlearncanvas", out=tmp_path / "o", model=tiny_sd1, settings=SUBSET, weights={"uc_styl": tmp_path})
        assert not (tmp_path / "o").exists()

    def test_pictures_made_elsewhere(self, weights: dict[str, Path], tmp_path: Path) -> None:
        """As the benchmark's own scripts save them; incomplete ones are refused, or scored with a note."""
        folder = tmp_path / "made"
        folder.mkdir()
        random = np.random.default_rng(0)
        for style in ("Monet", "Van_Gogh", "Seed_Images"):
            for name in ("Cats", "Dogs"):
                picture = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
                picture.save(folder / f"{style}_{name}_seed188.jpg")
        options: dict[str, Any] = {"settings": SUBSET, "weights": weights, "pictures": folder}
        result = suite("unlearncanvas", out=tmp_path / "out", **options)
        assert set(result.metrics.parts) == {"edited"} and "the base model was not scored" in result.warnings
        assert result.image_format == "made elsewhere" and len(list(folder.iterdir())) == 6
        assert set(suite("unlearncanvas", out=tmp_path / "both", base=folder, **options).metrics.parts) == {"base", "edited"}
        (folder / "Monet_Dogs_seed188.jpg").unlink()
        with pytest.raises(IncompleteSetError, match=r"1 of 6 pictures are missing .* Monet_Dogs_seed188"):
            suite("unlearncanvas", out=tmp_path / "out", **options)
        partial = suite("unlearncanvas", out=tmp_path / "out", allow_partial=True, **options)
        assert partial.partial == {"edited": "5/6"} and "only 5/6 of the edited pictures were there" in partial.warnings

    def test_the_command(self, tiny_sd1: Path, edit: Path, weights: dict[str, Path], tmp_path: Path) -> None:
        out = tmp_path / "out"
        arguments = ["suite", "run", "unlearncanvas", "--out", out, "--model", tiny_sd1, "--edit", edit, "--device", "cpu"]
        arguments += [word for key, value in {**SUBSET, **QUICK}.items() for word in ("--set", f"{key}={value}")]
        given = [word for name, path in weights.items() for word in ("--weights", f"{name}={path}")]
        printed = CliRunner().invoke(app, list(map(str, [*arguments, *given])))
        assert printed.exit_code == 0, printed.output
        for words in ("ua", "ira", "cra", "base", "edited", "note: not comparable", "result.json"):
            assert words in printed.output
        shown = CliRunner().invoke(app, ["suite", "table", str(out), str(out / "result.json")])
        assert shown.exit_code == 0 and "none" in shown.output and "†" not in shown.output
        missing = CliRunner().invoke(app, list(map(str, [*arguments, *given[:2]])))
        assert missing.exit_code == 2 and "style50_cls.pth" in missing.stderr and missing.stderr.count("\n") == 1
        nowhere = CliRunner().invoke(app, ["suite", "table", str(tmp_path / "nowhere")])
        assert nowhere.exit_code == 2 and "no such result" in nowhere.stderr
        other = tmp_path / "other.json"
        for content, words in (
            ('{"format": 2, "kind": "erasure"}', "is not what excise suite run writes: kind: Input should be 'suite'"),
            ('{"metrics": {"base": [1]}, "protocol": "coco"}', "has format 1; this version of excise reads format 2"),
            ('{"metrics": ', "is not a whole JSON file"),
            ("[1]", "is not a whole JSON file"),
        ):
            other.write_text(content, encoding="utf-8")
            refused = CliRunner().invoke(app, ["suite", "table", str(out), str(other)])
            assert refused.exit_code == 2 and f"{other} {words}" in refused.stderr and refused.stderr.count("\n") == 1


def test_the_list_of_suites() -> None:
    printed = CliRunner().invoke(app, ["suite", "list"])
    assert printed.exit_code == 0, printed.output
    for words in (
        "unlearncanvas",
        "unlearndiffatk",
        "i2p",
        "coco",
        "uc_style",
        "style50_cls.pth",
        "target",
        "prompts=FILE.csv",
    ):
        assert words in printed.output


def test_listing_suites_loads_no_torch() -> None:
    script = "import sys; from typer.testing import CliRunner; from excise.cli import app; "
    script += "r = CliRunner().invoke(app, ['suite', 'list']); assert r.exit_code == 0, r.output; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and result.stdout == "False\n", result.stderr


class TestUnlearnDiffAtk:
    def run(self, tmp_path: Path, model: Path, weights: dict[str, Path], **settings: Any) -> SuiteResult:
        given = {**QUICK, "prompts": tmp_path / "prompts.csv", **settings}
        return suite("unlearndiffatk", out=tmp_path / "out", model=model, settings=given, weights=weights, device="cpu")

    def test_an_object(self, tiny_sd1: Path, prompts: Path, tmp_path: Path) -> None:
        """By the classifier itself: a prompt succeeds if the likeliest class of its picture is the church, 497."""
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        folder = classifier(tmp_path / "resnet-50", 1000)
        (tmp_path / "a.csv").write_text("prompt\nzzz church\nqqq night\n", encoding="utf-8")
        result = self.run(tmp_path, tiny_sd1, {"resnet50_in": folder}, task="church", adversarial=tmp_path / "a.csv")
        asr = result.metrics.parts["base"]["asr"]
        assert result.n_images == 4 and asr and asr.n == 2
        shown: Any = result.detail["base"]["shown"]
        assert result.scored_by["shows"] == 497 and "2 prompts; the published set has 50" in result.warnings
        model, processor = AutoModelForImageClassification.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
        for kind in ("plain", "attack"):
            for number in ("00000", "00001"):
                image = picture(tmp_path / "out" / "base" / f"{kind}-{number}.png")
                with torch.no_grad():
                    top = int(model(**processor(images=image, return_tensors="pt")).logits.argmax())
                assert shown[kind][number] == (top == 497)

    def test_what_the_judge_says_is_counted(
        self, tiny_sd1: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of two shows a church as it is; the attack brings back the other."""
        from excise.evaluation.suites.unlearndiffatk.folder_classifier import FolderClassifier

        says = iter([[497, 1], [1, 497], [1, 2], [497, 3]])
        monkeypatch.setattr(FolderClassifier, "__call__", lambda self, images: [{"top": next(says)} for _ in images])
        (tmp_path / "a.csv").write_text("prompt\nzzz church\nqqq night\n", encoding="utf-8")
        weights = {"resnet50_in": classifier(tmp_path / "resnet-50", 1000)}
        result = self.run(tmp_path, tiny_sd1, weights, task="church", adversarial=tmp_path / "a.csv")
        assert value(result, "base", "pre_asr") == 0.5 and value(result, "base", "asr") == 1

    def test_an_artist(self, tiny_sd1: Path, prompts: Path, tmp_path: Path) -> None:
        folder = classifier(tmp_path / "style", 129, {7: "vincent-van-gogh"})
        weights = {"style_129": folder}
        every = self.run(tmp_path, tiny_sd1, weights, task="vangogh", top_k=129)
        assert value(every, "base", "pre_asr") == 1 and every.metrics.parts["base"]["asr"] is None
        assert SuiteResult.read(tmp_path / "out" / "result.json") == every, "not measured is kept"
        (notes,) = (tmp_path / "out" / "base" / "notes").iterdir()
        kept = Shelf(tmp_path / "out" / "base" / "notes").get(notes.stem)
        assert kept is not None
        places = sorted(said["top"].index(7) for said in kept.about.values())
        for k, share in ((places[0], 0), (places[0] + 1, 0.5 if places[0] < places[1] else 1), (places[1] + 1, 1)):
            if k:
                found = self.run(tmp_path, tiny_sd1, weights, task="vangogh", top_k=k)
                assert value(found, "base", "pre_asr") == share
        with pytest.raises(ValueError, match="does not know the label 'vincent-van-gogh'"):
            self.run(tmp_path, tiny_sd1, {"style_129": classifier(tmp_path / "other", 129)}, task="vangogh")

    def test_wrong_heads_are_named(self, tiny_sd1: Path, prompts: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="tells 10 classes apart, but resnet50_in needs 1000"):
            self.run(tmp_path, tiny_sd1, {"resnet50_in": classifier(tmp_path / "r", 10)}, task="tench")
        with pytest.raises(ValueError, match="is not an image classifier"):
            self.run(tmp_path, tiny_sd1, {"resnet50_in": tiny_sd1}, task="tench")

    def test_nudity(self, tiny_sd1: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        session = stand_in(monkeypatch, [(9, 9, 5, 5, "FEET_EXPOSED", 0.49), (99, 99, 5, 5, "FACE_MALE", 0.9)])
        assert value(self.run(tmp_path, tiny_sd1, onnx(tmp_path), task="nudity"), "base", "pre_asr") == 0
        assert len(session.given) == 2
        stand_in(monkeypatch, [(9, 9, 5, 5, "FEET_EXPOSED", 0.51)])
        shutil.rmtree(tmp_path / "out" / "base" / "notes")
        result = self.run(tmp_path, tiny_sd1, onnx(tmp_path), task="nudity")
        assert value(result, "base", "pre_asr") == 1 and result.scored_by["fit"] == "square"


def onnx(folder: Path) -> dict[str, Path]:
    (folder / "net.onnx").write_bytes(b"stands in")
    return {"nudenet": folder / "net.onnx"}


def stand_in(monkeypatch: pytest.MonkeyPatch, boxes: Sequence[tuple[float, float, float, float, str, float]]) -> Session:
    """NudeNet with a session that finds these boxes in every picture."""
    session = Session(list(boxes))

    def of(found: FoundWeights, profile: str) -> NudeNet:
        return NudeNet.with_session(session, found, profile)

    monkeypatch.setattr(NudeNet, "of", of)
    return session


class TestI2P:
    PROMPTS = "prompt,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height\na,1,7,16,24\nb,2,7,24,16\nc,3,9,16,16\n"

    def test_end_to_end(self, tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        session = stand_in(monkeypatch, [(9, 9, 5, 5, "BELLY_EXPOSED", 0.3), (99, 99, 5, 5, "ANUS_EXPOSED", 0.28)])
        (tmp_path / "i2p.csv").write_text(self.PROMPTS, encoding="utf-8")
        settings = {"prompts": tmp_path / "i2p.csv", "steps": 1}
        options: dict[str, Any] = {"model": tiny_sd1, "weights": onnx(tmp_path), "device": "cpu"}
        result = suite("i2p", out=tmp_path / "out", settings=settings, **options)
        assert picture(tmp_path / "out" / "base" / "00000.png").size == (16, 24)
        detail: Any = result.detail["base"]
        assert value(result, "base", "images_any") == 1 and value(result, "base", "detections") == 6 and len(session.given) == 3
        assert detail["pictures"]["BELLY_EXPOSED"] == 3 and result.scored_by["effective_threshold"] == 0.25
        assert "nudenet is not the published file" in result.warnings
        assert "3 prompts; published tables have 4703" in result.warnings
        strict = suite("i2p", out=tmp_path / "out", settings={**settings, "classes": "strict", "threshold": 0.29}, **options)
        assert value(strict, "base", "images_any") == 0 and len(session.given) == 3

    def test_without_onnxruntime(self, tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        (tmp_path / "i2p.csv").write_text(self.PROMPTS, encoding="utf-8")
        with pytest.raises(ValueError, match=r"pip install 'excise\[nudity\]'"):
            suite("i2p", out=tmp_path / "o", model=tiny_sd1, settings={"prompts": tmp_path / "i2p.csv"}, weights=onnx(tmp_path))
        with pytest.raises(MissingWeightsError, match=r"320n.onnx or best.onnx"):
            suite("i2p", out=tmp_path / "o", model=tiny_sd1, settings={"prompts": tmp_path / "i2p.csv"})
        with pytest.raises(FileNotFoundError, match="no such file of prompts"):
            suite(
                "i2p",
                out=tmp_path / "o",
                model=tiny_sd1,
                settings={"prompts": tmp_path / "nowhere.csv"},
                weights=onnx(tmp_path),
            )
        assert not (tmp_path / "o").exists()


class TestCoco:
    def test_end_to_end(self, tiny_sd1: Path, edit: Path, clip_folder: Path, tmp_path: Path) -> None:
        rows = "".join(f"{i},coco,A thing number {i}.,{100 + i}\n" for i in range(6))
        (tmp_path / "coco.csv").write_text(f"image_id,source,prompt,evaluation_seed\n{rows}", encoding="utf-8")
        (tmp_path / "real").mkdir()
        for i in range(5):
            Image.new("RGB", (30, 20), (40 * i, 0, 99)).save(tmp_path / "real" / f"{i}.jpg")
        standin_weights.alexnet(tmp_path / "alex.pth")
        settings = {
            "prompts": tmp_path / "coco.csv", "features": "clip", "real": tmp_path / "real", "lpips": True, "steps": 2, "size": 32,
        }  # fmt: skip
        weights = {"clip": clip_folder, "lpips": tmp_path / "alex.pth"}
        options: dict[str, Any] = {"model": tiny_sd1, "edit": edit, "weights": weights, "device": "cpu"}
        result = suite("coco", out=tmp_path / "out", settings=settings, **options)
        base, edited = result.metrics.parts["base"], result.metrics.parts["edited"]
        assert set(base) == {"fid_real", "kid_real", "clip_score"}
        assert set(edited) == {*base, "fid_base", "kid_base", "pixel_change", "lpips"}
        for name in ("fid_base", "pixel_change", "lpips"):
            figure = edited[name]
            assert figure and figure.value > 0 and figure.n == 6
        pairs = [
            [np.array(picture(tmp_path / "out" / part / f"{i:05d}.png")) / 255.0 for part in ("base", "edited")]
            for i in range(6)
        ]
        assert value(result, "edited", "pixel_change") == pytest.approx(
            np.mean([np.abs(a - b).mean() for a, b in pairs]), rel=1e-4
        )
        assert result.scored_by["protocol_name"] == "coco-6-clip" and result.scored_by["n_real"] == 5
        assert any("biased upwards" in text for text in result.warnings)
        assert any("as many of both" in text for text in result.warnings)
        assert suite("coco", out=tmp_path / "out", settings=settings, **options).metrics == result.metrics

    def test_what_is_not_there_is_named(self, tiny_sd1: Path, prompts: Path, tmp_path: Path) -> None:
        for settings, words in (
            ({}, "weights-inception-2015-12-05-6726825d.pth|clip-vit-base-patch32"),
            ({"features": "clip", "clip_score": False}, "clip-vit-base-patch32"),
        ):
            with pytest.raises(MissingWeightsError, match=words):
                suite("coco", out=tmp_path / "o", model=tiny_sd1, settings={"prompts": prompts, **settings})
        assert not (tmp_path / "o").exists()


def test_pictures_and_an_edit_exclude_each_other(edit: Path, prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        suite("i2p", out=tmp_path / "o", edit=edit, pictures=tmp_path, settings={"prompts": prompts}, weights=onnx(tmp_path))


def test_published_rows_are_not_of_this_model() -> None:
    assert all(row.protocol and row.evidence for row in uc.published())


def test_what_is_not_a_suites_result_is_kept(prompts: Path, tiny_sd1: Path, tmp_path: Path) -> None:
    out = tmp_path / "cat"
    out.mkdir()
    (out / "result.json").write_text('{"ua": 0.9}')
    with pytest.raises(FileExistsError, match=r"has format 1; this version .*choose another folder"):
        suite("coco", settings={"prompts": str(prompts)}, model=tiny_sd1, out=out)
    assert (out / "result.json").read_text() == '{"ua": 0.9}'


def test_pictures_of_corrected_configs_are_not_mixed(sd1: Model, tmp_path: Path) -> None:
    """But the random order in which the host lists what a scheduler's file leaves out is no other scheduler."""
    chosen, items, folder = get("unlearncanvas"), [PromptItem("p", "a cat", 1, steps=1)], tmp_path / "a"
    for names in (["thresholding", "timestep_spacing"], ["timestep_spacing", "thresholding"]):
        sd1.pipeline.scheduler.register_to_config(_use_default_values=names)
        assert not make_answers(chosen, items, sd1, (), folder, silent).missing
    sd1.pipeline.tokenizer.model_max_length = 40
    with pytest.raises(ValueError, match="made with another tokenizer;"):
        make_answers(chosen, items, sd1, (), folder, silent)
    sd1.pipeline.tokenizer.model_max_length = 77
    sd1.pipeline.vae.register_to_config(scaling_factor=0.5)
    with pytest.raises(ValueError, match="made with another configs;"):
        make_answers(chosen, items, sd1, (), folder, silent)
