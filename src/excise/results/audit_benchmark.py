"""What benchmarks/audits.py writes: methods under the same attacks, pooled over concepts."""

from __future__ import annotations

from typing import ClassVar, Literal

from excise.figures import Figure, ResultRecord
from excise.results.audit_result import Control, Success
from excise.results.result_file import ResultFile


class VerdictCount(ResultRecord):
    """For how many concepts a verdict was given; "not measured" where the attack could not be made."""

    verdict: str
    count: int


class PooledAttack(ResultRecord):
    """One attack on one method's erasures, pooled over concepts.

    concepts how many are pooled; for the others `notes` says why there is nothing
    above    how much more often the erased models show the concept than the controls that the verdicts are about
    budget   U-Net calls on each model; seconds: mean of the attack on an erased model
    """

    method: str
    attack: str
    concepts: int
    erased: Success | None = None
    controls: dict[Control, Success]
    above: Figure | None = None
    verdicts: tuple[VerdictCount, ...]
    notes: tuple[str, ...] = ()
    budget: int | None = None
    seconds: float | None = None


class AuditedErasure(ResultRecord):
    """Whether a method's erasure of a concept was audited, or what went wrong."""

    method: str
    concept: str
    audited: bool
    error: str | None = None


class BenchmarkSetup(ResultRecord):
    """What all audits have in common.

    weights hashes of the base ("base") and of the gold standards, by concept
    version of excise
    """

    model: str
    dtype: str
    seed: int
    prompts: int | None = None
    weights: dict[str, str]
    version: str | None = None


class AuditBenchmark(ResultFile):
    """What `audits.json` holds."""

    WHAT: ClassVar[str] = "the audits.json of benchmarks/audits.py"

    kind: Literal["audits"] = "audits"
    about: BenchmarkSetup
    rows: tuple[PooledAttack, ...] = ()
    cells: tuple[AuditedErasure, ...] = ()
