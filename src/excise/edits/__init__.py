"""Edits: what an erasure produces. Small, frozen, reversible; apart from the code that computed them."""

from excise.edits.applied import applied_edits, original_tensors
from excise.edits.edit import Delta, Dense, LowRank, WeightEdit, compose, load_edit
from excise.edits.manifest import Manifest

__all__ = [
    "Delta",
    "Dense",
    "LowRank",
    "Manifest",
    "WeightEdit",
    "applied_edits",
    "compose",
    "load_edit",
    "original_tensors",
]
