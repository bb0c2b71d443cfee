"""Model folders of strangers: any file of any part is spoilt."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.kinds.concepts import RIGHT
from torture.sandbox import Sandbox
from torture.spoil import files, spoil
from torture.verbs import FEWEST

COMMANDS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (20, "info MODEL", ()),
    (10, "list concepts --model MODEL", ()),
    (5, "list methods --model MODEL", ()),
    (10, "erase cat --model MODEL --out made --dry-run", ()),
    (30, "generate cat --model MODEL --steps 1 --out made.png", ("made.png",)),
    (8, "apply uce --model MODEL --to made", ("made",)),
    (5, "diff tiny MODEL --out made", ("made",)),
    (2, f"evaluate --concept cat --model MODEL {FEWEST}", ()),
)
"""How often of ninety, the command, what it writes."""


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one file and give the folder to a verb; its small files are as likely as its large ones."""
    model = sandbox.take(random.choice(("tiny", "tiny", "sd1", "sdxl")), "MODEL")
    sandbox.take("tiny")
    sandbox.take("uce")
    named = spoil(sandbox, random.choice(files(model)), random)
    _, command, outputs = random.choices(COMMANDS, [each[0] for each in COMMANDS])[0]
    compared = command.startswith(("diff", "apply"))  # that a model is not the edit's base is said in other words
    about = () if compared else (*named, "MODEL", *RIGHT)
    return attempt(sandbox, command, outputs, named=about)


KIND = Kind("models", "configs, weights, tokenizers and schedulers of model folders", 70, play)
