"""What the page shows, as HTML: pairs of pictures, bars of what is left, how far a job is, what an audit found. Every text is escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from excise.figures import Figure
from excise.report import audit_table, plain_words
from excise.results.audit_result import AuditFile
from excise.results.erasure import ErasureResult
from excise.results.information import ConceptReading
from excise.studio.job_line import HeavyJob
from excise.visible import visible


class Both(Protocol):
    """The same prompt and seed before and after, as PNG."""

    @property
    def before(self) -> bytes: ...
    @property
    def after(self) -> bytes: ...


@dataclass(frozen=True)
class Group:
    """Pairs of pictures under one heading; `captions` are their prompts."""

    title: str
    note: str
    captions: Sequence[str]
    pairs: Sequence[Both]


WAITS = {"working": "", "done": "Done", "stopped": "Stopped", "failed": "That did not work"}
"""What became of a job, in words."""


def problem(text: object) -> str:
    """A line that says what is wrong."""
    return f'<p class="problem" role="alert">{_text(text)}</p>'


def note(text: object) -> str:
    """A quiet line."""
    return f'<p class="note">{_text(text)}</p>'


def looks(groups: Sequence[Group]) -> str:
    """All pictures: in every group a row before and a row after."""
    return f'<div class="groups">{"".join(map(_group, groups))}</div>' + note(
        "One above the other: the same words and the same seed."
    )


def _group(group: Group) -> str:
    rows = "".join(
        f'<span class="when">{when}</span>' + "".join(map(_picture, [when] * len(pictures), group.captions, pictures))
        for when, pictures in (
            ("before", [pair.before for pair in group.pairs]),
            ("after", [pair.after for pair in group.pairs]),
        )
    )
    captions = "".join(f'<span class="caption" aria-hidden="true">{_text(caption)}</span>' for caption in group.captions)
    return (
        f'<section class="group"><h3>{_text(group.title)} <small>{_text(group.note)}</small></h3>'
        f'<div class="pairs" style="--columns:{len(group.pairs)}">{rows}<i></i>{captions}</div></section>'
    )


def _picture(when: str, caption: str, png: bytes) -> str:
    return f'<img src="data:image/png;base64,{b64encode(png).decode()}" alt="{when}: {_text(caption)}">'


def left(results: Sequence[tuple[str, ErasureResult | None]]) -> str:
    """What was measured of edits, each with its label: bars in nats, and a sentence."""
    return "".join(_left(label, result) for label, result in results) or note("No edit is on.")


def _left(label: str, result: ErasureResult | None) -> str:
    if result is None or not (result.information or result.evaluation):
        return f'<section class="left"><h3>{_text(label)}</h3>{note("Nothing was measured of this edit.")}</section>'
    bars = "".join(map(_bars, result.information.concepts)) if result.information else note("What is left was not measured.")
    sentence = plain_words.summary(result.concepts, result.model, result)
    return (
        f'<section class="left"><h3>{_text(label)}</h3>{bars}<details><summary>What was measured</summary>'
        f"<p>{_text(sentence)}</p>{note(plain_words.NO_PROMISE)}</details></section>"
    )


def _bars(reading: ConceptReading) -> str:
    """Two bars on one scale: nats before, and after."""
    before = reading.conditional.base.orthogonal
    after = reading.conditional.edited.orthogonal if reading.conditional.edited else None
    top = max((figure.high or figure.value for figure in (before, after) if figure), default=0.0) or 1.0
    rows = _bar("before", before, top) + _bar("after", after, top)
    name = reading.concept.partition(":")[2] or reading.concept
    return (
        f'<p class="ask">How much “{_text(name)}” says about a picture</p><div class="bars">{rows}</div>'
        '<p class="note">In nats, the unit of information. At 0 the words change nothing.</p>'
    )


def _bar(when: str, figure: Figure | None, top: float) -> str:
    if figure is None:
        return f'<span>{when}</span><i class="bar {when}"></i><b>not known</b>'
    width = 100 * min(max(figure.value / top, 0.0), 1.0)
    ends = (
        f" <small>{max(figure.low, 0):.2f}–{figure.high:.2f}</small>"
        if figure.low is not None and figure.high is not None
        else ""
    )
    return f'<span>{when}</span><i class="bar {when}" style="--share:{width:.1f}%"></i><b>{figure.value:.2f}{ends}</b>'


def job(found: HeavyJob | None, ahead: int, length: int) -> str:
    """How far somebody's job is; and how many jobs there are for who has none."""
    if found is None or not found.unfinished:
        busy = note("Nobody is waiting." if not length else f"{_counted(length)} of other people in the line.")
        return (_ended(found) if found else "") + busy
    if found.state == "waiting":
        told = f"Waiting: {_counted(ahead)} before yours." if ahead else "Beginning."
        return f'<div class="job" role="status"><b>{_text(found.title)}</b>{note(told)}</div>'
    share = f'value="{found.done}" max="{found.total}"' if found.total > 1 else ""
    count = f", {found.done} of {found.total}" if found.total > 1 else ""
    behind = length - 1
    told = f"{found.stage or 'beginning'}{count} · {_clock(found.seconds)}" + (
        f" · {_counted(behind)} waiting" if behind else ""
    )
    bar = f'<progress {share} aria-label="{_text(found.title)}"></progress>'
    return f'<div class="job" role="status"><b>{_text(found.title)}</b>{bar}{note(told)}</div>'


def _ended(found: HeavyJob) -> str:
    if found.state == "failed":
        return problem(f"{found.title}: {found.told}")
    return (
        f'<p class="ended" role="status">{_text(found.title)}: {WAITS[found.state].lower()} after {_clock(found.seconds)}.</p>'
    )


def audit(found: AuditFile) -> str:
    """What an audit found: a row for each attack, and what it came to."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("attack", "still shown", "without the word", "verdict"))
    rows = []
    for attack in found.attacks:
        shown = audit_table.rates(attack.compared.erased, attack.compared.controls)[:2] if attack.compared else ["-", "-"]
        cells = "".join(f"<td>{_text(each)}</td>" for each in (*shown, audit_table.came_to(attack)))
        rows.append(f'<tr><th scope="row">{_text(attack.title)}</th>{cells}</tr>')
    return (
        f'<section class="left"><h3>{_text(found.about.concept)}: attempts to bring it back</h3><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note(audit_table.LIMITS[0])}</section>"
    )


def _counted(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _text(text: object) -> str:
    return escape(visible(text))
