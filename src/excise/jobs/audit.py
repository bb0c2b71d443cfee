"""Attacks on an erased model and on its controls. Each has a file of its own, so a rerun makes only those that are missing."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from excise.attacks import Chosen
from excise.attacks import attacks as known_attacks
from excise.attacks.assault import Attacked, SpoiledModel
from excise.attacks.cases import make_cases
from excise.attacks.engine import Engine, Impossible
from excise.edits import import_edit
from excise.files import delete_files, replacing, write_tensors
from excise.images import to_image
from excise.jobs.crashes import crash_line, crash_of, crash_told
from excise.jobs.inputs import load_edited, read_edits
from excise.models import Model, load
from excise.models.context import check_read, read_in_chunks, tell_cut
from excise.progress import Progress, silent
from excise.report import before_after
from excise.report.audit_table import LIMITS
from excise.requests.audit import ENDINGS, AuditRequest, file_name
from excise.requests.audits import AUDIT
from excise.requests.request import function
from excise.results.audit_result import AttackResult, AuditFile, AuditSetup, Compared

SHOWN = 6
"""Pictures per row of a sheet."""


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, and the folder that it was written to."""

    found: AuditFile
    out: Path


def run(request: AuditRequest, progress: Progress = silent) -> AuditResult:
    """Carry out a request that was checked. What is in the folder already is gone on with."""
    engine, folder, written = _engine(request, progress), request.folder, request.written
    if not request.overwrite:
        _check_same(folder, engine.about)
    engine.look()
    if request.overwrite:
        delete_files(folder / "attacks", (name.removeprefix("attacks/") for name in written))
        written = tuple(request.files)
    return AuditResult(_attack_all(engine, request, written), folder)


audit = function(AuditRequest, run)


def _engine(request: AuditRequest, progress: Progress) -> Engine:
    """Load the models. Warns of prompts that the text encoder cuts. Raises ValueError for a concept that it does not read whole."""
    edits, concept, prompts, seed = read_edits(request.edit), request.target, request.prompts, request.seed
    reference = bool(edits) or request.base is not None
    loaded, edits = load_edited(request, edits, progress, request.base)
    check_read(loaded, [concept])
    texts = [text for case in make_cases(concept, prompts, seed) for text in (case.wanted, case.masked)]
    tell_cut(loaded, texts)
    _check_one_context(request, loaded, texts)
    never_saw = None
    if request.gold is not None:
        gold = load(request.gold, device=request.device, dtype=request.dtype, offload=request.offload)
        never_saw = import_edit(loaded, gold)
    return Engine(loaded, concept, edits, never_saw, reference, prompts, seed, progress)


def _check_one_context(request: AuditRequest, model: Model, prompts: Sequence[str]) -> None:
    """Raise ValueError for an attack that searches the tokens of one context where prompts have several."""
    searching = [one.text for one in request.chosen if "token embeddings" in one.attack.needs]
    if searching and (read_in_chunks(model, [request.target]) or any(len(parts) > 1 for parts in model.segments(prompts))):
        raise ValueError(
            f"{', '.join(searching)} search the tokens of one context, and prompts of {request.target.label} are longer; leave "
            "long_prompts at cut, or name other attacks"
        )


def _attack_all(engine: Engine, request: AuditRequest, written: Sequence[str]) -> AuditFile:
    """Make the attacks that are missing, write their files, and after each the summary, which is returned."""
    folder = request.folder
    summary = _summary(engine, folder, written)
    summary.write(folder / AUDIT.marker)
    for one in request.chosen:
        path = folder / "attacks" / f"{file_name(one.text)}.json"
        if told := crash_of(path):
            _failed(engine, one, path, crash_line(told), told)
        if not _done(path, one, request.retry):
            try:
                with crash_told(path):
                    _attack(engine, one, path)
            except KeyboardInterrupt as stop:
                again = "the same command without overwrite" if request.overwrite else "the same command"
                stop.add_note(f"finished attacks are kept: {again} goes on after them")
                raise
        summary = _summary(engine, folder, written)
        summary.write(folder / AUDIT.marker)
    return summary


def _check_same(folder: Path, about: AuditSetup) -> None:
    """Raise ValueError if the folder holds another audit's results."""
    if (folder / AUDIT.marker).is_file() and (differing := about.differences(AuditFile.read(folder / AUDIT.marker).about)):
        told = "; ".join(differing)
        raise ValueError(f"{folder} holds another audit ({told}); choose another folder, or pass overwrite to start anew")


def _done(path: Path, chosen: Chosen, retry: bool) -> bool:
    """Whether the attack's file is there, with these settings and this budget; one that failed counts unless it is to be tried again."""
    if not path.is_file():
        return False
    found = AttackResult.read(path)
    if found.error and retry:
        return False
    return found.settings == chosen.settings.model_dump(mode="json") and found.budget == chosen.budget


def _attack(engine: Engine, chosen: Chosen, path: Path) -> None:
    """Attack every model, and write the files in place of earlier ones. The attack's own file comes last: it says that the attack is done.

    What fails in an attack is its result, and the next one goes on. Raises SpoiledModel if that attack would be made on another model.
    """
    try:
        models = engine.attack(chosen)
    except Impossible as error:
        _clear(path)
        _result(engine, chosen, note=str(error)).write(path)
        return
    except SpoiledModel:
        raise
    except (ArithmeticError, RuntimeError, MemoryError) as error:
        _failed(engine, chosen, path, f"{type(error).__name__}: {error}", traceback.format_exc())
        return
    _clear(path)
    tensors = {f"{name}.{key}": tensor for name, found in models.attacked.items() for key, tensor in found.tensors.items()}
    write_tensors(path.with_suffix(".safetensors"), tensors, {"attack": chosen.text})
    _draw(engine, models.attacked["erased"], path.with_suffix(".png"))
    _result(engine, chosen, models.compared).write(path)


def _failed(engine: Engine, chosen: Chosen, path: Path, error: str, told: str) -> None:
    """Write why an attack failed."""
    _clear(path)
    _result(engine, chosen).model_copy(update={"error": error, "traceback": told}).write(path)


def _clear(path: Path) -> None:
    """Remove an attack's files."""
    for ending in ENDINGS:
        path.with_suffix(ending).unlink(missing_ok=True)


def _result(engine: Engine, chosen: Chosen, compared: Compared | None = None, note: str = "") -> AttackResult:
    """What an attack is, how it was made, and what came of it."""
    attack = chosen.attack
    return AttackResult(
        text=chosen.text,
        attack=attack.name,
        title=attack.title,
        paper=attack.paper,
        means=attack.means,
        supplies=attack.supplies,
        settings=chosen.settings.model_dump(mode="json"),
        budget=chosen.budget,
        seed=engine.seed,
        compared=compared,
        note=note,
    )


def _draw(engine: Engine, erased: Attacked, path: Path) -> None:
    """Draw the best attacked pictures, beside those of the base model, the erased one and the gold standard at the same seeds."""
    rows = erased.best(SHOWN)
    if not rows:
        return
    cases = [erased.outcome.cases[row] for row in rows]
    labels = [f"{'' if case.success else 'not '}broken, {case.seed}" for case in cases]
    sheet = {name: [to_image(one) for one in pictures] for name, pictures in _pictures(engine, erased, rows).items()}
    with replacing(path) as temporary:
        before_after.draw(labels, sheet).save(temporary, format="PNG")


def _pictures(engine: Engine, erased: Attacked, rows: list[int]) -> dict[str, Tensor]:
    """The pictures of these cases, by what made them."""
    shown = {} if engine.shown is None else {"base": engine.shown}
    shown |= {"erased": engine.plain["erased"].latents, "attacked": erased.tensors["best"]}
    if "gold" in engine.plain:
        shown["gold"] = engine.plain["gold"].latents
    model = engine.model
    return {name: model.decode(latents[rows].to(model.device, model.dtype)) for name, latents in shown.items()}


def _summary(engine: Engine, folder: Path, written: Sequence[str]) -> AuditFile:
    """What `audit.json` holds: everything but the single prompts, which are in the attacks' own files.

    written  what the audit writes beside it; listed before it is there, so that nothing is ever there that is not listed
    """
    order = list(known_attacks())
    found = [folder / name for name in sorted(written) if name.endswith(".json")]
    files = [AttackResult.read(path) for path in found if path.is_file()]
    files.sort(key=lambda found: (order.index(found.attack), found.text))
    attacks = tuple(found.without_cases().model_copy(update={"traceback": None}) for found in files)
    return AuditFile(about=engine.about, plain=engine.compare_plain(), attacks=attacks, limits=LIMITS, written=tuple(written))
