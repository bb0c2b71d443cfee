"""Every verb that writes, as a command that is right: what it takes, what it writes, and what it says twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

QUICK = {"rounds": 2, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2}
"""Settings with which MiM-MU is done in half a second."""

_SETS = tuple(word for key, value in QUICK.items() for word in ("--set", f"{key}={value}"))
_MODEL = ("--model", "tiny")
_FEW = ("--target-pictures", "2", "--other-pictures", "2")
_SEED = {"old": "1", "new": "0"}


@dataclass(frozen=True)
class Verb:
    """A command of the command line.

    words    it, of the seed "0" or "1"
    takes    what it reads, by the names of the world
    outputs  what it writes, in `work`
    again    what has to be added where an earlier result lies
    resume   what has to be added to go on
    grows    whether it adds to what is there instead of replacing it
    """

    words: Callable[[str], tuple[str, ...]]
    takes: tuple[str, ...]
    outputs: tuple[str, ...]
    again: tuple[str, ...] = ("--overwrite",)
    resume: tuple[str, ...] = ()
    grows: bool = False

    def argv(self, age: str = "new") -> tuple[str, ...]:
        """The command that gives the `old` or the `new` result."""
        return self.words(_SEED[age])


VERBS: dict[str, Verb] = {
    "erase": Verb(
        lambda seed: ("erase", "cat", *_MODEL, "--out", "made", "--seed", seed, "--no-evaluate", "--no-measure", *_SETS),
        ("tiny", "cache"), ("made",), resume=("--resume",),
    ),
    "erase-uce": Verb(
        lambda seed: ("erase", "cat", *_MODEL, "--method", "uce", "--out", "made", "--seed", seed, "--no-evaluate", "--no-measure"),
        ("tiny", "cache"), ("made",), resume=("--resume",),
    ),
    "generate": Verb(
        lambda seed: ("generate", "a cat", *_MODEL, "--edit", "uce", "--seed", seed, "--out", "made.png"), ("tiny", "cache", "uce"), ("made.png",),
    ),
    "generate-folder": Verb(
        lambda seed: ("generate", "a cat", "a dog", *_MODEL, "-n", "2", "--seed", seed, "--out", "made"), ("tiny", "cache"), ("made",),
    ),
    "apply": Verb(
        lambda seed: ("apply", "uce", *_MODEL, "--scale", f"0.{seed}5", "--to", "made"), ("tiny", "cache", "uce"), ("made",),
    ),
    "export": Verb(
        lambda seed: ("export", "uce", "--scale", f"0.{seed}5", "--to", "made.safetensors"), ("uce",), ("made.safetensors",),
    ),
    "restore": Verb(
        lambda seed: ("restore", "both", "--concept", ("cat", "dog")[int(seed)], "--out", "made"), ("both",), ("made",),
    ),
    "diff": Verb(
        lambda seed: ("diff", "tiny", "partial.safetensors", "--concept", ("cat", "dog")[int(seed)], "--out", "made"),
        ("tiny", "cache", "partial.safetensors"), ("made",),
    ),
    "evaluate": Verb(
        lambda seed: ("evaluate", *_MODEL, "--edit", "uce", "--seed", seed, *_FEW, "--json", "made.json"),
        ("tiny", "cache", "uce"), ("made.json",),
    ),
    "measure": Verb(
        lambda seed: (
            "measure", *_MODEL, "--edit", "uce", "--seed", seed, "--budget", "600", "--against", "none", "--json", "made.json",
        ),
        ("tiny", "cache", "uce"), ("made.json",),
    ),
    "vary": Verb(
        lambda seed: ("vary", "uce", *_MODEL, "--pictures", "1", "--seed", seed, "--json", "made.json"),
        ("tiny", "cache", "uce"), ("made.json",),
    ),
    "audit": Verb(
        lambda seed: (
            "audit", "uce", *_MODEL, "--attacks", "seeds:tries=1 guidance", "--prompts", "2", "--budget", "40", "--seed", seed, "--out", "made",
        ),
        ("tiny", "cache", "uce"), ("made",), grows=True,
    ),
    "bench": Verb(
        lambda seed: (
            "bench", "--methods", "uce", "--concepts", "cat", *_MODEL, *_FEW, "--no-quality", "--no-information", "--seeds", seed, "--out", "made",
        ),
        ("tiny", "cache"), ("made",), again=(), grows=True,
    ),
    "report": Verb(
        lambda seed: ("report", ("results/edit", "results/edit-audit")[int(seed)], "--out", "page/made.html"), ("results",), ("page",), again=(),
    ),
}  # fmt: skip
"""By name. What two runs of one must give to the bit is what `torture.same.content` leaves of it."""
