"""A model whose answers are exact, for tests of the whole measurement: pictures of a prompt are Gaussian round a mean of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import Tensor

from excise.edits import Manifest
from excise.information.picture_sets import AskedAbout, PictureSet, plain_wordings
from excise.models import Conditioning, Model
from excise.models.families.stable_diffusion import StableDiffusion
from excise.randomness import stream

VARIANCE = 0.25


def pattern(model: Model) -> Tensor:
    """Where the words are seen: the left half of the latents, (c, h, w)."""
    left = torch.zeros(model.latent_shape)
    left[..., : model.latent_shape[2] // 2] = 1
    return left


class ExactModel(StableDiffusion):
    """p(x | prompt) = N(mean * pattern, VARIANCE); means by the words in the prompt, so that all information has a closed form.

    lam       strength of the words "cat" (what an edit changes)
    dog       strength of the words "dog"
    empty     mean of the empty prompt
    """

    lam, dog, empty, unit = 1.0, 1.0, 0.0, 0.4

    @classmethod
    def of(cls, model: Model) -> ExactModel:
        return cls(model.pipeline, name="exact", catalog=model.catalog, sampler=model.sampler)

    def mean(self, prompt: str) -> float:
        rest = 0.1 if prompt else self.empty
        return rest + self.unit * (self.lam * ("cat" in prompt) + self.dog * ("dog" in prompt))

    def encode(self, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        return Conditioning(torch.tensor([self.mean(prompt) for prompt in prompts]).view(-1, 1, 1))

    def predict(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        z, (abar, noise) = x.double(), self.path.squares(t)
        alpha, sigma2 = abar.sqrt().view(-1, 1, 1, 1), noise.view(-1, 1, 1, 1)
        mean = conditioning.tokens.double().view(-1, 1, 1, 1) * pattern(self).double()
        picture = mean + alpha * VARIANCE / (alpha**2 * VARIANCE + sigma2) * (z - alpha * mean)
        return self.path.output(picture, (z - alpha * picture) / sigma2.sqrt(), t)

    def truth(self, *distances: float) -> float:
        """Nats that the squared distances between means are worth (later ones count negatively), on the schedule's range."""
        levels = self.path.log_snr(torch.arange(self.path.steps))
        low, high = (math.exp(float(end)) for end in (levels[levels.isfinite()].min(), levels.max()))
        covered = 1 / (1 + low * VARIANCE) - 1 / (1 + high * VARIANCE)
        size = float(pattern(self).sum())
        return covered * size * (distances[0] ** 2 - sum(d**2 for d in distances[1:])) / (2 * VARIANCE)

    def pictures(self, name: str, count: int) -> PictureSet:
        """Exact draws for the plain prompt."""
        concept = self.catalog.resolve(name)
        wording: AskedAbout = plain_wordings(concept)[0]
        noise = torch.randn(count, *self.latent_shape, generator=stream(7, name))
        latents = self.mean(wording.pair.prompt) * pattern(self) + math.sqrt(VARIANCE) * noise
        return PictureSet(concept, (wording,) * count, latents, "exact draws")


class Change:
    """An "edit" that changes numbers of an `ExactModel`."""

    def __init__(self, **values: float) -> None:
        self.values = values
        self.manifest = Manifest(model="exact", base={}, method="change", concepts=[{"kind": "object", "name": "cat"}])

    @contextmanager
    def applied(self, model: ExactModel, scale: float = 1.0) -> Iterator[None]:
        before = SimpleNamespace(**{name: getattr(model, name) for name in self.values})
        for name, value in self.values.items():
            setattr(model, name, value)
        try:
            yield
        finally:
            for name in self.values:
                setattr(model, name, getattr(before, name))
