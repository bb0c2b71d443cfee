"""Damaged forms of a text file, as chance and strangers make them; the same seed gives the same forms."""

from __future__ import annotations

import codecs
import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 0.5, 1e308, -1e-320, 2**63, 10**18, "", " ", "x", "\x1b[31m", "\r\n\t", "\x00", "ü猫\u202e", "a" * 5_000, [], [[]],
    {}, [1, "a", None], {"a": {"b": [0]}}, {"": 0}, ["a"] * 2_000, {str(number): 0 for number in range(500)},
)  # fmt: skip
"""Values that stand where others are expected."""

TOKENS = (
    "NaN", "Infinity", "-Infinity", "1e999", "1" * 5_000, "1" * 400, '"\\ud800"', '"\\udc00\\ud800"', "[" * 90 + "]" * 90,
    "[" * 5_000, '{"a":1,"a":2}', "undefined", "'x'", "0x10", "01", "\ufeff1",
)  # fmt: skip
"""JSON that says what no result says, or is none."""

MARK = "!!here!!"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def reached(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutated_json(text: str, random: Random) -> str | bytes:
    """Another form of a JSON file: another type somewhere, something missing, twice, too much, too deep; or other bytes."""
    data = copy.deepcopy(json.loads(text))
    path = random.choice(list(places(data)))
    holder, key = reached(data, path[:-1]), path[-1]

    def swap() -> None:
        holder[key] = random.choice(ODD)

    def drop() -> None:
        del holder[key]

    def add() -> None:
        if isinstance(holder, dict):
            holder[random.choice(("kind", "format", "extra", "x" * 3_000, "\x1b]0;x\x07"))] = random.choice(ODD)
        else:
            holder.extend([holder[key]] * random.choice((1, 50)))

    def nest() -> None:
        for _ in range(random.choice((1, 5, 80))):
            holder[key] = random.choice(([holder[key]], {"a": holder[key]}))

    def token() -> None:
        holder[key] = MARK

    random.choice((swap, swap, swap, swap, drop, drop, add, nest, token))()
    found = json.dumps(data, ensure_ascii=random.random() < 0.5).replace(f'"{MARK}"', random.choice(TOKENS))
    return mutated_bytes(found, random) if random.random() < 0.1 else found


def mutated_bytes(text: str, random: Random) -> bytes:
    """The text cut, doubled, in another encoding, or with bytes that do not belong there."""
    data = text.encode(errors="surrogatepass")
    at = random.randrange(len(data) + 1)
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[at:],
        lambda: data + data,
        lambda: b"",
        lambda: codecs.BOM_UTF8 + data,
        lambda: text.encode("utf-16", errors="replace"),
        lambda: text.encode("latin-1", errors="replace") + "é".encode("latin-1"),
        lambda: data[:at] + bytes(random.randrange(256) for _ in range(4)) + data[at:],
        lambda: data[:at] + b"\x00\x1b[31m" + data[at:],
        lambda: bytes(random.randrange(256) for _ in range(200)),
        lambda: data.replace(b"\n", b"\r"),
    )
    return random.choice(ways)()


def mutated_lines(text: str, random: Random) -> str | bytes:
    """Another form of a file of lines (YAML, CSV, captions): a line or a word changed, gone, repeated or much too long; or other bytes."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    words = ("", "x", "-1", "1e9", "9" * 400, "nan", "65534", '"', "a" * 20_000, "[" * 2_000, "{a: [", "- ", "&a *a", ": ", "\t", "\x1b[31m",
             ",,,", "? x", "!!python/object:os.system x", "é")  # fmt: skip

    def word() -> None:
        parts = lines[at].split(",") if "," in lines[at] else lines[at].split(" ")
        parts[random.randrange(len(parts))] = random.choice(words)
        lines[at] = ("," if "," in lines[at] else " ").join(parts)

    def drop() -> None:
        del lines[at]

    def repeat() -> None:
        lines[at:at] = [lines[at]] * random.choice((1, 300))

    def put() -> None:
        lines.insert(at, random.choice(words))

    random.choice((word, word, word, drop, repeat, put))()
    found = "\n".join(lines)
    return mutated_bytes(found, random) if random.random() < 0.2 else found
