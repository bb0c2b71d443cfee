"""Result files of strangers: erasures, measurements, variations, audits, cells, benchmarks."""

from __future__ import annotations

from random import Random

from excise.jobs.pack import pack
from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import files, spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil one file of a folder of results and have it reported, rewritten, tabled or added to."""
    results = sandbox.take("results")
    how = random.randrange(10)
    if how < 2:
        return _audit(sandbox, random)
    if random.random() < 0.3:
        pack([results / "bench"])
    part = results / random.choice(("bench", "edit", "edit-audit", "."))
    path = random.choice(
        [file for file in files(part) if file.suffix in (".json", ".gz") or random.random() < 0.1] or files(part)
    )
    named = spoil(sandbox, path, random)
    if how < 5:  # the pages of a whole benchmark take seconds
        return attempt(sandbox, f"convert results{random.choice(('', ' --pack'))}", ("results",), named=named)
    if how < 6:
        return attempt(sandbox, f"suite table {path.relative_to(sandbox.work)}", named=named)
    if path.is_relative_to(results / "bench") and how < 9:
        sandbox.take("tiny")
        more = "bench --methods uce --concepts cat --model tiny --out results/bench --dry-run"
        return attempt(sandbox, more, named=named)
    report = f"report {path.parent.relative_to(sandbox.work)} --out page.html"
    return attempt(sandbox, report, ("page.html", "page-figures"), named=named)


def _audit(sandbox: Sandbox, random: Random) -> Played:
    """An audit that is gone on with, or that an erasure is hardened against."""
    sandbox.take("tiny")
    sandbox.take("uce")
    named = (*spoil(sandbox, random.choice(files(sandbox.take("audit"))), random), "audit")
    if random.random() < 0.5:
        return attempt(sandbox, "erase cat --model tiny --harden audit --out made --dry-run", named=named)
    again = "audit uce --model tiny --attacks seeds:tries=1 --prompts 2 --budget 40 --out audit"
    return attempt(sandbox, again, ("audit",), named=named, grows=True)


KIND = Kind("results", "result files, cells, audits, benchmarks", 100, play)
