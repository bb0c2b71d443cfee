"""COCO prompts: are the pictures of everything else as good as they were? FID and KID, to real pictures and to the base model's; CLIP score.

A FID is compared only inside one number of prompts, one set of features and one library; the result's protocol name says the first two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from excise.evaluation.suites.prompt_file import PromptItem, read_prompts, to_items
from excise.evaluation.suites.suite import Figure, Score, Suite, register
from excise.evaluation.weights import find
from excise.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from excise.evaluation.features import Clip, FeatureNetwork
    from excise.evaluation.lpips import Lpips
    from excise.evaluation.suites.answer_set import Answered, AnswerSet
    from excise.progress import Progress
    from excise.resampling import Estimate


class CocoSettings(Settings):
    """Seeds come from the prompt file, guidance too if it has them."""

    prompts: Path = Field(description="CSV file: prompt, evaluation_seed")
    real: Path | None = Field(None, description="folder of real pictures of the same prompts")
    features: Literal["inception", "clip"] = Field("inception", description="what FID and KID are measured on")
    clip_score: bool = Field(True, description="also how well pictures fit their prompts, by CLIP")
    lpips: bool = Field(False, description="also LPIPS to the base model's pictures")
    limit: int | None = Field(None, ge=1, description="take the first prompts only")
    steps: int = Field(50, ge=1, description="of the sampler")
    size: int = Field(512, ge=8, description="edge of the pictures in pixels")


@dataclass(frozen=True)
class Tools:
    """Loaded networks; None is not asked for."""

    network: FeatureNetwork
    clip: Clip | None
    lpips: Lpips | None


@register
class Coco(Suite):
    """Quality and alignment on prompts of everyday scenes."""

    name = "coco"
    title = "COCO prompts: FID, KID and CLIP score of everything else"
    source = "arXiv:1405.0312"
    settings = CocoSettings
    weights = ("inception_fid", "clip", "lpips")
    files = "prompts=FILE.csv, and real=FOLDER of pictures if FID is to be to real ones"

    def items(self, settings: CocoSettings) -> list[PromptItem]:
        rows = read_prompts(settings.prompts)[: settings.limit]
        return to_items(rows, steps=settings.steps, size=settings.size)

    def tools(self, settings: CocoSettings, weights: Mapping[str, str | Path]) -> Tools:
        names = {"inception_fid" if settings.features == "inception" else "clip"}
        names |= {"clip"} if settings.clip_score else set()
        names |= {"lpips"} if settings.lpips else set()
        found = {name: find(name, weights) for name in sorted(names)}
        if settings.real is not None and not settings.real.expanduser().is_dir():
            raise FileNotFoundError(f"no such folder of real pictures: {settings.real}")
        from excise.evaluation.features import Clip, Inception
        from excise.evaluation.lpips import Lpips

        clip = Clip(found["clip"]) if "clip" in found else None
        network = clip if settings.features == "clip" else Inception(found["inception_fid"])
        assert network is not None
        return Tools(network, clip if settings.clip_score else None, Lpips(found["lpips"]) if settings.lpips else None)

    def score(
        self, settings: CocoSettings, tools: Any, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *,
        allow_partial: bool,
    ) -> Score:  # fmt: skip
        from excise.evaluation.quality import caveat, fid_estimate, kid_estimate, mean_estimate
        from excise.evaluation.suites.feature_files import vectors

        pictures = answers.check(allow_partial=allow_partial)
        own = vectors(answers, pictures, tools.network, progress).double()
        found: dict[str, Estimate] = {}
        about: dict[str, Any] = {"protocol_name": f"coco-{len(pictures)}-{settings.features}", **tools.network.about}
        warnings = [text] if (text := caveat(*own.shape)) else []
        if settings.real is not None:
            from excise.evaluation.features import folder_features

            real = folder_features(settings.real, tools.network, settings.size).double()
            found |= {"fid_real": fid_estimate(real, own), "kid_real": kid_estimate(real, own)}
            about |= {"real": str(settings.real), "n_real": len(real), "real_resize": f"centre square, {settings.size} pixels"}
            if len(real) != len(own):
                warnings.append(f"FID of {len(own)} pictures to {len(real)} real ones; published tables have as many of both")
        if base is not None:
            before = {picture.item.id: picture for picture in base.check(allow_partial=allow_partial)}
            pairs = [(before[picture.item.id], picture) for picture in pictures if picture.item.id in before]
            rows = [i for i, picture in enumerate(pictures) if picture.item.id in before]
            earlier = vectors(base, [one for one, _ in pairs], tools.network, progress).double()
            found["fid_base"] = fid_estimate(earlier, own[rows], paired=True)
            found["kid_base"] = kid_estimate(earlier, own[rows], paired=True)
            changes, distances = _changes(pairs, tools.lpips, progress)
            found["pixel_change"] = mean_estimate(changes)
            if distances is not None:
                found["lpips"] = mean_estimate(distances)
        if tools.clip is not None:
            prompts = [picture.item.prompt for picture in pictures]
            seen = own if tools.clip is tools.network else vectors(answers, pictures, tools.clip, progress)
            found["clip_score"] = mean_estimate(tools.clip.scores(prompts, seen))
            about |= {"clip": tools.clip.about, "clip_score_scale": "cosine", "prompts_cut": tools.clip.cut(prompts)}
        return Score({name: _figure(estimate) for name, estimate in found.items()}, {}, about, warnings)


def _changes(
    pairs: Sequence[tuple[Answered, Answered]], lpips: Lpips | None, progress: Progress
) -> tuple[Tensor, Tensor | None]:
    """Mean change of pixels, and LPIPS, of every pair of pictures."""
    import torch

    from excise.evaluation.suites.feature_files import pixels

    changes, distances = [], []
    for index, (one, other) in enumerate(pairs):
        progress("comparing", index, len(pairs))
        a, b = pixels(one), pixels(other)
        changes.append((a - b).abs().mean())
        if lpips is not None:
            distances.append(lpips(a[None], b[None])[0])
    progress("comparing", len(pairs), len(pairs))
    return torch.stack(changes), torch.stack(distances) if distances else None


def _figure(estimate: Estimate) -> Figure:
    import math

    ends = (estimate.low, estimate.high)
    return Figure(estimate.value, estimate.n, ends if all(math.isfinite(end) for end in ends) else None)
