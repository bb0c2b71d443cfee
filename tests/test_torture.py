"""A minute of the campaign (`make torture` is the whole), and that it sees what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = {path.stem for path in (ROOT / "torture" / "kinds").glob("[!_]*.py")}


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: this one has threads, and one with threads cannot be forked."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "src"))}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_part_of_the_campaign_finds_nothing(tmp_path: Path) -> None:
    ended = _python("-m", "torture", "--inputs", "250", "--kills", "12", "--jobs", "1", "--out", str(tmp_path / "found.json"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["inputs"] >= 240 and found["kills"] >= 10 and found["cases"].keys() == KINDS
    assert found["faults"] == {} and found["failures"] == []


MISBEHAVE = """
import os, pathlib, pickle, signal, subprocess, sys, time
import excise.cli
from torture.attempt import attempt
from torture.run import Limits
from torture.sandbox import Sandbox

class Evil:
    def __reduce__(self):
        return os.mkdir, ("../outside/pickle-was-opened",)

def fail(text, code=2):
    print(text, file=sys.stderr)
    sys.exit(code)

deeds = {
    "traceback": lambda: 1 / 0,
    "unexpected": lambda: fail("excise: error: KeyError: 'x' (unexpected; --debug shows where)", 1),
    "hang": lambda: time.sleep(60),
    "cost": lambda: fail("excise: error: out of memory", 1),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "line": lambda: fail("excise: error: one\\nand another"),
    "unnamed": lambda: fail("excise: error: something is wrong"),
    "escape": lambda: print("\\x1b[31mred"),
    "lost": lambda: pathlib.Path("notes.txt").write_text("gone"),
    "left": lambda: pathlib.Path(".made.png.abcd1234.part").mkdir(),
    "outside": lambda: open("../outside/private.txt").read(),
    "pickle": lambda: pickle.loads(pickle.dumps(Evil())),
    "program": lambda: subprocess.run(["true"]),
    "code": lambda: exec(compile("1", os.path.abspath("theirs.py"), "exec")),
    "accepted": lambda: None,
    "refused": lambda: fail("excise: error: bad.json is wrong"),
}
for number, (sort, deed) in enumerate(deeds.items()):
    excise.cli.main = deed
    sandbox = Sandbox(pathlib.Path(sys.argv[1]) / sort, pathlib.Path(sys.argv[1]))
    must = {"accepted": "be refused", "refused": "be done"}.get(sort, "end")
    played = attempt(sandbox, "any", must=must, named=("bad.json",), limits=Limits(patience=0.5))
    print(sort, *sorted({fault.sort for fault in played.faults}))
"""


def test_every_sort_of_fault_is_seen(tmp_path: Path) -> None:
    ended = _python("-c", MISBEHAVE, str(tmp_path))
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert len(rows) == 16, ended.stderr
    for committed, *seen in rows:
        assert committed in seen, (committed, seen)
        assert set(seen) - {committed} <= {"outside"}, (committed, seen)


def test_the_judge_accepts_what_is_right(tmp_path: Path) -> None:
    good = """
import pathlib, sys
import excise.cli
from torture.attempt import attempt
from torture.sandbox import Sandbox

def refuse():
    print("excise: error: bad.json is damaged", file=sys.stderr)
    sys.exit(2)

def write():
    pathlib.Path("made").mkdir()
    pathlib.Path("made/edit.json").write_text("{}")

for name, deed, must in (("refuse", refuse, "be refused"), ("write", write, "be done")):
    excise.cli.main = deed
    sandbox = Sandbox(pathlib.Path(sys.argv[1]) / name, pathlib.Path(sys.argv[1]))
    print(attempt(sandbox, "any", ("made",), must=must, named=("bad.json",)).faults)
"""
    ended = _python("-c", good, str(tmp_path))
    assert ended.stdout.split() == ["()", "()"], ended.stdout + ended.stderr


@pytest.mark.parametrize("arguments", [("--number", "3"), ("--only", "edits", "--only", "flags", "--number", "3")])
def test_a_number_needs_its_kind(arguments: tuple[str, ...]) -> None:
    ended = _python("-m", "torture", *arguments)
    assert ended.returncode == 2 and "--number needs the one kind" in ended.stderr
