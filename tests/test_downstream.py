"""`excise evaluate --downstream sr`: base beside edited from the same noise, groups, the control of equal norm, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import downstream as benchmark
from excise.cli import app
from excise.edits import Dense, WeightEdit, all_applied
from excise.edits.applied import base_fingerprint
from excise.edits.manifest import Manifest
from excise.evaluation.classifier import Classifier
from excise.evaluation.downstream import downstream, weight_noise
from excise.evaluation.true_pictures import TruePictures, draw_pictures, groups_of, sorted_pictures
from excise.jobs.evaluate import evaluate
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.report import downstream_table
from excise.restoration.restorer import Restorer
from excise.restoration.restorer_settings import RestorerSettings
from excise.results.downstream_result import Downstream
from excise.results.erasure import ErasureResult
from fresh_models import fresh
from tiny_models import declare

SMALL = RestorerSettings(width=8, multipliers=(1,), blocks=1, heads=0, features=4, hidden=4, levels=(1,), dense=0)


@pytest.fixture(scope="module")
def folder(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny canvas whose pictures are large enough to be made four times smaller, its restorer and an edit beside it."""
    model, beside = fresh(tiny_canvas), tmp_path_factory.mktemp("downstream")
    taught = Restorer.new(model, SMALL, seed=0)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in taught.networks.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=random)
    taught.write(beside / "restorer.safetensors")
    edit_of(model, 0.5).save_pretrained(beside / "edit")
    edit_of(model, 0.0).save_pretrained(beside / "nothing")
    return beside


def edit_of(model: Model, size: float, part: str = "attn1.to_v.weight") -> WeightEdit:
    """A change of weights that the empty prompt meets too."""
    random = torch.Generator().manual_seed(2)
    names = [name for name in named_tensors(model) if name.endswith(part)]
    deltas = {name: Dense(size * torch.randn(named_tensors(model)[name].shape, generator=random)) for name in names}
    manifest = Manifest(
        model=model.name,
        base=base_fingerprint(model),
        method="esd",
        concepts=[{"name": "cat", "kind": "object", "phrases": ["a cat"]}],
    )
    return WeightEdit(deltas, manifest)


def evaluated(tiny_canvas: Path, folder: Path, edit: str = "edit", **more: Any) -> Downstream:
    found = evaluate(
        model=str(tiny_canvas), edit=(folder / edit,), downstream="sr", restorer=folder / "restorer.safetensors", downstream_pictures=5,
        target_pictures=3, other_pictures=3, steps=2, device="cpu", **more,
    ).downstream  # fmt: skip
    assert found is not None
    return found


def test_an_edit_that_changes_something_shows_and_one_that_does_not_does_not(tiny_canvas: Path, folder: Path) -> None:
    found = evaluated(tiny_canvas, folder)
    assert [group.group for group in found.groups] == ["near", "erased"] and all(group.n == 5 for group in found.groups)
    assert {"object:dog"} <= set(found.groups[0].concepts) and found.groups[1].concepts == ("object:cat",)
    for group in found.groups:
        assert group.noise is not None and group.noise_change is not None and group.base.lpips is None
        assert abs(group.change.psnr.value - (group.edited.psnr.value - group.base.psnr.value)) < 1e-9
        assert group.change.psnr.value != 0 and group.noise_change.psnr.value not in (0, group.change.psnr.value)
        assert group.low.psnr.value != group.base.psnr.value
    still = evaluated(tiny_canvas, folder, "nothing")
    for group in still.groups:
        assert group.base == group.edited and group.change.psnr.value == 0 == group.change.recognised.value
        assert group.change.recognised.interval is None, "resampling sees no chance where nothing changed"
    assert still.groups[0].base == found.groups[0].base, "the same pictures and the same noise"


def test_it_is_shown_and_kept(tiny_canvas: Path, folder: Path, tmp_path: Path) -> None:
    options = ["--model", str(tiny_canvas), "--edit", str(folder / "edit"), "--downstream", "sr", "--downstream-pictures", "4"]
    options += [
        "--restorer",
        str(folder / "restorer.safetensors"),
        "--target-pictures",
        "3",
        "--other-pictures",
        "3",
        "--steps",
        "2",
    ]
    ran = CliRunner().invoke(
        app, ["evaluate", *options, "--json", str(tmp_path / "e.json"), "--device", "cpu"], env={"COLUMNS": "300"}
    )
    assert ran.exit_code == 0, ran.output
    assert (
        "the erased concept (4)" in ran.output
        and "noise instead of the edit" in ran.output
        and "LPIPS was not measured" in ran.output
    )
    kept = ErasureResult.read(tmp_path / "e.json").evaluation
    assert kept is not None and kept.downstream is not None
    assert all(len(row) == len(downstream_table.COLUMNS) for row in downstream_table.table(kept.downstream))
    page = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / "page.html")])
    assert page.exit_code == 0, page.output
    assert "Super-resolution on this model" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_noise_has_the_norm_of_the_edits_tensor_by_tensor(canvas: Model) -> None:
    """Of two edits on the same weights it is the norm of their sum."""
    one, other = edit_of(canvas, 0.3), edit_of(canvas, 0.1, "attn2.to_k.weight")
    both = [one, other, replace(one)]
    noise = weight_noise(canvas, both, seed=3)
    assert noise is not None and noise.deltas.keys() == one.deltas.keys() | other.deltas.keys()
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(canvas).items()}
    with all_applied(canvas, both):
        changed = {name: tensor.detach() - before[name] for name, tensor in named_tensors(canvas).items()}
    for name, delta in noise.deltas.items():
        assert torch.isclose(delta.dense().norm(), changed[name].norm(), rtol=1e-5)
        cosine = torch.nn.functional.cosine_similarity(delta.dense().flatten(), changed[name].flatten(), 0)
        assert abs(float(cosine)) < 0.5
    again, elsewhere = weight_noise(canvas, both, seed=3), weight_noise(canvas, both, seed=4)
    assert again is not None and elsewhere is not None
    name = next(iter(one.deltas))
    assert torch.equal(again.deltas[name].dense(), noise.deltas[name].dense())
    assert not torch.equal(elsewhere.deltas[name].dense(), noise.deltas[name].dense())
    assert weight_noise(canvas, [], seed=3) is None


def test_groups(canvas: Model) -> None:
    def names(text: str) -> list[list[str]]:
        return [[concept.name for concept in own] for own in groups_of(canvas, [canvas.catalog.resolve(text)]).values()]

    other, near, erased = names("cat")
    assert erased == ["cat"] and sorted(other + near) == ["bird", "dog"]
    other, near, erased = names("member:tabby")
    assert erased == ["tabby"] and near == ["kitten"] and other == ["dog", "bird"]
    other, near, erased = names("style:sketch")
    assert erased == ["sketch"] and sorted(other + near) == ["photo", "pixel art"]


def test_true_pictures_are_drawn_or_sorted(canvas: Model, tmp_path: Path) -> None:
    assert canvas.classifier is not None
    judge, kinds = Classifier.load(canvas.classifier), groups_of(canvas, [canvas.catalog.resolve("cat")])
    drawn = draw_pictures(canvas, judge, kinds, 4, 7)
    again = draw_pictures(canvas, judge, kinds, 4, 7)
    assert torch.equal(drawn.pictures, again.pictures) and drawn.shows == again.shows
    assert [len(drawn.rows(group)) for group in ("other", "near", "erased")] == [0, 4, 4]
    for number, picture in enumerate(drawn.pictures):
        Image.fromarray(picture.mul(255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    said = judge.classify(drawn.pictures)["object"].tolist()

    def sort() -> TruePictures:
        return sorted_pictures(tmp_path, judge, kinds, 2)

    if {0} & set(said):
        found = sort()
        assert all(judge.names["object"][each.index] == each.label.partition(":")[2] for each in found.shows)
    else:
        with pytest.raises(ValueError, match="the classifier sees object:cat in no picture of"):
            sort()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"restorer": None}, "there is no built-in restorer for the model"),
        ({"edit": (), "concept": ("cat",)}, "downstream compares the model before and with an edit"),
        ({"downstream": None}, "a restorer is what downstream=sr works with"),
        ({"restorer": "model_index.json"}, "model_index.json"),
    ],
)
def test_refused_before_weights_are_loaded(
    tiny_canvas: Path, folder: Path, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excise.jobs.evaluate.load_edited", lambda *_: pytest.fail("loaded"))
    if change.get("restorer"):
        change = {"restorer": tiny_canvas / change["restorer"]}
    given = {"edit": (folder / "edit",), "restorer": folder / "restorer.safetensors", "downstream": "sr"} | change
    with pytest.raises(ValueError, match=words) as caught:
        evaluate(model=str(tiny_canvas), **given)
    assert "\n" not in str(caught.value)


def test_a_family_without_a_unet_is_refused(tiny_flux: Path, folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_flux, tmp_path / "flux")
    declare(tmp_path / "flux")
    with pytest.raises(ValueError, match=r"downstream=sr needs U-Net, which FLUX\.1 does not have"):
        evaluate(
            model=str(tmp_path / "flux"), edit=(folder / "edit",), downstream="sr", restorer=folder / "restorer.safetensors"
        )


def test_in_small(canvas: Model, folder: Path) -> None:
    """The function itself, with several edits: the model is as it was."""
    before: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in named_tensors(canvas).items()}
    restorer = Restorer.new(canvas, SMALL, seed=0)
    edits = [edit_of(canvas, 0.2)]
    found = downstream(canvas, restorer, [canvas.catalog.resolve("cat")], edits, restorer_digest="0" * 64, pictures=2)
    assert found.note == "" and found.pictures == "the base model's own"
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(canvas).items())


def test_the_benchmark_erases_and_measures_once(tiny_canvas: Path, folder: Path, tmp_path: Path) -> None:
    few = {"downstream_pictures": 4, "target_pictures": 2, "other_pictures": 2, "steps": 2}
    for _ in range(2):
        benchmark.measure(
            "uce", "cat", tmp_path, tmp_path / "edits", model=str(tiny_canvas), restorer=folder / "restorer.safetensors", **few
        )
    (row, *_), file = benchmark.table(tmp_path).splitlines()[2:], tmp_path / "uce-cat.json"
    assert row.startswith("| uce | object:cat |") and ErasureResult.read(file).evaluation
    assert [path.name for path in tmp_path.glob("*.json")] == [file.name]
