"""Numbers that a computer cannot hold: whatever comes of them is no evidence, and must not be written or counted."""

from __future__ import annotations

import hashlib
import json
import struct
from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox

_MODEL, _FEW = ("--model", "tiny"), ("--target-pictures", "1", "--other-pictures", "1")
WITH_EDIT: tuple[tuple[str, ...], ...] = (
    ("generate", "a cat", *_MODEL, "--edit", "EDIT", "--steps", "2", "--out", "made.png"),
    ("generate", "a cat", *_MODEL, "--edit", "EDIT", "--steps", "2", "--out", "made"),
    ("evaluate", "--edit", "EDIT", *_MODEL, *_FEW, "--json", "made.json"),
    ("evaluate", "--edit", "EDIT", *_MODEL, *_FEW, "--quality", "--json", "made.json"),
    ("measure", "--edit", "EDIT", *_MODEL, "--budget", "300", "--against", "none", "--json", "made.json"),
    ("audit", "EDIT", *_MODEL, "--attacks", "seeds:tries=1", "--prompts", "1", "--budget", "20", "--out", "made"),
)
WITH_OPTION: tuple[tuple[str, ...], ...] = (
    ("apply", "uce", *_MODEL, "--scale", "1e39", "--to", "made"),
    ("export", "uce", "--scale", "1e39", "--to", "made.safetensors"),
    ("generate", "a cat", *_MODEL, "--edit", "uce", "--scale", "1e38", "--out", "made.png"),
    (
        "erase",
        "cat",
        *_MODEL,
        "--no-evaluate",
        "--no-measure",
        "--set",
        "lr=1e38",
        "--set",
        "steps=2",
        "--set",
        "rounds=1",
        "--out",
        "made",
    ),
    (
        "erase",
        "cat",
        *_MODEL,
        "--no-measure",
        "--method",
        "esd",
        "--set",
        "lr=1e30",
        "--set",
        "steps=2",
        "--set",
        "rounds=1",
        "--out",
        "made",
    ),
    (
        "bench",
        "--methods",
        "mim:lr=1e38,steps=2,rounds=1",
        "--concepts",
        "cat",
        *_MODEL,
        *_FEW,
        "--no-information",
        "--out",
        "made",
    ),
)
GROWING = ("audit", "bench")


def play(sandbox: Sandbox, random: Random) -> Played:
    """An edit whose every number is huge, or an option that makes one."""
    sandbox.take("tiny")
    edit = sandbox.take("uce")
    if random.random() < 0.4:
        argv = random.choice(WITH_OPTION)
    else:
        argv = random.choice(WITH_EDIT)
        _fill(sandbox, sandbox.take("uce", "EDIT"), random.choice((1e30, 1e36, -1e30, 3e38)))
    assert edit.is_dir()
    # a benchmark ends well with a cell that says why it failed
    must = "end" if argv[0] == "bench" else "be refused"
    return attempt(sandbox, argv, ("made", "made.png", "made.json", "made.safetensors"), must=must, grows=argv[0] in GROWING)  # type: ignore[arg-type]


def _fill(sandbox: Sandbox, edit: object, value: float) -> None:
    """Let every number of an edit be `value`, and the manifest name the digest of that."""
    tensors, manifest = sandbox.work / "EDIT" / "edit.safetensors", sandbox.work / "EDIT" / "edit.json"
    data = tensors.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    filled = data[:begin] + struct.pack("<f", value) * ((len(data) - begin) // 4)
    sandbox.own(tensors, filled)
    content = json.loads(manifest.read_bytes())
    sandbox.own(manifest, json.dumps({**content, "weights_sha256": hashlib.sha256(filled).hexdigest()}).encode())


KIND = Kind("numbers", "edits and options that leave the range of numbers", 20, play)
