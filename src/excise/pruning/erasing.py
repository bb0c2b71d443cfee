"""The upper level: what a student should predict for a concept's prompts, from its teacher's predictions.

Every gradient eraser whose loss is a distance to such a prediction can be the upper level. States are noised pictures of the concept: on others
the loss barely bites.

esd  away from the concept: empty - eta (concept - empty); with eta = 1 the published form (arXiv 2412.15341)
mim  the prediction for the same prompt without the concept's words (MiM-MU, arXiv 2603.00992)
sdd  the prediction for no prompt (arXiv 2307.05977)
ca   the prediction for the prompt of an anchor (arXiv 2303.13516), on the concept's pictures (theirs: on the anchor's)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.concepts import Concept, apart
from excise.erasure.divergences import judged
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.targets import mean_squares, noised, predictions, steered
from excise.erasure.training_pictures import learning_pictures
from excise.erasure.wording import worded
from excise.models import Model
from excise.pruning.distill_settings import DistillSettings, Upper


def bank_of(teacher: Model, concepts: Sequence[Concept], upper: Upper, settings: DistillSettings) -> PromptBank:
    """The concepts' prompts, and what each should be taken for."""
    if upper == "ca":
        return PromptBank.of_pairs(teacher, redirected(teacher, concepts, settings.wording, settings.anchor))
    return PromptBank.of_pairs(teacher, [worded(concept, settings.wording, None) for concept in apart(concepts)])


class Erasing:
    """Called with a step's number, the loss of a batch of the concepts' pictures, which the teacher makes (or a folder has)."""

    def __init__(
        self, student: Model, teacher: Model, concepts: Sequence[Concept], upper: Upper, settings: DistillSettings, run: Run
    ) -> None:
        self.student, self.teacher, self.upper, self.settings, self.run = student, teacher, upper, settings, run
        self.bank = bank_of(teacher, concepts, upper, settings)
        self.pictures = learning_pictures(teacher, self.bank, settings, run, shows="conditioned")

    def __call__(self, step: int) -> Tensor:
        generator = self.run.generator(21, step)
        clean, rows = self.pictures.draw(self.settings.batch, generator)
        noisy, _, t = noised(self.student, clean, generator)
        return self.loss(noisy, t, rows)

    def loss(self, noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """The loss at states (b, c, h, w) of the bank's prompts `rows` (b,)."""
        target = self.target(noisy, t, rows)
        error = mean_squares(self.student.predict(noisy, t, self.bank.conditioned[rows]) - target)
        return judged(error, self.settings, channels=target.shape[1]).mean()

    @torch.no_grad()
    def target(self, noisy: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """What should be predicted there, shape of `noisy`."""
        if self.upper == "esd":
            asked = self.bank.empty.expand(len(rows)), self.bank.conditioned[rows]
            empty, with_concept = predictions(self.teacher, noisy, t, *asked)
            return steered(empty, empty, with_concept, self.settings.eta)
        told = self.bank.empty.expand(len(rows)) if self.upper == "sdd" else self.bank.masked[rows]
        return self.teacher.predict(noisy, t, told)
