"""A queue of removals: the file that people keep, what a run makes of it, and that nothing is lost whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import excise
from excise.cli import app
from excise.edits import load_edit, members, restored
from excise.files import replace, writing
from excise.jobs import queue as job
from excise.jobs.bench_grid import PlannedCell
from excise.jobs.queue import export_queue, run_queue
from excise.jobs.queue_file import add_removal, withdraw_removal
from excise.models import Model, load
from excise.models.fingerprint import named_tensors
from excise.progress import silent
from excise.report.folder_reader import read
from excise.requests.grid import Entrant, Task
from excise.requests.queue import planned
from excise.requests.removal_plan import outlook
from excise.requests.removals import Queue
from excise.results.removal_ledger import RemovalLedger

QUICK_MIM = "{rounds: 1, steps: 1, batch: 1, trajectories: 1, sampler_steps: 2}"
QUICK_CA = "{rounds: 3, steps: 1, batch: 1, pictures: 1, picture_steps: 1}"
QUICK_SEPME = "{rounds: 1, steps: 2, pictures: 2, batch: 1}"


@pytest.fixture(scope="module")
def loaded(tiny_canvas: Path) -> Model:
    return load(tiny_canvas, device="cpu")


@pytest.fixture
def quick(loaded: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Runs share one model and draw no page."""
    monkeypatch.setattr(job, "load_wanted", lambda request: loaded)
    monkeypatch.setattr(job, "build", lambda *_: None)
    return loaded


def queue_file(folder: Path, model: Path, *requests: str, **keys: str) -> Path:
    """A queue with a comment on every request."""
    head = "".join(f"{key}: {value}\n" for key, value in {"model": str(model), "method": "uce", **keys}.items())
    path = folder / "removals.yaml"
    path.write_text(f"# kept in git\n{head}requests:\n" + "".join(f"  # asked for\n  - {each}\n" for each in requests), "utf-8")
    return path


def serve(path: Path) -> RemovalLedger:
    return run_queue(path, evaluate="none", device="cpu")


def states(path: Path) -> list[str]:
    return [removal.state for removal in Queue.read(path).content.requests]


def told(path: Path) -> dict[str, str]:
    """What `status` says of the next run."""
    queue = Queue.read(path)
    return {each.entry.key: each.next for each in outlook(queue, *planned(queue))}


def weights(folder: Path) -> bytes:
    return (folder / "edit.safetensors").read_bytes()


def on_model(model: Model, folder: Path) -> dict[str, torch.Tensor]:
    with load_edit(folder).applied(model):
        return {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- the file ---------------------------------------------------------------------------------------------------------------------

BLOCK = """# removals of the service
model: canvas      # the built-in one
requests:

  # first came the sketches
  - concept: "style:sketch"   # by letter
    reason: >
      rights
      holder
    state: open    # not yet
  -   concept: dog
      settings: {eta: "1"}   # weaker

# the end
"""
STYLES = {
    "block": BLOCK,
    "no indent": "requests:\n- concept: dog\n  state: open # x\n# the end\n",
    "flow": "requests: [{concept: dog, state: open}, {concept: style:sketch}] # x\n",
    "no end": "method: uce\nrequests:\n  - concept: dog",
    "empty list": "requests: []  # none so far\nmethod: uce\n",
    "nothing": "requests:\n# none so far\n",
    "no key": "# none so far\nmethod: uce",
    "windows": "method: uce\r\nrequests:\r\n  - concept: dog\r\n    state: open # x\r\n",
}


class TestFile:
    @pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
    def test_adding_leaves_every_other_sign(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "q.yaml"
        path.write_bytes(text.encode())
        before = Queue.read(path).content
        add_removal(
            path,
            "cat",
            also=["a moggy, or: two"],
            reason="no\u00a0# comment",
            date="2026-03-17",
            method="uce",
            settings={"ridge": "2"},
        )
        after = Queue.read(path).content
        new = after.requests[-1]
        assert after.model_copy(update={"requests": after.requests[:-1]}) == before
        assert (new.concept, new.also, new.reason, str(new.date)) == (
            "cat",
            ("a moggy, or: two",),
            "no\u00a0# comment",
            "2026-03-17",
        )
        assert (new.method, new.settings, new.state) == ("uce", {"ridge": "2"}, "open")
        left = path.read_bytes().decode()
        words = [word for line in text.splitlines() for word in line.replace("[]", "").replace("]", "").split()]
        for word in words:
            assert word in left, word
            left = left.partition(word)[2]

    def test_block_style_grows_by_lines_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "q.yaml"
        path.write_text(BLOCK, encoding="utf-8")
        add_removal(path, "cat", date="2026-03-17")
        lines = BLOCK.split("\n")
        new = ["  - concept: cat", "    date: 2026-03-17", "    state: open"]
        assert path.read_text(encoding="utf-8").split("\n") == [*lines[:12], *new, *lines[12:]]

    def test_a_state_changes_one_word_or_adds_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "q.yaml"
        path.write_text(BLOCK, encoding="utf-8")
        withdraw_removal(path, ["sketch", "dog"])
        expected = BLOCK.replace("state: open    #", "state: withdrawn    #").replace(
            "concept: dog\n", "concept: dog\n      state: withdrawn\n"
        )
        assert path.read_text(encoding="utf-8") == expected

    @pytest.mark.parametrize("text", [STYLES[name] for name in ("no indent", "flow", "no end", "windows")])
    def test_withdrawing_leaves_every_other_sign(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "q.yaml"
        path.write_bytes(text.encode())
        withdraw_removal(path, "dog")
        assert states(path)[0] == "withdrawn"
        left = path.read_bytes().decode()
        for new in ("    state: withdrawn", "state: withdrawn", ", state: withdrawn"):
            left = left.replace(new, "", 1)
        assert left.split() == text.replace("state: open", "").split() or "open" not in text

    def test_a_file_is_begun_and_kept_if_nothing_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "q.yaml"
        add_removal(path, ["cat", "style:pixel art"], strategy="sequential", date="2026-01-01")
        queue = Queue.read(path)
        assert queue.content.strategy == "sequential" and [each.label for each in queue.entries] == [
            "object:cat",
            "style:pixel art",
        ]
        assert queue.with_states({1: "open"}) is queue
        with pytest.raises(ValueError, match="says its model and strategy itself"):
            add_removal(path, "dog", strategy="joint")

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "kept.yaml").write_text("requests:\n", encoding="utf-8")
        (tmp_path / "q.yaml").symlink_to("kept.yaml")
        add_removal(tmp_path / "q.yaml", "cat")
        assert (tmp_path / "q.yaml").is_symlink() and "concept: cat" in (tmp_path / "kept.yaml").read_text(encoding="utf-8")

    def test_a_concept_can_be_requested_again(self, tmp_path: Path) -> None:
        path = tmp_path / "q.yaml"
        for verb in (add_removal, withdraw_removal, add_removal):
            verb(path, "cat")
        queue = Queue.read(path)
        assert [entry.key for entry in queue.entries] == ["object:cat", "object:cat (2)"]
        assert states(path) == ["withdrawn", "open"] and len(queue.wanted) == 1


WRONG = {
    "strategi: joint\nrequests: []": "unknown key: 'strategi' (did you mean 'strategy'?",
    "strategy: jiont": "strategy='jiont'",
    "method: mimm\nrequests: [{concept: cat}]": "unknown method 'mimm'",
    "requests: [{concept: cat, metod: mim}]": "unknown key of request 1: 'metod' (did you mean 'method'?",
    "requests: [{concept: cat}, {concept: object:Cat}]": "requests 1 and 2 both ask to erase object:cat",
    "requests: [{concept: zeppelin}]": "request 1: unknown concept 'zeppelin'",
    "requests: [{kind: object}]": "missing key of request 1: 'concept'",
    "requests: [{concept: cat, state: done}]": "state='done'",
    "requests: [{concept: cat, date: soon}]": "date='soon'",
    "requests: [{concept: cat, settings: {stesp: 3}}]": "request 1: unknown setting of mim: 'stesp'",
    "requests: [&a {concept: cat}, *a]": "an alias or an anchor",
    "requests: [cat]": "request 1 must be a mapping",
    "model: nowhere/at/all\nrequests: [{concept: cat}]": "no such model: 'nowhere/at/all'",
    "requests: cat": "requests must be a list",
    "requests: [{concept: cat, concept: dog}]": "'concept' is given twice",
    "strategy: resolve\nrequests: [{concept: cat}]": "strategy resolve takes methods with a closed form, and mim has to train",
    "requests: [{concept: cat}, {concept: dog, method: spm}]": "edits of different kinds cannot be put together",
    "out: q.yaml\nrequests: []": "is the queue's own file",
    "- cat": "must hold a mapping",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.yaml").write_text(text, encoding="utf-8")
    for command in (["run"], ["run", "--dry-run"], ["add", "bird"]):
        done = CliRunner().invoke(app, ["queue", command[0], "q.yaml", *command[1:]])
        if command[0] == "add" and "out:" in text:
            continue
        assert done.exit_code == 2 and done.stderr.count("\n") == 1 and "q.yaml" in done.stderr, done.output
        assert WRONG[text] in done.stderr
        assert os.listdir() == ["q.yaml"] and Path("q.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "command, words",
    [
        (["add", "q.yaml", "cat"], "requests 1 and 2 both ask to erase object:cat"),
        (["add", "q.yaml", "dog", "--method", "uec"], "unknown method 'uec'"),
        (["add", "q.yaml", "dog", "bird", "--also", "x"], "one concept at a time"),
        (["add", "q.yaml", "dog", "--date", "17 March"], "date='17 March'"),
        (["withdraw", "q.yaml", "dog"], "no request for 'object:dog' that could be withdrawn; it asks to erase object:cat"),
        (["run", "r.yaml"], "no such file: r.yaml"),
        (["status", "r.yaml"], "no such file: r.yaml"),
        (["export", "q.yaml", "--to", "x"], "is not what it asks for; run it first"),
        (["export", "q.yaml", "--to", "q.yaml"], "is what is read as queue=q.yaml"),
    ],
)
def test_commands_that_cannot_be(command: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.yaml").write_text("requests: [{concept: cat}]\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["queue", *command])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and words in done.stderr, done.output
    assert os.listdir() == ["q.yaml"] and Path("q.yaml").read_text(encoding="utf-8") == "requests: [{concept: cat}]\n"


# --- what a run makes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method, settings", [("uce", "{}"), ("mim", QUICK_MIM)])
def test_one_request_is_one_erasure(quick: Model, tiny_canvas: Path, tmp_path: Path, method: str, settings: str) -> None:
    """Whatever the strategy: to the bit what `excise erase` gives. The file changes by one word."""
    path = queue_file(tmp_path, tiny_canvas, "{concept: cat, also: [a mog]} # x", method=method, settings=settings, seed="3")
    before = path.read_text(encoding="utf-8")
    given = Queue.read(path).content.settings
    for strategy in ("joint", "sequential")[: 1 if method == "mim" else 2]:
        out = tmp_path / strategy
        path.write_text(f"strategy: {strategy}\nout: {strategy}\n{before}", encoding="utf-8")
        serve(path)
        assert path.read_text(encoding="utf-8").partition(before[:5])[2] == before[5:].replace(
            "cat, also", "cat, state: served, also"
        )
        alone = excise.erase(
            "cat",
            also=["a mog"],
            model=tiny_canvas,
            method=method,
            settings=given,
            seed=3,
            evaluate="none",
            device="cpu",
        )
        with alone.edit.applied(quick):
            expected = {name: tensor.detach().clone() for name, tensor in named_tensors(quick).items()}
        assert same(on_model(quick, out / "edit"), expected)


def test_in_turn_and_at_once_are_those_of_a_benchmark(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    concepts = ("cat", "style:sketch")
    entrant = Entrant.parse("uce")
    for strategy, sign in (("sequential", ">"), ("joint", "+"), ("resolve", "+")):
        keys = {"strategy": strategy, "out": strategy}
        path = queue_file(tmp_path, tiny_canvas, *(f"concept: {name}" for name in concepts), **keys)
        ledger = serve(path)
        edit = PlannedCell(entrant, Task.parse(sign.join(concepts), quick.catalog), 0).erase(quick, silent)
        with edit.applied(quick):
            expected = {name: tensor.detach().clone() for name, tensor in named_tensors(quick).items()}
        assert same(on_model(quick, tmp_path / strategy / "edit"), expected)
        assert states(path) == ["served"] * 2 and list(ledger.erased) == ["object:cat", "style:sketch"]
        assert len(ledger.steps) == (2 if strategy == "sequential" else 1)
        assert all(point.drift and point.drift > 0 for point in ledger.points)
        assert [len(point.concepts) for point in ledger.points] == ([1, 2] if strategy == "sequential" else [2])


def test_what_was_served_stays_and_a_second_run_does_nothing(
    quick: Model, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = queue_file(tmp_path, tiny_canvas, "concept: cat", strategy="sequential")
    first = serve(path)
    step = tmp_path / "removals" / "steps" / first.steps[0].name
    before, stamp = files(step), (step / "edit.json").stat().st_mtime_ns
    add_removal(path, "dog")
    ledger = serve(path)
    assert [each.concepts for each in ledger.steps] == [("object:cat",), ("object:dog",)]
    assert files(step) == before and (step / "edit.json").stat().st_mtime_ns == stamp
    assert ledger.steps[0] == first.steps[0] and ledger.records[0].step == first.records[0].step
    whole, text = files(tmp_path / "removals"), path.stat().st_mtime_ns
    monkeypatch.setattr(job, "load_wanted", lambda request: pytest.fail("nothing is to be done"))
    serve(path)
    assert files(tmp_path / "removals") == whole and path.stat().st_mtime_ns == text


def test_the_last_one_comes_back_bit_for_bit_and_others_are_solved_anew(
    quick: Model, tiny_canvas: Path, tmp_path: Path
) -> None:
    path = queue_file(tmp_path, tiny_canvas, *(f"concept: {name}" for name in ("cat", "dog", "bird")), strategy="sequential")
    serve(path)
    kept = {each: files(tmp_path / "removals" / "steps" / each) for each in os.listdir(tmp_path / "removals" / "steps")}
    withdraw_removal(path, "bird")
    assert told(path) == {"object:cat": "", "object:dog": "", "object:bird": "gives it back bit for bit"}
    ledger = serve(path)
    assert ledger.records[2].given_back == "bit for bit" and list(ledger.erased) == ["object:cat", "object:dog"]
    for step in ledger.steps:
        assert files(tmp_path / "removals" / "steps" / step.name) == kept[step.name]
    assert len(os.listdir(tmp_path / "removals" / "steps")) == 2, "nothing of the bird is left"
    withdraw_removal(path, "cat")
    assert told(path)["object:cat"] == "gives it back by erasing object:dog anew"
    assert told(path)["object:dog"] == "erases it anew" and told(path)["object:bird"] == ""
    ledger = serve(path)
    assert [record.given_back for record in ledger.records] == ["by erasing others anew", None, "bit for bit"]
    fresh = queue_file(tmp_path, tiny_canvas, "concept: dog", strategy="sequential", out="fresh")
    serve(fresh)
    assert same(on_model(quick, tmp_path / "removals" / "edit"), on_model(quick, tmp_path / "fresh" / "edit"))


@pytest.mark.parametrize("strategy", ["joint", "sequential"])
def test_a_separable_one_comes_back_bit_for_bit(quick: Model, tiny_canvas: Path, tmp_path: Path, strategy: str) -> None:
    """In whatever order they were erased: the others' changes stay to the bit."""
    names = ("cat", "dog", "bird")[: 3 if strategy == "joint" else 2]
    keys = {"method": "sepme", "settings": QUICK_SEPME, "strategy": strategy}
    path = queue_file(tmp_path, tiny_canvas, *(f"concept: {name}" for name in names), **keys)
    ledger = serve(path)
    assert all(step.separable for step in ledger.steps)
    out = tmp_path / "removals" / "edit"
    whole = load_edit(out)
    expected = restored(whole, ["cat"])
    with expected.applied(quick):
        rest = {name: tensor.detach().clone() for name, tensor in named_tensors(quick).items()}
    withdraw_removal(path, "cat")
    assert list(told(path).values()) == ["gives it back bit for bit", *[""] * len(names[1:])]
    ledger = serve(path)
    assert ledger.records[0].given_back == "bit for bit" and list(ledger.erased) == [f"object:{name}" for name in names[1:]]
    assert same(on_model(quick, out), rest)
    assert {label for edit in members(load_edit(out)) for label in edit.parts} == set(ledger.erased)
    assert serve(path).steps == ledger.steps


def test_all_withdrawn_leaves_the_base_model(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    path = queue_file(tmp_path, tiny_canvas, "concept: cat", "concept: dog")
    serve(path)
    (tmp_path / "removals" / "notes.txt").write_text("mine", encoding="utf-8")
    withdraw_removal(path, ["cat", "dog"])
    ledger = serve(path)
    assert ledger.steps == () and not (tmp_path / "removals" / "edit").exists()
    assert set(files(tmp_path / "removals")) == {"queue.json", "notes.txt"}
    with pytest.raises(ValueError, match="asks to erase nothing"):
        export_queue(path, to=tmp_path / "x")


def test_a_request_that_is_deleted_from_the_file_is_given_back_and_remembered(
    quick: Model, tiny_canvas: Path, tmp_path: Path
) -> None:
    path = queue_file(tmp_path, tiny_canvas, "concept: cat", "{concept: dog, reason: by letter}")
    serve(path)
    queue_file(tmp_path, tiny_canvas, "concept: cat")
    ledger = serve(path)
    assert [(record.key, record.state) for record in ledger.records] == [("object:cat", "served"), ("object:dog", "withdrawn")]
    assert ledger.records[1].reason == "by letter" and ledger.records[1].given_back == "by erasing others anew"


def test_other_settings_are_another_erasure(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    path = queue_file(tmp_path, tiny_canvas, "{concept: cat, state: served}", "{concept: dog, state: served}")
    assert told(path) == {"object:cat": "erases it", "object:dog": "erases it"}, "the file says so, and nothing is there"
    first = serve(path)
    queue_file(tmp_path, tiny_canvas, "concept: cat", "{concept: dog, settings: {erase_weight: 2}}")
    ledger = serve(path)
    assert len(ledger.steps) == 2 and {step.name for step in ledger.steps}.isdisjoint(step.name for step in first.steps)


# --- whatever happens -------------------------------------------------------------------------------------------------------------


def killed(work: Callable[[], object], at: Callable[[str], bool], count: int = 1) -> bool:
    """Whether the work was killed, in a process of its own, at the moment before a path for which `at` is true is put in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this process has threads that do nothing
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == signal.SIGKILL
    left = count

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in ("os.rename", "os.remove") and at(os.fsdecode(arguments[event == "os.rename"])):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def exchange(source: Path, target: Path, how: int) -> bool:
        watch("os.rename", (source, target))
        return rename(source, target, how)

    rename, replace._renameat2 = replace._renameat2, exchange  # which no hook hears
    sys.addaudithook(watch)
    try:
        work()
    finally:
        os._exit(0)


MOMENTS: dict[str, tuple[str, int]] = {
    "the first ledger": ("queue.json", 1),
    "an edit": ("steps/", 1),
    "what was measured": ("queue.json", 2),
    "the whole edit": ("removals/edit", 1),
    "the last ledger": ("queue.json", 4),
    "the states": ("removals.yaml", 1),
}


@pytest.fixture(scope="module")
def begun(loaded: Model, tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A queue that erases a cat, whose request is withdrawn then, and is to erase two others."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "load_wanted", lambda request: loaded)
        patch.setattr(job, "build", lambda *_: None)
        serve(queue_file(folder, tiny_canvas, "concept: cat", strategy="sequential"))
    queue_file(folder, tiny_canvas, "{concept: cat, state: withdrawn}", "concept: dog", "concept: bird", strategy="sequential")
    return folder


@pytest.fixture(scope="module")
def whole(loaded: Model, begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That queue, served without a kill."""
    folder = Path(shutil.copytree(begun, tmp_path_factory.mktemp("whole") / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "load_wanted", lambda request: loaded)
        patch.setattr(job, "build", lambda *_: None)
        serve(folder / "removals.yaml")
    return folder


class TestKills:
    @pytest.mark.parametrize("moment", MOMENTS)
    def test_the_next_run_gives_the_same(self, moment: str, begun: Path, whole: Path, quick: Model, tmp_path: Path) -> None:
        shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
        path = tmp_path / "removals.yaml"
        before, edit = path.read_text(encoding="utf-8"), weights(tmp_path / "removals" / "edit")
        inside, count = MOMENTS[moment]
        assert killed(lambda: serve(path), lambda place: inside in place and ".part" not in place.rpartition("/")[0], count)
        assert path.read_text(encoding="utf-8") == before, "states change last"
        now = weights(tmp_path / "removals" / "edit")
        assert now in (edit, weights(whole / "removals" / "edit")), "the old edit or the new one"
        RemovalLedger.read(tmp_path / "removals" / "queue.json")
        ledger = serve(path)
        assert path.read_text(encoding="utf-8") == (whole / "removals.yaml").read_text(encoding="utf-8")
        assert files(tmp_path / "removals").keys() == files(whole / "removals").keys()
        assert weights(tmp_path / "removals" / "edit") == weights(whole / "removals" / "edit")
        expected = RemovalLedger.read(whole / "removals" / "queue.json")
        assert plain(ledger) == plain(expected) and plain(RemovalLedger.read(tmp_path / "removals" / "queue.json")) == plain(
            expected
        )
        assert sorted(os.listdir(tmp_path)) == ["removals", "removals.yaml"]

    def test_an_erasure_goes_on_from_its_checkpoint(self, quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
        path = queue_file(tmp_path, tiny_canvas, "concept: cat", method="ca", settings=QUICK_CA, out="parts")
        assert killed(lambda: serve(path), lambda place: place.endswith("checkpoint.safetensors"), 2)
        (work,) = (tmp_path / "parts" / "steps").iterdir()
        assert work.name.endswith(".work") and (work / "checkpoint.safetensors").is_file()
        serve(path)
        assert not work.exists()
        path.write_text(path.read_text(encoding="utf-8").replace("parts", "at-once"), encoding="utf-8")
        serve(path)
        assert weights(tmp_path / "parts" / "edit") == weights(tmp_path / "at-once" / "edit")


def plain(ledger: RemovalLedger) -> dict[str, Any]:
    """A ledger without what differs from run to run."""
    found = json.loads(json.dumps(ledger.to_dict()))
    for step in found["steps"]:
        step.pop("seconds", None)
    return found


def test_the_second_of_two_runs_is_refused(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    path = queue_file(tmp_path, tiny_canvas, "concept: cat")
    with writing(tmp_path / "removals"), pytest.raises(FileExistsError, match=f"is being written by process {os.getpid()}"):
        serve(path)
    assert states(path) == ["open"]


def test_requests_that_come_while_a_run_works_stay_open(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    path, added = queue_file(tmp_path, tiny_canvas, "concept: cat"), []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "loading the model" and not added:
            added.append(add_removal(path, "dog"))

    run_queue(path, evaluate="none", device="cpu", progress=meanwhile)
    assert states(path) == ["served", "open"] and told(path) == {"object:cat": "erases it anew", "object:dog": "erases it"}


def test_other_weights_foreign_files_and_a_damaged_ledger_are_refused(
    quick: Model, tiny_canvas: Path, sd2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = queue_file(tmp_path, tiny_canvas, "concept: cat")
    serve(path)
    marker = tmp_path / "removals" / "queue.json"
    good = files(tmp_path)
    add_removal(path, "dog")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="was made of other weights"):
        patch.setattr(job, "load_wanted", lambda request: sd2)
        serve(path)
    (tmp_path / "removals" / "edit" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"mine\.txt in it was not written by excise"):
        serve(path)
    (tmp_path / "removals" / "edit" / "mine.txt").unlink()
    marker.write_text(marker.read_text(encoding="utf-8").replace('"strategy"', '"stratgy"'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"queue\.json is not the queue\.json of excise queue run"):
        serve(path)
    left = files(tmp_path)
    assert {name for name in good if good[name] != left[name]} == {"removals.yaml", "removals/queue.json"}


def test_the_one_that_is_served_is_known_whatever_was_deleted_before_it(
    quick: Model, tiny_canvas: Path, tmp_path: Path
) -> None:
    """Its key counts the concept's requests in the file, and is another then: nothing was given back, and history stays."""
    path = queue_file(tmp_path, tiny_canvas, "{concept: cat, reason: first}")
    serve(path)
    withdraw_removal(path, "cat")
    serve(path)
    add_removal(path, "cat", reason="second")
    twice = serve(path)
    assert [(record.key, record.state) for record in twice.records] == [
        ("object:cat", "withdrawn"),
        ("object:cat (2)", "served"),
    ]
    queue_file(tmp_path, tiny_canvas, "{concept: cat, reason: second}")
    now, before = serve(path).records
    assert (now.state, now.reason, now.served) == ("served", "second", twice.records[1].served)
    assert before == twice.records[0]
    withdraw_removal(path, "cat")
    now, before = serve(path).records
    assert (now.state, now.reason, before) == ("withdrawn", "second", twice.records[0])


def test_more_pictures_are_measured_if_they_are_asked_for(quick: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    """And fewer than there are already, or none, change nothing."""
    path = queue_file(tmp_path, tiny_canvas, "concept: cat")

    def targets(**asked: Any) -> tuple[int, int]:
        (point,) = run_queue(path, device="cpu", bystander_pictures=0, **asked).points
        assert point.evaluation is not None
        return point.evaluation.pictures.target, point.evaluation.protocol.sampler["steps"]

    least = targets(evaluate="quick", target_pictures=1, other_pictures=1)
    more = targets(evaluate="full", target_pictures=least[0] + 1, other_pictures=1)
    assert more[0] > least[0] and more[1] == quick.sampler.steps == 2 * least[1]
    assert targets(evaluate="quick", target_pictures=1, other_pictures=1) == more == targets(evaluate="none")


# --- what is shown ----------------------------------------------------------------------------------------------------------------


def test_the_tour(tiny_canvas: Path, loaded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commands that a user types, with the curve measured and the page drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "load_wanted", lambda request: loaded)

    def ok(*typed: object) -> str:
        done = CliRunner().invoke(app, ["queue", *map(str, typed)])
        assert done.exit_code == 0, (done.output, done.exception)
        return " ".join(done.stdout.split())

    add = ("--method", "uce", "--model", tiny_canvas, "--strategy", "sequential", "--reason", "<b>by letter</b>")
    assert "asks to erase object:cat; serve it" in ok("add", "q.yaml", "cat", *add)
    assert "erases it" in ok("status", "q.yaml")
    assert "1: +object:cat" in ok("run", "q.yaml", "--target-pictures", 1, "--other-pictures", 1)
    page = (tmp_path / "q" / "report.html").read_text(encoding="utf-8")
    assert "The erosion curve" in page and "&lt;b&gt;by letter" in page and "<b>by letter" not in page
    monkeypatch.setattr(job, "build", lambda *_: None)
    assert "asks to erase object:cat, object:dog" in ok("add", "q.yaml", "dog", *add[:2])
    printed = ok("run", "q.yaml", "--evaluate", "none")
    assert "1: +object:cat" in printed and "2: +object:dog" in printed and "erased from tiny canvas" in printed
    first, second = RemovalLedger.read(tmp_path / "q" / "queue.json").points
    assert first.evaluation and [each.concept for each in first.evaluation.targets] == ["object:cat"]
    assert second.evaluation is None and second.drift is not None
    assert "object:dog is withdrawn; the next run gives it back bit for bit" in ok("withdraw", "q.yaml", "dog")
    refused = CliRunner().invoke(app, ["queue", "export", "q.yaml", "--to", "x"])
    assert refused.exit_code == 2 and "run it first" in refused.stderr
    ok("run", "q.yaml", "--evaluate", "none")
    assert "the result is what the file asks for" in ok("status", "q.yaml")
    ok("export", "q.yaml", "--to", "cat")
    ok("export", "q.yaml", "--to", "cat.safetensors")
    assert weights(tmp_path / "cat") == weights(tmp_path / "q" / "edit")
    found = read(tmp_path)
    assert list(found.queues) == [tmp_path / "q"] and [each.path for each in found.erasures] == [tmp_path / "cat"]
