"""The cache is a convenience: nothing damaged in it is believed, and nothing fails where it cannot be had."""

from __future__ import annotations

import os
import random
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from excise.attacks.engine import Engine
from excise.cli import app
from excise.digests import digest_folder
from excise.edits import Edit
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.evaluation.classifier import Classifier
from excise.evaluation.picture_cache import Item, Judge, read
from excise.evaluation.suites.annotations import annotate
from excise.evaluation.suites.answer_set import AnswerSet
from excise.evaluation.suites.coco.feature_files import vectors
from excise.evaluation.suites.prompt_file import PromptItem
from excise.files import Shelf, cache_folder
from excise.information import measure
from excise.jobs.erase import erase
from excise.models import Model
from excise.models.built_in import BUILT_IN, built_in
from excise.progress import silent
from test_attacks import chosen_by, random_edit
from trained_methods import PICTURED

Damage = Callable[[Path], None]
TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
ABOUT = {"items": [["a cat", 1], ["größe", 2]], "share": 0.1}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip_last(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("/nowhere/at/all")


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES: list[Damage] = [
    _cut, _flip_last, _fifo, _dangling, _loop, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"cut"),
    lambda file: file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:]), lambda file: file.write_text("{}"),
]  # fmt: skip
"""What becomes of a file; each is made anew without a word."""


def _folder(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


def same(entry: object) -> bool:
    """Whether it is what was kept, to the bit."""
    tensors, about = vars(entry).values()
    return about == ABOUT and tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)


class TestShelf:
    @pytest.fixture
    def shelf(self, cache: Path) -> Shelf:
        found = Shelf(cache_folder(), "x", "y")
        assert found.get("name") is None
        found.put("name", TENSORS, ABOUT)
        return found

    @pytest.fixture
    def file(self, shelf: Shelf, cache: Path) -> Path:
        return cache / "x" / "y" / "name.safetensors"

    def test_gives_back_what_was_put(self, shelf: Shelf, file: Path) -> None:
        assert file.is_file() and same(shelf.get("name"))
        shelf.put("words", {}, ["alone"])
        kept = shelf.get("words")
        assert kept and kept.about == ["alone"] and not kept.tensors

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_entry_is_none_and_made_anew(self, damage: Damage, shelf: Shelf, file: Path) -> None:
        damage(file)
        assert shelf.get("name") is None
        shelf.put("name", TENSORS, ABOUT)
        assert same(shelf.get("name"))

    def test_hundreds_of_mutations_give_nothing_or_what_was_put(self, shelf: Shelf, file: Path) -> None:
        draw, whole = random.Random(0), file.read_bytes()
        survived = 0
        for _ in range(400):
            data = bytearray(whole)
            place, length = draw.randrange(len(data)), draw.randrange(1, 9)
            match draw.randrange(4):
                case 0:
                    data[place] ^= 1 << draw.randrange(8)
                case 1:
                    del data[place : place + length]
                case 2:
                    data[place:place] = draw.randbytes(length)
                case 3:
                    data[place : place + length] = draw.randbytes(length)
            file.write_bytes(data)
            found = shelf.get("name")
            assert found is None or same(found)
            survived += found is not None
        assert survived < 40, "only what changes no value, such as blanks of the header"

    def test_entries_that_were_swapped_are_not_taken_for_each_other(self, shelf: Shelf, file: Path, cache: Path) -> None:
        other = Shelf(cache, "x", "z")
        shelf.put("second", {"a": torch.zeros(1)})
        shutil.copy(file.with_stem("second"), file)
        assert shelf.get("name") is None
        (cache / "x" / "z").mkdir()
        shutil.copy(file.with_stem("second"), cache / "x" / "z" / "second.safetensors")
        assert other.get("second") is None and shelf.get("second") is not None

    def test_a_folder_in_the_place_of_an_entry_is_told_once(self, shelf: Shelf, file: Path) -> None:
        _folder(file)
        with pytest.warns(UserWarning, match="nothing can be kept in .*cache") as told:
            for _ in range(3):
                shelf.put("name", TENSORS, ABOUT)
                assert shelf.get("name") is None
        assert len(told) == 1 and (file / "inside").is_dir()

    @pytest.mark.parametrize("root", ["/dev/null/x", "/proc/nobody/x", "file", "file/x"])
    def test_where_nothing_can_be_written_it_is_told_once(self, root: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        shelf = Shelf(tmp_path / root, "x")
        with pytest.warns(UserWarning, match="nothing can be kept in .*; going on without") as told:
            for number in range(3):
                shelf.put(str(number), TENSORS)
                assert shelf.get(str(number)) is None
        assert len(told) == 1 and "\n" not in str(told[0].message) and (tmp_path / "file").read_text() == "mine"

    def test_a_full_disk_is_told_once_and_leaves_nothing(self, tmp_path: Path) -> None:
        shelf = Shelf(tmp_path / "small", "x")
        with pytest.warns(UserWarning, match="nothing can be kept") as told, small_files(1000):
            for _ in range(3):
                shelf.put("large", {"a": torch.zeros(5000)})
        assert len(told) == 1 and shelf.get("large") is None and not list((tmp_path / "small" / "x").iterdir())

    def test_without_a_root_nothing_is_kept(self) -> None:
        shelf = Shelf(None)
        shelf.put("name", TENSORS)
        assert shelf.get("name") is None


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file can grow beyond `most` bytes inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestPlace:
    @pytest.mark.parametrize("own", ["", None])
    @pytest.mark.parametrize("users", ["", None, "users"])
    def test_an_empty_variable_is_none(
        self, own: str | None, users: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for name, value in (("EXCISE_CACHE", own), ("XDG_CACHE_HOME", users and str(tmp_path / users))):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert cache_folder() == (tmp_path / "users" if users else tmp_path / "home" / ".cache") / "excise"

    def test_nobody_s_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EXCISE_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory.")))
        with pytest.warns(UserWarning, match="Could not determine home directory"):
            assert cache_folder() is None
        assert cache_folder() is None, "told once"


class Brightness:
    """Annotates a picture by its mean; a feature network of three colours."""

    identity, key = "brightness", "colours"
    about: ClassVar[dict[str, str]] = {}

    def __call__(self, images: list) -> list:  # type: ignore[type-arg]
        if isinstance(images, Tensor):
            return {"colours": images.mean((2, 3))}  # type: ignore[return-value]
        return [{"mean": sum(image.convert("L").tobytes())} for image in images]


def _answers(model: Model, folder: Path) -> object:
    assert model.classifier is not None
    return read(model, [Item("a picture of a cat", seed) for seed in range(3)], [Judge(Classifier.load(model.classifier))])


def _pictures(model: Model, folder: Path) -> object:
    return {"latents": generated_latents(model, ["a cat", "a dog"], [0, 1], run=Run(), batch=1)}


def _attacks(model: Model, folder: Path) -> object:
    engine = Engine(model, model.catalog.resolve("cat"), [random_edit(model)], prompts=2)
    engine.look()
    found = engine.attack(chosen_by("seeds", {"tries": 1}, 40)).attacked["neutral"]
    return {**found.tensors, "outcome": found.outcome.model_copy(update={"seconds": 0.0})}


def _notes(model: Model, folder: Path) -> object:
    """Of pictures that were made elsewhere."""
    items = [PromptItem(id=str(seed), prompt="a cat", seed=seed, steps=1, guidance=1.0) for seed in range(2)]
    if not folder.exists():
        folder.mkdir()
        from excise.images import to_image

        for item, picture in zip(items, model.sample(["a cat"] * 2, [0, 1]), strict=True):
            to_image(picture).save(folder / f"{item.id}.png")
    answers = AnswerSet.adopt(folder, items)
    said = annotate(answers, Brightness(), silent)  # type: ignore[arg-type]
    seen = vectors(answers, answers.check(), Brightness(), silent)  # type: ignore[arg-type]
    return {"seen": seen, "said": [annotation for _, annotation in said]}


def _equal(one: dict[str, object], other: dict[str, object]) -> bool:
    def alike(a: object, b: object) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b

    return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)


def _nats(model: Model, folder: Path) -> object:
    return {**measure(model, "cat", edit=random_edit(model), budget=400, keep=True).to_dict(), "seconds": 0}


USERS = [_answers, _pictures, _attacks, _notes, _nats]


@pytest.mark.parametrize("user", USERS)
def test_whatever_is_damaged_every_user_comes_to_the_same(
    user: Callable[[Model, Path], dict[str, object]], canvas: Model, tmp_path: Path, cache: Path
) -> None:
    first, draw = user(canvas, tmp_path / "shown"), random.Random(user.__name__)
    files = sorted(cache.rglob("*.safetensors"))
    assert files
    kept = {file: file.read_bytes() for file in files}
    for damage in draw.sample(DAMAGES, 2):
        for file in files:
            damage(file)
        assert _equal(user(canvas, tmp_path / "shown"), first)
        assert {file: file.read_bytes() for file in files}.keys() == kept.keys()
        assert all(Shelf(cache, *file.relative_to(cache).parts[:-1]).get(file.stem) for file in files), "made anew"


@pytest.mark.parametrize("user", USERS)
def test_without_a_cache_every_user_comes_to_the_same(
    user: Callable[[Model, Path], dict[str, object]], canvas: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = user(canvas, tmp_path / "shown")
    monkeypatch.setenv("EXCISE_CACHE", f"/dev/null/{user.__name__}")
    with pytest.warns(UserWarning, match="nothing can be kept in /dev/null") as told:
        assert _equal(user(canvas, tmp_path / "shown"), first)
    assert len(told) == 1


def _bits(edit: Edit) -> dict[str, Tensor]:
    return edit.tensors()


def test_an_erasure_without_a_cache_is_whole(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a method that learns from pictures, which are kept."""
    options = {
        "model": str(tiny_canvas),
        "method": "ca",
        "settings": PICTURED,
        "device": "cpu",
        "evaluate": "none",
    }
    first = erase("cat", out=tmp_path / "first", **options)
    monkeypatch.setenv("EXCISE_CACHE", "/proc/nobody/erase")
    with pytest.warns(UserWarning, match="nothing can be kept"):
        again = erase("cat", out=tmp_path / "again", **options)
    assert _equal({**_bits(first.edit)}, {**_bits(again.edit)})
    assert sorted(os.listdir(tmp_path / "first")) == sorted(os.listdir(tmp_path / "again"))


@pytest.mark.filterwarnings("default")
def test_it_is_told_in_one_line(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", "/dev/null/command")
    words = [
        "evaluate",
        "--concept",
        "cat",
        "--model",
        str(tiny_canvas),
        "--target-pictures",
        "3",
        "--other-pictures",
        "3",
        "--quality",
    ]
    found = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert found.exit_code == 0, found.output
    (line,) = found.stderr.splitlines()
    assert line.startswith("excise: warning: nothing can be kept in /dev/null/command (")


def test_an_empty_variable_writes_nothing_here(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EXCISE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    Shelf(cache_folder(), "x").put("name", TENSORS)
    assert not os.listdir(tmp_path / "here") and os.listdir(tmp_path / "users" / "excise") == ["x"]


class TestBuiltIn:
    def harmed(self, harm: Callable[[Path], None]) -> None:
        """The same whole folder again, and the package as it was."""
        package = digest_folder(BUILT_IN["canvas"])
        whole = built_in("canvas-without-cat")
        before = digest_folder(whole)
        harm(whole)
        assert built_in("canvas-without-cat") == whole and digest_folder(whole) == before
        assert digest_folder(BUILT_IN["canvas"]) == package

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_file_is_made_anew(self, damage: Damage) -> None:
        self.harmed(lambda whole: damage(whole / "classifier.safetensors"))

    def test_a_missing_or_further_file(self) -> None:
        self.harmed(lambda whole: (whole / "vae" / "config.json").unlink())
        self.harmed(lambda whole: (whole / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"evil"))
        self.harmed(lambda whole: _folder(whole / "excise.json"))

    @pytest.mark.parametrize("nobody", ["/dev/null/models", "/proc/nobody/models"])
    def test_without_a_cache_it_is_made_for_this_process(self, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
        kept = digest_folder(built_in("canvas-without-cat"))
        monkeypatch.setenv("EXCISE_CACHE", nobody)
        with pytest.warns(UserWarning, match="nothing can be kept"):
            whole = built_in("canvas-without-cat")
        assert digest_folder(whole) == kept
        with warnings.catch_warnings(action="error"):
            assert built_in("canvas-without-cat") == whole

    def test_a_file_in_its_place(self, cache: Path) -> None:
        whole = built_in("canvas-without-cat")
        shutil.rmtree(whole)
        whole.write_text("mine")
        with pytest.warns(UserWarning, match="is a file; a folder is to be written there"):
            other = built_in("canvas-without-cat")
        assert whole.read_text() == "mine" and (other / "classifier.safetensors").is_file()
