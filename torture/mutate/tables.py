"""CSV with cells, quotes, sizes and columns that it should not have."""

from __future__ import annotations

import csv
import io
from random import Random

from torture.mutate.plain_bytes import damaged
from torture.mutate.strings import HOSTILE

_CELLS = (
    *HOSTILE, "-1", "0", "1", "1.5", "1e3", "1e400", "nan", "inf", "65534", "65535", "4294967296", str(2**63), "9" * 5000, "0x10", "1,5",
)  # fmt: skip


def table(text: bytes, random: Random) -> bytes:
    """A CSV file with one to three changes, or damaged as text."""
    if random.random() < 0.15:
        return damaged(text, random)
    rows = list(csv.reader(io.StringIO(text.decode())))
    for _ in range(random.choice((1, 1, 2, 3))):
        row = random.choice(rows)
        how = random.randrange(8)
        if how == 0:
            row.append(random.choice(_CELLS))
        elif how == 1 and row:
            row.pop()
        elif how == 2:
            rows.insert(random.randrange(len(rows) + 1), random.choice(([], [""], [" "], row, ["x"] * 5000)))
        elif how == 3 and len(rows) > 1:
            rows.remove(row)
        elif row:
            row[random.randrange(len(row))] = random.choice(_CELLS)
    out = io.StringIO()
    csv.writer(out, quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
    data = out.getvalue().encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        data = data.replace(b'"', b"", 1).replace(b",", b";" if random.random() < 0.5 else b'"', 3)
    return data
