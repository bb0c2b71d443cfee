"""What must be instant loads no torch: the package, help, lists, dry runs, refused settings. And names: one for a class, one for a file."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

import excise
from excise.files import write_tensors

SRC = Path(excise.__file__).parents[1]
HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "peft")

RUN = """
import sys
import excise
from typer.main import get_command
from typer.testing import CliRunner
from excise.cli import app

model, edit = sys.argv[1:3]

def call(code, *arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (arguments, result.output, result.exception)
    assert code == 0 or result.stderr.count("\\n") == 1, result.stderr

def help_of(group, *path):
    call(0, *path, "--help")
    for name, command in getattr(group, "commands", {}).items():
        help_of(command, *path, name)

help_of(get_command(app))
for what in ("methods", "attacks", "models", "concepts"):
    call(0, "list", what, "--model", model)
call(0, "suite", "list")
call(0, "info", model)
call(0, "suite", "list")
on = ("--model", model)
right = {
    ("erase", "cat", *on, "--out", "x"): ("--set", "rounds=2"),
    ("generate", "a cat", *on, "--out", "x.png"): ("--edit", edit, "--scale", "0.5"),
    ("evaluate", *on, "--edit", edit): ("--json", "x.json", "--quality"),
    ("vary", edit, *on): ("--pictures", "3"),
    ("measure", *on, "--edit", edit): ("--figure", "x.png"),
    ("diff", model, model, "--out", "x"): ("--concept", "cat"),
    ("audit", edit, *on, "--out", "x"): ("--attacks", "guidance p4d:lr=0.1"),
    ("bench", "--methods", "mim uce", "--concepts", "objects cat+dog", *on, "--out", "x"): ("--seeds", "3"),
    ("apply", edit, *on, "--to", "x"): ("--dtype", "float16"),
    ("export", edit, "--to", "x.safetensors"): ("--rank", "4"),
    ("prune", model, "--out", "x"): ("--keep", "0.7"),
    ("distill", model, "--teacher", model, "--out", "x"): ("--erase", "cat", "--set", "lam=10"),
    ("upscale", "a.png", *on, "--restorer", "r.safetensors", "--out", "x"): ("--edit", edit, "--scale", "2"),
    ("restore", edit, "--concept", "cat", "--out", "x"): (),
    ("queue", "add", "x.yaml", "cat", *on): ("--method", "uce"),
    ("queue", "withdraw", "q.yaml", "cat"): ("--kind", "object"),
    ("queue", "run", "q.yaml"): ("--evaluate", "none",),
    ("report", edit): ("--out", "x.html"),
    ("studio",): ("--space", "x"),
    ("convert", edit): (),
    ("suite", "run", "i2p", *on, "--out", "x"): ("--set", "prompts=prompts.csv"),
    ("canvas", "train", "vae", "--work", "x"): ("--steps", "1"),
    ("canvas", "render", "--font", "font.ttf"): (),
    ("canvas", "draw", "--out", "x"): ("-n", "3"),
    ("canvas", "assemble", "--work", "y", "--out", "x"): ("--name", "z"),
    ("canvas", "card", "--folder", model): ("--dtype", "float16"),
}
wrong = {
    "erase": [("cat", "--set", "rouns=2"), ("cta",), ("cat", "--harden", model), ("cat", "--seed", "-1"), ("cat", "--method", "x"),
              ("cat", "--device", "toaster"), ("cat", "--scheduler", "FlowMatchEulerDiscreteScheduler"), ("cat", "--evaluate", "some")],
    "generate": [(" ", "--out", "x.png"), ("a", "--out", "x.png", "--n", "0"), ("a", "--out", "x", "--edit", model)],
    "evaluate": [("--concept", "cta"), ("--edit", "nowhere"), ("--concept", "cat", "--features", "x")],
    "vary": [(edit, "--concept", "cta"), (edit, "--pictures", "many")],
    "measure": [("cta",), ("cat", "--figure", "x.gif"), ("cat", "--phrasings", "some")],
    "audit": [(edit, "--attacks", "p5d"), (edit, "--base", model), (edit, "--prompts", "0")],
    "bench": [("--methods", "mimm", "--concepts", "cat", "--out", "x"), ("--methods", "mim", "--concepts", "cta", "--out", "x")],
    "upscale": [("font.ttf", "--restorer", "r.safetensors", "--out", "x"), ("a.png", "--out", "x"), ("a.png", "--colour", "x", "--out", "x")],
    "apply": [(edit, "--to", model + "/x"), (model, "--to", "x"), (edit, "--to", "x", "--scale", "nan")],
}
for command, more in right.items():
    call(0, *command, *more, "--dry-run")
for verb, cases in wrong.items():
    for case in cases:
        call(2, verb, *case, *on)
call(2, "erase", "cat", "--model", model + "-missing")
call(2, "diff", model, "nowhere/at/all", "--out", "x")
call(2, "export", edit, "--to", "x.pt")
call(2, "prune", "nowhere/at/all", "--out", "x")
call(2, "prune", model, "--keep", "2", "--out", "x")
call(2, "distill", model, "--teacher", model, "--out", "x", "--set", "lamda=1")
call(2, "distill", model, "--teacher", model, "--out", "x", "--erase", "cta")
call(2, "restore", model, "--concept", "cat", "--out", "x")
call(0, "queue", "status", "q.yaml")
call(2, "queue", "add", "q.yaml", "cat")
call(2, "queue", "withdraw", "q.yaml", "dog")
call(2, "queue", "run", "nowhere.yaml")
call(2, "queue", "export", "q.yaml", "--to", "x")
call(2, "report", "nowhere")
call(2, "convert", "nowhere")
call(2, "studio", "--host", "0.0.0.0")
call(2, "suite", "run", "i3p", "--out", "x")
call(2, "canvas", "train", "vea", "--work", "x")
call(2, "canvas", "draw", "--out", "x", "--without", "zeppelin")
call(2, "info", "nowhere/at/all")
print([name for name in sys.argv[3:] if name in sys.modules])
"""


def test_nothing_heavy_is_imported(tiny_canvas: Path, tmp_path: Path) -> None:
    """Help, lists, dry runs and refusals of every verb load no torch and write nothing."""
    excise.erase("cat", model=tiny_canvas, out=tmp_path / "edit", method="uce", evaluate="none")
    work = tmp_path / "work"
    work.mkdir()
    (work / "prompts.csv").write_text("prompt,evaluation_seed\na cat,1\n", encoding="utf-8")
    (work / "font.ttf").touch()
    Image.new("RGB", (3, 2)).save(work / "a.png")
    write_tensors(work / "r.safetensors", {}, {"restorer": "{}"})
    (work / "q.yaml").write_text(f"model: {tiny_canvas}\nrequests: [{{concept: cat}}]\n", encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(tiny_canvas), str(tmp_path / "edit"), *HEAVY]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    result = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
    assert sorted(os.listdir(work)) == ["a.png", "font.ttf", "prompts.csv", "q.yaml", "r.safetensors"]


def test_public_names_are_there() -> None:
    assert all(getattr(excise, name) is not None for name in excise.__all__)
    assert set(dir(excise)) == set(excise.__all__)


SUITES = """
import sys
from excise.evaluation.suites import get, suites

prompts = sys.argv[1]
for suite in suites().values():
    given = {name: prompts for name, field in suite.settings.model_fields.items() if name == "prompts"}
    given |= {"unlearncanvas": {"target": "Dogs"}, "unlearndiffatk": {"task": "church"}}.get(suite.name, {})
    settings = suite.parse(given)
    assert suite.items(settings) and suite.needs(settings)
    for wrong in ({**given, "stesp": 3}, {**given, "steps": 0}):
        try:
            suite.parse(wrong)
        except ValueError as error:
            assert f"of {suite.name}" in str(error)
        else:
            raise AssertionError(f"{suite.name} takes {wrong}")
    try:
        suite.tools(settings, {name: prompts + "-missing" for name in suite.weights})
    except FileNotFoundError as error:
        assert "Nothing is downloaded" in str(error)
print([name for name in sys.argv[2:] if name in sys.modules])
"""


def test_suites_check_what_they_are_given_without_torch(tmp_path: Path) -> None:
    """Settings, the prompts of a file, and weights that are not there."""
    (tmp_path / "prompts.csv").write_text("prompt,evaluation_seed\nan old church,3\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", SUITES, str(tmp_path / "prompts.csv"), *HEAVY]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


PLAIN = ("evaluation", "information", "erasure", "edits")
"""Rooms whose files import at their top, like any PyTorch file."""

LATER = {
    ("evaluation/features.py", "torch_fidelity"): "an extra",
    ("evaluation/suites/nudenet.py", "onnxruntime"): "an extra",
    ("evaluation/features.py", "torchmetrics.image.fid"): "long to import, and few runs need it",
    ("evaluation/quality.py", "torchmetrics.image.fid"): "long to import, and few runs need it",
    ("information/heat_map.py", "matplotlib.figure"): "long to import, and few runs need it",
}
"""What a function imports -> why it does not stand at the top of the file."""


@pytest.mark.parametrize("room", PLAIN)
def test_imports_stand_at_the_top(room: str) -> None:
    found = set()
    for path in sorted((SRC / "excise" / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = (node for part in ast.walk(tree) if isinstance(part, ast.FunctionDef) for node in ast.walk(part))
        for node in inside:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                found |= {(str(path.relative_to(SRC / "excise")), name) for name in names}
    assert found == {place for place in LATER if place[0].startswith(f"{room}/")}


SEEN = """
import sys
import excise.jobs.erase
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_an_erasure_imports_nothing_that_only_few_runs_need() -> None:
    found = subprocess.run(
        [sys.executable, "-c", SEEN, "torchmetrics", "matplotlib.figure", "torch_fidelity", "onnxruntime"],
        env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (found.returncode, found.stdout) == (0, "[]\n"), found.stderr


LISTED = """
import sys
from typer.testing import CliRunner
from excise.cli import app
for arguments, code in ((["--help"], 0), ([], 2), (["erse"], 2), (["erase", "cta"], 2)):
    assert CliRunner().invoke(app, arguments).exit_code == code
print(sorted(name for name in sys.modules if name.startswith(("excise.cli.", "excise.requests.", "excise.jobs."))))
"""


def test_only_the_command_that_is_typed_is_imported() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LISTED], env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=600
    )
    assert found.returncode == 0, found.stderr
    modules = ast.literal_eval(found.stdout)
    assert {"excise.cli.erase", "excise.requests.erase"} <= {*modules}
    assert not {*modules} & {"excise.cli.bench", "excise.cli.queue", "excise.requests.audit", "excise.jobs.convert"}


VERBS = ("cli", "jobs", "requests")
"""Rooms whose files are named by the verbs of the command line, so that the same name means the same verb."""

WORK = {"erase.py": "methods", "attack.py": "attacks", "scoring.py": "evaluation/suites"}
"""The file of a registry's folder that does the work."""


def _repeated(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names that stand in several places: name -> places."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, place in names:
        found[name].append(place)
    return {name: places for name, places in found.items() if len(places) > 1}


def _files() -> list[Path]:
    return sorted((SRC / "excise").rglob("*.py"))


def test_a_name_means_one_class() -> None:
    classes = (
        (node.name, str(path.relative_to(SRC)))
        for path in _files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert _repeated(classes) == {}


def _explained(path: Path) -> bool:
    """Whether a file's name is one that several folders share by design."""
    inside = path.relative_to(SRC / "excise")
    registry = WORK.get(path.name)
    return path.name == "__init__.py" or inside.parts[0] in VERBS or (registry is not None and inside.is_relative_to(registry))


def test_a_file_is_understood_without_its_folder() -> None:
    """No two files of one name, but for the verbs and the files of registries that do the work; and a verb's file once a room."""
    assert _repeated((path.name, str(path.relative_to(SRC))) for path in _files() if not _explained(path)) == {}
    verbs = {
        path.name for path in _files() if path.relative_to(SRC / "excise").parts[0] in VERBS and path.name != "__init__.py"
    }
    others = {path.name for path in _files() if not _explained(path)}
    assert verbs & others == set()


@pytest.mark.parametrize("inside, fine", [("methods/esd/erase.py", True), ("erasure/erase.py", False), ("jobs/audit.py", True)])
def test_which_repeats_are_by_design(inside: str, fine: bool) -> None:
    assert _explained(SRC / "excise" / inside) is fine
