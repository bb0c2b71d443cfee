"""What every method owes, run over all of them. A new method is tested without a line here; a row below only says what is special."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import excise.methods
from excise.concepts import Concept, PromptPair
from excise.edits import Edit, applied_edits, load_edit
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.methods import Method, get, methods
from excise.models import Model
from excise.models.bystanders import read_bystanders
from excise.models.fingerprint import named_tensors
from excise.settings import Wanted
from fresh_models import fresh

TINY: dict[str, Any] = {
    "rounds": 2, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 3, "pictures": 3, "picture_steps": 2, "retained": 3,
    "warm_up": 2, "prior_pictures": 3, "memory_pictures": 3,
}  # fmt: skip
"""Small values of settings that many methods have; a method gets those that it knows."""


@dataclass(frozen=True)
class Row:
    """What is special about a method: settings, and which weights it may change (a regular expression)."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    moves: str = r"^unet\."
    in_transformers: str = (
        r"^transformer\.(context_embedder|time_text_embed\.text_embedder\.linear_1|cap_embedder\.1|txt_in)\.weight$"
    )
    """The same for transformers: the entrances, unless its paper says otherwise."""
    free_text: Mapping[str, Any] = field(default_factory=dict)
    """Further settings for models that declare no concepts."""
    parts: bool = False
    """Whether every concept is trained alone."""
    beside_dog: Mapping[str, Any] = field(default_factory=dict)
    """Settings that say what the method reads by itself of an edit of "dog" on the model."""


RELABEL = {"pseudo": "a dog", "retain": "a house; a tree"}
KV = r"^unet\.(.*attn2\.to_[kv]|add_embedding\.linear_1)\.weight$"
ROWS: dict[str, Row] = {
    "mim": Row({"phrasings": "plain"}, moves=KV),
    "uce": Row(moves=KV),
    "rece": Row(moves=KV),
    "cure": Row(moves=KV),
    "doco": Row(moves=KV),
    "ca": Row({"prior_weight": 0.5, "weight_decay": 0.01, "clip": 1.0}, moves=KV),
    "esd": Row(
        {"states": "fresh", "within_bin": True, "schedule": "constant"},
        moves=r"^unet\..*\.attn2\.",
        in_transformers=r"\.attn\.|cap_embedder\.1",
    ),
    "sdd": Row({"decay": 0.5}, moves=r"^unet\..*\.attn2\."),
    "erasediff": Row({"balance": "bome"}, in_transformers=r"^transformer\.", free_text=RELABEL),
    "salun": Row(in_transformers=r"^transformer\.", free_text=RELABEL),
    "spm": Row({"anchors": 2}, moves=r"^(?!)", parts=True),  # no weight at all
    "duge": Row({"prior": "a bird", "memory": "photo", "pictures_by": "current", "drift_weight": 0.1}, moves=KV),
    "sepme": Row(
        {"tolerance": 0.5}, moves=KV, parts=True, beside_dog={"protect": "a dog"}
    ),  # the tiny models' 32 numbers per token leave nothing exactly free of 77 tokens
}

U_NETS = {"duge", "fmn", "spm"}
"""Methods that need what U-Nets alone have: attention of pictures to text alone, or their transformer blocks."""

ALL = sorted(methods())
TRAINED = [name for name in ALL if "lr" in get(name).settings.model_fields]


def _settings(method: Method, model: Model, **values: Any) -> Any:
    row = ROWS.get(method.name, Row())
    tiny = {name: value for name, value in TINY.items() if name in method.settings.model_fields}
    own = {**row.settings, **({} if model.catalog.concepts else row.free_text)}
    return method.parse({**tiny, **own, **values})


def _erase(name: str, model: Model, run: Run | None = None, **values: Any) -> Edit:
    method = get(name)
    return method.erase(model, [model.catalog.resolve("cat")], _settings(method, model, **values), run or Run())


def _weights(model: Model) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in named_tensors(model).items()}


def _changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def _pictures(model: Model) -> Tensor:
    return model.sample(["a cat", "a dog"], [0, 1], steps=2, guidance_scale=3.0)


def _same_tensors(one: Edit, other: Edit) -> bool:
    first, second = one.tensors(), other.tensors()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _close(one: Edit, other: Edit) -> bool:
    """Whether two edits are the same up to rounding."""
    first, second = one.tensors(), other.tensors()
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=1e-3, atol=1e-6) for name in first
    )


CONTRACTS = [
    *((name, which) for which in ("sd1", "canvas", "sdxl", "sd3", "flux") for name in ALL),
    *((name, which) for which in ("z_image", "flux2_klein", "qwen_image") for name in ("mim", "uce", "rece", "cure", "esd")),
]
"""Every method on every kind of network; on further families of transformers those that are promised on all."""


@pytest.mark.parametrize("name, which", CONTRACTS)
def test_an_erasure_keeps_the_contract(
    name: str, which: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("excise.models.families.qwen.QwenModel.longest", 64)  # rows that fill a prompt up are read, too
    folder = request.getfixturevalue(f"tiny_{which}")
    if name in U_NETS and which in ("sd3", "flux"):
        with pytest.raises(ValueError, match=f"^method '{name}' needs [a-zA-Z -]+, which [^\n]* does not have$"):
            get(name).check_model(folder)
        return
    get(name).check_model(folder)
    model = fresh(folder)
    before, pictures = _weights(model), _pictures(model)
    torch.manual_seed(1)
    edit = _erase(name, model)

    # The base is as it was, to the bit, and ready for the next one.
    assert _changed(before, _weights(model)) == set() and applied_edits(model) == ()
    assert not any(p.requires_grad or p.grad is not None for p in named_tensors(model).values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.denoiser.modules())
    assert torch.equal(_pictures(model), pictures)

    # On: it does something, and only what it declares. Off: bit for bit the base.
    edit.apply(model)
    moved = _changed(before, _weights(model))
    assert moved == set(edit.deltas)
    row = ROWS.get(name, Row())
    allowed = re.compile(row.moves if model.prefix == "unet" else row.in_transformers)
    assert [tensor for tensor in moved if not allowed.search(tensor)] == []
    on = _pictures(model)
    assert on.isfinite().all() and not torch.equal(on[0], pictures[0])
    edit.remove(model)
    assert _changed(before, _weights(model)) == set() and torch.equal(_pictures(model), pictures)

    # The file is the edit.
    edit.save_pretrained(tmp_path / "edit")
    back = load_edit(tmp_path / "edit")
    assert type(back) is type(edit) and _same_tensors(back, edit)
    with back.applied(model):
        assert torch.equal(_pictures(model), on)
    assert _changed(before, _weights(model)) == set()

    # The manifest says how it was made.
    manifest = back.manifest
    assert (manifest.method, manifest.kind, manifest.seed, manifest.names) == (name, get(name).kind, 0, ["object:cat"])
    assert manifest.model == model.name and manifest.base and manifest.ledger == []
    assert manifest.settings.keys() >= get(name).settings.model_fields.keys()

    # The same seed gives the same edit, whatever the global state.
    torch.manual_seed(2)
    assert _same_tensors(_erase(name, model), edit)


@pytest.mark.parametrize("name", ALL)
def test_things_that_it_is_not_told_of_change_nothing(
    name: str, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a bit of the edit, nor of its manifest: a model that lists bystanders is erased as one that lists none."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    plain, listing = fresh(tiny_canvas), fresh(tiny_canvas)
    entries = [{"name": name, "phrases": [f"a {name}", name], "head": "member"} for name in ("lamp", "moon")]
    listing.bystanders = read_bystanders(entries, listing.catalog)
    more = {"preserve": "catalog"} if "preserve" in get(name).settings.model_fields else {}
    edits = [_erase(name, model, **more) for model in (plain, listing)]
    assert _same_tensors(*edits)
    told = [edit.manifest.model_dump() for edit in edits]
    for each in told:
        each["measurements"] = {key: value for key, value in each["measurements"].items() if not key.endswith("seconds")}
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ALL)
def test_an_erasure_on_top_of_another_edit(
    name: str, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: a model whose own weights are the edited ones, which has no edit on. A method must find the same there.

    The other edit is another method's: methods that solve for their own earlier edits again are tested with themselves elsewhere.
    """
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    model, baked = fresh(tiny_canvas), fresh(tiny_canvas)
    base, pictures, alone = _weights(model), _pictures(model), _erase(name, model)
    other = get("rece" if name == "uce" else "uce")
    first = other.erase(model, [model.catalog.resolve("dog")], _settings(other, model), Run())
    with first.applied(model):
        below = _weights(model)
        second = _erase(name, model)
        assert _changed(below, _weights(model)) == set() and applied_edits(model) == ((first, 1.0),)
        with second.applied(model):
            both, seen = _weights(model), _pictures(model)

    # It names what was below, and the base as its root.
    assert [(edit["method"], edit["concepts"][0]["name"]) for edit in second.manifest.ledger] == [(other.name, "dog")]
    assert second.manifest.base == first.manifest.base == alone.manifest.base

    # Its deltas are from the model as it was: base, first and second together are what the method left.
    for tensor, parameter in named_tensors(baked).items():
        parameter.data.copy_(below[tensor])
    found = _erase(name, baked, **ROWS.get(name, Row()).beside_dog)
    assert found.manifest.ledger == [] and found.manifest.base != first.manifest.base
    assert _close(second, found), "it did not start from the model as it was"
    assert not _close(alone, found), "the other edit must matter"
    with found.applied(baked):
        left = _weights(baked)
        assert torch.allclose(_pictures(baked), seen, atol=1e-4)
    assert all(torch.allclose(both[tensor], left[tensor], atol=1e-6) for tensor in left)

    # In any order off, the base is back to the bit.
    for order in ((first, second), (second, first)):
        first.apply(model)
        second.apply(model)
        for edit in order:
            edit.remove(model)
        assert _changed(base, _weights(model)) == set() and torch.equal(_pictures(model), pictures)


@pytest.mark.parametrize("name", ALL)
def test_a_resumed_run_is_the_uninterrupted_one(name: str, canvas: Model, tmp_path: Path) -> None:
    """Stopped after more than half of its reports of progress, then called again with the same checkpoint."""
    calls = []
    whole = _erase(name, canvas, Run(progress=lambda *report: calls.append(report)))
    assert all(0 <= done <= total for _, done, total in calls)
    stop, reports = 0.6 * len(calls), 0

    def interrupt(stage: str, done: int, total: int) -> None:
        nonlocal reports
        reports += 1
        if reports > stop:
            raise KeyboardInterrupt

    before = _weights(canvas)
    checkpoint = tmp_path / "run.safetensors"
    if calls:
        with pytest.raises(KeyboardInterrupt):
            _erase(name, canvas, Run(checkpoint=checkpoint, progress=interrupt))
    assert _changed(before, _weights(canvas)) == set(), "the base must be back after an interrupt"
    assert _same_tensors(_erase(name, canvas, Run(checkpoint=checkpoint)), whole)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed"])
@pytest.mark.parametrize("name", ALL)
def test_other_precisions(name: str, dtype: str, tiny_canvas: Path) -> None:
    """What is found is finer than half precision, whatever the model computes in; what trains refuses float16 before it does anything."""
    model = fresh(tiny_canvas, dtype)
    before = _weights(model)
    if dtype == "float16" and name in TRAINED:
        calls: list[object] = []
        with pytest.raises(ValueError, match="load the model as bfloat16 or float32"):
            _erase(name, model, Run(progress=lambda *report: calls.append(report)))
        assert not calls
        return
    edit = _erase(name, model)
    found = [tensor for key, tensor in edit.tensors().items() if not key.startswith("transport:")]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in found)
    assert any(not torch.equal(tensor, tensor.to(torch.bfloat16).float()) for tensor in found)
    with edit.applied(model):
        assert _pictures(model).isfinite().all()
    assert _changed(before, _weights(model)) == set()


LEAN = [
    *((name, "canvas", "float32") for name in TRAINED),
    *((name, "canvas", "mixed") for name in ("mim", "fmn", "spm")),
    *(("mim", which, "float32") for which in ("sdxl", "sd3", "flux", "z_image", "flux2_klein", "qwen_image")),
]
"""Methods that hook into the network and others, on every kind of network."""


@pytest.mark.parametrize(("name", "which", "dtype"), LEAN)
def test_less_memory_gives_the_same_bits(
    name: str, which: str, dtype: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excise.models.families.qwen.QwenModel.longest", 64)
    monkeypatch.setattr("excise.models.precision.has_bfloat16", lambda: False)  # the harder of the two ways to round
    model = fresh(request.getfixturevalue(f"tiny_{which}"), dtype)
    short = {"rounds": 1, "pictures": 2, "retained": 2, "anchors": 3}  # one pass of a step has another batch than the other
    short = {key: value for key, value in short.items() if key in get(name).settings.model_fields}
    whole = _erase(name, model, **short)
    again = 0

    def count(*_: object) -> None:
        nonlocal again
        again += torch._C._current_graph_task_id() != -1  # inside a backward pass

    model.recompute()
    with ExitStack() as hooks:
        for part in model.denoiser.modules():
            hooks.callback(part.register_forward_pre_hook(count).remove)
        lean = _erase(name, model, **short)
    assert _same_tensors(whole, lean)
    assert again, "nothing was computed again"


@pytest.mark.parametrize("name", TRAINED)
def test_concepts_share_the_steps_of_a_run_where_they_share_its_weights(name: str, canvas: Model) -> None:
    def steps(*labels: str) -> int:
        found: list[int] = []

        def stop(stage: str, done: int, total: int) -> None:
            if stage == "erasing":
                found.append(total)
                raise KeyboardInterrupt

        method, concepts = get(name), [canvas.catalog.resolve(label) for label in labels]
        with pytest.raises(KeyboardInterrupt):
            method.erase(canvas, concepts, _settings(method, canvas), Run(progress=stop))
        return found[0]

    once = TINY["rounds"] * TINY["steps"]
    assert (steps("cat"), steps("cat", "dog")) == (once, 2 * once if ROWS.get(name, Row()).parts else once)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(
            (name, {"mim": {"phrasings": "all", "metric": "rest"}}.get(name, {}))
            for name in TRAINED
            if not ROWS.get(name, Row()).parts
        ),
        ("sepme", {"variant": "joint"}),
        ("sepme", {"variant": "whole"}),
    ],
)
def test_no_prompt_of_a_concept_names_another_one_erased_along(
    name: str, options: dict[str, Any], canvas: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cat and sketch are each other's contexts; alone each has prompts that name the other."""
    banks: list[list[PromptPair]] = []
    encode = PromptBank.of_pairs.__func__  # type: ignore[attr-defined]

    def of_pairs(cls: type[PromptBank], model: Model, groups: Sequence[Sequence[PromptPair]], **options: bool) -> PromptBank:
        banks.extend(list(group) for group in groups)
        return encode(cls, model, groups, **options)

    monkeypatch.setattr(PromptBank, "of_pairs", classmethod(of_pairs))
    method, cat, sketch = get(name), canvas.catalog.resolve("cat"), canvas.catalog.resolve("style:sketch")
    settings = _settings(method, canvas, rounds=1, steps=1, **options)

    def named(concept: Concept, pairs: Sequence[PromptPair]) -> int:
        pattern = "|".join(rf"\b{re.escape(phrase)}\b" for phrase in concept.phrases)
        return sum(bool(re.search(pattern, text)) for pair in pairs for text in (pair.prompt, pair.masked))

    method.erase(canvas, [cat, sketch], settings, Run())
    assert len(banks) == 2 and named(cat, banks[0]) and named(sketch, banks[1])
    assert (named(sketch, banks[0]), named(cat, banks[1])) == (0, 0)
    banks.clear()
    method.erase(canvas, [sketch], settings, Run())
    assert named(cat, banks[0]), "no other one is erased then"


@pytest.mark.parametrize("name", ALL)
def test_bad_settings_are_refused_by_name(name: str) -> None:
    method = get(name)
    with pytest.raises(ValueError, match="nonsense") as caught:
        method.parse({"nonsense": 1})
    assert "\n" not in str(caught.value)
    for key, info in method.settings.model_fields.items():
        if info.annotation in (int, float):
            with pytest.raises(ValueError, match=key):
                method.parse({key: "many"})
    with pytest.raises(ValueError, match="preset 'nonsense'"):
        method.parse({"preset": "nonsense"})
    for preset, values in method.settings.presets.items():
        given = {key: "a house" for key, value in values.items() if isinstance(value, Wanted)}
        method.parse({"preset": preset, **given})
        for key in given:
            with pytest.raises(ValueError, match=f"^preset {preset!r} of method {name!r} needs .*{key}=[^\n]*$"):
                method.parse({"preset": preset, **given} | {key: values[key]})


@pytest.mark.parametrize("name", ALL)
def test_every_setting_is_explained(name: str) -> None:
    method = get(name)
    assert method.title and method.paper and method.settings.__doc__
    for key, info in method.settings.model_fields.items():
        assert info.description, f"{name}.{key} has no description"
    assert method.settings().model_dump_json(), "defaults must be values that a file can hold"


def test_methods_that_solve_with_their_earlier_edits_say_so() -> None:
    folder = Path(excise.methods.__file__).parent
    solving = {path.parent.name for path in folder.glob("*/erase.py") if "Ledger.of(" in path.read_text(encoding="utf-8")}
    assert solving == {name for name in ALL if get(name).solves}


def test_rows_belong_to_methods() -> None:
    assert set(ROWS) <= set(ALL)


def test_unknown_methods_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown method 'mimm'; did you mean 'mim'\? known: .*mim"):
        get("mimm")
