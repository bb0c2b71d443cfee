"""A heavy job in a process of its own: an order on stdin, lines of JSON on stdout. It stops when stdin ends, so it never outlives the page.

An order is {"verb": ..., "options": {...}} on one line. What comes back: {"stage": ..., "done": ..., "total": ...} while it works, and
{"error": ...} if it failed.
"""

from __future__ import annotations

import _thread
import json
import signal
import sys
import threading
import time
from typing import Any

from excise.quoting import cut
from excise.registry import Door

VERBS = {"erase": Door("excise.jobs.erase", "erase"), "audit": Door("excise.jobs.audit", "audit")}
"""What may be ordered: functions that check their options, and tell how far they are."""


AGAIN = 2.0
"""Seconds between two interrupts (ours): what is in order is cleared sooner."""


def main() -> int:
    """Carry out the order; returns the exit code."""
    order = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    threading.Thread(target=_stop_with_the_page, daemon=True).start()
    try:
        VERBS[order["verb"]](**order["options"], progress=_tell)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        _say({"error": cut(str(error) or type(error).__name__, 600)})
        return 1
    return 0


def _stop_with_the_page() -> None:
    """Wait until stdin ends, then interrupt the main thread, again and again: modules that are being imported may swallow it."""
    sys.stdin.read()
    while True:
        _thread.interrupt_main()
        time.sleep(AGAIN)


def _tell(stage: str, done: int, total: int) -> None:
    _say({"stage": stage, "done": done, "total": total})


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
