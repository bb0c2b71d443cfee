"""Does an edit harm a task that rides on the model and never names the concept? Super-resolution, base beside edited.

The restorer was trained on the base model and stays as it is. True pictures are made low once; base and edited model restore them from the same
noise, for the empty prompt. No change in pictures without the concept: nothing is lost for the task. A fall there is damage in the
unconditional branch, which no prompt shows. A fall in pictures of the concept alone: what the model knows of its looks was reduced, and words
were not only led elsewhere. As a control the same is done with Gaussian noise in the weights that the edit changes, of its norm in each tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import Dense, Edit, WeightEdit, all_applied, original_tensors
from excise.evaluation.classifier import Classifier
from excise.evaluation.likeness import judged_apart, psnr, ssim
from excise.evaluation.lpips import Lpips
from excise.evaluation.prompt_grid import APART
from excise.evaluation.quality import mean_estimate
from excise.evaluation.true_pictures import TruePictures, draw_pictures, groups_of, sorted_pictures
from excise.figures import Figure
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.progress import Progress, silent
from excise.randomness import stream
from excise.restoration.degradation import enlarge, shrink
from excise.restoration.options import COLOUR, FIDELITY
from excise.restoration.restorer import Restorer
from excise.restoration.tiled_sampling import Tiling, restore
from excise.results.downstream_result import Downstream, DownstreamGroup, Group, Likeness
from excise.results.upscaled import UpscaleSettings

SCALE, BATCH = 4, 32


def downstream(
    model: Model,
    restorer: Restorer,
    targets: Sequence[Concept],
    edits: Sequence[Edit],
    *,
    restorer_digest: str,
    pictures: int,
    seed: int = 0,
    real: Path | None = None,
    lpips: Lpips | None = None,
    progress: Progress = silent,
) -> Downstream:
    """Measure the task with a model, with edits on it, and with noise in their place.

    model    without edits; brings a classifier and a catalog
    targets  what was erased
    pictures of each group, as far as `real` has so many
    real     a folder of true pictures, sorted by what the classifier sees in them; None: the base model's own pictures of prompts

    Raises ValueError if the folder shows none of a group.
    """
    assert model.classifier is not None
    classifier = Classifier.load(model.classifier)
    kinds = groups_of(model, targets)
    if real is None:
        true = draw_pictures(model, classifier, kinds, pictures, seed * APART, progress)
    else:
        true = sorted_pictures(real, classifier, kinds, pictures)
    low = enlarge(shrink(true.pictures, stream(seed, "low pictures"), SCALE), SCALE)
    noise = weight_noise(model, edits, seed)

    def values(shown: Tensor) -> dict[str, Tensor]:
        return _values(shown, true, classifier, lpips)

    def restored(stage: str, *on: Edit) -> dict[str, Tensor]:
        with all_applied(model, on):
            return values(_restored(model, restorer, low, seed * APART, stage, progress))

    found = {"low": values(low), "base": restored("restored by the base model"), "edited": restored("restored, edited", *edits)}
    if noise is not None:
        found["noise"] = restored("restored, with noise", noise)
    tiling = Tiling.of(model, None, None)
    return Downstream(
        groups=tuple(_group(group, true, found) for group in kinds if len(true.rows(group))),
        pictures="the base model's own" if real is None else str(real),
        settings=UpscaleSettings(
            restorer=restorer_digest, scale=SCALE, steps=model.sampler.steps, scheduler=type(model.pipeline.scheduler).__name__,
            fidelity=FIDELITY, colour=COLOUR, tile=tiling.tile * model.grain, overlap=tiling.overlap * model.grain,
        ),
        note="" if noise is not None else "no control with noise: the edit changes no weights",
        lpips=None if lpips is None else str(lpips.about["sha256"]),
    )  # fmt: skip


@torch.no_grad()
def weight_noise(model: Model, edits: Sequence[Edit], seed: int) -> WeightEdit | None:
    """Gaussian noise in every tensor that the edits change, with the norm of their change of it; None if they change none."""
    with all_applied(model, edits):
        before, now = original_tensors(model), named_tensors(model)
        norms = {
            name: float((now[name].float() - before[name].float()).norm()) for name in {n for e in edits for n in e.deltas}
        }
        changes = {}
        for name in sorted(norms):
            noise = torch.randn(before[name].shape, generator=stream(seed, "weight noise", name))
            changes[name] = Dense(noise * (norms[name] / noise.norm()))
    return WeightEdit(changes, edits[0].manifest) if changes else None


def _restored(model: Model, restorer: Restorer, low: Tensor, first: int, stage: str, progress: Progress) -> Tensor:
    parts = []
    for start in range(0, len(low), BATCH):
        progress(stage, start, len(low))
        parts.append(restore(model, restorer, low[start : start + BATCH], fidelity=FIDELITY, colour=COLOUR, seed=first + start))
    progress(stage, len(low), len(low))
    return torch.cat(parts)


def _values(shown: Tensor, true: TruePictures, classifier: Classifier, lpips: Lpips | None) -> dict[str, Tensor]:
    """Every measure of every picture, (n,) float64 each."""
    said = classifier.classify(shown)
    seen = [int(said[each.head][number]) == each.index for number, each in enumerate(true.shows)]
    found = {
        "psnr": psnr(shown, true.pictures),
        "ssim": ssim(shown, true.pictures),
        "apart": judged_apart(classifier, shown, true.pictures),
        **({"lpips": lpips(shown, true.pictures)} if lpips else {}),
        "recognised": torch.tensor(seen),
    }
    return {name: each.double() for name, each in found.items()}


def _group(group: Group, true: TruePictures, found: Mapping[str, Mapping[str, Tensor]]) -> DownstreamGroup:
    rows = true.rows(group)
    own = {who: {name: each[rows] for name, each in values.items()} for who, values in found.items()}
    levels = {who: _likeness(values) for who, values in own.items()}
    changes = {
        name: _likeness({each: own[who][each] - own["base"][each] for each in own[who]}, paired=True)
        for who, name in (("edited", "change"), ("noise", "noise_change"))
        if who in own
    }
    concepts = tuple(dict.fromkeys(true.shows[row].label for row in rows.tolist()))
    return DownstreamGroup(group=group, concepts=concepts, n=len(rows), **levels, **changes)


def _likeness(values: Mapping[str, Tensor], paired: bool = False) -> Likeness:
    """Means with their intervals: bootstrap over pictures, of a share Wilson's. Where no picture's answer changed, resampling sees no chance,
    and the change of the share has none."""
    figures: dict[str, Figure | None] = {name: mean_estimate(each).figure for name, each in values.items()}
    seen = values["recognised"]
    if not paired:
        figures["recognised"] = Figure.share(int(seen.sum()), len(seen))
    elif not seen.any():
        figures["recognised"] = Figure(value=0.0, n=len(seen))
    return Likeness.model_validate(figures)
