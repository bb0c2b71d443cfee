"""The studio without a browser: who may come in, whose edits are whose, what is taken in, jobs in the line, pictures, and a Space."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import excise
from excise.cli import app
from excise.edits.manifest import MANIFEST, TENSORS
from excise.files import read_json, write_json
from excise.requests.studio import StudioRequest
from excise.settings import parse
from excise.studio import sights
from excise.studio.actions import Order, Studio
from excise.studio.job_line import HeavyJob, JobLine
from excise.studio.private_folder import PEOPLE, PrivateFolder, model_name

PATIENCE = 120.0
ANNE, BOB = "browser anne", "browser bob"
SOON = Order("cat", method="uce", evaluate="none")


def request(**options: object) -> StudioRequest:
    return parse(StudioRequest, options, "option")


def wait(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def studio(tmp_path: Path, tiny_canvas: Path) -> Iterator[Studio]:
    """One that offers the tiny canvas."""
    made = Studio(tmp_path / "root", [str(tiny_canvas)], "cpu")
    yield made
    made.close()


@pytest.fixture(scope="module")
def erased(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit of the tiny canvas."""
    folder = tmp_path_factory.mktemp("edits") / "cat"
    excise.erase("cat", model=tiny_canvas, out=folder, method="uce", device="cpu", evaluate="none")
    return folder


def given(studio: Studio, person: str, model: str, edit: Path) -> str:
    """Give somebody an edit; returns its name."""
    return studio.take_in(person, model, [edit / MANIFEST, edit / TENSORS])


class TestRequest:
    @pytest.fixture(autouse=True)
    def gradio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if it were there: requests do not import it."""
        monkeypatch.setattr("excise.requests.studio.find_spec", lambda name: name)

    def test_without_gradio_one_line_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("excise.requests.studio.find_spec", lambda name: None)
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, ["studio"])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "pip install 'excise[studio]'" in result.stderr and not list(tmp_path.iterdir())

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
    def test_nobody_else_reaches_these(self, host: str, tmp_path: Path) -> None:
        request(host=host, root=tmp_path).check()

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "studio.example.org", "127.0.0.1.example.org"])
    def test_others_need_a_password(self, host: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="--auth user:password"):
            request(host=host, root=tmp_path).check()
        request(host=host, root=tmp_path, auth="anne:secret").check()

    def test_users_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "users").write_text("anne:one\n\nbob:two:three\n", encoding="utf-8")
        assert request(auth=str(tmp_path / "users")).users == (("anne", "one"), ("bob", "two:three"))

    @pytest.mark.parametrize("line", ["hushhush", "anne:", ":hushhush", "anne:hushhush\nanne:other", "anne:hushhush\nbob"])
    def test_wrong_users_are_refused_and_no_password_is_told(self, line: str, tmp_path: Path) -> None:
        (tmp_path / "users").write_text(line, encoding="utf-8")
        with pytest.raises(ValueError, match="auth") as refused:
            request(auth=str(tmp_path / "users"), root=tmp_path).check()
        assert "hush" not in str(refused.value)

    def test_a_dry_run_shows_no_password(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["studio", "--auth", "anne:hushhush", "--root", str(tmp_path / "x"), "--dry-run"])
        assert result.exit_code == 0 and "hush" not in result.output and not (tmp_path / "x").exists()

    def test_a_model_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no such model"):
            request(model="nowhere", root=tmp_path).check()


class TestModels:
    def test_those_that_may_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "root" / "mine").mkdir(parents=True)
        root, elsewhere = tmp_path / "root", str(tmp_path / "offered")
        assert model_name(" canvas ", root) == "canvas"
        assert model_name(elsewhere, root, [elsewhere]) == elsewhere
        assert model_name("mine", root) == model_name(str(root / "mine"), root) == str(root / "mine")
        assert model_name("owner/some-model_1.5", root) == "owner/some-model_1.5"

    @pytest.mark.parametrize(
        "text",
        ["", ".", "..", "../secret", "/etc", "~", "link", "people", "people/x", "a/b/c", "not-there", "a\0b", "x" * 2000],
    )
    def test_those_that_may_not(self, text: str, tmp_path: Path) -> None:
        """Also none that is there: who asks learns nothing of what lies elsewhere."""
        (tmp_path / "root" / PEOPLE / "x").mkdir(parents=True)
        (tmp_path / "secret").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(ValueError, match="no such model here"):
            model_name(text, tmp_path / "root")

    def test_a_folder_beside_the_command_is_no_hub_id(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "owner" / "model").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match="no such model here"):
            model_name("owner/model", tmp_path / "root")


class TestTwoPeople:
    def test_neither_sees_nor_reaches_what_the_other_made(self, studio: Studio, erased: Path, tiny_canvas: Path) -> None:
        model = str(tiny_canvas)
        name = given(studio, ANNE, model, erased)
        assert [edit.name for edit in studio.edits(ANNE, model)] == [name] and studio.edits(BOB, model) == []
        others = f"../{studio.folder(ANNE).path.name}/{name}"
        for stolen in (name, others, str(studio.folder(ANNE).path / name), "..", "/"):
            for act in (studio.left, studio.bundle, studio.report, studio.audit):
                with pytest.raises(ValueError, match="you have no edit"):
                    act(BOB, model, [stolen])
            with pytest.raises(ValueError, match="you have no edit"):
                studio.look(BOB, model, [stolen], 1.0)

    @pytest.mark.parametrize("person", ["../../x", "browser /etc", "browser \0", "", "x" * 5000])
    def test_whoever_it_is_the_folder_is_below_the_root(self, person: str, tmp_path: Path) -> None:
        path = PrivateFolder(tmp_path, person).path
        assert path.parent == tmp_path / PEOPLE and re.fullmatch("[0-9a-f]{32}", path.name)


class TestUploads:
    def test_an_edit_is_taken_in_and_can_be_drawn(self, studio: Studio, erased: Path, tiny_canvas: Path) -> None:
        name = given(studio, ANNE, str(tiny_canvas), erased)
        (edit,) = studio.edits(ANNE, str(tiny_canvas))
        assert (edit.name, edit.label) == (name, "cat (uploaded)")
        assert "Nothing was measured" in studio.left(ANNE, str(tiny_canvas), [name])

    def test_what_is_refused_leaves_nothing(self, studio: Studio, erased: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        bad = tmp_path / "bad"

        def fresh() -> list[Path]:
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(erased, bad)
            return [bad / MANIFEST, bad / TENSORS]

        def refused(files: list[Path], words: str, model: str = str(tiny_canvas)) -> None:
            with pytest.raises((ValueError, OSError), match=words):
                studio.take_in(ANNE, model, files)
            assert [*studio.folder(ANNE).path.glob("*-*")] == []

        manifest, tensors = fresh()
        refused([], "two files")
        refused([manifest], "two files")
        refused([manifest, tensors, bad / "README.md"], "two files")
        with zipfile.ZipFile(bad / "edit.zip", "w") as archive:
            archive.write(tensors, "../../edit.safetensors")
        refused([bad / "edit.zip"], "unzip")
        (bad / "edit.pt").write_bytes(b"\x80\x04.")
        refused([manifest, bad / "edit.pt"], "two files")
        tensors.write_bytes(b"\x80\x04K\x01.")
        refused([manifest, tensors], "safetensors")
        tensors = fresh()[1]
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
        refused([manifest, tensors], "SHA-256|damaged")
        fresh()
        manifest.write_text("[" * 10_000, encoding="utf-8")
        refused([manifest, tensors], "JSON")
        fresh()
        write_json(manifest, {**read_json(manifest), "surprise": 1})
        refused([manifest, tensors], "not the manifest")
        fresh()
        write_json(manifest, {**read_json(manifest), "base": {"float32": "0" * 64}})
        refused([manifest, tensors], "another|base|made for")
        fresh()
        manifest.unlink()
        os.mkfifo(manifest)
        refused([manifest, tensors], "no regular file")


class TestJobs:
    def test_an_erasure_from_its_order_to_its_pictures(self, studio: Studio, tiny_canvas: Path) -> None:
        model = str(tiny_canvas)
        job = studio.erase(ANNE, model, Order("cat", method="uce", also="moggy, pussycat", evaluate="quick"))
        assert (job.state in ("waiting", "working")) and "Erasing cat" in studio.progress(ANNE)
        with pytest.raises(ValueError, match="not finished"):
            studio.erase(ANNE, model, SOON)
        wait(lambda: not job.unfinished)
        assert (job.state, job.told) == ("done", "") and "done after" in studio.progress(ANNE)
        (edit,) = studio.edits(ANNE, model)
        assert {"moggy", "pussycat"} <= {*read_json(edit.folder / MANIFEST)["concepts"][0]["phrases"]}
        left = studio.left(ANNE, model, [edit.name])
        assert left.count('class="bar ') == 2 and "was to be removed" in left

        looks = [studio.look(ANNE, model, [edit.name], strength) for strength in (0.0, 1.0, 2.0, 0.0)]
        images = [re.findall(r'src="([^"]+)" alt="(before|after)', html) for html in looks]
        befores, afters = ([[src for src, when in each if when == which] for each in images] for which in ("before", "after"))
        assert befores[0] == befores[1] == befores[2] == afters[0] == afters[3]
        assert afters[0] != afters[1] != afters[2]
        own = studio.look(ANNE, model, [edit.name], 1.0, "a <b>dog</b>", 7)
        assert "a &lt;b&gt;dog&lt;/b&gt;" in own and "<b>dog" not in own

        page = studio.report(ANNE, model, [edit.name])
        assert page.startswith("<!doctype html>") or "<html" in page[:200]
        lora, bundle = studio.export(ANNE, model, [edit.name], 0.5), studio.bundle(ANNE, model, [edit.name])
        assert lora.is_relative_to(studio.root) and lora.suffix == ".safetensors"
        assert {f"{edit.name}/{MANIFEST}", f"{edit.name}/{TENSORS}"} <= {*zipfile.ZipFile(bundle).namelist()}
        files = {path for path in studio.root.rglob("*") if path.is_file()}
        assert all(path.is_relative_to(studio.folder(ANNE).path) or path.is_relative_to(studio.root / "made") for path in files)

    @pytest.mark.parametrize(
        "order, words",
        [
            (Order("cta"), "did you mean 'cat'"),
            (Order(""), "empty|name"),
            (Order("cat", kind="x"), "kind"),
            (Order("cat", method="x"), "method"),
        ],
    )
    def test_a_wrong_order_makes_nothing(self, studio: Studio, tiny_canvas: Path, order: Order, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            studio.erase(ANNE, str(tiny_canvas), order)
        assert studio.line.jobs == [] and not (studio.root / PEOPLE).exists()

    def test_one_works_the_others_wait_and_stopping_leaves_nothing(self, studio: Studio, tiny_canvas: Path) -> None:
        model = str(tiny_canvas)
        first = studio.erase(ANNE, model, Order("cat", method="mim", evaluate="none"))
        second = studio.erase(BOB, model, SOON)
        wait(lambda: first.state == "working" and bool(first.stage))
        assert (
            second.state == "waiting"
            and "1 job before yours" in studio.progress(BOB)
            and "1 job waiting" in studio.progress(ANNE)
        )
        assert "cat" not in studio.progress("browser carl") and "2 jobs" in studio.progress("browser carl")
        process = studio.line.process
        studio.line.stop(BOB)
        assert (first.state, second.state) == ("working", "stopped") and not any(studio.folder(BOB).path.glob("*-*"))
        studio.line.stop(ANNE)
        assert process is not None and process.wait(PATIENCE) in (130, -9)  # killed where all is so slow that it hears nothing
        wait(lambda: studio.line.process is None)
        assert first.state == "stopped" and not any(studio.folder(ANNE).path.rglob("*.*"))

    def test_a_job_that_fails_says_why(self, tmp_path: Path) -> None:
        line = JobLine()
        job = line.add(
            ANNE,
            "x",
            "erase",
            {"concepts": ["cat"], "model": "canvas", "method": "nothing", "out": str(tmp_path / "o")},
            tmp_path / "o",
        )
        wait(lambda: not job.unfinished)
        line.close()
        assert job.state == "failed" and "unknown method 'nothing'" in job.told

    def test_a_process_does_not_outlive_the_page(self, studio: Studio, tiny_canvas: Path) -> None:
        job = studio.erase(ANNE, str(tiny_canvas), Order("cat", method="mim", evaluate="none"))
        wait(lambda: job.stage not in ("", "loading the model"))
        process = studio.line.process
        studio.close()
        assert process is not None and process.poll() is not None


class TestSights:
    def test_texts_of_strangers_are_shown_and_not_obeyed(self) -> None:
        evil = '"><img src=x onerror=alert(1)>\x1b[2J'
        job = HeavyJob(1, ANNE, evil, "erase", {}, state="working", stage=evil, done=1, total=2)
        for html in (sights.problem(evil), sights.note(evil), sights.job(job, 0, 1), sights.left([(evil, None)])):
            assert "<img" not in html and "\x1b" not in html and "&lt;img" in html


class TestFirstScreen:
    def test_it_shows_the_example_before_any_model_is_loaded(self, studio: Studio) -> None:
        html = studio.first_look()
        assert html.count("<img") == 12 and "painter" not in studio.__dict__
        left = studio.left(ANNE, "canvas", ["example"])
        assert "nats" in left and left.count('class="bar ') == 2

    def test_its_pictures_are_those_that_are_drawn(self, studio: Studio) -> None:
        def pictures(html: str) -> list[str]:
            return re.findall(r'alt="((?:before|after): [^"]+)"', html)

        assert torch.get_num_threads() == 1
        assert pictures(studio.first_look()) == pictures(studio.look(ANNE, "canvas", ["example"], 1.0))


class TestSpace:
    def test_its_folder_is_written_once(self, tmp_path: Path) -> None:
        out = tmp_path / "space"
        result = CliRunner().invoke(app, ["studio", "--space", str(out)])
        assert result.exit_code == 0, result.output
        assert sorted(os.listdir(out)) == ["README.md", "app.py", "requirements.txt"]
        card = (out / "README.md").read_text(encoding="utf-8")
        front = dict(line.split(": ", 1) for line in card.split("---")[1].strip().splitlines())
        assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and front["sdk_version"] >= "6"
        assert f"excise[studio]=={excise.__version__}" in (out / "requirements.txt").read_text(encoding="utf-8")
        compile((out / "app.py").read_text(encoding="utf-8"), "app.py", "exec")
        again = CliRunner().invoke(app, ["studio", "--space", str(out)])
        assert again.exit_code == 2 and "exists" in again.stderr


def test_what_the_space_opens_is_the_same_page() -> None:
    """Its app calls what the command calls, with arguments that are there."""
    import inspect

    from excise.studio.server import opened
    from excise.studio.space import APP

    inspect.signature(opened).bind(Path("x"), host="0.0.0.0", port=7860, framed=True)
    assert 'opened(Path("/tmp/studio"), host="0.0.0.0", port=7860, framed=True)' in APP


class TestServer:
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Gradio leaves a loop and its sockets open
    def test_who_has_no_password_gets_nothing(self, tmp_path: Path) -> None:
        """Neither the page nor what it is made of; and every answer says what a browser may fetch."""
        pytest.importorskip("gradio")
        from excise.studio.server import opened

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with opened(tmp_path / "root", port=port, users=[("anne", "secret")]) as address:
            for path in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    urllib.request.urlopen(address + path)
            with urllib.request.urlopen(address) as answer:
                assert (
                    "default-src 'self'" in answer.headers["content-security-policy"] and b"What to erase" not in answer.read()
                )
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
