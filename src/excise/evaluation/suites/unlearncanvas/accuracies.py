"""UA, IRA and CRA of UnlearnCanvas, of what two classifiers said of every picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from excise.evaluation.suites.unlearncanvas.variants import (
    OBJECTS_20,
    PLAIN,
    SEED_IMAGES,
    STYLES_51,
    CountingVariant,
    Key,
    split_target,
)
from excise.figures import Figure
from excise.resampling import macro_interval
from excise.results.suite_result import SuiteFigures

Said = Mapping[Key, tuple[str, str]]
"""What the two classifiers take a picture for: (style, object)."""


def score(
    said: Said, target: str, variant: CountingVariant, styles: Sequence[str] = STYLES_51, objects: Sequence[str] = OBJECTS_20
) -> tuple[SuiteFigures, SuiteFigures]:
    """UA, IRA and CRA (shares 0–1) of a target, and the accuracy of every retained concept by label.

    A figure of no pictures is None. Raises ValueError if the target is not among the styles and objects.
    """
    kind, name = split_target(target)
    counted = [style for style in styles if style != SEED_IMAGES or variant.seed_images]
    beside = [style for style in styles if style != SEED_IMAGES or variant.object_seed_images]
    if name not in (counted if kind == "style" else objects):
        raise ValueError(f"the target {target} is not among the {kind}s that are measured")
    avoid = (kind, name) if variant.cross_excluded else None
    plain = [PLAIN] if variant.plain else []
    where = plain if kind == "style" and plain else [*beside, *plain]

    def of_style(style: str) -> Figure | None:
        return _accuracy(said, lambda s, o: s == style and o in objects, 0, style, avoid)

    def of_object(which: str, among: Iterable[str]) -> Figure | None:
        among = set(among)
        return _accuracy(said, lambda s, o: o == which and s in among, 1, which, avoid)

    own, other = {}, {}
    if kind == "style":
        aimed = _accuracy(said, lambda s, o: s == name and o in objects, 0, name, None)
        own = {f"style:{style}": of_style(style) for style in counted if style != name}
        other = {f"object:{which}": of_object(which, where) for which in objects}
    else:
        aimed = _accuracy(said, lambda s, o: o == name and s in {*beside, *plain}, 1, name, None)
        own = {f"object:{which}": of_object(which, where) for which in objects if which != name}
        other = {f"style:{style}": of_style(style) for style in counted}
    ua = aimed and Figure.share(aimed.n - round(aimed.value * aimed.n), aimed.n)
    return {"ua": ua, "ira": macro(own), "cra": macro(other)}, {**own, **other}


def macro(accuracies: SuiteFigures) -> Figure | None:
    """Mean over concepts; None if there is none."""
    found = [figure for figure in accuracies.values() if figure]
    if not found:
        return None
    low, high = macro_interval([round(figure.value * figure.n) for figure in found], [figure.n for figure in found])
    mean = sum(figure.value for figure in found) / len(found)
    return Figure(value=mean, low=low, high=high, n=sum(figure.n for figure in found))


def _accuracy(
    said: Said, belongs: Callable[[str, str], bool], question: int, wanted: str, avoid: tuple[str, str] | None
) -> Figure | None:
    hits = n = 0
    for (style, name, _), answer in said.items():
        if belongs(style, name) and (avoid is None or avoid[1] != (style if avoid[0] == "style" else name)):
            n += 1
            hits += answer[question] == wanted
    return Figure.share(hits, n)
