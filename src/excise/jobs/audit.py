"""Every attack on an erased model and on its controls; one file each, so a rerun does only what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.attacks import Chosen, choose
from excise.attacks import attacks as known_attacks
from excise.concepts import Catalog, Concept
from excise.files import check_ours, fitting, read_json, write_json, write_tensors
from excise.jobs.inputs import check_seed, erased_concepts, read_edits
from excise.models.context import check_read, tell_cut
from excise.models.names import check_never_saw, describe, resolve
from excise.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from excise.attacks.assault import Attacked
    from excise.attacks.engine import Engine
    from excise.edits import Edit

MARKER = "audit.json"
SHOWN = 6
"""Pictures per row of a sheet."""


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, and the folder that it was written to."""

    found: dict[str, Any]
    out: Path

    def to_dict(self) -> dict[str, Any]:
        """What `audit.json` holds.

        plain, plain_verdict  what the models show without any attack
        attacks  of each: settings, budget, the outcome on every model ("erased", "neutral", "gold"), `above` (difference to each control with
                 its 95 % interval), verdict ("revived", "not revived", "adds nothing", "cannot tell" or "no control"); or `note`: why there
                 is none
        limits   what an audit cannot show
        """
        return self.found


def audit(
    edit: str | Path | Sequence[str | Path] = (),
    *,
    model: str | Path = "canvas",
    base: str | Path | None = None,
    gold: str | Path | None = None,
    concept: str | None = None,
    kind: str | None = None,
    attacks: str | Sequence[str] = "quick",
    budget: int | None = None,
    prompts: int = 24,
    out: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> AuditResult:
    """Try to bring an erased concept back; writes `audit.json` and a file, a picture sheet and what was found for every attack.

    edit    folders of edits, audited together
    model   what they are edits of; without edits, a model that was erased elsewhere
    base    what that one was made from; without it, attacks that need the base model are left out, and so is the neutral control
    gold    a model that never saw the concept: the second control
    concept what was erased; default what the edits say, if that is one concept
    attacks "quick", "all", or names, with settings after a colon ("p4d:preset=published")
    budget  U-Net calls of every attack on every model
    prompts how many are attacked, each with its own seed
    out     default EDIT-audit beside the (first) edit, or out/audit-CONCEPT

    The same call again goes on where it was stopped; attacks with the same settings and budget are not repeated. The controls do not
    depend on the edit: what attacks do on them is kept in the cache folder.

    Raises ValueError, FileNotFoundError or FileExistsError for bad input.
    """
    check_seed(seed)
    chosen = choose([attacks] if isinstance(attacks, str) else list(attacks), budget)
    description = describe(resolve(model if base is None else base))
    folders = [edit] if isinstance(edit, str | Path) else list(edit)
    if description.classifier is None:
        raise ValueError(f"the model {description.name!r} brings no classifier, so nothing can say whether the concept is back")
    edits = read_edits(folders)
    target = _concept(description.catalog, edits, concept, kind)
    folder = Path(out) if out is not None else _default_out(folders, target)
    check_ours(folder, MARKER)
    if gold is not None:
        check_never_saw(gold, target)
    engine = _engine(model, base, gold, edits, target, prompts, seed, device, dtype, progress)
    if not overwrite:
        _check_same(folder, engine.about)
    engine.look()
    if overwrite:
        shutil.rmtree(folder / "attacks", ignore_errors=True)
    return AuditResult(_attack_all(engine, chosen, folder, overwrite), folder)


def _engine(
    model: str | Path, base: str | Path | None, gold: str | Path | None, edits: list[Edit], concept: Concept,
    prompts: int, seed: int, device: str | None, dtype: str, progress: Progress,
) -> Engine:  # fmt: skip
    """Load the models. Raises ValueError for a concept that their text encoder does not read whole; tells prompts that are cut."""
    from excise.attacks.cases import make_cases
    from excise.attacks.engine import Engine
    from excise.edits.importing import import_edit
    from excise.jobs.measure import _load
    from excise.models import load

    reference = bool(edits) or base is not None
    loaded, edits = _load(model, base, edits, device, dtype, progress)
    check_read(loaded, [concept])
    tell_cut(loaded, [text for case in make_cases(concept, prompts, seed) for text in (case.wanted, case.masked)])
    never_saw = None if gold is None else import_edit(loaded, load(gold, device=device, dtype=dtype))
    return Engine(loaded, concept, edits, never_saw, reference, prompts, seed, progress)


def _attack_all(engine: Engine, chosen: Sequence[Chosen], folder: Path, overwrite: bool) -> dict[str, Any]:
    """Make the attacks that are missing, write their files, and after each the summary, which is returned."""
    summary = _summary(engine, folder)
    write_json(folder / MARKER, summary)
    for one in chosen:
        path = folder / "attacks" / f"{_slug(one.text)}.json"
        if not _done(path, one):
            try:
                _attack(engine, one, path)
            except KeyboardInterrupt as stop:
                again = "the same command without overwrite" if overwrite else "the same command"
                stop.add_note(f"finished attacks are kept: {again} goes on after them")
                raise
            summary = _summary(engine, folder)
            write_json(folder / MARKER, summary)
    return summary


def _concept(catalog: Catalog, edits: Sequence[Edit], text: str | None, kind: str | None) -> Concept:
    if text is not None:
        return catalog.resolve(text, kind)
    found = erased_concepts(edits, catalog)
    if len(found) != 1:
        what = f"the edits erase {', '.join(each.label for each in found)}; name one" if found else "name what was erased"
        raise ValueError(f"an audit is about one concept: {what} (concept)")
    return found[0]


def _default_out(folders: Sequence[str | Path], concept: Concept) -> Path:
    if folders:
        first = Path(folders[0]).resolve()
        return first.with_name(f"{first.name}-audit")
    return Path("out") / f"audit-{_slug(concept.name)}"


def _slug(text: str) -> str:
    return fitting(re.sub(r"[^\w=.-]+", "_", text))


def _check_same(folder: Path, about: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds another audit's results."""
    if (folder / MARKER).is_file():
        about = json.loads(json.dumps(about))
        before = read_json(folder / MARKER).get("about", {})
        differing = [key for key in about if before.get(key) != about[key]]
        if differing:
            told = "; ".join(f"{key} was {before.get(key)!r}, now {about[key]!r}" for key in differing)
            raise ValueError(f"{folder} holds another audit ({told}); choose another folder, or pass overwrite to start anew")


def _done(path: Path, chosen: Chosen) -> bool:
    if not path.is_file():
        return False
    found = read_json(path)
    return found["settings"] == json.loads(chosen.settings.model_dump_json()) and found["budget"] == chosen.budget


def _attack(engine: Engine, chosen: Chosen, path: Path) -> None:
    """Attack every model and write the files, in place of earlier ones; the one that says it is done comes last."""
    from excise.attacks.engine import Impossible

    try:
        compared = engine.attack(chosen)
    except Impossible as error:
        _clear(path)
        write_json(path, {**_told(engine, chosen), "note": str(error)})
        return
    _clear(path)
    attacked = compared.attacked
    tensors = {f"{name}.{key}": tensor for name, found in attacked.items() for key, tensor in found.tensors.items()}
    write_tensors(path.with_suffix(".safetensors"), tensors, {"attack": chosen.text})
    _draw(engine, attacked["erased"], path.with_suffix(".png"))
    results = {name: found.result for name, found in attacked.items()}
    told = {**_told(engine, chosen), "verdict": compared.verdict, "above": compared.above}
    write_json(path, {**told, "models": results})


def _clear(path: Path) -> None:
    """Remove an attack's files."""
    for ending in (".json", ".png", ".safetensors"):
        path.with_suffix(ending).unlink(missing_ok=True)


def _told(engine: Engine, chosen: Chosen) -> dict[str, Any]:
    """What an attack is, and how it was made."""
    attack = chosen.attack
    return {
        "text": chosen.text,
        "attack": attack.name,
        "title": attack.title,
        "paper": attack.paper,
        "means": attack.means,
        "supplies": attack.supplies,
        "settings": json.loads(chosen.settings.model_dump_json()),
        "budget": chosen.budget,
        "seed": engine.seed,
    }


def _draw(engine: Engine, erased: Attacked, path: Path) -> None:
    """A sheet of the best attacked pictures, beside what the base model, the erased one and the gold standard show at the same seeds."""
    from excise.files import replacing
    from excise.images import to_image
    from excise.report import before_after

    rows = erased.best(SHOWN)
    if not rows:
        return
    cases = [erased.result["cases"][row] for row in rows]
    labels = [f"{'' if case['success'] else 'not '}broken, {case['seed']}" for case in cases]
    sheet = {name: [to_image(one) for one in pictures] for name, pictures in _pictures(engine, erased, rows).items()}
    with replacing(path) as temporary:
        before_after.draw(labels, sheet).save(temporary, format="PNG")


def _pictures(engine: Engine, erased: Attacked, rows: list[int]) -> dict[str, Tensor]:
    """Of these cases, by what made them."""
    shown = {} if engine.shown is None else {"base": engine.shown}
    shown |= {"erased": engine.plain["erased"].latents, "attacked": erased.tensors["best"]}
    if "gold" in engine.plain:
        shown["gold"] = engine.plain["gold"].latents
    model = engine.model
    return {name: model.decode(latents[rows].to(model.device, model.dtype)) for name, latents in shown.items()}


def _summary(engine: Engine, folder: Path) -> dict[str, Any]:
    """What `audit.json` holds: everything but the single prompts, which are in the attacks' own files."""
    from excise.report.audit_table import LIMITS

    order = list(known_attacks())
    files = [read_json(path) for path in sorted((folder / "attacks").glob("*.json"))]
    files.sort(key=lambda found: (order.index(found["attack"]), found["text"]))
    for found in files:
        for result in found.get("models", {}).values():
            result.pop("cases")
    return {
        "concept": engine.concept.label,
        "n": engine.prompts,
        "about": engine.about,
        "plain": engine.shares(),
        "plain_verdict": engine.plain_verdict(),
        "attacks": files,
        "limits": list(LIMITS),
    }
