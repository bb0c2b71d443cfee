"""What an audit is asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise.attacks import Chosen, choose
from excise.concepts import Concept
from excise.files import CRASH, check_ours, fitting, real_path
from excise.models.families import family_of
from excise.models.names import Description, check_never_saw, describe, resolve
from excise.requests.audits import AUDIT
from excise.requests.drawn import Drawn
from excise.requests.edits import erased_concepts, read_manifests
from excise.requests.fields import (
    BaseName,
    Evaluations,
    Flag,
    KindName,
    Names,
    Overwrite,
    PathOrName,
    Pictures,
    Seed,
    UserPath,
    UserPaths,
    words,
)
from excise.requests.wordings_file import WORDING, read_wordings

ENDINGS = (".json", ".png", ".safetensors")
"""Of an attack's files."""


class AuditRequest(Drawn):
    """Try to bring an erased concept back, beside the same attacks on controls. Stopped, the same command goes on.

    Writes `audit.json`, and for every attack a file of its figures, a sheet of pictures, and the tensors that it found. Attacks with the
    same settings and budget are not repeated; those that failed are marked, and made again only with `retry`. The controls do not depend
    on the edit, so what attacks find on them is kept in the cache folder for other audits. Without edits, `model` is one that was erased
    elsewhere, and `base` the model that it was made from. Without a base there is no neutral control, and attacks that need the base are
    not made.

    Raises ValueError, FileNotFoundError or FileExistsError for bad input.
    """

    edit: Annotated[UserPaths, Flag(positional=True, metavar="EDIT")] = Field(
        (), description="Folders of edits, audited together."
    )
    base: BaseName
    gold: PathOrName | None = Field(None, description="A model that never saw the concept: the second control.")
    concept: str | None = Field(None, description="What was erased; default what the edits say, if that is one concept.")
    kind: KindName
    attacks: Annotated[Names, Flag(read=words)] = Field(
        ("quick",), description="quick, all, or names, with settings after a colon: p4d:preset=published."
    )
    wordings: UserPath | None = Field(
        None, description="YAML or JSON file of other wordings of the concept, which the attack wording asks too."
    )
    budget: Evaluations | None = Field(
        None, description="U-Net calls of every attack on every model; see: excise list attacks."
    )
    prompts: Pictures = Field(24, description="Prompts that are attacked, each with its own seed.")
    out: UserPath | None = Field(
        None, description="Folder for the results; default EDIT-audit beside the (first) edit, or out/audit-CONCEPT."
    )
    seed: Seed
    retry: bool = Field(False, description="Make attacks again that failed.")
    overwrite: Overwrite

    @cached_property
    def described(self) -> Description:
        """The model from before the erasure, as far as its folder says without weights."""
        return describe(resolve(self.model if self.base is None else self.base))

    @cached_property
    def chosen(self) -> list[Chosen]:
        """The attacks. Raises ValueError for wordings that no attack asks, or that are none."""
        chosen = choose(self.attacks, self.budget, family_of(resolve(self.model)).offers)
        if self.wordings is None:
            return chosen
        if not any(one.attack.name == WORDING for one in chosen):
            raise ValueError(f"wordings={self.wordings} is for the attack {WORDING}, which is not among the attacks")
        own = read_wordings(self.wordings, self.target, self.described.catalog)
        return [
            replace(one, settings=one.settings.model_copy(update={"own": own})) if one.attack.name == WORDING else one
            for one in chosen
        ]

    @cached_property
    def target(self) -> Concept:
        """What was erased. Raises ValueError if that is not one concept."""
        if self.concept is not None:
            return self.described.catalog.resolve(self.concept, self.kind)
        found = erased_concepts(read_manifests(self.edit), self.described.catalog)
        if len(found) != 1:
            what = f"the edits erase {', '.join(each.label for each in found)}; name one" if found else "name what was erased"
            raise ValueError(f"an audit is about one concept: {what} (concept)")
        return found[0]

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out is not None:
            return self.out
        if self.edit:
            first = real_path(self.edit[0])
            return first.with_name(f"{first.name}-audit")
        return Path("out") / f"audit-{file_name(self.target.name)}"

    @property
    def files(self) -> list[str]:
        """Those of the attacks, by their names in the folder."""
        return [f"attacks/{file_name(one.text)}{ending}" for one in self.chosen for ending in (*ENDINGS, CRASH)]

    @property
    def written(self) -> tuple[str, ...]:
        """The files in the folder once the run has written its own. Raises FileExistsError for one that is somebody else's."""
        return check_ours(self.folder, AUDIT, self.files)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.folder,)

    def check(self) -> None:
        super().check()
        _ = self.chosen
        if self.described.classifier is None:
            raise ValueError(
                f"the model {self.described.name!r} brings no classifier, so nothing can say whether the concept is back"
            )
        if self.edit and self.base is not None:
            raise ValueError("give edits, or a base for a model that was erased elsewhere, not both")
        resolve(self.model)
        for chosen in self.chosen:
            chosen.attack.check_model(self.model)
        read_manifests(self.edit)
        _ = self.target
        _ = self.written
        if self.gold is not None:
            check_never_saw(self.gold, self.target)


def file_name(text: str) -> str:
    """A name for a file or folder that can be read."""
    return fitting(re.sub(r"[^\w=.-]+", "_", text))
