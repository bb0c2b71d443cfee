"""Edits on the pipelines that people have: fused, compiled, with adapters, tokens and ControlNets, cast, trained, copied, quantised."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import peft
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor, nn

import tiny_models
from excise.edits import AdapterEdit, Dense, Edit, LowRank, Manifest, WeightEdit, applied_edits, compose
from excise.edits.adapter import Adapter, Factors, Transport
from excise.edits.applied import base_fingerprint
from excise.models import load
from excise.models.fingerprint import named_tensors

BLOCK = "mid_block.attentions.0.transformer_blocks.0"
KEY, VALUE, QUERY = (f"unet.{BLOCK}.attn2.to_{letter}.weight" for letter in "kvq")
SELF = f"unet.{BLOCK}.attn1.to_k.weight"
TEXT, TOKENS = "text_encoder.encoder.layers.0.mlp.fc1.weight", "text_encoder.embeddings.token_embedding.weight"

CAST = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture
def pipe() -> StableDiffusionPipeline:
    return tiny_models.pipeline()


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


class Plain:
    """The parameters of a pipeline when it was made, by identity, and copies of their values: an oracle that knows no names."""

    def __init__(self, pipe: Any) -> None:
        networks = (pipe.unet, pipe.text_encoder)
        self.parameters = [parameter for network in networks for parameter in network.parameters()]
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    def is_back(self) -> bool:
        return all(map(same_bits, self.parameters, self.values))


def same_bits(one: Tensor, other: Tensor) -> bool:
    flat = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*flat)


def state(pipe: Any) -> dict[str, Tensor]:
    """Everything that two networks hold, under whatever names."""
    networks = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    return {f"{k}.{n}": p.detach().clone() for k, network in networks.items() for n, p in network.named_parameters()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)


def output(pipe: Any, words: str = "a cat", **more: Any) -> Tensor:
    """What the pipeline's own text encoder and U-Net predict, (2, 4, 8, 8)."""
    ids = pipe.tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = pipe.text_encoder(ids)[0].repeat(2, 1, 1)
        return pipe.unet(x.to(told.dtype), 500, encoder_hidden_states=told, **more).sample


def manifest(pipe: Any, kind: Any = "weights", seed: int = 0) -> Manifest:
    concepts: list[Any] = [{"kind": "object", "name": f"thing {seed}"}]
    return Manifest(kind=kind, model="tiny", base=base_fingerprint(pipe), method="random", concepts=concepts, seed=seed)


def weight_edit(pipe: Any, *names: str, seed: int = 0) -> WeightEdit:
    """A random edit of the named tensors of a plain pipeline; every second one of rank 2."""
    generator = torch.Generator().manual_seed(seed)
    deltas: dict[str, Dense | LowRank] = {}
    for number, name in enumerate(names):
        shape = _parameter(pipe, name).shape
        if number % 2:
            up, down = (torch.randn(size, generator=generator) for size in ((shape[0], 2), (2, shape[1])))
            deltas[name] = LowRank(0.3 * up, down)
        else:
            deltas[name] = Dense(0.3 * torch.randn(shape, generator=generator))
    return WeightEdit(deltas, manifest(pipe, seed=seed))


def adapter_edit(pipe: Any, *names: str, seed: int = 0) -> AdapterEdit:
    """A random adapter of rank 1 that acts on every prompt."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name in names:
        rows, columns = _parameter(pipe, name).shape
        up, down = torch.randn(rows, 1, generator=generator), torch.randn(1, columns, generator=generator)
        factors[name.removesuffix(".weight")] = Factors(up, 0.3 * down)
    adapter = Adapter(factors, Transport.always(77, 32))
    return AdapterEdit({f"object:thing {seed}": adapter}, manifest(pipe, "adapter", seed))


def _parameter(pipe: Any, name: str) -> Tensor:
    network, _, rest = name.partition(".")
    return dict(getattr(pipe, network).named_parameters())[rest]


def lora(*targets: str) -> peft.LoraConfig:
    """An adapter that does something from the start."""
    torch.manual_seed(5)
    return peft.LoraConfig(r=2, target_modules=list(targets) or ["to_k", "to_v"], init_lora_weights=False)


def ip_adapter(unet: Any) -> dict[str, dict[str, Tensor]]:
    """What the file of a (random) IP-Adapter for this U-Net holds."""
    generator = torch.Generator().manual_seed(3)
    width = unet.config.cross_attention_dim
    places = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    sizes = [len(unet.get_submodule(name).to_k.weight) for name in places]
    keys = {f"{2 * i + 1}.to_{letter}_ip.weight": (size, width) for i, size in enumerate(sizes) for letter in "kv"}
    own = {key: torch.randn(shape, generator=generator) for key, shape in keys.items()}
    project = {"proj.weight": torch.randn(4 * width, 16, generator=generator), "proj.bias": torch.zeros(4 * width)}
    return {"ip_adapter": own, "image_proj": {**project, "norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}}


IMAGE = {"added_cond_kwargs": {"image_embeds": [torch.ones(2, 1, 16)]}}


def controlnet(unet: Any) -> ControlNetModel:
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8,), load_weights_from_unet=False)


# Fused projections


def test_fusing_while_an_edit_is_on(pipe: Any) -> None:
    plain, edit, base = Plain(pipe), weight_edit(pipe, KEY, VALUE, SELF), output(pipe)
    edit.apply(pipe)
    pipe.fuse_qkv_projections(vae=False)
    assert (output(pipe) - base).abs().max() > 1e-2
    edit.remove(pipe)
    assert plain.is_back()
    assert torch.allclose(output(pipe), base, atol=1e-5), "the fused copies must come back too"
    pipe.unfuse_qkv_projections(vae=False)
    assert torch.equal(output(pipe), base)


def test_an_edit_on_fused_projections(pipe: Any) -> None:
    plain, edit, base = Plain(pipe), weight_edit(pipe, KEY, VALUE, SELF), output(pipe)
    with edit.applied(pipe):
        edited = output(pipe)
    pipe.fuse_qkv_projections(vae=False)
    fused, before = output(pipe), state(pipe)
    edit.apply(pipe)
    assert torch.allclose(output(pipe), edited, atol=1e-5) and (edited - base).abs().max() > 1e-2
    edit.remove(pipe)
    assert plain.is_back() and same_state(state(pipe), before) and torch.equal(output(pipe), fused)


def test_unfusing_while_an_edit_is_on(pipe: Any) -> None:
    """The copies are left behind unused; they must not keep the edit either: they are saved with the network, and used when fused again."""
    plain, edit, base = Plain(pipe), weight_edit(pipe, KEY, SELF), output(pipe)
    pipe.fuse_qkv_projections(vae=False)
    before = state(pipe)
    edit.apply(pipe)
    pipe.unfuse_qkv_projections(vae=False)
    edit.remove(pipe)
    assert plain.is_back() and same_state(state(pipe), before) and torch.equal(output(pipe), base)


def test_fused_projections_that_were_trained_are_not_overwritten(pipe: Any) -> None:
    edit = weight_edit(pipe, KEY)
    pipe.fuse_qkv_projections(vae=False)
    fused = pipe.unet.get_submodule(f"{BLOCK}.attn2").to_kv.weight
    whole = fused.detach().clone()
    with torch.no_grad():
        fused.add_(1)
    _refused(pipe, lambda: edit.apply(pipe), r"to_kv.* is no longer what to_k and to_v say.*unfuse_qkv_projections")
    with torch.no_grad():
        fused.copy_(whole)
    edit.apply(pipe)
    with torch.no_grad():
        fused.add_(1)
    _refused(pipe, lambda: edit.remove(pipe), "to_kv.* is no longer what to_k and to_v say")


# LoRA and other adapters


def test_an_adapter_added_while_an_edit_is_on(pipe: Any) -> None:
    other = tiny_models.pipeline()
    other.unet.add_adapter(lora())
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, VALUE)
    edit.apply(pipe)
    pipe.unet.add_adapter(lora())
    edit.remove(pipe)
    assert plain.is_back() and torch.equal(output(pipe), output(other)), "the adapter stays on"


@pytest.mark.parametrize("target", ["unet", "text_encoder"])
def test_an_edit_on_a_model_with_an_adapter(pipe: Any, target: str) -> None:
    """One that does nothing (a fresh LoRA) shows that the edit does what it does on the plain model."""
    edit = weight_edit(pipe, KEY, VALUE, TEXT)
    with edit.applied(pipe):
        edited = output(pipe)
    config = peft.LoraConfig(r=2, target_modules=["to_k"] if target == "unet" else ["fc1", "q_proj"])
    getattr(pipe, target).add_adapter(config)
    before = state(pipe)
    with edit.applied(pipe):
        assert torch.equal(output(pipe), edited)
    assert same_state(state(pipe), before)


def test_an_edit_on_a_model_inside_peft(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, VALUE)
    pipe.unet = peft.get_peft_model(pipe.unet, lora())
    with edit.applied(pipe):
        assert applied_edits(pipe) == ((edit, 1.0),)
        assert not plain.is_back()
        pipe.unet = pipe.unet.unload()
    assert plain.is_back()


def test_a_fused_lora_is_named(pipe: Any) -> None:
    edit = weight_edit(pipe, KEY)
    pipe.unet.add_adapter(lora())
    edit.apply(pipe)
    pipe.unet.fuse_lora()
    _refused(pipe, lambda: edit.remove(pipe), r"to_k\.weight is no longer as the edits left it.*a LoRA is fused into it")
    other = tiny_models.pipeline()
    other.unet.add_adapter(lora())
    other.unet.fuse_lora()
    _refused(other, lambda: edit.apply(other), r"a LoRA is fused into .*to_k.*before fusing")


# Compiled


@pytest.mark.parametrize("make", [weight_edit, adapter_edit])
def test_compiled_code_sees_the_edit_come_and_go(pipe: Any, make: Callable[..., Edit]) -> None:
    plain, edit, base = Plain(pipe), make(pipe, KEY, VALUE), output(pipe)
    with edit.applied(pipe):
        edited = output(pipe)
    network = pipe.unet
    for block in (*network.down_blocks, *network.up_blocks):  # where the edit is not: half of the time
        block.forward = torch.compiler.disable(block.forward)
    pipe.unet = torch.compile(network, backend="eager")
    assert torch.equal(output(pipe), base)
    edit.apply(pipe)
    assert torch.equal(output(pipe), edited) and applied_edits(pipe) == ((edit, 1.0),)
    edit.remove(pipe)
    assert torch.equal(output(pipe), base) and plain.is_back()
    pipe.unet = network
    assert torch.equal(output(pipe), base)


@pytest.mark.parametrize("make", [weight_edit, adapter_edit])
def test_compiling_while_an_edit_is_on(pipe: Any, make: Callable[..., Edit]) -> None:
    plain, edit, base = Plain(pipe), make(pipe, KEY, VALUE), output(pipe)
    edit.apply(pipe)
    edited = output(pipe)
    pipe.unet.mid_block.compile(backend="eager")
    assert torch.equal(output(pipe), edited)
    pipe.unet = torch.compile(pipe.unet, backend="eager")  # not run: wrapped is enough to be lost
    edit.remove(pipe)
    pipe.unet = pipe.unet._orig_mod
    assert torch.equal(output(pipe), base) and plain.is_back()


def test_parts_compiled_one_by_one(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, TEXT)
    pipe.unet.mid_block = torch.compile(pipe.unet.mid_block, backend="eager")
    pipe.text_encoder = torch.compile(pipe.text_encoder, backend="eager")
    with edit.applied(pipe):
        assert not plain.is_back()
    assert plain.is_back()


# IP-Adapter


@pytest.mark.parametrize("make", [weight_edit, adapter_edit])
def test_an_edit_beside_an_ip_adapter(pipe: Any, make: Callable[..., Edit]) -> None:
    edit, base = make(pipe, KEY, VALUE), output(pipe)
    pipe.unet._load_ip_adapter_weights([ip_adapter(pipe.unet)])
    before, with_image = state(pipe), output(pipe, **IMAGE)
    assert (with_image - base).abs().max() > 1e-2
    edit.apply(pipe)
    assert (output(pipe, **IMAGE) - with_image).abs().max() > 1e-2
    edit.remove(pipe)
    assert same_state(state(pipe), before) and torch.equal(output(pipe, **IMAGE), with_image)


def test_an_ip_adapter_loaded_while_an_edit_is_on(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, VALUE)
    with edit.applied(pipe):
        pipe.unet._load_ip_adapter_weights([ip_adapter(pipe.unet)])
    assert plain.is_back()


# Textual inversion


def test_an_added_token_does_not_make_another_model(pipe: Any, tmp_path: Path) -> None:
    edit = weight_edit(pipe, KEY, TEXT)
    pipe.load_textual_inversion({"<toy>": torch.ones(32)}, token="<toy>")
    before, toy = state(pipe), output(pipe, "<toy>")
    with edit.applied(pipe):
        assert not torch.equal(output(pipe, "<toy>"), toy)
    assert same_state(state(pipe), before) and torch.equal(output(pipe, "<toy>"), toy)
    pipe.save_pretrained(tmp_path)
    edit.apply(load(tmp_path, device="cpu"))


def test_an_edit_of_the_token_embedding_leaves_added_tokens_alone(pipe: Any) -> None:
    """Tokens may come and go while it is on."""
    edit, other = weight_edit(pipe, TOKENS), tiny_models.pipeline()
    with edit.applied(pipe):
        expected = _parameter(pipe, TOKENS).clone()
    base = _parameter(pipe, TOKENS).clone()
    pipe.load_textual_inversion({"<toy>": torch.ones(32)}, token="<toy>")
    edit.apply(pipe)
    assert same_bits(_parameter(pipe, TOKENS), torch.cat([expected, torch.ones(1, 32)]))
    pipe.unload_textual_inversion()
    assert same_bits(_parameter(pipe, TOKENS), expected)
    edit.remove(pipe)
    assert same_bits(_parameter(pipe, TOKENS), base)
    edit.apply(other)
    other.load_textual_inversion({"<toy>": torch.ones(32)}, token="<toy>")
    edit.remove(other)
    assert same_bits(_parameter(other, TOKENS), torch.cat([base, torch.ones(1, 32)]))


# Pipelines that share networks


def test_pipelines_that_share_the_networks_share_the_edit(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, TEXT)
    parts = pipe.components
    others = [
        StableDiffusionControlNetPipeline(**parts, controlnet=controlnet(pipe.unet), requires_safety_checker=False),
        StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False),
        StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False),
    ]
    for one, other in zip([pipe, *others], [*others, pipe], strict=True):
        edit.apply(one)
        assert applied_edits(other) == ((edit, 1.0),) and not plain.is_back()
        edit.remove(other)
        assert plain.is_back()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_from_pipe_widens_and_is_the_same_model(dtype: str) -> None:
    """diffusers casts to float32 what another pipeline holds in half precision, and both share it."""
    edit = weight_edit(tiny_models.pipeline(), KEY, TEXT)
    pipe = tiny_models.pipeline().to(CAST[dtype])
    plain = Plain(pipe)
    other = StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    plain.values = [value.float() for value in plain.values]
    with edit.applied(other):
        assert not plain.is_back()
    assert plain.is_back()
    edit.apply(pipe)
    pipe.to(torch.float16)
    other = StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    edit.remove(other)
    plain.values = [value.half().float() for value in plain.values]
    assert plain.is_back()


def test_a_text_encoder_shared_by_two_models(pipe: Any) -> None:
    """The second pipeline may be edited in its own U-Net, but not in what the first one has edited."""
    second = tiny_models.pipeline()
    second.text_encoder = pipe.text_encoder
    both, own = weight_edit(pipe, KEY, TEXT), weight_edit(pipe, KEY, seed=1)
    plains = Plain(pipe), Plain(second)
    own.apply(pipe)
    with own.applied(second):
        pass
    own.remove(pipe)
    both.apply(pipe)
    for edit in (both, own):
        _refused(second, lambda edit=edit: edit.apply(second), "text_encoder .* other edits on .* shares it")  # type: ignore[misc]
    both.remove(pipe)
    with both.applied(second):
        pass
    assert all(plain.is_back() for plain in plains)


def test_a_pipeline_without_a_text_encoder_says_so(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY)
    edit.apply(pipe)
    encoder, pipe.text_encoder = pipe.text_encoder, None
    edit.remove(pipe)
    assert plain.is_back()
    with pytest.raises(ValueError, match=r"has no text_encoder.*put the edit on before"):
        edit.apply(pipe)
    both = weight_edit(tiny_models.pipeline(), KEY, TEXT)
    pipe.text_encoder = encoder
    both.apply(pipe)
    pipe.text_encoder = None
    with pytest.raises(ValueError, match=r"changes text_encoder\..*, which the model does not have now"):
        both.remove(pipe)
    pipe.text_encoder = encoder
    both.remove(pipe)
    assert plain.is_back()


# Weights in another form


class Params4bit(nn.Parameter):
    """As bitsandbytes packs weights: a parameter class of its own, bytes of another shape."""


def _packed(pipe: Any) -> None:
    layer = pipe.unet.get_submodule(f"{BLOCK}.attn2.to_k")
    layer.weight = Params4bit(torch.zeros(256, 1, dtype=torch.uint8), requires_grad=False)


def _float8(pipe: Any) -> None:
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def _foreign(pipe: Any) -> None:
    """As quanto does before it freezes: weights that look plain in a layer that rounds them when it computes."""
    kind = type("QLinear", (nn.Linear,), {"__module__": "optimum.quanto.nn.qlinear"})
    layer = pipe.unet.get_submodule(f"{BLOCK}.attn2")
    layer.to_k.__class__ = kind


@pytest.mark.parametrize("quantise", [_packed, _float8, _foreign])
def test_quantised_weights_are_named_and_the_way_out(pipe: Any, quantise: Callable[[Any], None]) -> None:
    edit, on = weight_edit(pipe, KEY), tiny_models.pipeline()
    edit.apply(on)
    words = r"is quantised \(.*excise export"
    for network, act in ((pipe, edit.apply), (on, edit.remove)):
        quantise(network)
        _refused(network, lambda network=network, act=act: act(network), words)  # type: ignore[misc]
    _refused(pipe, lambda: adapter_edit(tiny_models.pipeline(), KEY).apply(pipe), words)


def _sequential(pipe: Any) -> None:
    accelerate.cpu_offload(pipe.unet, execution_device=torch.device("cpu"))


def _grouped(pipe: Any) -> None:
    pipe.unet.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)


@pytest.mark.parametrize("offload", [_sequential, _grouped])
def test_offloaded_weights_are_named(pipe: Any, offload: Callable[[Any], None]) -> None:
    edit, on = weight_edit(pipe, KEY), tiny_models.pipeline()
    edit.apply(on)
    for network, act in ((pipe, edit.apply), (on, edit.remove)):
        before = output(network)
        offload(network)
        with pytest.raises(ValueError, match=r"is offloaded.*before you turn offloading on.*load the pipeline again"):
            act(network)
        assert torch.equal(output(network), before)


# Weights that change while an edit is on


def _step(pipe: Any) -> None:
    pipe.unet.requires_grad_(True)
    optimiser = torch.optim.AdamW(pipe.unet.parameters(), lr=1e-4)
    x, told = torch.ones(1, 4, 8, 8), torch.ones(1, 77, 32)
    pipe.unet(x, 500, encoder_hidden_states=told).sample.square().mean().backward()
    optimiser.step()
    pipe.unet.requires_grad_(False)


def _raw(pipe: Any) -> None:
    _parameter(pipe, KEY).data.view(-1)[7].add_(1e-6)


def _loaded(pipe: Any) -> None:
    pipe.unet.load_state_dict(tiny_models.pipeline().unet.state_dict())


@pytest.mark.parametrize("write", [_step, _raw, _loaded])
def test_what_was_trained_is_not_lost(pipe: Any, write: Callable[[Any], None]) -> None:
    edit, second = weight_edit(pipe, KEY, VALUE), weight_edit(pipe, KEY, seed=1)
    edit.apply(pipe)
    write(pipe)
    words = r"to_.\.weight is no longer as the edits left it.*save_pretrained.*load the model again"
    _refused(pipe, lambda: edit.remove(pipe), words)
    _refused(pipe, lambda: second.apply(pipe), "no longer|another model")


def test_other_tensors_may_be_trained(pipe: Any) -> None:
    """What an edit does not touch it does not put back either."""
    edit, base = weight_edit(pipe, KEY), state(pipe)
    edit.apply(pipe)
    with torch.no_grad():
        _parameter(pipe, VALUE).add_(1)
    edit.remove(pipe)
    assert same_state(state(pipe), {**base, VALUE: base[VALUE] + 1})


def test_an_application_that_fails_half_way_changes_nothing(pipe: Any) -> None:
    class Failing(Dense):
        def dense(self) -> Tensor:
            raise MemoryError("no room")

    on, edit = weight_edit(pipe, KEY, seed=1), weight_edit(pipe, KEY, VALUE)
    edit = WeightEdit({KEY: edit.deltas[KEY], VALUE: Failing(torch.zeros(16, 32))}, edit.manifest)
    on.apply(pipe)
    before = state(pipe)
    with pytest.raises(MemoryError):
        edit.apply(pipe)
    assert same_state(state(pipe), before) and applied_edits(pipe) == ((on, 1.0),)
    on.remove(pipe)


@pytest.mark.parametrize("first", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "way", [["float16", "float32"], ["bfloat16", "float16", "float32"], ["float16", "bfloat16", "float16"]]
)
def test_casts_are_followed(pipe: Any, first: str, way: list[str]) -> None:
    """What comes back is the base as those casts give it, whatever way they went, and so are the weights while another edit is still on."""
    pipe.to(CAST[first])
    plain, one, two = Plain(pipe), weight_edit(pipe, KEY, TEXT), weight_edit(pipe, KEY, VALUE, seed=1)
    one.apply(pipe)
    two.apply(pipe)
    for name in way:
        pipe.to(CAST[name])
        plain.values = [value.to(CAST[name]) for value in plain.values]
    one.remove(pipe)
    two.remove(pipe)
    assert plain.is_back()


def test_one_network_alone_may_be_cast(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY, TEXT)
    edit.apply(pipe)
    pipe.text_encoder.half()
    pipe.unet.to(memory_format=torch.channels_last)
    edit.remove(pipe)
    pipe.text_encoder.float()
    count = len(list(pipe.unet.parameters()))
    plain.values[count:] = [value.half().float() for value in plain.values[count:]]
    assert plain.is_back()


# Copies


@pytest.mark.parametrize("make", [weight_edit, adapter_edit])
def test_a_copy_has_the_edit_on_and_both_come_off_alone(pipe: Any, make: Callable[..., Edit]) -> None:
    edit, base = make(pipe, KEY, VALUE), output(pipe)
    edit.apply(pipe)
    edited = output(pipe)
    other = copy.deepcopy(pipe)
    assert applied_edits(other) == ((edit, 1.0),) and torch.equal(output(other), edited)
    edit.remove(other)
    assert torch.equal(output(other), base) and torch.equal(output(pipe), edited)
    assert applied_edits(other) == () and applied_edits(pipe) == ((edit, 1.0),)
    edit.apply(other, 0.5)
    edit.remove(pipe)
    assert torch.equal(output(pipe), base) and not torch.equal(output(other), base)


def test_a_copy_of_the_network_alone(pipe: Any) -> None:
    plain, edit = Plain(pipe), weight_edit(pipe, KEY)
    edit.apply(pipe)
    other = StableDiffusionPipeline(**{**pipe.components, "unet": copy.deepcopy(pipe.unet)}, requires_safety_checker=False)
    edit.remove(other)
    edit.remove(pipe)
    assert plain.is_back() and all(map(same_bits, other.unet.parameters(), plain.values[: len(list(other.unet.parameters()))]))


def test_edits_are_values_and_need_no_copies(pipe: Any) -> None:
    edit = weight_edit(pipe, KEY)
    assert copy.deepcopy(edit) is edit


# Adapters' hooks


def test_an_adapter_edit_beside_a_lora(pipe: Any) -> None:
    """In whatever order they came."""
    edit, base = adapter_edit(pipe, KEY, VALUE), output(pipe)
    with edit.applied(pipe):
        edited = output(pipe)
        pipe.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_k"]))
        assert torch.equal(output(pipe), edited)
    assert torch.equal(output(pipe), base)
    with edit.applied(pipe):
        assert torch.equal(output(pipe), edited)
    assert torch.equal(output(pipe), base)


def test_an_adapter_edit_does_not_act_on_fused_projections_and_says_so(pipe: Any) -> None:
    edit, base = adapter_edit(pipe, KEY), output(pipe)
    pipe.fuse_qkv_projections(vae=False)
    _refused(pipe, lambda: edit.apply(pipe), r"to_k.* are fused.*unfuse_qkv_projections")
    pipe.unfuse_qkv_projections(vae=False)
    edit.apply(pipe)
    edited = output(pipe)
    pipe.fuse_qkv_projections(vae=False)
    with pytest.raises(RuntimeError, match=r"are fused.*unfuse_qkv_projections"):
        output(pipe)
    pipe.unfuse_qkv_projections(vae=False)
    assert torch.equal(output(pipe), edited)
    edit.remove(pipe)
    assert torch.equal(output(pipe), base)


# A Model is as good as a pipeline


def test_the_same_through_a_model(tiny_sd1: Path) -> None:
    model = load(tiny_sd1, device="cpu")
    plain, edit = Plain(model.pipeline), weight_edit(model.pipeline, KEY, TEXT)
    edit.apply(model)
    model.pipeline.unet.add_adapter(lora())
    model.pipeline.fuse_qkv_projections(vae=False)
    model.pipeline.unet = torch.compile(model.pipeline.unet, backend="eager")
    assert applied_edits(model) == ((edit, 1.0),) == applied_edits(type(model)(model.pipeline, name="another"))
    edit.remove(model.pipeline)
    assert plain.is_back() and base_fingerprint(model) == edit.manifest.base


def _refused(pipe: Any, act: Callable[[], Any], words: str) -> None:
    """It raises one line, and neither a weight nor the list of edits is another one after it."""
    before, on = state(pipe), applied_edits(pipe)
    with pytest.raises(ValueError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert same_state(state(pipe), before) and applied_edits(pipe) == on


# Everything at once


@dataclass
class World:
    """A pipeline, the edits that should be on it, and what its own parameters should be without them."""

    pipe: Any
    parameters: list[nn.Parameter]
    base: list[Tensor]
    on: list[tuple[Edit, float]] = field(default_factory=list)
    fused: bool = False
    adapted: bool = False

    @property
    def network(self) -> Any:
        return getattr(self.pipe.unet, "_orig_mod", self.pipe.unet)


class Walk:
    """A random walk over what people do with a pipeline and its edits; every step is checked."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.folder = random.Random(seed), folder
        pipe = tiny_models.pipeline()
        self.edits: list[Edit] = [
            weight_edit(pipe, KEY, VALUE, TEXT, seed=1), weight_edit(pipe, KEY, SELF, seed=2), weight_edit(pipe, TEXT, TOKENS, seed=3),
            adapter_edit(pipe, KEY, QUERY, seed=4),
        ]  # fmt: skip
        plain = Plain(pipe)
        self.worlds = [World(pipe, plain.parameters, plain.values)]
        self.trace: list[str] = []

    def step(self) -> None:
        world = self.random.choice(self.worlds)
        names = ["apply", "apply", "remove", "remove", "compose", "scale", "cast", "compile", "adapter", "fuse", "save", "copy"]
        name = self.random.choice(names)
        self.trace.append(f"{self.worlds.index(world)}:{name}")
        getattr(self, name)(world)
        assert [(id(e), s) for e, s in applied_edits(world.pipe)] == [(id(e), s) for e, s in world.on]

    def apply(self, world: World, edit: Edit | None = None) -> None:
        edit, scale = edit or self.random.choice(self.edits), self.random.choice([1.0, 0.5, -2.0])
        hooked = world.fused and isinstance(edit, AdapterEdit)
        if self.tried(
            world, lambda: edit.apply(world.pipe, scale), "are fused" if hooked else "another model", "another model"
        ):
            world.on.append((edit, scale))
        else:  # two half precisions after each other: nothing shows any more what they came from
            assert hooked or self.trace.count("half") > 1

    def remove(self, world: World) -> None:
        edit = self.random.choice(self.edits)
        places = [place for place, (one, _) in enumerate(world.on) if one is edit]
        done = self.tried(world, lambda: edit.remove(world.pipe), "not on this model")
        assert done == bool(places)
        if places:
            del world.on[places[-1]]

    def compose(self, world: World) -> None:
        self.edits.append(compose(self.random.sample([e for e in self.edits if isinstance(e, WeightEdit)], 2)))
        self.apply(world, self.edits[-1])

    def scale(self, world: World) -> None:
        self.edits.append(self.random.choice(self.edits).scaled(0.5))
        self.apply(world, self.edits[-1])

    def cast(self, world: World) -> None:
        name = self.random.choice(["float32", "float16", "bfloat16"])
        world.pipe.to(CAST[name])
        world.base = [value.to(CAST[name]) for value in world.base]
        self.trace += ["half"] * (name != "float32")

    def compile(self, world: World) -> None:
        wrapped = world.pipe.unet is not world.network
        world.pipe.unet = world.network if wrapped else torch.compile(world.network, backend="eager")

    def adapter(self, world: World) -> None:
        if world.adapted:
            world.network.unload_lora()
        else:
            world.network.add_adapter(lora("to_k", "to_v", "to_q"))
            world.network.to(world.network.dtype)
        world.adapted = not world.adapted

    def fuse(self, world: World) -> None:
        if world.fused:
            world.network.unfuse_qkv_projections()
        else:
            world.network.fuse_qkv_projections()
        world.fused = not world.fused

    def save(self, world: World) -> None:
        world.network.save_pretrained(self.folder)

    def copy(self, world: World) -> None:
        if len(self.worlds) < 3:
            memo: dict[int, Any] = {}
            pipe = copy.deepcopy(world.pipe, memo)
            parameters = [memo[id(parameter)] for parameter in world.parameters]
            self.worlds.append(World(pipe, parameters, world.base, [*world.on], world.fused, world.adapted))

    def write(self, world: World) -> None:
        """Somebody trains what an edit has changed: it cannot be removed, and nothing is lost, until the edit's weights are back."""
        for edit in {edit for edit, _ in world.on if edit.deltas}:
            parameter = named_tensors(world.pipe)[self.random.choice(list(edit.deltas))]
            left = parameter.data.clone()
            parameter.data.view(-1)[0].mul_(-3)
            assert not self.tried(world, lambda edit=edit: edit.remove(world.pipe), "is no longer as the edits left it")  # type: ignore[misc]
            parameter.data.copy_(left)

    def tried(self, world: World, act: Callable[[], Any], *words: str) -> bool:
        """Whether it worked; if not, one line says why, and nothing changed."""
        before, on = state(world.pipe), applied_edits(world.pipe)
        try:
            act()
        except ValueError as error:
            assert any(each in str(error) for each in words) and "\n" not in str(error), self.trace
            assert same_state(state(world.pipe), before) and applied_edits(world.pipe) == on, self.trace
            return False
        return True

    def finish(self) -> None:
        for world in self.worlds:
            self.write(world)
            self.random.shuffle(world.on)
            for edit, _ in world.on:
                edit.remove(world.pipe)
            assert applied_edits(world.pipe) == ()
            for parameter, value in zip(world.parameters, world.base, strict=True):
                assert same_bits(parameter, value), self.trace
            if world.fused:
                for layer in world.network.modules():
                    if hasattr(layer, "to_kv"):
                        assert same_bits(layer.to_kv.weight, torch.cat([layer.to_k.weight, layer.to_v.weight])), self.trace


@pytest.mark.parametrize("seed", range(16))
def test_after_all_edits_are_off_the_model_is_the_base(seed: int, tmp_path: Path) -> None:
    walk = Walk(seed, tmp_path)
    for _ in range(14):
        walk.step()
    walk.finish()
