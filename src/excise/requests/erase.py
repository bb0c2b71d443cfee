"""What an erasure is asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.checkpoints import Workplace
from excise.files import check_new_file
from excise.methods import Method, get, methods
from excise.models.names import Description, describe, resolve
from excise.quoting import quoted
from excise.requests.audits import Audited, read_audits
from excise.requests.drawn import Drawn
from excise.requests.fields import (
    Devices,
    Flag,
    HowMuch,
    JsonFile,
    KindName,
    Names,
    Overwrite,
    Seed,
    UserPath,
    UserPaths,
    on_disk,
)
from excise.settings import Settings, parse_assignments


class EraseRequest(Drawn):
    """Erase concepts: writes the edit, its measurements, a card and a before/after picture into a folder.

    The folder holds edit.safetensors, edit.json, result.json, README.md and before_after.png. A run that was stopped goes on with `resume`:
    on the CPU, with as many threads, to the same bits.

    Raises ValueError, TypeError, FileNotFoundError or FileExistsError for bad input before any weight is loaded where that can be known;
    FloatingPointError if the method diverges; OSError if a file cannot be written.
    """

    concepts: Annotated[Names, Flag(positional=True, metavar="CONCEPT")] = Field(
        (), description="What to erase: cat, style:sketch, member:owl, ...; free text for models without a list."
    )
    kind: KindName
    also: Names = Field((), description="A further phrase that names the concept; may be given several times.")
    method: str = Field("mim", description="Erasure method; see: excise list methods.")
    harden: UserPaths = Field((), description="Folder of an audit: what showed the concept there is erased too.")
    out: UserPath | None = Field(None, description="Folder for the result; default out/CONCEPT, and none in Python.")
    seed: Seed
    settings: Annotated[dict[str, Any], Flag("--set", metavar="KEY=VALUE", read=parse_assignments)] = Field(
        {}, description="Setting of the method; --dry-run shows the keys, and preset=NAME chooses a published set."
    )
    devices: Devices
    low_memory: bool = Field(
        False,
        description="Learn with less memory, and a third more work or so: what gradients need is computed again. Closed forms need none.",
    )
    resume: bool = Field(False, description="Go on with the run that was stopped.")
    overwrite: Overwrite
    evaluate: HowMuch
    json_file: JsonFile

    @cached_property
    def described(self) -> Description:
        """The model, as far as its folder says without weights."""
        return describe(resolve(self.model))

    @cached_property
    def targets(self) -> tuple[Concept, ...]:
        """The concepts. Raises ValueError for a name that the model does not have, or one that is given twice."""
        found = tuple(self.described.catalog.resolve(text, self.kind, self.also) for text in self.concepts)
        labels = [concept.label for concept in found]
        if len(set(labels)) < len(labels):
            raise ValueError(f"a concept is named twice: {', '.join(labels)}")
        return found

    @cached_property
    def chosen(self) -> Method:
        """The method of that name."""
        return get(self.method)

    @cached_property
    def parsed(self) -> Settings:
        """The settings of the method."""
        return self.chosen.parse(self.settings)

    @cached_property
    def audits(self) -> tuple[Audited, ...]:
        """The audits to harden against. Raises ValueError for a method that takes none."""
        if self.harden and not self.chosen.hardens:
            able = ", ".join(name for name, other in methods().items() if other.hardens)
            raise ValueError(f"method {quoted(self.method)} takes no audit to harden against; those that do: {able}")
        return read_audits(self.harden, self.targets)

    @property
    def workplace(self) -> Workplace | None:
        """Where the run keeps what it has done; None if nothing is written."""
        return None if self.out is None else Workplace(self.out)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out, on_disk(self.json_file))

    def _check_devices(self) -> None:
        if self.devices and self.device:
            raise ValueError("devices names all that share the work; leave device out")
        if len(self.devices) > 1 and not self.chosen.shares:
            able = ", ".join(name for name, other in methods().items() if other.shares)
            raise ValueError(f"method {quoted(self.method)} cannot be shared by several devices; those that can: {able}")

    def check(self) -> None:
        super().check()
        if not self.concepts:
            raise ValueError("name at least one concept to erase, for example: cat")
        if self.also and len(self.concepts) > 1:
            raise ValueError("also names one concept in other words; give it with one concept at a time")
        if self.resume and self.out is None:
            raise ValueError("resume needs out: the checkpoint lies beside the result's folder")
        _ = self.targets, self.parsed, self.audits
        self.chosen.check_model(self.model)
        self._check_devices()
        if self.workplace is not None:
            self.workplace.check(resume=self.resume, overwrite=self.overwrite)
        check_new_file(on_disk(self.json_file), self.overwrite)
