"""Quality and alignment of pictures of everyday scenes.

A FID is compared only inside one number of prompts, one set of features and one library; the result's protocol name says the first two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from excise.evaluation.features import Clip, FeatureNetwork, Inception, folder_features
from excise.evaluation.lpips import Lpips
from excise.evaluation.quality import caveat, fid_estimate, kid_estimate, mean_estimate
from excise.evaluation.suites.answer_set import Answered, AnswerSet
from excise.evaluation.suites.coco import CocoSettings
from excise.evaluation.suites.coco.feature_files import pixels, vectors
from excise.evaluation.suites.score import Score
from excise.evaluation.weights import FoundWeights
from excise.files import at_home
from excise.progress import Progress
from excise.resampling import Estimate


@dataclass(frozen=True)
class QualityNetworks:
    """Loaded networks; None is not asked for."""

    features: FeatureNetwork
    clip: Clip | None
    lpips: Lpips | None


@dataclass
class Found:
    """What has been measured so far, what made it, and what to know of it."""

    estimates: dict[str, Estimate]
    about: dict[str, Any]
    warnings: list[str]


def load(settings: CocoSettings, found: Mapping[str, FoundWeights]) -> QualityNetworks:
    """The networks that are asked for. Raises FileNotFoundError if the folder of real pictures is not there."""
    if settings.real is not None and not at_home(settings.real).is_dir():
        raise FileNotFoundError(f"no such folder of real pictures: {settings.real}")
    clip = Clip(found["clip"]) if "clip" in found else None
    features = clip if settings.features == "clip" else Inception(found["inception_fid"])
    assert features is not None
    return QualityNetworks(features, clip if settings.clip_score else None, Lpips(found["lpips"]) if settings.lpips else None)


def score(
    settings: CocoSettings, tools: QualityNetworks, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *,
    allow_partial: bool,
) -> Score:  # fmt: skip
    """FID and KID to real pictures and to the base model's, changes of pixels, LPIPS, CLIP score: as far as they are asked for."""
    pictures = answers.check(allow_partial=allow_partial)
    own = vectors(answers, pictures, tools.features, progress).double()
    about = {"protocol_name": f"coco-{len(pictures)}-{settings.features}", **tools.features.about}
    found = Found({}, about, [text] if (text := caveat(*own.shape)) else [])
    if settings.real is not None:
        _compare_with_real(found, settings, tools, own)
    if base is not None:
        before = {picture.item.id: picture for picture in base.check(allow_partial=allow_partial)}
        _compare_with_base(found, base, before, pictures, tools, own, progress)
    if tools.clip is not None:
        prompts = [picture.item.prompt for picture in pictures]
        seen = own if tools.clip is tools.features else vectors(answers, pictures, tools.clip, progress)
        found.estimates["clip_score"] = mean_estimate(tools.clip.scores(prompts, seen))
        found.about |= {"clip": tools.clip.about, "clip_score_scale": "cosine", "prompts_cut": tools.clip.cut(prompts)}
    return Score({name: estimate.figure for name, estimate in found.estimates.items()}, {}, found.about, found.warnings)


def _compare_with_real(found: Found, settings: CocoSettings, tools: QualityNetworks, own: Tensor) -> None:
    assert settings.real is not None
    real = folder_features(settings.real, tools.features, settings.size).double()
    found.estimates |= {"fid_real": fid_estimate(real, own), "kid_real": kid_estimate(real, own)}
    found.about |= {"real": str(settings.real), "n_real": len(real), "real_resize": f"centre square, {settings.size} pixels"}
    if len(real) != len(own):
        found.warnings.append(f"FID of {len(own)} pictures to {len(real)} real ones; published tables have as many of both")


def _compare_with_base(
    found: Found, base: AnswerSet, before: Mapping[str, Answered], pictures: Sequence[Answered], tools: QualityNetworks,
    own: Tensor, progress: Progress,
) -> None:  # fmt: skip
    """The same prompts and seeds of the base model, as far as it has them."""
    pairs = [(before[picture.item.id], picture) for picture in pictures if picture.item.id in before]
    rows = [i for i, picture in enumerate(pictures) if picture.item.id in before]
    earlier = vectors(base, [one for one, _ in pairs], tools.features, progress).double()
    found.estimates["fid_base"] = fid_estimate(earlier, own[rows], paired=True)
    found.estimates["kid_base"] = kid_estimate(earlier, own[rows], paired=True)
    changes, distances = _changes(pairs, tools.lpips, progress)
    found.estimates["pixel_change"] = mean_estimate(changes)
    if distances is not None:
        found.estimates["lpips"] = mean_estimate(distances)


def _changes(
    pairs: Sequence[tuple[Answered, Answered]], lpips: Lpips | None, progress: Progress
) -> tuple[Tensor, Tensor | None]:
    """Mean change of pixels, and LPIPS, of every pair of pictures."""
    changes, distances = [], []
    for index, (one, other) in enumerate(pairs):
        progress("comparing", index, len(pairs))
        a, b = pixels(one), pixels(other)
        changes.append((a - b).abs().mean())
        if lpips is not None:
            distances.append(lpips(a[None], b[None])[0])
    progress("comparing", len(pairs), len(pairs))
    return torch.stack(changes), torch.stack(distances) if distances else None
