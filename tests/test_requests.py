"""One schema a verb: the Python function, the command, the file and the dry run of every request say the same."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

import excise
from excise.canvas import requests as canvas_requests
from excise.cli import app
from excise.files import check_new_file
from excise.jobs.apply import apply
from excise.jobs.bench import bench
from excise.jobs.erase import erase
from excise.jobs.generate import generate
from excise.requests import fields
from excise.requests.audit import AuditRequest
from excise.requests.bench import BenchRequest
from excise.requests.drawn import Drawn
from excise.requests.erase import EraseRequest
from excise.requests.export import ExportRequest
from excise.requests.fields import flag
from excise.requests.generate import GenerateRequest
from excise.requests.measure import MeasureRequest
from excise.requests.on_model import OnModel
from excise.requests.request import Request, function
from excise.requests.sources import read_yaml, resolve
from excise.settings import parse

VERBS = (
    "apply",
    "audit",
    "bench",
    "convert",
    "diff",
    "distill",
    "erase",
    "evaluate",
    "export",
    "generate",
    "measure",
    "prune",
    "report",
    "restore",
    "upscale",
    "vary",
)
READ_ONLY = {"list", "info", "queue status", "suite list", "suite table"}


def requests() -> list[type[Request]]:
    """Every request of the package."""
    shared = (Request, OnModel, Drawn)
    kinds = {one for each in shared for one in each.__subclasses__()} - {*shared}
    return sorted((one for one in kinds if one.__module__.startswith("excise.")), key=lambda one: one.__name__)


def commands(group: Any = None, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command of the command line by what is typed for it."""
    found: dict[str, Any] = {}
    for name, command in (group or get_command(app)).commands.items():
        inside = (*path, name)
        found |= commands(command, inside) if hasattr(command, "commands") else {" ".join(inside): command}
    return found


def function_of(verb: str) -> Any:
    return getattr(importlib.import_module(f"excise.jobs.{verb}"), verb)


class TestFunctions:
    def test_the_signature_of_an_erasure(self) -> None:
        """Names, order, kinds and defaults, written out: what users have typed so far goes on to work."""
        expected = {
            "concepts": (), "kind": None, "also": (), "method": "mim", "harden": (), "out": None, "seed": 0, "settings": {},
            "devices": (), "low_memory": False, "resume": False,
            "overwrite": False, "evaluate": "quick", "json": None, "model": "canvas", "config_from": None, "device": None,
            "dtype": "float32", "offload": "none", "steps": None, "guidance": None, "size": None, "scheduler": None, "long_prompts": None,
        }  # fmt: skip
        for run in (erase, excise.erase):
            parameters = inspect.signature(run).parameters
            assert list(parameters) == [*expected, "progress"]
            assert {name: parameters[name].default for name in expected} == expected
            positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
            assert positional == ["concepts"]
            assert parameters["seed"].annotation is int and {str, Path} <= set(get_args(parameters["out"].annotation))

    def test_help_has_a_line_for_every_argument(self) -> None:
        text = inspect.getdoc(excise.erase) or ""
        assert text.startswith("Erase concepts: writes the edit")
        assert re.search(r"^seed +Seed of everything random\.$", text, re.MULTILINE)
        assert re.search(r"^progress +Called with", text, re.MULTILINE) and "Raises ValueError" in text
        assert excise.erase.__name__ == "erase" and excise.audit.__name__ == "audit"

    @pytest.mark.parametrize("verb", VERBS)
    def test_every_argument_is_an_option_of_the_same_name(self, verb: str) -> None:
        options = {param.name for param in commands()[verb].params} - {"config", "dry_run", "quiet"}
        assert options == set(inspect.signature(function_of(verb)).parameters) - {"progress"}

    @pytest.mark.parametrize(
        "call, words",
        [
            (lambda: erase("cat", sede=1), "unexpected keyword argument 'sede'"),
            (lambda: erase("cat", "object"), "too many positional arguments"),
            (lambda: generate("a cat"), "missing a required argument: 'out'"),
            (lambda: bench(methods="mim", out="x"), "missing a required argument: 'concepts'"),
        ],
    )
    def test_arguments_that_do_not_exist_or_are_missing(self, call: Any, words: str) -> None:
        with pytest.raises(TypeError, match=words):
            call()

    @pytest.mark.parametrize(
        "call, words",
        [
            (lambda: erase("cat", seed="soon"), "bad option: seed='soon'"),
            (lambda: erase("cat", seed=2**32), "bad option: seed=4294967296"),
            (lambda: erase("cat", dtype="float23"), "dtype='float23'; did you mean 'float32'"),
            (lambda: erase("cat", settings=[1]), "bad option: settings="),
            (lambda: generate([], out="x.png"), r"prompts=\[\]: needs at least 1"),
            (lambda: generate("a", out="x.png", n=0, steps=0), "steps=0: .*; bad option: n=0"),
            (lambda: generate("a", out=3), "bad option: out=3"),
            (lambda: apply([], to="x"), r"edit=\[\]: needs at least 1"),
            (lambda: bench(methods="mim", concepts="cat", out="x", seeds=[0, -1]), r"seeds\.1=-1"),
        ],
    )
    def test_wrong_values_are_one_line(self, call: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=words) as refused:
            call()
        assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())

    def test_only_a_request_that_was_checked_is_run(self) -> None:
        ran: list[Request] = []

        class OddRequest(Request):
            """Take an odd number."""

            number: fields.Count

            def check(self) -> None:
                if self.number % 2 == 0:
                    raise ValueError("even")

        run = function(OddRequest, lambda request, progress: ran.append(request))
        with pytest.raises(ValueError, match="even"):
            run(number=2)
        run(number="3")
        assert [one.model_dump() for one in ran] == [{"number": 3}]

    @pytest.mark.parametrize("call", ["excise.erase('cta')", "excise.erase('cat', method='mimm')", "excise.audit(attacks='x')"])
    def test_a_wrong_name_is_refused_without_torch(self, call: str) -> None:
        code = f"import sys, excise\ntry:\n    {call}\nexcept ValueError as error:\n    print(error, 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
        assert "unknown" in done.stdout and done.stdout.endswith("False\n"), done.stderr


class TestSchemas:
    @pytest.mark.parametrize("schema", requests(), ids=lambda schema: schema.__name__)
    def test_everything_is_said(self, schema: type[Request]) -> None:
        assert schema.summary().endswith((".", "DIR"))
        for name, field in schema.options().items():
            assert field.description, name

    @pytest.mark.parametrize("schema", requests(), ids=lambda schema: schema.__name__)
    def test_it_is_frozen_and_refuses_what_it_does_not_know(self, schema: type[Request]) -> None:
        with pytest.raises(ValueError, match="unknown option: 'nonsense'"):
            parse(schema, {"nonsense": 1}, "option")
        one = schema.model_construct()
        for name in schema.model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(one, name, 1)

    def test_all_are_found(self) -> None:
        names = {schema.__name__ for schema in requests()}
        assert {f"{verb.title()}Request" for verb in VERBS} | {"SuiteRequest", "TrainRequest"} <= names
        assert canvas_requests.TrainRequest in requests()


class TestCommands:
    def test_all_can_be_planned_but_those_that_only_look(self) -> None:
        without = {name for name, command in commands().items() if "dry_run" not in {one.name for one in command.params}}
        assert without == READ_ONLY
        assert without == {name for name, command in commands().items() if "config" not in {one.name for one in command.params}}

    @pytest.mark.parametrize("command", commands())
    def test_help_says_every_option_and_ends_with_two_examples(self, command: str) -> None:
        printed = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "250"}).stdout
        for param in commands()[command].params:
            shown = param.opts[0] if param.opts[0].startswith("-") else ""
            assert shown in printed
        assert printed.partition("Examples:")[2].count("excise ") >= 2
        assert "\\[" not in printed, "markup is markup, and text is text"

    def test_help_says_defaults_and_what_is_required(self) -> None:
        printed = CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "250"}).stdout
        rows = {words[1]: line for line in printed.splitlines() if len(words := line.split()) > 2 and words[0] == "│"}
        assert "[default: canvas]" in rows["--model"] and "[default: 1]" in rows["--n"]
        assert "[required]" in rows["--out"] and "[required]" in rows["PROMPT"] and "[" not in rows["--edit"].split("Folder")[1]

    def test_values_that_were_typed_overrule_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text(
            f"prompts: [a cat, 'null']\nout: {tmp_path}/pictures\nseed: 4\nn: 3\nguidance: 2.5\n", encoding="utf-8"
        )
        command = ["generate", "--config", str(tmp_path / "run.yaml"), "--seed", "7", "--dry-run"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        rows = {words[0]: words for line in done.stdout.splitlines() if (words := line.split())}
        assert (
            rows["seed"][1:3] == ["7", "flag"] and rows["n"][1:3] == ["3", "file"] and rows["guidance"][1:3] == ["2.5", "file"]
        )
        assert rows["steps"][1:3] == ["-", "default"] and "a cat, null" in " ".join(rows["prompts"])
        assert not (tmp_path / "pictures").exists()

    def test_a_switch_that_was_typed_overrules_the_file_both_ways(self, tmp_path: Path) -> None:
        def told(file: str, *flags: str) -> list[str]:
            (tmp_path / "run.yaml").write_text(f"methods: uce\nconcepts: cat\nout: {tmp_path}/x\n{file}", encoding="utf-8")
            done = CliRunner().invoke(app, ["bench", "--config", str(tmp_path / "run.yaml"), "--dry-run", *flags])
            assert done.exit_code == 0, done.output
            return next(line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("quality "))

        assert told("") == ["True", "default"]
        assert told("quality: false\n") == ["False", "file"]
        assert told("quality: false\n", "--quality") == ["True", "flag"]
        assert told("", "--no-quality") == ["False", "flag"]

    @pytest.mark.parametrize(
        "command",
        [
            ["generate", "--out", "x.png"],
            ["apply", "--to", "x"],
            ["bench", "--methods", "mim", "--out", "x"],
            ["suite", "run", "--out", "x"],
            ["restore", "x", "--out", "y"],
            ["prune", "canvas"],
            ["distill", "x"],
            ["upscale", "x.png"],
            ["canvas", "train", "vae"],
            ["list"],
        ],
    )
    def test_what_is_missing_is_named(self, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2 and "missing option: '" in done.stderr and done.stderr.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_the_words_of_a_flag(self) -> None:
        names = flag(BenchRequest.options()["concepts"]).read
        assert names is not None
        assert names(["cat style:pixel_art", "dog+bird"]) == ["cat", "style:pixel art", "dog+bird"]
        gold = flag(BenchRequest.options()["gold"]).read
        assert gold is not None and gold(["pixel_art=a=b"]) == {"pixel art": "a=b"}
        for texts, words in ((["cat"], "expected CONCEPT=MODEL"), (["cat=x", "cat=y"], "two gold standards")):
            with pytest.raises(ValueError, match=words):
                gold(texts)

    @pytest.mark.parametrize("verb", ["generate", "measure", "report"])
    def test_a_key_of_the_file_that_does_not_exist(self, verb: str, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("outt: x\nmodell: x\n", encoding="utf-8")
        done = CliRunner().invoke(app, [verb, "--config", str(tmp_path / "run.yaml")])
        assert done.exit_code == 2 and "unknown key" in done.stderr and "under 'settings:'" not in done.stderr


class TestSources:
    def test_mappings_are_merged_key_by_key(self) -> None:
        file = {"methods": ["mim"], "concepts": ["cat"], "out": "x", "gold": {"cat": "a", "dog": "b"}}
        found = resolve(BenchRequest, file, {"gold": {"dog": "c"}})
        assert found.request.gold == {"cat": "a", "dog": "c"}
        assert found.parts["gold"] == {"cat": "file", "dog": "flag"} and found.sources["gold"] == "flag"

    def test_text_of_a_file_is_converted(self, tmp_path: Path) -> None:
        text = "methods: [mim, uce]\nconcepts: cat\nout: ~/x\nseeds: [0, 1]\nquality: false\nbudget: 900\n"
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        request = resolve(BenchRequest, read_yaml(tmp_path / "run.yaml"), {}).request
        assert request.seeds == (0, 1) and request.quality is False and request.budget == 900
        assert request.methods == ("mim", "uce") and request.concepts == ("cat",) and request.out == Path.home() / "x"

    def test_home_is_found_in_every_path(self) -> None:
        request = resolve(
            MeasureRequest, {"edit": "~/a", "json": "~/n.json", "figure": "~/f.png", "pictures": "~/p"}, {}
        ).request
        for path in (*request.edit, request.json_file, request.figure, request.pictures):
            assert path is not None and path.is_relative_to(Path.home())


def test_a_base_and_edits_are_not_both(tmp_path: Path, tiny_canvas: Path) -> None:
    for schema in (MeasureRequest, AuditRequest):
        request = parse(schema, {"edit": "x", "base": tiny_canvas, "model": tiny_canvas}, "option")
        with pytest.raises(ValueError, match="not both"):
            request.check()


def test_where_pictures_go() -> None:
    for out, one in (("x.PNG", True), ("x.webp", True), ("x", False), ("x.d", False)):
        assert parse(GenerateRequest, {"prompts": "a", "out": out}, "option").one_file == one


def test_an_erasure_needs_a_concept() -> None:
    with pytest.raises(ValueError, match="name at least one concept to erase"):
        parse(EraseRequest, {}, "option").check()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_result_that_came_after_the_check_is_seen_before_the_work(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExportRequest, "check", lambda self: check_new_file(self.to, self.overwrite))
    request = ExportRequest(edit=(tmp_path / "edit",), to=tmp_path / "a.safetensors", overwrite=overwrite)
    request.check()
    request.to.write_bytes(b"of another run")
    with (
        pytest.raises(FileExistsError, match="exists; choose another path") if not overwrite else nullcontext(),
        request.running(),
    ):
        assert overwrite
    assert request.to.read_bytes() == b"of another run" and len(list(tmp_path.iterdir())) == 1
