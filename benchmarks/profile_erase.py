"""Where the time of `excise erase` goes: network calls and seconds of every stage of one run.

    python benchmarks/profile_erase.py            # measures `excise erase cat --evaluate full` on the canvas, ten minutes on 2 CPU cores
    python benchmarks/profile_erase.py --evaluate quick --out quick.json
    python benchmarks/profile_erase.py --show docs/benchmark/profile.json

The run is the command's own, with its default settings and an empty cache, measured as the tables are. What it calls is wrapped once a stage,
and a clock is read where a stage begins and ends: some 10,000 readings of a microsecond, and no difference to any result. A network call is one
latent that passes the denoiser; a step's backward pass is not counted as calls. Results go to docs/benchmark/profile.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, get_args

from excise.evaluation.picture_counts import Extent
from markdown_table import markdown

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "profile.json"
COLUMNS = ("stage", "network calls", "CPU s", "share", "wall s")


@dataclass
class Spent:
    """What a stage took, without the stages inside it."""

    calls: int = 0
    cpu: float = 0.0
    wall: float = 0.0


@dataclass
class Clock:
    """Adds every moment to the innermost stage that is on.

    spent  by stage, in the order in which they began
    inside the stages that are on
    """

    spent: dict[str, Spent] = field(default_factory=lambda: {"imports": Spent()})
    inside: list[str] = field(default_factory=lambda: ["imports"])
    cpu: float = 0.0
    wall: float = field(default_factory=time.perf_counter)

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """The time inside the block is the stage's."""
        self._turn([*self.inside, stage])
        try:
            yield
        finally:
            self._turn(self.inside[:-1])

    def follow(self, stage: str) -> None:
        """What comes from here on, where nothing else is on, is of this stage."""
        self._turn([stage])

    def count(self, module: Any, inputs: Any, output: Any) -> None:
        """A forward hook of the denoiser."""
        self.spent[self.inside[-1]].calls += len(output[0])

    def _turn(self, inside: list[str]) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        now = self.spent[self.inside[-1]]
        now.cpu, now.wall = now.cpu + cpu - self.cpu, now.wall + wall - self.wall
        self.cpu, self.wall, self.inside = cpu, wall, inside
        self.spent.setdefault(inside[-1], Spent())

    def wrap(self, owner: Any, name: str, stage: str | Callable[..., str]) -> None:
        """Let a function of a module or class be a stage; `stage` may tell its name from the arguments."""
        inner = getattr(owner, name)

        @wraps(inner)
        def outer(*arguments: Any, **named: Any) -> Any:
            with self.at(stage if isinstance(stage, str) else stage(*arguments, **named)):
                return inner(*arguments, **named)

        setattr(owner, name, outer)


def measure(concepts: Sequence[str], model: str, extent: Extent) -> dict[str, Any]:
    """Erase once; what each stage took."""
    clock = Clock()  # before all that is imported
    import torch

    from excise.evaluation import picture_cache, protocol
    from excise.jobs import erase as job
    from excise.methods.mim import erase as mim
    from excise.methods.mim import metric
    from excise.models import Model, fingerprint
    from excise.report import before_after
    from excise.requests.erase import EraseRequest
    from timing import machine

    loads = job._load

    def loaded(*arguments: Any) -> Model:
        found = loads(*arguments)
        found.denoiser.register_forward_hook(clock.count)
        return found

    job._load = loaded
    clock.wrap(job, "_load", "loading")
    clock.wrap(job, "_erased", "erasing: the rest")
    clock.wrap(mim.PromptBank, "of", "erasing: prompts and metric")
    clock.wrap(metric, "moments", "erasing: prompts and metric")
    clock.wrap(mim.start, "redirect_names", "erasing: closed-form start")
    clock.wrap(mim.heads, "align_reads", "erasing: what heads read")
    clock.wrap(mim.Lessons, "left", "erasing: what is left")
    clock.wrap(mim.states, "forgetting_set", "erasing: pictures of the forgetting set")
    clock.wrap(mim, "_targets", "erasing: targets")
    clock.wrap(mim, "_student", "erasing: student forward")
    clock.wrap(torch.Tensor, "backward", "erasing: student backward")
    clock.wrap(metric.Steepest, "step", "erasing: optimizer step")
    clock.wrap(protocol, "read", lambda *_, stage, **__: f"evaluation: {stage}")
    clock.wrap(Model, "decode", "decoding pictures")
    clock.wrap(picture_cache.Judge, "__call__", "classifying pictures")
    clock.wrap(fingerprint, "digest_tensors", "hashing weights")
    clock.wrap(fingerprint, "digest_casts", "hashing weights")
    clock.wrap(job, "_informed", "nats")
    clock.wrap(before_after, "sample", "before and after")
    clock.wrap(job, "_write", "writing")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXCISE_CACHE"] = str(Path(folder) / "cache")
        clock.follow("checks")
        request = EraseRequest(concepts=tuple(concepts), model=model, out=Path(folder) / "out", evaluate=extent)
        request.check()
        found = job.run(request).result
        clock.follow("checks")
    return {
        "concepts": list(concepts),
        "model": model,
        "dtype": found.dtype,
        "evaluate": extent,
        "stages": [{"stage": name, **asdict(spent)} for name, spent in clock.spent.items()],
        "machine": machine(),
    }


def table(found: dict[str, Any]) -> list[str]:
    """Lines of Markdown, a row for each stage and one for all."""
    stages = [(each["stage"], each["calls"], each["cpu"], each["wall"]) for each in found["stages"]]
    whole = ("all", *(sum(column) for column in list(zip(*stages, strict=True))[1:]))
    rows = [
        (name, f"{calls:,}" if calls else "-", f"{cpu:.1f}", f"{100 * cpu / whole[2]:.1f} %", f"{wall:.1f}")
        for name, calls, cpu, wall in [*stages, whole]
    ]
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("concepts", nargs="*", default=["cat"])
    parser.add_argument("--model", default="canvas")
    parser.add_argument("--evaluate", choices=get_args(Extent), default="full")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    options = parser.parse_args()
    if options.show is not None:
        print("\n".join(table(json.loads(options.show.read_text(encoding="utf-8")))))
        return
    found = measure(options.concepts, options.model, options.evaluate)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)), file=sys.stderr)


if __name__ == "__main__":
    main()
