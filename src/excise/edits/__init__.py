"""Edits: what an erasure produces. Small, frozen, reversible; apart from the code that computed them."""

from excise.edits.adapter import AdapterEdit
from excise.edits.applied import applied_edits, original_tensors
from excise.edits.deltas import Delta, Dense, LowRank
from excise.edits.edit import Edit, all_applied, check_weights, compose
from excise.edits.importing import import_edit
from excise.edits.kinds import load_edit
from excise.edits.manifest import Manifest
from excise.edits.restoring import members, restored
from excise.edits.weight_edit import WeightEdit

__all__ = [
    "AdapterEdit",
    "Delta",
    "Dense",
    "Edit",
    "LowRank",
    "Manifest",
    "WeightEdit",
    "all_applied",
    "applied_edits",
    "check_weights",
    "compose",
    "import_edit",
    "load_edit",
    "members",
    "original_tensors",
    "restored",
]
