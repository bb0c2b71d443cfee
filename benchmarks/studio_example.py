"""The example that the studio ships: a cat erased from the canvas by MiM-MU, cut to a small file, and measured as it is shipped.

python benchmarks/studio_example.py src/excise/studio/example
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from excise.edits import Edit, LowRank, WeightEdit
from excise.edits.manifest import EDIT
from excise.evaluation import evaluate
from excise.evaluation.picture_counts import ASKED_FOR
from excise.files import new_result, write_text
from excise.jobs.erase import erase
from excise.jobs.measure import residual
from excise.methods import get
from excise.models import load
from excise.report import before_after, edit_card, plain_words
from excise.results.erasure import ErasureResult

RANK = 16
"""Of every change; the smallest power of two that leaves the figures where those of the whole edit are."""


def small(edit: Edit) -> WeightEdit:
    """The best edit of that rank, its factors in half precision."""
    deltas = {}
    for name, delta in edit.deltas.items():
        u, s, v = torch.linalg.svd(delta.dense().double(), full_matrices=False)
        root = s[:RANK].sqrt()
        deltas[name] = LowRank((u[:, :RANK] * root).half().contiguous(), (root[:, None] * v[:RANK]).half().contiguous())
    settings = {**edit.manifest.settings, "kept_rank": RANK}
    return WeightEdit(deltas, edit.manifest.model_copy(update={"settings": settings, "measurements": {}}))


def main(folder: Path) -> None:
    """Make the example and write it to a folder."""
    made = erase("cat", device="cpu", evaluate="none")
    edit = small(made.edit)
    model = load("canvas", device="cpu")
    target, asked = model.catalog.resolve("cat"), ASKED_FOR["quick"]
    evaluation = evaluate(
        model, [target], edit, target_pictures=asked.target, other_pictures=asked.other, bystander_pictures=asked.bystanders
    )
    information = residual(model, [target], edit, budget=asked.budget).brief()
    manifest = edit.manifest
    result = ErasureResult(
        model="canvas", method="mim", concepts=tuple(manifest.names), seed=manifest.seed, dtype=manifest.dtype, device=manifest.device,
        seconds=made.result.seconds, peak_mb=made.result.peak_mb, extent="quick", evaluation=evaluation, information=information,
        told={"bytes": edit.nbytes, "rank": RANK},
    )  # fmt: skip
    edit = edit.with_manifest(manifest.model_copy(update={"measurements": result.to_dict()}))
    with new_result(folder, EDIT, overwrite=True) as new:
        edit.write(new)
        result.write(new / "result.json")
        write_text(new / "README.md", edit_card.render(edit.manifest, get("mim"), result, model="canvas", edit="example"))
        print(
            *plain_words.summary(result.concepts, result.model, result).split("; "),
            information.concepts[0].conditional,
            sep="\n",
        )
        before_after.sheet(model, edit, [target], 0, lambda stage, done, total: None).save(
            new / "before_after.png", optimize=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
