"""Models and edits that several jobs load."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from excise.concepts import Concept, apart
from excise.edits import Edit, import_edit, load_edit
from excise.edits.importing import is_partial
from excise.evaluation.picture_counts import Extent
from excise.information.picture_sets import plain_wordings, texts_of
from excise.models import Model, load
from excise.models.checkpoint_file import contents
from excise.models.context import tell_cut
from excise.models.drawing import Drawing, Offload
from excise.models.names import resolve
from excise.progress import Progress


def read_edits(folders: Sequence[Path]) -> list[Edit]:
    """The edits in these folders, in order. Raises FileNotFoundError or ValueError."""
    return [load_edit(folder) for folder in folders]


class ModelWanted(Protocol):
    """A request for a model; see `excise.requests.fields`."""

    @property
    def model(self) -> str: ...
    @property
    def device(self) -> str | None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def drawing(self) -> Drawing: ...
    @property
    def config_from(self) -> Path | None: ...
    @property
    def offload(self) -> Offload: ...


def load_wanted(request: ModelWanted, model: str | None = None) -> Model:
    """The model that a request is about, or another in its place, which makes pictures as the request says."""
    return load(
        request.model if model is None else model,
        device=request.device,
        dtype=request.dtype,
        drawing=request.drawing,
        offload=request.offload,
        config_from=request.config_from if model is None else None,
    )


def measured_soon(request: ModelWanted, model: Model, extent: Extent) -> AbstractContextManager[None]:
    """Inside, the model makes pictures as such a measurement is to have them: for a quick one in half the steps, if nobody says how."""
    said = request.drawing.steps or request.drawing.scheduler
    return model.in_half_the_steps() if extent == "quick" and not said else nullcontext()


def tell_prompts(model: Model, targets: Sequence[Concept], *, others: bool) -> None:
    """Warn, once for all that is done with an erasure, of prompts that the model cuts: the targets', with `others` also those that measure
    it."""
    prompts = [text for concept in apart(targets) for pair in concept.pairs() for text in (pair.prompt, pair.masked)]
    if others:
        prompts += texts_of(wording for concept in model.catalog.concepts for wording in plain_wordings(concept))
    tell_cut(model, prompts)


def load_edited(
    request: ModelWanted, edits: Sequence[Edit], progress: Progress, base: str | None = None
) -> tuple[Model, list[Edit]]:
    """The model that a request is about, and its edits.

    base  what the model was made from, if it was erased elsewhere: then the base is loaded, and what makes it the other model is the edit,
          so that one network stays

    Raises ValueError for an edit that was made for another model: at once, not when the edit's turn comes.
    """
    progress("loading the model", 0, 1)
    loaded = load_wanted(request, base)
    for edit in edits:
        edit.check_base(loaded)
    found = (
        list(edits)
        if base is None
        else [difference(loaded, request.model, request.device, request.dtype, offload=request.offload)]
    )
    progress("loading the model", 1, 1)
    return loaded, found


def _rest_of(base: Model, erased: str) -> Path | None:
    """The base's folder, if the erased model is a file that needs one."""
    where = resolve(erased)
    single = isinstance(where, Path) and where.is_file() and contents(where).needs_folder
    return base.folder if single else None


def difference(
    base: Model, erased: str, device: str | None, dtype: str, concepts: Sequence[Concept] = (), *, offload: Offload = "none"
) -> Edit:
    """What makes `base` the erased model, which may be a file with some of the denoiser's tensors, or with a transformer alone."""
    if is_partial(erased, base):
        other: Any = erased
    else:
        other = load(erased, device=device, dtype=dtype, config_from=_rest_of(base, erased), offload=offload)
    return import_edit(base, other, concepts=tuple(concept.to_dict() for concept in concepts))
