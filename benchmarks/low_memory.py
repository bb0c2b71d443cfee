"""What learning takes of memory at Stable Diffusion 1.x size, with and without `--low-memory`, beside making pictures.

    python benchmarks/low_memory.py --batch 1 8                     # about ten minutes of one CPU core; 16 GiB
    python benchmarks/low_memory.py --show docs/benchmark/low_memory.json

The network has random weights and the published shape; nothing is downloaded. As many pictures of 512 pixels are made (guidance, two
steps, the decoder) as a step of learning has states. A step is the frozen answer, the loss, the gradient of keys and values, and a step of
Adam. Memory is the process's own, at most, above what it is before: the weights and Python. `--dry-run` estimates the same from the model's
configs: `estimated`. Results go to docs/benchmark/low_memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from excise.erasure.trainable import Trainable
from excise.files import write_json
from excise.jobs.memory import COPIES
from excise.models import Conditioning, Model
from excise.models.recomputing import recompute
from markdown_table import markdown
from mim_step import TOKENS, WIDTH, build
from sd1 import footprint
from timing import machine, peak

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "low_memory.json"
COLUMNS = (
    "at once", "making pictures, MiB", "learning, MiB", "with `--low-memory`, MiB", "above making pictures, MiB", "time of a step",
)  # fmt: skip


def measure(model: Model, batch: int) -> dict[str, Any]:
    """MiB of making pictures, and of a step of learning with its CPU seconds."""
    network: Any = model.denoiser
    text = Conditioning(torch.randn(2, TOKENS, WIDTH))
    found: dict[str, Any] = {"batch": batch}
    found["pictures_mib"], _ = peak(
        lambda: model.sample(text[[0] * batch], list(range(batch)), steps=2, unconditional=text[1], batch=batch)
    )
    step(model, text, 1)  # the first call sets up the libraries
    for name in ("kept", "recomputed"):
        if name == "recomputed":
            recompute(network)
        began = time.process_time()
        found[f"{name}_mib"], _ = peak(lambda: step(model, text, batch))
        found[f"{name}_cpu_s"] = time.process_time() - began
    network.disable_gradient_checkpointing()
    return found


def step(model: Model, text: Conditioning, batch: int) -> None:
    """A step of learning keys and values."""
    x, t = torch.randn(batch, *model.latent_shape), torch.linspace(100, 900, batch).long()
    with Trainable(model, model.subspace("kv")) as trainable:
        optimizer = torch.optim.Adam(trainable.parameters.values(), 1e-5)
        with trainable.untrained():
            target = model.predict(x, t, text[1].expand(batch))
        (model.predict(x, t, text[0].expand(batch)) - target).square().mean().backward()
        optimizer.step()


def estimated(batch: int) -> dict[str, float]:
    """MiB of the same as `--dry-run` tells them."""
    fake = footprint()
    names = fake.model.subspace("kv")
    trained = COPIES * 4 * sum(parameter.numel() for name, parameter in _named(fake.model).items() if name in names)
    kept = fake.work(names, batch, batch)
    fake.model.recompute()
    again = fake.work(names, batch, batch)
    pictures = max(kept.sampling, kept.decoding)
    learning = {"kept": kept.learning, "recomputed": again.learning}
    sizes = {"pictures": pictures, **{name: trained + max(kept.sampling, size) for name, size in learning.items()}}
    return {f"{name}_mib": size / 2**20 for name, size in sizes.items()}


def _named(model: Model) -> dict[str, Any]:
    return {f"{model.prefix}.{name}": parameter for name, parameter in model.denoiser.named_parameters()}


def table(results: dict[str, Any]) -> list[str]:
    """Lines of Markdown, a row for each number of states."""
    rows = []
    for each in results["rows"]:
        about = each["estimated"]
        pictures, kept, again = (each[f"{name}_mib"] for name in ("pictures", "kept", "recomputed"))
        rows.append(
            (
                str(each["batch"]),
                f"{pictures:,.0f} ({about['pictures_mib']:,.0f})",
                f"{kept:,.0f} ({about['kept_mib']:,.0f})",
                f"{again:,.0f} ({about['recomputed_mib']:,.0f})",
                f"{again - pictures:+,.0f}",
                f"x {each['recomputed_cpu_s'] / each['kept_cpu_s']:.2f}",
            )
        )
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="states in a step, and pictures at once")
    parser.add_argument("--threads", type=int, help="default all cores")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    options = parser.parse_args()
    if options.show is not None:
        print("\n".join(table(json.loads(options.show.read_text(encoding="utf-8")))))
        return
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    model = build("cpu", mixed=False)
    rows = [{**measure(model, batch), "estimated": estimated(batch)} for batch in options.batch]
    write_json(RESULTS, {"rows": rows, "machine": machine()})
    print("\n".join(table({"rows": rows})))


if __name__ == "__main__":
    main()
