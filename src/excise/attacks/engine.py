"""The engine of an audit: it attacks the erased model and its controls, one after the other in the same network, and compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from torch import Tensor

from excise.attacks import Chosen
from excise.attacks.assault import Attacked, assault
from excise.attacks.audited_model import AuditedModel, PlainPictures, Who
from excise.attacks.verdict import compare, compare_plain
from excise.attacks.worded_kinds import with_kinds
from excise.concepts import Concept
from excise.digests import digest_tensors, digest_text, digest_values
from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.evaluation.classifier import Classifier
from excise.evaluation.detector import ClassifierDetector
from excise.files import Shelf, cache_folder
from excise.models import Model
from excise.models.fingerprint import arithmetic, surroundings
from excise.progress import Progress, silent
from excise.results.audit_result import AuditedEdit, AuditSetup, Compared, Effort, Outcome, Plain
from excise.versions import versions


@dataclass(frozen=True)
class AttackedModels:
    """An attack on the erased model and on its controls: what it found on each, by the model's name, and how they compare."""

    attacked: Mapping[Who, Attacked]
    compared: Compared


class Impossible(ValueError):
    """An attack cannot be made on these models, or not with this budget; says why."""


@dataclass
class Engine:
    """A loaded audit. Once it has looked, it knows what each model shows without attack.

    model     the base, without edits
    concept   what was erased
    edits     what makes the base the erased model
    gold      what makes the base one that never saw the concept; None: there is no such control
    reference whether the loaded model is the base; if not, it is the erased model itself, and nothing is compared with the base
    prompts   how many are attacked, with seeds counted up from `seed`
    plain     what each model shows without attack, by its name
    shown     (prompts, c, h, w) latents of the base model's pictures of the prompts with the concept's words, same seeds
    """

    model: Model
    concept: Concept
    edits: Sequence[Edit]
    gold: Edit | None = None
    reference: bool = True
    prompts: int = 24
    seed: int = 0
    progress: Progress = silent
    plain: dict[Who, PlainPictures] = field(default_factory=dict)
    shown: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.model.classifier is not None
        self.detector = ClassifierDetector(Classifier.load(self.model.classifier), self.concept)
        self.audited = [AuditedModel("erased", tuple(self.edits))]
        if self.reference:
            self.audited.append(AuditedModel("neutral", neutral=True))
        if self.gold is not None:
            self.audited.append(AuditedModel("gold", (self.gold,)))

    @cached_property
    def about(self) -> AuditSetup:
        """Everything that the results depend on, beside the attacks."""
        return AuditSetup(
            model=self.model.name,
            base=base_fingerprint(self.model).get(str(self.model.dtype).removeprefix("torch.")),
            edits=tuple(_identity(edit) for edit in self.edits),
            gold=None if self.gold is None else _identity(self.gold),
            concept=self.concept.label,
            phrases=tuple(self.concept.phrases),
            catalog=digest_values(asdict(self.model.catalog)),
            wordings=digest_values([self.concept.templates, self.concept.contexts]),
            prompts=self.prompts,
            seed=self.seed,
            sampler=asdict(self.model.sampler),
            surroundings=surroundings(self.model),
            precision=self.model.precision,
            detector=self.detector.identity,
            version=versions()["excise"],
        )

    def look(self) -> None:
        """Find out what every model shows without attack."""
        for number, audited in enumerate(self.audited):
            self.progress("plain prompts", number, len(self.audited))
            found = PlainPictures.of(self.model, audited, self.concept, self.detector, self.prompts, self.seed)
            self.plain[audited.name] = found
        self.progress("plain prompts", len(self.audited), len(self.audited))
        if self.reference:
            cases, run = self.plain["erased"].cases, Run(self.seed, progress=self.progress)
            prompts, seeds = [case.wanted for case in cases], [case.seed for case in cases]
            self.shown = generated_latents(self.model, prompts, seeds, run=run, stage="base model")

    def compare_plain(self) -> Plain:
        """What the models show without attack."""
        controls = {name: found.success for name, found in self.plain.items() if name != "erased"}
        return compare_plain(self.plain["erased"].success, controls)

    def attack(self, chosen: Chosen) -> AttackedModels:
        """Attack every model and compare. Raises Impossible."""
        if chosen.attack.needs_base and self.shown is None:
            raise Impossible("it needs the model from before the erasure; give it with --base")
        try:
            attacked = {audited.name: self._attacked(chosen, audited) for audited in self.audited}
        except ValueError as error:
            raise Impossible(str(error)) from error
        erased = attacked["erased"].outcome
        controls = {name: found.outcome for name, found in attacked.items() if name != "erased"}
        if erased.untried and erased.untried == erased.rate.n - erased.pre:
            raise Impossible(_too_small(chosen.budget, erased.iterations))
        return AttackedModels(attacked, with_kinds(compare(erased, controls, supplies=chosen.attack.supplies)))

    def _attacked(self, chosen: Chosen, audited: AuditedModel) -> Attacked:
        """The attack on one model. A control is the same for all edits of a base: it is attacked once, and the result kept."""
        if audited.name == "erased":
            return self._assault(chosen, audited)
        shelf, name = Shelf(cache_folder(), "attacks"), self._name(chosen, audited.name)
        if kept := shelf.get(name):
            return Attacked(Outcome.model_validate(kept.about), kept.tensors)
        found = self._assault(chosen, audited)
        shelf.put(name, found.tensors, found.outcome.model_dump(mode="json"))
        return found

    def _assault(self, chosen: Chosen, audited: AuditedModel) -> Attacked:
        return assault(
            chosen, self.model, audited, self.concept, self.plain[audited.name], self.detector,
            shown=self.shown, seed=self.seed, progress=self.progress,
        )  # fmt: skip

    def _name(self, chosen: Chosen, control: str) -> str:
        """By which the cache knows this attack on a control."""
        about = self.about.model_dump(mode="json", exclude={"edits"} if control == "gold" else {"edits", "gold"})
        how = [chosen.attack.name, chosen.settings.model_dump(), chosen.budget, arithmetic(self.model)]
        return digest_text(json.dumps([control, about, how], default=str))[:32]


def _too_small(budget: int, iterations: Effort | None) -> str:
    least = " to try one prompt"
    if iterations is not None:
        every = f"{iterations.whole_budget} for all {iterations.asked} iterations"
        least = f": it needs at least {iterations.least_budget}, and {every}"
    return f"a budget of {budget} U-Net calls is too small{least}"


def _identity(edit: Edit) -> AuditedEdit:
    """What tells an edit from others: its file's hash if it was read, or that of its tensors if it was imported."""
    manifest = edit.manifest
    weights = manifest.weights_sha256 or digest_tensors(edit.tensors())
    return AuditedEdit(method=manifest.method, erases=tuple(manifest.names), sha256=weights)
