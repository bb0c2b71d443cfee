"""The report page: what it shows of known numbers, that names are never obeyed, and one clear line for what cannot be reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import excise
import made_up
from excise.cli import app
from excise.edits import load_edit
from excise.jobs.report import report
from excise.report import bench_sections, method_table, plots
from excise.report.bench_columns import Number
from excise.report.folder_reader import read
from excise.results.audit_result import AuditFile
from excise.results.cell import Cell
from excise.results.evaluation import GoldDistances
from parsed_page import Page

SRC = Path(excise.__file__).parents[1]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    folder = made_up.write_everything(tmp_path_factory.mktemp("results"))
    return folder, Page(report(folder))


def call(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *map(str, words)])
    return result.exit_code, result.output


class TestMethods:
    """The table of methods against numbers worked by hand."""

    def test_a_single_cell_is_shown_with_its_own_intervals(self) -> None:
        row = method_table.row([made_up.cell("m", "object:cat", ua=0.9, kept=0.5)], "m")
        assert row.numbers["ua"].value == 0.9 and row.numbers["ua"].ends == pytest.approx((0.87, 0.92))
        left = row.numbers["left"]
        assert left.value == pytest.approx(0.1 - 0.02)
        assert left.ends == pytest.approx((0.08 - (0.02**2 + 0.02**2) ** 0.5, 0.08 + (0.03**2 + 0.01**2) ** 0.5))
        assert (
            row.numbers["worst"].value == pytest.approx(0.25) and row.numbers["worst"].note == "object:dog, erasing object:cat"
        )

    def test_seeds_of_a_concept_count_once(self) -> None:
        """0.9 and 0.7 of cat, 0.6 of dog: cat is 0.8, the mean 0.7, and not 0.733."""
        cells = [
            made_up.cell("m", "object:cat", 0, ua=0.9),
            made_up.cell("m", "object:cat", 1, ua=0.7),
            made_up.cell("m", "object:dog", ua=0.6),
        ]
        found = method_table.row(cells, "m").numbers["ua"]
        assert found.value == pytest.approx(0.7)
        assert (
            found.ends is not None and found.ends[0] <= 0.6 and found.ends[1] >= 0.8
        )  # two concepts: the bootstrap spans both

    def test_few_concepts_have_students_interval(self) -> None:
        """Their percentiles would be 0.5 and 0.9 at most, and hold the true mean three times in four."""
        values = [0.5, 0.6, 0.9]
        cells = [made_up.cell("m", f"object:{name}", ua=ua) for name, ua in zip("abc", values, strict=True)]
        found = method_table.row(cells, "m").numbers["ua"]
        low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert found.ends == pytest.approx((low, high))

    def test_concepts_alike_leave_chance_within_them(self) -> None:
        """Four concepts, each 0.9 with -0.03 and +0.02: their spread is none, the mean's half as wide."""
        cells = [made_up.cell("m", f"object:{name}", ua=0.9) for name in "abcd"]
        assert method_table.row(cells, "m").numbers["ua"].ends == pytest.approx((0.9 - 0.015, 0.9 + 0.01))

    def test_ratios_have_the_interval_of_what_is_divided(self) -> None:
        """All four keep everything: 1.0, with -0.05 of IRA 0.8; a mean without any width would claim certainty from few pictures."""
        cells = [
            made_up.cell("m", f"object:{name}", ira=made_up.figure(0.8, 0.04, 0.04), ira_of_base=1.0, cra_of_base=1.0)
            for name in "abcd"
        ]
        assert method_table.row(cells, "m").numbers["ira_of_base"].ends == pytest.approx((0.95, 1.0))

    def test_pictures_in_common_do_not_make_chance_smaller(self) -> None:
        """The kept concepts' pictures are the same in every cell of a seed: four cells know no more than one, two seeds a little."""

        def nats(name: str, seed: int) -> Cell:
            return made_up.cell(
                "m", f"object:{name}", seed, information=made_up.words(mean=made_up.figure(0.9, 0.04, 0.03, 12))
            )

        def ends(cells: list[Cell]) -> Any:
            return method_table.row(cells, "m").numbers["nats_kept"].ends

        assert ends([nats(name, 0) for name in "abcd"]) == pytest.approx((0.86, 0.93))
        both = ends([nats(name, seed) for name in "abcd" for seed in (0, 1)])
        assert both == pytest.approx((0.9 - 0.04 / 2**0.5, 0.9 + 0.03 / 2**0.5))

    @pytest.mark.parametrize("n", [7, 8, 20])
    def test_a_mean_over_concepts_holds_the_truth_as_often_as_it_says(self, n: int) -> None:
        values = np.random.default_rng(n).standard_normal((600, n))
        ends = [method_table._over(row.tolist()) for row in values]
        assert 0.925 < np.mean([each is not None and each[0] < 0 < each[1] for each in ends]) < 0.985

    def test_the_legend_names_every_marker_though_the_first_method_failed(self) -> None:
        figure = plots.overview(method_table.groups([made_up.failed("a", "object:cat"), made_up.cell("b", "object:cat")])[0])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [name for *_, name in plots.KEPT.values()]

    def test_the_worst_is_the_smallest_of_any_cell(self) -> None:
        cells = [made_up.cell("m", "object:cat", kept=0.9), made_up.cell("m", "object:dog", kept=0.4)]
        found = method_table.row(cells, "m").numbers["worst"]
        assert found.value == pytest.approx(0.2) and found.note == "object:cat, erasing object:dog"

    def test_failed_cells_are_counted_and_nothing_else(self) -> None:
        failed = made_up.failed("m", "object:dog")
        good = made_up.cell("m", "object:cat")
        assert method_table.row([good, failed], "m").note == "1 erasure, 1 failed"
        assert method_table.row([good, failed], "m").numbers == method_table.row([good], "m").numbers

    def test_the_leaders_are_of_those_with_the_most_erasures(self) -> None:
        """ "one" has a single easy erasure; of the others, with two each, "near" leaves less and "far" keeps more."""
        cells = [
            made_up.cell("one", "object:cat", ua=0.98, kept=1.0),
            *(made_up.cell("near", f"object:{name}", ua=0.97, kept=0.5) for name in ("cat", "dog")),
            *(made_up.cell("far", f"object:{name}", ua=0.5, kept=0.9) for name in ("cat", "dog")),
        ]
        gone, kept = bench_sections._leaders(method_table.groups(cells)[0])
        assert "removal: near," in gone and "best: far," in kept
        assert bench_sections._leaders(method_table.groups(cells[:3])[0]) == [], "no choice"

    def test_what_was_not_measured_is_not_there(self) -> None:
        cell = made_up.cell("m", "object:cat", fid_base=None, information=made_up.words())
        numbers = method_table.row([cell], "m").numbers
        assert not {"fid_base", "steering", "nats_left", "nats_kept", "peak_mb"} & numbers.keys() and "destruction" in numbers
        assert "destruction" not in method_table.row([made_up.cell("m", "object:cat", information=None)], "m").numbers

    def test_information_is_read_where_the_benchmark_puts_it(self) -> None:
        told = made_up.words(
            share=made_up.figure(0.02, 0.01, 0.01),
            steering=made_up.figure(-0.4, 0.1, 0.1),
            worst=made_up.named("object:dog", 0.7),
        )
        numbers = method_table.row([made_up.cell("m", "object:cat", information=told)], "m").numbers
        assert numbers["nats_left"] == Number(0.02, (0.01, 0.03)) and numbers["steering"].value == -0.4
        assert numbers["nats_kept_worst"] == Number(0.7, None, "object:dog"), "a minimum has no interval"

    def test_groups_by_kind_and_published_rows_of_that_kind_only(self) -> None:
        cells = [made_up.cell("m", "object:cat"), made_up.cell("m", "style:sketch")]
        everything, objects, styles = method_table.groups(cells)
        assert [group.title for group in (everything, objects, styles)] == ["all concepts", "objects", "styles"]
        assert everything.published == ()
        uce = {group.title: next(row for row in group.published if row.name == "UCE") for group in (objects, styles)}
        assert uce["objects"].numbers["ua"].value == pytest.approx(0.9431) and uce["styles"].numbers[
            "ua"
        ].value == pytest.approx(0.984)
        assert "SAeUron" not in [row.name for row in objects.published]  # no figure for objects

    def test_the_base_model_is_measured_not_copied(self) -> None:
        base = method_table.groups([made_up.cell("m", "object:cat", ua=0.9)])[0].base
        assert base.numbers["ua"].value == pytest.approx(0.04) and base.numbers["left"].value == pytest.approx(0.96 - 0.02)
        assert base.numbers["ira_of_base"].value == 1 and "seconds" not in base.numbers

    def test_another_method_changes_no_row(self) -> None:
        cells = [made_up.cell("m", "object:cat", ua=0.9), made_up.cell("m", "object:dog", ua=0.8)]
        alone = method_table.groups(cells)[0].rows[0]
        assert method_table.groups([*cells, made_up.cell("other", "object:cat", ua=0.1)])[0].rows[0] == alone


class TestPage:
    def test_one_file_with_everything_in_it(self, everything: tuple[Path, Page]) -> None:
        _, page = everything
        assert all(found["src"].startswith("data:image/") for found in page.attributes("img"))
        assert not page.attributes("script")[0] and len(page.scripts) == 1
        assert [found["href"] for found in page.attributes("link")] == ["data:,"]
        assert all(found["href"].startswith("#") for found in page.attributes("a"))
        assert "http" not in (SRC / "excise/report/page.css").read_text(encoding="utf-8")

    def test_only_our_script_may_run(self, everything: tuple[Path, Page]) -> None:
        import base64
        import hashlib

        _, page = everything
        policy = next(found["content"] for found in page.attributes("meta") if found.get("http-equiv"))
        digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy

    def test_hostile_names_are_text(self, everything: tuple[Path, Page]) -> None:
        _, page = everything
        assert all(name in page.text for name in made_up.HOSTILE)
        assert not [name for _, found in page.tags for name in found if name.startswith("on")]
        assert "49" not in [text for text, _ in page.rows[1]] and "{{7*7}}" in page.text
        titles = [found["aria-label"] for found in page.attributes("div") if "aria-label" in found]
        assert any(made_up.HOSTILE[2] in title for title in titles)  # also inside attributes

    def test_a_hostile_folder_is_text(self, tmp_path: Path) -> None:
        folder = made_up.write_erasure(tmp_path / "<b onload=alert(1)>{{7*7}}" / "x")
        page = Page(report(folder.parent))
        assert "<b onload=alert(1)>{{7*7}}" in page.text and not page.attributes("b")

    def test_an_audit_below_a_folder_called_attacks_is_found(self, tmp_path: Path) -> None:
        made_up.write_audit(tmp_path / "attacks" / "cat-audit", "cat")
        assert "guidance" in Page(report(tmp_path)).text

    def test_every_picture_is_described(self, everything: tuple[Path, Page]) -> None:
        _, page = everything
        shown = page.attributes("img")
        assert all(len(found["alt"]) > 10 and int(found["width"]) > 100 for found in shown)
        sheets = 14 - 1  # every cell but the one that failed
        # overview, curves and maps of every method; before and after, an attack, curves and maps, a queue's curve, a
        # restored picture, of two concepts
        assert len(shown) == sheets + 1 + 2 * 5 + 2 * (1 + 1 + 2 + 1 + 1)

    def test_the_table_of_methods(self, tmp_path: Path) -> None:
        folder = tmp_path / "b"
        made = made_up.cell("mim", "object:cat", ua=0.975, seconds=12.34, information=None)
        made.write(folder / "cells" / "m" / "c.json")
        page = Page(report(folder))
        assert page.row("mim")[:2] == ["mim1 erasure", "97.594.5–99.5"] and "12.3" in page.row("mim")
        assert page.row("base model")[1] == "4.02.0–8.0"
        assert page.row("UCE")[1] == "94.3" and "published, other model" in page.row("UCE")[0]
        assert (
            "Not measured in these cells: NRA, ORA, bystanders, nats left, steering, nats kept, destruction, to retrained, memory."
            in page.text
        )

    def test_nats_are_compared_with_the_retrained_model_of_the_same_concept_and_seed(self, tmp_path: Path) -> None:
        for entrant, concept, seed, left in (
            ("mim", "object:cat", 0, 0.6), ("mim", "object:cat", 1, 2.0), ("mim", "object:dog", 0, 5.0),
            ("retrained", "object:cat", 0, 1.6), ("retrained", "object:cat", 1, 1.0),
        ):  # fmt: skip
            near, far = (GoldDistances(target=share, fid=made_up.figure(1.0)) for share in (0.1, 0.5))
            gold = near.model_copy(update={"base": far}) if concept == "object:cat" else None
            made = made_up.cell(entrant, concept, seed, gold=gold, information=made_up.words(left=left, base=20.0))
            made.write(tmp_path / "cells" / entrant / f"{concept[7:]}-s{seed}.json")
        rows = method_table.groups(read(tmp_path).benches[0].cells)[0]
        by_name = {row.name: row.numbers for row in (*rows.rows, rows.base)}
        assert (
            by_name["mim"]["gold_nats"].value == pytest.approx((1.0 + 1.0) / 2) and by_name["retrained"]["gold_nats"].value == 0
        )
        assert by_name["base model"]["gold_nats"].value == pytest.approx((18.4 + 19.0) / 2)
        assert "1.00" in Page(report(tmp_path)).row("mim")

    def test_what_one_cell_lacks_is_a_dash(self, tmp_path: Path) -> None:
        for name, fid in (("mim", made_up.figure(3.25)), ("uce", None)):
            made_up.cell(name, "object:cat", fid_base=fid).write(tmp_path / "cells" / name / "c.json")
        page = Page(report(tmp_path))
        head = page.row("method")
        place = next(i for i, text in enumerate(head) if text.startswith("FID"))
        assert page.row("mim")[place] == "3.25" and page.row("uce")[place] == "–"

    def test_the_collateral_matrix(self, tmp_path: Path) -> None:
        made_up.cell("mim", "object:cat", ua=0.76, kept=0.5).write(tmp_path / "cells" / "m" / "c.json")
        page = Page(report(tmp_path))
        row = next(
            row for row in page.rows if row[0][0] == "object:cat" and "style" in row[1][1] and len(row) == 1 + len(made_up.KEPT)
        )
        assert [text for text, _ in row] == ["object:cat", "25", "25", "50", "50", "50"]  # 24 of 96 % of its own pictures: 25
        assert row[1][1]["class"] == "framed" and "framed" not in row[2][1].get("class", "")
        assert row[2][1]["style"] == "--v:0.250" and "shown in 80 % of 24 pictures before, 20 % after" in row[2][1]["title"]

    def test_an_erasure_in_words(self, tmp_path: Path) -> None:
        text = Page(report(made_up.write_erasure(tmp_path / "e"))).text
        assert "asked for it, the model now shows it in 5.0 % (3.0–8.0) of pictures instead of 96.0 %" in text
        assert "b" * 64 in text and "c" * 64 in text  # fingerprints of the base and of the edit's file

    def test_an_erasure_that_was_not_measured_says_so(self, tmp_path: Path) -> None:
        folder = made_up.write_erasure(tmp_path / "e", evaluation=None, note="no evaluation was asked for")
        page = Page(report(folder))
        assert "was not measured (no evaluation was asked for)" in page.text and "0.0 %" not in page.text

    def test_an_audit(self, tmp_path: Path) -> None:
        page = Page(report(made_up.write_audit(tmp_path / "a")))
        assert page.row("guidance")[2:6] == ["50.0 % (31.4–68.6)", "4.2 % (0.7–20.2)", "-", "revived"]
        assert "Passing is evidence, not proof" in page.text and "LoRA of the base model: not measured" in page.text
        assert len(page.attributes("img")) == 1

    def test_a_measurement(self, tmp_path: Path) -> None:
        made_up.write_measurement(tmp_path / "nats.json")
        page = Page(report(tmp_path))
        assert page.row("object:cat")[1:3] == ["12.30 (11.07–13.53)", "0.18 (0.16–0.20)"]
        assert {path.name for path in (tmp_path / "report-figures").iterdir()} == {
            f"{name}-nats.{kind}" for name in ("curves", "maps") for kind in ("png", "svg")
        }

    def test_a_concept_asked_for_otherwise(self, tmp_path: Path) -> None:
        made_up.write_variation(tmp_path / "asked.json")
        page = Page(report(tmp_path))
        assert page.row("guidance: 10")[1:] == ["98.0 (49.0–99.0)", "20.0 (10.0–60.0)", "5.0 (2.5–52.5)", "+15.0"]
        assert "most is left by guidance 10: +15.0 points, 64 pictures" in page.text.lower()
        assert "+3.7 points in the mean of 3 ways" in page.text

    def test_a_queue_and_its_curve(self, tmp_path: Path) -> None:
        page = Page(report(made_up.write_queue(tmp_path)))
        assert page.row("object:cat")[1:] == [
            "withdrawn", "–", "mim", "2026-03-17", "2026-03-18, by erasing others anew", "letter about cat",
        ]  # fmt: skip
        assert page.row("1: +object:cat")[1:] == ["+3.0", "–", "–", "67.5", "90.0", "45.0", "1"]
        assert page.row("2: +style:sketch")[1:4] == ["+3.0", "+10.0", "+10.0"], "the newest one, and the earlier one's relapse"
        assert page.row("1: -object:cat")[1:] == [*["–"] * 6, "1.5"]
        assert "erased from canvas: style:sketch" in page.text and "given back: object:cat" in page.text.lower()
        assert (tmp_path / "report-figures" / "erosion.png").is_file()

    def test_the_same_files_give_the_same_page(self, tmp_path: Path) -> None:
        made_up.write_bench(tmp_path, ("mim",), ("object:cat",))
        made_up.write_measurement(tmp_path / "nats.json")
        first, again = report(tmp_path).read_bytes(), report(tmp_path).read_bytes()
        assert first == again

    def test_figures_are_files_of_both_kinds(self, everything: tuple[Path, Page]) -> None:
        folder, _ = everything
        names = {path.stem for path in (folder / "report-figures").glob("*.svg")}
        assert {"overview", "collateral-mim", "curves-nats_cat", "maps-nats_0"} <= names
        for kind in ("collateral-", "curves-mim", "maps-mim"):
            expected = 5 if kind == "collateral-" else 1  # one per method, whatever its name
            assert sum(name.startswith(kind) for name in names) == expected, kind
        for name in names:
            with Image.open(folder / "report-figures" / f"{name}.png") as picture:
                assert min(picture.size) > 100


class TestFolder:
    def test_what_is_below_is_found_by_what_it_holds(self, everything: tuple[Path, Page]) -> None:
        folder, _ = everything
        found = read(folder)
        parts = (found.benches, found.queues, found.erasures, found.audits, found.measurements, found.variations)
        assert [len(part) for part in parts] == [1, 2, 2, 2, 2, 2]
        assert len(found.benches[0].cells) == 14

    def test_other_files_models_and_links_are_left_alone(self, tmp_path: Path) -> None:
        made_up.write_erasure(tmp_path / "e")
        made_up.write_json(tmp_path / "e" / "notes.json", ["anything"])
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model_index.json").write_text("{not json", encoding="utf-8")
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".hidden" / "result.json").write_text("{not json", encoding="utf-8")
        (tmp_path / "again").symlink_to(tmp_path / "e", target_is_directory=True)
        assert len(read(tmp_path).erasures) == 1

    def test_out_elsewhere(self, tmp_path: Path) -> None:
        made_up.write_measurement(tmp_path / "r" / "nats.json")
        before = set((tmp_path / "r").iterdir())
        assert report(tmp_path / "r", out=tmp_path / "o" / "cat.html") == tmp_path / "o" / "cat.html"
        assert (tmp_path / "o" / "cat-figures" / "maps-nats.png").is_file() and set((tmp_path / "r").iterdir()) == before


class TestErrors:
    """One line on stderr that names what is wrong, exit code 2, and an old page left as it was."""

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            ("{", "is not a whole JSON file"),
            ('"text"', "is not a whole JSON file"),
            ("[]", "is not a whole JSON file"),
            ("[" * 100_000, "is not a whole JSON file"),
            ('{"format": 2, "kind": "cell", "entrant": "m"}', "is not a cell of excise bench: method: Field required"),
            ('{"format": 2, "kind": "grid"}', "is not a cell of excise bench: kind: Input should be 'cell'"),
            (
                '{"entrant": "m", "ua": 1}',
                "has format 1; this version of excise reads format 2; convert it with: excise convert",
            ),
            ('{"format": 3, "kind": "cell"}', "has format 3; this version of excise reads format 2; it needs a later version"),
        ],
    )
    def test_a_damaged_cell(self, damage: str, words: str, tmp_path: Path) -> None:
        made_up.write_bench(tmp_path, ("mim",), ("object:cat", "object:dog"), sheets=False)
        page = report(tmp_path)
        before = page.read_bytes()
        path = tmp_path / "cells" / "m00" / "c00-s0.json"
        path.write_text(damage, encoding="utf-8")
        code, output = call(tmp_path)
        assert code == 2 and re.search(words, output) and str(path) in output
        assert output.count("\n") == 1 and page.read_bytes() == before

    @pytest.mark.parametrize(
        "name", ["result.json", "edit.json", "audit.json", "attacks/guidance.json", "nats.json", "asked.json", "queue.json"]
    )
    @pytest.mark.parametrize("keep", [0.5, 0.0])
    def test_other_damaged_files(self, name: str, keep: float, tmp_path: Path) -> None:
        made_up.write_erasure(tmp_path)
        made_up.write_audit(tmp_path)
        made_up.write_measurement(tmp_path / "nats.json")
        made_up.write_variation(tmp_path / "asked.json")
        made_up.write_queue(tmp_path)
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text[: int(keep * len(text))], encoding="utf-8")
        code, output = call(tmp_path)
        assert code == 2 and str(tmp_path / name) in output and output.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "place", "key"),
        [
            ("audit.json", (), "attacks"),
            ("audit.json", ("about",), "concept"),
            ("audit.json", ("attacks", 0, "compared", "erased", "rate"), "n"),
            ("attacks/guidance.json", ("compared",), "verdict"),
        ],
    )
    def test_an_audit_that_lacks_something(self, name: str, place: tuple[Any, ...], key: str, tmp_path: Path) -> None:
        path = made_up.write_audit(tmp_path) / name
        content = inner = json.loads(path.read_text(encoding="utf-8"))
        for step in place:
            inner = inner[step]
        del inner[key]
        path.write_text(json.dumps(content), encoding="utf-8")
        code, output = call(tmp_path)
        assert code == 2 and output.count("\n") == 1
        assert f"{path} is not " in output and f"{'.'.join(map(str, (*place, key)))}: Field required" in output

    def test_a_damaged_picture(self, tmp_path: Path) -> None:
        (made_up.write_erasure(tmp_path) / "before_after.png").write_bytes(b"\x89PNG no picture")
        code, output = call(tmp_path)
        assert code == 2 and "before_after.png is not a picture that can be read" in output

    def test_no_folder_a_file_and_nothing(self, tmp_path: Path) -> None:
        assert call(tmp_path / "missing") == (2, f"excise: error: no such folder: {tmp_path / 'missing'}\n")
        file = made_up.write_json(tmp_path / "x.json", {})
        assert call(file)[0] == 2 and "is a file; give the folder" in call(file)[1]
        code, output = call(tmp_path)
        assert code == 2 and "nothing to report in" in output and "excise bench" in output

    def test_what_is_no_report_is_not_replaced(self, tmp_path: Path) -> None:
        made_up.write_erasure(tmp_path / "e")
        mine = tmp_path / "mine.html"
        mine.write_text("<p>my page</p>", encoding="utf-8")
        code, output = call(tmp_path / "e", "--out", mine)
        assert (
            code == 2
            and "is no report that could be replaced" in output
            and mine.read_text(encoding="utf-8") == "<p>my page</p>"
        )
        assert call(tmp_path / "e", "--out", tmp_path / "e" / "result.json")[0] == 2
        assert (
            call(tmp_path / "e", "--out", tmp_path / "page.html")[0]
            == 0
            == call(tmp_path / "e", "--out", tmp_path / "page.html")[0]
        )


class TestJobs:
    """What the jobs write is what the page reads: on a tiny real model."""

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))

    def test_a_benchmark_writes_its_report(self, tiny_canvas: Path, tmp_path: Path) -> None:
        from excise.jobs.bench import bench

        options = {"target_pictures": 2, "other_pictures": 2, "budget": 700, "device": "cpu"}
        bench(methods=["uce"], concepts=["cat"], model=tiny_canvas, out=tmp_path / "b", **options)
        page = Page(tmp_path / "b" / "report.html")
        cell = json.loads((tmp_path / "b" / "cells" / "uce" / "object-cat-s0.json").read_text(encoding="utf-8"))
        shown = dict(zip((re.sub("[%].*", "", text) for text in page.row("method")), page.row("uce"), strict=True))
        assert shown["UA"].startswith(f"{100 * cell['evaluation']['ua']['value']:.1f}")
        assert shown["nats left"].startswith(f"{100 * cell['information']['nats']['share_left']['value']:.1f}")
        assert {"overview", "collateral-uce", "curves-uce", "maps-uce"} == {
            path.stem for path in (tmp_path / "b" / "report-figures").iterdir()
        }
        with Image.open(tmp_path / "b" / "cells" / "uce" / "object-cat-s0.png") as sheet:
            assert sheet.height > 2 * 128
        assert len(page.attributes("img")) == 4 and cell["base_fingerprint"]["float32"] in page.text

    def test_erasure_audit_and_measurement(self, tiny_canvas: Path, tmp_path: Path) -> None:
        from excise.jobs.audit import audit
        from excise.jobs.erase import erase
        from excise.jobs.measure import measure

        folder = tmp_path / "out"
        erase("cat", model=tiny_canvas, method="uce", out=folder / "cat", evaluate="none", device="cpu")
        audit(folder / "cat", model=tiny_canvas, attacks=["seeds:tries=1"], prompts=2, budget=40, device="cpu")
        measure(edit=folder / "cat", model=tiny_canvas, budget=700, json=folder / "nats.json", device="cpu")
        page = Page(report(folder))
        told = AuditFile.read(folder / "cat-audit" / "audit.json").attacks[0].compared
        assert told is not None and page.row("seeds")[-2] == str(told.erased.calls)
        assert len(page.attributes("img")) == 4  # before and after, the attack's sheet, curves, maps
        assert "object:cat removed from tiny canvas" in page.text and "not measured (no evaluation was asked for)" in page.text
        assert load_edit(folder / "cat").manifest.weights_sha256 in page.text


def test_it_loads_no_torch(tmp_path: Path) -> None:
    made_up.write_bench(tmp_path / "b", ("mim", "uce"), ("object:cat",))
    made_up.write_measurement(tmp_path / "nats.json")
    made_up.write_audit(tmp_path / "a")
    code = (
        "import sys; from typer.testing import CliRunner; from excise.cli import app\n"
        "result = CliRunner().invoke(app, ['report', sys.argv[1]]); assert result.exit_code == 0, result.output\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'peft') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=600)
    assert result.stdout == "[]\n", result.stderr
