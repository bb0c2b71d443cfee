"""Giving erased concepts back: an edit without its part of them, what it does to the others unchanged to the bit.

Possible where changes are kept apart: separable methods keep a change for every concept, compositions one for every member.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from excise.edits.edit import Edit, compose
from excise.edits.manifest import Manifest
from excise.edits.weight_edit import WeightEdit
from excise.hints import nearest
from excise.quoting import quoted


def restored(edit: Edit, concepts: Sequence[str]) -> Edit:
    """The edit without its part of these concepts; what it holds of the others is bit-identical.

    concepts  as the manifest names them: "object:cat", or "cat" where that is one concept

    Raises ValueError for a concept that the edit does not erase, for one that it erased together with others in a single change, for
    one that a remaining member was made on top of, and if nothing would be left.
    """
    if not concepts:
        raise ValueError(f"name at least one concept to give back; {edit.called} erases {', '.join(edit.manifest.names)}")
    left = _without(edit, {_named(edit.manifest, text) for text in concepts})
    if left is None:
        raise ValueError(
            f"without {', '.join(edit.manifest.names)} nothing is left of {edit.called}; use the base model as it is"
        )
    return left


def members(edit: Edit) -> tuple[Edit, ...]:
    """The edits that a composition was put together from, bit for bit; any other edit is its only member."""
    if not edit.manifest.composed:
        return (edit,)
    found: list[Edit] = []
    for number, entry in enumerate(edit.manifest.ledger):
        manifest = Manifest.model_validate(entry)
        if "scale" in edit.manifest.settings:
            manifest = manifest.scaled(edit.manifest.settings["scale"])
        owned = {label.partition("/"): part for label, part in edit.parts.items()}
        parts = {label: part for (owner, _, label), part in owned.items() if owner == str(number)}
        found.append(WeightEdit(parts.get("", {}), manifest) if parts.keys() <= {""} else type(edit).of_parts(parts, manifest))
    return tuple(found)


def _without(edit: Edit, labels: Collection[str]) -> Edit | None:
    """The edit without the labelled concepts, itself if it erases none of them, or None if it erases no other."""
    manifest = edit.manifest
    gone = [name for name in manifest.names if name in labels]
    if not gone:
        return edit
    if len(gone) == len(manifest.names):
        return None
    if manifest.composed:
        kept = [left for member in members(edit) if (left := _without(member, labels)) is not None]
        _check_standing(kept, labels)
        rest = kept[0] if len(kept) == 1 else compose(kept)
        given_back = manifest.without(labels).restored
        before = [concept for concept in rest.manifest.restored if concept not in given_back]
        return rest.with_manifest(rest.manifest.model_copy(update={"restored": before + given_back}))
    if edit.parts:
        parts = {label: part for label, part in edit.parts.items() if label not in labels}
        return type(edit).of_parts(parts, manifest.without(labels))
    others = [name for name in manifest.names if name not in labels]
    raise ValueError(
        f"{manifest.method} erased {', '.join(manifest.names)} in one change that cannot be taken apart; to have {', '.join(gone)} back, "
        f"erase the others anew (excise erase {shlex.join(others)} --method {manifest.method}), "
        "or give back all of them"
    )


def _check_standing(kept: Sequence[Edit], labels: Collection[str]) -> None:
    """Raise ValueError if an edit that is kept was made on top of one that is not; separable ones do not depend on it."""
    for edit in kept:
        if edit.manifest.composed:
            _check_standing(members(edit), labels)
            continue
        below = [name for entry in edit.manifest.ledger for name in Manifest.model_validate(entry).names if name in labels]
        if below and not edit.parts:
            names = ", ".join(edit.manifest.names)
            raise ValueError(
                f"{names} was erased on top of {', '.join(below)} ({edit.manifest.method}) and does not stand without it; "
                f"give back {names} too and erase it anew"
            )


def _named(manifest: Manifest, text: str) -> str:
    """The label of the concept that a user means."""
    found = [label for label in manifest.names if text.strip().lower() in (label.lower(), label.partition(":")[2].lower())]
    if len(set(found)) == 1:
        return found[0]
    if found:
        raise ValueError(f"{quoted(text)} may be {' or '.join(dict.fromkeys(found))}; write which")
    below = [Manifest.model_validate(entry) for entry in manifest.ledger]
    if any(text.strip().lower() in (label.lower(), label.partition(":")[2].lower()) for m in below for label in m.names):
        raise ValueError(f"{quoted(text)} is not in this edit: it was erased by another one, which this one was made on top of")
    raise ValueError(f"this edit does not erase {quoted(text)}; {nearest(text, manifest.names)}")
