"""The noise path: how pictures become noise, and what a network's output means on the way.

Notation: z = alpha x0 + sigma e; log-SNR = log(alpha^2 / sigma^2). Timesteps t count as the model's sampler does: 0-999 on diffusion
paths, 1000 sigma on straight ones.

    prediction    output                  path
    epsilon       e                       alpha^2 + sigma^2 = 1
    v_prediction  alpha e - sigma x0      alpha^2 + sigma^2 = 1    (arXiv 2202.00512)
    sample        x0                      alpha^2 + sigma^2 = 1
    flow          e - x0 = dz / dsigma    alpha + sigma = 1        (rectified flow, arXiv 2209.03003)

Source of the identities: arXiv 2302.03792 and 2310.07972.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True, eq=False)
class Path:
    """The noise levels of a model by timestep, and what its network predicts.

    prediction     what the network outputs
    steps          number of timesteps in training
    alphas_cumprod alpha^2 of every timestep, (steps,) float64, decreasing, in 0..1; the last may be 0 (zero terminal SNR). None for flow,
                   where sigma = t / steps
    """

    prediction: Prediction
    steps: int
    alphas_cumprod: Tensor | None = None

    @classmethod
    def of(cls, scheduler: Any) -> Path:
        """The path of a diffusers scheduler. Raises ValueError for a prediction type that is not known."""
        steps, told = scheduler.config.num_train_timesteps, getattr(scheduler.config, "prediction_type", "flow_prediction")
        if told == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch"):
            return cls("flow", steps)
        if told not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"unknown prediction type {told!r}; known: epsilon, v_prediction, sample, flow_prediction")
        return cls(told, steps, scheduler.alphas_cumprod.double().cpu())  # type: ignore[arg-type]

    def same_as(self, other: Path) -> bool:
        """Whether a state means the same on both, and an output at it."""
        if (self.prediction, self.steps) != (other.prediction, other.steps):
            return False
        if self.alphas_cumprod is None or other.alphas_cumprod is None:
            return self.alphas_cumprod is other.alphas_cumprod
        return torch.equal(self.alphas_cumprod, other.alphas_cumprod)

    @property
    def last(self) -> int:
        """The noisiest timestep: on straight paths that of pure noise."""
        return self.steps if self.alphas_cumprod is None else self.steps - 1

    def squares(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha^2 and sigma^2 at timesteps t (b,), float64 on the CPU."""
        if self.alphas_cumprod is None:
            sigma = t.cpu().double() / self.steps
            return (1 - sigma) ** 2, sigma**2
        signal = self.alphas_cumprod[t.cpu()]
        return signal, 1 - signal

    def alpha(self, t: Tensor) -> Tensor:
        """alpha at timesteps t (b,), float64 on the CPU."""
        return self.squares(t)[0] ** 0.5

    def sigma(self, t: Tensor) -> Tensor:
        """sigma at timesteps t (b,), float64 on the CPU."""
        return self.squares(t)[1] ** 0.5

    def log_snr(self, t: Tensor) -> Tensor:
        """log-SNR at timesteps t (b,), float64; -inf where the path reaches pure noise, inf where there is none."""
        signal, noise = self.squares(t)
        return (signal / noise).log()

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Timesteps as they are drawn in training, all equally often: (count,) int64."""
        return torch.randint(self.steps, (count,), generator=generator)

    def noised(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z = alpha x0 + sigma noise, shape of x0 (b, ...)."""
        alpha, sigma = self._factors(t, x0)
        return alpha * x0 + sigma * noise

    def output(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is trained to output for z = alpha x0 + sigma noise, shape of x0."""
        if self.prediction == "epsilon":
            return noise
        return x0 if self.prediction == "sample" else self._velocity(x0, noise, t)

    def to_noise(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The noise that a network output means, shape of z."""
        if self.prediction == "epsilon":
            return output
        alpha, sigma = self._factors(t, z)
        if self.prediction == "flow":
            return alpha * output + z
        return alpha * output + sigma * z if self.prediction == "v_prediction" else (z - alpha * output) / sigma

    def to_x0(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The clean latent that a network output means, shape of z."""
        if self.prediction == "sample":
            return output
        alpha, sigma = self._factors(t, z)
        if self.prediction == "flow":
            return z - sigma * output
        return alpha * z - sigma * output if self.prediction == "v_prediction" else (z - sigma * output) / alpha

    def to_velocity(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The velocity that a network output means, shape of z: alpha e - sigma x0, or e - x0 on a straight path."""
        if self.prediction in ("v_prediction", "flow"):
            return output
        return self._velocity(self.to_x0(output, z, t), self.to_noise(output, z, t), t)

    def noise_scale(self, t: Tensor) -> Tensor:
        """Factor c(t) with |d noise|^2 = c(t) |d output|^2 for two outputs at the same state, (b,) float64."""
        signal, noise = self.squares(t)
        if self.prediction == "epsilon":
            return torch.ones_like(signal)
        return signal / noise if self.prediction == "sample" else signal

    def log_snr_weight(self, t: Tensor) -> Tensor:
        """|d log-SNR / dt| at timesteps t (b,), by central differences over all timesteps, (b,) float64; 0 where it is not finite."""
        levels = self.log_snr(torch.arange(self.steps))
        finite = levels.isfinite()
        slope = torch.zeros_like(levels)
        slope[finite] = -torch.gradient(levels[finite])[0]
        return slope[t.cpu().long()]

    def min_snr_weight(self, t: Tensor, gamma: float) -> Tensor:
        """Weight in 0..1 of the squared error of an output at timesteps t (b,), (b,) float64: min(SNR, gamma) over what the output's own
        error already weighs, so that levels with little noise do not rule the loss (arXiv 2303.09556, eq. 6).

        For velocity that is min(SNR + 1, gamma) / (SNR + 1), with one added on both sides, as codes have it. On a straight path it is 1.
        """
        signal, noise = self.squares(t)
        if self.prediction == "flow":
            return torch.ones_like(signal)
        if self.prediction == "sample":
            return (signal / noise).clamp(max=gamma) / gamma
        total = signal / noise if self.prediction == "epsilon" else 1 / noise
        return (gamma / total).clamp(max=1)

    def onwards(self, t: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """How the noising process goes on from timesteps t to noisier ones: z_later = keep z_t + add e, both (b,) float64."""
        signal, noise = self.squares(t)
        later_signal, later_noise = self.squares(later)
        kept = later_signal / signal
        return kept**0.5, (later_noise - kept * noise).clamp_min(0) ** 0.5

    def back(self, t: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How the reverse process goes from timesteps t to cleaner ones if the picture is x0 (DDPM, arXiv 2006.11239, eq. 7).

        Returns keep, add and variance, (b,) float64: z_earlier ~ N(keep z + add x0, variance).
        """
        (signal, noise), (earlier_signal, earlier_noise) = self.squares(t), self.squares(earlier)
        kept = signal / earlier_signal
        fresh = (noise - kept * earlier_noise).clamp_min(0)
        return kept**0.5 * earlier_noise / noise, earlier_signal**0.5 * fresh / noise, earlier_noise * fresh / noise

    def back_from_noise(self, earlier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same from pure noise, of which a path that does not end there has no timestep: z_earlier ~ N(alpha x0, sigma^2)."""
        signal, noise = self.squares(earlier)
        return torch.zeros_like(signal), signal**0.5, noise

    def _velocity(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        if self.prediction == "flow":
            return noise - x0
        alpha, sigma = self._factors(t, x0)
        return alpha * noise - sigma * x0

    def _factors(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma as they multiply `like` (b, ...), in its dtype."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        return per_row(alpha, like), per_row(sigma, like)


def per_row(factor: Tensor, like: Tensor) -> Tensor:
    """Factors (b,) shaped to multiply `like` (b, ...), with its dtype and device."""
    return factor.to(like.device, like.dtype).view(-1, *[1] * (like.ndim - 1))
