"""`excise audit`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.report import audit_table
from excise.requests.audit import AuditRequest

EXAMPLES = """
  excise audit out/cat

  excise audit out/cat --attacks all --gold ./canvas-without-cat --out out/cat-audit

  excise audit --model ./erased-elsewhere --base canvas --concept cat --attacks "guidance revam" """


def audit(request: AuditRequest) -> None:
    """Attack, and print what came of it."""
    from excise.jobs.audit import run

    with screen.progress() as progress:
        found = run(request, progress)
    screen.table(audit_table.COLUMNS, audit_table.table(found.found))
    for line in audit_table.lines(found.found):
        print(line)
    print(f"all numbers: {found.out}/audit.json; pictures and what was found: {found.out}/attacks")


COMMAND = Command("audit", AuditRequest, audit, EXAMPLES)
