"""How a model's own sampler runs: from noise, or from a noised picture, step by step to finished latents."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import diffusers
import torch
from torch import Tensor

from excise.arguments import SEEDS, check_number, check_texts, check_whole
from excise.finite import check_finite
from excise.models.conditioning import Conditioning
from excise.models.drawing import HIGHER_ORDER, Drawing, of_other_paths, other_samplers
from excise.models.networks import Networks
from excise.models.path import Path
from excise.randomness import start_stream, step_stream

FEW = 10
"""Steps that models of many steps are not drawn with (ours): those distilled to few are with 1 to 9."""

Told = Sequence[str] | Conditioning
"""Prompts, or what `Networks.encode` makes of them."""

Output = Callable[[Tensor, Tensor], Tensor]
"""(what the network is given (b, c, h, w), timesteps (b,)) -> its output, (b, c, h, w)."""


@dataclass(frozen=True)
class Sampler:
    """How pictures are made by default: steps, classifier-free guidance scale (1 or less = off), picture edge in pixels."""

    steps: int = 50
    guidance_scale: float = 7.5
    size: int = 512


@dataclass(frozen=True)
class SamplingState:
    """Where a sampler is.

    index    steps done
    timestep as the sampler counts it, -1 when it is finished
    latents  (b, c, h, w) before the step, in the sampler's own scale
    input    (b, c, h, w) what the network is given: alpha x + sigma e, whatever the sampler's scale
    """

    index: int
    timestep: int | float
    latents: Tensor
    input: Tensor


class Sampling(TypedDict, total=False):
    """How a sampler runs, where it is not the model's own way; see `Sampled.trajectory`."""

    steps: int | None
    guidance_scale: float | None
    signed: bool
    unconditional: Conditioning | None
    eta: float
    skip: int
    size: tuple[int, int] | None


class Sampled(Networks):
    """Networks with the pipeline's sampler.

    sampler its default settings
    """

    def __init__(self, pipeline: Any, *, sampler: Sampler | None = None, mixed: bool = False) -> None:
        super().__init__(pipeline, mixed=mixed)
        self.sampler = sampler or self.own_sampler(pipeline)
        self.scheduler_asked_for: str | None = None

    @staticmethod
    @abstractmethod
    def own_sampler(pipeline: Any) -> Sampler:
        """How pictures are made with a pipeline that says nothing else: as its authors do."""

    def draw(self, drawing: Drawing) -> None:
        """Make pictures so from now on, where it says how.

        Raises ValueError for a size that is no multiple of what the autoencoder makes one number of, or a sampler of other paths.
        """
        told = {key: value for key, value in vars(drawing).items() if value is not None}
        given = {key: told[key] for key in told.keys() & vars(self.sampler).keys()}
        if drawing.size is not None and drawing.size % (2 * self.grain):
            raise ValueError(f"size={drawing.size} must be a multiple of {2 * self.grain}")
        self.long_prompts = drawing.long_prompts or self.long_prompts
        self.sampler = replace(self.sampler, **given)
        if drawing.scheduler is not None:
            self.pipeline.scheduler = self._other_scheduler(drawing.scheduler)
            self.scheduler_asked_for = drawing.scheduler

    @property
    def few_steps(self) -> bool:
        """Whether pictures are made in few steps without guidance, as with models that were distilled to that: other states than those of
        such a sampler they never come to, and guided predictions they never give."""
        return self.sampler.steps < FEW and self.guidance(self.sampler.guidance_scale) == 1

    @property
    def drawn(self) -> dict[str, Any]:
        """How pictures are made, for records and comparisons; the model's own scheduler and that long prompts are cut go without saying."""
        told = {"scheduler": self.scheduler_asked_for, "long_prompts": self.long_prompts}
        return vars(self.sampler) | {name: value for name, value in told.items() if value not in (None, "cut")}

    @property
    def grain(self) -> int:
        """Pixels of a picture's edge for one number of its latents'."""
        return self.pipeline.vae_scale_factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of a default picture."""
        edge = self.sampler.size // self.grain
        return self.pipeline.vae.config.latent_channels, edge, edge

    def batch(self, most: int) -> int:
        """Pictures to make, read or predict at once without gradients: `most`, of large ones as many as have a million pixels (ours)."""
        return min(most, max(1, 2**20 // self.sampler.size**2))

    def start_noise(self, seeds: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """Standard normal latents, one CPU generator per picture, so that a picture depends on its own seed alone.

        size (height, width) of the pictures in pixels, multiples of `grain`; default the sampler's
        """
        shape = self.latent_shape if size is None else (self.latent_shape[0], *(edge // self.grain for edge in size))
        noise = [torch.randn(shape, generator=start_stream(seed)) for seed in seeds]
        return torch.stack(noise).to(self.device, self.latent_dtype)

    @staticmethod
    def step_noise(seeds: Sequence[int]) -> list[torch.Generator]:
        """Generators of the noise that a stochastic sampler adds, one per picture; with the seed itself the start noise would come again."""
        return [step_stream(seed) for seed in seeds]

    @torch.no_grad()
    def trajectory(
        self,
        prompts: Told,
        seeds: Sequence[int],
        *,
        starts: Tensor | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        signed: bool = False,
        unconditional: Conditioning | None = None,
        eta: float = 0.0,
        skip: int = 0,
        size: tuple[int, int] | None = None,
    ) -> Iterator[SamplingState]:
        """Run the model's sampler and yield every state; the last one holds the finished latents (timestep -1).

        prompts        one for each picture
        seeds          one for each picture: of the noise that it starts from, and of what samplers add that draw noise
        starts         (b, c, h, w) latents to start from in place of that noise: standard normal, or, after `skip` steps, a state's
        steps          of the sampler; default the model's
        guidance_scale default the model's; what is off is the family's (`Networks.guidance`)
        signed         take the scale at its word, as classifier-free guidance of the unguided network, also below 1: 0 is the empty prompt,
                       less leads away from the prompt
        unconditional  what guidance leads away from, 1 prompt or b; default `blank`
        eta            noise of samplers that have it as a number (DDIM): 0 none, 1 as much as DDPM
        skip           number of steps to leave out (image to image)
        size           (height, width) of the pictures in pixels; default the sampler's

        Raises ValueError if there are not as many seeds as prompts, and for an argument out of its range; FloatingPointError if the finished
        latents are not finite.
        """
        check_asked(prompts, seeds, starts)
        self._check_sampling(steps, guidance_scale, eta, skip, size)
        conditioning = prompts if isinstance(prompts, Conditioning) else self.encode(prompts)
        latents = self.start_noise(seeds, size) if starts is None else starts
        scale = self.sampler.guidance_scale if guidance_scale is None else guidance_scale
        if not signed:
            conditioning, scale = self.with_guidance(conditioning, scale), self.guidance(scale)
        twice = scale != 1.0
        if twice:
            unconditional = self.unconditional() if unconditional is None else unconditional
            conditioning = Conditioning.join([unconditional.expand(len(latents)), conditioning])

        def output(x: Tensor, t: Tensor) -> Tensor:
            if not twice:
                return self.predict(x, t, conditioning)
            without, with_ = self.predict(torch.cat([x, x]), torch.cat([t, t]), conditioning).chunk(2)
            return self.guided(without, with_, scale)

        yield from self.walk(latents, seeds, output, steps=steps, eta=eta, skip=skip)

    @torch.no_grad()
    def walk(
        self, starts: Tensor, seeds: Sequence[int], output: Output, *, steps: int | None = None, eta: float = 0.0, skip: int = 0
    ) -> Iterator[SamplingState]:
        """Run the model's sampler on outputs that somebody else gives, and yield every state; the last one holds the finished latents.

        starts (b, c, h, w) as of `trajectory`; seeds, one for each, of what samplers add that draw noise
        output of the model's own kind (epsilon, velocity, ...), without guidance or with it

        Raises what `trajectory` does.
        """
        self._check_sampling(steps, None, eta, skip, None)
        latents, scheduler = starts, self._scheduler(steps or self.sampler.steps, self.device, starts)
        if skip >= len(scheduler.timesteps):
            raise ValueError(f"skip must be below the sampler's {len(scheduler.timesteps)} steps, not {skip}")
        extra = self._step_options(scheduler, self.step_noise(seeds), eta)
        if skip == 0:
            latents = latents * getattr(scheduler, "init_noise_sigma", 1.0)
        elif hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skip)
        for index, t in enumerate(scheduler.timesteps[skip:], skip):
            x = network_input(scheduler, latents, t)
            yield SamplingState(index, self._timestep(t), latents, x)
            given = output(x, t.expand(len(x)).to(self.device))
            latents = scheduler.step(given, t, latents, **extra).prev_sample
        check_finite(latents, "what the model draws")
        yield SamplingState(len(scheduler.timesteps), -1, latents, latents)

    def _check_sampling(
        self, steps: int | None, guidance_scale: float | None, eta: float, skip: int, size: tuple[int, int] | None
    ) -> None:
        if steps is not None:
            check_whole("steps", steps, 1)
        if guidance_scale is not None:
            check_number("guidance_scale", guidance_scale)
        check_number("eta", eta, 0, 1)
        check_whole("skip", skip, 0)
        for edge in size or ():
            check_whole("size", edge, self.grain)
            if edge % self.grain:
                raise ValueError(f"size must be multiples of {self.grain} pixels, not {edge}")

    def timesteps(self, steps: int) -> Tensor:
        """The distinct timesteps that the sampler comes to, in order: some samplers come to one twice, or take more than `steps` steps."""
        check_whole("steps", steps, 1)
        return torch.tensor(list(dict.fromkeys(self._timestep(t) for t in self._scheduler(steps).timesteps)))

    def partway(self, pictures: Tensor, noise: Tensor, *, strength: float, steps: int | None = None) -> tuple[Tensor, int]:
        """What the sampler starts from to go on from noised pictures (image to image), and how many steps it then skips.

        pictures, noise (n, c, h, w), clean latents and what is put on them
        strength        share of the sampler's steps that are made, 0 to 1: one step at least
        """
        check_number("strength", strength, 0, 1)
        scheduler = self._scheduler(steps or self.sampler.steps)
        count = len(scheduler.timesteps)  # some samplers make more than they are asked for
        skip = count - max(1, round(strength * count))
        t = scheduler.timesteps[skip]
        times = torch.tensor([self._timestep(t)]).expand(len(noise))
        latents = self.path.noised(pictures, noise, times)
        if skip:  # from the first step on the trajectory scales by itself
            latents = latents / network_input(scheduler, torch.ones(1), t).to(latents)
        return latents, skip

    @contextmanager
    def sampled_by(self, scheduler: str | None) -> Iterator[None]:
        """Another sampler inside the block, by the name of its diffusers class, on the model's own path; None: its own.

        Raises ValueError for one that goes along other paths alone.
        """
        before = self.pipeline.scheduler
        if scheduler is not None:
            self.pipeline.scheduler = self._other_scheduler(scheduler)
        try:
            yield
        finally:
            self.pipeline.scheduler = before

    @contextmanager
    def in_half_the_steps(self) -> Iterator[None]:
        """Pictures are made in half the steps inside the block, by a sampler of higher order; of distilled models and straight paths as ever.

        On the canvas judges answer the same of them (ours: docs/research/evaluation/results.md).
        """
        before = self.sampler, self.pipeline.scheduler, self.scheduler_asked_for
        try:
            if not self.few_steps and self.path.prediction != "flow":
                self.draw(Drawing(steps=-(-self.sampler.steps // 2), scheduler=HIGHER_ORDER))
            yield
        finally:
            self.sampler, self.pipeline.scheduler, self.scheduler_asked_for = before

    @property
    def other_samplers(self) -> tuple[str, ...]:
        """Samplers beside its own that also go along its path, as `sampled_by` takes them."""
        return other_samplers(self.path.prediction == "flow")

    def _other_scheduler(self, name: str) -> Any:
        """A scheduler of a diffusers class on the model's own path. Raises ValueError for one that goes along other paths alone."""
        kind, config, straight = getattr(diffusers, name), self.pipeline.scheduler.config, self.path.prediction == "flow"
        options: dict[str, Any] = {}
        if straight and "use_flow_sigmas" in inspect.signature(kind.__init__).parameters:
            options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": config.shift}
        scheduler = kind.from_config(config, **options)
        if Path.of(scheduler).prediction != self.path.prediction:
            raise of_other_paths(name, straight)
        return scheduler

    def _scheduler(self, steps: int, device: torch.device | None = None, latents: Tensor | None = None) -> Any:
        """The pipeline's scheduler, made ready for a number of steps; latents (b, c, h, w) of the pictures, default a default picture's.

        Raises ValueError for more steps than it can make.
        """
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        height, width = self.latent_shape[1:] if latents is None else latents.shape[-2:]
        takes = set(inspect.signature(scheduler.set_timesteps).parameters)
        if not scheduler.config.get("use_dynamic_shifting"):
            takes -= {"mu"}  # the pipeline's own leaves it aside then, others refuse it
        told = self.schedule(scheduler, steps, height, width)
        scheduler.set_timesteps(device=device, **{name: value for name, value in told.items() if name in takes})
        if scheduler.timesteps.max() > self.path.last + 0.5:  # diffusers counts past the end where it shifts timesteps by one
            raise ValueError(
                f"{steps} steps of {type(scheduler).__name__} go past this model's last timestep; take fewer steps"
            )
        return scheduler

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        """What a scheduler's `set_timesteps` is told: the number of steps, and what the family's pipeline adds for latents of a size.

        Schedulers other than the pipeline's are told what they take of it.
        """
        return {"num_inference_steps": steps}

    def _timestep(self, t: Tensor) -> int | float:
        return float(t) if self.path.prediction == "flow" else int(t)

    def _step_options(self, scheduler: Any, generators: list[torch.Generator], eta: float) -> dict[str, Any]:
        takes = inspect.signature(scheduler.step).parameters
        options: dict[str, Any] = {}
        if "eta" in takes:
            silent = (
                self.path.alpha(torch.tensor([self.path.steps - 1]))[0] == 0
            )  # then the first step would be NaN: a rounding
            options["eta"] = min(eta, 1 - 1e-6) if silent else eta  # error under DDIM's square root
        if "generator" in takes:
            options["generator"] = generators
        return options


def check_asked(prompts: Told, seeds: Sequence[int], starts: Tensor | None, batch: int | None = None) -> None:
    """Raise ValueError unless there are as many seeds, and starts if there are any, as prompts, and `batch` is at least 1."""
    if not isinstance(prompts, Conditioning):
        check_texts("prompts", prompts)
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; each picture needs its own")
    for seed in seeds:
        check_whole("seeds", seed, 0, SEEDS)
    if starts is not None and (starts.ndim != 4 or len(starts) != len(seeds)):
        raise ValueError(f"starts must be latents (n, c, h, w) of {len(seeds)} pictures, not {tuple(starts.shape)}")
    if batch is not None:
        check_whole("batch", batch, 1)


def network_input(scheduler: Any, latents: Tensor, t: Tensor) -> Tensor:
    """What the network is given for latents in the sampler's own scale; samplers of straight paths have none."""
    return scheduler.scale_model_input(latents, t) if hasattr(scheduler, "scale_model_input") else latents
