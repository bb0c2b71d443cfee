"""`excise erase`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excise.cli import options, screen

if TYPE_CHECKING:
    from excise.jobs.erase import Plan
    from excise.jobs.request import Resolved

EPILOG = """Examples:

  excise erase cat --out out/cat

  excise erase style:sketch --set target=exclude --set steps=60 --seed 1 --out out/sketch"""


def add_to(app: typer.Typer) -> None:
    app.command("erase", epilog=EPILOG)(erase)


def erase(
    ctx: typer.Context,
    concepts: Annotated[
        list[str] | None, typer.Argument(help="cat, style:sketch, member:owl, ...; free text for models without a list.")
    ] = None,
    kind: options.Kind = None,
    also: Annotated[list[str] | None, typer.Option("--also", help="A further phrase that names the concept.")] = None,
    model: options.Model = "canvas",
    method: Annotated[str, typer.Option("--method", help="Erasure method; see: excise list methods.")] = "mim",
    harden: Annotated[
        list[Path] | None, typer.Option("--harden", help="Folder of an audit: what showed the concept there is erased too.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the result; default out/CONCEPT.")] = None,
    seed: options.Seed = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of the method, key=value; --dry-run shows the keys.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file with these options; flags win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was stopped.")] = False,
    overwrite: options.Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the resolved settings and stop.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="Measure base and edited model.")] = True,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure what the words still say, in nats.")] = True,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    json: options.Json = None,
) -> None:
    """Erase concepts: writes the edit, its measurements, a card and a before/after picture into a folder."""
    from excise.jobs import erase as job
    from excise.jobs.inputs import check_new_file

    resolved = _resolve(ctx, config, settings)
    plan = job.make_plan(resolved.request)
    check_new_file(json, resolved.request.overwrite)
    if dry_run:
        _show(plan, resolved)
        return
    with screen.progress() as progress:
        result = job.run(plan, progress)
    if json is not None:
        from excise.files import write_json

        write_json(json, result.to_dict())
    screen.evidence(result.to_dict())
    print(f"erased {', '.join(result.edit.manifest.names)} in {result.to_dict()['seconds']:.0f} s: {result.out}")
    print(f"before and after: {result.out}/before_after.png")


def _resolve(ctx: typer.Context, config: Path | None, settings: list[str] | None) -> Resolved:
    """The request from file and flags; only flags that were typed count as such."""
    from excise.jobs.request import EraseRequest, read_yaml, resolve
    from excise.settings import parse_assignments

    flags: dict[str, Any] = {
        name: value
        for name, value in ctx.params.items()
        if name in EraseRequest.model_fields and getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if settings:
        flags["settings"] = parse_assignments(settings)
    resolved = resolve(read_yaml(config) if config else {}, flags)
    if resolved.request.out is None:
        folder = Path("out") / _folder_name(resolved.request.concepts)
        request = resolved.request.model_copy(update={"out": folder})
        return type(resolved)(request, resolved.sources, resolved.setting_sources)
    return resolved


def _folder_name(concepts: tuple[str, ...]) -> str:
    import re

    from excise.files import fitting

    names = [re.sub(r"[^\w]+", "-", text.lower()).strip("-") for text in concepts[:4]]
    return fitting("-".join(names + ["and-more"] * (len(concepts) > 4)) or "edit")


def _show(plan: Plan, resolved: Resolved) -> None:
    """What would run, and where each value comes from."""
    from excise.jobs.request import EraseRequest, setting_sources

    request = resolved.request.model_dump(exclude={"settings"})
    about = {name: field.description or "" for name, field in EraseRequest.model_fields.items()}
    rows = [(name, _word(value), resolved.sources[name], about[name]) for name, value in request.items()]
    screen.table(("option", "value", "from", ""), rows)
    print()
    origins = setting_sources(plan.method, resolved)
    about = {name: field.description or "" for name, field in type(plan.settings).model_fields.items()}
    rows = [(name, _word(value), origins[name], about[name]) for name, value in plan.settings.model_dump().items()]
    screen.table(("setting", "value", "from", ""), rows, f"{plan.method.title}, {plan.method.paper}")
    print()
    screen.table(("concept", "named by"), [(c.label, ", ".join(c.phrases)) for c in plan.concepts])


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
