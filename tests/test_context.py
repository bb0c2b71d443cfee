"""Prompts that are longer than a model reads: said once, and a concept whose words are past the cut is refused before anything costs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from torch import Tensor
from typer.testing import CliRunner

import tiny_models
from excise import requests
from excise.cli import app
from excise.concepts import Catalog, Concept, PromptPair
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run, silent
from excise.evaluation.suites.answer_set import AnswerSet
from excise.evaluation.suites.prompt_file import PromptItem
from excise.methods import get
from excise.models import Model, load
from excise.models.clip import clip_tokenizer
from excise.models.context import check_read, left_out, tell_cut
from excise.requests.drawn import Drawn
from test_attacks import random_edit

LONG = "a cat " * 30 + "and the end of it"
"""The tiny tokenizer has a token for every letter and reads 75: 18 times "a cat" and "a ca"."""
FITS = "x" * 75


@pytest.mark.parametrize("tokenizer", [tiny_models.tokenizer, clip_tokenizer])
def test_what_is_left_out_is_what_the_encoder_does_not_see(tokenizer: Callable[[], Any]) -> None:
    """Oracle: what the ids that the host leaves, and those that it drops, are read back as."""
    words = tokenizer()

    def read(ids: list[int]) -> str:
        return words.decode(ids, skip_special_tokens=True).replace(" ", "")

    for prompt in ("The naive  cafe, running! " * 12, LONG * 2, "x " * 75, "x " * 76, FITS, "", "a cat"):
        rest = left_out(words, [prompt]).get(prompt, "")
        kept, whole = (words(prompt, truncation=cut, max_length=77, verbose=False).input_ids for cut in (True, False))
        assert bool(rest) == (len(whole) > len(kept))
        assert read(kept) == prompt[: len(prompt) - len(rest)].lower().replace(" ", "")
        assert read(whole[len(kept) - 1 :]) == rest.lower().replace(" ", "")
    assert left_out(tiny_models.tokenizer(), ["é" * 40]) == {"é" * 40: "é" * 3}, "a letter of two tokens that is cut in between"


def test_it_is_told_once_and_in_one_line(sd1: Model) -> None:
    long = "abcdefghij " * 60
    with pytest.warns(UserWarning, match=r"^2 of 3 prompts are longer than the 75 tokens") as told:
        tell_cut(sd1, ["a dog", long, LONG, long])
        tell_cut(sd1, [LONG, "a dog"])
    (warning,) = told
    text = str(warning.message)
    assert f"the first is {long[:200]!r}..." in text and "fghij abcdefghij" in text.split("left out")[0]
    assert "\n" not in text and len(text) < 600
    with pytest.warns(UserWarning, match=r"^1 of 2 prompts"):
        tell_cut(sd1, [LONG, "y" * 76])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the pictures that were begun."""
    seeds: list[int] = []
    noise = Model.start_noise

    def counted(self: Model, asked: list[int], *size: Any) -> Tensor:
        seeds.extend(asked)
        return noise(self, asked, *size)

    monkeypatch.setattr(Model, "start_noise", counted)
    return seeds


def _concept(name: str, kind: str = "object") -> Concept:
    return Catalog().resolve(name, kind)


def test_a_concept_past_the_cut_is_refused(sd1: Model) -> None:
    words = "a very long way to say what should be erased from it namely "
    check_read(sd1, [_concept("cat"), _concept("sketch", "style")])
    for concept in (_concept(words * 2 + "cat"), _concept(words + "pencil", "style")):
        with pytest.raises(
            ValueError, match=rf"^{sd1.name} reads 75 tokens of a prompt.*{concept.kind}:a very long.*fewer words"
        ):
            check_read(sd1, [concept])
    also = Concept("cat", "object", ("cat", words * 2 + "dog"))
    with pytest.raises(ValueError, match="fewer words"):
        check_read(sd1, [also])


@pytest.mark.parametrize("method", ["mim", "uce", "esd", "cure"])
def test_every_method_refuses_it(sd1: Model, method: str) -> None:
    """Two that differ past the cut gave the same edit bit for bit."""
    chosen = get(method)
    for end in ("cat", "dog"):
        with pytest.raises(ValueError, match="fewer words"):
            chosen.erase(sd1, [_concept("something that is said in so many words that a reader is tired before the " + end)],
                         chosen.settings(), Run())  # fmt: skip


def test_a_caption_that_is_cut_before_the_concept_is_refused(sd1: Model) -> None:
    caption = "a caption that goes on" + " and on" * 14
    with pytest.raises(ValueError, match=r"the prompt 'a caption .*' is cut before the words of the concept"):
        PromptBank.of_pairs(sd1, [[PromptPair(f"{caption}, in the style of sketch", caption)]])


@pytest.fixture
def wordy(tiny_canvas: Path, tmp_path: Path) -> Path:
    """The tiny canvas with long words for a dog, and a tail on the first template that is cut."""
    folder = Path(shutil.copytree(tiny_canvas, tmp_path / "wordy"))
    data = json.loads((folder / "excise.json").read_text())
    data["templates"] = [template + " " + "and then some more of it " * 4 for template in data["templates"]]
    (folder / "excise.json").write_text(json.dumps(data))
    return folder


COMMANDS: dict[str, list[str]] = {
    "generate": [LONG, "a dog", "-n", "40", "--steps", "1", "--out", "OUT"],
    "erase": ["cat", "--method", "uce", "--out", "OUT", "--set", "wording=templates"],
    "evaluate": ["--concept", "cat", "--target-pictures", "3", "--other-pictures", "3"],
    "measure": ["cat", "--budget", "600"],
    "vary": ["EDIT", "--pictures", "1"],
    "bench": ["--methods", "uce:wording=templates", "--concepts", "cat", "--out", "OUT",
              "--target-pictures", "1", "--other-pictures", "1", "--no-information", "--no-quality"],
    "audit": ["EDIT", "--attacks", "seeds:tries=1", "--budget", "40", "--prompts", "2", "--out", "OUT"],
}  # fmt: skip


def test_the_commands_are_all_that_draw() -> None:
    names = {name for _, name, _ in iter_modules(requests.__path__)}
    drawn = {
        name
        for name in names
        if issubclass(getattr(import_module(f"excise.requests.{name}"), f"{name.title()}Request", object), Drawn)
    }
    assert drawn == COMMANDS.keys()


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_says_it_in_one_line(verb: str, wordy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    random_edit(load(wordy, device="cpu"), "cat").save_pretrained(tmp_path / "edit")
    words = {"EDIT": str(tmp_path / "edit"), "OUT": str(tmp_path / "out")}
    arguments = [verb, *(words.get(word, word) for word in COMMANDS[verb]), "--model", str(wordy), "--device", "cpu", "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert re.fullmatch(r"excise: warning: \d+ of \d+ prompts are longer than the 75 tokens .* is left out\n", result.stderr)


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if verb not in ("generate", "bench")])
def test_a_command_refuses_a_concept_past_the_cut(verb: str, wordy: Path, tmp_path: Path, made: list[int]) -> None:
    """One line, exit code 2, no picture made, nothing written."""
    data = json.loads((wordy / "excise.json").read_text())
    data["templates"] = ["and then some more of it " * 4 + "before {object|something}[, {style}] comes"]
    (wordy / "excise.json").write_text(json.dumps(data))
    random_edit(load(wordy, device="cpu"), "cat").save_pretrained(tmp_path / "edit")
    words = {"EDIT": str(tmp_path / "edit"), "OUT": str(tmp_path / "out")}
    arguments = [verb, *(words.get(word, word) for word in COMMANDS[verb]), "--model", str(wordy), "--device", "cpu", "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.stderr
    assert re.fullmatch(r"excise: error: tiny canvas reads 75 tokens of a prompt, too few for .*\n", result.stderr)
    assert not made and not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_suite_says_it_once_for_both_models(sd1: Model, tmp_path: Path) -> None:
    items = [PromptItem(f"{number}", text, number, steps=1) for number, text in enumerate((LONG, "a dog", LONG + "!"))]
    with pytest.warns(UserWarning, match=r"^2 of 3 prompts are longer") as told:
        for part in ("base", "edited"):
            AnswerSet.open(tmp_path / part, items, {}).generate(sd1, [], silent)
    assert len(told) == 1
