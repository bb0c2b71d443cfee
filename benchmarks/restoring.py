"""Pictures of the canvas restored from low ones by the built-in restorer: held-out pictures, bicubic beside restored.

    python benchmarks/restoring.py --out docs/benchmark/restoring [--restorer FILE] [--n 480] [--lpips alexnet-owt-7be5be79.pth]
    python benchmarks/restoring.py --out docs/benchmark/restoring --table

Pictures are drawn anew, of every object in every style in turn, by seeds that nothing was trained on. They are made low in two ways: as in
training, and by plain bicubic shrinking alone. Each low picture of 16 x 16 pixels is enlarged bicubically, and restored by the model with
several fidelities. Compared with the true picture: PSNR, SSIM, whether the model's own classifier recognises object, member and style, how far
apart they are in that classifier's maps (a distance of the form of LPIPS, which it is not), and LPIPS itself if AlexNet's weights are given.
The restorer was not trained on the classifier. Differences are in pairs, with bootstrap intervals of 95 %; shares have Wilson's.

Writes OUT/restoring.json and OUT/restoring.png: low, restored and true pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from excise import load
from excise.canvas.catalog import GLYPH_OBJECT
from excise.canvas.data import draw_pictures
from excise.canvas.real import labels
from excise.digests import digest_file
from excise.evaluation.classifier import Classifier
from excise.evaluation.likeness import judged_apart, psnr, ssim
from excise.evaluation.lpips import Lpips
from excise.evaluation.quality import mean_estimate
from excise.evaluation.weights import find
from excise.files import read_json, replacing, write_json
from excise.models import Model
from excise.models.built_in import restorer_of
from excise.resampling import Estimate
from excise.restoration.colour import match_colour
from excise.restoration.degradation import PLAIN, Degradation, enlarge, shrink
from excise.restoration.restorer import Restorer, read_restorer
from excise.restoration.tiled_sampling import restore
from excise.statistics import wilson

SEED = 20_260_000
"""Of the pictures and of what makes them low; training has its own."""

WAYS: dict[str, Degradation] = {"as in training": Degradation(), "only smaller": PLAIN}
FIDELITIES = (0.0, 0.5, 1.0)
MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "judged": "apart for the classifier", "lpips": "LPIPS", "object": "object", "member": "member",
            "style": "style"}  # fmt: skip
SHARES = ("object", "member", "style")
BICUBIC, CODED = "bicubic", "the true picture, coded"


class Remembering(Restorer):
    """Keeps the latents that it decodes, so that they can be decoded again with another fidelity."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__(restorer.model, restorer.settings, restorer.networks)
        self.latents: list[Tensor] = []

    def decode(self, latents: Tensor, low: Tensor, fidelity: float) -> Tensor:
        self.latents.append(latents)
        return super().decode(latents, low, fidelity)


def measure(model: Model, restorer: Remembering, count: int, lpips: Lpips | None, steps: int | None) -> dict[str, Any]:
    """Figures of every way and entrant, and of each restored one less the bicubic one."""
    glyph, style = labels(count, seed=SEED)
    truth = draw_pictures(glyph, style, torch.Generator().manual_seed(SEED)).pictures
    judge = Judgement(model, truth, {"object": torch.tensor(GLYPH_OBJECT)[glyph], "member": glyph, "style": style}, lpips)
    found: dict[str, Any] = {"ways": {}, "sheet": []}
    for way, how in WAYS.items():
        small = shrink(truth, torch.Generator().manual_seed(SEED + 1), how=how)
        low, began = enlarge(small), time.perf_counter()
        for number, some in enumerate(low.split(64)):
            restore(model, restorer, some, seed=SEED + 64 * number, steps=steps)
        seconds = (time.perf_counter() - began) / count
        latents, restorer.latents = torch.cat(restorer.latents), []
        shown = {BICUBIC: low}
        for fidelity in FIDELITIES:
            shown[f"restored, fidelity {fidelity:g}"] = match_colour(restorer.decode(latents, low, fidelity), low, "wavelet")
        restorer.latents = []
        shown[CODED] = model.decode(model.encode_pictures(truth))
        values = {name: judge.values(pictures) for name, pictures in shown.items()}
        found["ways"][way] = {
            "figures": {name: {each: level(each, one) for each, one in own.items()} for name, own in values.items()},
            "less bicubic": {
                name: {each: told(mean_estimate(one - values[BICUBIC][each])) for each, one in own.items()}
                for name, own in values.items()
                if name not in (BICUBIC, CODED)
            },
            "seconds a picture": round(seconds, 3),
        }
        found["sheet"].append([low, *(shown[f"restored, fidelity {fidelity:g}"] for fidelity in FIDELITIES), truth])
    return found


class Judgement:
    """Compares pictures with the true ones."""

    def __init__(self, model: Model, truth: Tensor, labelled: Mapping[str, Tensor], lpips: Lpips | None) -> None:
        assert model.classifier is not None
        self.truth, self.labelled, self.lpips = truth, labelled, lpips
        self.classifier = Classifier.load(model.classifier)

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """Every measure of every picture, (n,) each."""
        said = self.classifier.classify(pictures)
        return {
            "psnr": psnr(pictures, self.truth),
            "ssim": ssim(pictures, self.truth),
            "judged": judged_apart(self.classifier, pictures, self.truth),
            **({"lpips": self.lpips(pictures, self.truth)} if self.lpips else {}),
            **{head: (said[head] == right).double() for head, right in self.labelled.items()},
        }


def level(name: str, values: Tensor) -> dict[str, float]:
    """The mean with its interval: of a share Wilson's, else by bootstrap."""
    if name not in SHARES:
        return told(mean_estimate(values))
    low, high = wilson(float(values.sum()), len(values))
    return told(Estimate(float(values.mean()), low, high, len(values)))


def told(found: Estimate) -> dict[str, float]:
    """An estimate as JSON holds it."""
    return {"value": round(found.value, 5), "low": round(found.low, 5), "high": round(found.high, 5), "n": found.n}


def draw_sheet(path: Path, sides: list[list[Tensor]], rows: int = 10) -> None:
    """Columns: low, restored by rising fidelity, true; of both ways beside each other."""
    picked = torch.linspace(0, len(sides[0][0]) - 1, 2 * rows).long()
    blocks = [
        torch.cat([torch.cat([column[number] for column in side], 2) for number in picked[half::2]], 1)
        for side in sides
        for half in (0, 1)
    ]
    gap = torch.ones(3, blocks[0].shape[1], 8)
    sheet = torch.cat([part for block in blocks for part in (block, gap)][:-1], 2)
    with replacing(path) as temporary:
        pixels = sheet.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(temporary, format="PNG", optimize=True)


def table(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = []
    for way, own in found["ways"].items():
        names = list(next(iter(own["figures"].values())))
        lines += ["", f"Low {way}:" if way == "only smaller" else f"Made low {way}:", ""]
        lines += ["| | " + " | ".join(MEASURES[name] for name in names) + " |", "|---" * (len(names) + 1) + "|"]
        for kind in ("figures", "less bicubic"):
            for entrant, figures in own[kind].items():
                cells = [cell(name, figures[name], kind != "figures") for name in names]
                lines.append(f"| {entrant}{' less bicubic' if kind != 'figures' else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines).strip()


def cell(name: str, figure: Mapping[str, float], sign: bool) -> str:
    unit, digits = (100.0, 1) if name in SHARES else (1.0, 2 if name == "psnr" else 3)
    value, low, high = (f"{unit * figure[key]:{'+' if sign else ''}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out pictures of the canvas, bicubic beside restored.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--restorer", type=Path)
    parser.add_argument("--n", type=int, default=480)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    options = parser.parse_args()
    path = options.out / "restoring.json"
    if not options.table:
        model = load("canvas", device="cpu")
        file = options.restorer or restorer_of("canvas")
        if file is None:
            parser.error("the canvas has no built-in restorer; give --restorer")
        lpips = Lpips(find("lpips", {"lpips": options.lpips})) if options.lpips else None
        with torch.no_grad():
            found = measure(model, Remembering(read_restorer(file, model)), options.n, lpips, options.steps)
        options.out.mkdir(parents=True, exist_ok=True)
        draw_sheet(options.out / "restoring.png", found.pop("sheet"))
        about = {
            "n": options.n, "seed": SEED, "steps": options.steps or model.sampler.steps, "restorer": digest_file(file),
            "lpips": lpips.about if lpips else "not measured: AlexNet's weights were not given (--lpips)",
        }  # fmt: skip
        write_json(path, {**about, **found})
    print(table(read_json(path)))


if __name__ == "__main__":
    main()
