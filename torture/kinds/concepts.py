"""Lists of concepts, and the classifier beside them."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil
from torture.verbs import FEWEST

EVALUATE = f"evaluate --concept cat --model MODEL {FEWEST}"
COMMANDS: tuple[tuple[int, str], ...] = (
    (30, "list concepts --model MODEL"),
    (20, "info MODEL"),
    (30, "erase cat --model MODEL --out made --dry-run"),
    (10, "bench --methods uce --concepts cat --model MODEL --out made --dry-run"),
    (4, EVALUATE),
    (2, "measure cat --model MODEL --budget 300"),
)
"""How often of a hundred, and the command."""

RIGHT = ("unknown concept", "a budget of")
"""What is said of a list that is not damaged: it has no *cat* any more, or more concepts than the budget is for."""


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil the list or the classifier; the latter is read by what measures alone."""
    model = sandbox.take("tiny", "MODEL")
    classifier = random.random() < 0.15
    named = spoil(sandbox, model / ("classifier.safetensors" if classifier else "excise.json"), random)
    command = EVALUATE if classifier else random.choices(COMMANDS, [each[0] for each in COMMANDS])[0][1]
    return attempt(sandbox, command, named=(*named, "MODEL", *RIGHT))


KIND = Kind("concepts", "lists of concepts, classifiers", 80, play)
