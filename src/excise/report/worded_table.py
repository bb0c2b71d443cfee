"""Other wordings of a concept, in an audit: kind by kind, and wording by wording."""

from __future__ import annotations

from collections.abc import Iterator

from excise.figures import Figure
from excise.report.result_table import percent
from excise.results.audit_result import AskedWording, AuditFile, Compared, Outcome

COLUMNS = ("worded", "base model", "erased model", "base, words taken out", "never saw it", "verdict", "not read")
EACH = ("worded", "phrase", "base model", "erased model", "base, words taken out", "pictures", "read by the tokenizer")

NOTE = (
    "Other wordings: the share of pictures that show the concept, same prompts and seeds in every model. The base model in the same words is "
    "the positive control: what it does not understand cannot come back. Not read: wordings that the tokenizer has no words for, of all. A "
    "picture of the concept for a negated prompt is a misreading, and breaks no erasure: compare it with the base model's."
)


def titles(audit: AuditFile) -> list[tuple[str, Compared]]:
    """What there is to show of each attack that asked in other wordings, by the attack's text."""
    return [(attack.text, attack.compared) for attack in audit.attacks if attack.compared and attack.compared.worded]


def table(found: Compared) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` per kind of wording."""
    return [
        (
            each.kind,
            _share(each.base),
            _share(each.erased),
            _share(each.controls.get("neutral")),
            _share(each.controls.get("gold")),
            each.verdict or ("told apart" if each.kind == "negated" and each.erased else "not asked"),
            f"{each.not_read} of {each.wordings}",
        )
        for each in found.worded or ()
    ]


def each(found: Compared) -> list[tuple[str, ...]]:
    """A row of `EACH` per wording."""
    neutral = _by_name(found.controls["neutral"]) if "neutral" in found.controls else {}
    return [_row(one, neutral.get((one.kind, one.name))) for one in found.erased.worded or ()]


def lines(audit: AuditFile) -> Iterator[str]:
    """What there is to say of each such attack beside the tables."""
    for text, found in titles(audit):
        revived = [each.kind for each in found.worded or () if each.verdict == "revived"]
        unknown = [each.kind for each in found.worded or () if each.verdict == "cannot tell"]
        if revived:
            yield f"{text}: comes back when it is worded otherwise: {', '.join(revived)}"
        if unknown:
            yield f"{text}: cannot tell, because the base model does not understand these wordings either: {', '.join(unknown)}"
        worded = found.erased.worded or ()
        if unread := sum(one.reading == "not read" for one in worded):
            yield f"{text}: not read: {unread} of {len(worded)} wordings, which the tokenizer has no words for"
        if same := sum(one.reading == "as a phrase" for one in worded):
            yield f"{text}: {same} of {len(worded)} wordings are to the tokenizer what a phrase of the concept is, and were not asked"
    if titles(audit):
        yield NOTE


def _by_name(outcome: Outcome) -> dict[tuple[str, str], AskedWording]:
    return {(one.kind, one.name): one for one in outcome.worded or ()}


def _row(one: AskedWording, neutral: AskedWording | None) -> tuple[str, ...]:
    def of(shown: int | None) -> str:
        return f"{shown} of {one.n}" if one.n and shown is not None else "-"

    return (
        f"{one.kind}: {one.name}",
        one.phrase,
        of(one.base),
        of(one.shown),
        of(neutral.shown if neutral and neutral.n == one.n else None),
        str(one.n),
        one.reading,
    )


def _share(found: Figure | None) -> str:
    return "-" if found is None else f"{percent(found.value, found.interval)}, n {found.n}"
