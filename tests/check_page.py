"""The report page in a real browser: `make check-page`. Not part of `make test`, which needs no system package.

PAGE=FILE checks another page than the fixture's; SHOTS=DIR keeps pictures of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import browser
import made_up
from excise.jobs.report import report

WIDTHS = {"laptop": 1366, "phone": 390}

WIDE = """[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest(".scroll")).map(e => e.tagName + " " + e.textContent.trim().slice(0, 40))"""
"""Elements that stand out of the page; what is wider than its own scrolled container may."""

BUTTONS = "[...document.querySelectorAll('thead button')]"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("PAGE"):
        return Path(given)
    return report(made_up.write_everything(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Tab]:
    program = browser.find()
    if program is None:
        pytest.exit(f"make check-page needs one of {', '.join(browser.NAMES)} on PATH (Debian: apt-get install chromium)", 2)
    with browser.tab(program) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_it_fits_and_says_nothing_wrong(page: Path, tab: browser.Tab, device: str, scheme: str) -> None:
    tab.open(page, WIDTHS[device], prefers_color_scheme=scheme)
    if folder := os.environ.get("SHOTS"):
        tab.shoot(Path(folder) / f"{device}-{scheme}.png")
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert tab.value("document.documentElement.scrollWidth") <= WIDTHS[device]
    assert tab.value(WIDE) == []
    assert tab.complaints == []


def test_pictures_are_there_and_described(page: Path, tab: browser.Tab) -> None:
    tab.open(page, 1366)
    shown = tab.value("[...document.images].map(e => [e.complete && e.naturalWidth > 0, e.alt.trim().length])")
    assert shown and all(loaded and length > 10 for loaded, length in shown)


def test_names_are_shown_and_not_obeyed(page: Path, tab: browser.Tab) -> None:
    """The fixture's names would add scripts and pictures of their own; only ours may be there."""
    tab.open(page, 1366)
    assert tab.value("document.scripts.length") == 1
    assert tab.value("[...document.images].filter(e => !e.src.startsWith('data:image/')).length") == 0
    assert tab.value("document.querySelectorAll('[onerror], [onload], [onclick], iframe, object, embed').length") == 0


def test_the_keyboard_reaches_and_presses_every_visible_sort_button(page: Path, tab: browser.Tab) -> None:
    tab.open(page, 1366)
    visible = set(tab.value(f"{BUTTONS}.flatMap((e, i) => e.checkVisibility() ? [i] : [])"))
    reached: dict[int, str] = {}
    while (place := tab.value(f"[document.activeElement.tagName, {BUTTONS}.indexOf(document.activeElement)]"))[
        0
    ] != "BODY" or not reached:
        if place[1] >= 0:
            assert place[1] not in reached
            tab.press("Enter")
            reached[place[1]] = tab.value("document.activeElement.closest('th').getAttribute('aria-sort')")
        tab.press("Tab")
    assert reached.keys() == visible and visible
    assert set(reached.values()) == {"ascending", "descending"}


def test_sorting_moves_methods_and_leaves_the_rest(page: Path, tab: browser.Tab) -> None:
    """By erasures, then by UA up; the base model and published rows stay below."""
    tab.open(page, 1366)
    numbers = "[...document.querySelector('table.methods').tBodies[0].rows].map(r => parseFloat(r.cells[2].dataset.v))"
    below = "[...document.querySelectorAll('tbody.fixed')].map(e => e.textContent).join()"
    before, fixed = tab.value(numbers), tab.value(below)
    press = "document.querySelector('table.methods').tHead.rows[0].cells[2].querySelector('button').click()"
    tab.value(press)
    assert tab.value(numbers) == sorted(before, reverse=True)
    tab.value(press)
    assert tab.value(numbers) == sorted(before)
    assert tab.value(below) == fixed
