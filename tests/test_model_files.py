"""Which files of a model's folder are copied: its own regular files, and nothing that a link leads to elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from excise.files import copy_file
from excise.jobs.model_folder import write_model
from excise.models import load
from excise.models.contents import model_files

PARTS = ("unet", "vae", "text_encoder", "scheduler")


def model(folder: Path) -> Path:
    """A folder as diffusers' are, without weights."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        **{part: ["diffusers", "X"] for part in PARTS},
        "safety_checker": [None, None],
    }
    for name, text in (
        ("model_index.json", json.dumps(index)),
        ("README.md", "card"),
        ("LICENSE", "licence"),
        ("LICENCE.txt", "l"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "excise.json").write_text(json.dumps({"name": "x", "concepts": [], "classifier": "judge.safetensors"}))
    (folder / "judge.safetensors").write_text("judge")
    for part in PARTS:
        (folder / part / "more").mkdir(parents=True)
        (folder / part / "config.json").write_text(part)
        (folder / part / "more" / "file").write_text(part)
    return folder


def test_a_model_has_its_components_and_what_says_what_it_is(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    for other in ("letters/dear", "safety_checker/config.json", ".git/config", "diary.txt", "sd.safetensors"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("private")
    (folder / "secret").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    expected = {"model_index.json", "README.md", "LICENSE", "LICENCE.txt", "excise.json", "judge.safetensors"}
    expected |= {f"{part}/{name}" for part in PARTS for name in ("config.json", "more/file")}
    assert set(model_files(folder)) == expected


@pytest.mark.parametrize("part", ["../out", "/etc", "a/b", ".", "..", "", ".git"])
def test_a_component_lies_in_the_folder(part: str, tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    for other in (tmp_path / "out", folder / "a" / "b", folder / ".git"):
        other.mkdir(parents=True)
        (other / "private").write_text("x")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: ["diffusers", "X"]}))
    assert not [file for file in model_files(folder).values() if file.name in ("private", "passwd")]


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


BAD: dict[str, Callable[[Path], None]] = {
    "a link to a file elsewhere": lambda path: path.symlink_to("/etc/passwd"),
    "a link to a private folder": lambda path: path.symlink_to("/etc"),
    "a link up": lambda path: path.symlink_to("../../outside"),
    "a link by way of a link": lambda path: path.symlink_to("../door/outside"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a circle": lambda path: path.symlink_to(path.name),
    "a link to a folder of the model": lambda path: path.symlink_to("../vae" if path.parent.name != "m" else "vae"),
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_file_of_the_model_is_refused_by_name(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At many places, picked at random: of a component, deep in it, beside it, or the component itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside").write_text("private")
    places = [
        "unet",
        "vae/config.json",
        "text_encoder/more/file",
        "scheduler/new",
        "unet/more",
        "README.md",
        "LICENSE",
        "judge.safetensors",
    ]
    for number, place in enumerate(random.Random(what).sample(places, 5)):
        folder = model(tmp_path / str(number) / "m")
        (folder / "door").symlink_to(tmp_path)
        path = folder / place
        if path.is_dir():
            path.rename(folder / "away")
        path.unlink(missing_ok=True)
        BAD[what](path)
        if what == "a link to a folder of the model" and place == "vae/config.json":
            continue  # a circle
        with pytest.raises(ValueError, match=rf"^{path} is ") as refused:
            model_files(folder)
        assert "\n" not in str(refused.value)


def test_links_inside_the_model_are_followed(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "unet" / "config.json").unlink()
    (folder / "unet" / "config.json").symlink_to("../vae/config.json")
    (folder / "unet" / "more" / "again").symlink_to(folder / "unet" / "config.json")
    (tmp_path / "link").symlink_to(folder)
    for name in (folder, tmp_path / "link"):
        found = model_files(name)
        assert found["unet/config.json"] == found["unet/more/again"] == folder.resolve() / "vae" / "config.json"


def test_a_snapshot_in_the_hubs_cache_is_made_of_links_into_its_repository(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot, blobs = model(repository / "snapshots" / "0123"), repository / "blobs"
    blobs.mkdir()
    for number, (name, file) in enumerate(model_files(snapshot).items()):
        file.rename(blobs / str(number))
        (snapshot / name).symlink_to(os.path.relpath(blobs / str(number), (snapshot / name).parent))
    found = model_files(snapshot)
    assert {file.parent for file in found.values()} == {blobs.resolve()} and found["unet/config.json"].read_text() == "unet"
    (tmp_path / "models--c--d" / "blobs").mkdir(parents=True)
    (tmp_path / "models--c--d" / "blobs" / "0").write_text("another repository's")
    (snapshot / "vae" / "config.json").unlink()
    (snapshot / "vae" / "config.json").symlink_to(tmp_path / "models--c--d" / "blobs" / "0")
    with pytest.raises(ValueError, match=r"vae/config\.json is a link that leads out of .*models--a--b"):
        model_files(snapshot)


def test_a_copy_is_of_a_regular_file_with_the_umasks_mode(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    (tmp_path / "a").chmod(0o4755)
    old = os.umask(0o027)
    try:
        copy_file(tmp_path / "a", tmp_path / "new" / "b")
    finally:
        os.umask(old)
    assert (tmp_path / "new" / "b").read_text() == "content" and (tmp_path / "new" / "b").stat().st_mode & 0o7777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        copy_file(tmp_path / "pipe", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_damaged_file_is_refused_before_anything_is_copied(tiny_canvas: Path, tmp_path: Path) -> None:
    """One that declares less than it is long, 64 GiB of holes, would take minutes to copy and fill the disk."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_canvas, folder)
    loaded = load(folder, device="cpu")
    os.truncate(folder / "classifier.safetensors", 2**36)
    with pytest.raises(ValueError, match=r"classifier\.safetensors.*not a whole safetensors file"):
        write_model(loaded, {"unet"}, tmp_path / "made")
    assert not (tmp_path / "made").exists()
