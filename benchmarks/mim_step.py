"""What a step of MiM-MU costs at Stable Diffusion 1.x size, beside the least it can cost, in one process.

    python benchmarks/mim_step.py                                  # a few minutes on 2 CPU cores
    python benchmarks/mim_step.py --device cuda --batch 4

The network has random weights and the published shape; nothing is downloaded. The least is one prediction without gradients (the frozen
model's answer) and one prediction with the gradient of keys and values (the edited model's), by the bare network. Collecting states is not
counted: they are visited once a round. Results go to docs/benchmark/mim_step.json, one entry per device, dtype and batch.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

import excise
from excise.concepts import PromptPair
from excise.erasure import subspaces
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.states import States
from excise.erasure.trainable import Trainable
from excise.files import write_json
from excise.methods.mim import MimSettings
from excise.methods.mim.erase import _student, _targets
from excise.methods.mim.metric import Inverse, Steepest
from excise.models import Conditioning, Model
from excise.models.families.stable_diffusion import StableDiffusion
from timing import machine, timed

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "mim_step.json"
CONFIGS = Path(excise.__file__).parent / "models" / "configs" / "sd1"
TOKENS, WIDTH = 77, 768


def build(device: str, mixed: bool) -> Model:
    """A Stable Diffusion 1.x with random weights, without a tokenizer: prompts are encoded by hand."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    networks = {
        "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(CONFIGS / "unet")),
        "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(CONFIGS / "vae")),
        "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(CONFIGS / "text_encoder", num_hidden_layers=1)),
    }
    scheduler = DDIMScheduler.from_config(DDIMScheduler.load_config(CONFIGS / "scheduler"))
    pipeline = StableDiffusionPipeline(
        **networks,
        scheduler=scheduler,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return StableDiffusion(pipeline.to(device), name="random SD 1.x", mixed=mixed)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of every part of a step, of the bare network's, and their ratio."""
    model = build(args.device, args.dtype == "mixed")
    settings = MimSettings(batch=args.batch)
    text = Conditioning(torch.randn(3, TOKENS, WIDTH, device=model.device))
    pair = PromptPair("a picture of a cat", "a picture")
    bank = PromptBank((pair,), torch.zeros(1, dtype=torch.int64), text[:1], text[1:2], text[2:])
    latents = torch.randn(args.batch, *model.latent_shape, device=model.device)
    t = torch.linspace(100, 900, args.batch).long()
    rows = torch.zeros(args.batch, dtype=torch.int64)
    states, every, priors = States(latents, t, rows, rows), torch.arange(args.batch), torch.full((1,), 0.05)
    names = subspaces.select(model, "kv")
    found: dict[str, Any] = {}

    def run(name: str, function: Any) -> Any:
        found[name], result = timed(function, args.repeats)
        if model.device.type == "cuda":
            found[name]["peak_mib"] = _peak_on(model.device, function)
        print(f"{name:<28} {found[name]['best_s']:8.3f} s  {found[name]['peak_mib'] or 0:8.0f} MiB", flush=True)
        return result

    def settled(value: Tensor) -> Tensor:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return value

    with Trainable(model, names) as trainable:
        parameters = list(trainable.parameters.values())
        inverse = Inverse(torch.eye(WIDTH, device=model.device))
        optimizer = Steepest(parameters, settings.lr, [inverse] * len(parameters))
        conditioned = bank.conditioned.expand(args.batch)

        def bare_teacher() -> Tensor:
            with torch.no_grad():
                return settled(model.predict(latents, t, conditioned))

        def bare_student() -> Tensor:
            model.predict(latents, t, conditioned).square().mean().backward()
            return settled(latents)

        def teacher() -> Tensor:
            with trainable.untrained():
                return settled(_targets(model, bank, priors, states, settings, torch.Generator()))

        def student() -> Tensor:
            (_student(model, bank, states, every, settings) - target).square().mean().backward()
            return settled(latents)

        def descend() -> Tensor:
            optimizer.step()
            return settled(latents)

        bare_student()  # the first call sets up the libraries
        run("bare: no gradients", bare_teacher)
        run("bare: forward and backward", bare_student)
        target = run("MiM-MU: frozen answer", teacher)
        run("MiM-MU: loss and gradient", student)
        run("MiM-MU: descent", descend)
    bare, own = (sum(part["best_s"] for name, part in found.items() if name.startswith(who)) for who in ("bare", "MiM-MU"))
    print(f"a step costs {own / bare:.3f} times one prediction without and one with gradients")
    about = {
        "device": str(model.device),
        "dtype": args.dtype,
        "batch": args.batch,
        "trained": sum(p.numel() for p in parameters),
    }
    return {**about, "parts": found, "ratio": own / bare, "machine": machine()}


def _peak_on(device: torch.device, function: Any) -> float:
    """Peak memory of a call on the device above what is held before it, in MiB."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1, help="states in a step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "mixed"], default="float32")
    parser.add_argument("--threads", type=int, help="default all cores")
    args = parser.parse_args()
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[f"{args.device}-{args.dtype}-{args.batch}"] = measure(args)
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
