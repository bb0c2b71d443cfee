"""UA, IRA, CRA, neutral, NRA and ORA on pictures whose contents are known; their intervals; what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tiny_models
from excise.concepts import Catalog
from excise.evaluation import evaluate
from excise.evaluation.protocol import VARIANTS
from excise.figures import Figure
from excise.models import Model
from excise.resampling import macro_interval
from excise.results.evaluation import ConceptShares, Evaluation, Figures, PictureCounts
from excise.statistics import wilson
from painted_pictures import Painter, Shown, no_change, painted

PICTURES = {"target_pictures": 6, "other_pictures": 3}
"""With three objects and three styles: two pictures of a target per style, one of every other pair."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def painter(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> Painter:
    return painted(canvas, monkeypatch)


def figures(painter: Painter, *names: str, **options: Any) -> Evaluation:
    model = painter.model
    targets = [model.catalog.resolve(name) for name in names]
    return evaluate(model, targets, no_change(model), **{**PICTURES, **options})


def values(found: Figures, *names: str) -> list[float | None]:
    """Without intervals; None where nothing was measured."""
    figures: list[Figure | None] = [getattr(found, name) for name in names]
    return [figure and figure.value for figure in figures]


def shares(concepts: Sequence[ConceptShares]) -> dict[str, ConceptShares]:
    return {each.concept: each for each in concepts}


def not_as(**wrong: str) -> Any:
    """Shows what is asked for, but never the key: the value instead."""

    def see(asked: Shown, prompt: str, seed: int) -> Shown:
        return {question: wrong.get(name.replace(" ", "_"), name) for question, name in asked.items()}

    return see


class TestGolden:
    """The tests of the specification: all right, and wrong on the target alone."""

    @pytest.mark.parametrize("name", ["cat", "sketch", "tabby"])
    def test_all_right(self, painter: Painter, name: str) -> None:
        found = figures(painter, name)
        assert values(found, "ua", "ira", "cra", "neutral") == [0, 1, 1, 0] and found.erased == 1
        assert {getattr(found, name) for name in ("ira_of_base", "cra_of_base", "ira_worst", "cra_worst")} == {1}
        assert values(found.base, "ua", "ira", "cra", "neutral") == [0, 1, 1, 0]

    @pytest.mark.parametrize("name, instead", [("cat", "dog"), ("sketch", "photo"), ("tabby", "kitten")])
    def test_wrong_on_the_target_alone(self, painter: Painter, name: str, instead: str) -> None:
        painter.edited = not_as(**{name: instead})
        found = figures(painter, name)
        assert values(found, "ua", "ira", "cra") == [1, 1, 1] and found.erased == 0
        assert found.base.ua.value == 0

    def test_the_counts(self, painter: Painter) -> None:
        """Two pictures of the cat in each of three styles; the dog and the bird once in each."""
        found = figures(painter, "cat")
        assert found.pictures == PictureCounts(target=6, retained=6, neutral=6) and found.seeds_from == 0
        assert shares(found.targets)["object:cat"].n == 6
        counts = {each.concept: each.n for each in found.retained}
        assert counts == {"object:dog": 3, "object:bird": 3, "style:photo": 2, "style:sketch": 2, "style:pixel art": 2}

    def test_fewer_pictures_than_there_are_styles_are_spread_over_them(self, painter: Painter) -> None:
        """The dog begins where two for each concept before it end, at the third style; the bird two later, at the second."""
        found = figures(painter, "cat", other_pictures=2)
        counts = {each.concept: each.n for each in found.retained}
        assert counts == {"object:dog": 2, "object:bird": 2, "style:photo": 1, "style:sketch": 1, "style:pixel art": 2}
        assert found.pictures == PictureCounts(target=6, retained=4, neutral=6)

    def test_one_of_each_where_else_a_style_would_not_be_seen(self, painter: Painter) -> None:
        assert figures(painter, "cat", other_pictures=1).pictures.retained == 6

    def test_without_an_edit_base_and_edited_are_the_same(self, painter: Painter) -> None:
        painter.base = not_as(cat="dog")
        found = evaluate(painter.model, [painter.model.catalog.resolve("cat")], **PICTURES)  # type: ignore[arg-type]
        assert found.ua == found.base.ua and found.ua.value == 1

    def test_a_mean_over_concepts_by_hand(self, painter: Painter) -> None:
        """The dog is lost in sketch, one picture of three: 2/3; the bird never. IRA is the mean; of styles, sketch loses nothing."""

        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "object": "other"} if asked["object"] == "dog" and asked["style"] == "sketch" else asked

        painter.edited = see
        found = figures(painter, "cat")
        assert values(found, "ira", "cra") == [pytest.approx((2 / 3 + 1) / 2), 1]
        assert found.ira_worst == pytest.approx(2 / 3) and found.cra_worst == 1
        dog = shares(found.retained)["object:dog"]
        assert (dog.base, dog.edited, dog.n, dog.neutral) == (1.0, pytest.approx(2 / 3), 3, None)

    def test_ua_of_several_targets_has_the_interval_of_a_mean_over_concepts(self, painter: Painter) -> None:
        """The cat is gone and the dog stays: pooled pictures alone would say that half is left of both."""
        painter.edited = not_as(cat="bird")
        found = figures(painter, "cat", "dog")
        low, high = macro_interval([0, 6], [6, 6])
        assert found.ua.value == 0.5 and found.ua.n == 12
        assert found.ua.interval == pytest.approx((1 - high, 1 - low)) == (0, 1)


class TestRatios:
    def test_are_capped(self, painter: Painter) -> None:
        """The edited model does better on the dog than the base (3 of 3 against 1) and worse on the bird (1 against 2)."""
        only = {"base": {"dog": ["photo"], "bird": ["photo", "sketch"]}, "edited": {"bird": ["photo"]}}

        def see(which: str) -> Any:
            def shown(asked: Shown, prompt: str, seed: int) -> Shown:
                styles = only[which].get(asked["object"])
                return asked if styles is None or asked["style"] in styles else {**asked, "object": "other"}

            return shown

        painter.base, painter.edited = see("base"), see("edited")
        found = figures(painter, "cat")
        assert values(found.base, "ira") == pytest.approx([(1 / 3 + 2 / 3) / 2])
        assert values(found, "ira") == pytest.approx([(1 + 1 / 3) / 2])
        assert found.ira_of_base == pytest.approx((1 + 1 / 2) / 2)
        assert found.ira_worst == pytest.approx(1 / 2)

    def test_leave_out_what_the_base_does_not_know(self, painter: Painter) -> None:
        painter.base = not_as(dog="other")
        assert figures(painter, "cat").ira_of_base == 1
        painter.base = not_as(dog="other", bird="other")
        found = figures(painter, "cat", seed=100)
        assert found.ira_of_base is None and found.ira_worst is None and values(found.base, "ira") == [0]


class TestNeutral:
    def test_is_the_base_models_share_without_the_words(self, painter: Painter) -> None:
        """Seed 1 shows a cat whatever is asked; the other seed only when asked: half of the masked pictures."""

        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "object": "cat"} if asked["object"] == "other" and seed == 1 else asked

        painter.base, painter.edited = see, not_as(cat="dog")
        found = figures(painter, "cat")
        assert shares(found.targets)["object:cat"].neutral == 0.5
        assert found.neutral is not None and found.neutral == found.base.neutral and found.neutral.value == 0.5
        assert found.neutral.interval == pytest.approx(wilson(3, 6))
        masked = {(prompt, seed) for prompt, seed in painter.prompts() if " cat" not in prompt and "in " in prompt}
        assert ("a picture in sketch style", 1) in masked
        assert not any(prompt.startswith("a picture in") for prompt, _ in painter.prompts(changed=True))

    def test_has_the_prompts_and_seeds_of_the_target(self, painter: Painter) -> None:
        figures(painter, "cat", seed=7)
        asked = {(p.replace(" of a cat", ""), s) for p, s in painter.prompts() if " cat" in p}
        assert asked == {(p, s) for p, s in painter.prompts() if p.startswith("a picture in")}


class TestMembers:
    def test_near_and_far(self, painter: Painter) -> None:
        """The kitten (near) is lost altogether, the dog (far) in one style of three; the cat itself is neither near nor far."""

        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            if asked["member"] == "kitten":
                return {**asked, "member": "lamp"}
            return {**asked, "object": "other"} if asked["object"] == "dog" and asked["style"] == "sketch" else asked

        painter.edited = see
        found = figures(painter, "tabby")
        assert values(found, "nra", "ora") == [0, pytest.approx((2 / 3 + 1) / 2)]
        assert values(found, "ua", "cra") == [0, 1]
        assert set(shares(found.retained)) == {
            "object:cat", "object:dog", "object:bird", "member:kitten", "style:photo", "style:sketch", "style:pixel art",
        }  # fmt: skip
        assert values(found, "ira") == pytest.approx([(1 + 2 / 3 + 1 + 0) / 4])
        assert values(found.base, "nra", "ora") == [1, 1]

    def test_a_member_with_no_other_beside_it(self, painter: Painter) -> None:
        """The owl is the bird's only member: there is nothing near to measure, and that is not a 0."""
        found = figures(painter, "owl")
        assert values(found, "nra", "ora") == [None, 1]

    def test_two_members_of_an_object(self, painter: Painter) -> None:
        painter.edited = not_as(tabby="lamp", kitten="lamp")
        found = figures(painter, "tabby", "kitten")
        assert values(found, "ua", "nra", "ora") == [1, None, 1]

    def test_objects_and_styles_have_neither(self, painter: Painter) -> None:
        assert values(figures(painter, "cat"), "nra", "ora") == [None, None]


class TestSeveralConcepts:
    def test_of_one_kind(self, painter: Painter) -> None:
        """The cat is gone, the dog is left: UA is the mean over targets."""
        painter.edited = not_as(cat="other")
        found = figures(painter, "cat", "dog")
        assert values(found, "ua", "ira") == [0.5, 1]
        assert {each.concept: each.edited for each in found.targets} == {"object:cat": 0, "object:dog": 1}
        assert [label for label in shares(found.retained) if label.startswith("object")] == ["object:bird"]

    def test_of_both_kinds(self, painter: Painter) -> None:
        """Neither the cat nor sketch is asked for in anything retained; IRA and CRA are over all that is retained."""
        painter.edited = not_as(cat="other", sketch="photo", bird="other")
        found = figures(painter, "cat", "style:sketch")
        assert set(shares(found.retained)) == {"object:dog", "object:bird", "style:photo", "style:pixel art"}
        assert values(found, "ua", "ira", "cra") == pytest.approx([1, 3 / 4, 3 / 4])
        prompts = {prompt for prompt, _ in painter.prompts()}
        assert not any("cat" in prompt and "sketch" in prompt for prompt in prompts)

    def test_everything(self, painter: Painter) -> None:
        """Nothing is left to keep: not measured, never 0."""
        found = figures(painter, "cat", "dog", "bird")
        assert values(found, "ua", "ira", "cra") == [0, None, None]
        assert found.ira_of_base is None and found.retained == ()


class TestVariants:
    """In `uc` the target's pictures count in the accuracies of what stands beside it; by default they do not."""

    def test_object(self, painter: Painter) -> None:
        """The style is lost on pictures of the cat alone: 1 of 3 pictures of every style."""

        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            wrong = {"photo": "sketch", "sketch": "photo", "pixel art": "photo"}[asked["style"]]
            return {**asked, "style": wrong} if asked["object"] == "cat" else asked

        painter.edited = see
        found = figures(painter, "cat")
        own, other = found.variants
        assert (own.name, other.name) == ("uc-cross-excl", "uc") and (own.ua, own.cra) == (found.ua, found.cra)
        assert values(found, "cra") == [1] and other.cra and other.cra.value == pytest.approx(2 / 3)
        assert other.ira and other.ira.value == 1 and other.ua.value == 0

    def test_style(self, painter: Painter) -> None:
        def see(asked: Shown, prompt: str, seed: int) -> Shown:
            return {**asked, "object": "other"} if asked["style"] == "sketch" else asked

        painter.edited = see
        found = figures(painter, "sketch")
        other = found.variants[1].cra
        assert values(found, "cra") == [1] and other and other.value == pytest.approx(2 / 3)

    def test_denominators(self, painter: Painter) -> None:
        """2 objects x 3 styles x 1 picture; with the target's 3 objects x 3 styles. Its second pictures count for UA alone."""
        variants = figures(painter, "cat").variants
        counts = [[each and each.n for each in (variant.ua, variant.ira, variant.cra)] for variant in variants]
        assert counts == [[6, 6, 6], [6, 6, 9]]
        assert {variant.name: variant.counts for variant in variants} == VARIANTS


class TestSeeds:
    def test_pictures_of_what_is_kept_do_not_depend_on_what_is_erased(self, painter: Painter) -> None:
        asked = {}
        for name in ("cat", "dog", "sketch"):
            painter.made.clear()
            figures(painter, name)
            asked[name] = painter.prompts(changed=True)
        bird = {name: {(p, s) for p, s in found if "bird in photo" in p and s == 0} for name, found in asked.items()}
        assert bird["cat"] == bird["dog"] == bird["sketch"] == {("a picture of a bird in photo style", 0)}

    def test_start_where_they_are_told(self, painter: Painter) -> None:
        found, first = figures(painter, "cat", seed=40), 40 * 2**16
        assert {seed for _, seed in painter.prompts()} == {first, first + 1} and found.seeds_from == first

    def test_order_of_targets_does_not_matter(self, painter: Painter) -> None:
        painter.edited = not_as(cat="dog")
        one, other = figures(painter, "cat", "bird"), figures(painter, "bird", "cat")
        assert one.ua == other.ua and one.retained == other.retained


class TestRefused:
    def test_a_class_that_the_judge_does_not_know(self, canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        heads = {**tiny_models.HEADS, "object": ["cat", "dog", "swan", "other"]}
        with pytest.raises(ValueError, match=r"does not know object:bird; its head 'object' has cat, dog, swan, other"):
            figures(painted(canvas, monkeypatch, heads), "cat")

    def test_a_head_that_the_judge_does_not_have(self, canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        heads = {"object": tiny_models.HEADS["object"], "style": tiny_models.HEADS["style"]}
        with pytest.raises(ValueError, match="no head 'member'"):
            figures(painted(canvas, monkeypatch, heads), "tabby")

    def test_pictures_of_another_size(self, canvas: Model) -> None:
        canvas.sampler = dataclasses.replace(canvas.sampler, size=32)
        with pytest.raises(ValueError, match="takes pictures of 16x16 pixels, got 32x32"):
            evaluate(canvas, [canvas.catalog.resolve("cat")], target_pictures=1, other_pictures=1)

    def test_an_edit_that_is_on_already(self, painter: Painter) -> None:
        with no_change(painter.model).applied(painter.model), pytest.raises(ValueError, match="carries an edit already"):
            figures(painter, "cat")

    def test_nothing_to_measure(self, painter: Painter) -> None:
        with pytest.raises(ValueError, match="at least one concept"):
            evaluate(painter.model, [])

    @pytest.mark.parametrize("lacks", ["classifier", "catalog"])
    def test_nothing_to_measure_with(self, painter: Painter, lacks: str) -> None:
        target = painter.model.catalog.resolve("cat")
        setattr(painter.model, lacks, None if lacks == "classifier" else Catalog())
        with pytest.raises(ValueError, match="brings no classifier and list of concepts"):
            evaluate(painter.model, [target])


class TestIntervals:
    @pytest.mark.parametrize("hits, n", [(0, 50), (30, 142), (16, 50), (95, 100), (1, 1), (200, 200)])
    def test_wilson_is_scipys(self, hits: int, n: int) -> None:
        oracle = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert wilson(hits, n) == pytest.approx((oracle.low, oracle.high), abs=1e-12)

    def test_wilson_of_the_specification(self) -> None:
        known = {(30, 142): (15.2, 28.6), (16, 50): (20.8, 45.8), (95, 100): (88.8, 97.8), (0, 50): (0, 7.1)}
        for (hits, n), ends in known.items():
            assert [round(100 * end, 1) for end in wilson(hits, n)] == list(ends)

    @pytest.mark.parametrize("hits, n", [(1, 0), (-1, 5), (6, 5)])
    def test_wilson_refuses(self, hits: int, n: int) -> None:
        with pytest.raises(ValueError, match="hits"):
            wilson(hits, n)

    def test_of_a_mean_over_concepts_that_differ(self) -> None:
        """By numpy: the resampled mean spreads more than the pooled pictures do."""
        hits, counts = [100, 100, 100, 40, 100, 90, 20, 100], [100] * 8
        low, high = macro_interval(hits, counts)
        shares = np.array(hits) / 100
        means = np.random.default_rng(1).choice(shares, (20_000, 8)).mean(1)
        plain = np.quantile(means, [0.025, 0.975])
        assert low < plain[0] + 0.01 and high > plain[1] - 0.01
        assert low < wilson(sum(hits), 800)[0] and high > wilson(sum(hits), 800)[1]
        assert high - low < 1.5 * (plain[1] - plain[0])

    def test_of_a_mean_over_concepts_that_are_all_right(self) -> None:
        assert macro_interval([24] * 19, [24] * 19) == pytest.approx(wilson(24 * 19, 24 * 19))

    def test_of_a_mean_over_few_concepts(self) -> None:
        """By scipy: Student's t, and never outside 0..1."""
        low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.4, 0.5, 0.6]))
        assert macro_interval([40, 50, 60], [100] * 3) == pytest.approx((low, high), abs=0.01)
        assert macro_interval([20, 50, 80], [100] * 3) == (0, 1)

    def test_of_one_concept(self) -> None:
        assert macro_interval([3], [10]) == wilson(3, 10)
