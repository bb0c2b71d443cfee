"""What erasing costs at the size of large models: random weights and random text, everything else as it is.

    python benchmarks/full_size.py sdxl sd3.5-medium flux.1     # closed forms on the entrances alone; minutes on 2 CPU cores, 4 GiB
    python benchmarks/full_size.py sdxl-step --size 512         # a whole learning step of MiM-MU in bfloat16; 14 GiB
    python benchmarks/full_size.py sdxl-step --device cuda --size 1024

Closed forms: MiM-MU's start and UCE, of one concept with one name, at every weight through which words enter. The sum over all other text that
the metric is made of is timed for a part of its prompts and scaled. The learning step is the loss, its gradient and the descent, beside a
forward and backward pass of the bare network with the gradient of the same weights, in one process and in turn. Nothing is downloaded.
Results go to docs/benchmark/full_size.json, one entry per row and device; rows that are there are left alone (`--again` measures them anew).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

import excise
from excise.concepts import PromptPair
from excise.erasure import closed_form
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import PROMPTS
from excise.erasure.states import States
from excise.erasure.trainable import Trainable
from excise.files import write_json
from excise.methods.mim import MimSettings, metric
from excise.methods.mim.erase import _student
from excise.methods.mim.start import _redirected
from excise.models import Conditioning, Model
from excise.models.drawing import Drawing
from excise.models.families.flux import Flux
from excise.models.families.sd3 import StableDiffusion3
from excise.models.families.sdxl import StableDiffusionXL
from excise.models.parts import load_scheduler, made, network_config
from timing import machine, peak

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "full_size.json"
CONFIGS = Path(excise.__file__).parent / "models" / "configs" / "sdxl"
PART = 32
"""Share of the metric's prompts that is timed: one in so many."""


@dataclass(frozen=True)
class Published:
    """A denoiser of published widths; of transformers one block, since words enter before the blocks.

    kind   the family's class
    config of the denoiser; SDXL's is the package's own copy
    tokens rows that a prompt has, all told
    text   numbers of each row by way in
    """

    title: str
    kind: type[Model]
    config: dict[str, Any]
    tokens: int
    text: dict[str, int]


MODELS = {
    "sdxl": Published("Stable Diffusion XL", StableDiffusionXL, {}, 77, {"pooled": 1280, "tokens": 2048}),
    # huggingface/diffusers: scripts/convert_sd3_to_diffusers.py (24 heads of 64 for 24 layers, text of 4096 and 2048 numbers)
    "sd3.5-medium": Published(
        "Stable Diffusion 3.5 medium",
        StableDiffusion3,
        {"num_attention_heads": 24, "attention_head_dim": 64, "caption_projection_dim": 1536, "joint_attention_dim": 4096,
         "pooled_projection_dim": 2048, "num_layers": 1, "pos_embed_max_size": 384, "qk_norm": "rms_norm"},
        77 + 256,
        {"pooled": 2048, "tokens": 4096},
    ),
    # huggingface/diffusers: scripts/convert_flux_to_diffusers.py (inner width 3072; the class's own defaults)
    "flux.1": Published(
        "FLUX.1 dev",
        Flux,
        {"num_attention_heads": 24, "attention_head_dim": 128, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "num_layers": 1,
         "num_single_layers": 1, "guidance_embeds": True},
        512,
        {"pooled": 768, "tokens": 4096},
    ),
}  # fmt: skip


# --- closed forms on the entrances alone -----------------------------------------------------------------------------------------


def entrances(published: Published) -> dict[str, dict[str, Tensor]]:
    """Random weights of every entrance, by way in and name; the rest of the network has no numbers."""
    with torch.device("meta"):
        if published.kind is StableDiffusionXL:
            network = made(*network_config(CONFIGS / "unet", "diffusers.UNet2DConditionModel"))
        else:
            network = getattr(diffusers, published.kind.parts["transformer"].partition(".")[2])(**published.config)
    model = published.kind.__new__(published.kind)
    denoiser, *encoders = published.kind.editable
    model.pipeline = SimpleNamespace(**{denoiser: network, **dict.fromkeys(encoders, nn.Module())})
    generator, found = torch.Generator().manual_seed(0), dict[str, dict[str, Tensor]]()
    for entrance in model.entrances:
        shape = network.get_parameter(entrance.weight.partition(".")[2]).shape
        weight = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        found.setdefault(entrance.reads, {})[entrance.weight] = weight
    return found


def rows_of(count: int, width: int, seed: int) -> Tensor:
    """Text rows with a common part of two thirds of their energy (as CLIP's have), float64."""
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(width, generator=generator, dtype=torch.float64)
    own = torch.randn(count, width, generator=generator.manual_seed(seed), dtype=torch.float64)
    return (2 / 3) ** 0.5 * common + (1 / 3) ** 0.5 * own


def once(work: Callable[[], Any]) -> dict[str, float | None]:
    """Seconds of a call, its CPU seconds, and the MiB that it takes above what is held before it."""
    wall, cpu = time.perf_counter(), time.process_time()
    taken, _ = peak(work)
    return {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mib": taken}


def closed_forms(published: Published) -> dict[str, Any]:
    """Seconds and peak MiB of MiM-MU's start and of UCE, by way in."""
    settings, ways = MimSettings(), {}
    for way, weights in entrances(published).items():
        width, tokens = published.text[way], published.tokens if way == "tokens" else 1
        named = max(1, tokens - 1), width  # a name of one word: its row and all after it
        rows, guides, empty = rows_of(named[0], width, 2), rows_of(named[0], width, 3), rows_of(tokens, width, 4)
        some = rows_of(-(-PROMPTS * tokens // PART), width, 5)
        summing = once(lambda some=some: some.T @ some)
        felt = rows_of(2 * width, width, 6)
        felt = felt.T @ felt / len(felt)

        def start(
            rows: Tensor = rows, guides: Tensor = guides, felt: Tensor = felt, weights: dict[str, Tensor] = weights
        ) -> Any:
            change = _redirected([(rows, guides)], felt, settings)
            for weight in weights.values():
                text = weight[:, : len(change)]
                text.add_((text.double() @ change).to(weight))

        def uce(
            rows: Tensor = rows, guides: Tensor = guides, empty: Tensor = empty, weights: dict[str, Tensor] = weights
        ) -> Any:
            one, held = torch.ones(len(rows), dtype=torch.float64), torch.ones(len(empty), dtype=torch.float64)
            return closed_form.redirect(rows, guides, one, empty, held, 0.5).deltas(weights)

        ways[way] = {
            "weights": len(weights),
            "numbers": sum(weight.numel() for weight in weights.values()),
            "text_width": width,
            "rows": len(rows),
            "uce": once(uce),
            "mim_start": once(start),
            "metric_sum_s": summing["seconds"] * PART,
            "metric_sum_timed": f"1/{PART} of {PROMPTS} prompts",
            "metric_inverse": once(lambda felt=felt: metric.inverse(felt, settings.ridge)),
        }
        for name in ("uce", "mim_start", "metric_inverse"):
            print(
                f"  {way:<7} {name:<15} {ways[way][name]['seconds']:8.2f} s  {ways[way][name]['peak_mib'] or 0:8.0f} MiB",
                flush=True,
            )
        print(f"  {way:<7} metric's sum    {ways[way]['metric_sum_s']:8.2f} s, scaled", flush=True)
    return {"title": published.title, "concepts": 1, "n": 1, "ways": ways}


# --- a whole learning step -------------------------------------------------------------------------------------------------------


def build_sdxl(device: str, size: int) -> Model:
    """Stable Diffusion XL with random weights in bfloat16, a layer of each text encoder, without tokenizers: prompts are not read."""
    index = json.loads((CONFIGS / "model_index.json").read_text())
    torch.set_default_dtype(torch.bfloat16)
    networks = {}
    for part, named in StableDiffusionXL.parts.items():
        kind, config = network_config(CONFIGS / part, named)
        if part.startswith("text_encoder"):
            config.num_hidden_layers, config.dtype = 1, torch.bfloat16
        networks[part] = made(kind, config)
    torch.set_default_dtype(torch.float32)
    pipeline = diffusers.StableDiffusionXLPipeline(
        **networks, scheduler=load_scheduler(CONFIGS, index["scheduler"]), tokenizer=None, tokenizer_2=None, add_watermarker=False
    )  # fmt: skip
    model = StableDiffusionXL(pipeline.to(device), name="random SDXL")
    model.draw(Drawing(size=size))
    return model


def learning_step(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of the parts of a step, and of the bare network's forward and backward pass."""
    model, settings = build_sdxl(args.device, args.size), MimSettings(batch=args.batch)
    text = Conditioning(
        torch.randn(3, 77, 2048, device=model.device, dtype=model.dtype), torch.randn(3, 1280, device=model.device, dtype=model.dtype)
    )  # fmt: skip
    bank = PromptBank((PromptPair("a cat", "a"),), torch.zeros(1, dtype=torch.int64), text[:1], text[1:2], text[2:])
    rows = torch.zeros(args.batch, dtype=torch.int64)
    latents = torch.randn(args.batch, *model.latent_shape, device=model.device, dtype=model.dtype)
    states = States(latents, torch.linspace(100, 900, args.batch).long(), rows, rows)
    every, conditioned = torch.arange(args.batch), bank.conditioned.expand(args.batch)
    names = model.subspace("kv")
    parameters = [model.denoiser.get_parameter(name.partition(".")[2]) for name in names]

    def bare() -> None:
        for parameter in parameters:
            parameter.requires_grad_(True)
        model.predict(latents, states.t, conditioned).float().square().mean().backward()
        for parameter in parameters:
            parameter.requires_grad_(False).grad = None

    with torch.no_grad():
        target = model.predict(latents, states.t, conditioned)
    taken = {"bare": _peak(model, bare)}
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "loss and gradient": [], "descent": []}
    with Trainable(model, names) as trainable:
        inverses = {way: metric.Inverse(torch.eye(_width(way), device=model.device)) for way in model.ways}
        read_by = {entrance.weight: inverses[entrance.reads] for entrance in model.entrances}
        optimizer = metric.Steepest(list(trainable.parameters.values()), settings.lr, [read_by[name] for name in names])

        def loss() -> None:
            error = (_student(model, bank, states, every, settings) - target).square().flatten(1).mean(1)
            error.mean().backward()
            for way, inverse in inverses.items():
                inverse.reads(model.read(conditioned, way))

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            seconds["loss and gradient"].append(_seconds(model, loss))
            seconds["descent"].append(_seconds(model, optimizer.step))

        step()
        seconds["loss and gradient"].clear(), seconds["descent"].clear()
        taken["step"] = _peak(model, step)
    for _ in range(args.repeats):  # in turn: what else the machine does meets both
        seconds["bare"].append(_seconds(model, bare))
        with trainable:
            step()
        print("  " + ", ".join(f"{name} {values[-1][0]:.2f} s" for name, values in seconds.items()), flush=True)
    best, cpu = ({name: min(each[column] for each in values) for name, values in seconds.items()} for column in (0, 1))
    return {
        "title": f"Stable Diffusion XL, a step of MiM-MU at {args.size} pixels, bfloat16, batch {args.batch}",
        "n": args.repeats,
        "trained": sum(parameter.numel() for parameter in parameters),
        "best_s": best,
        "cpu_s": cpu,
        "peak_mib": taken,
        "ratio": (best["loss and gradient"] + best["descent"]) / best["bare"],
        "ratio_of_cpu_time": (cpu["loss and gradient"] + cpu["descent"]) / cpu["bare"],
        "ratio_without_descent": best["loss and gradient"] / best["bare"],
    }


def _width(way: str) -> int:
    return MODELS["sdxl"].text[way]


def _seconds(model: Model, work: Callable[[], Any]) -> tuple[float, float]:
    """On the clock, and of the processors."""
    _settle(model)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    _settle(model)
    return time.perf_counter() - wall, time.process_time() - cpu


def _settle(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _peak(model: Model, work: Callable[[], Any]) -> float | None:
    """MiB above what is held before it."""
    gc.collect()
    if model.device.type != "cuda":
        return peak(work)[0]
    before = torch.cuda.memory_allocated(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    work()
    return (torch.cuda.max_memory_allocated(model.device) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "rows", nargs="*", default=[*MODELS], metavar="ROW", help=f"{', '.join(MODELS)} or sdxl-step; default: all closed forms"
    )
    parser.add_argument("--size", type=int, default=512, help="of the learning step: edge of a picture in pixels")
    parser.add_argument("--batch", type=int, default=1, help="of the learning step: states")
    parser.add_argument("--repeats", type=int, default=3, help="of the learning step")
    parser.add_argument("--device", default="cpu", help="of the learning step; closed forms are solved on the CPU")
    parser.add_argument("--threads", type=int, help="default all cores")
    parser.add_argument("--again", action="store_true", help="measure also what is measured")
    args = parser.parse_args()
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    if unknown := set(args.rows) - {*MODELS, "sdxl-step"}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    for row in args.rows:
        key = f"{row}-{args.device}-{args.size}-{args.batch}" if row == "sdxl-step" else row
        if key in _results() and not args.again:
            print(f"{key} is measured already")
            continue
        print(key, flush=True)
        can = machine()
        found = learning_step(args) if row == "sdxl-step" else closed_forms(MODELS[row])
        found |= {"device": args.device if row == "sdxl-step" else "cpu", "machine": can}
        write_json(RESULTS, {**_results(), key: found})


def _results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()
