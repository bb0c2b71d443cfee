"""Picture files and folders."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.kinds.prompts import coco
from torture.sandbox import Sandbox
from torture.spoil import files, spoil
from torture.verbs import FEWEST


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one picture of a folder and have it measured, compared with, or scored."""
    sandbox.take("tiny")
    folder = sandbox.take("pictures")
    named = (*spoil(sandbox, random.choice(files(folder)), random), "pictures")
    how = random.randrange(3)
    if how == 0:
        command = "measure cat --model tiny --pictures pictures --against dog --budget 200 --json made.json"
        return attempt(sandbox, command, ("made.json",), named=named)
    if how == 1:
        command = f"evaluate --concept cat --model tiny {FEWEST} --real pictures/cat --json made.json"
        return attempt(sandbox, command, ("made.json",), named=named)
    sandbox.take("clip")
    sandbox.take("prompts.csv")
    return attempt(sandbox, coco("prompts.csv", "--set real=pictures/cat"), ("made",), named=named, grows=True)


KIND = Kind("pictures", "pictures and folders of them", 5, play)
