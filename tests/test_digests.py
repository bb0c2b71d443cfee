"""Digests and streams stay what they are: caches, fingerprints and results on disk are found by them. By hashlib, and values noted once."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import excise
from excise.digests import digest_bytes, digest_casts, digest_file, digest_folder, digest_tensors, digest_text, digest_values
from excise.edits.applied import base_fingerprint
from excise.erasure.counterexamples import Counterexample, record
from excise.erasure.run import Run
from excise.models import Model, fingerprint, load
from excise.models.fingerprint import surroundings
from excise.randomness import numbered_stream, seeded, start_stream, step_stream, stream

SRC = Path(excise.__file__).parent


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_they_are_hashlibs(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x00\xff" * 9)
    assert digest_bytes(b"a\x00") == _sha256(b"a\x00") and digest_text("é") == _sha256("é".encode())
    assert digest_file(tmp_path / "f") == _sha256(b"\x00\xff" * 9)
    values = {"b": [1, None, 2.5], "a": Path("x/y")}
    assert digest_values(values) == _sha256(json.dumps({"a": "x/y", "b": [1, None, 2.5]}).encode())


def test_of_tensors_by_hand() -> None:
    one, two = torch.arange(6, dtype=torch.float16).view(2, 3), torch.tensor(1.5)
    told = b"a()torch.float32" + two.numpy().tobytes() + b"b(3, 2)torch.float16" + one.T.contiguous().numpy().tobytes()
    assert digest_tensors({"b": one.T, "a": two}) == _sha256(told)
    cast = b"a()" + two.half().numpy().tobytes() + b"b(3, 2)" + one.T.contiguous().numpy().tobytes()
    assert digest_tensors({"b": one.T, "a": two}, torch.float16) == _sha256(cast) != _sha256(told)


def test_of_a_folder_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name, text in (("b/x", "1"), ("a.txt", "é"), (".git/y", "2"), ("b/.z", "3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    told = f"a.txt {_sha256('é'.encode())}\nb/x {_sha256(b'1')}\n"
    assert digest_folder(tmp_path) == _sha256(told.encode())
    assert digest_folder(tmp_path) == "dee29e33308f0785bfdd7a38bb9b1cdd5e35e7b6a409032b4abe68358eeddcad"


def test_of_counterexamples() -> None:
    """Noted with the first version: manifests of hardened edits have it."""
    found = record(
        [
            Counterexample("object:cat", "p4d", "xq", ""),
            Counterexample("object:cat", "inversion", torch.arange(6.0).view(2, 3).half(), "a dog"),
        ]
    )
    sha256 = "af3d96b6f2f9fdd03a788d7d42d010e59e682296d7a9d93c3d213d13fdbb1b62"
    assert found == {"attacks": {"inversion": 1, "p4d": 1}, "sha256": sha256}


@pytest.mark.parametrize(
    ("generator", "first"),
    [
        (Run(3).generator(), [986, 48]),
        (Run(3).generator(0), [11, 370]),
        (Run(3).generator(1, 2, 3), [903, 667]),
        (numbered_stream(7, 2), [822, 836]),
        (stream(3), [341, 838]),
        (stream(3, "a"), [59, 440]),
        (stream(3, "a", "b"), [924, 148]),
        (stream(5, "ab"), [186, 916]),
    ],
)
def test_streams_are_what_they_were(generator: torch.Generator, first: list[int]) -> None:
    """Noted with the first version: seeds in results and checkpoints mean these numbers."""
    assert torch.randint(1000, (2,), generator=generator).tolist() == first


def test_a_pictures_streams() -> None:
    """The start from the picture's seed, the steps' noise from the next one, as diffusers' generators are seeded."""
    for seed in (0, 5, 2**40):
        for found, expected in ((seeded(seed), seed), (start_stream(seed), seed), (step_stream(seed), seed + 1)):
            assert torch.equal(
                torch.randn(4, generator=found), torch.randn(4, generator=torch.Generator().manual_seed(expected))
            )


def test_one_file_hashes() -> None:
    found = {
        str(path.relative_to(SRC))
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name == "hashlib" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "hashlib")
    }
    assert found == {"digests.py"}


def test_casts_in_one_pass_are_those_alone() -> None:
    tensors = {"b": torch.randn(3, 2).T, "a": torch.tensor(1.5), "i": torch.arange(3)}
    casts = [torch.float32, torch.float16, torch.bfloat16]
    assert digest_casts(tensors, casts) == [digest_tensors(tensors, cast) for cast in casts]


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_what_vouches_is_of_the_bytes_that_were_loaded(part: str, tiny_sd1: Path, tmp_path: Path) -> None:
    """A file with other bytes and the same name, inode, size and times is another model."""
    folder = shutil.copytree(tiny_sd1, tmp_path / "model")
    weights = folder / part / "diffusion_pytorch_model.safetensors"

    def told() -> tuple[dict[str, str], dict[str, str]]:
        model = load(folder, device="cpu")
        return base_fingerprint(model), surroundings(model)

    before, about = told(), weights.stat()
    with open(weights, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(0.25).tobytes())
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    after, now = told(), weights.stat()
    assert (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns) == (
        now.st_dev,
        now.st_ino,
        now.st_size,
        now.st_mtime_ns,
    )
    assert (before[0] == after[0], before[1] == after[1]) == (part == "vae", part == "unet")


def test_an_autoencoder_is_hashed_once_until_it_changes(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = fingerprint.digest_tensors
    monkeypatch.setattr(fingerprint, "digest_tensors", lambda tensors: hashed.append("once") or digest(tensors))
    before = surroundings(sd1)
    assert surroundings(sd1) == before and hashed == ["once"]
    with torch.no_grad():
        next(sd1.pipeline.vae.parameters()).flatten()[0] += 1
    assert surroundings(sd1)["autoencoder"] != before["autoencoder"] and len(hashed) == 2
