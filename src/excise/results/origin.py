"""What made a number."""

from __future__ import annotations

from excise.figures import ResultRecord
from excise.results.result_file import Facts


class EditIdentity(ResultRecord):
    """Which edit it is: the method's name, what it erased, its settings, and a hash of its tensors."""

    name: str
    concepts: tuple[str, ...]
    params: Facts
    artefact_hash: str


class Provenance(ResultRecord):
    """The model's weights, the edits that were on it, seed, precision, versions."""

    model: str
    base_fingerprint: dict[str, str]
    edits: tuple[EditIdentity, ...]
    seed: int
    dtype: str
    device: str
    versions: dict[str, str]
