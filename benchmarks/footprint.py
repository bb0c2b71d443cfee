"""What `erase --dry-run` says that memory will be taken, beside what is taken: Stable Diffusion 1.x at full size.

    python benchmarks/footprint.py                     # 512 pixels, float32; a few minutes on 2 CPU cores, 7 GiB
    python benchmarks/footprint.py --size 256

The network has random weights and the published shape; nothing is downloaded. The estimate reads configs alone; what is measured is the peak
resident memory of this process. Each pass is measured above what is held before it; `whole` is the process from its beginning to the end of
a step of learning: Python and its libraries, all weights, float32 copies of the trained ones, their gradients and Adam's means.
Results go to docs/benchmark/footprint.json, one entry per dtype and size.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import excise
from excise.erasure.trainable import Trainable
from excise.files import write_json
from excise.jobs.memory import COPIES, RUNTIME
from excise.jobs.peak_memory import peak_mb
from excise.models import Model
from excise.models.checkpoint_file import WIDTH
from excise.models.conditioning import Conditioning
from excise.models.drawing import Drawing
from excise.models.families.stable_diffusion import StableDiffusion
from excise.models.fingerprint import named_tensors
from excise.models.footprint import Footprint
from excise.models.parts import load_scheduler, made, network_config
from excise.models.single_file import tokenizers
from timing import machine, peak

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "footprint.json"
CONFIGS = Path(excise.__file__).parent / "models" / "configs" / "sd1"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MIB = 2**20


def estimate(dtype: torch.dtype, drawing: Drawing) -> tuple[dict[str, float], int]:
    """Bytes by what takes them, from the configs alone; and the numbers that are trained."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file({WIDTH: torch.zeros(1, 768)}, file)  # enough of a checkpoint to be recognised
        found = Footprint(file, dtype)
    found.model.draw(drawing)
    trained = found.model.subspace("kv")
    work = found.work(trained, batch=1, pictures=1)
    numbers = sum(named_tensors(found.model)[name].numel() for name in trained)
    parts = {"weights": found.bytes, "sampling": work.sampling, "decoding": work.decoding, "learning": work.learning}
    return {**parts, "whole": RUNTIME + found.bytes + COPIES * 4 * numbers + work.learning}, numbers


def build(dtype: torch.dtype, drawing: Drawing) -> Model:
    """The model itself, with random weights."""
    from diffusers import StableDiffusionPipeline

    networks = {part: made(*network_config(CONFIGS / part, kind)).to(dtype) for part, kind in StableDiffusion.parts.items()}
    scheduler = load_scheduler(CONFIGS, json.loads((CONFIGS / "model_index.json").read_text())["scheduler"])
    others = {**tokenizers("sd1"), **StableDiffusion.left_out_parts, "feature_extractor": None}
    model = StableDiffusion(StableDiffusionPipeline(**networks, scheduler=scheduler, **others), name="random SD 1.x")
    model.draw(drawing)
    return model


def measure(dtype: torch.dtype, drawing: Drawing) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes that each pass takes, and its seconds."""
    model = build(dtype, drawing)
    told, x = model.encode([""]), torch.randn(1, *model.latent_shape, dtype=dtype)

    def predict(count: int, told: Conditioning) -> torch.Tensor:
        return model.predict(x.expand(count, -1, -1, -1), torch.full((count,), 500), told.expand(count))

    found: dict[str, float] = {}
    seconds: dict[str, float] = {}

    def run(name: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        taken, _ = peak(work)
        seconds[name] = time.perf_counter() - began
        found[name] = (taken or 0.0) * MIB

    with torch.no_grad():
        predict(1, told)  # the first call sets up the libraries
        run("sampling", lambda: predict(2, told))
        run("decoding", lambda: model.decode(x))
    with Trainable(model, model.subspace("kv")) as trainable:
        optimizer = torch.optim.Adam(trainable.parameters.values())

        def learn() -> None:
            predict(1, told).float().square().mean().backward()

        run("learning", learn)
        optimizer.step()  # makes Adam's means
        optimizer.zero_grad(set_to_none=True)
        peak(lambda: (learn(), optimizer.step()))
        found["whole"] = peak_mb(model.device) * MIB
    found["weights"] = sum(tensor.nbytes for part in model.parts for tensor in getattr(model.pipeline, part).parameters())
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="edge of a picture in pixels")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--threads", type=int, help="default all cores")
    args = parser.parse_args()
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    drawing, dtype = Drawing(size=args.size), DTYPES[args.dtype]
    told, numbers = estimate(dtype, drawing)
    found, seconds = measure(dtype, drawing)
    rows = {
        name: {"estimated_mib": told[name] / MIB, "measured_mib": found[name] / MIB, "off": told[name] / found[name] - 1}
        | ({"seconds": seconds[name]} if name in seconds else {})
        for name in ("weights", "sampling", "decoding", "learning", "whole")
    }
    for name, row in rows.items():
        print(f"{name:<10} {row['estimated_mib']:8.0f} MiB told, {row['measured_mib']:8.0f} MiB taken ({row['off']:+.1%})")
    about = {"model": "Stable Diffusion 1.x, random weights", "batch": 1, "n": 1, "trained": numbers, "machine": machine()}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_json(RESULTS, {**results, f"{args.dtype}-{args.size}": {**about, "rows": rows}})


if __name__ == "__main__":
    main()
