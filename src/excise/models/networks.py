"""The networks of a model: how words are encoded, where they enter, what is predicted. Each family says how its own are asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from excise.arguments import check_texts, check_whole
from excise.models.attending import Attended
from excise.models.conditioning import Conditioning
from excise.models.drawing import LongPrompts
from excise.models.entrances import Entrance, Segment, Way
from excise.models.fingerprint import unedited_readers
from excise.models.guidance import guided, sampling_scale
from excise.models.on_demand import OnDemand
from excise.models.path import Path
from excise.models.precision import bfloat16_arithmetic
from excise.models.pruned import PrunedNetwork
from excise.models.recomputing import recompute, remembered
from excise.models.team import ALONE
from excise.models.wrappers import own_layers, own_parameters, unwrapped

Change = Callable[[str, Tensor], Tensor]
"""Given a place and what a network computed there (b, c, h, w); returns what it goes on with, of the same shape."""


def check_prompts(prompts: Sequence[str], batch: int) -> None:
    """Raise ValueError for no prompt, a text in place of a list, or a `batch` below 1."""
    check_texts("prompts", prompts)
    if not prompts:
        raise ValueError("no prompts to encode: give at least one, '' for none")
    check_whole("batch", batch, 1)


class Networks(ABC):
    """A pipeline's networks as the rest of the package sees them; a family's class says what the abstract members are.

    pipeline  the diffusers pipeline; its components are shared, not copied
    mixed     compute the denoiser's predictions in bfloat16, with the weights as they are
    on_demand those of the networks that read prompts and that no edit changes whose files can be read again, by name; `load` knows
    team      the processes that predict together; default this one alone
    """

    parts: ClassVar[Mapping[str, str]]
    """Every network of the pipeline, and its class: {"vae": "diffusers.AutoencoderKL"}."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Those that a pipeline may be without: then it holds None in their place."""
    editable: ClassVar[tuple[str, ...]]
    """Those that an edit may change, the denoiser first. Their names begin the names of tensors in edit files."""

    left_out_parts: ClassVar[Mapping[str, Any]] = {}
    """What a pipeline is told when it is loaded, to leave out what nobody here uses."""

    long_prompts: LongPrompts = "cut"
    """How prompts longer than the context are read; in chunks where the family can (`Family.in_chunks`)."""

    def __init__(self, pipeline: Any, *, mixed: bool = False) -> None:
        self.pipeline = pipeline
        self.mixed = mixed
        self.on_demand: dict[str, OnDemand] = {}
        self.team = ALONE
        for part in self.parts:
            if part not in self.optional or getattr(pipeline, part) is not None:
                getattr(pipeline, part).eval().requires_grad_(False)

    @classmethod
    def declared(cls, index: Mapping[str, Any]) -> tuple[list[str], dict[str, None]]:
        """The networks that a model has, all but for optional ones that its `model_index.json` says it is without; and what its pipeline is
        told of these and of their tokenizers."""
        parts = [part for part in cls.parts if part not in cls.optional or (index.get(part) or [None])[0] is not None]
        missing = [part for part in cls.parts if part not in parts]
        return parts, dict.fromkeys([*missing, *(part.replace("text_encoder", "tokenizer") for part in missing)])

    # What a family says of its networks

    @staticmethod
    @abstractmethod
    def check_words(pipeline: Any, model: object) -> None:
        """Raise ValueError for a tokenizer that is not its text encoder's, or that lost its vocabulary: hosts read what is left of one."""

    @abstractmethod
    def encode(self, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        """What the denoiser is told by prompts, one a row, in the model's dtype.

        All have equally many token rows, however long they are; prompts longer than the context are cut (`left_out`), or have the rows of
        their chunks one after the other. Those of fewer chunks are then filled up, and a mask says which rows count; what is pooled is of the
        first chunk.
        Raises ValueError for no prompt, a text in place of a list, or a `batch` below 1.
        """

    @abstractmethod
    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as `encode` sees it: start and end included, those between chunks and padding left out."""

    @abstractmethod
    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        """How each prompt lies in the token rows that `encode` gives it."""

    @property
    @abstractmethod
    def room(self) -> int:
        """Tokens of a prompt that it reads, at once if it reads it in chunks."""

    @abstractmethod
    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        """The end that `encode` cuts off each prompt that is longer than that, by prompt, in the order given."""

    @abstractmethod
    def words(self) -> list[str]:
        """The words of letters alone that its tokenizer has as one token, sorted."""

    @property
    @abstractmethod
    def entrances(self) -> tuple[Entrance, ...]:
        """Where words enter the denoiser, in network order."""

    @abstractmethod
    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's output as the pipeline's sampler takes it, at timesteps as the sampler counts them."""

    def read(self, conditioning: Conditioning, way: Way) -> Tensor:
        """The rows that the entrances of a way are given, one prompt's after the other's, (rows, width): no padding that is not read."""
        if way == "pooled":
            assert conditioning.pooled is not None
            return conditioning.pooled
        tokens = conditioning.tokens.flatten(0, 1)
        return tokens if conditioning.mask is None else tokens[conditioning.mask.flatten().bool()]

    def outline(self) -> Conditioning:
        """What `encode` gives of a short prompt, but for its numbers: of a model that has none (`footprint`)."""
        return self.encode([""])

    def begins(self, rows: Tensor) -> Tensor:
        """Which of the rows (b, n, out) that an entrance of the tokens gives are those with which every prompt begins, (b, n) bool.

        Such are a start token, and what stands before the prompt in a chat. A family whose entrances give them otherwise says which of those.
        """
        found = torch.zeros(rows.shape[:-1], dtype=torch.bool, device=rows.device)
        for opening in self.openings:
            found[:, opening.start : opening.stop] = True
        return found

    def blank(self, empty: Conditioning) -> Conditioning:
        """What the denoiser is told where there is no prompt, from what `encode` makes of the empty one."""
        return empty

    def unconditional(self) -> Conditioning:
        """What guidance leads away from, one row."""
        return self.blank(self.encode([""]))

    def guidance(self, told: float) -> float:
        """The scale of classifier-free guidance that the sampler works with when it is told a scale; 1 is a single pass, no guidance."""
        return sampling_scale(told)

    def with_guidance(self, conditioning: Conditioning, told: float) -> Conditioning:
        """What the denoiser is told when the sampler is told a guidance scale. Without it a prediction is not guided in any way: families
        whose network takes the scale as a number put it in here."""
        return conditioning

    def guidance_seen(self, told: float) -> float:
        """A number that told scales have in common which make the same pictures, for caches."""
        return self.guidance(told)

    def guided(self, without: Tensor, with_: Tensor, scale: float) -> Tensor:
        """The prediction that the sampler goes on with, from those for the empty prompt and for the prompt, shape of both."""
        return guided(without, with_, scale)

    def in_subspace(self, name: str, subspace: str) -> bool:
        """Whether a parameter of the denoiser, by its name in the network, belongs to a subspace that the family knows."""
        return False

    def attending(self, visit: Callable[[Attended], None]) -> AbstractContextManager[None]:
        """Inside the block `visit` is told of every layer in which pictures attend to text alone, when a forward pass has come through its
        attention. Families that do not offer "attention maps" have no such layer."""
        return nullcontext()

    @contextmanager
    def attention_maps(self) -> Iterator[list[Tensor]]:
        """A list that a forward pass fills: attention probabilities (b, heads, pixels, tokens) of those layers, with gradients."""
        maps, again = list[Tensor](), list[Tensor]()

        def seen_again() -> AbstractContextManager[None]:
            again.clear()
            return self.attending(lambda layer: again.append(layer.probabilities()))

        with self.attending(lambda layer: maps.append(layer.probabilities())), remembered(self.denoiser, seen_again):
            yield maps

    def block_outputs(self) -> AbstractContextManager[dict[str, Tensor]]:
        """A table that a forward pass fills: what each block of the denoiser hands on (b, c, h, w), by the block's name, with gradients.
        Families that offer "U-Net" have it."""
        raise NotImplementedError

    def pruned(self, keep: float) -> PrunedNetwork:
        """What is left of the denoiser when whole blocks are taken out, until about the share `keep` of its parameters is left; this model
        stays as it is. Families that offer "U-Net" have it.

        Raises ValueError if it cannot become so small.
        """
        raise NotImplementedError

    @property
    def residual_blocks(self) -> dict[str, int]:
        """Every residual block of the denoiser by name, in network order, and the channels of what it adds. Families that offer "U-Net" have
        it, and the five that follow."""
        raise NotImplementedError

    @property
    def halvings(self) -> int:
        """How often the denoiser halves its latents, odd sizes rounded up."""
        raise NotImplementedError

    def changed_blocks(self, change: Change) -> AbstractContextManager[None]:
        """Inside the block the denoiser adds at every residual block what `change` makes of what it would add, with gradients."""
        raise NotImplementedError

    @property
    def coder_widths(self) -> dict[int, int]:
        """Channels of the autoencoder's maps by level: at level n a picture was halved n times."""
        raise NotImplementedError

    def encoded_levels(self, pictures: Tensor) -> dict[int, Tensor]:
        """What the autoencoder's encoder makes of pictures (b, 3, h, w) in -1..1 at each level, before it halves them; with
        gradients."""
        raise NotImplementedError

    def decoded_with(self, own: Tensor, change: Change) -> Tensor:
        """Pictures (b, 3, h, w) in -1..1 of the autoencoder's own latents, with gradients, if its decoder goes on at each level, by its number
        as text, with what `change` makes of its map. Large pictures too are decoded whole."""
        raise NotImplementedError

    @property
    def token_embeddings(self) -> Tensor:
        """What the text encoder takes its tokens for, (vocabulary, width). Families that offer "token embeddings" have it."""
        raise NotImplementedError

    def encode_rows(self, ids: Tensor, rows: Tensor) -> Conditioning:
        """What `encode` would give if the text encoder took tokens for other rows; gradients flow to them, no weight is touched.

        ids  (prompts, tokens) int64, filled up to the context's length: where the prompt ends is read from them
        rows (prompts, tokens, width), in the place of `token_embeddings[ids]`

        Families that offer "token embeddings" have it.
        """
        raise NotImplementedError

    def adaptable(self) -> dict[str, Any]:
        """The linear layers and convolutions of the transformer blocks, by their names in the denoiser: what adapters are put on."""
        raise NotImplementedError

    # What follows from that

    @property
    def denoiser(self) -> nn.Module:
        """The network that is asked at every step, whatever its class."""
        return self.components[self.prefix]

    @property
    def components(self) -> dict[str, nn.Module]:
        """The networks that an edit may change, out of what was wrapped around them, by the prefix of their tensors in edit files."""
        return {name: unwrapped(getattr(self.pipeline, name)) for name in self.editable}

    @property
    def encoders(self) -> list[nn.Module]:
        """The networks that read prompts, also those that no edit changes."""
        found = [getattr(self.pipeline, name) for name in self.parts if name.startswith("text_encoder")]
        return [unwrapped(network) for network in found if network is not None]

    @property
    def tokenizer(self) -> Any:
        """What reads prompts as tokens."""
        return self.pipeline.tokenizer

    @property
    def device(self) -> torch.device:
        network: Any = self.denoiser
        return network.device

    @property
    def dtype(self) -> torch.dtype:
        network: Any = self.denoiser
        return network.dtype

    @property
    def latent_dtype(self) -> torch.dtype:
        """The dtype of the sampler's states."""
        return self.dtype

    @property
    def precision(self) -> str:
        """How it computes, as `load` calls it: float32, float16, bfloat16 or mixed."""
        return "mixed" if self.mixed else str(self.dtype).removeprefix("torch.")

    @cached_property
    def path(self) -> Path:
        """Its noise path."""
        return Path.of(self.pipeline.scheduler)

    @property
    def unedited_parts(self) -> list[str]:
        """Names of the networks that read prompts and that no edit changes."""
        return [name for name in self.parts if name.startswith("text_encoder") and name not in self.editable]

    @cached_property
    def unedited(self) -> dict[str, str]:
        """Digests of the networks that read prompts and that no edit changes: they are as they were loaded."""
        return unedited_readers(self)

    def release_unedited(self) -> None:
        """Give back the memory of those networks, as far as their files can be read again: the next prompt does it.

        For long work that reads no prompt. Nothing else changes.
        """
        for name, network in self.on_demand.items():
            if not network.released:
                network.release(self.unedited[name])

    @property
    def prefix(self) -> str:
        """What the canonical names of the denoiser's tensors begin with."""
        return self.editable[0]

    def subspace(self, name: str) -> list[str]:
        """Canonical names of the denoiser's parameters that a subspace holds, in network order; empty where the family has no such one.

        "kv" is the entrances, "tokens" those that read tokens, "full" everything.
        """
        if name == "kv":
            return [entrance.weight for entrance in self.entrances]
        if name == "tokens":
            return self.entrances_of("tokens")
        parameters = own_parameters(self.denoiser)
        return [f"{self.prefix}.{own}" for own in parameters if name == "full" or self.in_subspace(own, name)]

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways in that it has, in network order."""
        return tuple(dict.fromkeys(entrance.reads for entrance in self.entrances))

    def entrances_of(self, way: Way) -> list[str]:
        """Canonical names of the weights that read a way, in network order."""
        return [entrance.weight for entrance in self.entrances if entrance.reads == way]

    @cached_property
    def openings(self) -> tuple[range, ...]:
        """The token rows with which every prompt begins, of each of its segments."""
        return tuple(range(part.start, part.first) for part in self.segments([""])[0])

    def layers(self, weights: Iterable[str]) -> dict[str, Any]:
        """The denoiser's layers that have these weights, by the weights' canonical names."""
        known = own_layers(self.denoiser)
        return {weight: known[weight.partition(".")[2].rpartition(".")[0]] for weight in weights}

    # Predictions

    def predict(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's raw output, shape of `x` (b, c, h, w): what `path` converts.

        t (b,) timesteps as the sampler counts them: 0-999 int64, or 1000 sigma on straight paths; conditioning of b prompts.
        Raises ValueError for other numbers of them, or timesteps on the CPU that are not on the path.
        """
        if not len(x) == len(t) == len(conditioning):
            raise ValueError(
                f"{len(x)} latents, {len(t)} timesteps and {len(conditioning)} prompts: each latent needs one of both"
            )
        if (
            t.device.type == "cpu" and not ((t >= 0) & (t <= self.path.steps)).all()
        ):  # elsewhere a look would wait for the device
            raise ValueError(f"timesteps must be from 0 to {self.path.steps}, not {t.tolist()}")
        if not self.team.shares(len(x)):
            return self._predict(x, t, conditioning)
        own = self.team.part(len(x))
        return self.team.gathered(self._predict(x[own], t[own], conditioning[own]), len(x))

    def _predict(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        if not self.mixed:
            return self._output(x, t.to(x.device), conditioning)
        with bfloat16_arithmetic(self.device), remembered(self.denoiser, lambda: bfloat16_arithmetic(self.device)):
            return self._output(x, t.to(x.device), conditioning).to(x.dtype)

    def recompute(self) -> None:
        """From here on gradients through the denoiser take less memory, and more time: what they need of its layers is computed again."""
        recompute(self.denoiser)

    @contextmanager
    def unrounded(self) -> Iterator[None]:
        """Predictions in the weights' own dtype inside the block, also of a mixed model: where small differences are what matters."""
        mixed, self.mixed = self.mixed, False
        try:
            yield
        finally:
            self.mixed = mixed
