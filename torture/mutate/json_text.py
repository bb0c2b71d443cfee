"""JSON of another shape: values of another type, size or range; keys that are gone, new or twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from torture.mutate.plain_bytes import damaged
from torture.mutate.strings import HOSTILE

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 65534, 10**6, 10**9, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e38, 1e308, float("nan"),
    float("inf"), -float("inf"), [], {}, [[]], [None], {"": {}}, [1, "a", None], {"a": 1}, *HOSTILE,
)  # fmt: skip
_NUMBERS = tuple(value for value in _VALUES if isinstance(value, int | float))

MOST = 2**21
"""Characters of a file: what is asked of readers is patience with small ones."""

Change = Callable[[Any, Any, Random], None]


def json_text(text: bytes, random: Random) -> bytes:
    """A JSON file after one to three changes of its content, or damaged as text; most of them are JSON still."""
    if random.random() < 0.15:
        return damaged(text, random)
    content = {"all": json.loads(text)}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if places := _places(content):
            random.choice(_CHANGES)(*random.choice(places), random)
    out = json.dumps(content["all"]) if "all" in content else "null"
    if len(out) > MOST:
        return damaged(text, random)
    if random.random() < 0.03:  # a key twice
        out = out.replace("{", '{"name": 1, "name": 2, ', 1)
    if random.random() < 0.02:  # deeper than readers go
        out = '{"a": ' * 5000 + out + "}" * 5000
    return out.encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value: what it is in, and the key or index."""
    found, waiting = [], [value]
    while waiting:
        inside = waiting.pop()
        keys = list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
        found += [(inside, key) for key in keys]
        waiting += [inside[key] for key in keys]
    return found


def _replaced(container: Any, key: Any, random: Random) -> None:
    container[key] = random.choice(_VALUES)


def _otherwise(container: Any, key: Any, random: Random) -> None:
    """A value of the same type, but another."""
    value = container[key]
    if isinstance(value, str):
        container[key] = random.choice((*HOSTILE, value.upper(), value + " ", value * 50, value[:-1]))
    elif isinstance(value, bool):
        container[key] = not value
    elif isinstance(value, int | float):
        container[key] = random.choice(_NUMBERS)
    elif isinstance(value, list):
        container[key] = random.choice((value * 2, value[:1], value[::-1], value * (2000 // (len(value) + 1))))
    else:
        container[key] = random.choice((value, list(value) if value else [], str(value)))


def _deleted(container: Any, key: Any, random: Random) -> None:
    del container[key]


def _added(container: Any, key: Any, random: Random) -> None:
    if isinstance(container, dict):
        container[random.choice(HOSTILE)] = random.choice(_VALUES)
    else:
        container.insert(0, random.choice(_VALUES))


def _renamed(container: Any, key: Any, random: Random) -> None:
    if isinstance(container, dict):
        container[random.choice((*HOSTILE, str(key).upper(), f"{key}s"))] = container.pop(key)


def _deep(container: Any, key: Any, random: Random) -> None:
    value: Any = container[key]
    for _ in range(random.choice((5, 50, 250))):
        value = [value] if random.random() < 0.5 else {"a": value}
    container[key] = value


def _many(container: Any, key: Any, random: Random) -> None:
    container[key] = random.choice(
        ({str(number): number for number in range(3000)}, list(range(30_000)), [container[key]] * 1000)
    )


_CHANGES: tuple[Change, ...] = (
    _replaced,
    _replaced,
    _replaced,
    _otherwise,
    _otherwise,
    _otherwise,
    _deleted,
    _deleted,
    _added,
    _renamed,
    _deep,
    _many,
)
