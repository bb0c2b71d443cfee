"""What `excise erase` and `excise evaluate` say of an erasure."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from excise.results.evaluation import Evaluation
from excise.results.information import Measurement
from excise.results.origin import Provenance
from excise.results.result_file import Facts, ResultFile


class ErasureResult(ResultFile):
    """What `result.json` holds, and an edit's manifest under "measurements".

    concepts     labels of what was erased
    seconds      of the erasing alone, stretches before a resume included
    peak_mb      most memory in use until the edit was done, MiB (on a GPU what torch took, otherwise the whole process)
    extent       how much was asked for: "quick" or "full", as `excise erase --evaluate` takes it; None where it was not said so
    evaluation   what pictures of base and edited model show; None where that was not measured, and `note` says why
    information  what the words still say, in nats; None where that was not measured, and `information_note` says why
    told         what the method says of its own edit, such as its rank
    provenance   only in files that `excise evaluate` writes; the manifest of the edit has it for `excise erase`
    """

    WHAT: ClassVar[str] = "what excise erase or excise evaluate writes"

    kind: Literal["erasure"] = "erasure"
    model: str
    method: str | None = None
    concepts: tuple[str, ...]
    seed: int
    dtype: str | None = None
    device: str | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    extent: Literal["quick", "full"] | None = None
    evaluation: Evaluation | None = None
    note: str = ""
    information: Measurement | None = None
    information_note: str = ""
    told: Facts = Field(default_factory=dict)
    provenance: Provenance | None = None
