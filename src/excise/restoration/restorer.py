"""A restorer: what is trained on top of a diffusion model so that it restores pictures; the model itself stays as it is.

Three networks, after StableSR (arXiv 2305.07015), written from its description: an encoder of the low picture's latents that knows the
timestep, a modulation of every residual block of the U-Net by what that encoder says, and a wrapping of the low picture's own features into
the autoencoder's decoder, as strongly as the user wants. All of them work through hooks that are there while they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from excise.arguments import check_number
from excise.files import FLOATS, as_record, check_shapes, parse_json, read_tensors, reading, write_tensors
from excise.finite import check_finite
from excise.models import Conditioning, Model
from excise.quoting import quoted
from excise.randomness import seeded
from excise.restoration.layers import draw_weights, silence
from excise.restoration.restorer_networks import Maps, Modulation, RestorerNetworks, Wrapping
from excise.restoration.restorer_settings import RestorerSettings
from excise.settings import Given

FORMAT = "1"

PARTS = {
    "channels": "latents",
    "halvings": "sizes in the U-Net",
    "blocks": "residual blocks",
    "coders": "levels of the autoencoder",
}
"""What must be the same of two models so that a restorer of one fits the other, in words."""


class Described(Given):
    """What a file says of a restorer: its settings, the model that it was trained on, and what must be the same of another that it fits."""

    settings: RestorerSettings
    model: str
    channels: int
    halvings: int
    blocks: dict[str, int]
    coders: dict[str, int]

    @classmethod
    def of(cls, model: Model, settings: RestorerSettings) -> Described:
        return cls(
            settings=settings,
            model=model.name,
            channels=model.latent_shape[0],
            halvings=model.halvings,
            blocks=model.residual_blocks,
            coders={str(level): width for level, width in model.coder_widths.items()},
        )


class Restorer:
    """The networks of a restorer and the model that they belong to; `new` and `read_restorer` make one.

    model    may have edits on: they count
    networks float32, on the model's device
    """

    def __init__(self, model: Model, settings: RestorerSettings, networks: RestorerNetworks) -> None:
        self.model = model
        self.settings = settings
        self.networks = networks.to(model.device).eval()

    @classmethod
    def new(cls, model: Model, settings: RestorerSettings, seed: int) -> Restorer:
        """A fresh one, which changes nothing yet: predictions and pictures are the model's own (but for norm="group").

        Raises ValueError for settings that do not go with the model.
        """
        networks = _empty(model, settings).to_empty(device="cpu")
        draw_weights(networks, seeded(seed))
        for layer in networks.modules():
            if isinstance(layer, Modulation):
                layer.silence()
            elif isinstance(layer, Wrapping):
                silence(layer.leave)
        return cls(model, settings, networks)

    def predict(
        self, latents: Tensor, timestep: int | float | Tensor, low_latents: Tensor, told: Conditioning | None = None
    ) -> Tensor:
        """The model's prediction (b, c, h, w) at a state, for the empty prompt, modulated by the low picture; of the model's own kind.

        latents     (b, c, h, w) of any h and w that the U-Net takes
        timestep    one for all, or (b,)
        low_latents (b, c, h, w) of the low pictures
        told        what `model.unconditional` gives, where that is known already: edits may change it
        """
        b = len(latents)
        t = torch.as_tensor(timestep, device=latents.device).expand(b)
        maps = self.networks.encoder(low_latents.to(self._dtype), t)
        with self.modulating(maps):
            return self.model.predict(latents, t, (self.model.unconditional() if told is None else told).expand(b))

    @contextmanager
    def modulating(self, maps: Maps) -> Iterator[None]:
        """Inside the block every residual block of the model's U-Net is modulated by the encoder's map of its size."""
        layers = dict(zip(self.model.residual_blocks, self.networks.modulation, strict=True))

        def change(name: str, h: Tensor) -> Tensor:
            return layers[name](h.to(self._dtype), maps[h.shape[-2], h.shape[-1]]).to(h.dtype)

        with self.model.changed_blocks(change):
            yield

    @torch.no_grad()
    def decode(self, latents: Tensor, low: Tensor, fidelity: float) -> Tensor:
        """Latents (b, c, h, w) to pictures (b, 3, H, W), float32 in 0–1 on the CPU.

        low      (b, 3, H, W) in 0–1, the low pictures at the output's size
        fidelity how much of their own features is wrapped in, 0 to 1; with 0 the model's decoder alone makes the picture

        Raises ValueError for a fidelity out of its range or shapes that do not go together, FloatingPointError if a picture is not finite.
        """
        check_number("fidelity", fidelity, 0, 1)
        expected = (len(latents), 3, *(edge * self.model.grain for edge in latents.shape[-2:]))
        if tuple(low.shape) != expected:
            raise ValueError(f"the low pictures of these latents must be {expected}, not {tuple(low.shape)}")
        if fidelity == 0:
            return self.model.decode(latents)
        batch = self.model.batch(64)
        pairs = zip(latents.split(batch), low.split(batch), strict=True)
        decoded = torch.cat([self.wrapped(some, own, fidelity).float() for some, own in pairs])
        check_finite(decoded, "a picture")
        return decoded.clamp(0, 1).cpu()

    def wrapped(self, latents: Tensor, low: Tensor, fidelity: float) -> Tensor:
        """The same with gradients to the wrapping, not cut to 0–1, on the model's device."""
        dtype = self.model.pipeline.vae.dtype
        with torch.no_grad():
            encoded = self.model.encoded_levels((low * 2 - 1).to(self.model.device, dtype))

        def change(level: str, decoded: Tensor) -> Tensor:
            if level not in self.networks.wrapping:
                return decoded
            maps = (encoded[int(level)].to(self._dtype), decoded.to(self._dtype))
            return self.networks.wrapping[level](*maps, fidelity).to(decoded.dtype)

        return self.model.decoded_with(self.model.unscaled(latents.to(dtype)), change) / 2 + 0.5

    def write(self, path: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write weights and settings to one safetensors file."""
        tensors = {name: tensor.to(dtype) for name, tensor in self.networks.state_dict().items()}
        write_tensors(path, tensors, {"format": FORMAT, "restorer": Described.of(self.model, self.settings).model_dump_json()})

    @property
    def _dtype(self) -> torch.dtype:
        return self.networks.encoder.enter.weight.dtype


def read_restorer(path: Path, model: Model) -> Restorer:
    """Read a file that `write` wrote.

    Raises FileNotFoundError, or ValueError in one line if it is no restorer, one of another format, of a model that is built otherwise, or a
    tensor is missing, foreign, of another shape or not finite.
    """
    tensors, metadata = read_tensors(path, FLOATS)
    if "restorer" not in metadata:
        raise ValueError(f"{path} is not a restorer's file: its metadata has no 'restorer' entry")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} has format {metadata.get('format', 'none')!r:.40}; this version reads {FORMAT}")
    with reading(path):
        described = parse_json(metadata["restorer"])
    declared = as_record(described, Described, path, "a restorer's file")
    own = Described.of(model, declared.settings)
    for part, name in PARTS.items():
        if getattr(own, part) != getattr(declared, part):
            raise ValueError(
                f"{path} does not fit {model.name}: it was trained on {quoted(declared.model)}, whose {name} differ"
            )
    settings = declared.settings
    networks = _empty(model, settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(path, shapes, {name: tuple(tensor.shape) for name, tensor in networks.state_dict().items()})
    networks.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    networks.requires_grad_(False)
    return Restorer(model, settings, networks)


def _empty(model: Model, settings: RestorerSettings) -> RestorerNetworks:
    """Networks without numbers. Raises ValueError for settings that do not go with the model."""
    coders = model.coder_widths
    if wrong := [level for level in settings.levels if level not in coders]:
        raise ValueError(f"levels={wrong[0]} is not a level of the autoencoder of {model.name}, which has 0 to {max(coders)}")
    widths = [settings.width * times for times in settings.multipliers]
    if settings.heads and any(width % settings.heads for width in widths):
        raise ValueError(f"heads={settings.heads} must divide the encoder's widths {widths}")
    with torch.device("meta"):
        networks = RestorerNetworks(model.latent_shape[0], model.halvings + 1, model.residual_blocks, coders, settings)
    return networks
