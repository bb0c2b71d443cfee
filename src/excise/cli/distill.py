"""`excise distill`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command, word
from excise.requests.distill import DistillRequest
from excise.requests.sources import Resolved

EXAMPLES = """
  excise distill models/student --teacher canvas --out models/repaired

  excise distill models/student --erase cat --mode alternating --upper mim --out models/repaired-without-cat"""


def distill(request: DistillRequest) -> None:
    """Train, and print what the losses came to."""
    from excise.jobs.distill import run

    with screen.progress() as progress:
        about = run(request, progress)
    learned = about.distilled[-1]
    first, last = learned.rounds[0], learned.rounds[-1]
    for name, before, after in (("repairing", first.lower, last.lower), ("erasing", first.upper, last.upper)):
        if before is not None and after is not None:
            screen.say(f"loss of {name}: {before:.4f} in the first round, {after:.4f} in the last")
    if last.gap is not None:
        screen.say(f"loss of repairing above that of a student that does nothing else: {last.gap:.4f}")
    screen.say(f"distilled in {learned.seconds:.0f} s: {request.out}")


def show(resolved: Resolved[DistillRequest]) -> None:
    """The settings, and where each comes from."""
    request = resolved.request
    own = request.parsed
    preset = request.settings.get("preset")
    origins = dict.fromkeys(own.presets.get(str(preset), {}), f"preset {preset}") | resolved.parts["settings"]
    about = type(own).model_fields
    rows = [
        (name, word(value), origins.get(name, "default"), about[name].description or "")
        for name, value in own.model_dump().items()
    ]
    screen.say("")
    screen.table(("setting", "value", "from", ""), rows, "distillation, arXiv 2412.15341")


COMMAND = Command("distill", DistillRequest, distill, EXAMPLES, show=show)
