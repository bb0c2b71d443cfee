"""The losses of DUGE on random states: unlearning, prior preservation, and regularisation by a small memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, mean_squares, noised
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import Learning
from excise.methods.duge import DugeSettings
from excise.methods.duge.maps import map_error, targets
from excise.models import Conditioning, Model

BALANCE = 8
"""Batches whose gradients are compared for the weight of the map loss (ours)."""

Kept = tuple[Learning, Conditioning]
"""Pictures, and the prompts that their rows are numbers of."""


@dataclass(frozen=True)
class DugeLosses:
    """The losses of one erasure.

    reference what the frozen model has in the place of the network's tensors, by name
    columns   (pairs, tokens) bool, the tokens whose attention counts
    shown     pictures of the concepts, with rows of the bank
    prior     pictures of related concepts; None if they have no weight
    memory    generic pictures; None if they have no weight
    """

    model: Model
    trainable: Trainable
    reference: Mapping[str, Tensor]
    bank: PromptBank
    columns: Tensor
    shown: Learning
    prior: Kept | None
    memory: Kept | None
    settings: DugeSettings

    def total(self, unlearn_weight: float, generator: Generator) -> Tensor:
        """The loss of a step."""
        settings = self.settings
        total = unlearn_weight * self.unlearning(generator)
        if self.prior is not None:
            distilled = settings.prior_loss == "distilled"
            error = self.distilled(self.prior, generator) if distilled else self.denoising(self.prior, generator)
            total = total + settings.prior_weight * error
        if self.memory is not None:
            total = total + settings.memory_weight * self.distilled(self.memory, generator)
        if settings.drift_weight:
            total = total + settings.drift_weight * self.drift()
        return total

    def unlearning(self, generator: Generator) -> Tensor:
        """How far the concept's maps are from the reference's targets, on noised pictures of the concept."""
        model, settings = self.model, self.settings
        clean, rows = self.shown.draw(settings.batch, generator)
        noisy, _, t = noised(model, clean, generator)
        with self.trainable.holding(self.reference):
            wanted = targets(model, noisy, t, self.bank, rows, settings)
        with model.attention_maps() as maps:
            model.predict(noisy, t, self.bank.conditioned[rows])
        return map_error(maps, wanted, self.columns[rows]).mean()

    def denoising(self, kept: Kept, generator: Generator) -> Tensor:
        """The ordinary training loss."""
        learning, texts = kept
        clean, rows = learning.draw(self.settings.batch, generator)
        return denoising_error(self.model, clean, texts[rows], generator).mean()

    def distilled(self, kept: Kept, generator: Generator) -> Tensor:
        """How far predictions are from the reference's."""
        learning, texts = kept
        clean, rows = learning.draw(self.settings.batch, generator)
        noisy, _, t = noised(self.model, clean, generator)
        with self.trainable.holding(self.reference):
            wanted = self.model.predict(noisy, t, texts[rows])
        return mean_squares(self.model.predict(noisy, t, texts[rows]) - wanted).mean()

    def drift(self) -> Tensor:
        """Mean square of what the trained weights moved from the reference's."""
        parameters = self.trainable.parameters
        moved = sum((parameter - self.reference[name].float()).square().sum() for name, parameter in parameters.items())
        return torch.as_tensor(moved) / sum(parameter.numel() for parameter in parameters.values())

    def balance(self, run: Run) -> float:
        """The factor of the map loss that makes its gradient as long as that of the ordinary training loss on pictures to keep.

        Both are means over some batches, where nothing is trained yet; 1 where nothing is kept. Squared differences of maps are a thousand
        times smaller than those of predictions, and by how much depends on the model.
        """
        kept = self.prior or self.memory
        if kept is None:
            return 1.0
        generators = [run.generator(4, number) for number in range(BALANCE)]
        own = self._gradient(self.unlearning(generator) for generator in generators)
        other = self._gradient(self.denoising(kept, generator) for generator in generators)
        return other / own if own else 1.0

    def _gradient(self, losses: Iterable[Tensor]) -> float:
        """Length of the gradient of the mean of `BALANCE` losses, one after another, so that no two graphs are held at once."""
        parameters = list(self.trainable.parameters.values())
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for loss in losses:
            found = torch.autograd.grad(loss / BALANCE, parameters, allow_unused=True)
            for so_far, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    so_far += gradient
        return float(torch.stack([gradient.square().sum() for gradient in total]).sum().sqrt())
