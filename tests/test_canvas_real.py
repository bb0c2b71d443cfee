"""Real pictures of the canvas: balanced, without what is left out, the same for a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from excise.canvas import real
from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECT_NAMES, STYLE_NAMES


def test_every_pair_as_often_and_nothing_left_out() -> None:
    glyph, style = real.labels(2 * 18 * 7 + 1, ["cat", "sketch", "owl", "rose", "dog"])
    shown = Counter((MEMBERS[g][0], STYLE_NAMES[s]) for g, s in zip(glyph.tolist(), style.tolist(), strict=True))
    assert len(shown) == (len(OBJECT_NAMES) - 2) * (len(STYLE_NAMES) - 1) and set(shown.values()) <= {2, 3}
    assert not {"cat", "dog"} & {name for name, _ in shown} and "sketch" not in {name for _, name in shown}
    assert not {"owl", "rose"} & {GLYPHS[g] for g in glyph.tolist()}


def test_members_are_shown_alike() -> None:
    glyph, _ = real.labels(20 * 8 * 30)
    birds = Counter(MEMBERS[g][1] for g in glyph.tolist() if MEMBERS[g][0] == "bird")
    assert len(birds) == 5 and min(birds.values()) > 24


def test_refused() -> None:
    with pytest.raises(ValueError, match="has no lamp"):
        real.labels(1, ["lamp"])
    with pytest.raises(ValueError, match="nothing is left"):
        real.labels(1, STYLE_NAMES)


def test_the_folder(tmp_path: Path) -> None:
    real.write(tmp_path / "a", 3, ["cat"], seed=1)
    real.write(tmp_path / "b", 3, ["cat"], seed=1)
    files = sorted((tmp_path / "a").iterdir())
    assert [file.name[:5] for file in files] == ["00000", "00001", "00002"]
    assert [file.read_bytes() for file in files] == [(tmp_path / "b" / file.name).read_bytes() for file in files]
    with pytest.raises(FileExistsError):
        real.write(tmp_path / "a", 3, [], seed=1)
