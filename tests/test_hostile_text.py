"""Text files of strangers: whatever they hold, a command succeeds or says in one line which file is wrong, in bounded time."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

import made_up
import tiny_models
from excise import bounds, files
from excise.cli import app
from excise.cli.errors import USAGE, explain
from excise.concepts import Catalog, Concept
from excise.evaluation.suites.answer_set import read_manifest
from excise.evaluation.suites.prompt_file import read_prompts, to_items
from excise.hints import nearest
from excise.jobs.generate import generate
from excise.methods import methods
from excise.models.names import describe, model_index
from excise.quoting import cut, quoted
from excise.report.folder_reader import read
from excise.report.page import render
from excise.requests.audit import AuditRequest
from excise.requests.audits import read_audits
from excise.requests.bench import BenchRequest
from excise.requests.fields import flag
from excise.requests.generate import GenerateRequest
from excise.requests.request import Request
from excise.requests.sources import read_yaml
from excise.settings import parse
from hostile_files import mutated_json, mutated_lines
from test_convert import CELL, MANIFEST, MEASUREMENT, RESULT, SUITE, VARIATION

LONGEST = 900
"""Characters of a line that an error may have here: a path of pytest's, the place, and at most twice 200 characters of input."""


def told(error: BaseException, file: Path) -> str:
    """The line of an error, after a look at it: of the kind of bad input, one short line that names the file."""
    line, code = explain(error)
    assert isinstance(error, USAGE), f"{type(error).__name__}: {line}"
    assert code == 2 and len(line) < LONGEST and line.isprintable() and "\n" not in str(error)[:-1], line
    assert file.name in line or ("nothing to report" in line and file.parent.name in line), line
    return line


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A bound so far above what is needed that only a hang or a square of the input's length exceeds it."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < seconds


def report_page(path: Path, folder: Path) -> None:
    read(folder)


def config(path: Path, folder: Path) -> None:
    result = CliRunner().invoke(app, ["erase", "--config", str(path), "--dry-run", "--out", str(folder / "out")])
    if result.exit_code:
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and result.stderr.startswith("excise: error: "), result
        raise ValueError(result.stderr.strip())


def converted(path: Path, folder: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(path)])
    if result.exit_code:
        assert result.exit_code == 2 and result.stderr.count("\n") == 1, result
        raise ValueError(result.stderr.strip())


def model(path: Path, folder: Path) -> None:
    model_index(folder)
    for concept in describe(folder).catalog.concepts:
        concept.plain_pairs()


def captions(path: Path, folder: Path) -> None:
    from excise.erasure.anchors import read_captions

    read_captions(str(path))


def picture_list(path: Path, folder: Path) -> None:
    from excise.erasure.training_pictures import _listed

    _listed(path)


Use = Callable[[Path, Path], None]
YAML = """concepts: [cat, 'style:sketch']
seed: 3
settings:
  rounds: 2
  lr: 1e-3
model: canvas
also: []
evaluate: none
dtype: float32
"""
CSV = (
    "case_number,prompt,evaluation_seed,evaluation_guidance,sd_image_width,sd_image_height\n"
    + "".join(f'{i},"a cat, {i}",{10 + i},7.5,512,640\n' for i in range(8))
)  # fmt: skip
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "safety_checker": [None, None],
}
PICTURES = {"pictures": [{"file": "a.png", "prompt": "a cat"}, {"file": "b.png", "prompt": "a dog"}]}
LISTED = {"id": "00000", "prompt": "a", "seed": 1, "sha256": "0" * 64, "tags": {"case": "0"}}
ANSWERS = {"about": {"model": "m", "edits": []}, "pictures": [LISTED]}


def results(tmp_path: Path) -> list[tuple[Path, Path, Use]]:
    """A result file of every kind, each with a small folder as the report reads it."""
    made_up.write_bench(tmp_path / "bench", ("mim",), ("object:cat",), sheets=False)
    made_up.write_erasure(tmp_path / "erasure")
    made_up.write_audit(tmp_path / "audit")
    made_up.write_measurement(tmp_path / "nats" / "nats.json")
    made_up.write_variation(tmp_path / "vary" / "vary.json")
    made_up.write_upscaled(tmp_path / "upscaled")
    roots = [tmp_path / name for name in ("bench", "erasure", "audit", "nats", "vary", "upscaled")]
    paths = [(path, root) for root in roots for path in sorted(root.rglob("*.json"))]
    first = {(path.parent, json.loads(path.read_text(encoding="utf-8")).get("kind")): (path, root) for path, root in paths}
    return [(path, root, report_page) for path, root in first.values()]


def written(tmp_path: Path) -> list[tuple[Path, Path, Use]]:
    """Every other kind of text file, with what reads it."""
    texts: dict[str, tuple[str, Use]] = {
        "config/run.yaml": (YAML, config),
        "csv/prompts.csv": (CSV, lambda path, _: to_items(read_prompts(path)) and None),
        "lines/captions.txt": ("a photo of a cat\n\na cat in the rain\nnothing here\n", captions),
        "shown/pictures.json": (json.dumps(PICTURES), picture_list),
        "answers/manifest.json": (json.dumps(ANSWERS), lambda path, _: read_manifest(path) and None),
        "model/excise.json": (json.dumps(tiny_models.CANVAS), model),
        "index/model_index.json": (json.dumps(INDEX), model),
        **{f"old/{name}.json": (json.dumps(old), converted) for name, old in OLD.items()},
    }
    found = []
    for name, (text, use) in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        found.append((path, path.parent, use))
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(INDEX), encoding="utf-8")
    return found


OLD = {"result": RESULT, "cell": CELL, "measurement": MEASUREMENT, "suite": SUITE, "variation": VARIATION, "edit": MANIFEST}
"""Files of format 1, which `excise convert` rewrites."""


def survive(path: Path, folder: Path, use: Use, random: Random, forms: int, *, seldom: Callable[[], Any] = lambda: None) -> int:
    """Read damaged forms of a file; how many were read as if nothing were wrong. `seldom` is done with some of those."""
    whole, passed = path.read_text(encoding="utf-8"), 0
    use(path, folder)
    path.write_text(whole, encoding="utf-8")
    for _ in range(forms):
        form = (mutated_json if path.suffix == ".json" else mutated_lines)(whole, random)
        path.write_bytes(form if isinstance(form, bytes) else form.encode(errors="surrogatepass"))
        try:
            with within(5):
                use(path, folder)
        except Exception as error:
            told(error, path)
        else:
            passed += 1
            if passed % 8 == 1:
                seldom()
    path.write_text(whole, encoding="utf-8")
    return passed


def test_damaged_results(tmp_path: Path) -> None:
    """What is read can also be shown: of some that pass the page is made."""
    random = Random(1)
    for path, root, use in results(tmp_path):
        survive(path, root, use, random, 25, seldom=lambda root=root: render(read(root), tmp_path / "figures"))  # type: ignore[misc]


def test_damaged_files_of_other_kinds(tmp_path: Path) -> None:
    random = Random(2)
    for path, folder, use in written(tmp_path):
        assert survive(path, folder, use, random, 25) < 25, "some damage is seen"


def test_damaged_audits_to_harden_against(tmp_path: Path) -> None:
    folder = made_up.write_audit(tmp_path / "audit")
    cat = Concept("cat", "object", ("a cat",))

    def use(path: Path, folder: Path) -> None:
        try:
            read_audits([folder], [cat])
        except ValueError as error:
            if "nothing to harden against" not in str(error) and "is an audit of" not in str(error):
                raise

    for path in (folder / "audit.json", *sorted(folder.glob("attacks/*.json"))):
        survive(path, folder, use, Random(3), 30)


class TestWhatIsNoRegularFile:
    """A pipe would be waited for without end; no reader of text opens one."""

    def odd(self, path: Path) -> Iterator[str]:
        os.mkfifo(path)
        yield "no regular file"
        path.unlink()
        holder = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has at most 108 bytes
        holder.bind(path.name)
        os.chdir(here)
        yield "no regular file"
        holder.close()
        path.unlink()
        path.symlink_to("/dev/zero")
        yield "no regular file"
        path.unlink()
        path.symlink_to(path.name)
        yield "symbolic links"
        path.unlink()
        path.mkdir()
        yield "is a folder"
        path.rmdir()

    @pytest.mark.parametrize("suffix", ["json", "yaml", "txt", "png"])
    def test_it_is_refused(self, suffix: str, tmp_path: Path) -> None:
        from excise.files.pictures import open_picture

        path = tmp_path / f"x.{suffix}"
        use: dict[str, Callable[[Path], Any]] = {
            "json": files.read_json, "yaml": lambda path: files.read_text(path), "txt": files.read_text, "png": open_picture,
        }  # fmt: skip
        for words in self.odd(path):
            with pytest.raises(USAGE, match=words) as caught:
                use[suffix](path)
            told(caught.value, path)

    def test_a_pipe_among_results(self, tmp_path: Path) -> None:
        made_up.write_measurement(tmp_path / "nats.json")
        os.mkfifo(tmp_path / "x.json")
        result = CliRunner().invoke(app, ["report", str(tmp_path)])
        assert result.exit_code == 2 and "x.json is no regular file" in result.stderr


class TestBounds:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"a": NaN}', "NaN is no finite number"),
            ('{"a": -Infinity}', "no finite number"),
            ('{"a": 1e999}', "1e999 is no finite number"),
            ('{"a": 18446744073709551616}', "no whole number of 64 bits"),
            ('{"a": ' + "9" * 5_000 + "}", "no whole number of 64 bits"),
            ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
            ('{"a": "\\ud800"}', "half of a surrogate pair"),
            ('{"a": ' + "[" * 64 + "]" * 64 + "}", "more than 64 levels"),
            ('{"a": ' + "[" * 100_000, "64 levels|Expecting"),
            ("[" + "[]," * bounds.VALUES + "[]]", "more than 4000000"),
        ],
    )  # fmt: skip
    def test_of_json(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text(text, encoding="utf-8")
        with within(5), pytest.raises(ValueError, match=words) as caught:
            files.read_json(tmp_path / "x.json")
        told(caught.value, tmp_path / "x.json")

    def test_what_is_within_them(self, tmp_path: Path) -> None:
        whole = {"a": 2**64 - 1, "b": -(2**63), "c": 1.5e300, "d": "\U0001f600 \\ud8", "e": json.loads("[" * 60 + "]" * 60)}
        for plain in (True, False):
            (tmp_path / "x.json").write_text(json.dumps(whole, ensure_ascii=plain), encoding="utf-8-sig")
            assert files.read_json(tmp_path / "x.json") == whole

    def test_of_a_file_that_never_ends(self, tmp_path: Path) -> None:
        with open(tmp_path / "x.json", "wb") as file:
            file.truncate(2**40)  # a hole: no byte is on the disk
        with within(5), pytest.raises(ValueError, match="too large: more than 64 MiB"):
            files.read_json(tmp_path / "x.json")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: &a [lol]\nb: *a\n", "line 1 has an alias or an anchor"),
            ("a: &a [lol,lol,lol]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n", "line 1 has an alias or an anchor"),
            ("a: " + "[" * 2_000, "8 levels"),
            ("".join(f"k{i}: 1\n" for i in range(30_000)), "10000 keys and values"),
            ("a: [" + "x, " * 30_000 + "]", "10000 keys and values"),
            ("a: 1\na: 2\n", "'a' is given twice"),
            ("? [a]\n: 1\n", "list or a mapping for a key"),
            ("a: 1\n---\nb: 1\n", "not YAML"),
            ("a: " + "x" * bounds.CONFIG_BYTES, "too large"),
        ],
    )
    def test_of_yaml(self, text: str, words: str, tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        with within(5), pytest.raises(ValueError, match=words) as caught:
            read_yaml(path)
        told(caught.value, path)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("prompt,width\na,65534\n", r"width is 65534, not a whole number in 1\.\.2048"),
            ("prompt,seed\na," + "9" * 5_000 + "\n", "seed is '9+"),
            ("prompt,guidance\na,1e30\n", "more than 1000"),
            ("prompt," + ",".join(f"c{i}" for i in range(30_000)) + "\n", "1000 columns"),
            ("prompt\n" + "a\n" * (bounds.PICTURES + 1), "more than 100000 prompts"),
            ("prompt\n" + "a" * 10_001 + "\n", "more than 10000 characters"),
            ("prompt\n" + "a" * 200_000 + "\n", "field limit"),
            ("prompt," + "p" * 100_000 + "\na,b\n", "^$"),
        ],
    )
    def test_of_csv(self, text: str, words: str, tmp_path: Path) -> None:
        path = tmp_path / "p.csv"
        path.write_text(text, encoding="utf-8")
        with within(5):
            try:
                read_prompts(path)
            except ValueError as error:
                assert re.search(words, str(error)), str(error)[:300]
                told(error, path)
            else:
                assert words == "^$"

    @pytest.mark.parametrize("name", sorted(methods()))
    def test_of_settings(self, name: str) -> None:
        """Every number of every method is finite, and none is so large that it asks for work or memory without end."""
        schema = methods()[name].settings
        for key, field in schema.model_fields.items():
            if field.annotation in (int, float):
                for value in ("1e39", "1" * 400, "inf", "nan", *(["10000000000"] if field.annotation is int else [])):
                    with pytest.raises(ValueError, match=key) as caught:
                        parse(schema, {key: value}, "setting")
                    assert len(str(caught.value)) < 400

    def test_of_options(self) -> None:
        """Every number that an option takes has both ends."""
        for request in Request.__subclasses__():
            for key, field in request.options().items():
                if "int" in str(field.annotation) or "float" in str(field.annotation):
                    with pytest.raises(ValueError, match=key):
                        parse(request, {key: "1" * 12 if flag(field) else ""}, "option")

    def test_of_products(self, tmp_path: Path) -> None:
        many = parse(GenerateRequest, {"prompts": ["a"] * 2_000, "n": 1_000, "out": str(tmp_path / "o")}, "option")
        with pytest.raises(ValueError, match="2000 prompts with 1000 pictures each are more than 100000"):
            many.check()
        with pytest.raises(ValueError, match="more than 10000000 steps"):
            parse(methods()["esd"].settings, {"rounds": 10**5, "steps": 10**5}, "setting")
        grid = {"methods": "mim", "concepts": "objects", "seeds": range(10_000), "out": str(tmp_path)}
        with pytest.raises(ValueError, match="cells"):
            parse(BenchRequest, grid, "option").check()

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"concept": "a\udcff"}, "not UTF-8"),
            ({"concept": "a\0b"}, "NUL"),
            ({"concept": "a" * 10_001}, "10001 characters"),
            ({"model": "m" * 300}, "too long for a path"),
            ({"out": "x/" * 3_000}, "too long for a path"),
            ({"edit": ["x"] * 10_001}, "10001 values"),
            ({"prompts": 10**9}, "at most 100000"),
            ({"budget": 10**12}, "at most 100000000"),
        ],
    )
    def test_of_texts(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words) as caught:
            parse(AuditRequest, values, "option")
        assert len(str(caught.value)) < 400

    def test_of_python_arguments(self, tmp_path: Path) -> None:
        for wrong in ({"n": 10**9}, {"steps": 10**9}, {"scale": 1e39}, {"guidance": float("inf")}, {"seed": 2**32}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                generate("a cat", out=tmp_path / "x.png", **wrong)
        assert os.listdir(tmp_path) == []


class TestLinear:
    """Long input is done with in about the time that reading it takes, or refused by a bound that is said."""

    def entries(self, number: int, phrases: int = 1) -> dict[str, Any]:
        named = [f"{i:06d}" for i in range(number)]
        return {
            "concepts": [{"kind": "object", "name": one, "phrases": [f"{one} {j}" for j in range(phrases)]} for one in named]
        }

    def test_many_declared_concepts(self) -> None:
        with within(3):
            catalog = Catalog.from_dict(self.entries(10_000))
            with pytest.raises(ValueError, match="unknown concept '00000x'; did you mean"):
                catalog.resolve("00000x")

    def test_more_than_may_be_declared(self, tmp_path: Path) -> None:
        made_up.write_json(tmp_path / "excise.json", {"name": "m", **self.entries(30_000)})
        with within(5), pytest.raises(ValueError, match="concepts: List should have at most 10000 items") as caught:
            describe(tmp_path)
        told(caught.value, tmp_path / "excise.json")
        made_up.write_json(tmp_path / "excise.json", {"name": "m", **self.entries(1, 40_000)})
        with within(5), pytest.raises(ValueError, match="would have 240000 prompts, more than 200000"):
            describe(tmp_path)

    def test_many_synonyms(self) -> None:
        also = tuple(f"cat {i}" for i in range(6_000))
        with within(3):
            assert len(Catalog().resolve("cat", also=also * 2).phrases) == 6_001
        with within(3), pytest.raises(ValueError, match="more than 200000"):
            Catalog().resolve("cat", also=tuple(f"cat {i}" for i in range(30_000)))

    def test_a_long_word(self) -> None:
        known = ["ab" * 5_000, "cat", *("c" * 60 for _ in range(5_000))]
        with within(3):
            assert len(nearest("ba" * 5_000, known)) < 3_000 and "did you mean 'cat'" in nearest("catt", known)
        for kind in (None, "style"):
            with within(3), pytest.raises(ValueError, match="more than 500 characters") as caught:
                Catalog().resolve("x y" * 4_000, kind)
            assert len(str(caught.value)) < 400

    def test_many_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "p.csv"
        path.write_text("prompt,seed\n" + "".join(f"a cat {i},{i}\n" for i in range(bounds.PICTURES)), encoding="utf-8")
        with within(15):
            assert len(to_items(read_prompts(path))) == bounds.PICTURES


class TestQuoting:
    @pytest.mark.parametrize(
        "value",
        [
            "a" * 10**6,
            ["a" * 10**6] * 100,
            {"k" * 10**6: 1},
            10**4000,
            list(range(10**6)),
            [[[[[[[[1]]]]]]]],
            "\x1b[31m" * 10**5,
        ],
    )
    def test_it_is_short_and_printable(self, value: Any) -> None:
        with within(1):
            assert len(quoted(value)) < 1_000 and quoted(value).isprintable() and len(cut(str(value)[: 10**6])) <= 4 * 203

    def test_short_text_is_whole(self) -> None:
        assert (quoted("cat"), quoted(1.5), quoted(["a"]), cut("a\nb")) == ("'cat'", "1.5", "['a']", "a b")

    @pytest.mark.parametrize(
        "words",
        [
            ("erase", "x" * 50_000),
            ("erase", "cat", "--method", "x" * 50_000),
            ("erase", "cat", "--set", "x" * 50_000),
            ("erase", "cat", "--set", "x" * 50_000 + "=1"),
            ("erase", "cat", "--set", "lr=" + "x" * 50_000),
            ("erase", "cat", "--dtype", "x" * 50_000),
            ("erase", "cat", "--kind", "x" * 50_000),
            ("erase", "cat", "--model", "x" * 50_000),
            ("erase", "cat", "--model", "x" * 200),
            ("erase", "cat", "--out", "x" * 50_000),
            ("erase", "cat", "--seed", "1" * 50_000),
            ("generate", "a", "-n", "1" * 5_000, "--out", "o"),
            ("info", "x" * 50_000),
            ("report", "x" * 50_000),
            ("convert", "x" * 50_000),
            ("erase", "cat", "--config", "x" * 5_000),
            ("audit", "--attacks", "x" * 50_000, "--concept", "cat"),
            ("audit", "--attacks", "p4d:" + "x" * 50_000, "--concept", "cat"),
            ("bench", "--methods", "mim:" + "x" * 50_000, "--concepts", "cat", "--out", "o"),
            ("bench", "--methods", "mim", "--concepts", "cat+" + "x" * 50_000, "--out", "o"),
            ("bench", "--methods", "mim", "--concepts", "cat", "--gold", "x" * 50_000, "--out", "o"),
            ("suite", "run", "x" * 50_000, "--out", "o"),
            ("suite", "run", "unlearncanvas", "--set", "target=" + "x" * 50_000, "--out", "o"),
            ("suite", "table", "x" * 50_000),
            ("restore", "x", "--concept", "x" * 50_000, "--out", "o"),
        ],
    )  # fmt: skip
    def test_of_flags(self, words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with within(5):
            result = CliRunner().invoke(app, [*words])
        assert result.exit_code == 2 and len(result.stderr) < 1_200 and result.stderr.count("\n") == 1, result.stderr[:300]
        assert "unexpected" not in result.stderr and os.listdir(tmp_path) == []
