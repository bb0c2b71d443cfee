"""SepME: null spaces, the loss and its stop against numpy and loops, invariants S1 to S9 of its spec, exact separability."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from excise.edits import Edit, WeightEdit, restored
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.subspaces import select
from excise.erasure.trainable import Trainable
from excise.methods import get
from excise.methods.sepme import SepmeSettings
from excise.methods.sepme.erase import Target, _train, correlation, ended, follow, free_directions, protected_rows
from excise.methods.sepme.shifts import Shifts, leakage, null_space
from excise.models import Conditioning, Model
from excise.models.families.stable_diffusion import StableDiffusion
from excise.models.fingerprint import named_tensors

QUICK: dict[str, Any] = {
    "wording": "name", "rounds": 2, "steps": 2, "batch": 2, "pictures": 2, "picture_steps": 2, "tau": -1e9, "tau_unit": "absolute"
}  # fmt: skip
CAT, DOG, BIRD = "object:cat", "object:dog", "object:bird"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def shortened(model: Model) -> Model:
    """Prompts of 8 tokens, so that a few of them leave directions free in a width of 32. What is cut off is not told: it is meant."""
    model.pipeline.tokenizer.model_max_length = 8
    model.left_out = lambda prompts: {}  # type: ignore[method-assign]
    return model


@pytest.fixture
def short(canvas: Model) -> Model:
    return shortened(canvas)


def erase(model: Model, *labels: str, run: Run | None = None, **settings: Any) -> WeightEdit:
    method = get("sepme")
    concepts = [model.catalog.resolve(label) for label in labels]
    edit = method.erase(model, concepts, method.parse({**QUICK, **settings}), run or Run())
    assert isinstance(edit, WeightEdit)
    return edit


def options(**values: Any) -> SepmeSettings:
    return SepmeSettings(**values)


def same(one: Edit, other: Edit) -> bool:
    found, expected = one.tensors(), other.tensors()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


# --- null spaces ------------------------------------------------------------------------------------------------------------------


def prompts(count: int, tokens: int, width: int) -> np.ndarray:
    """Random prompts that share their first row, all rows of them."""
    rows = np.random.default_rng(0).standard_normal((count, tokens, width))
    rows[:, 0] = rows[0, 0]
    return rows.reshape(-1, width)


@pytest.mark.parametrize(("count", "tokens", "width"), [(n, 5, 40) for n in (1, 2, 5, 9)] + [(1, 77, 768), (2, 77, 768)])
def test_s1_s6_the_basis_is_numpy_s_null_space(count: int, tokens: int, width: int) -> None:
    rows = prompts(count, tokens, width)
    basis = null_space(torch.from_numpy(rows), 1e-6).numpy()
    assert len(basis) == width - np.linalg.matrix_rank(rows) == width - (tokens + (tokens - 1) * (count - 1))
    assert np.abs(rows @ basis.T).max() < 1e-10 * np.abs(rows).max()
    assert np.abs(basis @ basis.T - np.eye(len(basis))).max() < 1e-12
    if width < 100:
        assert np.abs(basis.T @ basis - (np.eye(width) - np.linalg.pinv(rows) @ rows)).max() < 1e-10


def test_s6_eleven_prompts_leave_nothing_and_tolerance_frees_weak_directions() -> None:
    assert len(null_space(torch.from_numpy(prompts(10, 5, 40)), 1e-6)) == 0
    rows = torch.diag(torch.tensor([1.0, 1e-3, 1e-5, 0.0]))
    assert [len(null_space(rows, tolerance)) for tolerance in (1e-6, 1e-4, 1e-2)] == [1, 2, 3]


def test_no_free_direction_is_an_error_that_says_what_to_do(canvas: Model) -> None:
    (norm,) = (m for name, m in canvas.pipeline.text_encoder.named_modules() if name.endswith("final_layer_norm"))
    torch.nn.init.normal_(
        norm.bias, generator=torch.Generator().manual_seed(0)
    )  # without it all rows add up to 0: one direction is free
    with pytest.raises(
        ValueError, match=r"the erasure of object:cat must not touch \(154 rows of 32 numbers\).*erase fewer concepts"
    ):
        erase(canvas, CAT, DOG)


def test_a_folder_is_of_one_concept(short: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder holds pictures of one concept"):
        erase(short, CAT, DOG, folder=str(tmp_path))


def test_what_is_protected(short: Model) -> None:
    """Directions are free of the empty prompt, protected prompts and names of others; of edits on the model, and given back ones, too."""
    encode = lambda *texts: short.encode(texts).tokens.flatten(0, 1).double().numpy()  # noqa: E731
    cat, dog = short.catalog.resolve("cat"), short.catalog.resolve("dog")
    expected = {
        CAT: (["", "a dog"], options()), DOG: (["", "a cat", "zz"], options(protect=("zz", "a dog")))
    }  # fmt: skip
    for label, (texts, settings) in expected.items():
        rows = protected_rows(short, [cat, dog], settings)[label]["tokens"]
        basis = free_directions(rows, label, settings).numpy()
        assert (
            leakage(rows, torch.from_numpy(basis))
            < 1e-6
            < 1e-2
            < leakage(short.encode([f"a {label[7:]}"]).tokens[0], torch.from_numpy(basis))
        )
        assert np.abs(encode(*texts) @ basis.T).max() < 1e-5
        assert len(basis) == 32 - np.linalg.matrix_rank(encode(*texts), tol=1e-4)
        assert np.abs(encode("a cat" if label == CAT else "a dog") @ basis.T).max() > 0.1
    below = restored(erase(short, CAT, DOG), [CAT])
    with below.applied(short):
        rows = protected_rows(short, [short.catalog.resolve("bird")], options())[BIRD]["tokens"]
        basis = free_directions(rows, BIRD, options()).numpy()
    assert np.abs(encode("", "a cat", "a dog") @ basis.T).max() < 1e-5


def test_which_prompts_of_others_are_protected(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never one that names the concept itself, as context or in its own phrases."""
    monkeypatch.setattr(
        StableDiffusion, "encode", lambda self, texts: seen.append(texts) or Conditioning(torch.zeros(len(texts), 1, 1))
    )  # type: ignore[func-returns-value]
    cat, tabby, sketch = (canvas.catalog.resolve(name) for name in ("cat", "member:tabby", "style:sketch"))
    expected = {
        "name": ["", "sketch"],
        "phrases": ["", "pencil", "sketch"],
        "plain": ["", *(f"a picture{of} in sketch style" for of in ("", " of a bird", " of a dog"))],
    }
    for exact, texts in expected.items():
        seen: list[list[str]] = []
        protected_rows(canvas, [cat, sketch], options(exact=exact))
        assert seen[0] == sorted(texts)
    protected_rows(canvas, [cat, tabby], options(exact="phrases"))
    assert seen[-2:] == [["", "tabby"], sorted({"", *cat.phrases} - {"a tabby"})]


# --- shifts and loss --------------------------------------------------------------------------------------------------------------


def randomised(model: Model, *labels: str) -> Shifts:
    concepts = [model.catalog.resolve(label) for label in labels]
    rows = protected_rows(model, concepts, options())
    bases = {label: {way: free_directions(own[way], label, options()) for way in model.ways} for label, own in rows.items()}
    shifts = Shifts(model, bases, 0.1)
    generator = torch.Generator().manual_seed(0)
    for parameter in shifts.parameters.values():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return shifts


def keys_and_values(model: Model, prompt: str) -> dict[str, Tensor]:
    text, tensors = model.encode([prompt]).tokens[0], named_tensors(model)
    return {name: text @ tensors[name].T for name in select(model, "kv")}


def test_s2_protected_prompts_feel_no_subset_of_the_shifts(short: Model) -> None:
    parts = randomised(short, CAT, DOG, BIRD).parts()
    manifest = erase(short, CAT, DOG).manifest
    before = {prompt: keys_and_values(short, prompt) for prompt in ("", "a cat", "a dog", "a bird")}
    for subset in itertools.chain.from_iterable(itertools.combinations(parts, n) for n in (1, 2, 3)):
        with WeightEdit.of_parts({label: parts[label] for label in subset}, manifest).applied(short):
            for prompt, kept in before.items():
                moved = max(float((keys_and_values(short, prompt)[name] - value).abs().max()) for name, value in kept.items())
                erased = f"object:{prompt[2:]}" in subset
                assert moved > 0.1 if erased else moved < 1e-4, (subset, prompt)


def test_hooks_do_what_the_weights_do(short: Model) -> None:
    shifts = randomised(short, CAT, DOG)
    x, t, text = short.start_noise([0, 1]), torch.tensor([500, 20]), short.encode(["a cat", "a dog"])
    base = short.predict(x, t, text)
    with shifts:
        hooked = short.predict(x, t, text).detach()
        with shifts.untrained():
            assert torch.equal(short.predict(x, t, text), base)
    assert torch.equal(short.predict(x, t, text), base), "nothing stays behind"
    with WeightEdit.of_parts(shifts.parts(), erase(short, CAT).manifest).applied(short):
        assert torch.allclose(short.predict(x, t, text), hooked, atol=1e-5)
    assert (hooked - base).abs().max() > 1e-3
    for name, change in zip(shifts.layers, shifts.changes(), strict=True):
        parts = [part[name].dense() for part in shifts.parts().values()]
        assert torch.allclose(change, parts[0] + parts[1], atol=1e-6)


def target(model: Model, label: str) -> Target:
    from excise.erasure.training_pictures import learning_pictures
    from excise.erasure.wording import worded

    settings = options(**QUICK)
    bank = PromptBank.of_pairs(model, [worded(model.catalog.resolve(label), "name", None)])
    pictures = learning_pictures(model, bank, settings, Run(), shows="conditioned")
    return Target(label, bank, pictures, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["canvas", "sd1"])
def test_s3_the_loss_in_numpy_and_its_value_without_a_shift(kind: str, request: pytest.FixtureRequest) -> None:
    """Means of products of differences in predicted noise, for velocity as for noise."""
    model = shortened(request.getfixturevalue(kind))
    aim, settings = target(model, CAT), options(**QUICK)
    shifts = randomised(model, CAT)
    unet, shifted = model.pipeline.unet, dict[str, Tensor]()
    for name in select(model, "kv"):
        change = 0.1 * shifts.parameters[f"{name}:{CAT}"].detach() @ shifts.bases[CAT][name]
        shifted[name.removeprefix("unet.")] = unet.get_parameter(name.removeprefix("unet.")) + change
    with shifts, torch.no_grad():
        now, before = correlation(model, aim, shifts, settings, Run().generator(7))
        for parameter in shifts.parameters.values():
            parameter.zero_()
        zero, same_before = correlation(model, aim, shifts, settings, Run().generator(7))
    assert torch.allclose(zero, before, rtol=1e-4) and torch.allclose(before, same_before) and before > 0
    assert abs(now - before) > 1e-2 * before

    generator = Run().generator(7)
    clean, _ = aim.pictures.draw(2, generator)
    t = torch.randint(1000, (2,), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    abar = model.pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
    texts = [text.expand(2) for text in model.encode([aim.bank.pairs[0].prompt, ""])]

    def representation(weights: dict[str, Tensor]) -> np.ndarray:
        output = [
            functional_call(unet, weights, (noisy, t), {"encoder_hidden_states": text.tokens}).sample.detach() for text in texts
        ]
        if kind == "canvas":  # v = alpha e - sigma x, so e = alpha v + sigma z
            output = [abar.sqrt() * v + (1 - abar).sqrt() * noisy for v in output]
        return (output[0] - output[1]).double().numpy()

    r, r0 = representation(shifted), representation({})
    assert abs(float(before) / np.mean(r0 * r0) - 1) < 1e-3
    assert abs(float(now) - np.mean(r * r0)) < 1e-3 * np.mean(r0 * r0)


def test_joint_losses_count_alike_and_the_shifts_cost_their_size(short: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two concepts: sum of max |L| / |L_i| L_i and the mean size of a matrix's shift, written out, with factors that have no gradient."""
    aims, settings = [target(short, CAT), target(short, DOG)], options(**QUICK, variant="joint", l1=0.01)
    shifts, run = randomised(short, CAT, DOG), Run()
    prepared: list[Any] = []
    monkeypatch.setattr("excise.methods.sepme.erase.train", lambda trainable, prepare, *_, **__: prepared.append(prepare))
    _train(short, aims, shifts, settings, run, shifts.changes)
    parameters = list(shifts.parameters.values())
    with shifts:
        found = prepared[0](1)(2)
        gradients = torch.autograd.grad(found, parameters)
        streams = [run.generator(1, 1, 2, zlib.crc32(label.encode())) for label in (CAT, DOG)]
        losses = [correlation(short, aim, shifts, settings, stream)[0] for aim, stream in zip(aims, streams, strict=True)]
    one, other = (abs(loss.item()) for loss in losses)
    assert max(one / other, other / one) > 1.1
    matrices = [
        sum(0.1 * shifts.parameters[f"{name}:{label}"] @ shifts.bases[label][name] for label in (CAT, DOG))
        for name in select(short, "kv")
    ]
    size = torch.stack([matrix.abs().sum() for matrix in matrices]).mean()  # type: ignore[union-attr]
    expected = max(one, other) / one * losses[0] + max(one, other) / other * losses[1] + 0.01 * size
    assert torch.allclose(found, expected, rtol=1e-5)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        assert (gradient - wanted).abs().max() < 1e-4 * wanted.abs().max() > 0


def test_without_null_spaces_the_empty_prompt_is_trained_too(short: Model) -> None:
    """The gradient of `whole`, against the network's outputs written out: r has the trained answer to both prompts, r0 none."""
    aim, settings = target(short, CAT), options(**QUICK, variant="whole")
    clean, _ = aim.pictures.draw(2, generator := Run().generator(7))
    t, noise = torch.randint(1000, (2,), generator=generator), torch.randn(clean.shape, generator=generator)
    abar = short.pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise

    def representation() -> Tensor:  # of a velocity model: e = alpha v + sigma z
        own, empty = (
            short.denoiser(noisy, t, encoder_hidden_states=short.encode([prompt] * 2).tokens).sample
            for prompt in (aim.bank.pairs[0].prompt, "")
        )
        return abar.sqrt() * (own - empty)

    r0, random = representation().detach(), torch.Generator().manual_seed(0)
    with Trainable(short, select(short, "attn2")) as trainable:
        for parameter in trainable.parameters.values():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=random)
        parameters = list(trainable.parameters.values())
        found = correlation(short, aim, trainable, settings, Run().generator(7))[0]
        expected = (representation() * r0).mean()
        assert torch.allclose(found, expected, rtol=1e-3) and found.item() > 0
        gradients = torch.autograd.grad(found, parameters, retain_graph=True)
        for gradient, wanted in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
            assert (gradient - wanted).abs().max() < 1e-3 * wanted.abs().max() + 1e-7


def test_s5_no_gradient_flows_between_concepts(short: Model) -> None:
    aim = target(short, CAT)
    with randomised(short, CAT, DOG) as shifts:
        correlation(short, aim, shifts, options(**QUICK), Run().generator(0))[0].backward()
    sizes = {CAT: 0.0, DOG: 0.0}
    for name, parameter in shifts.parameters.items():
        assert parameter.grad is not None
        label = name.split(":", 1)[1]
        sizes[label] = max(sizes[label], float(parameter.grad.abs().max()))
    assert sizes[CAT] > 0 and sizes[DOG] < 1e-5 * sizes[CAT]


# --- the stop ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["absolute", "share"])
def test_s8_the_stop_is_that_of_a_plain_loop(unit: str) -> None:
    rng = np.random.default_rng(3)
    settings = options(tau=0.3, tau_unit=unit)
    for _ in range(20):
        losses, bases = rng.normal(np.linspace(2, -1, 60), 1.0), rng.uniform(0.5, 2, 60)
        mean, base_mean, expected = losses[0], bases[0], None
        for i in range(60):
            if i:
                mean, base_mean = 0.9 * mean + 0.1 * losses[i], 0.9 * base_mean + 0.1 * bases[i]
            if i > 10 and mean <= 0.3 * (base_mean if unit == "share" else 1):
                expected = i + 1
                break
        means = torch.zeros(3, dtype=torch.float64)
        for now, before in zip(losses, bases, strict=True):
            follow(means, now, before)
            if ended(means, settings):
                break
        assert means[0] == (expected or 60)


def test_training_stops_there(short: Model) -> None:
    edit = erase(short, CAT, DOG, tau=1e9, steps=20)
    assert edit.manifest.measurements["steps_taken"] == {CAT: 12, DOG: 12}


# --- whole erasures ---------------------------------------------------------------------------------------------------------------


def test_s9_a_part_for_each_concept_and_only_keys_and_values(short: Model) -> None:
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(short).items()}
    edit = erase(short, CAT, DOG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(short).items())
    assert set(edit.parts) == {CAT, DOG} and list(edit.deltas) == select(short, "kv")
    for part in edit.parts.values():
        assert all(delta.dense().shape == before[name].shape and delta.dense().abs().max() > 0 for name, delta in part.items())
    free = edit.manifest.measurements["free_directions"]
    assert all(0 <= share < 1e-6 for share in edit.manifest.measurements["leakage"].values())
    assert 0 < free[CAT] < 32 and all(np.linalg.matrix_rank(d.dense()) <= free[CAT] for d in edit.parts[CAT].values())


def test_s4_a_concept_comes_back_to_the_same_bits_as_never_erased(short: Model) -> None:
    """Erased beside others and given back, or only protected: the file of the rest is the same."""
    cat, dog, bird = "a cat", "a dog", "a bird"
    both = erase(short, CAT, DOG, protect=(bird,))
    assert same(restored(both, ["cat"]), erase(short, DOG, protect=(bird, cat)))
    assert same(restored(both, ["dog"]), erase(short, CAT, protect=(dog, bird)))
    assert same(both, erase(short, DOG, CAT, protect=(bird,))), "their order does not matter"


def test_s7_all_at_once_is_the_same_for_one_concept(short: Model) -> None:
    assert same(erase(short, CAT, variant="joint"), erase(short, CAT))
    joint = erase(short, CAT, DOG, variant="joint")
    assert set(joint.parts) == {CAT, DOG} and not same(joint, erase(short, CAT, DOG))


def test_gradients_of_all_steps_add_up_when_asked(short: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a learning rate that moves nothing, the k-th sum is that of the first k gradients."""
    seen: list[Tensor] = []

    def record(self: Any) -> None:
        seen.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]))

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    erase(short, CAT)
    single, seen[:] = list(seen), []
    erase(short, CAT, accumulate=True)
    for expected, found in zip(np.cumsum([g.numpy() for g in single], 0), seen, strict=True):
        assert np.allclose(found, expected, atol=1e-7) and np.abs(expected).max() > 0


def test_the_size_of_the_shifts_costs(short: Model) -> None:
    light, heavy = (sum(d.dense().abs().sum() for d in erase(short, CAT, l1=l1, steps=5).deltas.values()) for l1 in (0.0, 1.0))
    assert heavy < 0.5 * light


def test_without_null_spaces_nothing_can_be_given_back(short: Model) -> None:
    edit = erase(short, CAT, DOG, variant="whole", lr=1e-3)
    assert not edit.parts and set(edit.deltas) <= set(select(short, "attn2"))
    assert len(edit.deltas) > len(select(short, "kv"))
    with edit.applied(short):
        pass  # its base is the model as it was
    with pytest.raises(ValueError, match="cannot be taken apart"):
        restored(edit, ["cat"])


def stopping(at: int) -> Run:
    calls: Iterator[int] = itertools.count()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "erasing" and next(calls) == at:
            raise KeyboardInterrupt

    return Run(progress=progress)


@pytest.mark.parametrize("at", [4, 9])
def test_a_stopped_run_goes_on_to_the_same_bits(short: Model, tmp_path: Path, at: int) -> None:
    """In the first concept, and in the second (each has a checkpoint of its own)."""
    import dataclasses

    checkpoint = tmp_path / "checkpoint.safetensors"
    whole = erase(short, CAT, DOG)
    with pytest.raises(KeyboardInterrupt):
        erase(short, CAT, DOG, run=dataclasses.replace(stopping(at), checkpoint=checkpoint))
    assert checkpoint.exists()
    resumed = erase(short, CAT, DOG, run=Run(checkpoint=checkpoint))
    assert same(resumed, whole) and resumed.manifest == whole.manifest


def test_erase_and_restore_on_the_command_line(tiny_canvas: Path, tmp_path: Path) -> None:
    """The job keeps the parts apart; a tolerance stands in for the width that the tiny model does not have."""
    from typer.testing import CliRunner

    from excise.cli import app
    from excise.edits import load_edit

    values = {**QUICK, "rounds": 1, "steps": 1, "tolerance": 0.5}
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    erasing = ["erase", "cat", "dog", "--method", "sepme", "--model", str(tiny_canvas), "--evaluate", "none", *sets]
    result = CliRunner().invoke(app, [*erasing, "--out", str(tmp_path / "pets")])
    assert result.exit_code == 0, result.stderr
    result = CliRunner().invoke(app, ["restore", str(tmp_path / "pets"), "--concept", "cat", "--out", str(tmp_path / "dog")])
    assert result.exit_code == 0 and "still erased: object:dog" in result.stdout
    whole, left = load_edit(tmp_path / "pets"), load_edit(tmp_path / "dog")
    assert set(whole.parts) == {CAT, DOG} and set(left.parts) == {DOG}
    assert same(restored(whole, ["cat"]), left)
