"""The benchmark of audits: a row per method and attack, pooled over concepts; what is there is not made again, and what fails says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

import audits as benchmark
import made_up
from excise.models import load
from excise.results.audit_benchmark import AuditBenchmark
from excise.results.audit_result import AuditFile, Outcome

ATTACKS = ("guidance:kappas=-1", "seeds:tries=1")
METHODS = ("uce", "rece:rounds=1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def options(tiny_canvas: Path, out: Path, **changed: Any) -> dict[str, Any]:
    few = {"methods": METHODS, "concepts": ("dog", "style:sketch"), "attacks": ATTACKS, "prompts": 2, "budget": 40}
    return {**few, "model": str(tiny_canvas), "out": out, "dtype": "float32", **changed}


@pytest.fixture
def gold(tiny_canvas: Path, tmp_path: Path) -> Path:
    import torch

    model = load(tiny_canvas, device="cpu")
    with torch.no_grad():
        model.denoiser.conv_in.weight += 0.3  # type: ignore[operator, union-attr]
    model.pipeline.save_pretrained(tmp_path / "gold")
    return tmp_path / "gold"


def test_what_is_audited_is_pooled_and_not_audited_again(
    tiny_canvas: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pooled interval as by scipy; the gold standard is of one concept only."""
    out = tmp_path / "x"
    given = options(tiny_canvas, out, gold={"dog": str(gold)})
    found = benchmark.audits(**given)
    assert [(row.method, row.attack) for row in found] == [(m, a) for m in METHODS for a in ("no attack", *ATTACKS)]
    audited = [AuditFile.read(path) for path in sorted((out / "audits" / "uce").glob("*/audit.json"))]
    assert len(audited) == 2 and all((path / "edit.safetensors").is_file() for path in (out / "edits" / "uce").iterdir())
    for row in found[:3]:
        assert row.concepts == 2 and sum(each.count for each in row.verdicts) == 2 and row.erased is not None
        assert row.erased.rate.n == row.controls["neutral"].rate.n == 4 and row.controls["gold"].rate.n == 2
    each = [attack.compared for one in audited for attack in one.attacks if attack.text == ATTACKS[1]]
    pooled, hits = found[2].erased, sum(one.erased.pre + one.erased.broken for one in each if one)
    interval = binomtest(hits, 4).proportion_ci(method="wilson")
    assert pooled is not None and pooled.rate.value == hits / 4
    assert pooled.rate.interval == pytest.approx((interval.low, interval.high))
    assert AuditBenchmark.read(out / "audits.json").rows == found
    text = (out / "audits.md").read_text(encoding="utf-8")
    assert text.count("\n| `") == 6 and "failed" not in text

    def never(*arguments: Any, **named: Any) -> None:
        raise AssertionError("nothing is left to do")

    with monkeypatch.context() as patched:
        patched.setattr(benchmark, "erase", never)
        patched.setattr(benchmark, "audit", never)
        assert benchmark.audits(**given) == found
    with pytest.raises(ValueError, match="dtype 'float32', now 'mixed'; choose another folder"):
        benchmark.audits(**{**given, "dtype": "mixed"})


def test_a_cell_that_fails_says_why_and_is_tried_again(
    tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own, where the edit is kept."""
    given = options(tiny_canvas, tmp_path / "x", methods=METHODS[:1], attacks=ATTACKS[1:], jobs=2)
    whole = benchmark.audit

    def failing(edit: Path, **named: Any) -> Any:
        if "dog" in edit.name:
            raise RuntimeError("out of luck")
        return whole(edit, **named)

    with monkeypatch.context() as patched:
        patched.setattr(benchmark, "audit", failing)
        rows = benchmark.audits(**{**given, "jobs": 1})
    assert [row.concepts for row in rows] == [1, 1]
    assert "- `uce`, object:dog: failed: RuntimeError: out of luck" in (tmp_path / "x" / "audits.md").read_text(
        encoding="utf-8"
    )
    edit = tmp_path / "x" / "edits" / "uce" / "object-dog-s0" / "edit.safetensors"
    made = edit.stat().st_mtime_ns
    assert [row.concepts for row in benchmark.audits(**given)] == [2, 2]
    assert edit.stat().st_mtime_ns == made and "failed" not in (tmp_path / "x" / "audits.md").read_text(encoding="utf-8")


def test_an_edit_that_was_made_otherwise_is_not_taken_for_it(tiny_canvas: Path, tmp_path: Path) -> None:
    given = options(tiny_canvas, tmp_path / "x", methods=METHODS[:1], concepts=("dog",), attacks=ATTACKS[1:])
    benchmark.audits(**given)
    manifest = tmp_path / "x" / "edits" / "uce" / "object-dog-s0" / "edit.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"ridge": ', '"ridge": 7'), encoding="utf-8")
    assert benchmark.audits(**given) == ()
    (cell,) = AuditBenchmark.read(tmp_path / "x" / "audits.json").cells
    assert cell.error is not None and "made with other settings (ridge 7" in cell.error and not cell.audited


def test_another_gold_standard_is_not_taken_for_the_first(tiny_canvas: Path, gold: Path, tmp_path: Path) -> None:
    given = options(tiny_canvas, tmp_path / "x", methods=METHODS[:1], concepts=("dog",), attacks=ATTACKS[1:])
    benchmark.audits(**given, gold={"dog": str(gold)})
    with pytest.raises(ValueError, match="audits that were made otherwise: weights of object:dog"):
        benchmark.audits(**given, gold={"dog": str(tiny_canvas)})
    before = (tmp_path / "x" / "audits.md").read_bytes()
    with pytest.raises(ValueError, match="object-dog-s0 was made with another gold standard, or none; choose another folder"):
        benchmark.audits(**given)
    with pytest.raises(ValueError, match="audits that were made otherwise: prompts 2, now 3"):
        benchmark.audits(**{**given, "prompts": 3}, gold={"dog": str(gold)})
    assert (tmp_path / "x" / "audits.md").read_bytes() == before
    assert benchmark.audits(**given, gold={"dog": str(gold)})


def result(broken: int, untried: int = 0) -> Outcome:
    return made_up.outcome(0, broken, 10, untried=untried, seconds=2.0)


def test_what_brings_the_concept_along_is_compared_with_what_never_saw_it() -> None:
    found = made_up.compared("revived", result(8), neutral=result(10), gold=result(3))
    row = benchmark.row("uce", "inversion", [made_up.attack("inversion", found, budget=9)])
    assert row.above is not None and row.above.value == pytest.approx(0.5)


def test_points_are_above_the_larger_control_of_each_concept() -> None:
    """Two concepts, each with 10 prompts: 8 and 6 erased; neutral 1 and 5, gold 4 and 2 (one of it untried), so 4 and 5 are the larger."""
    told = [
        made_up.attack("seeds", made_up.compared("revived", result(8), neutral=result(1), gold=result(3, 1)), budget=9),
        made_up.attack("seeds", made_up.compared("not revived", result(6), neutral=result(5), gold=result(2)), budget=9),
        made_up.attack("seeds", note="it needs more", budget=9),
    ]
    row = benchmark.row("uce", "seeds", told)
    assert row.above is not None and row.above.interval is not None and row.seconds == 2.0
    low, high = row.above.interval
    assert row.above.value == pytest.approx(14 / 20 - 9 / 20) and low < 0.25 < high
    counts = {each.verdict: each.count for each in row.verdicts}
    assert counts == {"revived": 1, "not revived": 1, "not measured": 1} and row.notes == ("it needs more",)
    assert "| 2 | 70.0 % " in benchmark.markdown([row], []) and "not measured: it needs more" in benchmark.markdown([row], [])
    nothing = benchmark.row("uce", "seeds", told[2:])
    assert nothing.above is None and "| - | - | - | not measured |" in benchmark.markdown([nothing], [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": ("ucee",)}, "did you mean 'uce'"),
        ({"concepts": ("cat+dog",)}, "an audit is about one concept, not object:cat.object:dog"),
        ({"gold": {"cat": "canvas"}}, "a gold standard for object:cat, which is not among the concepts"),
        ({"gold": {"dog": "nowhere"}}, "no such model"),
        ({"attacks": ("revan",)}, "did you mean 'revam'"),
    ],
)
def test_bad_names_are_refused_before_anything_is_made(
    changed: dict[str, Any], message: str, tiny_canvas: Path, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        benchmark.audits(**options(tiny_canvas, tmp_path / "x", **changed))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--methods", "ucee"], "did you mean 'uce'"), (["--gold", "cat"], "--gold cat: give CONCEPT=MODEL")],
)
def test_bad_input_gets_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["audits.py", "--out", str(tmp_path / "x"), *arguments])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert message in capsys.readouterr().err and not (tmp_path / "x").exists()
