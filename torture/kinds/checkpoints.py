"""Single-file checkpoints of strangers."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """A checkpoint of the right layout and tiny sizes, spoilt; whole, its sizes are not those of Stable Diffusion, which must be said."""
    path = sandbox.take("checkpoint.safetensors")
    named = spoil(sandbox, path, random)
    loads = random.random() < 0.01  # the network of the real size is made before it is compared: seconds
    command = f"generate cat --model {path.name} --out made.png" if loads else f"info {path.name}"
    return attempt(sandbox, command, ("made.png",), named=named, must="be refused" if loads else "end")


KIND = Kind("checkpoints", "single-file checkpoints", 40, play)
