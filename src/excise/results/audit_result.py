"""What `excise audit` says: every attack on an erased model, beside the same attack on its controls."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from excise.figures import Figure, ResultRecord
from excise.results.result_file import Facts, ResultFile

Control = Literal["neutral", "gold"]
"""The base model, asked without the concept's words; a model that never saw the concept."""

Verdict = Literal["revived", "not revived", "adds nothing", "cannot tell", "no control"]
PlainVerdict = Literal["erased", "not erased", "no control"]

WordingKind = Literal["another language", "emoji", "misspelt", "inflected", "in a sentence", "described", "own", "negated"]
Reading = Literal["read", "not read", "as a phrase"]
"""Whether a model's tokenizer has words for a wording; and whether they are those of one of the concept's own phrases."""


class Success(ResultRecord):
    """How often a model shows the concept.

    pre    prompts that show it without any attack
    broken prompts that show it under the attack alone
    rate   (pre + broken) / prompts with Wilson's interval; its n counts the prompts
    """

    pre: int
    broken: int = 0
    rate: Figure

    @classmethod
    def of(cls, pre: int, broken: int, n: int) -> Success:
        """Of n prompts, at least 1."""
        rate = Figure.share(pre + broken, n)
        assert rate is not None
        return cls(pre=pre, broken=broken, rate=rate)

    @property
    def shown(self) -> int:
        """Prompts that show it, with or without the attack."""
        return self.pre + self.broken

    @property
    def at_most(self) -> Success:
        """The same, with prompts that were not tried taken for broken."""
        return self


class Plain(ResultRecord):
    """What the models show without any attack, and whether the concept is gone there."""

    erased: Success
    controls: dict[Control, Success]
    verdict: PlainVerdict


class Effort(ResultRecord):
    """How much of what was asked for the budget paid for: tries of every prompt, or training steps.

    least_budget, whole_budget  U-Net calls that one step takes, and all of them
    """

    paid: int
    asked: int
    least_budget: int | None = None
    whole_budget: int | None = None


class Round(ResultRecord):
    """Prompts that were tried in one way: how many showed the concept, of how many. `how` says what was set."""

    how: Facts
    shown: int
    tried: int


class Finding(ResultRecord):
    """How the best picture of a prompt came about.

    prompt what the model was asked, if words made the picture
    masked the prompt that this one should be taken for: the attacked one without the concept's words, or "" if nothing of that was kept
    how    what else was set
    """

    prompt: str | None = None
    masked: str | None = None
    how: Facts


class CaseOutcome(ResultRecord):
    """What became of one prompt.

    pre, success whether it shows the concept without attack, and in the end
    attempts     pictures that were judged
    calls        U-Net calls that the attack had spent, on all prompts, when the concept first appeared
    probability  that the detector gives the concept in the best picture, 0–1
    found        how that picture came about
    """

    prompt: str
    seed: int
    pre: bool
    success: bool
    attempts: int = 0
    calls: int | None = None
    probability: float | None = None
    found: Finding | None = None


class AskedWording(ResultRecord):
    """A wording of the concept that no phrase of the catalog is.

    name    of the wording among those of its kind, such as the language
    phrase  what stood for the concept
    reading whether the tokenizer has words for it, or reads it as one of the concept's phrases
    prompt  the first that was asked, if any was
    n       pictures that were asked for
    shown   those that show the concept
    base    how many of the base model's show it: same prompts, same seeds; None where the model was asked without the concept's words
    """

    kind: WordingKind
    name: str
    phrase: str
    reading: Reading
    prompt: str | None = None
    n: int = 0
    shown: int = 0
    base: int | None = None


class Outcome(Success):
    """What came of an attack on one model.

    untried   prompts that count as not broken because the budget ended before
    calls     U-Net calls on all prompts: forwards + 2 backwards; encodes: prompts that passed the text encoder
    tries, iterations  what the budget paid for, of an attack that counts in these
    facts     what else the attack says
    worded    of the attack by other wordings, each of them
    weights   hash of the attacked model's
    cases     prompt by prompt; only in the attack's own file
    """

    untried: int
    calls: int
    forwards: int
    backwards: int
    encodes: int
    seconds: float
    tries: Effort | None = None
    iterations: Effort | None = None
    rounds: tuple[Round, ...] = ()
    facts: Facts = Field(default_factory=dict)
    worded: tuple[AskedWording, ...] | None = None
    weights: str
    cases: tuple[CaseOutcome, ...] = ()

    @property
    def at_most(self) -> Success:
        """The same, with prompts that were not tried taken for broken."""
        return Success.of(self.pre, self.broken + self.untried, self.rate.n)


class WordedKind(ResultRecord):
    """Wordings of one kind: the share of pictures that show the concept in each model, for the same prompts and seeds.

    wordings  how many there are
    not_read  how many of them the tokenizer has no words for
    as_phrase how many of them it reads as one of the concept's phrases
    base      the base model with these words, the positive control: it shows what there was to bring back
    erased    the erased model
    controls  the base model with the words taken out; the model that never saw the concept
    verdict   of this kind alone; None for wordings that say no, and where none was asked
    """

    kind: WordingKind
    wordings: int
    not_read: int
    as_phrase: int
    base: Figure | None = None
    erased: Figure | None = None
    controls: dict[Control, Figure] = Field(default_factory=dict)
    verdict: Verdict | None = None


class Compared(ResultRecord):
    """The erased model beside its controls, under one attack.

    above  for each control how much more often the erased model shows the concept, with Newcombe's interval
    worded of the attack by other wordings, kind by kind
    """

    verdict: Verdict
    above: dict[Control, Figure]
    erased: Outcome
    controls: dict[Control, Outcome]
    worded: tuple[WordedKind, ...] | None = None


class AttackResult(ResultFile):
    """An attack, and what came of it.

    text     as it was asked for: "p4d:preset=published"
    means    what the attacker works with; supplies: whether the attack brings the concept along
    budget   U-Net calls on each model
    compared None where the attack could not be made; `note` says why
    error    why it failed, and the traceback; None where it did not
    """

    WHAT: ClassVar[str] = "an attack's file of excise audit"

    kind: Literal["attack"] = "attack"
    text: str
    attack: str
    title: str
    paper: str
    means: str
    supplies: bool
    settings: Facts
    budget: int
    seed: int
    compared: Compared | None = None
    note: str = ""
    error: str | None = None
    traceback: str | None = None

    def without_cases(self) -> AttackResult:
        """The same without the single prompts."""
        if self.compared is None:
            return self
        found = self.compared
        controls = {name: control.model_copy(update={"cases": ()}) for name, control in found.controls.items()}
        erased = found.erased.model_copy(update={"cases": ()})
        return self.model_copy(update={"compared": found.model_copy(update={"erased": erased, "controls": controls})})


class AuditedEdit(ResultRecord):
    """An edit that was audited: its method, what it erases, the hash of its file or of its tensors."""

    method: str
    erases: tuple[str, ...]
    sha256: str


class AuditSetup(ResultRecord):
    """Everything that an audit's results depend on, beside the attacks.

    base         fingerprint of the base model, in the precision of the audit
    edits, gold  what makes the base the erased model, and the one that never saw the concept
    catalog, wordings  digests of the model's concepts, and of how prompts are written
    prompts      how many are attacked, with seeds counted up from `seed`
    surroundings digests of what else decides the pictures, such as the scheduler
    detector     identity of what says whether a picture shows the concept
    version      of excise, whose attacks may differ from those of another version
    """

    model: str
    base: str | None = None
    edits: tuple[AuditedEdit, ...]
    gold: AuditedEdit | None = None
    concept: str
    phrases: tuple[str, ...]
    catalog: str | None = None
    wordings: str | None = None
    prompts: int
    seed: int
    sampler: Facts
    surroundings: dict[str, str] = Field(default_factory=dict)
    precision: str | None = None
    detector: str
    version: str | None = None

    def differences(self, before: AuditSetup) -> list[str]:
        """What is not as before, in words."""
        then, now = before._parts(), self._parts()
        return [f"{name} was {then.get(name)!r}, now {value!r}" for name, value in now.items() if then.get(name) != value]

    def _parts(self) -> dict[str, object]:
        found = self.model_dump(mode="json")
        return found | found.pop("surroundings")


class AuditFile(ResultFile):
    """What `audit.json` holds.

    about   what was audited, and how
    plain   what the models show without any attack
    limits  what an audit cannot show
    written the other files of the audit, by their names in its folder; None where an earlier version wrote it
    """

    WHAT: ClassVar[str] = "the audit.json of excise audit"

    kind: Literal["audit"] = "audit"
    about: AuditSetup
    plain: Plain
    attacks: tuple[AttackResult, ...]
    limits: tuple[str, ...]
    written: tuple[str, ...] | None = None
