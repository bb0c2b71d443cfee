"""`python -m torture`: play the campaign, or one case of it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from torture import __doc__ as about
from torture.campaign import Case, plan, play, run_all
from torture.table import print_table, to_dict, write
from torture.warm import warm_up
from torture.world import make_world


def main() -> int:
    """Returns 1 if anything is wrong."""
    options = _options()
    began = time.monotonic()
    warm_up()
    work = Path(tempfile.mkdtemp(prefix="torture-", dir=options.work)).resolve()
    try:
        make_world(work / "world", work / "scratch")
        if options.number is not None:
            return _one(Case(options.only[0], options.number, options.seed), work)
        cases = plan(options.inputs, options.kills, options.seed, options.only)
        print(f"{len(cases)} cases, seed {options.seed}; prepared in {time.monotonic() - began:.0f} s", flush=True)
        results = []
        for result in run_all(cases, work / "world", work / "scratch", options.jobs, options.seconds):
            results.append(result)
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {len(cases)}", end="", file=sys.stderr)
        print_table(results)
        if options.out:
            write(options.out, to_dict(results, options.seed, time.monotonic() - began))
        return int(any(result.faults for result in results))
    finally:
        if options.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


def _one(case: Case, work: Path) -> int:
    played = play(case, work / "world", work / "scratch")
    for ended in played.ends:
        print(
            f"$ excise {' '.join(map(repr, ended.argv))}\ncode {ended.code} after {ended.seconds:.1f} s{' (hung)' * ended.hung}"
        )
        print(
            f"--- stdout\n{ended.out[-3000:]!s}\n--- stderr\n{ended.err[-3000:]!s}".encode("ascii", "backslashreplace").decode()
        )
    for fault in played.faults:
        print(f"{fault.sort}: {fault.detail}".encode("ascii", "backslashreplace").decode())
    return int(bool(played.faults))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m torture", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="hostile inputs")
    parser.add_argument("--kills", type=int, default=500, help="kills, and pairs of commands at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, help="begin no case after so many seconds")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="these kinds alone")
    parser.add_argument("--number", type=int, help="this case of the kind alone, with all that it prints")
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    shm = Path("/dev/shm")
    parser.add_argument(
        "--work", type=Path, default=shm if os.access(shm, os.W_OK) else None, help="where sandboxes lie; default in memory"
    )
    options = parser.parse_args()
    if options.number is not None and len(options.only) != 1:
        parser.error("--number needs the one kind that it is of: --only KIND")
    return options


if __name__ == "__main__":
    sys.exit(main())
