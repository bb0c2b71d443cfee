"""`excise audit`."""

from __future__ import annotations

import typer

from excise.cli import screen
from excise.cli.command import Command
from excise.report import audit_table, worded_table
from excise.requests.audit import AuditRequest

EXAMPLES = """
  excise audit out/cat

  excise audit out/cat --attacks all --gold ./canvas-without-cat --out out/cat-audit

  excise audit out/cat --attacks wording --wordings our-users-words.yaml

  excise audit --model ./erased-elsewhere --base canvas --concept cat --attacks "guidance revam" """


def audit(request: AuditRequest) -> None:
    """Attack, and print what came of it."""
    from excise.jobs.audit import run

    with screen.progress() as progress:
        found = run(request, progress)
    screen.table(audit_table.COLUMNS, audit_table.table(found.found))
    for text, compared in worded_table.titles(found.found):
        screen.table(worded_table.COLUMNS, worded_table.table(compared), title=text)
    for line in audit_table.lines(found.found):
        screen.say(line)
    screen.say(f"all numbers: {found.out}/audit.json; pictures and what was found: {found.out}/attacks")
    asked = [attack for attack in found.found.attacks if attack.text in {one.text for one in request.chosen}]
    if failed := [attack for attack in asked if attack.error]:
        for attack in failed:
            screen.tell(f"excise: {attack.text}: {' '.join((attack.error or '').split())}")
        screen.tell(f"excise: error: {len(failed)} of {len(asked)} attacks failed; --retry makes them again")
        raise typer.Exit(1)


COMMAND = Command("audit", AuditRequest, audit, EXAMPLES)
