"""Edits: what an erasure produces. Small, frozen, reversible; apart from the code that computed them.

`manifest` (what `edit.json` says) needs no torch; most names below load it when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.registry import late

if TYPE_CHECKING:
    from excise.edits.adapter import AdapterEdit
    from excise.edits.applied import all_removed, applied_edits, original_tensors
    from excise.edits.deltas import Delta, Dense, LowRank
    from excise.edits.edit import Edit, all_applied, check_weights, compose
    from excise.edits.importing import import_edit
    from excise.edits.kinds import load_edit
    from excise.edits.manifest import Manifest
    from excise.edits.restoring import members, restored
    from excise.edits.weight_edit import WeightEdit

_HOMES = {
    "AdapterEdit": "adapter",
    "Delta": "deltas",
    "Dense": "deltas",
    "Edit": "edit",
    "LowRank": "deltas",
    "Manifest": "manifest",
    "WeightEdit": "weight_edit",
    "all_applied": "edit",
    "all_removed": "applied",
    "applied_edits": "applied",
    "check_weights": "edit",
    "compose": "edit",
    "import_edit": "importing",
    "load_edit": "kinds",
    "members": "restoring",
    "original_tensors": "applied",
    "restored": "restoring",
}

__all__ = [
    "AdapterEdit",
    "Delta",
    "Dense",
    "Edit",
    "LowRank",
    "Manifest",
    "WeightEdit",
    "all_applied",
    "all_removed",
    "applied_edits",
    "check_weights",
    "compose",
    "import_edit",
    "load_edit",
    "members",
    "original_tensors",
    "restored",
]

__getattr__ = late(__name__, _HOMES)
