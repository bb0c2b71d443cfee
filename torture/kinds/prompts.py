"""CSV files of prompts."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """Give a spoilt file to a suite; in most cases its weights are missing, which is said once the file is read."""
    sandbox.take("tiny")
    name = random.choice(("prompts.csv", "i2p.csv"))
    spoil(sandbox, sandbox.take(name), random)
    if random.random() < 0.03:
        sandbox.take("clip")
        return attempt(sandbox, coco(name), ("made",), grows=True)
    suite = random.choice(("i2p", "unlearndiffatk --set task=nudity"))
    command = f"suite run {suite} --set prompts={name} --set size=16 --model tiny --out made"
    return attempt(sandbox, command, must="be refused")


def coco(prompts: str, more: str = "") -> str:
    """A whole run of a suite that needs no weights but a tiny CLIP's."""
    settings = f"--set prompts={prompts} --set features=clip --set size=16 --set steps=1 {more}"
    return f"suite run coco {settings} --weights clip=clip --model tiny --out made"


KIND = Kind("prompts", "CSV files of prompts", 170, play)
