"""Edits of strangers: weights, adapters, compositions; their manifest or their tensors are spoilt."""

from __future__ import annotations

import hashlib
import json
from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil
from torture.verbs import FEWEST

COMMANDS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (30, "info EDIT", ()),
    (14, "export EDIT --to made.safetensors", ("made.safetensors",)),
    (6, "export EDIT dog --to made.safetensors --rank 2", ("made.safetensors",)),
    (8, "restore EDIT --concept cat --out made", ("made",)),
    (12, "apply EDIT --model tiny --to made", ("made",)),
    (12, "generate cat --model tiny --edit EDIT --steps 1 --out made.png", ("made.png",)),
    (8, "report . --out made.html", ("made.html", "made-figures")),
    (8, "convert EDIT", ("EDIT",)),
    (1, f"evaluate --edit EDIT --model tiny {FEWEST} --json made.json", ("made.json",)),
)
"""How often of a hundred, the command, what it writes."""


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one file of an edit, sign it if it is that of the tensors, and give it to a verb."""
    name = random.choice(("uce", "uce", "mim", "spm", "both"))
    edit = sandbox.take(name, "EDIT")
    sandbox.take("tiny")
    sandbox.take("dog")
    named = spoil(sandbox, edit / random.choice(("edit.json", "edit.safetensors", "edit.safetensors")), random)
    _sign(sandbox, random)
    _, command, outputs = random.choices(COMMANDS, [each[0] for each in COMMANDS])[0]
    reads = command.startswith(("info", "generate", "report", "convert"))
    about = (*named, "EDIT") if reads else ()  # what cannot be done with a whole edit either is refused in other words
    return attempt(sandbox, command, outputs, named=about)


def _sign(sandbox: Sandbox, random: Random) -> None:
    """Mostly, let the manifest name the digest of the tensors that are there now."""
    manifest, tensors = sandbox.work / "EDIT" / "edit.json", sandbox.work / "EDIT" / "edit.safetensors"
    if (
        random.random() < 0.1
        or not (manifest.is_file() and tensors.is_file())
        or max(one.stat().st_size for one in (manifest, tensors)) > 2**24
    ):
        return
    try:
        content = json.loads(manifest.read_bytes())
        content["weights_sha256"] = hashlib.sha256(tensors.read_bytes()).hexdigest()
        sandbox.own(manifest, json.dumps(content).encode("utf-8", "surrogatepass"))
    except (ValueError, TypeError, RecursionError):
        return  # no manifest any more


KIND = Kind("edits", "edit.json and edit.safetensors", 150, play)
