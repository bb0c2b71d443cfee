"""Answer sets of suites: their list, their pictures, and what was noted of these."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.kinds.prompts import coco
from torture.sandbox import Sandbox
from torture.spoil import files, spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one file of a finished suite and give the same command again."""
    for name in ("tiny", "clip", "prompts.csv"):
        sandbox.take(name)
    made = sandbox.take("suite", "made")
    named = spoil(sandbox, random.choice(files(made)), random)
    if random.random() < 0.4:
        return attempt(sandbox, "suite table made", named=(*named, "made"))
    return attempt(sandbox, coco("prompts.csv"), ("made",), named=(*named, "made"), grows=True)


KIND = Kind("suites", "answer sets, features and results of suites", 6, play)
