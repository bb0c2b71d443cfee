"""What the page's buttons do. No Gradio here: a person is a text that only the browser knows, or the name that somebody signed in with."""

from __future__ import annotations

import io
import secrets
import shutil
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from excise.concepts import KINDS, Catalog, Concept
from excise.files import fitting, real_path, replacing
from excise.methods import methods
from excise.models.built_in import BUILT_IN
from excise.models.contents import is_large
from excise.models.names import describe, resolve
from excise.report import before_after
from excise.requests.audits import AUDIT
from excise.requests.edits import erased_concepts, read_manifests
from excise.requests.erase import EraseRequest
from excise.results.audit_result import AuditFile
from excise.settings import parse
from excise.studio import sights
from excise.studio.job_line import HeavyJob, JobLine
from excise.studio.private_folder import KeptEdit, PrivateFolder, example, model_name

if TYPE_CHECKING:
    from excise.studio.painter import Painter

MADE = "made"
"""Folder below the root for what browsers fetch and bring. Who knows the name of a file there may have it."""

PAIRS, FEW = 3, 1
"""Pairs of pictures of each group, and of those of a large model, which take long (ours)."""


@dataclass(frozen=True)
class Order:
    """What somebody wants erased."""

    concept: str
    kind: str | None = None
    also: str = ""
    method: str = "mim"
    evaluate: str = "quick"


@dataclass(frozen=True)
class SheetPair:
    """A pair of pictures cut out of a sheet."""

    before: bytes
    after: bytes


class Studio:
    """All that the page does.

    root     of everything that is written
    offered  models besides the built-in ones
    device   as the jobs take it
    """

    def __init__(self, root: Path, offered: Sequence[str] = (), device: str | None = None) -> None:
        self.root, self.device = real_path(root), device
        self.root.mkdir(parents=True, exist_ok=True)
        self.offered = tuple(offered)
        self.line = JobLine()
        self.beginning = threading.Lock()

    @cached_property
    def painter(self) -> Painter:
        """Made when the first picture is drawn: this loads torch."""
        with self.beginning:
            from excise.studio.painter import Painter

            return self.__dict__.setdefault("painter", Painter(self.device))

    def close(self) -> None:
        """Stop everything."""
        self.line.close()
        if "painter" in self.__dict__:
            self.painter.close()

    def folder(self, person: str) -> PrivateFolder:
        return PrivateFolder(self.root, person)

    def models(self) -> list[str]:
        """What is offered by name."""
        return [*BUILT_IN, *self.offered]

    def model(self, text: str) -> str:
        """The model that is meant; raises what `model_name` does."""
        return model_name(text, self.root, self.offered)

    def catalog(self, text: str) -> Catalog:
        """What the model declares."""
        return describe(resolve(self.model(text))).catalog

    def edits(self, person: str, model: str) -> list[KeptEdit]:
        return self.folder(person).edits(self.model(model))

    def erase(self, person: str, model: str, order: Order) -> HeavyJob:
        """Put an erasure into the line. Raises what a wrong request raises, and then nothing is made."""
        model = self.model(model)
        options: dict[str, Any] = {
            "concepts": [order.concept], "model": model, "kind": order.kind or None, "method": order.method, "evaluate": order.evaluate,
            "also": [each.strip() for each in order.also.split(",") if each.strip()], "device": self.device,
        }  # fmt: skip
        request = parse(EraseRequest, options, "choice")
        request.check()
        label = request.targets[0].name
        folder = self.folder(person).new(label, model)
        try:
            return self.line.add(person, f"Erasing {label}", "erase", {**options, "out": str(folder / "edit")}, folder)
        except ValueError:
            shutil.rmtree(folder)
            raise

    def audit(self, person: str, model: str, names: Sequence[str]) -> HeavyJob:
        """Put a quick audit of edits into the line."""
        edits = self._some(person, model, names)
        out = self._audit_folder(person, edits)
        options = {
            "edit": [str(edit.folder) for edit in edits], "model": edits[0].model, "out": str(out), "device": self.device,
            "concept": _concepts(edits, self.catalog(model))[0].label,
        }  # fmt: skip
        return self.line.add(person, f"Checking {', '.join(edit.label for edit in edits)}", "audit", options)

    def audited(self, person: str, model: str, names: Sequence[str]) -> str:
        """What a quick audit of these edits found; "" without one."""
        edits = self.folder(person).find(names, self.model(model))
        marker = self._audit_folder(person, edits) / AUDIT.marker if edits else None
        return sights.audit(AuditFile.read(marker)) if marker and marker.is_file() else ""

    def look(self, person: str, model: str, names: Sequence[str], strength: float, prompt: str = "", seed: int = 0) -> str:
        """Pictures before and after: of what is erased, of its neighbours, and of a prompt of one's own."""
        model = self.model(model)
        on, catalog = self.folder(person).find(names, model), self.catalog(model)
        shown = on or self.folder(person).edits(model)[:1]
        if not shown and not prompt.strip():
            return sights.note("Nothing is erased from this model yet. Choose what to erase, or type a prompt of your own.")
        groups = _groups(_concepts(shown, catalog), catalog, prompt.strip(), seed, FEW if is_large(resolve(model)) else PAIRS)
        asked = [each for _, _, wanted in groups for each in wanted]
        pairs = iter(self.painter.draw(model, [edit.folder for edit in on], strength, asked))
        return sights.looks(
            [
                sights.Group(title, note, [text for text, _ in wanted], [next(pairs) for _ in wanted])
                for title, note, wanted in groups
            ]
        )

    def first_look(self) -> str:
        """The pictures of the example, which nobody has to wait for."""
        edit = example()
        catalog = describe(resolve(edit.model)).catalog
        columns = before_after.panels(catalog, _concepts([edit], catalog), 0)
        groups = []
        with Image.open(edit.folder / "before_after.png") as sheet:
            for asks, title, note in _HEADINGS:
                found = [(number, panel) for number, panel in enumerate(columns) if panel.asks == asks][:PAIRS]
                pairs = [SheetPair(*(_png(before_after.cut_out(sheet, number, row)) for row in (0, 1))) for number, _ in found]
                groups.append(sights.Group(title.format("cat"), note, [panel.prompt for _, panel in found], pairs))
        return sights.looks(groups)

    def left(self, person: str, model: str, names: Sequence[str]) -> str:
        """What was measured of the edits that are on."""
        edits = self.folder(person).find(names, self.model(model))
        return sights.left([(edit.label, edit.result()) for edit in edits])

    def export(self, person: str, model: str, names: Sequence[str], strength: float) -> Path:
        """Write the edits as one LoRA file."""
        from excise.jobs.export import export

        edits = self._some(person, model, names)
        path = self._made("edit-lora.safetensors")
        export([edit.folder for edit in edits], to=path, scale=strength)
        return path

    def bundle(self, person: str, model: str, names: Sequence[str]) -> Path:
        """Write the files of the edits into one archive."""
        edits = self._some(person, model, names)
        path = self._made("edits.zip")
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for edit in edits:
                for file in sorted(edit.folder.iterdir()):
                    archive.write(file, f"{edit.name}/{file.name}")
        return path

    def report(self, person: str, model: str, names: Sequence[str]) -> str:
        """The report page of one edit, or of all of a person's if several are on."""
        from excise.jobs.report import report

        edits = self._some(person, model, names)
        folder = edits[0].folder.parent if edits[0].folder.is_relative_to(self.root) else edits[0].folder
        if len(edits) > 1:
            folder = self.folder(person).path
        return report(folder, out=self._made("report.html")).read_text(encoding="utf-8")

    def take_in(self, person: str, model: str, files: Sequence[Path]) -> str:
        """Take an edit that was uploaded, checked whole and against the model; returns its name."""
        model = self.model(model)
        folder = self.folder(person).take_in(files, model)
        try:
            self.painter.check(model, folder / "edit")
        except BaseException:
            shutil.rmtree(folder)
            raise
        return folder.name

    def progress(self, person: str) -> str:
        """How far the person's job is, and how long the line."""
        found = self.line.latest(person)
        return sights.job(found, self.line.ahead(found) if found else 0, self.line.length())

    def _some(self, person: str, model: str, names: Sequence[str]) -> list[KeptEdit]:
        if not names:
            raise ValueError("no edit is on; switch one on first")
        return self.folder(person).find(names, self.model(model))

    def _made(self, name: str) -> Path:
        """A path for a file that is handed over, in a new folder whose name nobody can guess."""
        folder = self.root / MADE / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / name

    def _audit_folder(self, person: str, edits: Sequence[KeptEdit]) -> Path:
        """Beside an edit of the person's own, so that its report shows both; otherwise apart."""
        own = self.folder(person).path
        if len(edits) == 1 and edits[0].folder.is_relative_to(own):
            return edits[0].folder.with_name("audit")
        return own / "audits" / fitting("+".join(edit.name for edit in edits))


METHODS = [(method.title, name) for name, method in sorted(methods().items())]
"""What erases, as the page lists it."""

WHAT_IT_IS = [("choose for me", ""), *((kind, kind) for kind in KINDS)]
"""What a concept may be, as the page lists it."""

HOW_MUCH = [("a little, soon", "quick"), ("much, slowly", "full"), ("not at all", "none")]
"""How much is measured, as the page lists it."""

_HEADINGS = (("erased", "{}", "should be gone"), ("kept", "Its neighbours", "should stay"))
"""What is asked for, the heading of its pictures, and a note."""


def _concepts(edits: Sequence[KeptEdit], catalog: Catalog) -> tuple[Concept, ...]:
    """What edits erase."""
    return erased_concepts(read_manifests([edit.folder for edit in edits]), catalog)


def _groups(
    targets: Sequence[Concept], catalog: Catalog, prompt: str, seed: int, most: int
) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """Heading, note, and prompts with seeds of each group of pairs."""
    found = []
    columns = before_after.panels(catalog, targets, seed) if targets else []
    for asks, title, note in _HEADINGS:
        wanted = [(each.prompt, each.seed) for each in columns if each.asks == asks]
        if wanted:
            found.append((title.format(", ".join(target.name for target in targets)), note, wanted[:most]))
    if prompt:
        found.append(("Your own words", "", [(prompt, seed + number) for number in range(most)]))
    return found


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
