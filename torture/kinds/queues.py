"""Queues of removals, and ledgers of their results."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil

QUEUE = b"""# removals
model: tiny
strategy: sequential
method: uce
requests:
  - concept: cat   # by letter
    also: [a moggy]
    date: 2026-03-17
    state: served
  - concept: style:sketch
    settings: {ridge: 1}
    state: withdrawn
"""

LEDGER = b"""{
 "format": 2, "kind": "queue", "model": "tiny canvas", "strategy": "sequential", "seed": 0,
 "records": [{"key": "object:cat", "concept": "object:cat", "phrases": ["a cat"], "method": "uce", "settings": {}, "work": "0",
  "state": "withdrawn", "withdrawn": "2026-03-18", "given_back": "bit for bit"}],
 "steps": [{"name": "object-cat-0", "works": ["0"], "concepts": ["object:cat"], "method": "uce", "below": [], "separable": false}],
 "points": [{"steps": ["object-cat-0"], "concepts": ["object:cat"], "drift": 0.5}], "written": ["report.html"]
}"""


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one of the two, and ask for it in a way that changes no file of the user's."""
    sandbox.take("tiny")
    queue, ledger = sandbox.work / "queue.yaml", sandbox.work / "queue" / "queue.json"
    sandbox.own(queue, QUEUE)
    sandbox.own(ledger, LEDGER)
    named = spoil(sandbox, ledger if random.random() < 0.3 else queue, random)
    verb = random.choice(("status", "run --dry-run", "withdraw cat --dry-run", "add dog --dry-run", "export --to made"))
    name, _, more = verb.partition(" ")
    return attempt(sandbox, f"queue {name} queue.yaml {more}".strip(), named=(*named, "queue.yaml"))


KIND = Kind("queues", "queues of removals, their ledgers", 40, play)
