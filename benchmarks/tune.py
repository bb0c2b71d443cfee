"""The same budget of trials for every peer on a built-in model: which of its settings erases most and keeps most.

    python benchmarks/tune.py --out docs/benchmark/tuning [--jobs 2]
    python benchmarks/tune.py --model canvas-flow --out docs/benchmark/flow-tuning --steps 10

Every method is tried with `TRIALS` of its settings on an object, and with the two best of them on a style; both are not in the fixed subset of
the benchmark. Trained methods take as many steps on as many states as MiM-MU, which is not among them: its settings were sought at
greater length (docs/research/mim/tried.md), on cat, fruit, sketch and pixel art. A score is the harmonic mean of what is gone (1 where the
concept shows no more often than without its words), IRA and CRA relative to the base model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from excise.files import write_json, write_text
from excise.jobs.bench import bench
from excise.requests.grid import Entrant
from excise.results.cell import Cell
from table import figures_of

TRIALS = 4
CONCEPTS = ("cat", "style:sketch")
PICTURES = {"target_pictures": 40, "other_pictures": 8}
UCE = ("", "ridge=0.1", "tokens=last", "preserve=catalog")
CANVAS: dict[str, tuple[str, ...]] = {
    "uce": UCE,
    "rece": ("", "rounds=1", "base_ridge=0.1", "preserve=catalog"),
    "cure": ("", "alpha=1e3", "centre=project,alpha=1e3", "tokens=all,alpha=1e3"),
    "esd": ("lr=3e-5", "lr=1e-4", "lr=3e-4", "variant=x-strict,lr=3e-4"),
    "sdd": ("lr=1e-4", "lr=3e-4", "parameters=kv,lr=3e-4", "parameters=kv,lr=1e-3"),
    "ca": ("lr=1e-4", "lr=3e-4", "lr=1e-3", "parameters=attn,lr=1e-4"),
    "salun": ("lr=3e-5", "lr=1e-4", "lr=3e-4", "lr=1e-4,retain_weight=2"),
    "erasediff": ("lr=3e-5", "lr=1e-4", "lr=3e-4", "lr=1e-4,balance=bome"),
    "fmn": ("lr=1e-5", "lr=3e-5", "lr=1e-4", "parameters=attn2,lr=3e-5"),
    "duge": ("lr=1e-3", "lr=3e-3", "lr=1e-3,columns=words", "lr=1e-3,target=negated"),
    "spm": ("lr=3e-4", "lr=1e-3", "lr=3e-3", "lr=1e-3,anchor_weight=100"),
    "doco": ("lr=1.5e-4", "lr=5e-4", "lr=1.5e-3", "lr=5e-4,surgery=released"),
    "sepme": ("lr=0.03", "lr=0.1", "lr=0.3", "lr=0.1,tau=0.005"),
}
FLOW: dict[str, tuple[str, ...]] = {
    "uce": UCE,
    "esd": ("variant=x-strict,lr=3e-5", "variant=x-strict,lr=1e-4", "variant=x-strict,lr=3e-4", "lr=1e-4"),
    "esd text-qk": tuple(f"variant=text-qk,lr={lr}" for lr in ("1e-4", "3e-4", "1e-3", "3e-3")),
}
SPACE = {"canvas": CANVAS, "canvas-flow": FLOW}
"""What is tried, by model: learning rates about three times smaller and larger, and what the paper or its release leaves open."""


def entrants(model: str) -> dict[str, list[str]]:
    """By method, and what of the network it trains, its trials as `bench` writes them."""
    found = {}
    for name, texts in SPACE[model].items():
        method = name.split()[0]
        found[name] = [f"{method}:{text}" if text else method for text in texts]
    assert all(len(set(texts)) == TRIALS for texts in found.values())
    return found


def score(cell: Cell) -> float:
    """0 (erased nothing, or a failed run) to 1."""
    if cell.error:
        return 0.0
    figures = figures_of(cell)
    gone = 1 - max(0.0, figures("erased") - figures("neutral")) / (1 - figures("neutral"))
    parts = [gone, figures("ira_of_base"), figures("cra_of_base")]
    return len(parts) / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dtype", default="mixed")
    parser.add_argument("--model", default="canvas", choices=SPACE)
    parser.add_argument("--steps", type=int, help="of the sampler; default: the model's own")
    options = parser.parse_args()
    trials = entrants(options.model)
    scores: dict[str, list[float]] = {text: [] for texts in trials.values() for text in texts}
    kept = trials
    for concept, left in zip(CONCEPTS, (2, 1), strict=True):
        cells = bench(
            methods=[text for texts in kept.values() for text in texts],
            concepts=[concept], out=options.out, quality=False, information=False, jobs=options.jobs, dtype=options.dtype,
            model=options.model, steps=options.steps, **PICTURES,
        )  # fmt: skip
        for cell in cells:
            scores[cell.entrant].append(score(cell))
        kept = {method: sorted(texts, key=lambda text: -sum(scores[text]))[:left] for method, texts in kept.items()}
    best = {method: texts[0] for method, texts in kept.items()}
    finals = {text for text, found in scores.items() if len(found) == len(CONCEPTS)}
    settings = {text: json.loads(Entrant.parse(text).settings.model_dump_json()) for text in best.values()}
    write_json(
        options.out / "tuning.json",
        {"concepts": CONCEPTS, **PICTURES, "seed": 0, "scores": scores, "best": best, "settings": settings},
    )
    lines = [f"| settings | {' | '.join(CONCEPTS)} | mean | |", "|---|---|---|---|---|"]
    for method, texts in trials.items():
        for text in texts:
            found = [f"{100 * value:.1f}" for value in scores[text]] + [""] * (len(CONCEPTS) - len(scores[text]))
            mean = f"{100 * sum(scores[text]) / len(CONCEPTS):.1f}" if text in finals else ""
            lines.append(f"| `{text}` | {' | '.join(found)} | {mean} | {'best' if text == best[method] else ''} |")
    write_text(options.out / "tuning.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
