"""What can be read from an edit: where the concept's words stand among all."""

from __future__ import annotations

import pytest
import torch

import edit_key


def test_the_first_of_its_own_words_is_placed() -> None:
    found = edit_key.placed(("tree", "cat", "kitten", "dog"), torch.tensor([2.0, 1.0, 6.0, 3.0]), {"cat", "kitten"})
    assert found == {"place": 1, "word": "kitten", "ahead": 2.0, "first": ["kitten", "dog", "tree", "cat"]}


def test_one_that_hides_among_others_is_behind_them() -> None:
    found = edit_key.placed(("tree", "cat", "dog"), torch.tensor([4.0, 2.0, 3.0]), {"cat"})
    assert (found["place"], found["word"]) == (3, "cat") and found["ahead"] == pytest.approx(0.5)


def test_a_row_by_hand() -> None:
    erasure = {"entrant": "uce", "concept": "style:neon", "place": 2, "word": "neon", "ahead": 0.84, "first": ["gift", "neon"]}
    assert edit_key.table({"words": 9, "erasures": [erasure]})[2] == "| `uce` | *neon* | 2 of 9 | neon | 0.8 | gift, neon |"
