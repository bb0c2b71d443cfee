"""Many concepts at once: the same as the plain form of everything, for the time and memory of what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from excise.concepts import Concept
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.methods import get
from excise.methods.mim import MimSettings, metric
from excise.methods.mim.start import _names
from excise.models import Conditioning, Model
from excise.models.context import left_out
from excise.models.footprint import _watched
from trained_methods import CAT

PICKS: list[Any] = [3, -1, slice(2, 5), slice(0, 0), [4, 4, 0], torch.tensor([5, 1])]
NAMES = [
    "ant",
    "bat",
    "bee",
    "cow",
    "crab",
    "deer",
    "dove",
    "duck",
    "elk",
    "emu",
    "fish",
    "fox",
    "frog",
    "goat",
    "hare",
    "hawk",
    "hen",
    "ibis",
    "kite",
    "lamb",
    "lark",
    "lion",
    "lynx",
    "mole",
    "moth",
]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt that a model of Stable Diffusion 1.x is asked to encode."""
    from excise.models.families.stable_diffusion import StableDiffusion

    found: list[str] = []
    encode = StableDiffusion.encode

    def noted(self: StableDiffusion, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        found.extend(prompts)
        return encode(self, prompts, batch)

    monkeypatch.setattr(StableDiffusion, "encode", noted)
    return found


def free(count: int) -> list[Concept]:
    """Concepts that any text names."""
    return [Concept(name, "object", (name,), ("photo", "sketch")) for name in NAMES[:count]]


def banks(model: Model, concepts: Sequence[Concept]) -> tuple[PromptBank, PromptBank]:
    """Encoded when it is asked for, and at once."""
    groups = [concept.pairs() for concept in concepts]
    return PromptBank.of_pairs(model, groups, lazy=True), PromptBank.of_pairs(model, groups)


class TestBank:
    @pytest.mark.parametrize("kind", ["sd1", "sdxl", "canvas"])
    def test_it_is_what_it_would_be_at_once(self, kind: str, request: pytest.FixtureRequest) -> None:
        model = request.getfixturevalue(kind)
        lazy, eager = banks(model, free(2))
        for rows in PICKS:
            for name in ("conditioned", "masked"):
                one, other = getattr(lazy, name)[rows], getattr(eager, name)[rows]
                assert len(one) == len(other) and one.tokens.shape == other.tokens.shape
                assert torch.allclose(one.tokens, other.tokens, atol=1e-5)
                assert (one.pooled is None) is (other.pooled is None) is (kind != "sdxl")
        lazy, _ = banks(model, free(2))
        assert len(lazy.masked) == len(eager.masked) and lazy.masked.mask is None
        assert torch.allclose(lazy.conditioned.tokens, eager.conditioned.tokens, atol=1e-5), "looked at as a whole"
        assert torch.allclose(lazy.conditioned.expand(len(lazy.pairs)).tokens, eager.conditioned.tokens, atol=1e-5)
        joined = Conditioning.join([lazy.empty, lazy.masked])
        assert torch.allclose(joined.tokens[1:], eager.masked.tokens, atol=1e-5)
        assert torch.allclose(lazy.masked.with_tokens(eager.masked.tokens).tokens, eager.masked.tokens)

    def test_prompts_of_more_chunks_fill_up_those_that_are_there(self, sd1: Model) -> None:
        sd1.long_prompts = "chunk"
        wordy = Concept("cat", "object", ("a cat", "a cat " + "that sleeps " * 8), ())
        lazy, eager = banks(sd1, [wordy])
        short = next(row for row, pair in enumerate(lazy.pairs) if "sleeps" not in pair.prompt)
        assert lazy.conditioned[short].mask is None
        for row in range(len(lazy.pairs)):
            one, other = lazy.conditioned[row], eager.conditioned[row]
            assert torch.allclose(sd1.read(one, "tokens"), sd1.read(other, "tokens"), atol=1e-5)

    def test_a_prompt_is_encoded_when_it_is_asked_for_and_once(self, sd1: Model, read: list[str]) -> None:
        bank = PromptBank.of(sd1, free(5))
        assert read == [""]
        bank.conditioned[[0, 1, 0]], bank.masked[0], bank.conditioned[1]
        wanted = {"", bank.pairs[0].prompt, bank.pairs[1].prompt, bank.pairs[0].masked}
        assert set(read) == wanted
        before = len(read)
        bank.conditioned[[1, 0]], bank.masked[0]
        assert len(read) == before

    def test_where_the_encoder_goes_away_all_is_encoded_at_once(self, sd3: Model) -> None:
        assert sd3.unedited_parts and type(PromptBank.of(sd3, free(1)).conditioned) is Conditioning


class TestMetric:
    def test_a_prompt_that_is_drawn_often_counts_often(
        self, canvas: Model, monkeypatch: pytest.MonkeyPatch, read: list[str]
    ) -> None:
        """Beside the mean over every prompt that is drawn, each encoded again."""
        monkeypatch.setattr(metric, "PROMPTS", 400)
        concepts = [canvas.catalog.resolve("cat"), canvas.catalog.resolve("dog")]
        bank = PromptBank.of(canvas, concepts)
        drawn = metric._prompts(canvas, bank, concepts, "in_place", Generator().manual_seed(3))
        assert max(Counter(drawn).values()) > 1
        read.clear()
        found = metric.moments(canvas, bank, concepts, "in_place", Generator().manual_seed(3))["tokens"]
        assert sorted(read) == sorted(set(drawn))
        rows = torch.cat(
            [canvas.read(bank.empty, "tokens"), *(canvas.read(canvas.encode([p]), "tokens") for p in drawn)]
        ).double()
        assert torch.allclose(found, rows.T @ rows / len(rows), atol=1e-6)

    def test_parts_are_the_whole(self, sdxl: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        concepts = free(2)
        bank = PromptBank.of(sdxl, concepts)
        for kind in ("in_place", "rest"):
            found = []
            for numbers in (metric.AT_ONCE, 3 * bank.empty.tokens.numel()):
                monkeypatch.setattr(metric, "AT_ONCE", numbers)
                found.append(metric.moments(sdxl, bank, concepts, kind, Generator().manual_seed(0)))  # type: ignore[arg-type]
            assert found[0].keys() == found[1].keys() == {"tokens", "pooled"}
            assert all(torch.allclose(found[0][way], found[1][way], atol=1e-5) for way in found[0])


def test_the_names_of_all_are_the_names_of_each(canvas: Model) -> None:
    concepts, settings = list(canvas.catalog.of_kind("object")), MimSettings()
    for concept, found in zip(concepts, _names(canvas, concepts, settings), strict=True):
        (alone,) = _names(canvas, [concept], settings)
        assert found.keys() == alone.keys()
        for way, sides in found.items():
            assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(sides, alone[way], strict=True))


def test_rows_of_many_prompts_are_those_of_each(sd1: Model) -> None:
    prompts = [f"a {name}" for name in NAMES] + [f"{name}s" for name in NAMES]
    together = TextRows.of(sd1, prompts)
    for prompt in prompts[:3] + prompts[-3:]:
        assert torch.allclose(together.all(prompt), TextRows.of(sd1, [prompt]).all(prompt), atol=1e-5)


@pytest.mark.parametrize("method", ["mim", "uce", "rece"])
def test_memory_grows_with_the_rows_alone(method: str, sd1: Model) -> None:
    """What is held at most, in tensors, above what one concept takes: some copies of the rows that are redirected, and no more."""
    settings = get(method).parse({"rounds": 0} if method == "mim" else {})

    def most(count: int) -> int:
        with _watched() as watch:
            get(method).erase(sd1, free(count), settings, Run())
        return watch.most

    most(1)
    growth = (most(25) - most(5)) / 20
    row = 77 * 32 * 8  # of one name, as the solve has them: float64
    assert growth < 16 * row, growth / row


def test_learning_asks_the_network_as_often_for_many_as_for_one(sd1: Model, read: list[str]) -> None:
    calls: list[int] = []
    sd1.denoiser.register_forward_hook(lambda network, inputs, output: calls.append(len(output[0])))
    settings, counts, prompts = (
        get("mim").parse({"rounds": 2, "steps": 2, "batch": 2, "trajectories": 8, "sampler_steps": 2}),
        [],
        [],
    )
    for concepts in (free(1), free(8)):
        calls.clear()
        read.clear()
        get("mim").erase(sd1, concepts, settings, Run())
        counts.append(sum(calls))
        prompts.append(len(set(read)))
    assert counts[0] == counts[1]
    assert prompts[1] - prompts[0] < 3 * 8, "the names, and as many prompts for the pictures as before"


def test_a_run_that_goes_on_reads_the_same_prompts_together(canvas: Model, read: list[str], tmp_path: Path) -> None:
    """A prompt's bits depend on those beside it, so a run that was stopped must not encode only what its last rounds ask for."""
    settings = get("mim").parse({"rounds": 4, "steps": 1, "batch": 2, "trajectories": 6, "sampler_steps": 2})

    def run(stop: float) -> list[str]:
        read.clear()

        def report(stage: str, done: int, total: int) -> None:
            if stage == "erasing" and done >= stop:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            made.append(
                get("mim").erase(canvas, [CAT], settings, Run(checkpoint=tmp_path / "run.safetensors", progress=report))
            )
        return list(read)

    made: list[Any] = []
    order = [run(2.5), run(99)]
    (resumed,) = made
    whole = get("mim").erase(canvas, [CAT], settings, Run())
    assert order[1] == order[0][: len(order[1])] and len(order[1]) > 12, (
        "but for the names of the start, which is not made again"
    )
    assert all(torch.equal(tensor, resumed.tensors()[name]) for name, tensor in whole.tensors().items())


@pytest.mark.parametrize("length", [5, 8, 77])
def test_what_certainly_fits_is_not_cut(length: int, sd1: Model) -> None:
    """Short prompts are not read by the tokenizer at all: none of them would have been cut."""
    tokenizer = sd1.pipeline.tokenizer
    for prompt in ("", "abc", "a b c", "abcde", "a" * 74, "a" * 75, "a" * 76, "ééé", "a b" * 30, "ﷺ" * 3):
        tokens = len(tokenizer(prompt).input_ids)
        assert bool(left_out(tokenizer, [prompt], length)) is (tokens > length), (prompt, tokens)
