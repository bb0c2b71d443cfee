"""Prompts longer than the context, read in chunks of it: rows, pictures, erasures, and who refuses."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from excise.cli import app
from excise.concepts import Concept
from excise.edits import Edit
from excise.edits.adapter import Transport
from excise.erasure.attention import start_token_detached, token_positions
from excise.erasure.counterexamples import Counterexample
from excise.erasure.run import Run
from excise.erasure.text_rows import TextRows
from excise.methods import get
from excise.models import Model, load
from excise.models.context import check_read, tell_cut
from excise.models.drawing import Drawing
from excise.models.fingerprint import named_tensors, surroundings
from test_attacks import random_edit

CHUNKS = Drawing(long_prompts="chunk")
FILLER = "and then some more of it " * 4
"""80 letters, of which the tiny tokenizer makes a token each; the context has room for 75."""
LATE = FILLER + "a cat"
LONGER = FILLER * 2 + "a dog"
SHORT = "a cat"


@pytest.fixture(scope="module")
def models(tiny_sd1: Path, tiny_sdxl: Path) -> dict[str, Model]:
    return {folder.name: load(folder, device="cpu", drawing=CHUNKS) for folder in (tiny_sd1, tiny_sdxl)}


@pytest.fixture(params=["tiny-sd1", "tiny-sdxl"])
def model(request: pytest.FixtureRequest, models: dict[str, Model]) -> Iterator[Model]:
    """Reads long prompts in chunks."""
    yield models[request.param]


def _by_hand(tokenizer: Any, encoder: Any, prompt: str) -> list[Any]:
    """Oracle: the encoder asked for every 75 tokens of a prompt alone, between start and end, filled up."""
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
    found = []
    for first in range(0, max(len(ids), 1), 75):
        row = [tokenizer.bos_token_id, *ids[first : first + 75], tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (77 - len(row))
        found.append(encoder(torch.tensor([row]), output_hidden_states=True))
    return found


@torch.no_grad()
def _expected(model: Model, prompt: str) -> tuple[Tensor, Tensor | None]:
    """Tokens (rows, width) and what is pooled (width)."""
    pipeline = model.pipeline
    one = _by_hand(pipeline.tokenizer, pipeline.text_encoder, prompt)
    if model.name == "tiny-sd1":
        return torch.cat([chunk[0][0] for chunk in one]), None
    two = _by_hand(pipeline.tokenizer_2, pipeline.text_encoder_2, prompt)
    sides = [torch.cat([chunk.hidden_states[-2][0] for chunk in chunks]) for chunks in (one, two)]
    return torch.cat(sides, -1), two[0].text_embeds[0]


def test_a_prompt_is_read_in_chunks_of_the_context(model: Model) -> None:
    prompts = [SHORT, LATE, LONGER, ""]
    told = model.encode(prompts)
    assert told.mask is not None and told.lengths == [77, 154, 231, 77] and told.tokens.shape[1] == 231
    for prompt, one in zip(prompts, told, strict=True):
        tokens, pooled = _expected(model, prompt)
        assert torch.allclose(one.tokens[0, : len(tokens)], tokens, atol=1e-5)
        assert one.mask is not None and one.mask[0, : len(tokens)].all() and not one.mask[0, len(tokens) :].any()
        assert (one.pooled is None) == (pooled is None)
        assert pooled is None or torch.allclose(one.pooled[0], pooled, atol=1e-5)  # type: ignore[index]
    parts = model.encode(prompts, batch=1)
    assert torch.allclose(parts.tokens, told.tokens, atol=1e-5) and torch.equal(parts.mask, told.mask)  # type: ignore[arg-type]


def test_prompts_of_one_chunk_are_read_and_drawn_to_the_same_bits(model: Model, request: pytest.FixtureRequest) -> None:
    cut = request.getfixturevalue(model.name.removeprefix("tiny-"))
    prompts = [SHORT, "", "x" * 75]
    one, other = model.encode(prompts), cut.encode(prompts)
    assert one.mask is None and torch.equal(one.tokens, other.tokens)
    assert one.pooled is None or torch.equal(one.pooled, other.pooled)
    assert torch.equal(*(each.sample(prompts, [0, 1, 2], steps=2) for each in (model, cut)))
    assert model.segments(prompts) == cut.segments(prompts) and model.token_ids(prompts) == cut.token_ids(prompts)
    concept = Concept("cat", "object", ("a cat",))
    edits = [get("uce").erase(each, [concept], get("uce").settings(), Run()) for each in (model, cut)]
    for name, tensor in edits[0].tensors().items():
        assert torch.equal(tensor, edits[1].tensors()[name]), name
    assert edits[0].manifest == edits[1].manifest


@torch.no_grad()
def test_a_picture_is_that_of_the_pipeline_told_all_chunks(model: Model) -> None:
    """Where one prompt has fewer chunks than the other, interfaces fill it up with those of the empty prompt: guidance's has no others."""
    tokens, pooled = _expected(model, LATE)
    empty, empty_pooled = _expected(model, "")
    told = {"prompt_embeds": tokens[None], "negative_prompt_embeds": torch.cat([empty, empty])[None]}
    if pooled is not None and empty_pooled is not None:
        told |= {"pooled_prompt_embeds": pooled[None], "negative_pooled_prompt_embeds": empty_pooled[None]}
        told["negative_prompt_embeds"], told["negative_pooled_prompt_embeds"] = (
            torch.zeros_like(told[name]) for name in ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
        )
    noise = model.start_noise([7])
    expected = model.pipeline(
        **told, num_inference_steps=3, guidance_scale=5.0, latents=noise, output_type="latent", height=16, width=16
    )
    assert torch.allclose(model.latents([LATE], [7], steps=3, guidance_scale=5.0), expected.images, atol=1e-4)


def test_a_prompt_is_drawn_alike_whatever_is_drawn_beside_it(model: Model) -> None:
    """A prompt of fewer chunks does not feel that others have more, which caches and batches count on."""
    together = model.latents([SHORT, LATE, LONGER], [0, 1, 2], steps=2)
    alone = torch.cat([model.latents([prompt], [seed], steps=2) for seed, prompt in enumerate((SHORT, LATE, LONGER))])
    assert torch.allclose(together, alone, atol=1e-4)
    assert (together[1] - model.latents([FILLER], [1], steps=2)[0]).norm() > 1e-3, "the end is seen"


def test_segments_say_where_the_tokens_lie(model: Model) -> None:
    (parts,), (ids,) = model.segments([LATE]), model.token_ids([LATE])
    assert [(part.start, part.first, part.stop) for part in parts] == [(0, 1, 77), (77, 78, 154)]
    letters = model.tokenizer(LATE, add_special_tokens=False, verbose=False).input_ids
    assert [one for part in parts for one in part.ids] == letters and ids[1:-1] == letters
    own = token_positions(model, LATE, ["cat"], end=True)
    at = len(letters) - 3 + 1 + 2  # the first chunk's start and end, and the second's start, lie before it
    assert own == [at, at + 1, at + 2, at + 3]


def test_start_tokens_of_all_chunks_are_detached(model: Model) -> None:
    told = model.encode([LATE])
    tokens = told.tokens.clone().requires_grad_(True)
    x, t = model.start_noise([0]), torch.tensor([500])
    with start_token_detached(model):
        model.predict(x, t, told.with_tokens(tokens)).sum().backward()
    assert tokens.grad is not None
    still = tokens.grad[0].abs().sum(1) == 0
    assert still.nonzero().flatten().tolist() == [0, 77]


def test_attention_maps_leave_out_what_fills_up(model: Model) -> None:
    told = model.encode([SHORT, LATE])
    with model.attention_maps() as maps:
        model.predict(model.start_noise([0, 1]), torch.tensor([500, 500]), told)
    with model.attention_maps() as alone:
        model.predict(model.start_noise([0]), torch.tensor([500]), model.encode([SHORT]))
    for found, own in zip(maps, alone, strict=True):
        assert not found[0, ..., 77:].any() and torch.allclose(found[:1, ..., :77], own, atol=1e-5)
        assert torch.allclose(found.sum(-1), torch.ones(()), atol=1e-5) and found[1, ..., 77:].any()


def test_rows_that_are_paired_are_those_of_the_same_chunk_or_the_last(model: Model) -> None:
    """A chunk that the guide does not have goes where the guide ends."""
    rows = TextRows.of(model, [LATE, SHORT], ["a cat"])
    assert rows.all(LATE).shape[0] == 154 and rows.all(SHORT).shape[0] == 77
    own, guides = rows.paired(LATE, SHORT, "last")
    assert torch.equal(guides, rows.last(SHORT).expand(2, -1)) and torch.equal(own, rows.last(LATE))
    own, guides = rows.paired(LATE, SHORT, "all")
    assert torch.equal(own, rows.all(LATE)) and torch.equal(guides, rows.all(SHORT).repeat(2, 1))


@pytest.mark.parametrize("method", ["uce", "mim"])
def test_a_concept_late_in_a_long_prompt_is_erased(method: str, model: Model, request: pytest.FixtureRequest) -> None:
    late = Concept("cat", "object", ("a cat",), ("",), (FILLER + "{object}", FILLER * 2 + "{object}"))
    cut = request.getfixturevalue(model.name.removeprefix("tiny-"))
    with pytest.raises(ValueError, match="reads 75 tokens of a prompt, too few"):
        check_read(cut, [late])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tell_cut(model, [LATE, LONGER])
        settings = get(method).parse({"wording": "templates"} if method == "uce" else {"rounds": 0, "metric": "rest"})
        edit = get(method).erase(model, [late], settings, Run())
    assert edit.manifest.long_prompts == "chunk"
    x, t = model.start_noise(range(4)), torch.tensor([200, 400, 600, 800])

    def away() -> float:
        with_, without = (model.predict(x, t, model.encode([text]).expand(4)) for text in (LATE, FILLER))
        return float((with_ - without).norm())

    before = away()
    with edit.applied(model):
        assert away() < 0.7 * before


@pytest.mark.parametrize("guided", [False, True])
def test_an_adapter_acts_as_strongly_as_on_the_chunk_that_names_its_concept(guided: bool) -> None:
    torch.manual_seed(0)
    transport = Transport(torch.zeros(0, 7, 4), torch.randn(7, 4), torch.tensor([0.5]))
    chunks = [torch.randn(3, 7, 4) for _ in range(3)]
    chunks[2][0] = 0  # filled up
    each = torch.stack([transport(chunk) for chunk in chunks])
    expected = torch.cat([each[:2, 0].amax(0, keepdim=True), each[:, 1:].amax(0)])
    if guided:
        empty = torch.full((1, 7, 4), 0.1)
        transport = replace(transport, empty=empty)
        without = torch.cat([empty.expand(3, -1, -1), torch.zeros(3, 14, 4)], 1)
        found = transport(torch.cat([without, torch.cat(chunks, 1)]))
        assert torch.allclose(found, expected.repeat(2))
        return
    assert torch.allclose(transport(torch.cat(chunks, 1)), expected)


def test_what_is_kept_of_pictures_is_apart(models: dict[str, Model], sd1: Model) -> None:
    assert surroundings(models["tiny-sd1"]) != surroundings(sd1) and "long_prompts" not in surroundings(sd1)
    assert models["tiny-sd1"].drawn == {**sd1.drawn, "long_prompts": "chunk"}


@pytest.mark.parametrize("which", ["sd3", "flux", "z_image", "flux2_klein", "qwen_image"])
def test_others_refuse_before_a_weight_is_loaded(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder, out = request.getfixturevalue(f"tiny_{which}"), tmp_path / "x"
    words = "prompts of .* are not read in chunks of the context .*1.x and 2.x, Stable Diffusion XL are.*; leave long_prompts at cut"
    for more in ([], ["--dry-run"]):
        arguments = ["generate", SHORT, "--long-prompts", "chunk", "--model", str(folder), "--device", "cpu", "--out", str(out)]
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 2 and not out.exists() and re.fullmatch(f"excise: error: {words}\n", result.stderr)
    with pytest.raises(ValueError, match=words):
        load(folder, device="cpu", drawing=CHUNKS)


def test_a_command_reads_them_so_and_says_it(tiny_sd1: Path, models: dict[str, Model], tmp_path: Path) -> None:
    arguments = [LATE, "--long-prompts", "chunk", "--steps", "2", "--model", str(tiny_sd1), "--device", "cpu"]
    result = CliRunner().invoke(app, ["generate", *arguments, "--out", str(tmp_path / "x")])
    assert result.exit_code == 0 and not result.stderr
    assert json.loads((tmp_path / "x" / "pictures.json").read_text())["long_prompts"] == "chunk"
    bad = CliRunner().invoke(app, ["generate", *arguments, "--long-prompts", "fold", "--out", str(tmp_path / "y")])
    assert bad.exit_code == 2 and not (tmp_path / "y").exists()


def test_an_embedding_of_one_context_is_unlearned_beside_long_prompts(models: dict[str, Model]) -> None:
    model = models["tiny-sd1"]
    late = Concept("cat", "object", ("a cat",), ("",), (FILLER + "{object}",))
    told = torch.randn(77, 32, generator=torch.Generator().manual_seed(0))
    guide = FILLER + "so it ends"
    found = Counterexample(late.label, "inversion", told, guide)
    settings = get("mim").parse({"rounds": 0, "metric": "rest", "hold": 0.1})
    name, goal = model.entrances[0].weight, model.encode([guide]).tokens[0, :77]

    def away(edit: Edit) -> float:
        """How far the embedding is from what it is to be taken for, at an entrance."""
        weight = named_tensors(model)[name].detach()
        with edit.applied(model):
            return float((told @ named_tensors(model)[name].detach().T - goal @ weight.T).norm())

    with_, without = (away(get("mim").erase(model, [late], settings, Run(counterexamples=each))) for each in ((found,), ()))
    assert with_ < 0.7 * without


@pytest.mark.parametrize("attack", ["p4d", "ring-a-bell"])
def test_an_attack_on_one_context_refuses_longer_prompts(attack: str, tiny_canvas: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_canvas, tmp_path / "wordy"))
    data = json.loads((folder / "excise.json").read_text())
    data["templates"] = [FILLER + "{object|something}[, {style}]"]
    (folder / "excise.json").write_text(json.dumps(data))
    random_edit(load(folder, device="cpu"), "cat").save_pretrained(tmp_path / "edit")
    arguments = ["audit", str(tmp_path / "edit"), "--attacks", attack, "--long-prompts", "chunk", "--model", str(folder)]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--prompts", "2", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and not (tmp_path / "out").exists(), result.stderr
    assert re.fullmatch(
        r"excise: error: .* search the tokens of one context, and prompts of object:cat are longer; .*\n", result.stderr
    )
