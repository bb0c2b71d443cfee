"""Results where something lies already: what is the user's own stays, whatever it is called."""

from __future__ import annotations

import json
from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.references import reference, supply
from torture.sandbox import Sandbox
from torture.verbs import VERBS

FOREIGN = (
    "thesis.tex", "notes", "report.html", "edit.json.bak", "README.md", "pictures/holiday.jpg", "attacks/mine.png", "cells/mine.json",
    "sub/edit.json", "sub/edit.safetensors", "report-figures/mine.png", ".git/config", "model_index.json", "excise.json", "bench.json",
    "results.csv", "audit.json",
)  # fmt: skip
MARKERS = ("edit.json", "pictures.json", "excise_edits.json", "audit.json", "bench.json", "result.json", "upscale.json")


def play(sandbox: Sandbox, random: Random) -> Played:
    """A folder of an earlier result and of other things, or of a marker alone; written to, with and without leave to overwrite."""
    name = random.choice([name for name, verb in VERBS.items() if verb.output == "made" and name != "bench"] + ["bench"] * 2)
    verb = VERBS[name]
    supply(sandbox, name)
    made = sandbox.work / "made"
    own = set()
    if random.random() < 0.6:
        sandbox.take(reference(sandbox.world, name, "old"), "made")
        own = {str(path.relative_to(made)) for path in made.rglob("*")}
    else:
        marker = random.choice(MARKERS)
        sandbox.own(made / marker, json.dumps(random.choice(({}, [], {"mine": 1}, {"format": 2, "kind": "grid"}))).encode())
    mine = {}
    for file in random.sample(FOREIGN, random.choice((1, 2, 4))):
        if file not in own and not any(above in own or (made / above).is_file() for above in (file.partition("/")[0],)):
            sandbox.own(made / file, f"the user's own {file}".encode())
            mine[file] = (made / file).read_bytes()
    again = verb.again if random.random() < 0.7 else ()
    played = attempt(sandbox, (*verb.argv(), *again), (verb.output,), grows=verb.grows)
    for file, data in mine.items():
        if not (made / file).is_file() or (made / file).read_bytes() != data:
            played = played.and_wrong("lost", f"made/{file}, the user's own")
    if not own and made.is_dir() and not any((made / marker).exists() for marker in MARKERS):
        played = played.and_wrong("lost", "the user's own file with a marker's name")
    return played


KIND = Kind("places", "outputs where the user's files are", 8, play)
