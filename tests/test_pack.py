"""Packed grids: every command reads them as the files that they were, and packing loses nothing."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import made_up
import table as benchmark
from excise.cli import app
from excise.files import read_packed, write_json, write_packed, writing
from excise.jobs.convert import convert
from excise.jobs.report import report
from excise.report import bench_table
from excise.report.folder_reader import read
from excise.results.cell import Grid
from excise.results.cells import PACKED, stored_cells
from test_convert import CELL


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Nine cells with pictures, the last one failed; its marker lists its files."""
    folder = made_up.write_bench(
        tmp_path / "b", ("mim", "uce:preserve=catalog", "a|b"), ("object:cat", "style:sketch", "object:größe")
    )
    bench_table.write_tables(folder)
    names = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    Grid.read(folder / "bench.json").model_copy(update={"written": names}).write(folder / "bench.json")
    return folder


def cell_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("cells/*/*.json"))


def test_every_reader_sees_what_it_saw(grid: Path, tmp_path: Path) -> None:
    """Cells, tables, the page with its pictures: the same to the bit."""

    def seen() -> tuple[Any, ...]:
        page = report(grid, out=tmp_path / "page.html").read_bytes()
        bench_table.write_tables(grid)
        tables = [(grid / name).read_bytes() for name in ("results.csv", "results.md", "collateral.csv")]
        (bench,) = read(tmp_path).benches
        return stored_cells(grid), bench.cells, bench.pictures, page, tables, benchmark.read_cells(grid)

    before = seen()
    assert convert([tmp_path], pack=True) == {"cells of benchmarks packed": 9}
    assert seen() == before and not cell_files(grid) and len(before[0]) == 9
    assert len(list(grid.glob("cells/*/*.png"))) == 8, "pictures stay where they are"
    assert PACKED in (Grid.read(grid / "bench.json").written or ())


def test_the_command(grid: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(grid), "--pack"])
    assert result.exit_code == 0 and result.stdout == "9 cells of benchmarks packed\n", result.output
    before = {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()}
    result = CliRunner().invoke(app, ["convert", str(tmp_path), "--pack"])
    assert result.exit_code == 0 and result.stdout.startswith("nothing to convert or to pack"), result.output
    assert {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()} == before
    result = CliRunner().invoke(app, ["convert", str(tmp_path)])
    assert result.exit_code == 0 and result.stdout.startswith("nothing to convert: "), result.output


def test_a_grid_without_a_marker(grid: Path) -> None:
    """As the benchmark of continual removal writes it."""
    (grid / "bench.json").unlink()
    before = stored_cells(grid)
    assert convert([grid], pack=True) == {"cells of benchmarks packed": 9}
    assert stored_cells(grid) == before and not (grid / "bench.json").exists()


def test_what_is_not_asked_for_is_not_packed(grid: Path) -> None:
    before = {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()}
    assert convert([grid]) == {}
    assert {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()} == before


def test_cells_of_an_earlier_version_are_converted_first(tmp_path: Path) -> None:
    write_json(tmp_path / "cells" / "m" / "c.json", CELL)
    assert convert([tmp_path], pack=True) == {"cells of benchmarks": 1, "cells of benchmarks packed": 1}
    (cell,) = stored_cells(tmp_path).values()
    assert cell.entrant == CELL["entrant"]


def test_packed_cells_of_an_earlier_version_are_converted_where_they_are(grid: Path, tmp_path: Path) -> None:
    convert([grid], pack=True)
    contents = {name: file.content for name, file in read_packed(grid / PACKED).items()}
    write_packed(grid / PACKED, {**contents, "m00/a.json": CELL})
    result = CliRunner().invoke(app, ["report", str(grid)])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"{grid / PACKED}, line 1 has format 1" in result.stderr and f"excise convert {grid / PACKED}\n" in result.stderr
    assert convert([grid]) == {"cells of benchmarks": 1} and convert([grid]) == {}
    after = {name: file.content for name, file in read_packed(grid / PACKED).items()}
    write_json(tmp_path / "c.json", CELL)
    convert([tmp_path / "c.json"])
    assert after == {**contents, "m00/a.json": json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))}


def test_a_damaged_line_of_an_earlier_version_and_nothing_is_changed(grid: Path, tmp_path: Path) -> None:
    write_packed(grid / PACKED, {"m/a.json": CELL, "m/b.json": {**CELL, "n": 5}})
    write_json(tmp_path / "a" / "c.json", CELL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"cells\.jsonl\.gz, line 2 is damaged \(.*nothing was converted"):
        convert([tmp_path])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-20], r"c01-s0\.json is not a whole JSON file"),
        (lambda text: text.replace('"seed": 0', '"seed": "no"'), r"c01-s0\.json is not a cell of excise bench: seed: "),
    ],
)
def test_a_damaged_cell_is_named_and_its_grid_stays_as_it_is(spoil: Callable[[str], str], message: str, grid: Path) -> None:
    path = grid / "cells" / "m00" / "c01-s0.json"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = {each: each.read_bytes() for each in cell_files(grid)}
    with pytest.raises(ValueError, match=message):
        convert([grid], pack=True)
    assert {each: each.read_bytes() for each in cell_files(grid)} == before and not (grid / PACKED).exists()


def test_files_of_somebody_else_are_not_packed(tmp_path: Path) -> None:
    """Another program's `cells`; and one file of it among a grid's."""
    mine = tmp_path / "biology" / "cells" / "mouse" / "neuron.json"
    write_json(mine, {"kind": "neuron"})
    assert convert([tmp_path], pack=True) == {} and mine.is_file()
    made_up.cell("m", "object:cat").write(tmp_path / "biology" / "cells" / "m" / "c.json")
    with pytest.raises(ValueError, match=r"neuron\.json has format 1"):
        convert([tmp_path], pack=True)
    assert mine.is_file() and len(cell_files(tmp_path / "biology")) == 2


def test_a_packed_file_of_somebody_else_is_not_replaced(grid: Path) -> None:
    (grid / PACKED).write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"cells\.jsonl\.gz is damaged"):
        convert([grid], pack=True)
    write_packed(grid / PACKED, {})
    with pytest.raises(FileExistsError, match=r"cells\.jsonl\.gz exists and was not written by excise"):
        convert([grid], pack=True)
    assert len(cell_files(grid)) == 9 and read_packed(grid / PACKED) == {}


def test_a_grid_that_is_being_made_is_not_packed(grid: Path, tmp_path: Path) -> None:
    with writing(grid), pytest.raises(FileExistsError, match=r"b is being written by process \d+"):
        convert([tmp_path], pack=True)
    assert len(cell_files(grid)) == 9


def test_a_line_that_is_no_cell_is_named(grid: Path) -> None:
    convert([grid], pack=True)
    contents = {name: file.content for name, file in read_packed(grid / PACKED).items()}
    contents["m01/c00-s0.json"] = {**contents["m01/c00-s0.json"], "seed": "no"}
    write_packed(grid / PACKED, contents)
    result = CliRunner().invoke(app, ["report", str(grid)])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"{grid / PACKED}, line 4 is not a cell of excise bench: seed: " in result.stderr, result.stderr
    assert not (grid / "report.html").exists()


def test_names_that_lead_elsewhere_show_no_picture(grid: Path, tmp_path: Path) -> None:
    """A line's name also says where the cell's picture lies."""
    text = json.dumps({"file": "../../secret.json", "content": made_up.cell("m", "object:cat").to_dict()})
    made_up.write_picture(tmp_path / "secret.png")
    (grid / PACKED).write_bytes(gzip.compress(text.encode()))
    with pytest.raises(ValueError, match=r"line 1: '\.\./\.\./secret\.json' is no name of a JSON file"):
        read(grid)


def test_figures_of_csv_are_those_of_the_cells(grid: Path) -> None:
    """By the standard library alone: what a reader without excise sees in both."""
    convert([grid], pack=True)
    with gzip.open(grid / PACKED, "rt", encoding="utf-8") as lines:
        cells = [json.loads(line)["content"] for line in lines]
    with open(grid / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ua = [str(cell["evaluation"]["ua"]["value"]) if "evaluation" in cell else "" for cell in cells]
    assert [row["ua"] for row in rows] == ua and len(rows) == 9
    assert [cell["entrant"] for cell in cells] == [row["entrant"] for row in rows]
