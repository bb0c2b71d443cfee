"""The command line of benchmarks whose result is one file: measure and write it, or print the table of what it holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from excise.files import read_json


def main(doc: str | None, results: Path, measure: Callable[[Path], Any], table: Callable[[Any], list[str]]) -> None:
    """Read the arguments and act.

    doc     of the benchmark, for its help
    results where the file is by default
    measure (file) -> what it then holds
    table   (what the file holds) -> lines of Markdown
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=results)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    options = parser.parse_args()
    if options.show is not None:
        try:
            found = read_json(options.show)
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
        print("\n".join(table(found)))
    else:
        print("\n".join(table(measure(options.out))), file=sys.stderr)
