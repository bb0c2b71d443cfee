"""CITATION.cff is what the format asks for, and speaks of this version and of the default method's paper."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from excise.methods import get

TOP = Path(__file__).parents[1]
CITED = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_requires() -> None:
    assert CITED["cff-version"] == "1.2.0" and {"message", "title", "authors", "type"} <= CITED.keys()
    assert CITED["type"] == "software" and all("name" in author or "family-names" in author for author in CITED["authors"])
    for reference in CITED["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all({"type", "value"} <= each.keys() for each in reference["identifiers"])


def test_it_is_of_the_newest_version() -> None:
    newest = re.search(r"^## (\d\S*)", (TOP / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    fallback = re.search(r'^fallback_version = "(.+)"', (TOP / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and fallback and str(CITED["version"]) == newest[1] == fallback[1]


def test_it_names_the_paper_of_the_default_method() -> None:
    number = get("mim").paper.removeprefix("arXiv ")
    assert any(each["value"] == f"arXiv:{number}" for one in CITED["references"] for each in one["identifiers"])
