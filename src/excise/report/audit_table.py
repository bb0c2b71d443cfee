"""An audit in words."""

from __future__ import annotations

from collections.abc import Mapping

from excise.report import worded_table
from excise.report.result_table import NOT_MEASURED, percent
from excise.results.audit_result import AttackResult, AuditFile, Compared, Control, Success

CONTROLS: dict[Control, str] = {"neutral": "base, words taken out", "gold": "never saw it"}
"""The controls, in words."""

SUBJECTS: tuple[str, ...] = ("erased model", *CONTROLS.values())
"""The attacked models, in words."""

FAILED = "failed"
"""What stands in the place of a verdict on an attack that failed."""

COLUMNS: tuple[str, ...] = ("attack", "works with", *SUBJECTS, "verdict", "U-Net calls", "seconds")

LIMITS: tuple[str, ...] = (
    "Passing is evidence, not proof: a stronger attack, a larger budget or other prompts may bring back what these did not.",
    "Success is what one detector says. It was kept from the attacks, but it errs, and a picture that fools it need not fool people: look at "
    "the sheets.",
    "Every attack tries a prompt many times and one hit counts, so its rate means nothing alone: compare it with the controls, which had the "
    "same tries.",
    "Attacks that bring pictures of the concept, or train, may teach the model what it does not know; only a model that never saw the concept "
    "shows how much of a success is that.",
)
"""What an audit cannot show."""


def table(audit: AuditFile) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` per attack, that without any attack first."""
    plain = audit.plain
    rows = [("none: plain prompts", "", *rates(plain.erased, plain.controls), plain.verdict, "", "")]
    return rows + [_row(attack) for attack in audit.attacks]


def rates(erased: Success, controls: Mapping[Control, Success]) -> list[str]:
    """How often each of `SUBJECTS` shows the concept; "-" for a control that there is not."""
    found = [erased, *(controls.get(name) for name in CONTROLS)]
    return [percent(one.rate.value, one.rate.interval) if one else "-" for one in found]


def came_to(attack: AttackResult) -> str:
    """The verdict of an attack; or that it failed, or could not be made."""
    return attack.compared.verdict if attack.compared else FAILED if attack.error else NOT_MEASURED


def _row(attack: AttackResult) -> tuple[str, ...]:
    found = attack.compared
    if found is None:
        return attack.text, attack.means, came_to(attack), "", "", "", "", ""
    verdict: str = found.verdict
    if attack.supplies and verdict in ("cannot tell", "no control"):
        verdict = f"{verdict}; only the gold standard tells"
    shown = rates(found.erased, found.controls)
    return attack.text, attack.means, *shown, verdict, str(found.erased.calls), f"{found.erased.seconds:.0f}"


def lines(audit: AuditFile) -> list[str]:
    """What there is to say beside the table: the reading, what was not measured, and what no audit shows."""
    about = audit.about
    read = f"{about.concept}: {about.prompts} prompts, 95 % intervals in brackets; success = (shown without attack + broken) / prompts"
    tried = [(attack, attack.compared) for attack in audit.attacks if attack.compared]
    missing = [
        f"{attack.title}: {came_to(attack)}: {attack.error or attack.note}" for attack in audit.attacks if not attack.compared
    ]
    cut = [line for attack, found in tried for line in _untried(attack, found, about.prompts)]
    cut += [line for attack, found in tried for line in _shortened(attack, found, "iterations", "iterations")]
    cut += [line for attack, found in tried for line in _shortened(attack, found, "tries", "tries of every prompt")]
    worded = worded_table.lines(audit)
    return [read, *_verdicts(tried), *missing, *cut, *worded, *_controls(audit), *LIMITS]


def _verdicts(tried: list[tuple[AttackResult, Compared]]) -> list[str]:
    """Which attacks came to which verdict."""

    def named(verdict: str) -> str:
        return ", ".join(attack.title for attack, found in tried if found.verdict == verdict)

    compared = sum(found.verdict in ("revived", "not revived") for _, found in tried)
    found = []
    if revived := named("revived"):
        found.append(f"brought back, more often than in the control: {revived}")
    elif compared:
        found.append(f"none of {compared} attacks brought it back more often than in its control")
    if useless := named("adds nothing"):
        found.append(f"showed it no more often than plain prompts did, which is more often than a control: {useless}")
    if unsure := ", ".join(attack.title for attack, found in tried if found.verdict == "cannot tell" and not found.worded):
        found.append(f"cannot tell, because the attack makes the concept by itself in a control: {unsure}")
    if supplying := ", ".join(attack.title for attack, _ in tried if attack.supplies):
        found.append(
            "these bring the concept along, so the neutral control, a model that knows it, may show it too, and only the gold standard tells "
            f"what was supplied from what was found: {supplying}"
        )
    return found


def _untried(attack: AttackResult, found: Compared, prompts: int) -> list[str]:
    untried = found.erased.untried
    return [f"{attack.title}: the budget ended before {untried} of {prompts} prompts were tried"] if untried else []


def _shortened(attack: AttackResult, found: Compared, name: str, what: str) -> list[str]:
    effort = found.erased.iterations if name == "iterations" else found.erased.tries
    if effort is None or effort.paid >= effort.asked:
        return []
    return [f"{attack.title}: {effort.paid} of {effort.asked} {what}, all that the budget paid for"]


def _controls(audit: AuditFile) -> list[str]:
    """What cannot be known for want of a control."""
    controls = audit.plain.controls
    if not controls:
        return ["no control was given (--base, --gold), so the rates alone do not say whether anything brought it back"]
    if "gold" not in controls:
        return [
            "no model that never saw the concept was given (--gold), so what attacks teach cannot be told from what they find"
        ]
    return []
