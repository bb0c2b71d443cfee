"""`excise list` and `excise info`: what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, get_args

from excise.attacks import BUDGET, QUICK_BUDGET, attacks
from excise.cli import screen
from excise.cli.command import Command
from excise.edits.manifest import MANIFEST, Manifest
from excise.files import read_header
from excise.methods import methods
from excise.models.built_in import BUILT_IN, restorer_of
from excise.models.checkpoint_file import contents
from excise.models.contents import is_large, model_files
from excise.models.families import FAMILIES, Family, Offer, family_of
from excise.models.names import INDEX, describe, model_index, resolve
from excise.pruning.distill_settings import Upper
from excise.report import student_table
from excise.requests.removals import strategies
from excise.requests.show import InfoRequest, ListRequest
from excise.requests.students import read_student

LIST_EXAMPLES = """
  excise list methods

  excise list concepts --model canvas"""

INFO_EXAMPLES = """
  excise info out/cat

  excise info canvas"""


def list_(request: ListRequest) -> None:
    """Print the list that is asked for."""
    shows = {"methods": _methods, "attacks": _attacks, "concepts": _concepts}
    if request.what == "models":
        _models()
    else:
        shows[request.what](request.model)


def info(request: InfoRequest) -> None:
    """Print what is known of an edit or a model."""
    where = resolve(request.what)
    if isinstance(where, Path) and (where / MANIFEST).is_file():
        _edit_info(where)
    elif isinstance(where, str) or where.is_file() or (where / INDEX).is_file():
        _model_info(where)
    else:
        raise ValueError(f"{where} is neither an edit (no {MANIFEST}) nor a model (no {INDEX})")


def _methods(model: str) -> None:
    family = family_of(resolve(model))
    rows = [
        (m.name, m.title, m.paper, ", ".join(m.needs), ", ".join(strategies(m)), _can(family, m.needs))
        for m in methods().values()
    ]
    columns = ("method", "title", "paper", "needs of a model", "strategies of a queue", f"on {describe(resolve(model)).name}")
    screen.table(columns, rows)
    screen.say(f"excise distill --erase takes the losses of {', '.join(get_args(Upper))} while it repairs a pruned model")


def _attacks(model: str) -> None:
    family = family_of(resolve(model))
    rows = [
        (a.name, a.title, a.paper, f"{BUDGET:,}", "-" if a.quick is None else f"{QUICK_BUDGET:,}", _can(family, a.needs))
        for a in attacks().values()
    ]
    screen.table(("attack", "title", "paper", "U-Net calls", "in a quick audit", f"on {describe(resolve(model)).name}"), rows)
    screen.say("U-Net calls are of one attack on one model; excise audit --budget sets another number for all")


def _can(family: Family, needs: Sequence[Offer]) -> str:
    return "yes" if family.offers >= set(needs) else "no"


def _models() -> None:
    rows = []
    for name, folder in BUILT_IN.items():
        about = describe(folder)
        if about.catalog.concepts:
            never = f", trained without {', '.join(about.without)}" if about.without else ""
            rows.append((name, family_of(resolve(name)).name, f"{len(about.catalog.concepts)} concepts{never}"))
        else:
            rows.append((name, "", "not in this installation"))
    screen.table(("model", "family", "what"), rows)
    known = ", ".join(family.name for family in FAMILIES)
    screen.say(f"also: any diffusers folder, .safetensors checkpoint or hub id (owner/name) of {known}")
    able = " and ".join(family.name for family in FAMILIES if "U-Net" in family.offers)
    here = ", ".join(name for name in BUILT_IN if restorer_of(name))
    screen.say(
        f"excise upscale restores pictures with {able}; a restorer is "
        + (f"here for {here}, others need the file of one" if here else "needed, and none is built in here")
    )


def _concepts(model: str) -> None:
    where = resolve(model)
    _pipeline(where)
    description = describe(where)
    if not description.catalog.concepts:
        screen.say(f"{description.name} declares no concepts: it takes any free text")
        return
    rows = [(concept.label, ", ".join(concept.phrases)) for concept in description.catalog.concepts]
    screen.table(("concept", "named by"), rows)


def _edit_info(folder: Path) -> None:
    from excise.edits import load_edit

    edit = load_edit(folder)
    manifest = edit.manifest
    rows = [
        ("erased", ", ".join(manifest.names)),
        ("model", f"{manifest.model} ({', '.join(f'{k} {v[:12]}' for k, v in manifest.base.items())})"),
        ("method", manifest.method),
        ("seed", str(manifest.seed)),
        *([("computed in", f"{manifest.dtype} on {manifest.device}")] if manifest.dtype else []),
        ("settings", ", ".join(f"{key}={value}" for key, value in manifest.settings.items())),
        ("size", f"{len(edit.deltas) or len(edit.tensors())} tensors, {edit.nbytes / 2**20:.2f} MiB"),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        *(
            ("put together from" if manifest.composed else "made on top of", f"{', '.join(m.names)} ({m.method})")
            for m in map(Manifest.model_validate, manifest.ledger)
        ),
        *([("hardened against", _hardened(manifest.hardened))] if manifest.hardened else []),
        *([("kept apart", ", ".join(edit.parts))] if edit.parts and not manifest.composed else []),
        *(("given back", f"{concept['kind']}:{concept['name']}") for concept in manifest.restored),
    ]
    screen.table(("edit", str(folder)), rows)
    try:
        result = manifest.result(folder / MANIFEST)
    except ValueError as error:  # the edit itself is whole
        screen.say("", f"what was measured is not shown: {error}")
        return
    if result:
        screen.say("")
        screen.evidence(result)


def _hardened(record: Mapping[str, Any]) -> str:
    """What revived the concept in audits of earlier edits and was erased too."""
    return ", ".join(f"{count} by {attack}" for attack, count in record["attacks"].items())


def _model_info(where: Path | str) -> None:
    description = describe(where)
    kinds = [concept.kind for concept in description.catalog.concepts]
    counted = ", ".join(f"{kinds.count(kind)} of kind {kind}" for kind in dict.fromkeys(kinds))
    rows = [
        ("name", description.name),
        ("pipeline", _pipeline(where)),
        ("concepts", counted or "any free text"),
        *(
            [("bystanders", f"{len(description.bystanders)} more things that no method is told of")]
            if description.bystanders
            else []
        ),
        ("sampler", ", ".join(f"{key} {value}" for key, value in description.sampler.items()) or "the pipeline's own"),
        ("classifier", description.classifier.name if description.classifier else "none: erasures cannot be measured"),
        *_weights_row(where),
        *_student_rows(where),
    ]
    screen.table(("model", str(where)), rows)
    if isinstance(where, Path) and is_large(where):
        _networks(where)


def _weights_row(where: Path | str) -> list[tuple[str, str]]:
    """What a model's safetensors files hold, by their headers; nothing of one on the hub, which is not here."""
    if isinstance(where, str):
        return []
    if where.is_file():
        files = [where]
    else:
        files = [file for name, file in model_files(where).items() if "/" in name and name.endswith(".safetensors")]
    count = sum(prod(tensor.shape) for file in files for tensor in read_header(file)[0].values())
    size = sum(file.stat().st_size for file in files) / 2**20
    return [("weights", f"{count:,} numbers, {size:,.1f} MiB in {len(files)} file{'s' * (len(files) != 1)}")]


def _student_rows(where: Path | str) -> list[tuple[str, str]]:
    """What was taken out of a model, and what it learned since."""
    known = read_student(where) if isinstance(where, Path) and where.is_dir() else None
    return [("history", line) for line in student_table.lines(known)] if known else []


def _networks(where: Path) -> None:
    """How large its networks are; this loads torch, and no weight."""
    from excise.jobs.memory import gib
    from excise.models.footprint import Footprint

    try:
        parts = Footprint(where).parts
    except ValueError as error:  # the file may have sizes of its own, which only its weights tell
        screen.say(f"\nits networks' sizes are not known: {error}")
        return
    screen.say("")
    rows = [(part.name, part.kind, f"{part.parameters:,}", gib(part.bytes)) for part in parts]
    screen.table(("network", "class", "parameters", "in float32"), rows)


def _pipeline(where: Path | str) -> str:
    """What kind of model it is. Raises FileNotFoundError or ValueError if there is none."""
    if isinstance(where, str) or where.is_dir():
        return str(model_index(where).get("_class_name"))
    return f"{contents(where).name}, {contents(where).parts}"


LIST = Command("list", ListRequest, list_, LIST_EXAMPLES, looks=True)
INFO = Command("info", InfoRequest, info, INFO_EXAMPLES, looks=True)
