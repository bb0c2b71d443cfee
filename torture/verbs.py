"""Every verb that writes, as a command that is right: what it takes and what it writes."""

from __future__ import annotations

from dataclasses import dataclass

QUICK = {"rounds": 2, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2}
"""Settings with which MiM-MU is done in half a second."""

SETS = " ".join(f"--set {key}={value}" for key, value in QUICK.items())
FEW, FEWEST = (f"--target-pictures {count} --other-pictures {count}" for count in (2, 1))

_OLD_OR_NEW = {
    "old": {"seed": "1", "scale": "0.5", "concept": "dog", "results": "results/edit-audit", "keep": "0.56"},
    "new": {"seed": "0", "scale": "1", "concept": "cat", "results": "results/edit", "keep": "0.7"},
}
"""What a command is given in each of two forms, so that its results differ."""


@dataclass(frozen=True)
class Verb:
    """A command of the command line.

    text     its words, with blanks between and places for `_OLD_OR_NEW`
    takes    what it reads, by the names of the world
    output   what it writes, in `work`
    again    what has to be added where an earlier result lies
    resume   what has to be added to go on
    grows    whether it adds to what is there instead of replacing it
    slow     whether it takes seconds
    """

    text: str
    takes: tuple[str, ...]
    output: str
    again: tuple[str, ...] = ("--overwrite",)
    resume: tuple[str, ...] = ()
    grows: bool = False
    slow: bool = False

    def argv(self, age: str = "new") -> tuple[str, ...]:
        """The command that gives the `old` or the `new` result."""
        return tuple(self.text.format(**_OLD_OR_NEW[age]).split())


_LEARN = {"rounds": 2, "steps": 2, "batch": 2, "inner": 1, "pictures": 2, "picture_steps": 1, "retain": "dog", "retained": 2}
_DISTILL = "distill tiny --teacher tiny --erase cat --seed {seed} --out made " + " ".join(
    f"--set {k}={v}" for k, v in _LEARN.items()
)
_ERASE = "erase cat --model tiny --out made --seed {seed} --evaluate none"
_MODEL, _EDITED, _RESUME = ("tiny", "cache"), ("tiny", "cache", "uce"), ("--resume",)

VERBS: dict[str, Verb] = {
    "erase": Verb(f"{_ERASE} {SETS}", _MODEL, "made", resume=_RESUME),
    "erase-uce": Verb(f"{_ERASE} --method uce", _MODEL, "made", resume=_RESUME),
    "generate": Verb("generate cat --model tiny --edit uce --seed {seed} --out made.png", _EDITED, "made.png"),
    "generate-folder": Verb("generate cat dog --model tiny -n 2 --seed {seed} --out made", _MODEL, "made"),
    "apply": Verb("apply uce --model tiny --scale {scale} --to made", _EDITED, "made"),
    "export": Verb("export uce --scale {scale} --to made.safetensors", ("uce",), "made.safetensors"),
    "restore": Verb("restore both --concept {concept} --out made", ("both",), "made"),
    "prune": Verb("prune tiny --keep {keep} --out made", _MODEL, "made"),
    "distill": Verb(_DISTILL, _MODEL, "made", resume=_RESUME),
    "upscale": Verb(
        "upscale pictures/cat/0.png pictures/dog/0.png --model tiny --restorer restorer.safetensors --edit uce --steps 2 --scale 2 "
        "--seed {seed} --out made",
        (*_EDITED, "restorer.safetensors", "pictures"),
        "made",
        resume=_RESUME,
    ),
    "diff": Verb(
        "diff tiny partial.safetensors --concept {concept} --out made", ("tiny", "cache", "partial.safetensors"), "made"
    ),
    "evaluate": Verb(f"evaluate --model tiny --edit uce --seed {{seed}} {FEW} --json made.json", _EDITED, "made.json"),
    "measure": Verb(
        "measure --model tiny --edit uce --seed {seed} --budget 600 --against none --json made.json", _EDITED, "made.json"
    ),
    "vary": Verb("vary uce --model tiny --pictures 1 --seed {seed} --json made.json", _EDITED, "made.json", slow=True),
    "audit": Verb(
        "audit uce --model tiny --attacks seeds:tries=1 --attacks guidance --prompts 2 --budget 40 --seed {seed} --out made",
        _EDITED,
        "made",
        grows=True,
    ),
    "bench": Verb(
        f"bench --methods uce --concepts cat --model tiny {FEW} --no-quality --no-information --seeds {{seed}} --out made",
        _MODEL,
        "made",
        again=(),
        grows=True,
        slow=True,
    ),
    "report": Verb("report {results} --out page/made.html", ("results",), "page", again=()),
}
"""By name."""
