"""What whole recipes ask of a network of Stable Diffusion 1.x size: calls and FLOPs of MiM-MU beside published ones, from their settings.

    python benchmarks/recipes.py                                    # counts and writes: a minute
    python benchmarks/recipes.py --show docs/benchmark/recipes.json

One concept of one name. A call is one latent that passes the denoiser; a call that learns passes forward and back, with the gradient of
what the recipe trains. What a call of each kind takes is counted by torch while the network of the published shape, without numbers, does
it; how many there are follows from a method's settings (`RECIPES`), and tests/test_benchmark_recipes.py counts those of the methods
themselves. Random numbers and optimizers are not counted. Results go to docs/benchmark/recipes.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode

from excise.files import write_json
from excise.methods import get
from excise.methods.esd.erase import VARIANTS
from excise.methods.mim.erase import HELD_OUT
from excise.methods.mim.metric import MOST
from excise.models.footprint import Footprint
from markdown_table import markdown
from sd1 import footprint

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "recipes.json"
COLUMNS = ("recipe", "calls of the sampler", "other calls", "calls that learn", "what", "PFLOP", "of ESD's")
PICTURE_STEPS, PICTURE_PASSES = 50, 2
"""How the model makes pictures where a method says nothing else: with guidance."""


@dataclass(frozen=True)
class Calls:
    """How often a recipe asks the networks.

    sampling latents that pass the denoiser on the way to pictures
    asking   others that pass it without gradients
    learning those with gradients
    trains   which of its weights have them
    prompts  that the text encoder reads, about
    """

    sampling: float
    asking: float
    learning: float
    trains: str
    prompts: int


def mim(settings: Any) -> Calls:
    """Pictures to learn from and pictures that are held out; what attention reads of the first; looks at the second, after every round; steps.

    As many as there are at most: a run ends when little is left.
    """
    looks = settings.rounds + 2 if settings.rounds and settings.tolerance else 0
    own = settings.trajectories * settings.sampler_steps if settings.rounds or settings.start == "attended" else 0
    held_out = HELD_OUT * settings.sampler_steps if looks else 0
    answered = settings.target != "exclude" and settings.space == "prediction"  # what attention was read with are the targets
    asking = own * ((2 if answered else 3) if settings.start == "attended" else 1) + (1 + looks) * held_out
    learning = settings.rounds * settings.steps * settings.batch
    metric = MOST if settings.metric != "none" else 0
    guided = 2 if settings.guidance_scale > 1 else 1
    return Calls(
        guided * (own + held_out), asking, learning, settings.parameters, metric + 2 * (settings.trajectories + HELD_OUT)
    )


def esd(settings: Any) -> Calls:
    """Every step samples up to a random step of the sampler, asks the frozen model for two prompts, and learns."""
    states = settings.rounds * settings.steps * settings.batch
    sampling = (settings.sampler_steps - 1) / 2 * (2 if settings.guidance_scale > 1 else 1)
    return Calls(states * sampling, 2 * states, states, VARIANTS[settings.variant][0], 3)


def salun(settings: Any) -> Calls:
    """Pictures of two kinds, the mask's gradient once over those to forget, then steps on both kinds."""
    made = (settings.pictures + settings.retained) * (settings.picture_steps or PICTURE_STEPS) * PICTURE_PASSES
    states = settings.rounds * settings.steps * settings.batch
    return Calls(made, states, 2 * settings.pictures + 2 * states, settings.parameters, 4)


def none(settings: Any) -> Calls:
    """A closed form reads prompts alone."""
    return Calls(0, 0, 0, "kv", 3)


RECIPES: dict[str, tuple[str, dict[str, Any], Callable[[Any], Calls]]] = {
    "MiM-MU, defaults": ("mim", {}, mim),
    "MiM-MU, `rounds=0,start=solved`": ("mim", {"rounds": 0, "start": "solved"}, mim),
    "MiM-MU, `preset=paper`": ("mim", {"preset": "paper"}, mim),
    "ESD-x, `preset=paper`": ("esd", {"preset": "paper"}, esd),
    "ESD-u, `preset=paper-u`": ("esd", {"preset": "paper-u"}, esd),
    "ESD-x, `preset=rewrite`": ("esd", {"preset": "rewrite"}, esd),
    "SalUn, `preset=nudity`": ("salun", {"preset": "nudity"}, salun),
    "SalUn, `preset=class`": ("salun", {"preset": "class"}, salun),
    "UCE": ("uce", {}, none),
}
"""Title -> method, settings, and how its calls follow from them."""
MEASURE = "ESD-x, `preset=paper`"
"""What the others are compared with."""


def of(title: str) -> Calls:
    """The calls of a recipe."""
    method, values, counted = RECIPES[title]
    return counted(get(method).parse(values))


def flops() -> dict[str, float]:
    """FLOPs of one call of each kind, and of one prompt in the text encoder."""
    fake = footprint()
    fake.model.denoiser.set_attn_processor(AttnProcessor())  # torch does not count the fused attention of a CPU
    fake.model.pipeline.text_encoder.set_attn_implementation("eager")
    found = {"prompt": _counted(fake, fake.model.outline)}
    told = fake.model.outline().expand(1)
    found["forward"] = _counted(fake, lambda: fake._predict(1, told))
    for trains in sorted({of(title).trains for title in RECIPES}):
        network = fake.model.denoiser
        for name in fake.model.subspace(trains):
            network.get_parameter(name.partition(".")[2]).requires_grad_(True)
        found[f"learning {trains}"] = _counted(fake, lambda: fake._predict(1, told).square().mean().backward())
        network.requires_grad_(False)
    return found


def _counted(fake: Footprint, call: Callable[[], Any]) -> float:
    with fake._mode, FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def measure() -> dict[str, Any]:
    """Of every recipe its settings, its calls and FLOPs; and the FLOPs of a call."""
    each, rows = flops(), []
    for title, (method, values, _) in RECIPES.items():
        calls = of(title)
        total = (calls.sampling + calls.asking) * each["forward"] + calls.prompts * each["prompt"]
        total += calls.learning * each[f"learning {calls.trains}"]
        rows.append({"recipe": title, "method": method, "settings": values, **vars(calls), "flops": total})
    return {"flops": each, "rows": rows}


def table(results: dict[str, Any]) -> list[str]:
    """Lines of Markdown, a row for each recipe."""
    whole = next(row["flops"] for row in results["rows"] if row["recipe"] == MEASURE)
    rows = [
        (
            row["recipe"], *(f"{row[kind]:,.0f}" for kind in ("sampling", "asking", "learning")), row["trains"] if row["learning"] else "-",
            f"{row['flops'] / 1e15:,.2f}", f"{100 * row['flops'] / whole:.1f} %",
        )
        for row in results["rows"]
    ]  # fmt: skip
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and count nothing")
    options = parser.parse_args()
    if options.show is None:
        results = measure()
        write_json(RESULTS, results)
    else:
        results = json.loads(options.show.read_text(encoding="utf-8"))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
