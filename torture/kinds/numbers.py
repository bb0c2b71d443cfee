"""Numbers that a computer cannot hold: whatever comes of them is no evidence, and must not be written or counted."""

from __future__ import annotations

import hashlib
import json
import struct
from random import Random

from torture.attempt import Must, Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.verbs import FEWEST

WITH_EDIT = (
    "generate cat --model tiny --edit EDIT --steps 2 --out made.png",
    "generate cat --model tiny --edit EDIT --steps 2 --out made",
    f"evaluate --edit EDIT --model tiny {FEWEST} --json made.json",
    f"evaluate --edit EDIT --model tiny {FEWEST} --quality --json made.json",
    "measure --edit EDIT --model tiny --budget 300 --against none --json made.json",
    "audit EDIT --model tiny --attacks seeds:tries=1 --prompts 1 --budget 20 --out made",
)
_ERASE = "erase cat --model tiny --set steps=2 --set rounds=1 --out made"
WITH_OPTION = (
    "apply uce --model tiny --scale 1e39 --to made",
    "export uce --scale 1e39 --to made.safetensors",
    "generate cat --model tiny --edit uce --scale 1e38 --out made.png",
    f"{_ERASE} --evaluate none --set lr=1e38",
    f"{_ERASE} --method esd --set lr=1e30",
    f"bench --methods mim:lr=1e38,steps=2,rounds=1 --concepts cat --model tiny {FEWEST} --no-information --out made",
)
GROWING = ("audit", "bench")


def play(sandbox: Sandbox, random: Random) -> Played:
    """An edit whose every number is huge, or an option that makes one."""
    sandbox.take("tiny")
    sandbox.take("uce")
    if random.random() < 0.4:
        command = random.choice(WITH_OPTION)
    else:
        command = random.choice(WITH_EDIT)
        sandbox.take("uce", "EDIT")
        _fill(sandbox, random.choice((1e30, 1e36, -1e30, 3e38)))
    must: Must = (
        "end" if command.startswith("bench") else "be refused"
    )  # a benchmark ends well with a cell that says why it failed
    return attempt(
        sandbox, command, ("made", "made.png", "made.json", "made.safetensors"), must=must, grows=command.startswith(GROWING)
    )


def _fill(sandbox: Sandbox, value: float) -> None:
    """Let every number of an edit be `value`, and the manifest name the digest of that."""
    tensors, manifest = sandbox.work / "EDIT" / "edit.safetensors", sandbox.work / "EDIT" / "edit.json"
    data = tensors.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    filled = data[:begin] + struct.pack("<f", value) * ((len(data) - begin) // 4)
    sandbox.own(tensors, filled)
    content = json.loads(manifest.read_bytes())
    sandbox.own(manifest, json.dumps({**content, "weights_sha256": hashlib.sha256(filled).hexdigest()}).encode())


KIND = Kind("numbers", "edits and options that leave the range of numbers", 8, play)
