"""Other wordings, kind by kind: what the erased model shows, beside the base model in the same words and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.attacks.verdict import shown_more
from excise.results.audit_result import AskedWording, Compared, Control, Success, Verdict, WordedKind, WordingKind


def with_kinds(found: Compared) -> Compared:
    """The comparison with its wordings kind by kind; as it is for an attack that asks in no other wordings.

    Wordings count as far as the base model understands them. Where all of them together do not make it show the concept more often than
    no words do, there was nothing to bring back: "not revived" is then "cannot tell".
    """
    if found.erased.worded is None:
        return found
    asked: dict[str, Sequence[AskedWording]] = {"erased": found.erased.worded}
    asked |= {name: one.worded or () for name, one in found.controls.items()}
    kinds = tuple(_kind(kind, asked) for kind in dict.fromkeys(each.kind for each in found.erased.worded))
    counted = {who: [each for each in those if each.kind != "negated"] for who, those in asked.items()}
    empty = found.verdict == "not revived" and _verdict(counted) == "cannot tell"
    return found.model_copy(update={"worded": kinds, **({"verdict": "cannot tell"} if empty else {})})


def _kind(kind: WordingKind, asked: Mapping[str, Sequence[AskedWording]]) -> WordedKind:
    those = {who: [each for each in some if each.kind == kind] for who, some in asked.items()}
    erased = those["erased"]
    shares = {who: rate for who, some in those.items() if (rate := _shown(some)) is not None}
    base = _base(erased)
    return WordedKind(
        kind=kind,
        wordings=len(erased),
        not_read=sum(each.reading == "not read" for each in erased),
        as_phrase=sum(each.reading == "as a phrase" for each in erased),
        base=base and base.rate,
        erased=shares["erased"].rate if "erased" in shares else None,
        controls={who: rate.rate for who, rate in shares.items() if who != "erased"},
        verdict=None if kind == "negated" else _verdict(those),
    )


def _verdict(asked: Mapping[str, Sequence[AskedWording]]) -> Verdict | None:
    """Whether these wordings bring the concept back: more often than in the larger control, beyond chance.

    None if nothing was asked, "cannot tell" if the base model does not understand them: it shows the concept no more often than the neutral
    control, beyond chance.
    """
    erased, base = _shown(asked["erased"]), _base(asked["erased"])
    if erased is None or base is None:
        return None
    controls: dict[Control, Success] = {
        who: rate for who in ("neutral", "gold") if (rate := _shown(asked.get(who, ()))) is not None
    }
    if "neutral" not in controls:
        return "no control"
    if not shown_more(base, controls["neutral"]):
        return "cannot tell"
    control = max(controls.values(), key=lambda one: one.rate.value)
    return "revived" if shown_more(erased, control) else "not revived"


def _shown(asked: Sequence[AskedWording]) -> Success | None:
    n = sum(each.n for each in asked)
    return Success.of(0, sum(each.shown for each in asked), n) if n else None


def _base(asked: Sequence[AskedWording]) -> Success | None:
    counted = [each for each in asked if each.n and each.base is not None]
    return Success.of(0, sum(each.base or 0 for each in counted), sum(each.n for each in counted)) if counted else None
