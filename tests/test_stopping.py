"""SIGINT, SIGTERM and SIGHUP at every instant: exit code 128 + their number, one line or none, the old file or the new one, no `.part`.

A stage is a Python process that has imported what comes before; it forks for every instant, so that 200 of them take seconds. Each child counts
its steps (imports, or the interpreter's operations in the files that write) and sends the signal to itself at the one that it was told.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import excise

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STAGE = """
import atexit, json, os, shutil, signal, sys
from pathlib import Path
from excise.cli import stopping

plan = json.loads(sys.argv[1])
FILES = ("excise/files/replace.py", "excise/files/locks.py", "excise/files/leftovers.py", "excise/files/write.py", "excise/cli/stopping.py",
         "excise/cli/command.py", "excise/jobs/convert.py", "contextlib.py")
steps = 0
os.fsync = lambda handle: None  # takes its time, and nothing here is about power cuts

def step(wanted, number):
    global steps
    steps += 1
    if steps == wanted:
        os.kill(os.getpid(), number)

def import_(wanted, number):
    from excise.cli import main

    sys.argv = ["excise", "list", "methods"]
    sys.addaudithook(lambda event, _: step(wanted, number) if event == "import" else None)
    main()

def trace(wanted, number):
    def inside(frame, event, _):
        frame.f_trace_opcodes = True
        if event in ("opcode", "return"):
            step(wanted, number)
        return inside

    sys.settrace(lambda frame, event, argument: inside if frame.f_code.co_filename.endswith(FILES) else None)

def folder(wanted, number):
    from excise.files import replacing_folder, writing

    place = Path(plan["place"])
    stopping.listen()
    trace(wanted, number)
    try:
        with stopping.run(), writing(place / "new" / "y", place / "x"), replacing_folder(place / "x") as new:
            (new / "a").write_text("new")
            (new / "b").write_text("new")
    except KeyboardInterrupt as error:
        sys.exit(128 + error.number)

def convert(wanted, number):
    from excise.cli import main

    sys.argv = ["excise", "convert", plan["place"]]
    listen = stopping.listen
    stopping.listen = lambda: (listen(), trace(wanted, number))
    main()

if plan["act"] == "folder":
    import excise.files
elif plan["act"] == "convert":
    import excise.cli.application
total = 0
for share, number in [(None, signal.SIGINT), *plan["points"]]:
    wanted = None if share is None else 1 + int(share * total)
    shutil.rmtree(plan["place"], ignore_errors=True)
    Path(plan["place"]).mkdir()
    for name, text in plan["before"].items():
        path = Path(plan["place"]) / name
        if text is not None:
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
    sys.stdout.flush()
    (reading, writing), (counting, counted) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
        if wanted is None:
            atexit.register(lambda: os.write(counted, b"%d" % steps))
        globals()[plan["act"]](wanted, number)
        sys.exit()
    os.close(writing)
    os.close(counted)
    with open(reading) as told:
        err = told.read()
    with open(counting) as steps_made:
        total = total or int(steps_made.read())
    _, status = os.waitpid(child, 0)
    place = Path(plan["place"])
    files = {str(path.relative_to(place)): path.read_text() if path.is_file() else None for path in sorted(place.rglob("*"))}
    print(json.dumps([wanted, number, os.waitstatus_to_exitcode(status), err, files]))
"""


def staged(act: str, count: int, place: Path, before: dict[str, str | None]) -> list[Any]:
    """Of a run that nothing stops, and of `count` that are stopped at steps spread evenly, with the signals in turn: the step, the signal,
    exit code, stderr, and every file that is there then."""
    draw = random.Random(21)
    points = [((step + draw.random()) / count, SIGNALS[step % 3]) for step in range(count)]
    plan = {"act": act, "points": points, "place": str(place), "before": before}
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", STAGE, json.dumps(plan)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def check_ended(found: list[Any]) -> None:
    assert found[0][2:4] == (0, "")
    for step, number, code, err, _ in found[1:]:
        assert (code, err) in ((128 + number, ""), (128 + number, "excise: stopped\n"), (0, "")), (step, number, code, err)
    assert sum(code > 0 for _, _, code, _, _ in found[1:]) > 0.9 * len(found[1:]), "hardly any step comes after the end"


def test_while_the_command_line_is_imported(tmp_path: Path) -> None:
    check_ended(staged("import_", 12, tmp_path / "place", {}))


def test_while_a_folder_is_replaced(tmp_path: Path) -> None:
    old = {"x": None, "x/a": "old", "x/c": "old"}
    new = {"x": None, "x/a": "new", "x/b": "new"}
    found = staged("folder", 160, tmp_path / "place", old)
    check_ended(found)
    for *about, files in found:
        assert files in (old, new), (about, files)
    assert found[0][-1] == new and sum(files == old for *_, files in found) > 20


def test_while_a_verb_writes(tmp_path: Path) -> None:
    old = {"bench.json": json.dumps({"model": "canvas", "target_pictures": 9, "quality": True})}
    found = staged("convert", 30, tmp_path / "place", old)
    check_ended(found)
    whole = found[0][-1]
    assert whole != old
    for *about, files in found:
        assert files in (old, whole), about


def test_signals_that_the_caller_ignores_stay_ignored() -> None:
    """`nohup excise ...` and background jobs."""
    code = "import os, signal; from excise.cli import stopping; stopping.listen(); os.kill(os.getpid(), signal.SIGHUP); print('on')"
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "on\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_python_ends_changes_nothing(number: int) -> None:
    code = f"""
import os, signal, sys
from excise.cli import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)
class Last:
    def __del__(self): os.kill(os.getpid(), {int(number)}); os.write(1, b"done")
stopping.listen()
sys.modules["last"] = Last()
sys.exit(3)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stdout) == (3, "done")


@pytest.mark.parametrize(
    "swallower",
    ["class Last:\n    def __del__(self): kill()\nLast()", "import builtins, sentinel"],
    ids=["a destructor", "a module that swallows all"],
)
def test_a_signal_that_is_swallowed_comes_again(swallower: str, tmp_path: Path) -> None:
    (tmp_path / "sentinel.py").write_text("import __main__\ntry:\n    __main__.kill()\nexcept BaseException:\n    pass\n")
    code = f"""
import os, signal, sys, time
from excise.cli import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)
kill = lambda: os.kill(os.getpid(), signal.SIGINT)
stopping.listen()
try:
    with stopping.run():
        exec({swallower!r})
        time.sleep(30)
except KeyboardInterrupt as error:
    sys.exit(128 + error.number)
"""
    environment = {**os.environ, "PYTHONPATH": f"{Path(excise.__file__).parents[1]}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_signal_that_came_too_late_to_be_raised_is_raised_at_the_end() -> None:
    code = """
import os, signal, sys
from excise.cli import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)
stopping.listen()
exec_ = compile("os.kill(os.getpid(), signal.SIGINT)", "<frozen importlib._bootstrap>", "exec")
try:
    with stopping.run():
        exec(exec_)
except KeyboardInterrupt as error:
    sys.exit(128 + error.number)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stderr) == (130, "")
