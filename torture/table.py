"""The campaign's table, and its file."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torture.campaign import Result
from torture.judge import SORTS
from torture.kinds import kinds

EXAMPLES = 3
"""Cases that are shown of every kind and sort of fault."""


def print_table(results: Sequence[Result]) -> None:
    """Cases and faults by kind, then examples of every fault with the command that plays it again."""
    sorts = [sort for sort in SORTS if any(fault.sort == sort for result in results for fault in result.faults)]
    print(f"{'kind':<12}{'cases':>7}{'faulty':>8}" + "".join(f"{sort:>11}" for sort in sorts) + f"{'cpu ms':>9}")
    groups = {name: [result for result in results if result.case.kind == name] for name in kinds()}
    for name, some in [*groups.items(), ("all", list(results))]:
        if some:
            found = Counter(sort for result in some for sort in {fault.sort for fault in result.faults})
            each = 1000 * sum(result.seconds for result in some) / len(some)
            cells = "".join(f"{found[sort] or '-':>11}" for sort in sorts)
            print(f"{name:<12}{len(some):>7}{sum(bool(result.faults) for result in some):>8}{cells}{each:>9.0f}")
    for sort in sorts:
        print(f"\n{sort}: {SORTS[sort]}")
        for name in groups:
            hits = [(result, fault) for result in groups[name] for fault in result.faults if fault.sort == sort]
            for result, fault in hits[:EXAMPLES]:
                print(f"  {result.case.command}\n    {fault.detail}")


def to_dict(results: Sequence[Result], seed: int, seconds: float) -> dict[str, Any]:
    """What the campaign's file holds."""
    from excise.versions import versions

    kills = {name for name, kind in kinds().items() if kind.kills}
    faulty = sorted((result for result in results if result.faults), key=lambda result: (result.case.kind, result.case.number))
    return {
        "kind": "torture",
        "seed": seed,
        "inputs": sum(result.case.kind not in kills for result in results),
        "kills": sum(result.case.kind in kills for result in results),
        "cases": dict(Counter(result.case.kind for result in results)),
        "faults": dict(Counter(fault.sort for result in results for fault in result.faults)),
        "seconds": round(seconds),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {"processor": platform.machine(), "system": platform.system(), "python": platform.python_version(), **versions()},
        "failures": [
            {"again": result.case.command, "commands": result.commands, "codes": result.codes,
             "faults": [f"{fault.sort}: {fault.detail}" for fault in result.faults]}
            for result in faulty
        ],
    }  # fmt: skip


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
