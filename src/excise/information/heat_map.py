"""Figures of a measurement: where in the picture, and at which noise level, a concept's words are still seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from excise.files import replacing
from excise.results.information import Measurement
from excise.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP = "magma"


def heat_map_figure(measurement: Measurement) -> Figure:
    """One row per picture of each measured concept: the picture, its map in the base model and in the edited one, one scale per concept.

    Maps show the orthogonal form by latent pixel: what a pixel tells about the concept's words, given the rest of the prompt.
    Raises ValueError if the measurement holds no pictures.
    """
    from matplotlib.figure import Figure

    rows = [(reading, example) for reading in measurement.concepts for example in reading.examples]
    if not rows:
        raise ValueError("this measurement holds no pictures to draw")
    columns = 1 + len(rows[0][1].maps)
    figure = Figure(figsize=(2.1 * columns + 0.6, 2.25 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (reading, example) in zip(axes, rows, strict=True):
        most = max(float(each.max()) for shown in reading.examples for each in shown.maps.values()) or 1.0
        line[0].imshow(example.picture.permute(1, 2, 0).numpy())
        line[0].set_title(visible(example.prompt).replace("$", r"\$"), fontsize=7, wrap=True)  # no mathematics
        for axis, (name, each) in zip(line[1:], example.maps.items(), strict=True):
            image = axis.imshow(each.numpy(), cmap=MAP, vmin=0, vmax=most, interpolation="nearest")
            axis.set_title(f"{name}: {float(each.sum()):.2f} nats", fontsize=7)
        figure.colorbar(image, ax=line[-1], shrink=0.8).ax.tick_params(labelsize=6)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def save_figure(figure: Figure, path: str | Path, *, overwrite: bool = True) -> None:
    """Write a figure to a .png or .svg file, all or nothing; `overwrite` as of `replacing`. Raises ValueError for another kind of file."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"{path} should end in .png or .svg")
    with replacing(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format=kind, dpi=150)
