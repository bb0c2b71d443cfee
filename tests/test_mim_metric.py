"""The metric of text rows and the descent in it, against numpy and the closed form that they must reach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, nn

from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import PROMPTS, STRINGS, WORDS, declared_words, random_prompts, random_strings, words_of
from excise.erasure.run import Run
from excise.methods import get
from excise.methods.mim import metric
from excise.methods.mim.metric import Inverse, Metric, Steepest, inverse, moments, root
from excise.methods.mim.start import redirections
from excise.models import Conditioning, Model, load
from excise.models.families.stable_diffusion import StableDiffusion
from trained_methods import CAT, settings_of


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_the_inverse_against_numpy(canvas: Model) -> None:
    concepts = [canvas.catalog.resolve("cat")]
    bank = PromptBank.of(canvas, concepts)
    rows = np.concatenate([part.tokens.flatten(0, 1).double().numpy() for part in (bank.empty, bank.masked)])
    felt = rows.T @ rows / len(rows)
    expected = np.linalg.inv(felt + 0.01 * np.trace(felt) / len(felt) * np.eye(len(felt)))
    expected /= np.linalg.eigvalsh(expected)[-1]
    found = moments(canvas, bank, concepts, "rest", seeded())["tokens"]
    assert found is not None and np.abs(inverse(found, 0.01).numpy() - expected).max() < 1e-9
    assert moments(canvas, bank, concepts, "none", seeded()) == {}


def test_the_root_feels_what_all_the_text_feels() -> None:
    torch.manual_seed(0)
    rows, change = torch.randn(5, 8).double(), torch.randn(3, 8).double()  # fewer rows than directions: S is singular
    found = root(rows.T @ rows / 5)
    assert found.shape == (8, 8) and torch.isfinite(found).all()
    assert torch.allclose((change @ found.T).square().sum(), (change @ rows.T).square().sum() / 5)


@pytest.mark.parametrize("kind", ["vocabulary", "in_place"])
def test_it_is_the_moment_of_random_text(kind: Metric, canvas: Model) -> None:
    concepts = [canvas.catalog.resolve("cat")]
    bank = PromptBank.of(canvas, concepts)
    texts = {
        "vocabulary": random_strings(canvas, bank, seeded()),
        "in_place": random_prompts(canvas, concepts[0], metric.PROMPTS, seeded()),
    }
    rows = Conditioning.join([bank.empty, canvas.encode(texts[kind])]).tokens.flatten(0, 1).double().numpy()
    found, rest = (moments(canvas, bank, concepts, each, seeded())["tokens"] for each in (kind, "rest"))  # type: ignore[arg-type]
    assert found is not None and np.allclose(found.numpy(), rows.T @ rows / len(rows), atol=1e-6)
    assert rest is not None and not torch.allclose(found, rest, atol=1e-2)


def test_what_a_change_moves_counts_by_how_far_it_moves_it(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt by prompt, in numpy; also where a mask says which of its rows are read."""
    concepts = [canvas.catalog.resolve("cat")]
    bank = PromptBank.of(canvas, concepts)
    torch.manual_seed(0)
    told = canvas.encode(["a dog", "an owl", "two red houses", ""])
    mask = torch.ones(told.tokens.shape[:2], dtype=torch.bool)
    mask[0, 5:] = mask[2, 3:] = False
    change = torch.randn(told.tokens.shape[-1], told.tokens.shape[-1]).double()
    for some in (told, Conditioning(told.tokens, mask=mask)):
        monkeypatch.setattr(metric, "_others", lambda *_, some=some: iter([some[:1], some[1:]]))
        total, weight = 0.0, 0.0
        for tokens, read in zip(told.tokens.double().numpy(), some.mask if some.mask is not None else mask | True, strict=True):
            rows = tokens[read.numpy()]
            moved = ((rows @ change.numpy().T) ** 2).sum(1).mean()
            total, weight = total + moved * rows.T @ rows, weight + moved * len(rows)
        found = moments(canvas, bank, concepts, "near", seeded(), moved_by={"tokens": change})["tokens"]
        assert np.allclose(found.numpy(), total / weight, rtol=1e-6)


def test_near_spares_what_feels_most(canvas: Model) -> None:
    """Of a start in this metric the prompt that feels most feels less than in the metric that counts all alike."""
    concepts = [canvas.catalog.resolve("cat")]
    bank = PromptBank.of(canvas, concepts)
    settings = settings_of("mim")
    felt = moments(canvas, bank, concepts, "in_place", seeded())
    named = redirections(canvas, concepts, bank, [], felt, settings)
    again = redirections(
        canvas, concepts, bank, [], moments(canvas, bank, concepts, "near", seeded(), moved_by=named), settings
    )
    others = canvas.encode(random_prompts(canvas, concepts[0], 200, seeded(7))).tokens.double()
    most = [float((others @ change["tokens"].T).square().sum(2).mean(1).max()) for change in (named, again)]
    assert most[1] < 0.95 * most[0]


def test_no_concept_to_erase_stands_in_the_place_of_another(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    concepts = [canvas.catalog.resolve(name) for name in ("cat", "dog", "style:sketch")]
    bank, seen = PromptBank.of(canvas, concepts), list[str]()
    encode = StableDiffusion.encode
    monkeypatch.setattr(StableDiffusion, "encode", lambda self, told, batch: seen.extend(told) or encode(self, told, batch))
    moments(canvas, bank, concepts, "in_place", seeded())
    assert metric.PROMPTS / 2 <= len(seen) <= metric.PROMPTS + 2 and len(set(seen)) == len(seen)
    used = {word for prompt in seen for word in prompt.lower().replace(",", " ").replace(":", " ").split()}
    assert not used & {word for concept in concepts for word in words_of(concept)} - {"a", "an"} and len(used) > 20


@pytest.mark.parametrize(("least", "most", "wanted"), [(8, 100, 100), (8, 10_000, None), (700, 100, 700)])
def test_each_word_has_a_prompt_within_bounds(
    canvas: Model, monkeypatch: pytest.MonkeyPatch, least: int, most: int, wanted: int | None
) -> None:
    monkeypatch.setattr(metric, "PROMPTS", least)
    monkeypatch.setattr(metric, "MOST", most)
    cat = canvas.catalog.resolve("cat")
    prompts = metric._prompts(canvas, PromptBank.of(canvas, [cat]), [cat], "in_place", seeded())
    assert len(prompts) == (wanted or len(metric.vocabulary(canvas, words_of(cat))))


def test_random_strings_name_nothing_to_erase(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    bank = PromptBank.of(canvas, [cat])
    strings = random_strings(canvas, bank, seeded())
    words = [string.split() for string in strings]
    assert len(strings) == STRINGS and {len(each) for each in words} == set(range(1, WORDS + 1))
    used = {word for each in words for word in each}
    vocabulary = {token.removesuffix("</w>") for token in canvas.pipeline.tokenizer.get_vocab() if token.endswith("</w>")}
    assert used <= vocabulary and len(used) > 20
    own = {word for phrase in cat.phrases for word in phrase.split()}
    masked = {word for pair in bank.pairs for word in pair.masked.lower().replace(",", " ").split()}
    assert not used & (own - masked)
    assert random_strings(canvas, bank, seeded()) == strings != random_strings(canvas, bank, seeded(1))


def test_undeclared_is_the_control_that_the_docs_count() -> None:
    """The built-in model's small vocabulary names what is to be kept; its page says how often, and the control's prompts never do."""
    model = load("canvas", device="cpu")
    cat, declared = model.catalog.resolve("cat"), declared_words(model)
    assert {"dog", "owl", "sketch"} <= declared and not {"a", "an", "style", "picture"} & declared
    tokens = {token.removesuffix("</w>") for token in model.pipeline.tokenizer.get_vocab() if token.endswith("</w>")}
    words = {word for word in tokens if word.isalpha()}
    plain = replace(cat, contexts=())
    prompts = [random_prompts(model, plain, PROMPTS, Run(0).generator(2), avoid=avoid) for avoid in (set(), declared)]
    named = [
        sum(bool(set(prompt.replace(",", " ").replace(":", " ").split()) & declared) for prompt in each) for each in prompts
    ]
    assert named[1] == 0
    page = Path(__file__).parents[1] / "docs" / "research" / "mim" / "method.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert (
        f"{len(words & declared)} of its {len(words)} words" in text and f"{named[0]} of the {len(prompts[0])} prompts" in text
    ), (len(words & declared), len(words), named[0])
    bank = PromptBank.of(model, [cat])
    found, control = (moments(model, bank, [cat], kind, seeded())["tokens"] for kind in ("in_place", "undeclared"))  # type: ignore[arg-type]
    assert found is not None and control is not None and not torch.allclose(found, control, atol=1e-3)


def test_a_step_against_numpy() -> None:
    """Two tensors, of which one reads text; three steps with changing gradients and rates."""
    torch.manual_seed(0)
    reading, other = nn.Parameter(torch.randn(4, 3).double()), nn.Parameter(torch.randn(5).double())
    inverse = torch.randn(3, 3).double()
    inverse = inverse @ inverse.T
    optimizer = Steepest([reading, other], 0.1, [Inverse(inverse), None])
    expected = [p.detach().numpy().copy() for p in (reading, other)]
    mean, square = [np.zeros_like(e) for e in expected], [0.0, 0.0]
    for step in range(1, 4):
        optimizer.param_groups[0]["lr"] = lr = 0.1 / step
        reading.grad, other.grad = torch.randn(4, 3).double(), torch.randn(5).double()
        for i, gradient in enumerate((reading.grad.numpy() @ inverse.numpy(), other.grad.numpy())):
            mean[i] = 0.9 * mean[i] + 0.1 * gradient
            square[i] = 0.99 * square[i] + 0.01 * (gradient**2).mean()
            expected[i] -= lr * mean[i] / (1 - 0.9**step) / np.sqrt(square[i] / (1 - 0.99**step))
        optimizer.step()
    for parameter, value in zip((reading, other), expected, strict=True):
        assert np.abs(parameter.detach().numpy() - value).max() < 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 4, 40])
def test_few_rows_change_what_it_costs_and_not_what_it_gives(count: int) -> None:
    """Rows that occur twice, and more directions than the rows have, are no matter; of too many nothing is taken away."""
    torch.manual_seed(count)
    rows = torch.randn(count, 32).double()
    gradient = torch.randn(6, count).double() @ rows
    matrix = torch.randn(32, 32).double()
    short = Inverse(matrix @ matrix.T)
    short.reads(torch.cat([rows, rows[:2]]))
    assert torch.allclose(short.after(gradient), gradient @ short.matrix, atol=1e-9)
    other = torch.randn(6, 32).double()
    assert torch.allclose(short.after(other), other @ short.matrix) == (count > 3)


@pytest.mark.parametrize("own", [{}, {"space": "guided"}, {"anchor_rest": True}], ids=str)
def test_the_rows_of_a_step_are_all_that_its_weights_read(
    own: dict[str, Any], sdxl: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a step asks: its own prompts, the empty one, those without the words; each way in by itself."""
    told, asked, taken = dict[int, torch.Tensor](), list[tuple[int, torch.Tensor]](), Inverse.after
    monkeypatch.setattr(Inverse, "reads", lambda self, rows: told.update({len(self.matrix): rows}))

    def after(self: Inverse, gradient: torch.Tensor) -> torch.Tensor:
        rows = told[len(self.matrix)]
        for width, found in asked:
            if width == len(self.matrix):
                assert torch.cdist(found, rows, compute_mode="donot_use_mm_for_euclid_dist").min(1).values.max() < 1e-4
        return taken(self, gradient)

    def heard(width: int, found: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            asked.append((width, found.detach().flatten(0, -2)[:, :width]))

    monkeypatch.setattr(Inverse, "after", after)
    empty = sdxl.encode([""])
    assert empty.pooled is not None
    widths = {"tokens": empty.tokens.shape[-1], "pooled": empty.pooled.shape[-1]}
    reads = {entrance.weight: entrance.reads for entrance in sdxl.entrances}
    for weight, layer in sdxl.layers(reads).items():
        layer.register_forward_pre_hook(lambda _, inputs, width=widths[reads[weight]]: heard(width, inputs[0]))
    get("mim").erase(
        sdxl, [CAT], settings_of("mim", rounds=1, steps=2, batch=2, trajectories=2, sampler_steps=2, **own), Run(0)
    )
    assert {width for width, _ in asked} == set(told) == set(widths.values())


def test_no_gradient_no_step() -> None:
    parameter = nn.Parameter(torch.ones(2, 3))
    optimizer = Steepest([parameter], 0.1, [Inverse(torch.eye(3))])
    parameter.grad = torch.zeros(2, 3)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(2, 3))


def test_it_descends_to_the_change_that_others_feel_least() -> None:
    """dW C = A in the end, with the closed form's dW; plain gradient steps end with another one, which random rows feel more."""
    torch.manual_seed(0)
    shared = 3 * torch.randn(8).double()  # as text rows have
    others, rows, wanted = (
        shared + torch.randn(500, 8).double(),
        shared + torch.randn(2, 8).double(),
        torch.randn(4, 2).double(),
    )
    moment = others.T @ others / len(others)
    inverse = torch.linalg.inv(moment)

    def descend(inverse: torch.Tensor) -> torch.Tensor:
        change = nn.Parameter(torch.zeros(4, 8).double())
        optimizer = Steepest([change], 1.0, [Inverse(inverse / torch.linalg.matrix_norm(inverse, 2))])
        for step in range(4000):
            optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 4000)
            change.grad = 2 * (change.detach() @ rows.T - wanted) @ rows
            optimizer.step()
        return change.detach()

    steep, plain = descend(inverse), descend(torch.eye(8).double())
    closed = wanted @ torch.linalg.inv(rows @ inverse @ rows.T) @ rows @ inverse
    assert torch.allclose(closed @ rows.T, wanted) and torch.allclose(plain @ rows.T, wanted, atol=1e-2)
    assert torch.allclose(steep, closed, atol=1e-2 * float(closed.abs().max()))
    felt = [float((others @ change.T).square().mean()) for change in (steep, plain)]
    assert felt[0] < 0.8 * felt[1]


@pytest.mark.parametrize("metric", ["in_place", "near", "vocabulary", "undeclared", "rest", "none"])
def test_erasing_in_every_metric(metric: str, sd1: Model) -> None:
    def change(**more: object) -> torch.Tensor:
        settings = settings_of("mim", rounds=1, steps=2, batch=2, trajectories=2, sampler_steps=2, **more)
        deltas = get("mim").erase(sd1, [CAT], settings, Run()).deltas
        return torch.cat([deltas[name].dense().flatten() for name in sorted(deltas)])

    start = {"start": "base" if metric == "none" else "solved"}
    found = change(metric=metric, **start)
    assert torch.isfinite(found).all() and found.abs().max() > 0
    assert torch.equal(found, change(metric=metric, ridge=0.3, **start)) == (metric == "none")
