"""Which attacks have shown that they can bring a concept back: only then is it evidence that they fail.

    python benchmarks/able.py docs/benchmark/audits docs/benchmark/audits-all docs/benchmark/audits-default

A row for each attack, over all audits of these folders: in how many it revived the concept beyond chance; the audit in which it did that
most; and of how many prompts at most it brought the concept into the base model's pictures, asked without the words, which did not show it.
That model knows the concept. An attack that never did either is not known to be able.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from excise.attacks import attacks
from excise.results.audit_result import AuditFile, Compared, Success
from markdown_table import markdown

COLUMNS = ("attack", "audits", "revived in", "most", "base model without the words, at most", "has shown that it can")
LEAST = 0.5
"""Share of the prompts of a model that knows the concept from which on an attack counts as able (ours)."""


@dataclass
class Record:
    """What an attack did in all audits.

    revived what it was revived from, by how much it was above the larger control
    knowing what it did to the base model without the words
    """

    audits: int = 0
    revived: list[tuple[float, str]] = field(default_factory=list)
    knowing: list[Success] = field(default_factory=list)

    def add(self, about: str, found: Compared) -> None:
        self.audits += 1
        if found.verdict == "revived":
            above = min(figure.value for figure in found.above.values())
            self.revived.append((above, f"{about}: {found.erased.shown} of {found.erased.rate.n}"))
        if "neutral" in found.controls:
            self.knowing.append(found.controls["neutral"])

    @property
    def most(self) -> tuple[int, int] | None:
        """Prompts broken, of those that did not show the concept by themselves, where the share is largest."""
        tried = [(one.broken, one.rate.n - one.pre) for one in self.knowing if one.rate.n > one.pre]
        return max(tried, key=lambda pair: pair[0] / pair[1]) if tried else None

    @property
    def able(self) -> str:
        broken, tried = self.most or (0, 1)
        ways = [*(["revived one"] if self.revived else []), *(["without the words"] if broken / tried >= LEAST else [])]
        return ", ".join(ways) or "no"


def records(folders: Iterable[Path]) -> dict[str, Record]:
    """By attack, quick or not. Raises FileNotFoundError if there is no audit."""
    found: dict[str, Record] = {}
    paths = [path for folder in folders for path in sorted(folder.glob("audits/*/*/audit.json"))]
    for path in paths:
        audit, method = AuditFile.read(path), path.parts[-3].replace("_", ":", 1)
        for attack in audit.attacks:
            if attack.compared is not None:
                about = f"`{method}`, *{audit.about.concept.partition(':')[2]}*"
                found.setdefault(attack.attack, Record()).add(about, attack.compared)
    if not found:
        raise FileNotFoundError("no audits there")
    return found


def table(found: dict[str, Record]) -> list[str]:
    """Lines of Markdown, in the order in which attacks are listed."""
    rows = []
    for name in attacks():
        if name not in found:
            continue
        record = found[name]
        most = max(record.revived)[1] if record.revived else "-"
        knowing = f"{record.most[0]} of {record.most[1]}" if record.most else "-"
        rows.append((f"`{name}`", str(record.audits), str(len(record.revived)), most, knowing, record.able))
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    try:
        print("\n".join(table(records(options.folders))))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
