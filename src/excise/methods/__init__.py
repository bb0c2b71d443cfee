"""The registry of erasure methods: one folder each in this package; adding a folder is enough.

A folder's `__init__.py` declares a `Method`: what it is called and what can be set, without torch. Its `erase.py` does the work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.concepts import Concept
from excise.edits.manifest import Kind
from excise.finite import WEAKER
from excise.models.context import check_read
from excise.models.families import Offer, check_offers
from excise.models.names import resolve
from excise.registry import Registry
from excise.settings import Settings, parse_settings

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.erasure.run import Run
    from excise.models import Model


@dataclass(frozen=True)
class Method:
    """A published algorithm: (model, concepts, settings, run) -> edit.

    paper    where it was published
    settings what can be set
    run      where its function stands
    hardens  whether it also erases what showed a concept in an audit (`Run.counterexamples`)
    shares   whether several processes can share its learning (`models.team`): gradients are made by `erasure.training.train` alone
    solves   whether it has a closed form, in which its earlier edits on a model are solved again with the new one
    kind     of its edits: changes of weights, or adapters
    needs    what a model's family must offer
    """

    name: str
    title: str
    paper: str
    settings: type[Settings]
    run: Callable[..., Edit]
    hardens: bool = False
    shares: bool = False
    solves: bool = False
    kind: Kind = "weights"
    needs: tuple[Offer, ...] = ()

    def check_model(self, model: str | Path) -> None:
        """Raise ValueError for a model, by name or path, whose family lacks what the method needs. No weight is loaded."""
        check_offers(resolve(model), f"method {self.name!r}", self.needs)

    def parse(self, values: Mapping[str, Any]) -> Settings:
        """Its settings from plain values. Raises ValueError in one line that names every wrong key or value, with the nearest known key."""
        return parse_settings(self.settings, values, f"method {self.name!r}", f"setting of {self.name}")

    def erase(self, model: Model, concepts: Sequence[Concept], settings: Any, run: Run) -> Edit:
        """Erase concepts; the edits that are on the model count as its starting point. Checkpoints are told what run they belong to.

        Raises ValueError for a concept that is longer than the model reads, FloatingPointError if the method or its edit leaves the range of
        floats.
        """
        check_read(model, concepts)
        settings = for_model(settings, model)
        run = replace(run, all_read=model.release_unedited)
        if run.checkpoint is not None:  # large models take a while to be told apart
            run = replace(run, task=json.dumps(task(self.name, model, concepts)))
        try:
            edit = self.run(model, concepts, settings, run)
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise FloatingPointError(f"{self.name} left the range of floats ({error}); {WEAKER}") from error
        edit.check_finite()
        return edit


def for_model(settings: Settings, model: Model) -> Settings:
    """Settings for a model, where they say nothing else.

    Defaults are made for samplers of many steps. States of a model that draws in few without guidance are those of its own sampler. A model
    whose tokens enter by one layer alone has the defaults of such a one (`Settings.one_entrance`).
    """
    own = {"sampler_steps": model.sampler.steps, "guidance_scale": model.sampler.guidance_scale} if model.few_steps else {}
    own |= settings.one_entrance if len(model.entrances_of("tokens")) == 1 else {}
    return settings.model_copy(
        update={
            name: value for name, value in own.items() if name in type(settings).model_fields.keys() - settings.model_fields_set
        }
    )


def task(name: str, model: Model, concepts: Sequence[Concept]) -> dict[str, Any]:
    """What, beside settings and seed, must be the same for a run to go on to the same bits, by what an error calls it."""
    from excise.digests import digest_values
    from excise.edits.applied import base_fingerprint
    from excise.models.fingerprint import surroundings
    from excise.versions import versions

    return {
        "method": name,
        "concepts": [concept.to_dict() for concept in concepts],
        "wordings": digest_values([[[c.templates, c.contexts] for c in concepts], asdict(model.catalog)]),
        "base": base_fingerprint(model),
        **surroundings(model),
        "sampler": asdict(model.sampler),
        "dtype": model.precision,
        "device": model.device.type,
        "versions": versions(),
    }


METHODS: Registry[Method] = Registry(Method, "method", __name__)


def methods() -> dict[str, Method]:
    """Every method by name, sorted."""
    return METHODS.entries


def get(name: str) -> Method:
    """The method of that name. Raises ValueError with the nearest match."""
    return METHODS.get(name)
