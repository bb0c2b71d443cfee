"""What is asked of a queue of removals: one request a command."""

from __future__ import annotations

import os
from datetime import date as Date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from excise.edits.manifest import EDIT
from excise.evaluation.picture_counts import Extent
from excise.files import FolderKind, check_new_file, check_ours, check_replaceable, real_path
from excise.models.drawing import AS_IT_DOES, Drawing
from excise.requests.fields import (
    Device,
    Dtype,
    Flag,
    KindName,
    Names,
    Offloaded,
    Overwrite,
    PathOrName,
    Pictures,
    PicturesOrNone,
    UserPath,
)
from excise.requests.removal_plan import PlannedStep, behind, plan
from excise.requests.removals import Queue, Strategy, empty, in_force
from excise.requests.request import Request
from excise.results.removal_ledger import RemovalLedger
from excise.settings import parse_assignments

QUEUE = FolderKind("queue.json", RemovalLedger.read, earlier=r"(?!)")
"""The folder of a queue's result: the marker is its ledger."""

RESULT = "edit"
"""The folder, in the result, with the edit that erases everything."""

QueueFile = Annotated[
    UserPath, Flag(positional=True, metavar="QUEUE.yaml"), Field(description="The file with the requests, which people keep.")
]


class QueueAddRequest(Request):
    """Add requests to the end of a queue's file, which is begun if it is not there.

    Everything else in the file stays as it is, comments too.

    Returns the queue. Raises ValueError for a concept, method or setting that there is not, or a concept that is requested already.
    """

    reports: ClassVar = False

    queue: QueueFile
    concepts: Annotated[Names, Flag(positional=True, metavar="CONCEPT")] = Field(
        min_length=1, description="What is to be erased: a request each."
    )
    kind: KindName
    also: Names = Field((), description="A further phrase that names the concept; may be given several times.")
    date: Date | None = Field(None, description="Of the request, YYYY-MM-DD; default today.")
    reason: str = Field("", description="Why, in your own words.")
    method: str | None = Field(None, description="Erasure method; default the queue's, which is mim if its file says nothing.")
    settings: Annotated[dict[str, Any], Flag("--set", metavar="KEY=VALUE", read=parse_assignments)] = Field(
        {}, description="Setting of the method."
    )
    model: PathOrName | None = Field(None, description="Model of a queue that is begun; default canvas.")
    strategy: Strategy | None = Field(None, description="Strategy of a queue that is begun; default joint.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.queue,)

    def asked(self) -> Queue:
        """The queue with the requests in it, as the file is now. Raises what the class says."""
        if self.also and len(self.concepts) > 1:
            raise ValueError("also names one concept in other words; give it with one concept at a time")
        if os.path.lexists(self.queue):
            if self.model or self.strategy:
                raise ValueError(
                    f"{self.queue} is there and says its model and strategy itself; leave them out, or change the file"
                )
            found = Queue.read(self.queue)
        else:
            found = empty(self.queue, self.model, self.strategy)
        for concept in self.concepts:
            found = found.with_request(self._entry(concept))
        found.check()
        return found

    def check(self) -> None:
        check_new_file(self.queue, overwrite=True)
        self.asked()

    def _entry(self, concept: str) -> dict[str, Any]:
        said = {
            "concept": concept, "kind": self.kind, "also": list(self.also), "date": (self.date or Date.today()).isoformat(),
            "reason": self.reason, "method": self.method, "settings": dict(self.settings), "state": "open",
        }  # fmt: skip
        return {key: value for key, value in said.items() if value}


class QueueWithdrawRequest(Request):
    """Withdraw requests: the next run gives their concepts back.

    Their state in the file becomes withdrawn; everything else in it stays as it is.

    Returns the queue. Raises ValueError for a concept that the queue does not ask to erase.
    """

    reports: ClassVar = False

    queue: QueueFile
    concepts: Annotated[Names, Flag(positional=True, metavar="CONCEPT")] = Field(
        min_length=1, description="Whose requests are withdrawn."
    )
    kind: KindName

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.queue,)

    def asked(self) -> Queue:
        """The queue with the requests withdrawn, as the file is now. Raises what the class says."""
        found = Queue.read(self.queue)
        return found.with_states(in_force(found, self.concepts, self.kind))

    def check(self) -> None:
        check_new_file(self.queue, overwrite=True)
        self.asked()


class QueueRunRequest(Request):
    """Serve a queue: erase what is open, give back what was withdrawn, and write one edit that does all of it.

    The result's folder holds the edit, the edits that it is put together from, a ledger with an entry for every request, and a page with what
    was measured after each. The same command goes on with a run that was stopped. States in the queue's file change once the result is there.

    Returns the ledger. Raises ValueError, FileNotFoundError or FileExistsError for bad input before any weight is loaded where that can be
    known; FloatingPointError if a method diverges; OSError if a file cannot be written.
    """

    queue: QueueFile
    evaluate: Extent = Field(
        "full",
        description="How much is measured after each removal, if the model brings a classifier: quick, full or none, as of excise erase.",
    )
    target_pictures: Pictures | None = Field(None, description="Pictures of each erased concept; default as evaluate says.")
    other_pictures: Pictures | None = Field(None, description="Pictures of each other concept; default as evaluate says.")
    bystander_pictures: PicturesOrNone | None = Field(
        None, description="Pictures, in all, of things that no method is told of; 0: none; default as evaluate says."
    )
    overwrite: bool = Field(False, description="Begin an erasure anew that was stopped, where it would go on.")
    device: Device
    dtype: Dtype
    offload: Offloaded

    @cached_property
    def asked(self) -> Queue:
        """The queue."""
        return Queue.read(self.queue)

    @property
    def out(self) -> Path:
        """Folder of the result."""
        return self.asked.out

    @property
    def model(self) -> str:
        """The queue's."""
        return self.asked.content.model

    @property
    def config_from(self) -> Path | None:
        """The queue's."""
        return self.asked.content.config_from

    @property
    def drawing(self) -> Drawing:
        """The model's own way."""
        return AS_IT_DOES

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        check_new_file(self.queue, overwrite=True)
        self.asked.check()
        self.asked.with_states({entry.number: "served" for entry in self.asked.wanted})  # which must be possible in the end
        if real_path(self.queue) == real_path(self.out):
            raise ValueError(f"out={self.out} is the queue's own file; choose another path")
        check_ours(self.out, QUEUE)
        check_replaceable(self.out / RESULT, EDIT, overwrite=True)
        _ = planned(self.asked)


class QueueStatusRequest(Request):
    """Show every request of a queue: what came of it, and what the next run does."""

    queue: QueueFile

    @cached_property
    def asked(self) -> Queue:
        """The queue."""
        return Queue.read(self.queue)

    def check(self) -> None:
        _ = self.asked.entries


class QueueExportRequest(Request):
    """Write the one edit of a queue's result: a folder, or a LoRA file (.safetensors).

    Raises ValueError if the result is not what the queue asks for (run it first) or erases nothing, or as `excise export` for what a LoRA
    cannot hold; FileExistsError if `to` is there and may not be replaced.
    """

    reports: ClassVar = False

    queue: QueueFile
    to: UserPath = Field(description="Folder for the edit, or a .safetensors file for a LoRA.")
    overwrite: Overwrite

    @cached_property
    def asked(self) -> Queue:
        """The queue."""
        return Queue.read(self.queue)

    @property
    def edit(self) -> Path:
        """Folder of the edit."""
        return self.asked.out / RESULT

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.to,)

    def check(self) -> None:
        ledger, steps = planned(self.asked)
        if behind(ledger, steps):
            raise ValueError(f"the result of {self.queue} is not what it asks for; run it first: excise queue run {self.queue}")
        if not steps:
            raise ValueError(f"{self.queue} asks to erase nothing; use the base model as it is")
        if self.to.suffix == ".safetensors":
            check_new_file(self.to, self.overwrite)
        else:
            check_replaceable(self.to, EDIT, self.overwrite)


def planned(queue: Queue) -> tuple[RemovalLedger | None, tuple[PlannedStep, ...]]:
    """The ledger of a queue's result (None: there is no result yet), and the edits of the next one. Raises ValueError for a damaged ledger."""
    marker = queue.out / QUEUE.marker
    ledger = RemovalLedger.read(marker) if marker.is_file() else None
    return ledger, plan(queue, ledger)
