"""benchmarks/claims.py: every claim of the docs stands, is on a page, and would fall if its figure did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import claims
import tables

RESEARCH = Path(__file__).parents[1] / "docs" / "research"
WITHOUT = {"mim/tried.md", "audit/tried.md", "claims.md", "families.md"}
"""Pages with tables that claim nothing of their own: trials, this table itself, and what was not measured."""


RECIPES = {"rows": [{"recipe": "MiM-MU, defaults", "flops": 1.0}, {"recipe": "ESD-x, `preset=paper`", "flops": 10.0}]}


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.says)
def test_every_claim_stands(claim: claims.Claim) -> None:
    assert claim.measure().stands
    assert (RESEARCH / claim.page).is_file() and (claims.DATA / claim.files).exists()


def test_no_page_with_figures_is_without_a_claim() -> None:
    told = {claim.page for claim in claims.CLAIMS}
    pages = [page for page in tables.pages() if page.is_relative_to(RESEARCH) and tables.commands(page.read_text("utf-8"))]
    shown = {str(page.relative_to(RESEARCH)) for page in pages}
    assert shown - told <= WITHOUT


def test_they_are_in_words_that_are_not_twice() -> None:
    said = [claim.says for claim in claims.CLAIMS]
    assert len(set(said)) == len(said) and all(text.endswith(".") for text in said)


def test_a_figure_that_refutes_its_claim_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claims.Claim("All is well.", "benchmark.md", "all", "trouble", lambda: claims.Measured("12", "3 runs", False))
    monkeypatch.setattr(claims, "CLAIMS", (claim,))
    assert "| [All is well.](benchmark.md) | **refuted**: 12 | 3 runs | `all` | trouble |" in claims.table()


@pytest.mark.parametrize(
    ("measure", "figures"),
    [
        (claims.neutral_rate, {"ua": 0.9, "neutral": 0.05}),
        (claims.kept_pictures, {"ira_of_base": 0.97, "cra_of_base": 1.0, "ira_worst": 1.0, "cra_worst": 1.0}),
        (claims.no_picture_lost, {"ira_of_base": 1.0, "cra_of_base": 1.0, "ira_worst": 1.0, "cra_worst": 0.9}),
        (claims.nats_left, {"nats_share_left": 0.06}),
        (claims.nats_kept, {"nats_kept": 0.97}),
    ],
)
def test_worse_cells_refute(measure: Any, figures: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "figures_of", lambda cell: figures.__getitem__)
    assert not measure().stands


@pytest.mark.parametrize(
    ("measure", "name", "found"),
    [
        (claims.low_memory, "low_memory.json", {"rows": [{"recomputed_mib": 2000.0, "pictures_mib": 1000.0}]}),
        (
            claims.arithmetic,
            "recipes.json",
            RECIPES,
        ),
        (claims.edit_is_a_key, "edit_key.json", {"words": 9, "erasures": [{"entrant": "mim", "ahead": 2.0, "place": 2}]}),
    ],
)
def test_other_files_refute(
    measure: Any, name: str, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claims._json.cache_clear()
    (tmp_path / name).write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(claims, "DATA", tmp_path)
    assert not measure().stands
    claims._json.cache_clear()
