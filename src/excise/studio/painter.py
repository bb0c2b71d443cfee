"""Pictures while somebody waits: the model stays loaded, and the base model's pictures are kept. All of it happens in one thread."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from excise.edits import Edit, load_edit
from excise.jobs.generate import pictures
from excise.models import Model, load

T = TypeVar("T")
Asked = tuple[str, int]
"""Prompt and seed."""

KEPT = 256
"""Pictures of base models that are kept (ours): some ten looks, a few MB."""

EDGE = 384
"""Pixels of a shown picture's edge, at most (ours): a page of large ones would weigh many MB."""


@dataclass(frozen=True)
class Pair:
    """What one prompt and seed give before and after, as PNG."""

    before: bytes
    after: bytes


class Painter:
    """Draws with one model at a time; another one takes its place."""

    def __init__(self, device: str | None) -> None:
        self.device = device
        self.thread = ThreadPoolExecutor(1, "painter")
        self.name: str | None = None
        self.model: Model | None = None
        self.kept: OrderedDict[Asked, bytes] = OrderedDict()

    def draw(self, model: str, edits: Sequence[Path], strength: float, wanted: Sequence[Asked]) -> list[Pair]:
        """Pairs of pictures, in the order in which they are asked for. Raises what loading a model or an edit raises."""
        return self._in_thread(lambda: self._draw(model, edits, strength, wanted))

    def check(self, model: str, edit: Path) -> None:
        """Read an edit whole, and raise ValueError if it is damaged or of another model."""
        self._in_thread(lambda: load_edit(edit).check_base(self._loaded(model)))

    def close(self) -> None:
        self.thread.shutdown(cancel_futures=True)

    def _in_thread(self, act: Callable[[], T]) -> T:
        return self.thread.submit(act).result()

    def _draw(self, name: str, edits: Sequence[Path], strength: float, wanted: Sequence[Asked]) -> list[Pair]:
        model = self._loaded(name)
        read = [load_edit(folder) for folder in edits] if strength else []
        base = self._base(model, wanted)
        edited = _drawn(model, read, strength, wanted) if read else base
        return [Pair(*both) for both in zip(base, edited, strict=True)]

    def _loaded(self, name: str) -> Model:
        if self.model is None or self.name != name:
            self.model = self.name = None  # two at once may not fit
            self.kept.clear()
            self.model = load(name, device=self.device)
            self.name = name
        return self.model

    def _base(self, model: Model, wanted: Sequence[Asked]) -> list[bytes]:
        """Pictures without edits, made unless they are kept."""
        missing = [asked for asked in dict.fromkeys(wanted) if asked not in self.kept]
        self.kept |= zip(missing, _drawn(model, [], 1.0, missing), strict=True)
        found = [self.kept[asked] for asked in wanted]
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        return found


def _drawn(model: Model, edits: Sequence[Edit], strength: float, wanted: Sequence[Asked]) -> list[bytes]:
    return [_png(picture) for picture in pictures(model, edits, strength, wanted)]


def _png(picture: Image.Image) -> bytes:
    """A picture's file; a large one is shrunk."""
    file = io.BytesIO()
    if picture.width > EDGE:
        picture = picture.resize((EDGE, EDGE), Image.Resampling.LANCZOS)
    picture.save(file, format="PNG")
    return file.getvalue()
