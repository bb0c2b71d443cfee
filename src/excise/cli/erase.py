"""`excise erase`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from excise.cli import screen
from excise.cli.command import Command, word
from excise.files import fitting
from excise.models.contents import is_large
from excise.models.names import resolve
from excise.progress import Progress, StageClock, silent
from excise.requests.erase import EraseRequest
from excise.requests.sources import Resolved

EXAMPLES = """
  excise erase cat --out out/cat

  excise erase style:sketch --set target=exclude --set steps=60 --seed 1 --out out/sketch"""


def erase(request: EraseRequest) -> None:
    """Erase, and print what was measured and where the time went."""
    clock = StageClock()
    from excise.jobs.erase import run

    with screen.progress() as progress:
        clock.inner = _telling(request, progress)
        made = run(request, clock)
    clock.note("writing")
    screen.evidence(made.result)
    screen.say(f"erased {', '.join(made.result.concepts)} in {made.result.seconds:.0f} s: {made.out}")
    screen.say(f"before and after: {made.out}/before_after.png", "")
    _times(clock.seconds)


def _telling(request: EraseRequest, progress: Progress) -> Progress:
    """The same, which tells who watches where the picture lies as soon as there is one: what is measured after it takes longer."""
    if progress is silent or request.workplace is None:
        return progress
    untold = [request.workplace.picture]

    def tell(stage: str, done: int, total: int) -> None:
        if untold and untold[0].is_file():
            screen.tell(f"before and after, until all is measured: {untold.pop()}")
        progress(stage, done, total)

    return tell


def _times(seconds: Mapping[str, float]) -> None:
    """A line for each stage of the run."""
    whole = sum(seconds.values())
    rows = [(stage, f"{one:.1f}", f"{100 * one / whole:.0f} %") for stage, one in [*seconds.items(), ("all", whole)]]
    screen.table(("where the time went", "seconds", "share"), rows)


def in_a_folder(request: EraseRequest) -> EraseRequest:
    """The request with a folder that is named after the concepts, if it names none."""
    if request.out is not None:
        return request
    names = [re.sub(r"[^\w]+", "-", text.lower()).strip("-") for text in request.concepts[:4]]
    name = fitting("-".join(names + ["and-more"] * (len(request.concepts) > 4)) or "edit")
    return request.model_copy(update={"out": Path("out") / name})


def show(resolved: Resolved[EraseRequest]) -> None:
    """The settings of the method, where each comes from, and the phrases that name the concepts."""
    request = resolved.request
    preset = request.settings.get("preset")
    origins = (
        dict.fromkeys(request.chosen.settings.presets.get(str(preset), {}), f"preset {preset}") | resolved.parts["settings"]
    )
    about = request.chosen.settings.model_fields
    rows = [
        (name, word(value), origins.get(name, "default"), about[name].description or "")
        for name, value in request.parsed.model_dump().items()
    ]
    screen.say("")
    screen.table(("setting", "value", "from", ""), rows, f"{request.chosen.title}, {request.chosen.paper}")
    screen.say("")
    screen.table(("concept", "named by"), [(target.label, ", ".join(target.phrases)) for target in request.targets])
    if is_large(resolve(request.model)):
        screen.say("")
        screen.table(("memory", "bytes", ""), _memory(request))


def _memory(request: EraseRequest) -> list[tuple[str, str, str]]:
    """The model's networks and what the erasure takes; this loads torch, and no weight."""
    from excise.jobs.memory import available, gib, need

    found = need(request)
    rows = [(part.name, gib(part.bytes), f"{part.parameters:,} parameters, {part.kind}") for part in found.parts]
    passes = {"sampling": found.work.sampling, "decoding": found.work.decoding, "a step of learning": found.work.learning}
    return [
        *rows,
        ("what is learned", gib(found.trained), "copies, gradients, the optimizer's state"),
        *((name, gib(count), "at once, beside the weights") for name, count in passes.items()),
        ("in all", gib(found.total), f"about; {gib(available(request.device))} are free here"),
    ]


COMMAND = Command("erase", EraseRequest, erase, EXAMPLES, complete=in_a_folder, show=show)
