"""Things that no method is told of: how a model lists them, that nothing else sees them, and the figures about them, by hand."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import excise
import made_up
import table as docs_table
from excise.canvas.build import description
from excise.canvas.catalog import EXTRAS
from excise.cli import app
from excise.edits import Dense, WeightEdit
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Manifest
from excise.evaluation import evaluate
from excise.evaluation.bystander_figures import feature_change
from excise.evaluation.classifier import Classifier
from excise.evaluation.prompt_grid import check_heads, questions
from excise.figures import Figure, NamedFigure
from excise.files import read_json
from excise.jobs.bench import bench
from excise.jobs.report import report
from excise.models import Model, load
from excise.models.built_in import BUILT_IN
from excise.models.bystanders import read_bystanders
from excise.models.fingerprint import named_tensors
from excise.models.names import describe, resolve
from excise.report import bench_table, plain_words, result_table
from excise.report.glossary import meaning
from excise.requests.measure import declared_beside
from excise.resampling import macro_interval
from excise.results.evaluation import ConceptShares, Evaluation, PictureCounts
from painted_pictures import Painter, Shown, no_change, painted

LAMP = {"name": "lamp", "phrases": ["a lamp", "lamp"], "head": "member"}
MOON = {"name": "moon", "phrases": ["the moon"], "head": "object", "class": "other"}
LISTED = [LAMP, MOON]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def listing(folder: Path, entries: Any) -> Path:
    """The folder, whose `excise.json` lists these as bystanders."""
    told = read_json(folder / "excise.json")
    (folder / "excise.json").write_text(json.dumps({**told, "bystanders": entries}), encoding="utf-8")
    return folder


@pytest.fixture
def listed(tiny_canvas: Path, tmp_path: Path) -> Path:
    """Folder of a tiny canvas with two bystanders."""
    return listing(shutil.copytree(tiny_canvas, tmp_path / "listed"), LISTED)


def with_bystanders(model: Model, entries: Any = LISTED) -> Model:
    model.bystanders = read_bystanders(entries, model.catalog)
    return model


@pytest.fixture
def painter(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> Painter:
    return painted(with_bystanders(canvas), monkeypatch)


def figures(painter: Painter, name: str = "cat", count: int = 6, **options: Any) -> Evaluation:
    model = painter.model
    few = {"target_pictures": 3, "other_pictures": 3, "bystander_pictures": count}
    return evaluate(model, [model.catalog.resolve(name)], no_change(model), **{**few, **options})


class TestDescription:
    def test_lists_them_apart(self, tiny_canvas: Path, listed: Path) -> None:
        """The catalog, and all that is drawn from it, is the one of a model that lists none."""
        before, after = describe(tiny_canvas), describe(listed)
        assert before.bystanders == () and after.catalog == before.catalog
        lamp, moon = after.bystanders
        assert (lamp.concept.label, lamp.head, lamp.shown) == ("object:lamp", "member", "lamp")
        assert (moon.concept.phrases, moon.head, moon.shown) == (("the moon",), "object", "other")
        assert lamp.concept.contexts == ("photo", "sketch", "pixel art") and lamp.concept.templates == after.catalog.templates
        cat = after.catalog.resolve("cat")
        assert "object:lamp" not in {each.label for each in declared_beside([cat], after.catalog)}
        with pytest.raises(ValueError, match="unknown concept 'lamp'") as refused:
            after.catalog.resolve("lamp")
        assert "known: " not in str(refused.value) or "moon" not in str(refused.value)

    def test_changes_neither_the_weights_nor_what_is_kept_of_them(self, tiny_canvas: Path, listed: Path) -> None:
        one, other = load(tiny_canvas, device="cpu"), load(listed, device="cpu")
        assert base_fingerprint(one) == base_fingerprint(other)
        assert [each.concept.name for each in other.bystanders] == ["lamp", "moon"] and one.bystanders == ()

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            ([LAMP, LAMP], "there are two bystanders 'lamp'"),
            ([LAMP, {**LAMP, "name": "Lamp"}], "there are two bystanders 'Lamp'"),
            ([{**LAMP, "name": "Cat"}], "bystander 'Cat' is no bystander: 'Cat' names object:cat"),
            ([{**LAMP, "phrases": ["a lamp", "Pencil"]}], "'Pencil' names style:sketch"),
            ([{**LAMP, "phrases": []}], "bystanders.0.phrases: List should have at least 1 item"),
            ([{**LAMP, "phrases": [" "]}], "'lamp' needs at least one phrase"),
            ([{**LAMP, "phrases": "a lamp"}], "bystanders.0.phrases: "),
            ([{**LAMP, "name": " "}], "a concept needs a name"),
            ([{"name": "lamp", "phrases": ["a lamp"]}], "bystanders.0.head: Field required"),
            ([{**LAMP, "class": None}], "bystanders.0.class: "),
            ([{**LAMP, "name": "x" * 501}], "bystanders.0.name: String should have at most 500 characters"),
            ([{**LAMP, "phrases": ["a\nlamp" * 200]}], "bystanders.0.phrases.0: String should have at most 500 characters"),
            ([{**LAMP, "phrases": [f"lamp {n}" for n in range(20_000)]}], "would have .* prompts, more than"),
            ([LAMP] * 10_001, "bystanders: List should have at most 10000 items"),
            (["lamp"], "bystanders.0: "),
            ({"lamp": LAMP}, "bystanders: Input should be a valid list"),
            (None, "bystanders: Input should be a valid list"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, listed: Path, entries: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said) as refused:
            describe(listing(listed, entries))
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
        assert str(refused.value).startswith(f"{listed / 'excise.json'} is not a model description: ")

    def test_the_command_line_ends_with_2(self, listed: Path) -> None:
        found = CliRunner().invoke(app, ["info", str(listing(listed, [LAMP, LAMP]))])
        assert found.exit_code == 2 and "there are two bystanders 'lamp'" in found.output

    def test_info_counts_them(self, listed: Path) -> None:
        assert re.search(r"bystanders +2 more things", CliRunner().invoke(app, ["info", str(listed)]).output)

    @pytest.mark.parametrize("name", ["canvas", "canvas-without-cat"])
    def test_the_canvas_lists_its_further_glyphs(self, name: str) -> None:
        """The folder's file is what building it writes, and the classifier knows all forty."""
        told = read_json(BUILT_IN[name] / "excise.json")
        assert told == description(told["name"], told.get("without", ()))
        found, judge = describe(resolve(name)), Classifier.load(BUILT_IN["canvas"] / "classifier.safetensors")
        assert [each.concept.name for each in found.bystanders] == list(EXTRAS) and len(EXTRAS) == 40
        assert {each.shown for each in found.bystanders} <= set(judge.names["member"])

    def test_what_a_canvas_never_met_is_not_among_them(self) -> None:
        told = description("canvas without heart", ["heart"])
        assert "heart" not in {each["name"] for each in told["bystanders"]} and len(told["bystanders"]) == 39


def test_only_those_read_the_list_that_measure_or_show() -> None:
    """A method that read it would be told of what nobody told it."""
    package = Path(excise.__file__).parent
    readers = {path.relative_to(package).parts[0] for path in package.rglob("*.py") if "bystander" in path.read_text("utf-8")}
    assert readers == {"models", "evaluation", "results", "report", "requests", "jobs", "cli", "canvas"}


class TestQuestions:
    def asked(self, model: Model, name: str = "cat", count: int = 6, seed: int = 0) -> list[tuple[str, int]]:
        found = questions(model, [model.catalog.resolve(name)], 3, 3, seed, count)
        return [(question.item.prompt, question.item.seed) for question in found.bystanders]

    def test_in_turn_with_the_styles_in_turn(self, canvas: Model) -> None:
        """Two things and three styles: after six pictures each has met each."""
        assert self.asked(with_bystanders(canvas)) == [
            ("a picture of a lamp in photo style", 0), ("a picture of the moon in sketch style", 0),
            ("a picture of a lamp in pixel art style", 1), ("a picture of the moon in photo style", 1),
            ("a picture of a lamp in sketch style", 2), ("a picture of the moon in pixel art style", 2),
        ]  # fmt: skip

    @pytest.mark.parametrize(("things", "count"), [(40, 80), (40, 40), (40, 12), (6, 25), (3, 30), (1, 5), (7, 33)])
    @pytest.mark.parametrize("erased", ["cat", "sketch"])
    def test_things_and_styles_come_evenly(self, canvas: Model, things: int, count: int, erased: str) -> None:
        names = [f"thing{number}" for number in range(things)]
        with_bystanders(canvas, [{**LAMP, "name": name, "phrases": [name]} for name in names])
        asked = self.asked(canvas, erased, count)
        assert len(asked) == len(set(asked)) == count
        things_met = Counter(re.findall(r"thing\d+", prompt)[0] for prompt, _ in asked)
        assert list(things_met) == names[:count] and max(things_met.values()) - min(things_met.values()) <= 1
        styles = Counter(prompt.partition(" in ")[2] for prompt, _ in asked)
        assert max(styles.values()) - min(styles.values()) <= 1 and len(styles) == (3 if erased == "cat" else 2)
        pairs = Counter(prompt for prompt, _ in asked)
        assert max(pairs.values()) <= 1 + count // (things * len(styles))

    def test_begin_where_the_seed_says(self, canvas: Model) -> None:
        first = self.asked(with_bystanders(canvas), count=2, seed=1)
        assert first == [("a picture of a lamp in sketch style", 2**16), ("a picture of the moon in pixel art style", 2**16)]

    def test_without_any_or_any_pictures(self, canvas: Model) -> None:
        assert self.asked(canvas) == [] and self.asked(with_bystanders(canvas), count=0) == []

    def test_a_class_that_the_judge_does_not_know(self, canvas: Model) -> None:
        with_bystanders(canvas, [{**LAMP, "class": "torch"}])
        assert canvas.classifier is not None
        judge, cat = Classifier.load(canvas.classifier), [canvas.catalog.resolve("cat")]
        with pytest.raises(ValueError, match="does not know object:lamp; its head 'member' has tabby"):
            check_heads(judge, questions(canvas, cat, 1, 1, 0, 1), canvas)
        check_heads(judge, questions(canvas, cat, 1, 1, 0), canvas)

    def test_and_no_erasure_begins(self, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("excise.methods.Method.erase", lambda *a, **k: pytest.fail("it began"))
        listing(listed, [LAMP, {**MOON, "class": "sun"}])
        with pytest.raises(ValueError, match="does not know object:moon"):
            excise.erase("cat", model=str(listed), method="uce", device="cpu")


class TestFigures:
    def test_all_right(self, painter: Painter) -> None:
        found = figures(painter)
        assert found.bystanders and found.base.bystanders and found.bystanders.value == found.base.bystanders.value == 1
        assert found.bystanders.interval == macro_interval([3, 3], [3, 3]) and found.bystanders.n == 6
        assert found.bystanders_of_base == 1 and found.bystander_change == Figure(value=0, low=0, high=0, n=6)
        assert found.pictures == PictureCounts(target=3, retained=6, neutral=3, bystanders=6)
        assert found.base.bystander_change is None

    def test_by_hand(self, painter: Painter) -> None:
        """The base fails one of the moon's three pictures; the edited model shows an owl for every lamp."""

        def base(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "object": "dog"} if "moon in sketch" in prompt else asked

        def edited(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "member": "owl"} if "lamp" in prompt else base(asked, prompt, seed)

        painter.base, painter.edited = base, edited
        found = figures(painter)
        assert found.each_bystander == (
            ConceptShares(concept="object:lamp", base=1, edited=0, n=3),
            ConceptShares(concept="object:moon", base=2 / 3, edited=2 / 3, n=3),
        )
        assert found.base.bystanders and found.base.bystanders.value == pytest.approx(5 / 6)
        assert found.bystanders and found.bystanders.value == pytest.approx(1 / 3)
        assert found.bystanders_of_base == pytest.approx((1 / 3) / (5 / 6))
        other, lamp, owl = (3, 5, 4)  # the numbers of the classes are the colours
        pictures = [(other, lamp, 0), (1, lamp, 1), (other, lamp, 2), (other, lamp, 0), (other, lamp, 1), (other, lamp, 2)]
        apart = [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in combinations(pictures, 2)]
        moved = [(owl - lamp) ** 2, 0] * 3
        assert found.bystander_change is not None
        assert found.bystander_change.value == pytest.approx(
            np.mean(moved) / np.mean(apart), rel=2e-3
        )  # kept in half precision
        assert found.bystander_change.low is not None and found.bystander_change.low >= 0

    def test_one_that_the_base_does_not_show_gives_no_ratio(self, painter: Painter) -> None:
        painter.base = lambda asked, prompt, seed: {**asked, "object": "dog", "member": "owl"}
        found = figures(painter)
        assert found.bystanders_of_base is None and found.base.bystanders and found.base.bystanders.value == 0

    def test_ratios_are_capped(self, painter: Painter) -> None:
        painter.base = lambda asked, prompt, seed: {**asked, "member": "owl"}
        found = figures(painter)
        assert found.bystanders and found.bystanders.value == 1 and found.bystanders_of_base == 1

    def test_without_an_edit_nothing_moved(self, painter: Painter) -> None:
        model = painter.model
        found = evaluate(model, [model.catalog.resolve("cat")], target_pictures=3, other_pictures=3, bystander_pictures=2)
        assert found.bystander_change is not None and found.bystander_change.value == 0 and found.bystanders_of_base == 1

    def test_the_other_figures_do_not_feel_them(self, painter: Painter) -> None:
        """Nor does a file hold a word of them where none were asked for."""
        without, beside = figures(painter, count=0), figures(painter)
        own = {"bystanders", "bystander_change", "bystanders_of_base", "each_bystander"}
        told = beside.model_dump(exclude_none=True)
        told = {name: value for name, value in told.items() if name not in own}
        del told["base"]["bystanders"], told["pictures"]["bystanders"]
        assert told == without.model_dump(exclude_none=True) and "bystander" not in without.model_dump_json(exclude_none=True)
        assert Evaluation.model_validate(without.model_dump(exclude_none=True)) == without

    def test_pictures_of_the_base_are_made_once(self, painter: Painter) -> None:
        figures(painter)
        painter.made.clear()
        figures(painter, "dog")
        assert not any("lamp" in prompt or "moon" in prompt for prompt, _ in painter.prompts())
        assert len([prompt for prompt, _ in painter.prompts(changed=True) if "lamp" in prompt]) == 3

    def test_the_base_model_in_the_place_of_the_edited_one(self, painter: Painter) -> None:
        painter.edited = lambda asked, prompt, seed: {**asked, "member": "owl", "object": "dog"}
        found = figures(painter).of_base()
        assert found.bystanders and found.bystanders.value == 1 and found.bystander_change is None

    @pytest.mark.parametrize("count", [-1, 2.5, "many"])
    def test_wrong_counts(self, painter: Painter, count: Any) -> None:
        with pytest.raises(ValueError, match="bystander_pictures must be"):
            figures(painter, count=count)

    def test_an_edit_that_destroys_everything_shows_it(self, listed: Path) -> None:
        """On a real model: its change is about that of pictures that have nothing to do with one another; a tiny edit's is next to none."""
        model = load(listed, device="cpu")

        def change(size: float) -> Figure:
            random = torch.Generator().manual_seed(0)
            deltas = {
                name: Dense(size * tensor.detach().std() * torch.randn(tensor.shape, generator=random))
                for name, tensor in named_tensors(model).items()
                if name.startswith("unet.") and tensor.ndim > 1
            }
            edit = WeightEdit(deltas, Manifest(model=model.name, base=base_fingerprint(model), method="noise", concepts=[]))
            few = {"target_pictures": 3, "other_pictures": 3, "bystander_pictures": 12}
            found = evaluate(model, [model.catalog.resolve("cat")], edit, **few).bystander_change  # type: ignore[arg-type]
            assert found is not None and found.low is not None and found.high is not None
            return found

        harm, hardly = change(2.0), change(1e-4)
        assert harm.low is not None and hardly.high is not None and harm.low > 0.5 and hardly.high < 0.01


class TestFeatureChange:
    def test_by_hand(self) -> None:
        """One of two pictures moved by 1, and the two are 2 apart: (1 + 0) / 2 of 4."""
        found = feature_change(["a", "b"], torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
        assert found is not None and found.value == pytest.approx(1 / 8) and found.n == 2 and found.low >= 0

    def test_against_numpy(self) -> None:
        """Pairs of one prompt are none of different things; every resample counts a picture as often as it was drawn."""
        random = np.random.default_rng(0)
        base, edited = random.normal(size=(12, 5)), random.normal(size=(12, 5))
        prompts = [f"thing {number % 5}" for number in range(12)]
        pairs = [(i, j) for i, j in combinations(range(12), 2) if prompts[i] != prompts[j]]
        apart = np.mean([np.sum((base[i] - base[j]) ** 2) for i, j in pairs])
        found = feature_change(prompts, torch.from_numpy(base), torch.from_numpy(edited))
        assert found is not None and found.value == pytest.approx(np.mean(np.sum((base - edited) ** 2, 1)) / apart)
        draws = []
        for picks in random.integers(12, size=(4000, 12)):
            drawn = [(i, j) for i, j in combinations(picks, 2) if prompts[i] != prompts[j]]
            between = np.mean([np.sum((base[i] - base[j]) ** 2) for i, j in drawn])
            draws.append(np.mean(np.sum((base - edited)[picks] ** 2, 1)) / between)
        low, high = np.quantile(draws, [0.0125, 0.9875])  # expanded percentiles of 12 pictures: about 1.09 times as far out
        assert found.low == pytest.approx(low, abs=0.06) and found.high == pytest.approx(high, abs=0.06)

    def test_features_far_from_zero_lose_nothing(self) -> None:
        """Distances of single-precision features are those of double precision, wherever the features lie."""
        random = torch.Generator().manual_seed(2)
        base, edited = 1000 + torch.randn(2, 20, 5, generator=random)
        prompts = [str(number) for number in range(20)]
        found, exact = (
            feature_change(prompts, base, edited),
            feature_change(prompts, base.double() - 1000, edited.double() - 1000),
        )
        assert found is not None and exact is not None and found.value == pytest.approx(exact.value, rel=1e-9)

    def test_0_is_no_change_and_1_is_pictures_of_other_things(self) -> None:
        random = torch.Generator().manual_seed(0)
        base, other = torch.randn(400, 30, generator=random), torch.randn(400, 30, generator=random)
        prompts = [str(number) for number in range(400)]
        same, unlike = feature_change(prompts, base, base), feature_change(prompts, base, other)
        assert same is not None and (same.value, same.low, same.high) == (0, 0, 0)
        assert unlike is not None and unlike.value == pytest.approx(1, abs=0.05) and unlike.low < 1 < unlike.high

    def test_one_minus_it_is_the_correlation(self) -> None:
        random = torch.Generator().manual_seed(1)
        base, noise = torch.randn(400, 50, generator=random), torch.randn(400, 50, generator=random)
        edited = 0.8 * base + 0.6 * noise
        correlation = np.corrcoef(base.flatten().numpy(), edited.flatten().numpy())[0, 1]
        found = feature_change([str(number) for number in range(400)], base, edited)
        assert found is not None and 1 - found.value == pytest.approx(correlation, abs=0.02)

    @pytest.mark.parametrize("prompts, base", [(["a"], [[1.0]]), (["a", "a"], [[1.0], [2.0]]), (["a", "b"], [[1.0], [1.0]])])
    def test_is_not_there_where_there_is_nothing_to_compare_with(self, prompts: list[str], base: list[list[float]]) -> None:
        assert feature_change(prompts, torch.tensor(base), torch.tensor(base) + 1) is None


SHOWN: dict[str, Any] = {
    "bystanders": Figure(value=0.9, low=0.8, high=0.95, n=80), "bystander_change": Figure(value=0.125, low=0.1, high=0.15, n=80),
    "bystanders_of_base": 0.96, "each_bystander": (
        ConceptShares(concept="object:heart", base=1, edited=0.5, n=2), ConceptShares(concept="object:cow", base=1, edited=1, n=2),
    ), "pictures": PictureCounts(target=200, retained=480, neutral=200, bystanders=80),
}  # fmt: skip


def shown() -> Evaluation:
    found = made_up.evaluation("object:cat", **SHOWN)
    return found.model_copy(update={"base": found.base.model_copy(update={"bystanders": Figure(value=0.9375, n=80)})})


class TestShown:
    def test_in_the_table(self) -> None:
        rows = {row[0].partition(":")[0].partition(";")[0]: row[1:] for row in result_table.table(shown())}
        assert rows["bystanders"] == ("93.8 %", "90.0 % (80.0–95.0)", "96.0 %")
        assert rows["change of their pictures"] == ("", "0.125 (0.1–0.15)", "")
        assert result_table.counts(shown()) == "target 200, retained 480, neutral 200, bystanders 80"
        old = made_up.evaluation("object:cat")
        assert not any("bystander" in row[0] for row in result_table.table(old)) and "bystander" not in result_table.counts(old)

    def test_in_plain_words(self) -> None:
        said = plain_words.bystanders(shown())
        assert said == (
            "Bystanders, things that the method was not told of (2 in all, such as heart and cow), are recognised in 90.0 % (80.0–95.0) of "
            "their pictures instead of 93.8 %; those pictures changed by 0.125 (0.1–0.15), where 0 is not at all and 1 is as much as pictures "
            "of different things differ."
        )
        assert plain_words.bystanders(made_up.evaluation("object:cat")) == "" and meaning("bystanders").startswith(
            "a thing that"
        )

    def test_on_the_card_and_the_page(self, listed: Path, tmp_path: Path) -> None:
        made = excise.erase("cat", model=str(listed), method="uce", device="cpu", out=tmp_path / "cat")
        evaluation = made.result.evaluation
        assert evaluation is not None and evaluation.pictures.bystanders == 3
        card = (tmp_path / "cat" / "README.md").read_text(encoding="utf-8")
        assert (
            "Bystanders, things that the method was not told of (2 in all, such as lamp and moon)" in card
            and "| bystanders: things" in card
        )
        report(tmp_path / "cat", out=tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert (
            "things that the method was not told of (2 in all, such as lamp and moon)" in page
            and page.count(">bystander</td>") == 2
        )

    def test_columns_of_a_grid(self) -> None:
        """Earlier cells have empty ones; a grid of earlier cells alone has none."""
        old, new = made_up.cell("uce", "object:cat"), made_up.cell("mim", "object:cat", **SHOWN)
        assert "bystander" not in bench_table._csv([old]) and "ystander" not in bench_table.markdown([old])
        head, first, second = (line.split(",") for line in bench_table._csv([old, new]).splitlines())
        for name, value in (("bystanders", "0.9"), ("bystanders_of_base", "0.96"), ("bystander_change_high", "0.15")):
            assert (first[head.index(name)], second[head.index(name)]) == ("", value)
        uce, mim = bench_table.markdown([old, new]).splitlines()[4:6]
        assert mim.endswith("| 96.0 | 0.125 |") and uce.endswith("| not measured | not measured |")

    def test_table_of_the_docs(self) -> None:
        old, new = made_up.cell("uce", "object:cat"), made_up.cell("mim", "object:cat", **SHOWN)
        least = NamedFigure(concept="object:dog", value=0.8, n=8)
        words = made_up.words(share=made_up.figure(0.1), steering=made_up.figure(0.1), mean=made_up.figure(0.9), worst=least)
        old, new = (cell.model_copy(update={"information": words}) for cell in (old, new))
        assert len([line for line in docs_table.table([old], "object") if line.startswith("|---")]) == 2
        lines = docs_table.table([old, new], "object")
        assert lines[-4] == "| method | erasures | bystanders of base | least | change of their pictures | most |"
        assert {"| `mim` | 1 | 96.0 | 96 | 0.125 | 0.125 |", "| `uce` | 0 |  |  |  |  |"} == set(lines[-2:])


class TestCommands:
    def run(self, *arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def evaluated(self, model: Path, *more: object) -> Any:
        few = ("--target-pictures", 3, "--other-pictures", 3, "--device", "cpu", "--json", "-")
        return self.run("evaluate", "--concept", "cat", "--model", model, *few, *more)

    def test_evaluate(self, listed: Path) -> None:
        found = json.loads(self.evaluated(listed, "--bystander-pictures", 4).stdout)["evaluation"]
        assert found["pictures"]["bystanders"] == 4 and found["bystander_change"]["value"] == 0
        assert "bystanders" not in json.loads(self.evaluated(listed, "--bystander-pictures", 0).stdout)["evaluation"]
        refused = self.evaluated(listed, "--bystander-pictures", -1)
        assert refused.exit_code == 2 and "bystander" in refused.output

    def test_measure_against_them(self, listed: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        excise.erase("cat", model=str(listed), method="uce", device="cpu", evaluate="none", out=tmp_path / "cat")
        asked = ("measure", "--edit", tmp_path / "cat", "--budget", 2500, "--device", "cpu", "--against", "bystanders")
        found = self.run(*asked, "--model", listed, "--against", "dog", "--json", tmp_path / "nats.json")
        assert found.exit_code == 0, found.output
        told = read_json(tmp_path / "nats.json")
        assert [each["concept"] for each in told["others"]] == ["object:lamp", "object:moon", "object:dog"]
        assert {each["concept"] for each in told["collateral"]["kept"]} <= {"object:lamp", "object:moon", "object:dog"}
        refused = self.run(*asked, "--model", tiny_canvas)
        assert refused.exit_code == 2 and "the model 'tiny canvas' lists no bystanders; name concepts" in refused.output

    def test_a_grid_says_how_many_and_earlier_ones_go_on_without(self, listed: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        few: dict[str, Any] = {
            "target_pictures": 3,
            "other_pictures": 3,
            "quality": False,
            "information": False,
            "device": "cpu",
        }

        def grid(out: str, model: Path, **more: Any) -> Any:
            bench(methods=["uce"], concepts=["cat"], out=tmp_path / out, model=str(model), **few, **more)
            return read_json(tmp_path / out / "bench.json").get("bystander_pictures")

        assert (
            grid("new", listed, bystander_pictures=4) == 4 and "bystander_change" in (tmp_path / "new/results.csv").read_text()
        )
        with pytest.raises(ValueError, match="bystander_pictures 4, now 80; choose another folder"):
            grid("new", listed)
        assert grid("old", tiny_canvas) is None
        assert grid("old", listed, bystander_pictures=0) is None
