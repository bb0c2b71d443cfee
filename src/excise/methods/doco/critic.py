"""A critic that tells apart clean latents predicted for two prompts (DoCo, arXiv 2405.15304), with its optimiser."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.utils import skip_init

WIDTHS = (64, 128, 256, 512)


def discriminator(channels: int, edge: int, generator: Generator) -> nn.Sequential:
    """Latents (b, channels, edge, edge) -> a map of logits (b, 1, k, k).

    Four blocks as published, which halve the map while it is at least 8 wide (64 -> 4 for Stable Diffusion); narrower maps keep their
    size, so that small latents are judged by a network as deep (ours). 64 x 64 latents of 4 channels: 3 x 3 logits, 2,767,553 weights.
    """
    layers: list[nn.Module] = []
    for number, width in enumerate(WIDTHS):
        kernel, stride = (4, 2) if edge >= 8 else (3, 1)
        layers.append(skip_init(nn.Conv2d, channels, width, kernel, stride=stride, padding=1))
        layers += [nn.BatchNorm2d(width, track_running_stats=False)] if number else []
        layers.append(nn.LeakyReLU(0.2))
        channels, edge = width, edge // stride
    layers.append(skip_init(nn.Conv2d, channels, 1, 4 if edge >= 4 else 3, padding=1))
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Conv2d):  # torch's own default, from a generator of ours
                bound = layer.weight[0].numel() ** -0.5
                for parameter in layer.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
    return nn.Sequential(*layers)


class Critic:
    """The discriminator and Adam. Logits are low for predictions for the anchor (label 0), high for those for the concept (label 1).

    entangled  its own step also carries the gradient of the last `adversarial` loss, as in the authors' code
    state      every tensor that training changes, by name: for checkpoints
    """

    def __init__(self, latents: Tensor, lr: float, generator: Generator, *, entangled: bool = False) -> None:
        channels, edge = latents.shape[1:3]
        self.network = discriminator(channels, edge, generator).to(latents.device)
        self.entangled = entangled
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=(0.5, 0.999))
        moments = {
            index: {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            for index, p in enumerate(self.network.parameters())
        }
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.state: dict[str, Tensor] = dict(self.network.named_parameters())
        for name, parameter in self.network.named_parameters():
            self.state |= {f"{name}.{key}": value for key, value in self.optimizer.state[parameter].items()}

    def adversarial(self, fake: Tensor) -> Tensor:
        """L_adv: how far the predictions for the concept (b, c, h, w) are from passing for the anchor's; gradients reach them."""
        self.network.requires_grad_(self.entangled)
        logits = self.network(fake.float())
        self.network.requires_grad_(True)
        return bce(logits, torch.zeros_like(logits))

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_D: predictions for the anchor should get 0, those for the concept 1."""
        low, high = self.network(real.detach().float()), self.network(fake.detach().float())
        return bce(low, torch.zeros_like(low)) + bce(high, torch.ones_like(high))

    def step(self, real: Tensor, fake: Tensor) -> None:
        """One step of Adam on its loss."""
        self.loss(real, fake).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
