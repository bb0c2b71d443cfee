"""A model that was pruned or that learned from a teacher (`excise prune`, `excise distill`), in words and as a table."""

from __future__ import annotations

from excise.results.student import Distillation, StudentFile

COLUMNS = ("round", "repairing", "erasing", "repairing alone", "gap", "cosine")
NOTE = (
    "Mean losses of each round. Repairing: of the student that was written; repairing alone: of the one of mode penalty that does nothing "
    "else; gap: the one less the other on the same pictures. Cosine: of the gradients of both levels. Losses say how the training went, not "
    "how good the model is."
)


def lines(found: StudentFile) -> list[str]:
    """What was taken out of which model, and what was learned of whom."""
    said = []
    if (cut := found.pruning) is not None:
        share = f"{100 * cut.share:.1f} % of {cut.parameters_before:,} parameters are left"
        said.append(f"pruned from {cut.base.model}: {share}; taken out: {', '.join(cut.removed)}")
    for learned in found.distilled:
        erased = (
            f"; {', '.join(learned.concepts)} erased meanwhile ({learned.mode}, {learned.upper})" if learned.concepts else ""
        )
        said.append(f"distilled from {learned.teacher.model} in {learned.seconds:.0f} s{erased}")
    return said


def table(found: Distillation) -> list[tuple[str, ...]]:
    """A row per round."""
    return [
        (str(number), *(_loss(each) for each in (row.lower, row.upper, row.repaired, row.gap, row.cosine)))
        for number, row in enumerate(found.rounds, 1)
    ]


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
