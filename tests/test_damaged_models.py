"""Models of strangers: damaged, too large, ill matched or hostile folders end in one line that names them, in no time and little memory."""

from __future__ import annotations

import json
import random
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import damage
import tiny_models
from excise.models import load
from excise.models.checkpoint_file import contents
from excise.models.footprint import Footprint

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
pytestmark = pytest.mark.filterwarnings("ignore")  # hosts warn of much of what is then refused


@pytest.fixture
def folder(tiny_sd1: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_sd1, tmp_path / "model")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Four GiB more than are mapped already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**32, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def use(folder: Path) -> None:
    load(folder, device="cpu").sample(["a cat"], [0], steps=1)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_folders_work_or_are_told(seed: int, tiny_sd1: Path, tmp_path: Path, little_memory: None) -> None:
    """Every file of it, fifteen times a seed: bytes, values, names, shapes, dtypes."""
    drawn, ends = random.Random(seed), Counter[str]()
    for number in range(15):
        folder = shutil.copytree(tiny_sd1, tmp_path / str(number))
        file = drawn.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        kinds = {".json": damage.damage_json, ".safetensors": damage.damage_tensors}
        how = damage.damage_bytes if drawn.random() < 0.25 else kinds.get(file.suffix, damage.damage_bytes)
        what = how(file, drawn)
        end = damage.outcome(lambda folder=folder: use(folder), str(folder))  # type: ignore[misc]
        assert end in ("works", "told"), f"{file.relative_to(folder)}: {what}: {end}"
        ends[end] += 1
        shutil.rmtree(folder)
    assert min(ends["works"], ends["told"]) > 0


@pytest.mark.parametrize(
    "file, values, words",
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000, expected"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 200_000}, "num_train_timesteps is 200000, expected"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.5]}, "does not tell the noise of its 1000 steps"),
        ("scheduler/scheduler_config.json", {"beta_start": float("nan")}, "NaN|nan"),
        ("scheduler/scheduler_config.json", {"beta_start": 7.0}, "do not lead to noise"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**7}, "more layers than there are weights"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected"),
        ("text_encoder/config.json", {"vocab_size": 16_000_000}, r"token_embedding.weight in model.safetensors is \(\d+, 32\)"),
        ("text_encoder/config.json", {"intermediate_size": 10**7, "hidden_size": 10**6}, "in model.safetensors is"),
        ("text_encoder/config.json", {"quantization_config": {"quant_method": "torchao"}}, "quantised"),
        ("unet/config.json", {"layers_per_block": 10**7}, "more layers than there are weights"),
        ("unet/config.json", {"block_out_channels": [10**6, 2 * 10**6]}, "in diffusion_pytorch_model.safetensors is"),
        ("unet/config.json", {"cross_attention_dim": 10**7}, r"unet: .*attn2.to_k.weight in .* is \(16, 32\), expected \(16, 10000000\)"),
        ("unet/config.json", {"sample_size": 10**7}, "pictures of 20000000 pixels"),
        ("unet/config.json", {"class_embed_type": "identity"}, "do not fit each other"),
        ("vae/config.json", {"latent_channels": 10**6}, "in diffusion_pytorch_model.safetensors is"),
        ("vae/config.json", {"scaling_factor": "x"}, "do not fit each other"),
        ("excise.json", {"name": "x", "sampler": {"size": 10**6}}, "size"),
        ("model_index.json", {"scheduler": ["diffusers", "KarrasVeScheduler"]}, "KarrasVeScheduler does not tell the noise of its 1000 steps"),
        ("model_index.json", {"scheduler": ["diffusers", "EDMEulerScheduler"]}, "EDMEulerScheduler does not tell the noise of its 1000 steps"),
        ("model_index.json", {"scheduler": ["diffusers", "IPNDMScheduler"]}, "IPNDMScheduler does not tell the noise of its 1000 steps"),
        ("model_index.json", {"scheduler": ["diffusers", "UNet2DConditionModel"]}, "scheduler is .*expected a SchedulerMixin"),
        ("model_index.json", {"scheduler": ["os", "system"]}, "scheduler is .*expected a SchedulerMixin"),
        ("model_index.json", {"tokenizer": ["transformers", "pipeline"]}, "tokenizer is .*expected a PreTrainedTokenizerBase"),
    ],
)  # fmt: skip
def test_what_a_file_declares_is_held_against_what_is_there(
    file: str, values: dict[str, Any], words: str, folder: Path, little_memory: None
) -> None:
    (folder / file).touch()
    if not (folder / file).read_text():
        (folder / file).write_text("{}")
    change(folder / file, **values)
    with pytest.raises(ValueError, match=words) as refused:
        load(folder, device="cpu")
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("part", [*STEMS, "tokenizer"])
def test_parts_of_another_model_are_refused(part: str, folder: Path, tiny_sd2: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / part)
    if part == "vae":
        other = tiny_models.pipeline().vae
        wide = type(other).from_config({**other.config, "latent_channels": 8})
        wide.save_pretrained(folder / part)
    elif part == "tokenizer":
        shutil.copytree(tiny_sd2 / part, folder / part)
        tokens = json.loads((folder / part / "tokenizer.json").read_text())
        tokens["model"]["vocab"]["a</w>"] = 5000  # a number that the embedding does not have
        (folder / part / "tokenizer.json").write_text(json.dumps(tokens))
    else:
        shutil.copytree(tiny_sd2 / part, folder / part)
    with pytest.raises(ValueError, match=r"do not fit each other|does not fit its text encoder"):
        load(folder, device="cpu")


@pytest.mark.parametrize("part", list(STEMS))
@pytest.mark.parametrize("dtype", damage.DTYPES, ids=str)
def test_weights_of_other_dtypes_are_refused_by_name(part: str, dtype: torch.dtype, folder: Path) -> None:
    file = folder / part / f"{STEMS[part]}.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[3]
    save_file({**tensors, name: tensors[name].to(dtype)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"{name} is .*(expected BF16, F16, F32, F64|load the edit as a LoRA)"):
        load(folder, device="cpu")


def test_no_code_of_a_folder_runs(folder: Path, tmp_path: Path) -> None:
    """Wherever hosts look for code: beside the index, in a part, named by configs."""
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\nclass Evil: pass\n"
    for place in (
        "None.py",
        "pipeline.py",
        "Evil.py",
        "unet/evil.py",
        "scheduler/evil.py",
        "tokenizer/evil.py",
        "text_encoder/evil.py",
    ):
        (folder / place).write_text(code)
    for config in folder.glob("*/*config.json"):
        change(config, auto_map={"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}, attn_implementation="x/evil")
    change(folder / "text_encoder" / "config.json", _attn_implementation="x/evil")
    load(folder, device="cpu")
    for part in ("unet", "scheduler", "tokenizer", "text_encoder", "safety_checker"):
        hostile = shutil.copytree(folder, tmp_path / part)
        change(hostile / "model_index.json", **{part: ["evil", "Evil"]})
        damage.outcome(lambda hostile=hostile: load(hostile, device="cpu"), "")  # type: ignore[misc]
    change(folder / "model_index.json", _class_name=["Evil", "Evil"])
    with pytest.raises(ValueError, match=r"_class_name|supported"):
        load(folder, device="cpu")
    assert not mark.exists()


@pytest.mark.parametrize("part", ["image_encoder", "feature_extractor", "safety_checker", "unet", "vae", "text_encoder"])
def test_no_pickle_is_opened(part: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also none of parts that nobody here uses."""
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("a pickle was opened"))
    (folder / part).mkdir(exist_ok=True)
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pt", "tf_model.h5"):
        (folder / part / name).write_bytes(b"\x80\x04cos\nsystem\n")
    if part not in STEMS:
        change(folder / "model_index.json", **{part: ["transformers", "CLIPVisionModelWithProjection"]})
        (folder / part / "config.json").write_text('{"model_type": "clip_vision_model"}')
        assert getattr(load(folder, device="cpu").pipeline, part) is None
        return
    (folder / part / f"{STEMS[part]}.safetensors").unlink()
    with pytest.raises(ValueError, match=f"{part} has no .safetensors weights; pickle files are never loaded"):
        load(folder, device="cpu")


def test_a_tokenizer_reads_its_own_folder_alone(folder: Path, tiny_sd1: Path, tmp_path: Path) -> None:
    """What its config names elsewhere is not opened."""
    outside = tmp_path / "outside.json"
    outside.write_text("not JSON")
    names = ("tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "added_tokens_file")
    change(folder / "tokenizer" / "tokenizer_config.json", **dict.fromkeys(names, str(outside)))
    one, other = load(folder, device="cpu").tokenizer, load(tiny_sd1, device="cpu").tokenizer
    assert one.get_vocab() == other.get_vocab() and one(["a cat"]).input_ids == other(["a cat"]).input_ids


def test_a_model_is_as_diffusers_itself_reads_it(tiny_sd1: Path, tiny_sdxl: Path) -> None:
    """The parts that are put together here, against its own loader."""
    from diffusers import DiffusionPipeline

    for folder in (tiny_sd1, tiny_sdxl):
        mine, own = load(folder, device="cpu").pipeline, DiffusionPipeline.from_pretrained(folder, safety_checker=None)
        assert type(mine) is type(own)
        assert mine.config.get("force_zeros_for_empty_prompt") == own.config.get("force_zeros_for_empty_prompt")
        for part in (name for name in own.components if name.startswith("tokenizer")):
            assert getattr(mine, part).get_vocab() == getattr(own, part).get_vocab()
        assert dict(mine.scheduler.config) == dict(own.scheduler.config)
        for part in (name for name in own.components if name.startswith(("unet", "vae", "text_encoder"))):
            one, other = getattr(mine, part).state_dict(), getattr(own, part).state_dict()
            assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_loading_moves_no_global_state(tiny_sd1: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load(tiny_sd1, device="cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"


def test_a_header_is_read_without_torch(tiny_sd1: Path) -> None:
    with pytest.raises(ValueError, match="is no checkpoint of"):
        contents(tiny_sd1 / "unet" / "diffusion_pytorch_model.safetensors")


def test_what_a_model_will_take_is_told_within_the_same_bounds(folder: Path, little_memory: None) -> None:
    """It is asked for before a model is loaded, and without its weights."""
    (folder / "image_encoder").mkdir()
    (folder / "image_encoder" / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    change(folder / "model_index.json", image_encoder=["transformers", "CLIPVisionModelWithProjection"])
    assert Footprint(folder).bytes > 0
    change(folder / "text_encoder" / "config.json", num_hidden_layers=10**6)
    with pytest.raises(ValueError, match="more layers than"):
        Footprint(folder)
    change(folder / "text_encoder" / "config.json", num_hidden_layers=2)
    change(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=10**7)
    with pytest.raises(ValueError, match="num_train_timesteps is 10000000"):
        Footprint(folder)
