"""The engine of an audit: it attacks the erased model and its controls, one after the other in the same network, and compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from excise.attacks import Chosen
from excise.attacks.assault import Attacked, assault
from excise.attacks.audited_model import AuditedModel, PlainPictures
from excise.attacks.verdict import Verdict, difference, share, shown_more, standard, verdict
from excise.concepts import Concept
from excise.digests import digest_tensors, digest_text, digest_values
from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.evaluation.classifier import Classifier
from excise.evaluation.detector import ClassifierDetector
from excise.files import cache_folder, read_json, read_tensors, write_json, write_tensors
from excise.models import Model
from excise.models.fingerprint import arithmetic, surroundings
from excise.progress import Progress, silent

REVISION = 3
"""Of what attacks do: what was made by other ones is neither gone on with nor taken from the cache."""


@dataclass(frozen=True)
class Comparison:
    """An attack on the erased model and on its controls.

    attacked what came of it, by the name of the model
    above    for each control the difference of the erased model's success to its own, with a 95 % interval: (value, low, high)
    """

    attacked: Mapping[str, Attacked]
    verdict: Verdict
    above: Mapping[str, tuple[float, float, float]]


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
    plain: dict[str, PlainPictures] = field(default_factory=dict)
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
    def about(self) -> dict[str, Any]:
        """Everything that the results depend on, beside the attacks."""
        return {
            "model": self.model.name,
            "base": base_fingerprint(self.model).get(str(self.model.dtype).removeprefix("torch.")),
            "edits": [_identity(edit) for edit in self.edits],
            "gold": None if self.gold is None else [_identity(self.gold)],
            "concept": self.concept.label,
            "phrases": list(self.concept.phrases),
            "catalog": digest_values(asdict(self.model.catalog)),
            "wordings": digest_values([self.concept.templates, self.concept.contexts]),
            "prompts": self.prompts,
            "seed": self.seed,
            "sampler": asdict(self.model.sampler),
            **surroundings(self.model),
            "precision": self.model.precision,
            "revision": REVISION,
            "detector": self.detector.identity,
        }

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

    def shares(self) -> dict[str, dict[str, Any]]:
        """How often each model shows the concept without attack."""
        return {name: share(sum(plain.hits), 0, len(plain.hits)) for name, plain in self.plain.items()}

    def plain_verdict(self) -> str:
        """Whether the concept is gone where nobody attacks: "erased", "not erased", or "no control"."""
        plain = self.shares()
        erased, controls = plain.pop("erased"), plain
        if not controls:
            return "no control"
        return "not erased" if shown_more(erased, standard(controls, supplies=False)) else "erased"

    def attack(self, chosen: Chosen) -> Comparison:
        """Attack every model and compare. Raises Impossible."""
        if chosen.attack.needs_base and self.shown is None:
            raise Impossible("it needs the model from before the erasure; give it with --base")
        try:
            attacked = {audited.name: self._attacked(chosen, audited) for audited in self.audited}
        except ValueError as error:
            raise Impossible(str(error)) from error
        results = {name: found.result for name, found in attacked.items()}
        erased = results.pop("erased")
        if erased["untried"] and erased["untried"] == erased["n"] - erased["pre"]:
            raise Impossible(_too_small(chosen.budget, erased["facts"]))
        above = {name: difference(erased, control) for name, control in results.items()}
        return Comparison(attacked, verdict(erased, results, supplies=chosen.attack.supplies), above)

    def _attacked(self, chosen: Chosen, audited: AuditedModel) -> Attacked:
        """The attack on one model. A control is the same for all edits of a base: it is attacked once, and the result kept."""
        if audited.name == "erased":
            return self._assault(chosen, audited)
        kept = self._kept(chosen, audited.name)
        with suppress(FileNotFoundError, ValueError):  # what is not there whole is made again
            tensors, _ = read_tensors(kept.with_suffix(".safetensors"))
            return Attacked(read_json(kept.with_suffix(".json")), tensors)
        found = self._assault(chosen, audited)
        write_tensors(kept.with_suffix(".safetensors"), found.tensors)
        write_json(kept.with_suffix(".json"), found.result)
        return found

    def _assault(self, chosen: Chosen, audited: AuditedModel) -> Attacked:
        return assault(
            chosen, self.model, audited, self.concept, self.plain[audited.name], self.detector,
            shown=self.shown, seed=self.seed, progress=self.progress,
        )  # fmt: skip

    def _kept(self, chosen: Chosen, control: str) -> Path:
        """Where the cache folder keeps this attack on a control, but for the suffix."""
        others = {"edits"} if control == "gold" else {"edits", "gold"}
        about = {key: value for key, value in self.about.items() if key not in others}
        how = [chosen.attack.name, chosen.settings.model_dump(), chosen.budget, arithmetic(self.model)]
        key = json.dumps([control, about, how], default=str)
        return cache_folder() / "attacks" / digest_text(key)[:32]


def _too_small(budget: int, facts: Mapping[str, Any]) -> str:
    least = " to try one prompt"
    if "least budget" in facts:
        every = f"{facts['whole budget']} for all {facts['iterations asked']} iterations"
        least = f": it needs at least {facts['least budget']}, and {every}"
    return f"a budget of {budget} U-Net calls is too small{least}"


def _identity(edit: Edit) -> dict[str, Any]:
    """What tells an edit from others: its file's hash if it was read, or that of its tensors if it was imported."""
    manifest = edit.manifest
    return {
        "method": manifest.method,
        "erases": manifest.names,
        "sha256": manifest.weights_sha256 or digest_tensors(edit.tensors()),
    }
