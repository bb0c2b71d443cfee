"""The page for a reader who knows no word of it: one sentence and the picture first, words explained, colours that can be read, paper."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import excise
import made_up
from excise.cli import screen
from excise.edits.manifest import Manifest
from excise.jobs.report import report
from excise.methods import get
from excise.report import edit_card, glossary, plain_words
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation
from parsed_page import Page

STYLE = (Path(excise.__file__).parent / "report" / "page.css").read_text(encoding="utf-8")

TOLD = {
    "left": 0.012,
    "left_low": 0.008,
    "left_high": 0.019,
    "left_worst": 0.02,
    "left_pictures": 8,
    "ended": "little enough was left",
}
SEEN = "When learning ended, 1.2 % (0.8–1.9) was left of what its words did to the model's answers, on 8 pictures that it did not learn from"
"""What a method tells, and how it is said."""


def result(**other: Any) -> ErasureResult:
    found: dict[str, Any] = {"evaluation": made_up.evaluation("object:cat"), "seconds": 12.5, "peak_mb": 900.0, **other}
    return ErasureResult(model="canvas", method="mim", concepts=("object:cat",), seed=0, **found)


class TestSentence:
    def test_it_says_what_was_erased_how_sure_that_is_and_what_it_cost(self) -> None:
        said = plain_words.summary(["object:cat"], "canvas", result())
        assert said == (
            "“cat” was to be removed from canvas: asked for it, the model now shows it in 5.0 % (3.0–8.0) of pictures instead of 96.0 %; "
            "still recognised are other objects in 54.0 % (44.0–64.0) of their pictures instead of 80.0 % and styles in 72.0 % (62.0–82.0) of "
            "their pictures instead of 80.0 %; making the edit took 12.5 s and 900 MiB of memory; a classifier judged it on 680 pictures of "
            "each model, with 95 % intervals in brackets."
        )

    def test_kinds_of_a_users_own_or_of_both_kinds_have_no_name(self) -> None:
        for concepts in (["identity:ann"], ["object:cat", "style:sketch"]):
            said = plain_words.summary(concepts, "canvas", result())
            assert "kind in 54.0 %" in said and "things of the other kind in 72.0 %" in said and "other objects" not in said

    def test_what_was_measured_quickly_says_so(self) -> None:
        quick, full = (plain_words.summary(["object:cat"], "canvas", result(extent=extent)) for extent in ("quick", "full"))
        assert "judged it quickly, on only 680 pictures" in quick and "intervals in brackets are wide" in quick
        assert "quickly" not in full and "wide" not in full

    @pytest.mark.parametrize("found", [None, result(evaluation=None, note="no evaluation was asked for")])
    def test_what_was_not_measured_claims_nothing(self, found: ErasureResult | None) -> None:
        said = plain_words.summary(["object:cat"], "canvas", found)
        assert "how much is left was not measured (" in said and " %" not in said and "classifier" not in said

    def test_what_a_model_has_no_other_of_is_not_named(self) -> None:
        bare = made_up.evaluation("object:cat", ira=None, cra=None)
        assert "recognised" not in plain_words.summary(["object:cat"], "canvas", result(evaluation=bare))

    def test_many_are_counted_and_the_kind_is_said(self) -> None:
        said = plain_words.summary([f"style:s{n}" for n in range(6)], "canvas", None)
        assert said.startswith("The style “s0”, the style “s1”, the style “s2”, the style “s3” and 2 more were to be removed")

    def test_a_share_without_an_interval_has_no_brackets(self) -> None:
        base = made_up.evaluation("object:cat").model_dump()
        single = Evaluation.model_validate({**base, "ua": {"value": 0.9, "n": 1}})
        assert "shows it in 10.0 % of pictures" in plain_words.summary(["object:cat"], "canvas", result(evaluation=single))

    def test_it_never_says_safe(self) -> None:
        said = [plain_words.summary(["object:cat"], "canvas", result()), plain_words.NO_PROMISE, *glossary.WORDS.values()]
        assert not re.search(r"\bsafe|guarante|prove[sn]?\b", " ".join(said), re.IGNORECASE)


class TestLearned:
    def test_what_is_left_and_why_learning_ended(self) -> None:
        seen, ended = plain_words.learned(TOLD)
        assert (
            seen.startswith(SEEN)
            and "no independent test" in seen
            and ended == "Learning ended because little enough was left."
        )

    @pytest.mark.parametrize(
        "told", [{}, {"rank": 4}, {"left": "1", "ended": 3}, {"left": True}, {"left": float("nan"), "ended": ""}]
    )
    def test_what_is_not_told_is_not_said(self, told: dict[str, object]) -> None:
        assert plain_words.learned(told) == []

    def test_page_card_and_terminal_say_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = made_up.write_erasure(tmp_path / "e", told=TOLD)
        found, manifest = ErasureResult.read(folder / "result.json"), Manifest.read(folder / "edit.json")
        screen.evidence(found)
        card = edit_card.render(manifest, get("mim"), found, model="canvas", edit="out/cat")
        for text in (capsys.readouterr().out, card, Page(report(folder)).text):
            assert SEEN in text and "Learning ended because little enough was left." in text

    def test_an_edit_that_nobody_measured_still_tells(self, tmp_path: Path) -> None:
        folder = made_up.write_erasure(tmp_path / "e")
        manifest = Manifest.read(folder / "edit.json").model_copy(update={"measurements": TOLD})
        made_up.write_json(folder / "edit.json", manifest.model_dump(mode="json"))
        (folder / "result.json").unlink()
        assert SEEN in Page(report(folder)).text


class TestFirstScreen:
    def test_the_sentence_and_then_the_picture(self, tmp_path: Path) -> None:
        folder = made_up.write_erasure(tmp_path / "e")
        text = report(folder).read_text(encoding="utf-8")
        lead, picture, table = text.index('<p class="lead">'), text.index("<img "), text.index("<table")
        assert lead < picture < table and text.count("<p", lead, picture) == 1
        assert text.index(plain_words.NO_PROMISE) > picture

    def test_the_card_says_the_same_sentence(self, tmp_path: Path) -> None:
        folder = made_up.write_erasure(tmp_path / "e")
        manifest, found = Manifest.read(folder / "edit.json"), ErasureResult.read(folder / "result.json")
        said = plain_words.summary(manifest.names, manifest.model, found)
        assert said in Page(report(folder)).text
        assert said in edit_card.render(manifest, get("mim"), found, model="canvas", edit="out/cat")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("results")
    made_up.write_bench(folder / "b", ("mim",), ("object:cat", "object:dog"), sheets=False)
    made_up.write_erasure(folder / "e")
    made_up.write_measurement(folder / "nats.json")
    return Page(report(folder))


class TestWords:
    def test_they_are_explained_where_they_stand_and_in_one_list(self, page: Page) -> None:
        marked = page.attributes("abbr")
        assert {"UA", "IRA", "neutral", "interval"} <= {
            word for word, means in glossary.WORDS.items() if means in {m["title"] for m in marked}
        }
        assert all(found["tabindex"] == "0" and found["title"] in glossary.WORDS.values() for found in marked)
        assert all(word in page.text and means in page.text for word, means in glossary.WORDS.items())
        assert "#words" in [found["href"] for found in page.attributes("a")] and "words" in [
            found.get("id") for found in page.attributes("h2")
        ]

    def test_heads_of_columns_are_explained_on_what_the_keyboard_reaches(self, page: Page) -> None:
        titles = {found.get("title") for found in page.attributes("button")}
        assert {glossary.WORDS["UA"], glossary.WORDS["steering"], glossary.WORDS["destroyed"]} <= titles
        assert all("title" not in found for found in page.attributes("th"))

    def test_nothing_that_is_reached_holds_another_that_is(self, page: Page) -> None:
        assert not re.search(r"<(button|summary|a )[^>]*>[^<]*<abbr", page.source)

    @pytest.mark.parametrize(
        ("text", "words"),
        [("UA and UA, IRA", ["UA", "IRA"]), ("Ira sings", []), ("object:neutral", []), ("95 % intervals", ["intervals"]),
         ("Nats left", ["Nats"]), ("“steering wheel”", []), ("seed 1", [])],
    )  # fmt: skip
    def test_a_word_is_marked_once_and_a_name_is_not(self, text: str, words: list[str]) -> None:
        marked = glossary.explained(text)
        assert re.findall(r">([^<]*)</abbr>", marked) == words and re.sub(r"<[^>]*>", "", marked) == text

    @pytest.mark.parametrize("name", made_up.HOSTILE)
    def test_names_stay_text_beside_a_marked_word(self, name: str) -> None:
        marked = glossary.explained(f"{name} UA {name}")
        assert marked.count("<") == 2 and marked.unescape().count(name) == 2


class TestColours:
    """WCAG 2's contrast of every text with what is behind it, from the colours of the stylesheet."""

    TEXT, GROUND = ("ink", "soft", "accent"), ("paper", "plate")

    @staticmethod
    def schemes() -> dict[str, dict[str, str]]:
        light, dark, paper = (
            dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
        )
        return {"light": light, "dark": dark, "print": paper}

    @staticmethod
    def contrast(one: str, other: str) -> float:
        def luminance(colour: str) -> float:
            digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
            parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
            red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue

        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    def test_the_formula(self) -> None:
        assert self.contrast("#000", "#ffffff") == pytest.approx(21) and self.contrast("#777777", "#fff") == pytest.approx(
            4.48, abs=0.005
        )

    @pytest.mark.parametrize("scheme", ["light", "dark", "print"])
    def test_every_text_can_be_read(self, scheme: str) -> None:
        colours = self.schemes()[scheme]
        pairs = [*product(self.TEXT, self.GROUND), ("ink", "low"), ("frame", "low"), ("frame", "plate")]
        poor = {pair: found for pair in pairs if (found := self.contrast(*(colours[name] for name in pair))) < 4.5}
        assert poor == {}

    def test_all_colours_are_those_and_none_is_made_faint(self) -> None:
        rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
        used = set(re.findall(r"(?<![-\w])color: ([^;}]+)", rules))
        assert {each.strip() for each in used} <= {
            f"var(--{name})" for name in (*self.TEXT, "paper")
        } and "opacity" not in rules
        assert re.findall(r"color: var\(--paper\)", rules) and "background: var(--ink); color: var(--paper)" in rules


class TestPaperAndPhone:
    PRINT = STYLE[STYLE.index("@media print") :]

    def test_on_a4_tables_fit_and_sections_begin_a_page(self) -> None:
        assert "size: A4;" in STYLE and "size: A4 landscape" in STYLE and ".wide { page: broad; }" in self.PRINT
        assert (
            re.search(r"main > section \{[^}]*break-before: page", self.PRINT)
            and "thead { display: table-header-group" in self.PRINT
        )
        assert re.search(r"th, td, th button[^{]*\{[^}]*white-space: normal; min-width: 0", self.PRINT)

    def test_links_are_shown_on_paper(self) -> None:
        hidden = re.findall(r"([^{}]*)\{ display: none", self.PRINT)
        assert [each.strip() for each in hidden] == [".skip"]

    def test_tables_with_many_columns_have_a_broad_page(self, page: Page) -> None:
        scrolled = [
            found["class"]
            for found in page.attributes("div")
            if "scroll" in found.get("class", "") and found.get("role") == "region"
        ]
        assert "scroll wide" in scrolled and "scroll" in scrolled

    def test_what_is_wide_scrolls_by_itself(self, page: Page) -> None:
        """Every table and picture lies in a box that scrolls and that the keyboard reaches; nothing has a width in pixels of its own."""
        boxes = [found for found in page.attributes("div") if "scroll" in found.get("class", "")]
        assert len(boxes) == len(page.attributes("table")) + len(page.attributes("img"))
        assert all(found["tabindex"] == "0" and found["aria-label"] for found in boxes)
        assert ".scroll { overflow-x: auto" in STYLE and not re.search(r"(?<![-\w])width: \d+(px|rem)", STYLE)
        assert {"width=device-width, initial-scale=1"} <= {found.get("content") for found in page.attributes("meta")}


def test_the_page_asks_no_other_host(page: Page) -> None:
    """Nothing in it names an address that a browser would fetch: in no attribute, and in no style."""
    fetched = (
        "src",
        "srcset",
        "href",
        "poster",
        "data",
        "action",
        "background",
        "formaction",
        "ping",
        "xlink:href",
        "manifest",
        "cite",
    )
    named = [value for _, found in page.tags for name, value in found.items() if name in fetched]
    assert named and all(value.startswith(("#", "data:")) for value in named)
    assert not re.search(r"url\(|@import|image-set", STYLE) and not re.search(
        r"fetch|XMLHttp|import\(|WebSocket|Beacon", page.scripts[0]
    )
    assert all("url(" not in found.get("style", "") for _, found in page.tags)
    policy = next(found["content"] for found in page.attributes("meta") if found.get("http-equiv"))
    assert "default-src 'none'; img-src data:" in policy and "http" not in policy
