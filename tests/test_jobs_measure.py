"""`excise measure` and `excise diff` from names and paths, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import Dense, Manifest, WeightEdit, load_edit
from excise.edits.applied import base_fingerprint
from excise.figures import Figure
from excise.jobs.measure import measure
from excise.models import load
from excise.models.fingerprint import named_tensors
from excise.report import information_table
from excise.results.cell import CellInformation
from excise.results.information import Collateral, ConceptReading, Forms, Measurement, Reading
from made_up import SETTINGS

SMALL = ["--budget", "2500", "--device", "cpu"]


@pytest.fixture(scope="module")
def edit(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit that makes all words half as loud."""
    model = load(tiny_canvas, device="cpu")
    deltas = {n: Dense(-0.5 * p.detach()) for n, p in named_tensors(model).items() if "attn2.to_v" in n}
    concepts = [{"kind": "object", "name": "cat", "phrases": ["a cat"]}]
    manifest = Manifest(model=model.name, base=base_fingerprint(model), method="hand", concepts=concepts)
    folder = tmp_path_factory.mktemp("edits") / "cat"
    WeightEdit(deltas, manifest).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def erased(tiny_canvas: Path, edit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model from elsewhere."""
    model = load(tiny_canvas, device="cpu")
    folder = tmp_path_factory.mktemp("erased") / "model"
    with load_edit(edit).applied(model):
        model.pipeline.save_pretrained(folder)
    return folder


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_measure_an_edit(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    files: list[str | Path] = [
        "--json",
        tmp_path / "n.json",
        "--figure",
        tmp_path / "map.png",
        "--curves",
        tmp_path / "curve.svg",
    ]
    result = run("measure", "--edit", edit, "--model", tiny_canvas, *files, *SMALL)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "n.json").read_text(encoding="utf-8"))
    assert told["edits"] == ["hand object:cat"]
    assert told["provenance"]["edits"][0]["name"] == "hand" and told["provenance"]["seed"] == 0
    assert [reading["concept"] for reading in told["concepts"]] == ["object:cat"]
    others = ["object:dog", "object:bird", "style:photo", "style:sketch", "style:pixel art"]
    assert [reading["concept"] for reading in told["others"]] == others
    assert len(told["concepts"][0]["maps"]["edited"]) == 8
    for text in ("object:cat", "style:pixel art", "share left", "other concepts keep", "at guidance 1"):
        assert text in result.output
    assert (tmp_path / "map.png").stat().st_size > 1000 and (tmp_path / "curve.svg").stat().st_size > 1000


def test_measure_the_base_alone_says_where_the_pictures_come_from(tiny_canvas: Path) -> None:
    result = run("measure", "cat", "sketch", "--model", tiny_canvas, *SMALL)
    assert result.exit_code == 0, result.output
    assert "the measured model made the pictures itself" in result.output
    assert "share left" not in result.output


def test_model_from_elsewhere_measures_like_the_edit_it_was_made_with(tiny_canvas: Path, edit: Path, erased: Path) -> None:
    by_edit = measure("cat", edit=edit, model=tiny_canvas, against="none", budget=2500, device="cpu").concepts[0]
    by_base = measure("cat", model=erased, base=tiny_canvas, against="none", budget=2500, device="cpu").concepts[0]
    one, other = by_edit.conditional.share_left, by_base.conditional.share_left
    assert one is not None and other is not None
    assert one.value != pytest.approx(1, abs=0.02)
    assert other.value == pytest.approx(one.value, rel=1e-3)


def test_diff_imports_it(tiny_canvas: Path, edit: Path, erased: Path, tmp_path: Path) -> None:
    result = run("diff", tiny_canvas, erased, "--out", tmp_path / "imported", "--concept", "cat", "--device", "cpu")
    assert result.exit_code == 0, result.output
    before, after = load_edit(edit), load_edit(tmp_path / "imported")
    assert after.deltas.keys() == before.deltas.keys()
    for name, delta in before.deltas.items():
        assert torch.allclose(after.deltas[name].dense(), delta.dense(), atol=1e-6)
    assert after.manifest.names == ["object:cat"]
    assert run("measure", "--edit", tmp_path / "imported", "--model", tiny_canvas, "--against", "none", *SMALL).exit_code == 0
    assert run("diff", tiny_canvas, erased, "--out", tmp_path / "imported").exit_code == 2


def test_diff_in_half_precision(tiny_canvas: Path, edit: Path, erased: Path, tmp_path: Path) -> None:
    """The same change of half-precision weights, and the edit knows that its base was loaded in them."""
    result = run("diff", tiny_canvas, erased, "--out", tmp_path / "imported", "--dtype", "float16", "--device", "cpu")
    assert result.exit_code == 0, result.output
    before, after = load_edit(edit), load_edit(tmp_path / "imported")
    assert after.manifest.base.keys() == {"float16", "float32"} < before.manifest.base.keys()
    assert (after.manifest.dtype, after.manifest.device) == ("float16", "cpu")
    for name, delta in before.deltas.items():
        assert torch.allclose(after.deltas[name].dense(), delta.dense(), atol=1e-3)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--device", "toaster", "no device 'toaster' here"), ("--dtype", "int8", "dtype='int8'; known: float32")],
)
def test_diff_refuses(option: str, value: str, message: str, tiny_canvas: Path, erased: Path, tmp_path: Path) -> None:
    result = run("diff", tiny_canvas, erased, "--out", tmp_path / "imported", option, value)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a concept, or give an edit"),
        (["horse"], "unknown concept 'horse'"),
        (["cat", "--against", "camel"], "unknown concept 'camel'"),
        (["cat", "--edit", "nowhere"], "no such edit"),
        (["cat", "--budget", "50"], "a budget of 50 evaluations is too small"),
        (["cat", "--figure", "x.txt"], "should end in .png or .svg"),
        (["cat", "--base", "nowhere"], "no such model"),
        (["cat", "--pictures", "nowhere"], "no such folder of pictures"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: list[str], message: str, tiny_canvas: Path) -> None:
    result = run("measure", *arguments, "--model", tiny_canvas, "--device", "cpu")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def estimate(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value=value, low=low, high=high, n=9)


def measurement(words: Reading, collateral: Collateral | None = None, others: int = 0) -> Measurement:
    """Of one concept, and of others that read the same."""
    reading = ConceptReading(
        concept="cat", pictures=9, source="s", prompts=(), conditional=words, unconditional=words, destruction=estimate(0)
    )
    return Measurement(
        model="m",
        edits=(),
        concepts=(reading,),
        others=(reading,) * others,
        collateral=collateral,
        settings=SETTINGS,
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("steering", "left", "at_floor", "words"),
    [
        (estimate(-0.9, -1.0, -0.8), 1.0, False, "steers away"),
        (estimate(0.8, 0.7, 0.9), 0.7, False, "still steer towards it, 80 % (70–90) as strongly"),
        (estimate(0.01, 0.01, 0.02), 0.01, False, "all but 1 % of what its words said is gone"),
        (estimate(0.0, -0.1, 0.1), 0.4, False, "hardly what they said"),
        (estimate(0.0, -0.1, 0.1), 0.0, True, "say nothing any more"),
        (None, 1.0, False, "undefined"),
    ],
)
def test_verdicts(steering: Figure | None, left: float, at_floor: bool, words: str) -> None:
    base = Forms(orthogonal=estimate(1), plain=estimate(1), floor=0.01, at_floor=False)
    edited = base.model_copy(update={"at_floor": at_floor})
    found = measurement(Reading(base=base, edited=edited, share_left=estimate(left), steering=steering))
    assert words in information_table.lines(found)[0]
    assert len(information_table.table(found)[0]) == len(information_table.columns(found))


def test_what_was_not_finite_is_undefined_and_breaks_no_table() -> None:
    """An edit that overflows: every figure of the edited model is undefined."""
    base = Forms(orthogonal=estimate(1), plain=estimate(1), steering=estimate(1), floor=0.01, at_floor=False)
    found = measurement(Reading(base=base, edited=Forms(floor=0.01, at_floor=False)), Collateral(kept=()), others=1)
    undefined = found.concepts[0].model_copy(update={"destruction": None})
    found = found.model_copy(update={"concepts": (undefined,)})
    (row, _), lines = information_table.table(found), information_table.lines(found)
    assert row[2:] == ("undefined", "undefined", "1.00 → undefined", "1.00 → undefined", "undefined", "undefined", "undefined")
    assert "keep undefined" in lines[0] and "steering undefined" in lines[1]
    assert CellInformation.of(found).steering is None


def test_an_edit_that_overflows_is_not_measured(tiny_canvas: Path, tmp_path: Path) -> None:
    model = load(tiny_canvas, device="cpu")
    deltas = {n: Dense(torch.full_like(p, 3e38)) for n, p in named_tensors(model).items() if "attn2.to_v" in n}
    concepts = [{"kind": "object", "name": "cat", "phrases": ["a cat"]}]
    edit = WeightEdit(deltas, Manifest(model=model.name, base=base_fingerprint(model), method="hand", concepts=concepts))
    edit.save_pretrained(tmp_path / "edit")
    with pytest.raises(FloatingPointError, match="a prediction of the model has values that are not finite"):
        measure(edit=tmp_path / "edit", model=tiny_canvas, json=tmp_path / "n.json", budget=2500, device="cpu")
    assert not (tmp_path / "n.json").exists()
