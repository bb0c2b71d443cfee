"""How long closed-form edits take at Stable Diffusion size, beside the published recipe in the same process and beside the floor.

    python benchmarks/closed_form.py                    # SD 1.4, 1 to 1,000 concepts; a few minutes on 2 CPU cores
    python benchmarks/closed_form.py --model sdxl       # the same at SDXL size
    python benchmarks/closed_form.py --model sdxl --show docs/benchmark/closed_form.json

Random cross-attention keys and values with the shapes of the published networks, random text embeddings with CLIP's norm and common
part; nothing is downloaded. Results go to docs/benchmark/closed_form.json, one entry per model.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from excise.edits import LowRank
from excise.erasure.closed_form import redirect
from excise.files import write_json
from excise.methods.cure.erase import eraser
from excise.methods.rece import ReceSettings
from excise.methods.rece.erase import regenerated_away
from markdown_table import markdown
from timing import machine, timed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmark" / "closed_form.json"
RIDGE = 0.5
TOKENS = 77

NETWORKS: dict[str, dict[str, Any]] = {
    "sd14": {
        "title": "Stable Diffusion 1.4",
        "channels": (320, 640, 1280, 1280),
        "down": (1, 1, 1, 0),  # transformer blocks per layer of every level; 0: no cross-attention
        "mid": 1,
        "layers": 2,
        "width": 768,
    },
    "sdxl": {
        "title": "Stable Diffusion XL",
        "channels": (320, 640, 1280),
        "down": (0, 2, 10),
        "mid": 10,
        "layers": 2,
        "width": 2048,
    },
}
"""From the `unet/config.json` of CompVis/stable-diffusion-v1-4 and stabilityai/stable-diffusion-xl-base-1.0."""


def shapes(name: str) -> list[tuple[int, int]]:
    """(out, in) of every key and value matrix: `layers` down, `layers` + 1 up, and the middle."""
    network = NETWORKS[name]
    outs = [
        out
        for out, blocks in zip(network["channels"], network["down"], strict=True)
        for _ in range(blocks * (2 * network["layers"] + 1))
    ]
    outs += [network["channels"][-1]] * network["mid"]
    return [(out, network["width"]) for out in outs for _ in "kv"]


def make_weights(name: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {str(i): torch.randn(*shape, generator=generator) / shape[1] ** 0.5 for i, shape in enumerate(shapes(name))}


def embeddings(count: int, width: int, seed: int) -> Tensor:
    """Rows with the norm of CLIP's (28 at width 768), two thirds of their energy a common part, float64."""
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(width, generator=generator, dtype=torch.float64)
    own = torch.randn(count, width, generator=generator.manual_seed(seed), dtype=torch.float64)
    return (2 / 3) ** 0.5 * common + (1 / 3) ** 0.5 * own


# --- the recipe to compare with: as published, one inverse for every matrix, float32, concept by concept -------------------------


def reference_uce(weights: list[Tensor], pairs: list[tuple[Tensor, Tensor]], kept: list[Tensor], ridge: float) -> list[Tensor]:
    """New weights. pairs: rows and guide rows (rows, in) of each concept; kept: rows of each preserved prompt; float32."""
    new = []
    for weight in weights:
        right = ridge * torch.eye(weight.shape[1], dtype=weight.dtype)
        left = ridge * weight
        for rows, guides in pairs:
            values = weight @ guides.T
            left = left + values @ rows
            right = right + rows.T @ rows
        for rows in kept:
            left = left + (weight @ rows.T) @ rows
            right = right + rows.T @ rows
        new.append(left @ torch.inverse(right))
    return new


def reference_rece(
    weights: list[Tensor], first: list[Tensor], rows: Tensor, guides: Tensor, keep: Tensor, rounds: int
) -> list[Tensor]:
    """New weights after RECE's rounds from UCE-edited ones: all sums anew every round, one inverse for every matrix, float32."""
    current, s = first, ReceSettings()
    for _ in range(rounds):
        eye = torch.eye(rows.shape[1], dtype=rows.dtype)
        own = sum((w.T @ w for w in current), s.regeneration_ridge * eye)
        cross = sum(w.T @ old for w, old in zip(current, weights, strict=True))
        found = rows @ (torch.inverse(own) @ cross).T
        new = []
        for w in current:
            left = s.ridge * w + s.erase_weight * (w @ guides.T) @ found + s.preserve_weight * (w @ keep.T) @ keep
            right = s.ridge * eye + s.erase_weight * found.T @ found + s.preserve_weight * keep.T @ keep
            new.append(left @ torch.inverse(right))
        current = new
    return current


def reference_cure(weights: list[Tensor], forget: Tensor, retain: Tensor, alpha: float) -> list[Tensor]:
    """New weights W (I - P_f + P_f P_r), whole projectors, float32."""

    def projector(rows: Tensor) -> Tensor:
        u, s, _ = torch.linalg.svd(rows.T, full_matrices=False)
        r = s.square() / s.square().sum()
        return u @ torch.diag(alpha * r / ((alpha - 1) * r + 1)) @ u.T

    p = projector(forget)
    unlearn = torch.eye(forget.shape[1]) - (p - p @ projector(retain))
    return [weight @ unlearn for weight in weights]


# --- float64 oracle: numpy, written apart from both ------------------------------------------------------------------------------


def oracle_uce(weight: np.ndarray, rows: np.ndarray, guides: np.ndarray, keep: np.ndarray, ridge: float) -> np.ndarray:
    a = ridge * np.eye(weight.shape[1]) + rows.T @ rows + keep.T @ keep
    b = ridge * weight + (weight @ guides.T) @ rows + (weight @ keep.T) @ keep
    return np.linalg.solve(a, b.T).T - weight


# --- measuring -------------------------------------------------------------------------------------------------------------------


def error(changes: list[Tensor], expected: list[np.ndarray]) -> float:
    """Largest distance to the oracle's change of a matrix, relative to that change (Frobenius norms)."""
    pairs = zip(changes, expected, strict=True)
    return max(float(np.linalg.norm(c.double().numpy() - e) / np.linalg.norm(e)) for c, e in pairs)


def floor(weights: dict[str, Tensor], rank: int, extra_flops: float, can: dict[str, Any]) -> dict[str, float]:
    """The least work: read every weight once, multiply it by `rank` columns (or `in` of them), write the change, and the small solve."""
    size = sum(w.numel() for w in weights.values())
    width = next(iter(weights.values())).shape[1]
    columns = min(rank, width)
    written = sum(min(columns * w.shape[0], w.numel()) for w in weights.values()) + columns * width
    flops, data = 2.0 * size * columns + extra_flops, 4.0 * (size + written)
    seconds = max(flops / (can["float64_gflops"] * 1e9), data / (can["memory_gb_s"] * 1e9))
    return {"gflop": flops / 1e9, "mib": data / 2**20, "seconds": seconds}


# --- the runs --------------------------------------------------------------------------------------------------------------------


def run_uce(
    weights: dict[str, Tensor], count: int, rows_each: int, can: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """UCE of `count` concepts: one row each (release of 2025) or 75 and a held empty prompt (release of 2023)."""
    width = next(iter(weights.values())).shape[1]
    rows, guides = embeddings(count * rows_each, width, 2), embeddings(count * rows_each, width, 3)
    keep = embeddings(TOKENS if rows_each > 1 else 0, width, 4)
    one, held = torch.ones(len(rows), dtype=torch.float64), torch.ones(len(keep), dtype=torch.float64)
    ours, deltas = timed(lambda: redirect(rows, guides, one, keep, held, RIDGE).deltas(weights), args.repeats)

    flat = list(weights.values())
    sample = range(len(flat)) if count * rows_each <= args.whole else _one_of_each_shape(flat)
    pairs = [(r.float(), g.float()) for r, g in zip(rows.split(rows_each), guides.split(rows_each), strict=True)]
    kept = [keep.float()] if len(keep) else []
    part = [flat[i] for i in sample]
    theirs, new = timed(lambda: reference_uce(part, pairs, kept, RIDGE), 1 if count > 1 else args.repeats)
    scale = sum(w.numel() for w in flat) / sum(w.numel() for w in part)
    theirs = {**theirs, **{key: scale * theirs[key] for key in ("best_s", "median_s", "cpu_s")}}

    checked = _one_of_each_shape(flat)
    expected = [oracle_uce(flat[i].double().numpy(), rows.numpy(), guides.numpy(), keep.numpy(), RIDGE) for i in checked]
    changes = [deltas[str(i)].dense() for i in checked]
    published = [new[list(sample).index(i)] - flat[i] for i in checked]
    total = len(rows) + len(keep)
    small = min(total, width)
    solve = 2.0 * total * small * max(total, width) + small**3 / 3 + 2.0 * small**2 * min(len(rows), width)
    return {
        "what": f"UCE, {rows_each} row{'s' if rows_each > 1 else ''} a concept", "concepts": count, "ours": ours,
        "reference": {**theirs, "matrices": len(part)}, "ratio": theirs["best_s"] / ours["best_s"],
        "cpu_ratio": theirs["cpu_s"] / ours["cpu_s"], "error": error(changes, expected),
        "reference_error": error(published, expected), **size(deltas), "floor": floor(weights, len(rows), solve, can),
    }  # fmt: skip


def run_rece(weights: dict[str, Tensor], can: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """One concept, all 77 rows, a UCE edit first (75 rows) and three rounds."""
    width, rounds = next(iter(weights.values())).shape[1], 3
    rows, guides, keep = (embeddings(TOKENS, width, seed) for seed in (2, 3, 4))
    one = torch.ones(TOKENS, dtype=torch.float64)

    def ours() -> dict[str, Any]:
        start = redirect(rows[2:], guides[:-2], one[2:], keep, one, RIDGE)
        return regenerated_away(weights, start, rows, guides, keep, ReceSettings(rounds=rounds)).deltas(weights)

    time_, deltas = timed(ours, args.repeats)
    flat = list(weights.values())
    r, g, k = rows.float(), guides.float(), keep.float()

    def theirs() -> list[Tensor]:
        first = reference_uce(flat, [(r[2:], g[:-2])], [k], RIDGE)
        return reference_rece(flat, first, r, g, k, rounds)

    result: dict[str, Any] = {"what": "RECE, 3 rounds", "concepts": 1, "ours": time_, **size(deltas)}
    small = 2.0 * width**3 * rounds
    gram = sum(w.numel() for w in flat) * width  # half of a full product: the sum is symmetric
    result["floor"] = floor(weights, TOKENS - 2 + rounds * TOKENS, small + gram, can)
    if width > 1024 and not args.slow:
        return {**result, "reference": None, "ratio": None, "cpu_ratio": None, "error": None, "reference_error": None}
    reference, new = timed(theirs, 1)
    wide = [w.double() for w in flat]
    exact = reference_rece(wide, reference_uce(wide, [(rows[2:], guides[:-2])], [keep], RIDGE), rows, guides, keep, rounds)
    checked = _one_of_each_shape(flat)
    expected = [(exact[i] - wide[i]).numpy() for i in checked]
    result |= {
        "reference": {**reference, "matrices": len(flat)}, "ratio": reference["best_s"] / time_["best_s"],
        "cpu_ratio": reference["cpu_s"] / time_["cpu_s"], "error": error([deltas[str(i)].dense() for i in checked], expected),
        "reference_error": error([new[i] - flat[i] for i in checked], expected),
    }  # fmt: skip
    return result


def run_cure(weights: dict[str, Tensor], can: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """One concept: 20 prompts of 5 rows to forget, as many to retain, alpha 2."""
    width = next(iter(weights.values())).shape[1]
    forget, retain = embeddings(100, width, 2), embeddings(100, width, 3)
    ours, deltas = timed(lambda: eraser(forget, retain, 2.0).deltas(weights), args.repeats)
    flat = list(weights.values())
    theirs, new = timed(lambda: reference_cure(flat, forget.float(), retain.float(), 2.0), args.repeats)
    p = _numpy_projector(forget.numpy()) @ (np.eye(width) - _numpy_projector(retain.numpy()))
    checked = _one_of_each_shape(flat)
    expected = [-flat[i].double().numpy() @ p for i in checked]
    return {
        "what": "CURE, 100 rows to forget and to retain", "concepts": 1, "ours": ours,
        "reference": {**theirs, "matrices": len(flat)}, "ratio": theirs["best_s"] / ours["best_s"],
        "cpu_ratio": theirs["cpu_s"] / ours["cpu_s"], "error": error([deltas[str(i)].dense() for i in checked], expected),
        "reference_error": error([new[i] - flat[i] for i in checked], expected), **size(deltas),
        "floor": floor(weights, 100, 4 * 100**2 * width, can),
    }  # fmt: skip


def _numpy_projector(rows: np.ndarray, alpha: float = 2.0) -> np.ndarray:
    u, s, _ = np.linalg.svd(rows.T, full_matrices=False)
    r = s**2 / (s**2).sum()
    return u @ np.diag(alpha * r / ((alpha - 1) * r + 1)) @ u.T


def _one_of_each_shape(weights: list[Tensor]) -> list[int]:
    first: dict[tuple[int, ...], int] = {}
    for index, weight in enumerate(weights):
        first.setdefault(tuple(weight.shape), index)
    return list(first.values())


def size(deltas: dict[str, Any]) -> dict[str, Any]:
    """Bytes of an edit as it is saved, and its rank where matrices are stored in low rank (None: all dense)."""
    tensors = [t for name, d in deltas.items() for t in d.tensors(name).values()]
    ranks = [len(d.down) for d in deltas.values() if isinstance(d, LowRank)]
    return {"edit_mib": sum(t.nbytes for t in tensors) / 2**20, "rank": max(ranks, default=None)}


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    weights = make_weights(name)
    can = machine()
    rows = []
    for count in args.concepts:
        rows.append(run_uce(weights, count, 1, can, args))
        _say(rows[-1])
    rows.append(run_uce(weights, 1, TOKENS - 2, can, args))
    _say(rows[-1])
    for run in (run_rece, run_cure):
        rows.append(run(weights, can, args))
        _say(rows[-1])
    return {
        "title": NETWORKS[name]["title"], "matrices": len(weights), "weights": sum(w.numel() for w in weights.values()),
        "width": NETWORKS[name]["width"], "machine": can, "repeats": args.repeats, "rows": rows,
    }  # fmt: skip


def _say(row: dict[str, Any]) -> None:
    reference = row["reference"]
    beside = f"{reference['best_s']:8.3f} s, x {row['ratio']:.1f}" if reference else "not measured"
    print(
        f"{row['what']:40} {row['concepts']:5} concepts: {row['ours']['best_s']:7.3f} s, reference {beside}; peak "
        f"{row['ours']['peak_mib']} MiB; error {row['error']}; floor {row['floor']['seconds']:.3f} s",
        flush=True,
    )


# --- the table -------------------------------------------------------------------------------------------------------------------

COLUMNS = ("edit", "concepts", "time (s)", "reference (s)", "ratio", "memory (MiB)", "error")


def table(entry: dict[str, Any]) -> list[str]:
    """Lines of Markdown, a row for each edit of a network."""
    return markdown(COLUMNS, [_line(row, entry["matrices"]) for row in entry["rows"]])


def _line(row: dict[str, Any], matrices: int) -> list[str]:
    reference = row["reference"]
    about = "~" if reference and reference["matrices"] < matrices else ""
    return [
        row["what"],
        f"{row['concepts']:,}",
        f"{row['ours']['best_s']:.3f}",
        f"{about}{reference['best_s']:.2f}" if reference else "not measured",
        f"{row['ratio']:.1f}" if reference else "not measured",
        f"{memory:.0f}" if (memory := row["ours"]["peak_mib"]) is not None else "not measured",
        f"{row['error']:.0e}" if reference else "not measured",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NETWORKS, default="sd14")
    parser.add_argument("--concepts", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole", type=int, default=100, help="up to this many rows the reference runs on all matrices")
    parser.add_argument(
        "--slow", action="store_true", help="also time the reference where it takes many minutes (RECE at SDXL size)"
    )
    parser.add_argument("--threads", type=int, default=None, help="default: all cores")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file, and measure nothing")
    args = parser.parse_args()
    found = args.show or RESULTS
    results = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    if args.show is None:
        torch.set_num_threads(args.threads or os.cpu_count() or 1)
        results[args.model] = measure(args.model, args)
        write_json(RESULTS, results)
    print("\n".join(table(results[args.model])))


if __name__ == "__main__":
    main()
