"""`excise convert`: files of format 1 by hand, what becomes of every number, what is left alone, and that nothing is half done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import load_edit
from excise.edits.manifest import Manifest
from excise.jobs.convert import convert
from excise.models import Model
from excise.report import bench_table
from excise.report.folder_reader import read
from excise.results.cell import Cell, Grid
from excise.results.erasure import ErasureResult
from excise.results.information import Measurement
from excise.results.suite_result import SuiteResult
from excise.results.variation import Variation
from painted_pictures import no_change

DOCS = Path(__file__).parents[1] / "docs" / "benchmark"

FIGURES = {
    "ua": 0.75, "ua_ci": [0.5, 0.875], "ira": 0.625, "ira_ci": [0.5, 0.75], "cra": None, "cra_ci": None, "neutral": 0.125,
    "neutral_ci": [0.0625, 0.25],
}  # fmt: skip
EVALUATION = {
    **FIGURES, "ira_of_base": 0.5, "ira_worst": 0.25, "cra_of_base": None, "cra_worst": None, "erased": 0.25, "fid_base": 3.5,
    "fid_base_ci": [None, None], "lpips": None, "lpips_ci": None, "n": {"target": 8, "retained": 16, "neutral": 8, "seeds_from": 65536},
    "base": {"ua": 0.0, "ua_ci": [0.0, 0.375], "ira": 1.0, "ira_ci": [0.75, 1.0], "neutral": 0.125, "neutral_ci": [0.0625, 0.25],
             "n": {"target": 8, "retained": 16, "neutral": 8}},
    "per_concept": {"object:dog": {"base": 1.0, "edited": 0.625, "n": 16}},
    "per_target": {"object:cat": {"base": 1.0, "edited": 0.25, "neutral": 0.125, "n": 8}},
    "variants": {
        "uc-cross-excl": {"ua": 0.75, "ua_ci": [0.5, 0.875], "ira": 0.625, "ira_ci": [0.5, 0.75], "cra": None, "cra_ci": None,
                          "n": {"ua": 8, "ira": 16, "cra": 0}, "counts": "these"},
        "uc": {"ua": 0.75, "ua_ci": [0.5, 0.875], "ira": 0.375, "ira_ci": [0.25, 0.5], "cra": None, "cra_ci": None,
               "n": {"ua": 8, "ira": 24, "cra": 0}, "counts": "those"},
    },
    "gold": {"target": 0.1, "kept": None, "fid": 9.0, "fid_ci": [8.0, 11.0], "fingerprint": {"float32": "g"},
             "base": {"target": 0.9, "kept": 0.3, "fid": 4.0, "fid_ci": [3.0, 5.0]}},
    "protocol": {"name": "catalog", "variant": "uc-cross-excl", "template": "a picture", "sampler": {"steps": 20, "size": 64},
                 "classifier": "c", "quality": {"n": 12, "features": "classifier"}},
}  # fmt: skip


def estimate(value: float | None, n: int = 4) -> dict[str, Any]:
    ends = (None, None) if value is None else (value - 0.5, value + 0.5)
    return {"value": value, "low": ends[0], "high": ends[1], "n": n}


FORMS = {"orthogonal": estimate(8.0), "plain": estimate(7.0), "steering_blind": estimate(1.0), "floor": 0.01, "at_floor": False}
WORDS = {
    "base": FORMS, "edited": {**FORMS, "orthogonal": estimate(2.0), "steering_blind": "undefined"}, "share_left": estimate(0.25),
    "steering_direct": estimate(-0.125), "alignment": "undefined",
}  # fmt: skip
CURVE = {
    "log_snr_edges": [-2, 0, 2],
    "base orthogonal": [1, 2],
    "base plain": [3, 4],
    "edited orthogonal": [5, 6],
    "edited plain": [7, 8],
}
SETTINGS = {
    "seed": 1, "budget": 900, "evaluations": 800, "noise_levels": 8, "log_snr_range": [-9.0, 9.0], "log_snr_law": {"loc": 0.5, "scale": 2.0},
    "latent_dimensions": 256, "guidance_scale": 1.0, "sampler_steps": 20, "phrasings": "plain",
    "precision": {"concepts": "float32", "others": "mixed"}, "base": "canvas", "self_made_pictures": False,
}  # fmt: skip
READING = {
    "concept": "object:cat", "pictures": 4, "source": "s", "prompts": ["a cat"], "conditional": WORDS, "unconditional": WORDS,
    "destruction": estimate(0.5), "rest_loss": estimate(None), "curve": CURVE, "maps": {"base": [[1, 2]], "edited": [[3, 4]]},
}  # fmt: skip
KEPT = {"mean": estimate(0.75), "worst": {"concept": "style:pixel art", **estimate(0.5)}}
PROVENANCE = {
    "model": "canvas", "base_fingerprint": {"float32": "f"}, "seed": 3, "dtype": "float32", "device": "cpu", "versions": {"excise": "0"},
    "edits": [{"name": "mim", "concepts": ["object:cat"], "params": {"lr": 0.5, "prior": None}, "artefact_hash": "h"}],
}  # fmt: skip
MEASUREMENT = {
    "model": "canvas", "edits": ["mim object:cat"], "unit": "nats per picture", "concepts": [READING], "others": [],
    "collateral": {**KEPT, "kept": {"style:pixel art": estimate(0.5), "object:dog": estimate(None)}}, "settings": SETTINGS,
    "seconds": 2.5, "provenance": PROVENANCE,
}  # fmt: skip
COST = {"seconds": 1.5, "peak_mb": 900.0}
RESULT = {
    **EVALUATION, **COST, "note": "", "information": {**MEASUREMENT, "provenance": None}, "information_note": "", "bytes": 64, "rank": 4,
    "seed": 0, "model": "canvas", "method": "mim", "concepts": ["object:cat"], "dtype": "float32", "device": "cpu",
}  # fmt: skip
NATS = {"base": estimate(8.0), "left": estimate(2.0), "share_left": estimate(0.25), "at_floor": False}
CELL = {
    **EVALUATION, **COST, "method": "mim", "entrant": "mim:lr=1", "concepts": ["object:cat"], "seed": 0, "settings": {"lr": 1.0, "prior": None},
    "model": "canvas", "base_fingerprint": {"float32": "f"}, "edit_mb": 2.0, "versions": {}, "machine": "x86", "threads": 1, "jobs": 2,
    "information": {
        "nats": NATS, "whole_prompt": {**NATS, "share_left": None}, "steering": None, "destruction": estimate(0.5),
        "kept": {**KEPT, "concepts": {"style:pixel art": estimate(0.5)}, "steering": {"object:dog": estimate(1.0), "object:bird": None}},
        "settings": SETTINGS, "seconds": 3.5,
        "readings": [{"concept": "object:cat", "curve": CURVE, "maps": {"base": [[1, 2]], "edited": [[3, 4]]}}],
    },
}  # fmt: skip
SUITE_FIGURE = {"value": 0.5, "n": 8, "ci95": [0.25, 0.75]}
SUITE = {
    "toolkit_version": "0.1.0", "protocol": "unlearncanvas", "source": "arXiv", "settings": {"target": "object:Dogs"}, "prompts_hash": "p",
    "n_images": 8, "partial": None, "seeds": {"lowest": 1, "highest": 2, "different": 2}, "base_model": {"model": "m"}, "sampler": None,
    "rng": "per_image", "image_format": "PNG", "scored_by": {}, "hardware": "x86", "warnings": ["w"], "method": None, "difference": None,
    "metrics": {"base": {"ua": SUITE_FIGURE, "asr": {"value": None, "n": 0, "ci95": None}}},
    "detail": {"base": {"per_concept": {"object:Cats": SUITE_FIGURE}, "detections": {"a": 1}}}, "timings": {"gen_s": 1.0, "eval_s": 2.0},
}  # fmt: skip
SHARE = {"value": 0.5, "ci": [0.25, 0.75]}
VARIATION = {
    "concept": "object:cat", **PROVENANCE,
    "conditions": [{"group": "steps", "name": "10", "steps": 10, "prompt": "a cat", "n": 4, "base": SHARE, "edited": SHARE, "neutral": SHARE}],
}  # fmt: skip
MANIFEST = {
    "format": 1, "kind": "weights", "model": "canvas", "base": {"float32": "f"}, "method": "mim", "seed": 0, "dtype": "float32",
    "device": "cpu",
    "concepts": [{"name": "cat", "kind": "object"}], "weights_sha256": "h",
    "measurements": {k: v for k, v in RESULT.items() if k != "method"},
}  # fmt: skip


def write(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def converted(tmp_path: Path, content: Mapping[str, Any], kind: str) -> Path:
    """The file of that content, converted: once, as that kind, and then no more."""
    path = write(tmp_path / "x.json", content)
    assert convert(path) == {kind: 1}
    after = path.read_bytes()
    assert convert(path) == {} and path.read_bytes() == after
    return path


class TestNumbers:
    """Each stands where today's form has it; n is that of the pictures behind it."""

    def check_evaluation(self, found: Any) -> None:
        assert (found.ua.value, found.ua.interval, found.ua.n, found.erased) == (0.75, (0.5, 0.875), 8, 0.25)
        assert (found.ira.value, found.ira.n, found.cra) == (0.625, 16, None)
        assert (found.fid_base.value, found.fid_base.interval, found.fid_base.n, found.lpips) == (3.5, None, 12, None)
        assert (found.neutral.value, found.neutral.n, found.base.ira.interval) == (0.125, 8, (0.75, 1.0))
        assert (found.ira_of_base, found.ira_worst, found.cra_worst, found.seeds_from) == (0.5, 0.25, None, 65536)
        assert [(each.concept, each.edited, each.n) for each in found.retained] == [("object:dog", 0.625, 16)]
        assert [(each.concept, each.neutral) for each in found.targets] == [("object:cat", 0.125)]
        assert [(each.name, each.ira.value, each.ira.n) for each in found.variants] == [
            ("uc-cross-excl", 0.625, 16),
            ("uc", 0.375, 24),
        ]
        assert (found.gold.fid.value, found.gold.fid.interval, found.gold.fid.n) == (9.0, (8.0, 11.0), 24)
        assert found.gold.base.kept == 0.3 and found.gold.fingerprint == {"float32": "g"}

    def test_of_an_erasure(self, tmp_path: Path) -> None:
        found = ErasureResult.read(converted(tmp_path, RESULT, "results of erasures"))
        self.check_evaluation(found.evaluation)
        assert found.told == {"bytes": 64, "rank": 4} and (found.seconds, found.peak_mb, found.device) == (1.5, 900.0, "cpu")
        assert found.information and found.information.concepts[0].concept == "object:cat" and found.provenance is None

    def test_of_an_erasure_that_was_not_measured(self, tmp_path: Path) -> None:
        nulls = {**RESULT, "ua": None, "base": {"ua": None}, "n": {}, "note": "none was asked for", "information": None}
        found = ErasureResult.read(converted(tmp_path, nulls, "results of erasures"))
        assert found.evaluation is None and found.note == "none was asked for" and found.information is None

    def test_of_an_evaluation(self, tmp_path: Path) -> None:
        told = {**EVALUATION, **PROVENANCE, **COST, "method": "mim", "concepts": ["object:cat"]}
        found = ErasureResult.read(converted(tmp_path, told, "results of erasures"))
        self.check_evaluation(found.evaluation)
        assert found.provenance and found.provenance.edits[0].params == {"lr": 0.5, "prior": None} and found.told == {}

    def test_of_an_edits_manifest(self, tmp_path: Path) -> None:
        below = {**MANIFEST, "method": "uce"}
        path = converted(tmp_path, {**MANIFEST, "ledger": [below]}, "manifests of edits")
        found = Manifest.read(path)
        result = found.result(path)
        assert result and result.method == "mim" and result.concepts == ("object:cat",)
        self.check_evaluation(result.evaluation)
        assert Manifest.model_validate(found.ledger[0]).result(path) == result.model_copy(update={"method": "uce"})

    def test_of_a_measurement(self, tmp_path: Path) -> None:
        found = Measurement.read(converted(tmp_path, MEASUREMENT, "measurements in nats"))
        words, reading = found.concepts[0].conditional, found.concepts[0]
        assert words.base.orthogonal and (words.base.orthogonal.value, words.base.orthogonal.interval) == (8.0, (7.5, 8.5))
        assert words.edited and words.edited.steering is None and words.steering and words.steering.value == -0.125
        assert (
            words.alignment is None and reading.rest_loss is None and reading.destruction and reading.destruction.value == 0.5
        )
        assert reading.curve and reading.curve.edges == (-2, 0, 2) and reading.curve.edited
        assert (reading.curve.base.orthogonal, reading.curve.edited.plain) == ((1, 2), (7, 8))
        assert reading.maps and reading.maps.edited == ((3, 4),)
        assert found.collateral and found.collateral.worst and found.collateral.worst.concept == "style:pixel art"
        assert [each.concept for each in found.collateral.kept] == ["style:pixel art"], "undefined shares are not figures"
        assert (
            found.settings.precision == "concepts in float32, others in mixed"
            and found.provenance
            and found.provenance.seed == 3
        )

    def test_of_a_cell(self, tmp_path: Path) -> None:
        found = Cell.read(converted(tmp_path, CELL, "cells of benchmarks"))
        self.check_evaluation(found.evaluation)
        words = found.information
        assert words and words.nats.left and words.nats.left.value == 2.0 and words.whole_prompt.share_left is None
        assert words.steering is None and [each.concept for each in words.steering_of_others] == ["object:dog"]
        assert words.profiles[0].curve and words.profiles[0].curve.base.plain == (3, 4)
        assert found.settings == {"lr": 1.0, "prior": None} and not found.in_turn and found.jobs == 2 and found.error is None

    def test_of_a_cell_that_failed(self, tmp_path: Path) -> None:
        about = {key: CELL[key] for key in ("method", "entrant", "concepts", "seed", "settings", "model")}
        found = Cell.read(converted(tmp_path, {**about, "error": "E: no", "traceback": "t"}, "cells of benchmarks"))
        assert (found.error, found.traceback, found.evaluation) == ("E: no", "t", None)

    def test_of_a_cell_that_a_suite_measured(self, tmp_path: Path) -> None:
        about = {key: CELL[key] for key in ("method", "entrant", "concepts", "seed", "settings", "model")}
        found = Cell.read(converted(tmp_path, {**about, **COST, "suite": SUITE}, "cells of benchmarks"))
        assert found.suite and found.suite.metrics.parts["base"]["ua"]

    def test_of_a_suite(self, tmp_path: Path) -> None:
        found = SuiteResult.read(converted(tmp_path, SUITE, "results of suites"))
        base = found.metrics.parts["base"]
        assert base["ua"] and (base["ua"].value, base["ua"].interval, base["ua"].n) == (0.5, (0.25, 0.75), 8)
        assert base["asr"] is None and set(found.metrics.parts) == {"base"} and found.timings.eval_s == 2.0
        per_concept: Any = found.detail["base"]["per_concept"]
        assert per_concept["object:Cats"] == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}

    def test_of_a_variation(self, tmp_path: Path) -> None:
        found = Variation.read(converted(tmp_path, VARIATION, "variations"))
        (row,) = found.conditions
        assert (row.steps, row.n, row.edited.value, row.edited.interval, row.edited.n) == (10, 4, 0.5, (0.25, 0.75), 4)
        assert found.provenance.base_fingerprint == {"float32": "f"}

    def test_of_a_grid(self, tmp_path: Path) -> None:
        """What earlier ones did not say was so in all of them."""
        first = Grid.read(converted(tmp_path, {"model": "canvas", "target_pictures": 9, "other_pictures": 3}, "benchmarks"))
        assert (first.dtype, first.suite, first.information, first.nats) == ("float32", "canvas", None, None)
        mixed = {"model": "canvas", "target_pictures": 9, "information": 700, "dtype": "mixed"}
        assert Grid.read(converted(tmp_path, mixed, "benchmarks")).nats == "as the model computes"


class TestFiles:
    def test_a_tree(self, tmp_path: Path) -> None:
        """All kinds below a folder, a link's file in its own place; models, hidden folders and other people's files stay as they are."""
        write(tmp_path / "b" / "cells" / "m" / "c.json", CELL)
        write(tmp_path / "b" / "bench.json", {"model": "canvas", "target_pictures": 9, "quality": True})
        write(tmp_path / "e" / "edit.json", MANIFEST)
        write(tmp_path / "e" / "result.json", RESULT)
        others = [
            write(tmp_path / "model" / "model_index.json", {}), write(tmp_path / "model" / "result.json", RESULT),
            write(tmp_path / ".hidden" / "result.json", RESULT), write(tmp_path / "notes.json", {"ua": "mine"}),
            write(tmp_path / "list.json", {}),
        ]  # fmt: skip
        others[-1].write_text("[1, 2]", encoding="utf-8")
        target = write(tmp_path.parent / f"{tmp_path.name}-elsewhere.json", RESULT)
        (tmp_path / "link.json").symlink_to(target)
        before = {path: path.read_bytes() for path in others}
        result = CliRunner().invoke(app, ["convert", str(tmp_path), str(tmp_path / "e" / "result.json")])
        assert result.exit_code == 0, result.output
        said = ["1 cells of benchmarks", "1 benchmarks", "1 manifests of edits", "2 results of erasures"]
        assert sorted(result.stdout.splitlines()) == sorted(said)
        assert {path: path.read_bytes() for path in before} == before and (tmp_path / "link.json").is_symlink()
        assert ErasureResult.read(target) == ErasureResult.read(tmp_path / "e" / "result.json")
        found = read(tmp_path)
        assert len(found.benches) == 1 and len(found.erasures) == 2
        again = CliRunner().invoke(app, ["convert", str(tmp_path)])
        assert again.exit_code == 0 and "nothing to convert" in again.stdout

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({**RESULT, "variants": {}}, "is damaged (no 'uc-cross-excl')"),
            ({**RESULT, "n": 5}, "is damaged ("),
            ({**RESULT, "ua": "high"}, "is not what excise erase or excise evaluate writes: evaluation.ua.value:"),
            ({**CELL, "concepts": []}, "is not a cell of excise bench: concepts:"),
            ({**MEASUREMENT, "settings": {}}, "is not what excise measure writes: settings.seed: Field required"),
        ],
    )
    def test_one_damaged_file_and_nothing_is_changed(self, content: dict[str, Any], words: str, tmp_path: Path) -> None:
        good, bad = write(tmp_path / "a.json", RESULT), write(tmp_path / "b.json", content)
        before = good.read_bytes(), bad.read_bytes()
        result = CliRunner().invoke(app, ["convert", str(tmp_path)])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and f"{bad} {words}" in result.stderr, result.stderr
        assert (good.read_bytes(), bad.read_bytes()) == before and len(list(tmp_path.iterdir())) == 2

    def test_half_a_file(self, tmp_path: Path) -> None:
        good = write(tmp_path / "a.json", RESULT)
        (tmp_path / "b.json").write_text('{"ua": ', encoding="utf-8")
        before = good.read_bytes()
        result = CliRunner().invoke(app, ["convert", str(tmp_path)])
        assert result.exit_code == 2 and "b.json is not a whole JSON file" in result.stderr and good.read_bytes() == before

    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["convert", str(tmp_path / "nowhere")])
        assert result.exit_code == 2 and "no such file or folder" in result.stderr and result.stderr.count("\n") == 1

    def test_an_edit_of_an_earlier_version_is_used_as_it_is(self, canvas: Model, tmp_path: Path) -> None:
        """Only its figures wait for the conversion: they are named where they would be shown."""
        edit = no_change(canvas).with_measurements(MANIFEST["measurements"])
        edit.save_pretrained(tmp_path / "e")
        tensors = (tmp_path / "e" / "edit.safetensors").read_bytes()
        with load_edit(tmp_path / "e").applied(canvas):
            shown = CliRunner().invoke(app, ["info", str(tmp_path / "e")])
        assert shown.exit_code == 0 and "what was measured is not shown" in shown.stdout and "excise convert" in shown.stdout
        assert convert(tmp_path / "e") == {"manifests of edits": 1}
        shown = CliRunner().invoke(app, ["info", str(tmp_path / "e")])
        assert shown.exit_code == 0 and "75.0 % (50.0–87.5)" in shown.stdout, shown.stdout
        assert (tmp_path / "e" / "edit.safetensors").read_bytes() == tensors and load_edit(
            tmp_path / "e"
        ).manifest.seed == edit.manifest.seed

    @pytest.mark.parametrize("content", [RESULT, MEASUREMENT, VARIATION, SUITE])
    def test_the_report_of_an_earlier_version_says_how_to_go_on(self, content: dict[str, Any], tmp_path: Path) -> None:
        path = write(tmp_path / "x.json", content)
        result = CliRunner().invoke(app, ["report", str(tmp_path)])
        assert result.exit_code == 2 and f"convert it with: excise convert {path}" in result.stderr
        convert(path)
        assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 0


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in DOCS.glob("*/cells.jsonl.gz")))
def test_committed_tables_are_those_of_the_committed_cells(folder: str) -> None:
    """`results.csv` was written before the cells were converted and packed: every figure and every interval is the same."""
    cells = bench_table.read_cells(DOCS / folder)
    assert bench_table._csv(cells).splitlines() == (DOCS / folder / "results.csv").read_text(encoding="utf-8").splitlines()
    assert bench_table.markdown(cells) == (DOCS / folder / "results.md").read_text(encoding="utf-8")
