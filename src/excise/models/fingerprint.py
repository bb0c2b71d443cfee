"""Which model is this? A SHA-256 over the weights that edits may change, and what else decides its pictures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from excise.digests import digest_casts, digest_tensors, digest_values
from excise.models.wrappers import own_parameters, unwrapped
from excise.versions import versions

DENOISERS = ("unet", "transformer")
"""What pipelines call the network that is asked at every step."""

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""What they call those that read prompts."""

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def components(model: Any) -> dict[str, nn.Module]:
    """The networks that edits may change, by prefix: of a `Model`, or of a plain diffusers pipeline; out of what was wrapped around them.

    The denoiser comes first, and CLIP's text encoders follow: language models that a family reads prompts with are never changed.
    """
    pipeline = getattr(model, "pipeline", model)
    found = {name: unwrapped(part) for name in DENOISERS if isinstance(part := getattr(pipeline, name, None), nn.Module)}
    if len(found) != 1:
        raise TypeError(
            f"expected an excise Model or a diffusers pipeline with a U-Net or a transformer, got {type(model).__name__}"
        )
    encoders = {name: unwrapped(part) for name in ENCODERS if isinstance(part := getattr(pipeline, name, None), nn.Module)}
    return found | {name: encoder for name, encoder in encoders.items() if type(encoder).__name__.startswith("CLIPText")}


def denoiser_of(model: Any) -> str:
    """The name of the network that is asked at every step, with which the canonical names of its tensors begin."""
    return next(iter(components(model)))


def check_recognisable(model: Any) -> None:
    """Raise ValueError for a pipeline without the text encoder that it was made with."""
    pipeline = getattr(model, "pipeline", model)
    taken = inspect.signature(type(pipeline).__init__).parameters
    clip = [name for name in ENCODERS if name in taken and "CLIPText" in str(taken[name].annotation)]
    missing = [name for name in clip if getattr(pipeline, name, model) is None]
    if missing:
        raise ValueError(
            f"this pipeline has no {missing[0]}, so nothing shows which model it is; put the edit on before you take the text encoder out"
        )


def told_to(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
    """The tokens (b, n, width) among what a pipeline calls its denoiser with."""
    return named["encoder_hidden_states"] if "encoder_hidden_states" in named else inputs[2]


def told_shape(model: Any) -> tuple[int, int] | None:
    """(tokens, width) of a prompt that a pipeline tells its denoiser; None where nothing says so."""
    pipeline = getattr(model, "pipeline", model)
    if getattr(pipeline, "tokenizer", None) is None:
        return None
    width = getattr(components(model)[denoiser_of(model)].config, "cross_attention_dim", None)
    return None if width is None else (pipeline.tokenizer.model_max_length, width)


def canonical_name(name: str) -> str:
    """A tensor's name without the prefix that some transformers versions put before the text model."""
    network, _, rest = name.partition(".")
    return f"{network}.{rest.removeprefix('text_model.')}" if network in ENCODERS else name


def named_tensors(model: Any) -> dict[str, nn.Parameter]:
    """Every parameter that edits may change, by canonical name ("unet.down_blocks.0..."), whatever is wrapped around its layer."""
    return {
        canonical_name(f"{prefix}.{name}"): parameter
        for prefix, network in components(model).items()
        for name, parameter in own_parameters(network).items()
    }


def added_tokens(model: Any) -> tuple[str, int] | None:
    """The name of the token embedding and how many of its rows are the base's, where textual inversion has added some; else None."""
    words = getattr(getattr(model, "pipeline", model), "tokenizer", None)
    encoder: Any = components(model).get("text_encoder")
    if words is None or encoder is None:
        return None
    embedding: Any = unwrapped(encoder.get_input_embeddings()).weight
    added = [number for number in words.get_added_vocab().values() if words.vocab_size <= number < len(embedding)]
    if not added:
        return None
    return next(name for name, parameter in named_tensors(model).items() if parameter is embedding), min(added)


def fingerprint(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """SHA-256 over sorted names, shapes and little-endian bytes, by dtype.

    Weights in float32 are also hashed as their float16 and bfloat16 casts, so that the same model loaded in half precision is recognised;
    half-precision weights are hashed in their own dtype and, since widening is exact, as float32.
    """
    own = {tensor.dtype for tensor in tensors.values()}
    wanted = DTYPES if own == {torch.float32} else {k: d for k, d in DTYPES.items() if d in own or k == "float32"}
    return dict(zip(wanted, digest_casts(tensors, list(wanted.values())), strict=True))


@torch.no_grad()
def state_of(tensors: Mapping[str, Tensor]) -> list[Any]:
    """What shows whether one of these tensors was changed since: names, dtypes, and a fast hash of each. It names nothing in a file."""
    hashes = torch.stack([torch.hash_tensor(tensor.detach()).view(torch.int64).cpu() for tensor in tensors.values()])
    return [list(tensors), [tensor.dtype for tensor in tensors.values()], hashes.tolist()]


def same_base(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two fingerprints are of the same model, compared in the coarser of the precisions that they were loaded in."""
    halves = [dtype for prints in (one, other) if len(prints) < len(DTYPES) for dtype in prints if dtype != "float32"]
    dtype = halves[0] if halves else "float32"
    return dtype in one and one[dtype] == other.get(dtype)


def rounded_from(tensors: Mapping[str, Tensor], found: Mapping[str, str], base: Mapping[str, str]) -> bool:
    """Whether these tensors, of the fingerprint `found`, are what `base` is in a half precision, widened to float32 again."""
    return any(
        found.get(name, "") == base.get(name)
        and all(torch.equal(tensor, tensor.to(dtype).to(tensor)) for tensor in tensors.values())
        for name, dtype in DTYPES.items()
        if name != "float32"
    )


def short(fingerprint: Mapping[str, str]) -> str:
    """The beginning of a fingerprint, for messages."""
    return next(iter(fingerprint.values()), "unknown")[:12]


def surroundings(model: Any) -> dict[str, str]:
    """What decides the pictures of a Model or pipeline beside the weights that edits may change, each by its SHA-256."""
    pipeline = getattr(model, "pipeline", model)
    networks = [getattr(pipeline, name, None) for name in (*DENOISERS, *ENCODERS, "vae")]
    tokenizers = [words for number in ("", "_2", "_3") if (words := getattr(pipeline, f"tokenizer{number}", None)) is not None]
    values = {
        "scheduler": [type(pipeline.scheduler).__name__, config(pipeline.scheduler)],
        "configs": [config(network) for network in networks if network is not None],
        "tokenizer": [part for words in tokenizers for part in _told_by(words)],
    }
    digests = {name: digest_values(value) for name, value in values.items()}
    if (how := getattr(model, "long_prompts", "cut")) != "cut":
        digests["long_prompts"] = digest_values(how)
    readers = unedited_readers(model) if model is pipeline else model.unedited  # which may have let go of them
    return {"autoencoder": _digest_of(pipeline.vae), **digests, **readers}


def unedited_readers(model: Any) -> dict[str, str]:
    """The networks that read prompts and that no edit changes, each by the SHA-256 of its weights."""
    pipeline, own = getattr(model, "pipeline", model), components(model)
    readers = {name: getattr(pipeline, name, None) for name in ENCODERS if name not in own}
    return {name: _digest_of(reader) for name, reader in readers.items() if reader is not None}


def _digest_of(network: nn.Module) -> str:
    """SHA-256 over a network's weights; it lies on the network, and is computed again only if a value has changed since."""
    tensors = network.state_dict()
    seen, known = state_of(tensors), vars(network).get("_excise_digest")
    if known is None or known[0] != seen:
        known = vars(network)["_excise_digest"] = seen, digest_tensors(tensors)
    return known[1]


def _told_by(words: Any) -> list[Any]:
    """What decides how a tokenizer reads prompts."""
    chat = [words.chat_template] if words.chat_template else []
    return [words.get_vocab(), words.special_tokens_map, words.model_max_length, *chat]


def arithmetic(model: Any) -> dict[str, Any]:
    """What decides how a Model's predictions are rounded, and so the last bits of its pictures."""
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"precision": model.precision, "device": name, "threads": torch.get_num_threads(), "versions": versions()}


def config(part: Any) -> dict[str, Any]:
    """A network's or scheduler's config without what its host notes for itself: where it was read, and what was left out of the file (in
    random order)."""
    told = part.config.to_dict() if hasattr(part.config, "to_dict") else part.config
    return {key: value for key, value in told.items() if not key.startswith("_") and key != "transformers_version"}
