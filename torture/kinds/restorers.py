"""Restorers of strangers, and pictures that are restored with them."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.references import supply
from torture.sandbox import Sandbox
from torture.spoil import files, spoil
from torture.verbs import VERBS

FLAGS = (
    "--scale 16", "--scale 1", "--tile 8 --overlap 0", "--tile 8 --overlap 6", "--tile 2048", "--overlap 16", "--tile 9", "--fidelity 0",
    "--fidelity 1", "--colour adain", "--colour none", "--model sd1 --steps 1000", "--scheduler EulerDiscreteScheduler",
    "--scheduler FlowMatchEulerDiscreteScheduler", "--model sd1", "--model sdxl",
)  # fmt: skip


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil a restorer or a picture, or ask in an odd way."""
    verb = VERBS["upscale"]
    supply(sandbox, "upscale")
    how, flags, named = random.random(), "", ("pictures",)
    if how < 0.5:
        named = (*spoil(sandbox, sandbox.work / "restorer.safetensors", random), "restorer")
    elif how < 0.7:
        named = (*spoil(sandbox, random.choice(files(sandbox.work / "pictures")), random), "pictures")
    else:
        for name in ("sd1", "sdxl"):
            sandbox.take(name)
        flags = random.choice(FLAGS)
        named = (*flags.replace("--", "").split(), "restorer", "uce")
    return attempt(sandbox, (*verb.argv(), *flags.split()), (verb.output,), named=named)


KIND = Kind("restorers", "restorers, and pictures to restore", 25, play)
