"""Erasing on top of earlier closed-form edits: they are solved again together, from the base.

Two solves one after the other are not the joint solve, so a method asks here which of the edits that are on a model are its own, and solves
for their concepts and the new ones at once. The new edit is the difference, so that the sum of all of them is the joint solution. Edits
of other methods stay as they are and count as part of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from excise.concepts import Concept
from excise.edits import Delta, Edit, LowRank, WeightEdit, applied_edits, compose, original_tensors
from excise.erasure.make_edit import finish
from excise.erasure.run import Run
from excise.models import Model
from excise.settings import Settings, parse

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class LedgerEntry(Generic[S]):
    """Concepts, and the settings they are or were erased with."""

    concepts: tuple[Concept, ...]
    settings: S

    def without(self, erased: Set[str]) -> LedgerEntry[S]:
        """The same, without contexts that are to be erased too: "a cat in sketch style" must not become "something in sketch style"."""
        return LedgerEntry(tuple(concept.beside(erased) for concept in self.concepts), self.settings)


@dataclass(frozen=True)
class Ledger(Generic[S]):
    """What is to be solved for.

    entries earlier ones of this method, oldest first, and the new one last
    replaced the edits on the model that hold the earlier ones
    """

    method: str
    entries: tuple[LedgerEntry[S], ...]
    replaced: tuple[Edit, ...]

    @classmethod
    def of(
        cls, model: Model, method: str, concepts: Sequence[Concept], settings: S, *, same: Sequence[str], joint: bool = True
    ) -> Ledger[S]:
        """The entries on a model and a new one.

        same   settings that all entries must have in common, because there is one solve
        joint  False: edits of this method also stay as they are

        Raises ValueError if such a setting differs.
        """
        earlier: list[LedgerEntry[S]] = []
        replaced = []
        for edit, scale in applied_edits(model) if joint else ():
            parts = _parts(edit.manifest.model_dump(), method)
            if parts and scale == 1 and isinstance(edit, WeightEdit):
                earlier += [_entry(model, part, type(settings)) for part in parts]
                replaced.append(edit)
        for key in same:
            for old in earlier:
                here, there = getattr(settings, key), getattr(old.settings, key)
                if here != there:
                    names = ", ".join(concept.name for concept in old.concepts)
                    raise ValueError(
                        f"the {method} edit of {names} on this model was made with {key}={there}, this one has {here}; they are solved "
                        f"together and need the same: use {key}={there}, or take that edit off"
                    )
        entries = (*earlier, LedgerEntry(tuple(concepts), settings))
        erased = {phrase for entry in entries for concept in entry.concepts for phrase in concept.phrases}
        return cls(method, tuple(entry.without(erased) for entry in entries), tuple(replaced))

    @property
    def concepts(self) -> list[Concept]:
        """The concepts of all entries."""
        return [concept for entry in self.entries for concept in entry.concepts]

    @property
    def settings(self) -> S:
        """The settings of the new entry."""
        return self.entries[-1].settings

    def weights(self, model: Model, names: Sequence[str]) -> dict[str, Tensor]:
        """The named weights without the edits that are solved again: what the solve starts from."""
        original = original_tensors(model)
        kept = [(edit, scale) for edit, scale in applied_edits(model) if not any(edit is old for old in self.replaced)]
        weights = {}
        for name in names:
            weights[name] = original[name].detach()
            for edit, scale in kept:
                if name in edit.deltas:
                    weights[name] = weights[name].float() + scale * edit.deltas[name].dense().to(weights[name].device)
        return weights

    def finish(self, model: Model, deltas: Mapping[str, Delta], run: Run) -> WeightEdit:
        """The edit that, added to those on the model, gives the joint solution `deltas`; its size is recorded, and its rank
        where weights are stored in low rank (None: all dense)."""
        edit = finish(model, deltas, self.method, self.entries[-1].concepts, self.settings, run)
        if self.replaced:
            undone = [WeightEdit(old.scaled(-1).deltas, edit.manifest) for old in self.replaced]
            edit = WeightEdit(compose([edit, *undone]).deltas, edit.manifest)
        ranks = [len(delta.down) for delta in edit.deltas.values() if isinstance(delta, LowRank)]
        return edit.with_measurements({"bytes": edit.nbytes, "rank": max(ranks, default=None)})


def _parts(manifest: Mapping[str, Any], method: str) -> list[Mapping[str, Any]]:
    """The entries of a manifest: itself, or, of a composition (which has no settings), its members; none if any is foreign or scaled."""
    if manifest["settings"]:
        return [manifest] if manifest["method"] == method and "scale" not in manifest["settings"] else []
    parts = [_parts(member, method) for member in manifest["ledger"]]
    return [part for group in parts for part in group] if all(parts) else []


def _entry(model: Model, manifest: Mapping[str, Any], schema: type[S]) -> LedgerEntry[S]:
    concepts = tuple(model.catalog.recorded(entry) for entry in manifest["concepts"])
    return LedgerEntry(concepts, parse(schema, manifest["settings"], f"setting of an earlier {manifest['method']} edit"))
