"""Every attack on an erased model and on its controls; one file each, so a rerun does only what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.attacks import Chosen, choose
from excise.concepts import Catalog, Concept
from excise.erasure.run import Run
from excise.files import cache_folder, check_ours, fitting, read_json, read_tensors, write_json, write_tensors
from excise.jobs.inputs import check_seed, erased_concepts, read_edits
from excise.models.context import check_read, tell_cut
from excise.models.names import check_never_saw, describe, resolve
from excise.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from excise.attacks.engine import Attacked, AuditedModel, PlainPictures
    from excise.edits import Edit
    from excise.evaluation.detector import ClassifierDetector
    from excise.models import Model

MARKER = "audit.json"
REVISION = 3
"""Of what attacks do: what was made by other ones is neither gone on with nor taken from the cache."""

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
    job = _Job.of(model, base, gold, edits, target, prompts, seed, device, dtype, progress)
    if not overwrite:
        _check_same(folder, job.about)
    job.look()
    if overwrite:
        shutil.rmtree(folder / "attacks", ignore_errors=True)
    write_json(folder / MARKER, job.summary(folder))
    for one in chosen:
        path = folder / "attacks" / f"{_slug(one.text)}.json"
        if not _done(path, one):
            try:
                job.attack(one, path)
            except KeyboardInterrupt as stop:
                again = "the same command without overwrite" if overwrite else "the same command"
                stop.add_note(f"finished attacks are kept: {again} goes on after them")
                raise
            write_json(folder / MARKER, job.summary(folder))
    return AuditResult(job.summary(folder), folder)


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


@dataclass
class _Job:
    """A loaded audit: the network, who is attacked in it, and, once it has looked, what each shows without attack.

    reference whether there is a base model to compare with, whose pictures are then `shown`
    """

    model: Model
    concept: Concept
    subjects: list[AuditedModel]
    detector: ClassifierDetector
    reference: bool
    about: dict[str, Any]
    seed: int
    progress: Progress
    plain: dict[str, PlainPictures] = field(default_factory=dict)
    shown: Tensor | None = None

    @classmethod
    def of(
        cls, model: str | Path, base: str | Path | None, gold: str | Path | None, edits: list[Edit], concept: Concept,
        prompts: int, seed: int, device: str | None, dtype: str, progress: Progress,
    ) -> _Job:  # fmt: skip
        from excise.attacks.engine import AuditedModel
        from excise.attacks.victim import make_cases
        from excise.digests import digest_values
        from excise.edits.applied import base_fingerprint
        from excise.edits.importing import import_edit
        from excise.evaluation.classifier import Classifier
        from excise.evaluation.detector import ClassifierDetector
        from excise.jobs.measure import _load
        from excise.models import load
        from excise.models.fingerprint import surroundings

        reference = bool(edits) or base is not None
        loaded, edits = _load(model, base, edits, device, dtype, progress)
        assert loaded.classifier is not None
        check_read(loaded, [concept])
        tell_cut(loaded, [text for case in make_cases(concept, prompts, seed) for text in (case.wanted, case.masked)])
        detector = ClassifierDetector(Classifier.load(loaded.classifier), concept)
        subjects = [AuditedModel("erased", tuple(edits))] + [AuditedModel("neutral", neutral=True)] * reference
        if gold is not None:
            subjects.append(AuditedModel("gold", (import_edit(loaded, load(gold, device=device, dtype=dtype)),)))
        about = {
            "model": loaded.name,
            "base": base_fingerprint(loaded).get(str(loaded.dtype).removeprefix("torch.")),
            "edits": [_identity(edit) for edit in edits],
            "gold": [_identity(edit) for edit in subjects[-1].edits] if gold is not None else None,
            "concept": concept.label,
            "phrases": list(concept.phrases),
            "catalog": digest_values(asdict(loaded.catalog)),
            "wordings": digest_values([concept.templates, concept.contexts]),
            "prompts": prompts,
            "seed": seed,
            "sampler": asdict(loaded.sampler),
            **surroundings(loaded),
            "precision": loaded.precision,
            "revision": REVISION,
            "detector": detector.identity,
        }
        return cls(loaded, concept, subjects, detector, reference, about, seed, progress)

    def look(self) -> None:
        """What everybody shows without attack."""
        from excise.attacks.engine import PlainPictures
        from excise.erasure.training_pictures import generated_latents

        for number, subject in enumerate(self.subjects):
            self.progress("plain prompts", number, len(self.subjects))
            count = self.about["prompts"]
            self.plain[subject.name] = PlainPictures.of(self.model, subject, self.concept, self.detector, count, self.seed)
        self.progress("plain prompts", len(self.subjects), len(self.subjects))
        if self.reference:
            cases, run = self.plain["erased"].cases, Run(self.seed, progress=self.progress)
            prompts, seeds = [case.wanted for case in cases], [case.seed for case in cases]
            self.shown = generated_latents(self.model, prompts, seeds, run=run, stage="base model")

    def attack(self, chosen: Chosen, path: Path) -> None:
        """Attack every model and write the files, in place of earlier ones; the one that says it is done comes last."""
        from excise.attacks.verdict import difference, verdict

        attack = chosen.attack
        told: dict[str, Any] = {
            "text": chosen.text, "attack": attack.name, "title": attack.title, "paper": attack.paper, "means": attack.means,
            "supplies": attack.supplies,
            "settings": json.loads(chosen.settings.model_dump_json()), "budget": chosen.budget, "seed": self.seed,
        }  # fmt: skip
        attacked = self._attacked(chosen)
        for ending in (".json", ".png", ".safetensors"):
            path.with_suffix(ending).unlink(missing_ok=True)
        if isinstance(attacked, str):
            write_json(path, {**told, "note": attacked})
            return
        results = {name: found.result for name, found in attacked.items()}
        erased, controls = results["erased"], {name: result for name, result in results.items() if name != "erased"}
        told["verdict"] = verdict(erased, controls, supplies=attack.supplies)
        told["above"] = {name: difference(erased, control) for name, control in controls.items()}
        tensors = {f"{name}.{key}": tensor for name, found in attacked.items() for key, tensor in found.tensors.items()}
        write_tensors(path.with_suffix(".safetensors"), tensors, {"attack": chosen.text})
        self._draw(attacked["erased"], path.with_suffix(".png"))
        write_json(path, {**told, "models": results})

    def _attacked(self, chosen: Chosen) -> dict[str, Attacked] | str:
        """What came of the attack on every model, or why it could not be made."""
        if chosen.attack.needs_base and self.shown is None:
            return "it needs the model from before the erasure; give it with --base"
        try:
            attacked = {subject.name: self._on(chosen, subject) for subject in self.subjects}
        except ValueError as error:
            return str(error)
        erased = attacked["erased"].result
        if erased["untried"] and erased["untried"] == erased["n"] - erased["pre"]:
            return _too_small(chosen.budget, erased["facts"])
        return attacked

    def _on(self, chosen: Chosen, subject: AuditedModel) -> Attacked:
        """The attack on one model; on a control, which is the same for all edits of a base, it is made once and kept."""
        from excise.attacks.engine import Attacked, assault

        cached = None if subject.name == "erased" else self._cache(chosen, subject.name)
        if cached is not None:
            with suppress(FileNotFoundError, ValueError):  # what is not there whole is made again
                tensors, _ = read_tensors(cached.with_suffix(".safetensors"))
                return Attacked(read_json(cached.with_suffix(".json")), tensors)
        found = assault(
            chosen, self.model, subject, self.concept, self.plain[subject.name], self.detector,
            shown=self.shown, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        if cached is not None:
            write_tensors(cached.with_suffix(".safetensors"), found.tensors)
            write_json(cached.with_suffix(".json"), found.result)
        return found

    def _cache(self, chosen: Chosen, control: str) -> Path:
        from excise.models.fingerprint import arithmetic

        others = {"edits"} if control == "gold" else {"edits", "gold"}
        about = {key: value for key, value in self.about.items() if key not in others}
        how = [chosen.attack.name, chosen.settings.model_dump(), chosen.budget, arithmetic(self.model)]
        key = json.dumps([control, about, how], default=str)
        return cache_folder() / "attacks" / sha256(key.encode()).hexdigest()[:32]

    def _draw(self, erased: Attacked, path: Path) -> None:
        """A sheet of the best attacked pictures, beside what the base model, the erased one and the gold standard show at the same seeds."""
        from excise.attacks.engine import best_rows
        from excise.files import replacing
        from excise.images import to_image
        from excise.report import before_after

        rows = best_rows(erased, SHOWN)
        if not rows:
            return
        latents = {name: plain.latents[rows] for name, plain in self.plain.items() if name != "neutral"}
        sheet: dict[str, Any] = {} if self.shown is None else {"base": self._decoded(self.shown[rows])}
        sheet["erased"] = self._decoded(latents["erased"])
        sheet["attacked"] = self._decoded(erased.tensors["best"][rows])
        if "gold" in latents:
            sheet["gold"] = self._decoded(latents["gold"])
        labels = [
            f"{'' if erased.result['cases'][row]['success'] else 'not '}broken, {erased.result['cases'][row]['seed']}"
            for row in rows
        ]
        drawn = before_after.draw(labels, {name: [to_image(one) for one in found] for name, found in sheet.items()})
        with replacing(path) as temporary:
            drawn.save(temporary, format="PNG")

    def _decoded(self, latents: Any) -> Any:
        return self.model.decode(latents.to(self.model.device, self.model.dtype))

    def summary(self, folder: Path) -> dict[str, Any]:
        """What `audit.json` holds: everything but the single prompts, which are in the attacks' own files."""
        from excise.attacks import attacks
        from excise.attacks.verdict import share, shown_more, standard
        from excise.report.audit_table import LIMITS

        order = list(attacks())
        files = [read_json(path) for path in sorted((folder / "attacks").glob("*.json"))]
        files.sort(key=lambda found: (order.index(found["attack"]), found["text"]))
        for found in files:
            for result in found.get("models", {}).values():
                result.pop("cases")
        plain = {name: share(sum(plain.hits), 0, len(plain.hits)) for name, plain in self.plain.items()}
        controls = {name: found for name, found in plain.items() if name != "erased"}
        shown = "no control"
        if controls:
            shown = "not erased" if shown_more(plain["erased"], standard(controls, supplies=False)) else "erased"
        return {
            "concept": self.concept.label,
            "n": self.about["prompts"],
            "about": self.about,
            "plain": plain,
            "plain_verdict": shown,
            "attacks": files,
            "limits": list(LIMITS),
        }


def _too_small(budget: int, facts: dict[str, Any]) -> str:
    least = " to try one prompt"
    if "least budget" in facts:
        every = f"{facts['whole budget']} for all {facts['iterations asked']} iterations"
        least = f": it needs at least {facts['least budget']}, and {every}"
    return f"a budget of {budget} U-Net calls is too small{least}"


def _identity(edit: Edit) -> dict[str, Any]:
    """What tells an edit from others: of one that was read its file's hash, of an imported one that of its tensors."""
    from excise.digests import digest_tensors

    manifest = edit.manifest
    return {
        "method": manifest.method,
        "erases": manifest.names,
        "sha256": manifest.weights_sha256 or digest_tensors(edit.tensors()),
    }
