"""Audits that are fed back into an erasure: the prompts and embeddings that showed the concept."""

from __future__ import annotations

from collections.abc import Sequence

from excise.edits.applied import base_fingerprint
from excise.erasure.counterexamples import Counterexample
from excise.files import read_tensors
from excise.models import Model
from excise.models.fingerprint import told_shape
from excise.requests.audits import Audited


def counterexamples(audits: Sequence[Audited], model: Model) -> tuple[Counterexample, ...]:
    """Everything that showed a concept, in the order of the audits.

    Raises ValueError for an audit of another base, or whose tensors are not there or not of its prompts.
    """
    gathered: list[Counterexample] = []
    for audit in audits:
        if audit.about.base not in base_fingerprint(model).values():
            raise ValueError(f"{audit.path} is an audit of another model than {model.name}, or of one in another precision")
        for attack, file, found in audit.found:
            told = read_tensors(file)[0].get("erased.told")
            if told is not None and (told.shape[1:] != (told_shape(model) or told.shape[1:]) or max(found) >= len(told)):
                raise ValueError(
                    f"{file} is damaged: erased.told is {tuple(told.shape)}, expected more than {max(found)} prompts"
                )
            for row, (prompt, masked) in found.items():
                asked = prompt if told is None else told[row]
                gathered.append(Counterexample(audit.about.concept, attack, asked, masked))
    return tuple(gathered)
