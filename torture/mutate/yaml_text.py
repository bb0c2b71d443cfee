"""YAML that is long to read, means something else, or makes objects."""

from __future__ import annotations

from random import Random

from torture.mutate.plain_bytes import damaged
from torture.mutate.strings import HOSTILE

_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
_WHOLE = (
    _BOMB,
    "concepts: &x [*x]\n",
    "a: &a {b: *a}\n",
    "!!python/object/apply:os.system ['touch pwned']\n",
    "x: !!python/object/new:os.system ['touch pwned']\n",
    "".join(f"key{number}: 1\n" for number in range(20_000)),
    "settings: {" + ", ".join(f"k{number}: 1" for number in range(5_000)) + "}\n",
    "[" * 3000,
    "{a: " * 800,
    "- " * 900 + "x",
    "%YAML 9.9\n---\na: 1\n",
    "a: 1\n---\nb: 2\n",
    "? [1, 2]\n: x\n",
    "null\n",
    "42\n",
    "{}\n",
    "<<: *nothing\n",
    "<<: {concepts: cat}\n",
    "a: " + "x" * 200_000 + "\n",
    "concepts: [" + "cat, " * 20_000 + "cat]\n",
    "\tconcepts: cat\n",
)


def yaml_text(text: bytes, random: Random) -> bytes:
    """A YAML file with a line changed, or one of those that are trouble as a whole."""
    if random.random() < 0.3:
        return random.choice(_WHOLE).encode()
    if random.random() < 0.1:
        return damaged(text, random)
    lines = text.decode().splitlines()
    at = random.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    value = random.choice(
        (*HOSTILE, "[]", "{}", "[[[]]]", "{a: {b: c}}", "1e400", "-1", "0", "10000000000", "*x", "&x y", "!!int x", "|", "no")
    )
    how = random.randrange(6)
    if how == 0:
        lines.insert(at, lines[random.randrange(len(lines))])
    elif how == 1:
        del lines[at]
    elif how == 2:
        lines[at] = f"{random.choice(HOSTILE)}{colon} x"
    elif how == 3:
        lines[at] = f"  {lines[at]}"
    else:
        lines[at] = f"{key}{colon} {value}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")
