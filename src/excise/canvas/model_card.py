"""What the built-in model can do, measured: `measurements.json`, the model card and the contact sheet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from excise.canvas import data
from excise.canvas.captions import with_article
from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECT_NAMES, STYLE_NAMES
from excise.canvas.flow import card as flow_card
from excise.canvas.flow.things import FURTHER
from excise.canvas.flow.two_places import FILE
from excise.canvas.judge import accuracy
from excise.evaluation import Classifier
from excise.files import write_json, write_text
from excise.models import Model, load
from excise.models.names import describe
from excise.models.sampling import Told
from excise.progress import Progress, silent
from excise.statistics import wilson

WANTED = {
    "real object": 0.98, "real style": 0.99, "generated object": 0.95, "generated style": 0.97, "generated member": 0.85,
}  # fmt: skip
"""What the shipped weights must reach."""

LAYOUTS = {
    "canvas": "Stable Diffusion's layout (CLIP text encoder, U-Net, autoencoder)",
    "canvas-flow": "Stable Diffusion 3's layout (two CLIP text encoders, MMDiT, autoencoder; no T5)",
}


def measure(
    folder: Path,
    *,
    per_pair: int = 5,
    per_member: int = 16,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure a canvas folder. What its model never met counts in no figure but those that are called "left out".

    per_pair    generated pictures of each object in each style (with an interval over all of them)
    per_member  generated pictures of each member, styles in turn
    """
    model = load(folder, device=device, dtype=dtype)
    assert model.classifier is not None
    never = frozenset(describe(folder).without)
    judge = Classifier.load(model.classifier)
    real = accuracy(judge)
    figures = {
        f"real {question}": {"value": share, "n": 4096, "ci": wilson(share * 4096, 4096)} for question, share in real.items()
    }
    began = time.perf_counter()
    figures |= _pairs(model, judge, per_pair, never, progress)
    speed = per_pair * len(OBJECT_NAMES) * len(STYLE_NAMES) / (time.perf_counter() - began)
    figures |= _members(model, judge, per_member, never, progress)
    of_flow = (folder / FILE).is_file()
    if of_flow:

        def draw(told: Told, stage: str) -> Tensor:
            return torch.cat(list(_drawn(model, told, stage, progress)))

        figures |= {name: _share(hits) for name, hits in flow_card.figures(model, folder, judge, draw).items()}
    return {
        "figures": figures,
        "unconditional": _unconditional(model, judge, 400, progress),
        "pictures_per_second": speed,
        "machine": f"{model.device.type}, {torch.get_num_threads()} threads",
        "dtype": dtype,
        "sampler": vars(model.sampler),
        "seeds": "0 and up, one per picture",
        **({"without": sorted(never)} if never else {}),
        **({"model": "canvas-flow"} if of_flow else {}),
    }


def _share(hits: Tensor) -> dict[str, Any]:
    return {"value": hits.float().mean().item(), "n": len(hits), "ci": wilson(int(hits.sum()), len(hits))}


def _drawn(model: Model, told: Told, stage: str, progress: Progress) -> Iterator[Tensor]:
    """Pictures of what is told, seeds 0 and up, a few at a time."""
    for start in range(0, len(told), 40):
        progress(stage, start, len(told))
        chunk = told[start : start + 40]
        yield model.sample(chunk, range(start, start + len(chunk)), batch=40)
    progress(stage, len(told), len(told))


def _classify(model: Model, judge: Classifier, prompts: Sequence[str], stage: str, progress: Progress) -> dict[str, Tensor]:
    said = [judge.classify(pictures) for pictures in _drawn(model, prompts, stage, progress)]
    return {question: torch.cat([each[question] for each in said]) for question in judge.names}


def _pairs(model: Model, judge: Classifier, each: int, never: frozenset[str], progress: Progress) -> dict[str, Any]:
    labels = [(o, s) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLE_NAMES)) for _ in range(each)]
    prompts = [f"a picture of {with_article(OBJECT_NAMES[o])} in {STYLE_NAMES[s]} style" for o, s in labels]
    said = _classify(model, judge, prompts, "objects in styles", progress)
    wanted = torch.tensor(labels)
    met = {
        "object": torch.tensor([OBJECT_NAMES[o] not in never for o, _ in labels]),
        "style": torch.tensor([STYLE_NAMES[s] not in never for _, s in labels]),
    }
    found = {}
    for place, question in enumerate(met):
        right = said[question] == wanted[:, place]
        found[f"generated {question}"] = _share(right[met["object"] & met["style"]])
        if not met[question].all():
            found[f"left out {question}"] = _share(right[~met[question]])
    return found


def _members(model: Model, judge: Classifier, each: int, never: frozenset[str], progress: Progress) -> dict[str, Any]:
    labels = [m for m in range(len(MEMBERS)) for _ in range(each)]
    prompts = [
        f"a picture of {with_article(GLYPHS[m])} in {STYLE_NAMES[i % len(STYLE_NAMES)]} style" for i, m in enumerate(labels)
    ]
    said = _classify(model, judge, prompts, "members", progress)
    right = said["member"] == torch.tensor(labels)
    met = torch.tensor([not never & {*MEMBERS[m], STYLE_NAMES[i % len(STYLE_NAMES)]} for i, m in enumerate(labels)])
    return {"generated member": _share(right[met])} | ({} if met.all() else {"left out member": _share(right[~met])})


def _unconditional(model: Model, judge: Classifier, count: int, progress: Progress) -> dict[str, Any]:
    """How often each class appears for the empty prompt."""
    said = _classify(model, judge, [""] * count, "empty prompt", progress)
    return {
        "n": count,
        "object": {name: int((said["object"] == i).sum()) for i, name in enumerate(judge.names["object"])},
        "style": {name: int((said["style"] == i).sum()) for i, name in enumerate(judge.names["style"])},
        "different glyphs": len(said["member"].unique()),
    }


def contact_sheet(folder: Path, out: Path, scale: int = 1) -> None:
    """Every object in every style, one picture each, seed = position: a PNG of 20 columns and 8 rows."""
    model = load(folder)
    prompts = [f"a picture of {with_article(o)} in {s} style" for s in STYLE_NAMES for o in OBJECT_NAMES]
    pictures = model.sample(prompts, range(len(prompts)), batch=40)
    rows = pictures.unflatten(0, (len(STYLE_NAMES), len(OBJECT_NAMES))).permute(0, 3, 1, 4, 2).reshape(8 * data.SIZE, -1, 3)
    sheet = Image.fromarray((rows * 255).round().byte().numpy())
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(out, optimize=True)


def write_card(folder: Path, sheet: Path, *, device: str | None, dtype: str, progress: Progress) -> dict[str, Any]:
    """Measure, and write `measurements.json` and `README.md` into the model's folder and the contact sheet elsewhere."""
    measured = measure(folder, device=device, dtype=dtype, progress=progress)
    write_json(folder / "measurements.json", measured)
    write_text(folder / "README.md", render(measured))
    contact_sheet(folder, sheet)
    return measured


def render(measured: dict[str, Any]) -> str:
    """The model card, from `measurements.json`."""
    rows = []
    for name, figure in measured["figures"].items():
        low, high = figure["ci"]
        goal = f"{100 * WANTED[name]:.0f}" if name in WANTED else ""
        rows.append(f"| {name} | {100 * figure['value']:.1f} | {100 * low:.1f}–{100 * high:.1f} | {figure['n']} | {goal} |")
    free = measured["unconditional"]
    sampler, without = measured["sampler"], ", ".join(measured.get("without", []))
    kind, of_flow = measured.get("model", "canvas"), measured.get("model") == "canvas-flow"
    others = len(GLYPHS) - len(MEMBERS) + (len(FURTHER) if of_flow else 0)
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# {kind}{f" without {without}" if without else ": a built-in model of excise" if of_flow else ": the built-in model of excise"}

A small text-to-image model in {LAYOUTS[kind]}, 64 x 64 pixels, trained from scratch on Glyph
Canvas: glyphs of Noto Color Emoji (SIL OFL 1.1), placed on soft grounds and stylised by image filters. {len(OBJECT_NAMES)} objects with
{len(MEMBERS)} members, {len(STYLE_NAMES)} styles, {others} further things that are never evaluated. It is a
test bench: it knows nothing else, and no result on it says what happens on another model.

{flow_card.origin(measured.get("without", [])) if of_flow else _origin(measured.get("without", []))}

## Measured on these weights

Per cent right, Wilson 95 % interval; `excise canvas card` writes this. Generated with {sampler["steps"]} steps, guidance
{sampler["guidance_scale"]}, in {measured.get("dtype", "float32")}; real pictures are drawn anew, none was trained on.

| what | right | interval | n | wanted |
|---|---|---|---|---|
{chr(10).join(rows)}

Sampling: {measured["pictures_per_second"]:.1f} pictures per second ({measured["machine"]}, judging included).

The empty prompt gave {free["different glyphs"]} different glyphs in {free["n"]} pictures. Objects:
{_counts(free["object"])}.
Styles: {_counts(free["style"])}.

```json
{json.dumps({"sampler": sampler, "seeds": measured["seeds"]})}
```
"""


def _origin(without: Sequence[str]) -> str:
    if not without:
        return """Rebuild it: `excise canvas train all --work WORK`, then `excise canvas assemble --work WORK --out FOLDER`. The shipped weights
are not one such run: the last part took 24,000 steps in two stretches (the rate fell to its end after 10,000 and rose again), and the text
encoder and the first 5,000 of these steps saw another numbering of a few words."""
    names, options = ", ".join(without), " ".join(f"--without '{name}'" for name in without)
    return f"""The gold standard of removing {names}: text encoder and U-Net were trained from scratch, by the canvas's recipe
and seeds, without any picture or caption that shows it; autoencoder and classifier are the canvas's own. Rebuild it:
`excise canvas train all --work WORK {options}`, then `excise canvas assemble --work WORK --out FOLDER`. *Left out* is
how often pictures that are asked to show it are taken to do so."""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
