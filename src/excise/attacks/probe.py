"""A small classifier of noised latents: does a picture show the concept? Trained by the attacker on the base model's pictures."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, silu

from excise.attacks.victim import Victim
from excise.models import Path


class Probe(nn.Module):
    """Noised latents (b, c, h, w) and their alpha^2 (b,) -> logit (b,).

    Two linear embeddings, of the latents and of [alpha, sigma], are added; two layers follow. The shape is that of the latent classifier
    of arXiv 2505.17013. It lives on the CPU in float32.
    """

    def __init__(self, size: int, width: int = 1024) -> None:
        super().__init__()
        self.latents, self.level = nn.Linear(size, width), nn.Linear(2, width)
        self.middle, self.last = nn.Linear(width, width // 2), nn.Linear(width // 2, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, z: Tensor, abar: Tensor) -> Tensor:
        level = torch.stack([abar.sqrt(), (1 - abar).sqrt()], 1).float()
        h = self.dropout(silu(self.latents(z.flatten(1)) + self.level(level)))
        return self.last(self.dropout(silu(self.middle(h))))[:, 0]

    def log_likely(self, z: Tensor, abar: float) -> Tensor:
        """log p(concept | z), (b,) on the CPU."""
        return logsigmoid(self(z.float().cpu(), torch.full((len(z),), abar)))


def train(
    positives: Tensor, negatives: Tensor, path: Path, generator: Generator,
    *, steps: int, lr: float, power: float, batch: int = 64, width: int = 1024,
) -> Probe:  # fmt: skip
    """Train a probe to tell the positives from the negatives; both weigh the same in all.

    positives, negatives (n, c, h, w) clean latents
    power                t = 999 u^power with uniform u: below 1 the probe sees more noise (published: 1/3), above 1 less
    """
    x = torch.cat([positives, negatives]).float().cpu()
    y = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))])
    weight = torch.tensor(len(negatives) / len(positives))
    with torch.random.fork_rng(
        devices=[]
    ):  # initial weights and dropout, without touching anybody's randomness, GPUs' included
        torch.default_generator.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        probe = Probe(x[0].numel(), width)
        optimizer = torch.optim.AdamW(probe.parameters(), lr=lr, weight_decay=1e-3)
        for _ in range(steps):
            picks = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
            t = ((path.steps - 1) * torch.rand(len(picks), generator=generator) ** power).long()
            z = path.noised(x[picks], torch.randn(x[picks].shape, generator=generator), t)
            loss = binary_cross_entropy_with_logits(probe(z, path.squares(t)[0]), y[picks], pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
    return probe.eval().requires_grad_(False)


def of_concept(victim: Victim, *, positives: int, negatives: int, steps: int, batch: int, lr: float, power: float) -> Probe:
    """A probe of the victim's concept. Pictures that the attacker makes with the base model are not part of the budget."""
    _, shown = victim.original.concept_pictures(positives)
    _, others = victim.original.other_pictures(negatives)
    path, generator = victim.model.path, victim.draws.generator("probe")
    return train(shown, others, path, generator, steps=steps, lr=lr, power=power, batch=batch)
