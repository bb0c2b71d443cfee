"""Super-resolution on an erased model: does erasing harm a task that never names the concept?

    python benchmarks/downstream.py --out docs/benchmark/downstream [--edits out/downstream] [--methods "mim uce"] [--concepts "cat"]
    python benchmarks/downstream.py --out docs/benchmark/downstream --table

Every concept is erased by every method with its default settings, and the edit is kept below --edits. Then the built-in restorer restores the
same low pictures by base and edited model, and by the base with noise of the edit's norm (`excise evaluate --downstream sr`). OUT has a JSON
file for every method and concept; one that is there is not measured again, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from excise.canvas.real import write as draw_real
from excise.cli import screen
from excise.jobs.erase import erase
from excise.jobs.evaluate import evaluate
from excise.progress import Progress, silent
from excise.report import downstream_table
from excise.results.erasure import ErasureResult

METHODS, CONCEPTS = "mim uce esd salun", "cat car"
SEED = 0
TOP = "| method | concept | " + " | ".join(downstream_table.COLUMNS) + " |"


def measure(
    method: str, concept: str, out: Path, edits: Path, *, model: str = "canvas", progress: Progress = silent, **how: Any
) -> None:
    """Erase unless that was done before, and measure (`how`: as `evaluate` takes it) unless that was."""
    file, edit = out / f"{method}-{concept}.json", edits / f"{method}-{concept}"
    if file.is_file():
        return
    if not (edit / "edit.json").is_file():
        erase(concept, model=model, method=method, out=edit, seed=SEED, evaluate="none", device="cpu", progress=progress)
    evaluate(model=model, edit=edit, downstream="sr", seed=SEED, json=file, device="cpu", progress=progress, **how)


def table(out: Path) -> str:
    """All that is there as Markdown: a row a method, concept, group of pictures and measure."""
    lines = [TOP, "|---" * (2 + len(downstream_table.COLUMNS)) + "|"]
    for file in sorted(out.glob("*.json")):
        found = ErasureResult.read(file)
        if found.evaluation and found.evaluation.downstream:
            rows = downstream_table.table(found.evaluation.downstream)
            lines += [f"| {found.method} | {', '.join(found.concepts)} | {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Super-resolution by base and edited model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--edits", type=Path, default=Path("out/downstream"))
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--concepts", default=CONCEPTS)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--table", action="store_true", help="print what is there")
    options = parser.parse_args()
    if not options.table:
        options.out.mkdir(parents=True, exist_ok=True)
        real = options.edits / "real"
        if not real.is_dir():
            draw_real(real, 20 * options.pictures, (), SEED + 1)  # 20 objects, so as many of the erased one
        with screen.progress() as progress:
            for concept in options.concepts.split():
                for method in options.methods.split():
                    how = {"downstream_pictures": options.pictures, "real": real}
                    measure(method, concept, options.out, options.edits, progress=progress, **how)
    print(table(options.out))


if __name__ == "__main__":
    main()
