"""Erasing where a language model reads the prompts: rows that are not as many as another prompt's, words of two tokens, chats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import excise
from excise.attacks import token_search
from excise.attacks.search.attack import _with_random_words
from excise.concepts import Concept
from excise.edits.weight_edit import WeightEdit
from excise.erasure.attention import start_token_detached
from excise.erasure.counterexamples import Counterexample
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.text_rows import Alignment, TextRows
from excise.methods import get, methods
from excise.methods.mim import metric
from excise.models import Model
from excise.models.families import check_offers

FAMILIES = ["z_image", "flux2_klein", "qwen_image"]
MASKED = ["z_image", "qwen_image"]
TINY = {
    "rounds": 1,
    "steps": 2,
    "batch": 2,
    "trajectories": 2,
    "sampler_steps": 2,
    "pictures": 2,
    "picture_steps": 2,
    "warm_up": 1,
}
CAT = Concept("cat", "object", ("a cat",), (), ("a picture of {object|something}", "[{object}]"))


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def short_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.models.families.qwen.QwenModel.longest", 64)  # rows that fill a prompt up are read, too


def families(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("model", names or FAMILIES, indirect=True)


def erased(model: Model, method: str, concepts: Any = (CAT,), run: Run | None = None, **settings: Any) -> excise.Edit:
    found, fields = get(method), get(method).settings.model_fields
    few = {key: value for key, value in TINY.items() if key in fields} | {"anchor": {"anchor": "a dog"}}.get(
        "anchor" if "anchor" in fields else "", {}
    )
    return found.erase(model, list(concepts), found.settings(**few | settings), run or Run())


def everything(model: Model) -> dict[str, Tensor]:
    """A copy of all weights of the pipeline, by name."""
    parts = {part: getattr(model.pipeline, part).state_dict() for part in model.parts}
    return {f"{part}.{name}": tensor.clone() for part, tensors in parts.items() for name, tensor in tensors.items()}


def answers(model: Model, prompt: str, seed: int = 0) -> Tensor:
    """What a prompt is answered at two noise levels."""
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.predict(x, torch.tensor([300.0, 800.0]), model.encode([prompt]).expand(2))


# --- what changes ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, method",
    [(name, method) for name in FAMILIES for method in ("mim", "uce", "rece", "cure")]
    + [(name, method) for name in MASKED for method in ("ca", "doco", "sepme")],
    indirect=["model"],
)
def test_no_weight_outside_the_entrances_differs(
    method: str, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor one of the language model's; what is taken off leaves every bit as it was, and what is saved is read back."""
    monkeypatch.setattr(metric, "PROMPTS", 8)
    before, told = everything(model), answers(model, "a cat")
    edit = erased(model, method)
    assert isinstance(edit, WeightEdit) and set(edit.deltas) == {entrance.weight for entrance in model.entrances}
    edit.save_pretrained(tmp_path / "edit")
    with excise.load_edit(tmp_path / "edit").applied(model):
        assert (answers(model, "a cat") - told).abs().max() > 1e-6  # it reads, so the language model is there again
        after = everything(model)
        assert {name for name in before if not torch.equal(before[name], after[name])} == set(edit.deltas)
    assert all(torch.equal(tensor, everything(model)[name]) for name, tensor in before.items())


@families()
@pytest.mark.parametrize("variant", ["x", "x-strict"])
def test_esd_trains_attention_between_pictures_and_text_where_that_is_apart(variant: str, model: Model) -> None:
    """Z-Image has one stream: the layers of its attention are the picture's too, so that the entrances are trained."""
    edit = erased(model, "esd", variant=variant, lr=1e-2)
    layers = {
        name.rpartition(".attn.")[2].removesuffix(".weight").removesuffix(".bias") for name in edit.deltas if ".attn." in name
    }
    if type(model).__name__ == "ZImage":
        assert set(edit.deltas) == {entrance.weight for entrance in model.entrances}
        return
    strict = {"to_k", "to_v", "add_k_proj", "add_v_proj"}
    assert all(".attn." in name for name in edit.deltas) and "to_qkv_mlp_proj" not in layers
    assert layers == strict if variant == "x-strict" else layers > strict


@families()
def test_what_a_family_lacks_is_said(model: Model) -> None:
    refused = set()
    for name, method in methods().items():
        try:
            check_offers(model.folder, name, method.needs)  # type: ignore[arg-type]
        except ValueError as error:
            refused.add(name)
            assert "which" in str(error) and "does not have" in str(error)
    assert refused == {"duge", "fmn", "spm"}


# --- which rows -----------------------------------------------------------------------------------------------------------------------


@families(*MASKED)
@pytest.mark.parametrize("guide", ["a dog", "a very big red house"])
def test_erasing_in_closed_form_is_what_other_rows_would_do(guide: str, model: Model) -> None:
    """UCE's rows, from the concept's last token on, give what those of the guide gave: put there by hand, they are answered the same."""
    edit = erased(model, "uce", guide=guide, wording="name", tokens="aligned", preserve=("a",), preserve_weight=1.0, ridge=1e-9)
    told, other = model.encode(["a cat"]), model.encode([guide])
    (own,), (goal,) = (model.segments([text])[0] for text in ("a cat", guide))
    tokens = told.tokens.clone()
    for row in range(own.end - 1, own.stop):
        tokens[0, row] = other.tokens[0, row - (own.end - 1) + goal.end - 1]
    x, t = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 800.0])
    with torch.no_grad():
        before, expected = (model.predict(x, t, told.with_tokens(rows).expand(2)) for rows in (told.tokens, tokens))
        with edit.applied(model):
            found = model.predict(x, t, told.expand(2))
    assert (expected - before).abs().max() > 1e-2 and torch.allclose(found, expected, atol=2e-4)
    if guide == "a dog":  # as many tokens: the whole prompt is taken for the guide
        assert torch.allclose(found, answers(model, guide), atol=2e-4)


@families()
def test_a_concepts_word_is_found_with_a_space_before_it_and_without(model: Model) -> None:
    """To these tokenizers they are different tokens; rows are edited from the concept's first word on."""
    prompts = {
        "a picture of a red house in sketch style": "a picture of something in sketch style",
        "red house, photo": ", photo",
    }
    rows = TextRows.of(model, [*prompts, *prompts.values()], ["a red house"])
    for prompt, masked in prompts.items():
        first, _ = next(rows._pairs(prompt, masked, "concept"))
        assert model.tokenizer.decode(model.token_ids([prompt])[0][first]).strip() == "red"


@families()
@pytest.mark.parametrize("alignment", get_args(Alignment))
def test_like_rows_go_with_like(alignment: Alignment, model: Model) -> None:
    """What ends a chat goes with what ends the other's, row by row; no row of padding goes with one that is none."""
    prompt, masked = "a picture of a cat in sketch style", "a picture of something"
    rows = TextRows.of(model, [prompt, masked], CAT.phrases)
    (own,), (goal,) = (model.segments([text])[0] for text in (prompt, masked))
    pairs = dict(rows._pairs(prompt, masked, alignment))
    assert all(0 <= row < own.stop and 0 <= other < goal.stop for row, other in pairs.items())
    assert all(row == other for row, other in pairs.items() if row < own.first)
    if model.encode([prompt]).mask is not None and alignment != "last":
        endings = [(row, own.stop - row) for row in range(own.end, own.stop)]
        assert all(goal.stop - pairs[row] == left for row, left in endings), "the same token of the chat's end"
    assert (own.end - 1) in pairs


@families(*MASKED)
def test_counterexamples_of_other_length_are_paired(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiM's closed-form start takes the very prompt that brought the concept back for the masked one, tokens of the chat for themselves."""
    told, masked = "tree big puppy red", "tree"
    run = Run(counterexamples=(Counterexample("object:cat", "prompts", told, masked),))
    few = {"metric": "rest", "hold": 1e-9, "ridge": 1e-9, "phrasings": "plain", "lr": 1e-12}
    distances = []
    for counterexamples in ((), run.counterexamples):
        edit = erased(model, "mim", run=Run(counterexamples=counterexamples), **few)
        rows = TextRows.of(model, [told, masked])
        own, guides = rows.paired(told, masked, "all")
        before = model.components["transformer"].get_parameter(model.entrances[0].weight.partition(".")[2]).double()
        with edit.applied(model):
            after = model.components["transformer"].get_parameter(model.entrances[0].weight.partition(".")[2]).double()
            distances.append(float((own @ after.T - guides @ before.T).norm() / (own @ before.T - guides @ before.T).norm()))
    assert distances[1] < 0.1 < distances[0]


@families(*MASKED)
def test_a_metric_of_prompts_in_parts_is_that_of_all(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "PROMPTS", 40)
    bank = PromptBank.of(model, [CAT])

    def found() -> Tensor:
        return metric.moments(model, bank, [CAT], "in_place", torch.Generator().manual_seed(0))["tokens"]

    whole, sizes, encode = found(), list[int](), model.encode
    monkeypatch.setattr(metric, "AT_ONCE", 7 * bank.empty.tokens.numel())
    monkeypatch.setattr(model, "encode", lambda prompts, batch: sizes.append(len(prompts)) or encode(prompts, batch))
    assert torch.allclose(found(), whole, atol=1e-6)
    assert set(sizes[:-1]) == {7} and 1 <= sizes[-1] <= 7 and 30 < sum(sizes) <= 40, "each distinct one once"
    rows = model.read(encode(["", "a dog"]), "tokens")
    assert whole.shape == (rows.shape[1],) * 2, "of the rows that the entrance reads"


@families()
def test_no_gradient_comes_through_what_every_prompt_begins_with(model: Model) -> None:
    """The gradient of the entrance is the sum over rows; without those of the chat's beginning it is another, and of these alone none."""
    name = model.entrances[0].weight
    weight = model.components["transformer"].get_parameter(name.partition(".")[2])
    (layer,) = model.layers([name]).values()
    x, t, told = torch.randn(2, *model.latent_shape), torch.tensor([300.0, 800.0]), model.encode(["a cat", "a big red house"])
    seen: dict[str, Tensor] = {}

    def keep(layer: Any, inputs: Any, output: Tensor) -> None:
        seen.update(inputs=inputs[0], begins=model.begins(output))
        output.register_hook(lambda gradient: seen.__setitem__("gradient", gradient))

    def gradient() -> Tensor:
        return torch.autograd.grad(model.predict(x, t, told).square().sum(), weight)[0]

    weight.requires_grad_(True)
    layer.register_forward_hook(keep)
    whole = gradient()
    kept = ~seen["begins"]
    expected = seen["gradient"][kept].T @ seen["inputs"][kept]
    with start_token_detached(model):
        found = gradient()
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    assert torch.allclose(found, whole) == (type(model).__name__ == "QwenImage")  # which is not told the beginning


@families()
def test_random_words_before_a_prompt_are_words(model: Model) -> None:
    """Tokens that are read as such side by side; none of the concept's words is among them."""
    known = token_search.ordinary(model)
    spelt = {token_search.text(model, [int(token)]) for token in known}
    assert {"dog", "cat", "house", "style"} <= spelt and "" not in spelt

    class Subject:
        concept, draws = (
            CAT,
            type("Draws", (), {"generator": lambda self, *of: torch.Generator().manual_seed(hash(of) % 1000)})(),
        )

    Subject.model = model  # type: ignore[attr-defined]
    case = type("Case", (), {"asked": "a big cat", "masked": "something", "context": "", "seed": 0})()
    for number in range(20):
        pair = _with_random_words(Subject(), case, number, type("Settings", (), {"tokens": 5})())  # type: ignore[arg-type]
        words = pair.prompt.removesuffix(" a big cat")
        assert pair.prompt.endswith(" a big cat") and pair.masked == f"{words} something" and "cat" not in words.split()
