"""Many concepts at once: what the closed forms take of time and memory, and that learning draws no more states for ten than for one.

    python benchmarks/many.py                                  # some ten minutes of one CPU core, 6 GiB
    python benchmarks/many.py --show docs/benchmark/many.json

The closed forms are whole erasures by `mim` (rounds=0, start=solved), `uce` and `rece`, of 1, 10 and 100 concepts (CIFAR-100's names)
that any text names, on a Stable Diffusion 1.x of the published shape and random weights,
whose text encoder has one of its twelve layers. What the text
encoder takes is counted apart, and told for all layers from one batch by the whole encoder. Seconds are of the processor. Memory is the
process's own, at most, above what it is before; the fingerprint is made before. On the canvas one object and ten are erased: all that comes
before learning, and with one round. Results go to docs/benchmark/many.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from excise.concepts import Concept
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.files import write_json
from excise.methods import get
from excise.models import Model, load
from excise.models.clip import clip_tokenizer
from markdown_table import markdown
from mim_step import build
from sd1 import CONFIGS
from timing import machine, peak

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "many.json"
COUNTS = (1, 10, 100)
METHODS: dict[str, dict[str, Any]] = {"mim": {"rounds": 0, "start": "solved"}, "uce": {}, "rece": {}}
BATCH = 16
"""Prompts by which the whole text encoder is timed."""
NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar "
    "cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
    "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree "
    "orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose "
    "sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
COLUMNS = (
    "method", "concepts", "closed form, s", "memory, MiB", "prompts encoded", "by one layer, s", "by twelve, s (scaled)",
)  # fmt: skip
CANVAS_COLUMNS = ("on the canvas", "one", "ten", "ratio")


class Encoder:
    """Counts what passes a text encoder, and its CPU seconds."""

    def __init__(self, network: Any) -> None:
        self.prompts, self.seconds, self._began = 0, 0.0, 0.0
        network.register_forward_pre_hook(self._begin)
        network.register_forward_hook(self._end)

    def _begin(self, network: Any, inputs: tuple[Any, ...]) -> None:
        self._began = time.process_time()
        self.prompts += len(inputs[0])

    def _end(self, network: Any, inputs: Any, output: Any) -> None:
        self.seconds += time.process_time() - self._began


def free_text_model() -> Model:
    """Stable Diffusion 1.x of the published shape with random weights; its text encoder has one layer."""
    model = build("cpu", mixed=False)
    model.pipeline.register_modules(tokenizer=clip_tokenizer())
    base_fingerprint(model)  # once for all
    return model


def closed_form(model: Model, method: str, concepts: Sequence[Concept], encoder: Encoder) -> dict[str, Any]:
    """One whole erasure: CPU seconds with and without the text encoder, prompts encoded, MiB."""
    chosen, before = get(method), (encoder.prompts, encoder.seconds)
    began = time.process_time()
    memory, edit = peak(lambda: chosen.erase(model, concepts, chosen.parse(METHODS[method]), Run()))
    spent = time.process_time() - began
    encoding = encoder.seconds - before[1]
    return {
        "method": method, "concepts": len(concepts), "cpu_s": spent - encoding, "encoder_cpu_s": encoding,
        "prompts": encoder.prompts - before[0], "peak_mib": memory, "edit_mib": edit.nbytes / 2**20,
    }  # fmt: skip


def whole_encoder() -> float:
    """CPU seconds of a prompt in the published text encoder."""
    network = CLIPTextModel(CLIPTextConfig.from_pretrained(CONFIGS / "text_encoder")).eval()
    ids, best = torch.randint(1000, 40_000, (BATCH, 77)), float("inf")
    for _ in range(3):
        began = time.process_time()
        with torch.no_grad():
            network(ids)
        best = min(best, time.process_time() - began)
    return best / BATCH


def on_the_canvas() -> dict[str, Any]:
    """One object and ten: CPU seconds of all that comes before learning, and how often the denoiser is asked in one round."""
    model = load("canvas", device="cpu")
    objects, method, calls = model.catalog.of_kind("object")[:10], get("mim"), 0
    base_fingerprint(model)

    def count(network: Any, inputs: Any, output: Any) -> None:
        nonlocal calls
        calls += len(output[0])

    found: dict[str, Any] = {"cpu_s": {}, "calls": {}}
    for concepts in (objects[:1], objects):
        times = []
        for _ in range(3):
            began = time.process_time()
            method.erase(model, concepts, method.parse(METHODS["mim"]), Run())
            times.append(time.process_time() - began)
        found["cpu_s"][str(len(concepts))] = min(times)
    hook = model.denoiser.register_forward_hook(count)
    for concepts in (objects[:1], objects):
        calls = 0
        method.erase(model, concepts, method.parse({"rounds": 1, "steps": 5}), Run())
        found["calls"][str(len(concepts))] = calls
    hook.remove()
    return found


def measure() -> dict[str, Any]:
    canvas = on_the_canvas()
    print(canvas, flush=True)
    model = free_text_model()
    encoder = Encoder(model.pipeline.text_encoder)
    concepts = [model.catalog.resolve(name.replace("_", " ")) for name in NAMES.split()]
    rows = []
    closed_form(model, "uce", concepts[:1], encoder)  # the first call sets up the libraries
    for method in METHODS:
        for number in COUNTS:
            rows.append(closed_form(model, method, concepts[:number], encoder))
            print(rows[-1], flush=True)
    return {"rows": rows, "encoder_s": whole_encoder(), "canvas": canvas, "machine": machine()}


def table(results: dict[str, Any]) -> list[str]:
    """Lines of Markdown: the closed forms, and the canvas."""
    rows = [
        (
            each["method"], str(each["concepts"]), f"{each['cpu_s']:.1f}", f"{each['peak_mib']:,.0f}",
            f"{each['prompts']:,}", f"{each['encoder_cpu_s']:.1f}", f"{each['prompts'] * results['encoder_s']:.0f}",
        )
        for each in results["rows"]
    ]  # fmt: skip
    seconds, calls = results["canvas"]["cpu_s"], results["canvas"]["calls"]
    canvas = [
        ("all before learning, CPU s", f"{seconds['1']:.2f}", f"{seconds['10']:.2f}", f"{seconds['10'] / seconds['1']:.2f}"),
        ("latents through the network, one round", f"{calls['1']:,}", f"{calls['10']:,}", f"{calls['10'] / calls['1']:.2f}"),
    ]
    return [*markdown(COLUMNS, rows), "", *markdown(CANVAS_COLUMNS, canvas)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    options = parser.parse_args()
    if options.show is None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
        results = measure()
        write_json(RESULTS, results)
    else:
        results = json.loads(options.show.read_text(encoding="utf-8"))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
