"""The tables of docs/research/audit, from the audits of a benchmark.

    python benchmarks/audit_table.py docs/benchmark/audits --concepts cat [--methods mim spm] [--upright]

How many prompts showed the concept, without and with each attack, summed over concepts: on the controls, and on every method that was
audited on all of them; of several concepts also for how many the verdict is "revived".
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from excise.results.audit_result import AuditFile, Compared, Control, Plain, Success

CONTROLS: dict[Control, str] = {"neutral": "base model, words taken out", "gold": "the model that never saw it"}
PLAIN = "no attack"


def read(folder: Path, concepts: Sequence[str]) -> dict[str, list[AuditFile]]:
    """By method, as `bench` writes it, the audits of all these concepts. Raises FileNotFoundError if no method has them."""
    wanted = [name if ":" in name else f"object:{name}" for name in concepts]
    found: dict[str, dict[str, AuditFile]] = {}
    for path in sorted((folder / "audits").glob("*/*/audit.json")):
        audit = AuditFile.read(path)
        found.setdefault(path.parts[-3].replace("_", ":", 1), {})[audit.about.concept] = audit
    whole = {method: [own[label] for label in wanted] for method, own in found.items() if own.keys() >= set(wanted)}
    if not whole:
        raise FileNotFoundError(f"no method was audited on {', '.join(wanted)} in {folder}")
    return whole


def table(audits: Mapping[str, Sequence[AuditFile]], *, upright: bool = False) -> list[str]:
    """Lines of Markdown: a row per control and method and a column per attack, or, upright, the other way round."""
    results = {method: [_by_attack(audit) for audit in own] for method, own in audits.items()}
    names = [name for name in next(iter(results.values()))[0] if all(name in one for own in results.values() for one in own)]
    every = [one for own in results.values() for one in own]
    controls = [key for key in CONTROLS if all(key in one[PLAIN].controls for one in every)]
    told = [attack for own in audits.values() for audit in own for attack in audit.attacks]
    supplying = {
        f"`{name}`" for attack in told if attack.supplies for name in (attack.text, attack.text.removesuffix(":quick"))
    }
    heads = [name if name == PLAIN else f"`{name}`" for name in names]
    rows = [["", *(f"{head} *" if head in supplying else head for head in heads)]]
    for key in controls:
        counts = [{_shown([one[name].controls[key] for one in own]) for own in results.values()} for name in names]
        rows.append([CONTROLS[key], *(f"{min(c)}" if len(c) == 1 else f"{min(c)} to {max(c)}" for c in counts)])
    for method, own in results.items():
        rows.append([f"`{method}`", *(_cell([one[name] for one in own]) for name in names)])
    lines = [list(column) for column in zip(*rows, strict=True)] if upright else rows
    texts = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines]
    return [texts[0], "|---" * len(lines[0]) + "|", *texts[1:]]


def _by_attack(audit: AuditFile) -> dict[str, Plain | Compared]:
    """What was done without and with every attack that could be made."""
    made = {attack.text: attack.compared for attack in audit.attacks if attack.compared}
    return {PLAIN: audit.plain, **{_short(text, made): found for text, found in made.items()}}


def _short(text: str, made: Collection[str]) -> str:
    """An attack's name without ":quick", if the whole attack was not made too."""
    name = text.removesuffix(":quick")
    return text if name in made else name


def _shown(successes: Sequence[Success]) -> int:
    return sum(success.shown for success in successes)


def _cell(attacks: Sequence[Plain | Compared]) -> str:
    revived = sum(attack.verdict == "revived" for attack in attacks)
    told = ", revived" if len(attacks) == 1 else f", {revived} revived"
    return f"{_shown([attack.erased for attack in attacks])}{told if revived else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--concepts", nargs="+", required=True, metavar="CONCEPT")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="only these, in this order; default all")
    parser.add_argument("--upright", action="store_true", help="a row per attack")
    options = parser.parse_args()
    try:
        audits = read(options.folder, options.concepts)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if missing := [method for method in options.methods or () if method not in audits]:
        parser.error(f"not audited on all of these concepts: {', '.join(missing)}; there are {', '.join(audits)}")
    print("\n".join(table({method: audits[method] for method in options.methods or audits}, upright=options.upright)))


if __name__ == "__main__":
    main()
