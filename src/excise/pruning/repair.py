"""The lower level: what a student learns again from its teacher (arXiv 2412.15341; weights as in rezashkv/unlearn-ft)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from excise.erasure.run import Run
from excise.erasure.targets import mean_squares, noised
from excise.erasure.training_pictures import Learning
from excise.models import Conditioning, Model
from excise.pruning.distill_settings import DistillSettings


@dataclass(frozen=True)
class Parts:
    """The three losses of a batch, each a mean: the pictures' own noise, the teacher's predictions, what its blocks hand on."""

    diffusion: Tensor
    output: Tensor
    features: Tensor


class Repair:
    """Called with a step's number, the loss L_Diff + 2 L_OutKD + 0.1 L_FeatKD of a batch, by the settings' weights.

    pictures, prompts  what to learn on: latents and which prompt each shows, and the prompts encoded

    Raises ValueError if the student does not fit its teacher.
    """

    def __init__(
        self, student: Model, teacher: Model, pictures: Learning, prompts: Conditioning, settings: DistillSettings, run: Run
    ) -> None:
        self.student, self.teacher, self.settings, self.run = student, teacher, settings, run
        self.pictures, self.prompts = pictures, prompts
        self.blocks = common_blocks(student, teacher)

    def __call__(self, step: int) -> Tensor:
        generator = self.run.generator(20, step)
        clean, rows = self.pictures.draw(self.settings.batch, generator)
        noisy, noise, t = noised(self.student, clean, generator)
        found = self.parts(noisy, t, self.prompts[rows], self.student.path.output(clean, noise, t))
        own = self.settings
        return own.diffusion_weight * found.diffusion + own.output_weight * found.output + own.feature_weight * found.features

    def parts(self, noisy: Tensor, t: Tensor, told: Conditioning, truth: Tensor) -> Parts:
        """The losses at states (b, c, h, w) of prompts; `truth` is what a perfect network would predict."""
        with torch.no_grad(), self.teacher.block_outputs() as theirs:
            expected = self.teacher.predict(noisy, t, told)
        with self.student.block_outputs() as ours:
            predicted = self.student.predict(noisy, t, told)
        weight = self.student.path.min_snr_weight(t, self.settings.min_snr).to(predicted)
        apart = [(ours[name] - theirs[name]).square().mean() for name in self.blocks]
        return Parts(
            diffusion=(weight * mean_squares(predicted - truth)).mean(),
            output=mean_squares(predicted - expected).mean(),
            features=torch.stack(apart).mean(),
        )


@torch.no_grad()
def common_blocks(student: Model, teacher: Model) -> tuple[str, ...]:
    """The blocks that both have, by name. Raises ValueError if one hands on another shape, or there is none."""
    shapes = []
    for model in (student, teacher):
        x, t = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype), torch.zeros(1, dtype=torch.long)
        with model.block_outputs() as found:
            model.predict(x, t, model.encode([""]))
        shapes.append({name: tuple(output.shape) for name, output in found.items()})
    ours, theirs = shapes
    both = tuple(name for name in ours if name in theirs)
    for name in both:
        if ours[name] != theirs[name]:
            raise ValueError(
                f"{student.name} does not fit its teacher {teacher.name}: its {name} hands on {ours[name]}, the teacher's {theirs[name]}"
            )
    if not both:
        raise ValueError(f"{student.name} does not fit its teacher {teacher.name}: they have no block in common")
    return both
