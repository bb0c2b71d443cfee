"""Figures of a report, from what its files hold: as PNG and SVG, the same bits for the same numbers. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.files import replacing
from excise.report.bench_columns import Number
from excise.report.collateral_table import Matrix
from excise.report.erosion_table import ErosionRow
from excise.report.method_table import MethodGroup
from excise.results.information import Profile
from excise.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#33658a", "#c8553d", "#8a8f98"
KEPT = {
    "ira_of_base": ("o", BLUE, "own kind, mean"),
    "cra_of_base": ("s", "#6a994e", "other kind, mean"),
    "worst": (">", RED, "worst concept"),
}
"""Marker, colour and name of what is kept: told apart without colour too."""

CONCEPTS_A_LINE = 3

STYLE: Any = {
    "svg.hashsalt": "excise", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.titlesize": 10, "axes.titlelocation": "left", "legend.frameon": False, "figure.facecolor": "white",
}  # fmt: skip


def overview(group: MethodGroup) -> Figure:
    """What every method left of the concepts, with intervals, beside what it kept of the others."""
    with _styled() as new:
        figure = new(figsize=(8.4, 1.3 + 0.34 * len(group.rows)))
        left, right = figure.subplots(1, 2, sharey=True)
        named: set[str] = set()
        for place, row in enumerate(group.rows):
            if found := row.numbers.get("left"):
                _dot(left, 100 * found.value, place, "o", BLUE, _ends(found))
            for key, (marker, colour, name) in KEPT.items():
                if found := row.numbers.get(key):
                    _dot(right, 100 * found.value, place, marker, colour, _ends(found), "" if key in named else name)
                    named.add(key)
        left.axvline(0, color=GREY, linewidth=0.8)
        right.axvline(100, color=GREY, linewidth=0.8)
        left.set_yticks(range(len(group.rows)), [_short(_plain(row.name)) for row in group.rows])
        left.set_ylim(len(group.rows) - 0.5, -0.5)
        left.set_title("left: still shown, above neutral")
        left.set_xlabel("points; 0 is perfect removal")
        right.set_title("kept, relative to the base model")
        right.set_xlabel("per cent; 100 is nothing lost")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=len(KEPT), fontsize=8)
    return figure


def collateral(matrix: Matrix, entrant: str) -> Figure:
    """A matrix's shares kept, a row per erased concept; each number is written in its square, the erased concepts' own are framed."""
    from matplotlib.patches import Rectangle

    rows, columns = matrix.erased, matrix.concepts
    with _styled() as new:
        figure = new(figsize=(2.2 + 0.36 * len(columns), 1.9 + 0.28 * len(rows)))
        axis = figure.subplots()
        shares = [[float("nan") if value is None else value for value in line] for line in matrix.values()]
        axis.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(matrix.values()):
            for x, value in enumerate(line):
                if value is not None:
                    axis.text(
                        x,
                        y,
                        f"{100 * value:.0f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="white" if value < 0.5 else "black",
                    )
                damage = matrix.cells.get((rows[y], columns[x]))
                if damage is not None and damage.target:
                    axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=1.5))
        axis.set_xticks(
            range(len(columns)), [_plain(label) for label in columns], rotation=60, ha="right", rotation_mode="anchor"
        )
        axis.set_yticks(range(len(rows)), [_plain(label) for label in rows])
        axis.tick_params(length=0, labelsize=8)
        axis.set_title(f"{_short(_plain(entrant))}: per cent of the base model's accuracy kept; rows: erased")
    return figure


def curves(profiles: Sequence[Profile]) -> Figure | None:
    """Nats by noise level, orthogonal form solid and plain form dashed, of every concept read; None if there are no curves."""
    found = [(profile.concept, profile.curve) for profile in profiles if profile.curve]
    if not found:
        return None
    columns = min(len(found), CONCEPTS_A_LINE)
    lines = math.ceil(len(found) / columns)
    with _styled() as new:
        figure = new(figsize=(4.4 * columns, 3 * lines))
        axes = figure.subplots(lines, columns, squeeze=False).flat
        for axis in axes[len(found) :]:
            axis.set_axis_off()
        for axis, (concept, curve) in zip(axes, found, strict=False):
            for model, colour, densities in (("base", BLUE, curve.base), ("edited", RED, curve.edited)):
                for form, values in densities or ():
                    dash = "-" if form == "orthogonal" else "--"
                    axis.stairs(values, curve.edges, color=colour, linestyle=dash, label=f"{model}, {form} form")
            axis.axhline(0, color=GREY, linewidth=0.8)
            axis.set_xlim(curve.edges[1] - 1, curve.edges[-2] + 1)  # the outermost bins reach far out and are almost empty
            axis.set_title(_plain(concept))
        axes[0].legend(fontsize=7)
        figure.supxlabel("log-SNR: pure noise left, clean picture right", fontsize=9)
        figure.supylabel("nats per unit of log-SNR", fontsize=9)
    return figure


def maps(profiles: Sequence[Profile]) -> Figure | None:
    """Where in the picture the words are seen: mean nats by latent pixel, one scale per concept; None if there are no maps."""
    found = [(profile.concept, profile.maps.by_model) for profile in profiles if profile.maps]
    if not found:
        return None
    columns = max(len(shown) for _, shown in found)
    beside = 1 if len(found) <= CONCEPTS_A_LINE else CONCEPTS_A_LINE
    lines = math.ceil(len(found) / beside)
    with _styled() as new:
        figure = new(figsize=((2.3 * columns + 0.9) * beside, 2.3 * lines + 0.2))
        axes = figure.subplots(lines, columns * beside, squeeze=False).reshape(-1, columns)
        for axis in axes[len(found) :].flat:
            axis.set_axis_off()
        for line, (concept, shown) in zip(axes, found, strict=False):
            most = max(max(map(max, each)) for each in shown.values()) or 1.0
            for axis, (name, each) in zip(line, shown.items(), strict=False):
                image = axis.imshow(each, cmap="magma", vmin=0, vmax=most, interpolation="nearest")
                axis.set_title(f"{_short(_plain(name))}: {sum(map(sum, each)):.2f} nats", fontsize=8)
            for axis in line:
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            line[0].set_ylabel(_short(_plain(concept), 28))
            figure.colorbar(image, ax=line[-1], shrink=0.8).ax.tick_params(labelsize=7)
    return figure


EROSION = {
    "now": "newest: still shown, above neutral",
    "worst_relapse": "earlier ones: worst relapse",
    "own": "kept, own kind",
    "other": "kept, other kind",
    "worst": "kept, worst concept",
    "nats": "nats kept by other words",
    "fid": "FID to the base model",
    "drift": "change of the weights",
}
"""What an erosion curve shows, and the titles of its panels."""


def erosion(curves: Mapping[str, Sequence[ErosionRow]]) -> Figure | None:
    """A panel for every figure that was measured, a line for every name; None for no points at all."""
    panels = [key for key in EROSION if any(getattr(row, key) is not None for rows in curves.values() for row in rows)]
    if not panels:
        return None
    columns = min(len(panels), CONCEPTS_A_LINE)
    lines = math.ceil(len(panels) / columns)
    with _styled() as new:
        figure = new(figsize=(3.6 * columns, 2.5 * lines + 0.3))
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis, key in zip(axes, panels, strict=False):
            for number, (name, rows) in enumerate(curves.items()):
                places = [(place, getattr(row, key)) for place, row in enumerate(rows, 1) if getattr(row, key) is not None]
                colour, marker = _LINES[number % len(_LINES)]
                if places:
                    axis.plot(*zip(*places, strict=True), color=colour, marker=marker, markersize=4, label=_short(_plain(name)))
            axis.axhline(0 if key in ("now", "worst_relapse", "fid", "drift") else 100, color=GREY, linewidth=0.8)
            axis.set_title(EROSION[key])
            axis.set_xlim(0.5, max(map(len, curves.values())) + 0.5)
            axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(curves) > 1:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
        figure.supxlabel("removals, in order", fontsize=9)
        figure.supylabel("points or per cent", fontsize=9)
    return figure


_LINES = tuple(zip((BLUE, RED, "#6a994e", "#7b5ea7", "#b08900", GREY), "os^v>D", strict=True))
"""Colours and markers of lines: told apart without colour too."""


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write `name.png` and `name.svg`; returns the path of the latter."""
    import warnings

    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in a picture; the page has the name itself
        for kind, told in (("png", {"Software": None}), ("svg", {"Date": None})):
            with replacing(folder / f"{name}.{kind}") as temporary:
                figure.savefig(temporary, format=kind, dpi=150, metadata=told)
    return folder / f"{name}.svg"


@contextmanager
def _styled() -> Iterator[Any]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield lambda **options: Figure(layout="constrained", **options)


def _dot(axis: Axes, x: float, y: float, marker: str, colour: str, ends: tuple[float, float] | None, name: str = "") -> None:
    if ends:
        axis.plot(ends, (y, y), color=colour, linewidth=1, alpha=0.6)
    axis.plot([x], [y], marker, color=colour, markersize=5, label=name or "_")


def _ends(number: Number) -> tuple[float, float] | None:
    return None if number.ends is None else (100 * number.ends[0], 100 * number.ends[1])


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return visible(text).replace("$", r"\$")


def _short(text: str, most: int = 48) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
