"""Blocks taken out of a U-Net: what is left computes what the whole one does without them, and plain diffusers loads it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from typer.testing import CliRunner

from excise.cli import app
from excise.digests import digest_tensors
from excise.jobs.apply import apply
from excise.jobs.erase import erase
from excise.jobs.prune import prune
from excise.models import Model, load
from excise.models.families.unet_pruning import cuts, pruned
from excise.results.student import StudentFile

X, T = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 30])
TEXT = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))


def unet(**config: Any) -> UNet2DConditionModel:
    torch.manual_seed(3)
    usual = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 3, "block_out_channels": (8, 16), "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16, "attention_head_dim": 2,
    }  # fmt: skip
    return UNet2DConditionModel(**usual | config).eval()


@pytest.fixture(scope="module")
def whole() -> UNet2DConditionModel:
    return unet()


@torch.no_grad()
def ask(network: Any) -> Tensor:
    return network(X, T, encoder_hidden_states=TEXT).sample


def without(network: Any, stage: int, pairs: int) -> Any:
    """The network with the lists of its modules cut by hand: `pairs` are left of a stage on the way down, and one more on the way up."""
    found = copy.deepcopy(network)
    down, up = found.down_blocks[stage], found.up_blocks[-1 - stage]
    for block, kept in ((down, range(pairs)), (up, [*range(pairs), len(up.resnets) - 1])):
        for name in ("resnets", "attentions"):
            if hasattr(block, name):
                setattr(block, name, nn.ModuleList(getattr(block, name)[i] for i in kept))
    return found


def share(network: nn.Module, of: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / sum(p.numel() for p in of.parameters())


def by_hand(network: Any) -> list[Any]:
    """What each cut leaves, made by surgery on modules instead of names and configs."""
    found = [network]
    for stage in (1, 0):
        for pairs in (2, 1):
            found.append(without(found[-1], stage, pairs))
    last = copy.deepcopy(found[-1])
    last.mid_block = None
    plain = copy.deepcopy(last)
    for attention in plain.up_blocks[1].attentions:
        nn.init.zeros_(attention.proj_out.weight)
        nn.init.zeros_(attention.proj_out.bias)
    return [*found[1:], last, plain]


def test_every_cut_leaves_what_surgery_leaves(whole: UNet2DConditionModel) -> None:
    made, before = by_hand(whole), ask(whole)
    named = [cut.name for cut in cuts(whole.config)]
    assert named == [
        "a pair of stage 2, down and up", "a pair of stage 2, down and up", "a pair of stage 1, down and up",
        "a pair of stage 1, down and up", "the middle block", "the attention of stage 1, up",
    ]  # fmt: skip
    for number, expected in enumerate(made[:-1]):
        found = pruned(whole, share(expected, whole))
        assert found.removed == tuple(named[: number + 1]) and found.share == share(expected, whole)
        assert torch.equal(ask(found.network), ask(expected)) and not torch.allclose(ask(expected), before)
    least = pruned(whole, share(made[-2], whole) - 0.025)
    assert least.removed == tuple(named) and torch.allclose(ask(least.network), ask(made[-1]), atol=1e-6)
    assert torch.equal(ask(whole), before), "the whole one stays as it is"


def test_what_is_left_shares_no_memory_with_the_whole(whole: UNet2DConditionModel) -> None:
    before, found = ask(whole), pruned(whole, 0.7).network
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.zero_()
    assert torch.equal(ask(whole), before)
    assert {each.dtype for each in pruned(unet().to(torch.bfloat16), 0.7).network.parameters()} == {torch.bfloat16}


def test_the_nearest_share_is_taken(whole: UNet2DConditionModel) -> None:
    shares = [pruned(whole, share(one, whole)).share for one in by_hand(whole)[:5]]
    assert pruned(whole, shares[1] * 0.6 + shares[2] * 0.4).share == shares[1]
    assert pruned(whole, 0.99).removed == ("a pair of stage 2, down and up",), "something always goes"


def test_what_cannot_become_so_small_says_how_small_it_can(whole: UNet2DConditionModel) -> None:
    with pytest.raises(ValueError, match=r"^this U-Net keeps at least 0\.\d\d of its parameters, more than keep=0\.1$"):
        pruned(whole, 0.1)
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    with pytest.raises(ValueError, match="nothing can be taken out"):
        pruned(unet(layers_per_block=1, mid_block_type=None, **plain), 0.5)

    uneven = {"transformer_layers_per_block": [1, [1, 2]], "reverse_transformer_layers_per_block": [[1, 1, 2], 1]}
    kinds = {"down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2}
    with pytest.raises(ValueError, match="was pruned before"):
        pruned(unet(layers_per_block=2, mid_block_type=None, **kinds, **uneven), 0.8)


def test_words_are_read_to_the_last(canvas: Model) -> None:
    """However much goes, some cross-attention stays."""
    last = list(cuts(canvas.denoiser.config))[-1]  # type: ignore[arg-type]
    left = [kind for kind in (*last.config["down_block_types"], *last.config["up_block_types"]) if "CrossAttn" in kind]
    assert len(left) == 1


def test_blocks_hand_on_the_same_shapes(canvas: Model) -> None:
    seen = []
    for network in (canvas.denoiser, canvas.pruned(0.56).network):
        canvas.pipeline.unet = network
        with canvas.block_outputs() as found:
            canvas.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), canvas.encode(["a cat"]))
        seen.append({name: output.shape for name, output in found.items()})
    whole, small = seen
    assert list(whole) == ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    assert small == {name: shape for name, shape in whole.items() if name != "mid_block"}


def test_excise_prune(tiny_canvas: Path, tmp_path: Path) -> None:
    """The folder is one that plain diffusers loads, and says what went."""
    before = digest_tensors(load(tiny_canvas, device="cpu").denoiser.state_dict())
    done = CliRunner().invoke(app, ["prune", str(tiny_canvas), "--keep", "0.7", "--out", str(tmp_path / "student")])
    assert done.exit_code == 0 and "taken out: the middle block\n" in done.stdout, done.output
    about = StudentFile.read(tmp_path / "student" / "student.json")
    assert about.pruning is not None and about.pruning.removed == ("the middle block",) and about.model.model.endswith(" %")
    student, plain = load(tmp_path / "student", device="cpu"), StableDiffusionPipeline.from_pretrained(tmp_path / "student")
    assert sum(p.numel() for p in plain.unet.parameters()) == about.pruning.parameters < about.pruning.parameters_before
    expected = load(tiny_canvas, device="cpu")
    expected.pipeline.unet.mid_block = None
    told = expected.encode(["a cat", "a dog"])
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(student.predict(x, T, told), expected.predict(x, T, told))
    assert torch.equal(plain.unet(x, T, encoder_hidden_states=told.tokens).sample, student.predict(x, T, told))
    assert student.name == about.model.model and student.classifier is not None, "it can be measured as its base can"
    assert digest_tensors(load(tiny_canvas, device="cpu").denoiser.state_dict()) == before


class TestBadInput:
    def refused(self, *arguments: object) -> str:
        done = CliRunner().invoke(app, ["prune", *map(str, arguments)])
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
        return done.stderr

    def test_a_share_that_is_none(self, tiny_canvas: Path, tmp_path: Path) -> None:
        for keep in ("0", "1", "1.5", "nan", "much"):
            assert "keep=" in self.refused(tiny_canvas, "--keep", keep, "--out", tmp_path / "x")
        assert "keeps at least" in self.refused(tiny_canvas, "--keep", "0.01", "--out", tmp_path / "x")
        assert not list(tmp_path.iterdir())

    def test_a_model_without_a_unet(self, tiny_sd3: Path, tmp_path: Path) -> None:
        assert "pruning needs U-Net, which Stable Diffusion 3 does not have" in self.refused(tiny_sd3, "--out", tmp_path / "x")

    def test_a_folder_that_may_not_be_written(self, tiny_canvas: Path, tmp_path: Path) -> None:
        assert "never changed" in self.refused(tiny_canvas, "--out", tiny_canvas / "student")
        prune(tiny_canvas, out=tmp_path / "s")
        assert "pass overwrite" in self.refused(tiny_canvas, "--out", tmp_path / "s")
        (tmp_path / "s" / "mine.txt").touch()
        assert "mine.txt in it was not written by excise" in self.refused(tiny_canvas, "--out", tmp_path / "s", "--overwrite")
        (tmp_path / "s" / "mine.txt").unlink()
        prune(tiny_canvas, out=tmp_path / "s", keep=0.56, overwrite=True)
        assert json.loads((tmp_path / "s" / "student.json").read_text())["pruning"]["keep"] == 0.56


def test_a_student_is_not_written_as_one_file(tiny_canvas: Path, tmp_path: Path) -> None:
    """The layout of one file has names for the blocks of published sizes alone: nobody could load what it would hold."""
    prune(tiny_canvas, out=tmp_path / "s", keep=0.7)
    erase("cat", method="uce", model=tmp_path / "s", out=tmp_path / "e", evaluate="none")
    with pytest.raises(ValueError, match="is a pruned model, which nobody reads from one file; give a folder"):
        apply(tmp_path / "e", model=tmp_path / "s", to=tmp_path / "x.safetensors")
    assert load(apply(tmp_path / "e", model=tmp_path / "s", to=tmp_path / "x"), device="cpu").name.endswith(
        "without object:cat"
    )
