"""The studio in a real browser, by the keyboard alone, with the network denied: `make check-studio`. Not part of `make test`.

SHOTS=DIR keeps pictures of it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import browser
import tiny_models

WIDTHS = {"laptop": 1366, "phone": 390}
DENIED = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

GUARD = """
import os, socket

def _refuse(where):
    with open(os.environ["GUARD"], "a") as told:
        print(where, file=told)
    raise OSError(f"the network is denied: {where}")

class Guarded(socket.socket):
    def connect(self, where):
        if self.family != socket.AF_UNIX and where[0] not in ("127.0.0.1", "::1", "localhost"):
            _refuse(where)
        return super().connect(where)

_ask = socket.getaddrinfo
def _asked(host, *more, **named):
    return _ask(host, *more, **named) if host in (None, "127.0.0.1", "::1", "localhost") else _refuse(host)

socket.socket, socket.getaddrinfo = Guarded, _asked
"""
"""Python reads it when it starts, in the server and in its jobs."""

PICTURES = "[...document.querySelectorAll('#pictures img')].filter(e => e.alt.startsWith('{}')).map(e => e.src).join()"
BEFORE, AFTER = PICTURES.format("before"), PICTURES.format("after")

POOR = """(() => {
  const channels = text => { const found = text.match(/[\\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
  const ground = e => { const own = channels(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own : over(own, e.parentElement ? ground(e.parentElement) : [255, 255, 255]); };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (e.closest('script, style, noscript, [disabled]')) continue;
    const behind = ground(e), [one, two] = [light(over(channels(getComputedStyle(e).color), behind)), light(behind)].sort((a, b) => b - a);
    if ((one + .05) / (two + .05) < 4.5) poor.push(walk.currentNode.data.trim().slice(0, 40));
  }
  return poor; })()"""
"""Texts with less contrast than 4.5 to what is behind them (WCAG 2)."""

WIDE = """[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest(".scroll")).map(e => e.tagName + " " + e.textContent.trim().slice(0, 40))"""
"""Elements that stand out of the page."""


class Place:
    """A studio that is open."""

    def __init__(self, folder: Path) -> None:
        self.model, self.told, self.root = (
            tiny_models.save_canvas(folder / "tiny-canvas"),
            folder / "guard.txt",
            folder / "root",
        )
        (folder / "guard").mkdir()
        (folder / "guard" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        sources = str(Path(__file__).parents[1] / "src")
        path = os.pathsep.join([str(folder / "guard"), sources, os.environ.get("PYTHONPATH", "")])
        command = ["studio", "--root", str(self.root), "--port", str(self.port), "--device", "cpu", "--model", str(self.model)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "excise", *command], env={**os.environ, "PYTHONPATH": path, "GUARD": str(self.told)},
            stdout=subprocess.PIPE, text=True, cwd=folder, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert "the studio is open at" in self.process.stdout.readline()

    def close(self) -> int:
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    opened = Place(tmp_path_factory.mktemp("studio"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Tab]:
    program = browser.find()
    if program is None:
        pytest.exit(f"make check-studio needs one of {', '.join(browser.NAMES)} on PATH (Debian: apt-get install chromium)", 2)
    with browser.tab(program, DENIED) as opened:
        yield opened


def arrive(tab: browser.Tab, place: Place, device: str = "laptop", scheme: str = "light") -> None:
    """Open the page and wait until it has arrived."""
    tab.open(place.address, WIDTHS[device], prefers_color_scheme=scheme)
    tab.wait(
        "document.querySelector('#pictures img, #pictures .note') && document.querySelector('#left .left, #left .note') && true"
    )


def shoot(tab: browser.Tab, name: str) -> None:
    if folder := os.environ.get("SHOTS"):
        tab.shoot(Path(folder) / f"{name}.png")


def reach(tab: browser.Tab, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(100):
        if tab.value(f"document.activeElement.matches({selector!r})"):
            return
        tab.press("Tab")
    raise AssertionError(f"the keyboard does not reach {selector}")


def press(tab: browser.Tab, selector: str, key: str = "Enter") -> None:
    reach(tab, selector)
    tab.press(key)


def fill(tab: browser.Tab, selector: str, text: str) -> None:
    """Type into a field, and choose what it offers for that."""
    reach(tab, selector)
    tab.value("document.activeElement.select()")
    tab.type(text)
    time.sleep(0.5)  # as a person does
    tab.press("Enter")
    tab.wait(f"document.querySelector({selector!r}).value === {text!r}", 20)


def words(tab: browser.Tab, selector: str, text: str) -> str:
    """What a part of the page says, once it says this."""
    return tab.wait(f"(t => t?.includes({text!r}) && t)(document.querySelector({selector!r})?.innerText)", 300)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_the_first_screen_shows_an_example_and_fits(place: Place, tab: browser.Tab, device: str, scheme: str) -> None:
    arrive(tab, place, device, scheme)
    shown = tab.value("[...document.querySelectorAll('#pictures img')].map(e => [e.naturalWidth > 0, e.alt.length])")
    assert len(shown) == 12 and all(loaded and length > 10 for loaded, length in shown)
    assert tab.value("document.querySelectorAll('#left .bar').length") == 2
    shoot(tab, f"{device}-{scheme}")
    tab.value("document.querySelectorAll('#more button, #bring button').forEach(e => e.click())")
    tab.value("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    time.sleep(1)
    shoot(tab, f"{device}-{scheme}-open")
    assert tab.value("document.documentElement.scrollWidth") <= WIDTHS[device]
    assert tab.value(WIDE) == [] and tab.value(POOR) == [] and tab.complaints == []


def test_the_whole_walk_by_keyboard(place: Place, tab: browser.Tab) -> None:
    arrive(tab, place)
    fill(tab, "#model input", str(place.model))
    words(tab, "#pictures", "Nothing is erased from this model yet")
    fill(tab, "#concept input", "cta")
    press(tab, "#erase")
    assert "did you mean 'cat'" in words(tab, "#progress .problem", "unknown concept")
    assert tab.value("document.querySelectorAll('[role=listbox]').length") == 0  # the menus that were passed are closed
    shoot(tab, "wrong-concept")

    fill(tab, "#concept input", "cat")
    press(tab, "#more button")
    fill(tab, "#extent input", "not at all")
    press(tab, "#erase")
    words(tab, "#progress .job", "Erasing cat")
    press(tab, "#stop")
    words(tab, "#progress .ended", "stopped after")

    press(tab, "#erase")
    words(tab, "#progress .job", "Erasing cat")
    shoot(tab, "working")
    tab.open(place.address, WIDTHS["laptop"])  # a reload finds the job, its model and then its edit
    words(tab, "#progress", "Erasing cat")
    words(tab, "#progress .ended", "done after")
    words(tab, "#edits", "cat")
    tab.wait(f"{AFTER} && {AFTER} !== {BEFORE}", 300)
    shoot(tab, "erased")

    whole = tab.value(AFTER)
    press(tab, "#strength input[type=range]", "ArrowLeft")
    tab.wait(f"{AFTER} !== {whole!r}", 300)
    for _ in range(9):
        tab.press("ArrowLeft")
    tab.wait(f"{AFTER} === {BEFORE}", 300)
    for _ in range(10):
        tab.press("ArrowRight")
    tab.wait(f"{AFTER} === {whole!r}", 300)
    press(tab, "#edits input", " ")
    tab.wait(f"{AFTER} === {BEFORE}", 300)
    words(tab, "#left", "No edit is on")
    press(tab, "#bundle")
    words(tab, "#said", "switch one on first")
    press(tab, "#edits input", " ")
    tab.wait(f"{AFTER} === {whole!r}", 300)

    reach(tab, "#prompt textarea")
    tab.type("a dog ${1+1} {{1+1}} <b>x</b>")
    press(tab, "#draw")
    assert "a dog ${1+1} {{1+1}} <b>x</b>" in words(tab, "#pictures", "Your own words") or shoot(tab, "own")

    press(tab, "#export")
    href = tab.wait("document.querySelector('#made a[href]')?.href", 60)
    with urllib.request.urlopen(href) as answer:
        assert b"__metadata__" in answer.read(200)
    tab.value("window.open = address => { fetch(address).then(r => r.text()).then(t => { window.report = t; }); return {}; }")
    press(tab, "#report")
    assert "object:cat" in tab.wait("window.report", 60)


def test_an_audit_is_shown_when_it_is_done(place: Place, tab: browser.Tab) -> None:
    arrive(tab, place)
    press(tab, "#audit")
    words(tab, "#progress .job", "Checking cat")
    words(tab, "#audited", "attempts to bring it back")
    shoot(tab, "audited")
    assert tab.value(POOR) == []


def test_a_second_person_sees_nothing_of_the_first(place: Place) -> None:
    program = browser.find()
    assert program is not None
    with browser.tab(program, DENIED) as other:
        arrive(other, place)
        fill(other, "#model input", str(place.model))
        assert "Nothing is erased" in words(other, "#pictures", "Nothing is erased from this model yet")
        assert "cat" not in other.value("document.querySelector('#edits').innerText")


def test_nothing_was_asked_of_another_machine(place: Place, tab: browser.Tab) -> None:
    """Neither by the page, nor by the server and its jobs; nor does the server fetch what a browser names."""
    asked = {each for each in tab.requests if not each.startswith((place.address, "data:", "blob:"))}
    assert tab.requests and asked == set()
    for path in ("gradio_api/file=http://example.org/x", "gradio_api/proxy=https://example.hf.space/x"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(place.address + path)
    assert not place.told.exists(), place.told.read_text()


def test_files_of_people_are_not_served(place: Place) -> None:
    edits = [*place.root.rglob("edit.safetensors")]
    assert edits
    for path in (*edits, Path("/etc/hostname"), place.root / "../tiny-canvas/model_index.json"):
        with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
            urllib.request.urlopen(f"{place.address}gradio_api/file={path}")


def test_300_requests_take_no_more_memory_than_100(place: Place, tab: browser.Tab) -> None:
    """Of the server alone: looks at three strengths in turn, each drawn anew."""
    arrive(tab, place)
    server, sizes = psutil.Process(place.process.pid), []
    reach(tab, "#strength input[type=range]")
    for number in range(300):
        before = tab.value(AFTER)
        tab.press("ArrowLeft" if number % 6 < 3 else "ArrowRight")
        tab.wait(f"{AFTER} !== {before!r}", 60)
        sizes.append(server.memory_info().rss / 2**20)
    print([round(sizes[n]) for n in (0, 50, 99, 150, 200, 250, 299)])
    assert max(sizes[200:]) < 1.02 * max(sizes[50:100]) + 5


def test_it_closes_with_its_signal(place: Place) -> None:
    assert place.close() == 143
