"""The table of methods by family in docs/families.md is what the declarations say. `python tests/test_families_table.py` writes it."""

from __future__ import annotations

from pathlib import Path

from excise.methods import methods
from excise.models.families import FAMILIES

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
MARK = "<!-- methods by family -->"


def table() -> str:
    """A row a method, a column a family; what the method needs that the family lacks."""
    head = ["method", *(family.name for family in FAMILIES)]
    rows = [head, ["---"] * len(head)]
    for method in methods().values():
        lacks = [[need for need in method.needs if need not in family.offers] for family in FAMILIES]
        rows.append([method.title, *("yes" if not missing else f"no {' or '.join(missing)}" for missing in lacks)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def test_the_page_has_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"{MARK}\n\n{table()}\n" in text, "run: python tests/test_families_table.py"


def test_those_that_are_promised_run_on_every_family() -> None:
    for name in ("mim", "uce", "rece", "cure", "esd"):
        assert all(family.offers >= set(methods()[name].needs) for family in FAMILIES), name


if __name__ == "__main__":
    before, _, after = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{before}{MARK}\n\n{table()}\n\n## What leaves{after.partition('## What leaves')[2]}", encoding="utf-8")
