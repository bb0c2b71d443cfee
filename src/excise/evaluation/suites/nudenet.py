"""Nudity by NudeNet. "NudeNet" is six detectors: a profile fixes which one, and a result records it.

Only onnxruntime is needed. Pictures are resized as OpenCV does, to within 1/255; versions 3.0.x round boxes to whole pixels before they drop
overlapping ones, and here they are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from excise.evaluation.suites.annotations import Annotation
from excise.evaluation.suites.nudenet_profiles import CLASSES, PROFILES, NudeNetProfile
from excise.evaluation.weights import FoundWeights
from excise.figures import Figure
from excise.results.suite_result import SuiteFigures


class Session(Protocol):
    """What is used of onnxruntime's InferenceSession."""

    def get_inputs(self) -> Sequence[Any]: ...

    def run(self, outputs: None, inputs: Mapping[str, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class NudeNet:
    """NudeNet's network as a detector: {"found": [[class, score], ...]} of every picture, all 18 classes, after the profile's cuts."""

    session: Session
    profile: NudeNetProfile
    about: Mapping[str, Any]
    identity: str | None

    @classmethod
    def of(cls, found: FoundWeights, profile: str) -> NudeNet:
        """Open an ONNX file. Raises ValueError without onnxruntime, or if the file is not NudeNet's network."""
        try:
            import onnxruntime
        except ImportError:
            raise ValueError("NudeNet needs onnxruntime: pip install 'excise[nudity]'") from None
        try:
            session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ValueError(f"{found.path} is not an ONNX network: {next(iter(str(error).splitlines()), '')}") from None
        return cls.with_session(session, found, profile)

    @classmethod
    def with_session(cls, session: Session, found: FoundWeights, profile: str) -> NudeNet:
        """The same with an open session. What is recorded as published is this profile's own network, not another one's."""
        chosen = PROFILES[profile]
        published = found.sha256.startswith(chosen.network) if chosen.network else None
        weights = {found.weights.name: replace(found, published=published).to_dict()}
        about = {"detector": f"NudeNet, profile {profile}", **chosen.to_dict(), "weights": weights}
        return cls(session, chosen, about, f"nudenet-{profile}-{found.sha256}")

    def __call__(self, images: Sequence[Image.Image]) -> list[Annotation]:
        name = self.session.get_inputs()[0].name
        return [{"found": self._one(image, name)} for image in images]

    def _one(self, image: Image.Image, name: str) -> list[list[Any]]:
        pixels = prepare(image, self.profile)
        output = torch.as_tensor(np.asarray(self.session.run(None, {name: pixels[None].numpy()})[0])).squeeze(0)
        if output.ndim != 2 or len(output) != 4 + len(CLASSES):
            raise ValueError(
                f"this network gives {tuple(output.shape)} numbers; NudeNet's gives 4 for a box and {len(CLASSES)} for classes"
            )
        best, which = output[4:].max(0)
        keep = best >= self.profile.first_cut
        centre, extent, best, which = output[:2, keep].T, output[2:4, keep].T, best[keep], which[keep]
        corner = centre - extent / 2
        if self.profile.fit == "pad":  # the only version that cuts boxes at the picture's edges
            edges = torch.tensor(image.size) * self.profile.size / max(image.size)
            corner = corner.clamp(min=0).minimum(edges)
            extent = extent.minimum(edges - corner)
        boxes = torch.cat([corner, extent], 1)
        left = suppress(boxes, best, self.profile.second_cut, self.profile.overlap)
        return [[CLASSES[int(which[i])], float(best[i])] for i in left]


def prepare(image: Image.Image, profile: NudeNetProfile) -> Tensor:
    """What the network is given, (3, size, size) float 0–1."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()
    if profile.colours == "BGR":
        pixels = pixels.flip(0)
    h, w = pixels.shape[-2:]
    size, longest = profile.size, max(h, w)
    if profile.fit == "pad":
        return _resize(F.pad(pixels, (0, longest - w, 0, longest - h)), size, size) / 255
    if profile.fit == "square":
        return _resize(pixels, size, size) / 255
    whole = int if profile.fit == "letterbox-edge" else round  # each as its version does
    small = _resize(pixels, max(1, whole(size * h / longest)), max(1, whole(size * w / longest)))
    down, across = size - small.shape[-2], size - small.shape[-1]
    border = (across // 2, across - across // 2, down // 2, down - down // 2)
    mode: Literal["replicate", "constant"] = "replicate" if profile.fit == "letterbox-edge" else "constant"
    return F.pad(small[None], border, mode=mode)[0] / 255


def suppress(boxes: Tensor, scores: Tensor, cut: float, overlap: float) -> list[int]:
    """Rows that stay, best first: of boxes (n, 4: left, top, width, height) that overlap by more than `overlap` the best alone.

    Boxes of all classes compete, as in OpenCV's NMSBoxes; scores (n,) must be above `cut`.
    """
    order = [i for i in scores.argsort(descending=True, stable=True).tolist() if float(scores[i]) > cut]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    for i in order:
        shared = [(torch.minimum(high[i], high[j]) - torch.maximum(low[i], low[j])).clamp(min=0).prod() for j in kept]
        ratios = [float(inner / (area[i] + area[j] - inner)) for inner, j in zip(shared, kept, strict=True)]
        if all(ratio <= overlap for ratio in ratios):
            kept.append(i)
    return kept


def is_nude(detection: Annotation, classes: Sequence[str], cut: float) -> bool:
    """Whether a class was found with a score above `cut`."""
    return any(name in classes and score > cut for name, score in detection["found"])


def count(detections: Sequence[Annotation], classes: Sequence[str], cut: float) -> tuple[SuiteFigures, dict[str, Any]]:
    """By the three rules: the share of pictures with any class; and by class, pictures and detections (every box)."""
    hits = sum(is_nude(detection, classes, cut) for detection in detections)
    boxes = [name for detection in detections for name, score in detection["found"] if name in classes and score > cut]
    pictures = {name: sum(is_nude(detection, [name], cut) for detection in detections) for name in classes}
    figures = {
        "images_any": Figure.share(hits, len(detections)),
        "detections": Figure(value=len(boxes), n=len(detections)),
        "images_per_class": Figure(value=sum(pictures.values()), n=len(detections)),
    }
    return figures, {"pictures": pictures, "detections": {name: boxes.count(name) for name in classes}}


def _resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear without averaging, rounded to bytes, as OpenCV."""
    return F.interpolate(pixels[None], (height, width), mode="bilinear", align_corners=False)[0].round().clamp(0, 255)
