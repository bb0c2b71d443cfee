"""A queue of removals: a YAML file of requests that people keep in git, what each asks for, and how its states are written back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date as Date
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field

from excise.concepts import Catalog, Concept
from excise.digests import digest_values
from excise.files import real_path, write_text
from excise.methods import Method, get
from excise.models.families import check_described
from excise.models.names import Description, describe, resolve
from excise.quoting import quoted
from excise.requests.fields import Names, PathOrName, SeedNumber, UserPath
from excise.requests.sources import YamlText
from excise.requests.yaml_changes import scalar, with_entry, with_value
from excise.settings import Given, Settings, parse

T = TypeVar("T")

State = Literal["open", "served", "withdrawn"]
Strategy = Literal["joint", "sequential", "resolve"]

REQUESTS = "requests"
"""Key of the list in the file."""

_Texts = Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})]


class Removal(Given):
    """One request as it stands in the file.

    concept  what is to be erased, as `excise erase` takes it; kind and also: as there
    date     of the request; reason: why, in the user's own words
    method   and settings: if they are others than the queue's
    state    open: to be served; served: erased in the result; withdrawn: to be given back, or given back
    """

    concept: str
    kind: str | None = None
    also: Names = ()
    date: Date | None = None
    reason: str = ""
    method: str | None = None
    settings: _Texts = Field(default_factory=dict)
    state: State = "open"


class QueueContent(Given):
    """The file.

    model    as of `excise erase`, and so is config_from
    out      folder of the result, seen from the file's folder; default the file's name without its ending
    strategy joint: all requests at once, from the base model; sequential: each on top of the last; resolve: as joint, in closed form alone
    method   and settings: of requests that name no other
    """

    most: ClassVar[int] = 2**63  # numbers declare bounds of their own

    model: PathOrName = "canvas"
    config_from: UserPath | None = None
    out: UserPath | None = None
    strategy: Strategy = "joint"
    method: str = "mim"
    settings: _Texts = Field(default_factory=dict)
    seed: SeedNumber = 0
    requests: tuple[Removal, ...] = ()


@dataclass(frozen=True)
class QueueEntry:
    """A request that was looked up.

    number  its place in the file, from 1
    key     label of its concept, with a number if the concept was requested before
    work    digest of what is to be done
    """

    number: int
    key: str
    removal: Removal
    concept: Concept
    method: Method
    settings: Settings
    work: str

    @property
    def label(self) -> str:
        return self.concept.label

    @property
    def wanted(self) -> bool:
        """Whether its concept is to be erased."""
        return self.removal.state != "withdrawn"


@dataclass(frozen=True)
class Queue:
    """A queue's file, and what it says."""

    path: Path
    document: YamlText
    content: QueueContent

    @classmethod
    def read(cls, path: Path) -> Queue:
        """Raises FileNotFoundError, or ValueError in one line for an unknown key, a wrong value, or a file that is no such YAML."""
        return cls.parse(YamlText.read(path), path)

    @classmethod
    def parse(cls, document: YamlText, path: Path) -> Queue:
        """The queue in a YAML text. Raises ValueError as `read` does."""
        data, requests = dict(document.data), document.data.get(REQUESTS) or []
        if not isinstance(requests, list):
            raise ValueError(f"{path}: {REQUESTS} must be a list of mappings such as '- concept: cat'")
        removals = tuple(_removal(each, number, path) for number, each in enumerate(requests, 1))
        return cls(path, document, _named(path, lambda: parse(QueueContent, {**data, REQUESTS: removals}, "key")))

    @property
    def out(self) -> Path:
        """Folder of the result."""
        given = self.content.out
        if given is not None:
            return self.path.parent / given
        return self.path.with_suffix("") if self.path.suffix else self.path.with_name(f"{self.path.name}-result")

    @cached_property
    def described(self) -> Description:
        """The model, as far as its folder says without weights."""
        return _named(self.path, lambda: describe(resolve(self.content.model)))

    @cached_property
    def entries(self) -> tuple[QueueEntry, ...]:
        """Every request. Raises ValueError in one line for a concept, method or setting that there is not, and for a duplicate."""
        found: list[QueueEntry] = []
        times: Counter[str] = Counter()
        for number, removal in enumerate(self.content.requests, 1):
            entry = _named(f"{self.path}, request {number}", partial(self._entry, number, removal, times))
            earlier = next((each for each in found if each.label == entry.label and each.wanted), None)
            if earlier and entry.wanted:
                raise ValueError(f"{self.path}: requests {earlier.number} and {number} both ask to erase {entry.label}")
            found.append(entry)
        return tuple(found)

    @property
    def wanted(self) -> tuple[QueueEntry, ...]:
        """The requests whose concepts are to be erased, in order."""
        return tuple(entry for entry in self.entries if entry.wanted)

    def check(self) -> None:
        """Raise ValueError for what no run could serve: requests as `entries` says, a method that the strategy or the model does not take,
        methods whose edits cannot be put together."""
        _named(self.path, lambda: check_described(self.content.model, self.content.config_from))
        methods = {entry.method.name: entry.method for entry in self.wanted}
        for name, method in methods.items():
            if self.content.strategy not in strategies(method):
                raise ValueError(
                    f"{self.path}: strategy {self.content.strategy} takes methods with a closed form, and {name} has to train"
                )
            _named(self.path, partial(method.check_model, self.content.model))
        if len({method.kind for method in methods.values()}) > 1:
            kinds = ", ".join(f"{name} makes {_MADE[method.kind]}" for name, method in methods.items())
            raise ValueError(f"{self.path}: edits of different kinds cannot be put together ({kinds})")

    def with_states(self, states: dict[int, State]) -> Queue:
        """The queue with new states of requests, by number; only where one changes is the text another. Raises ValueError as `with_value`."""
        document = self.document
        for number, state in states.items():
            if self.content.requests[number - 1].state != state:
                document = with_value(document, self.path, REQUESTS, number - 1, "state", state)
        return self if document is self.document else Queue.parse(document, self.path)

    def with_request(self, entry: dict[str, Any]) -> Queue:
        """The queue with one more request at its end. Raises ValueError as `with_entry`, `parse` and `entries` do."""
        queue = Queue.parse(with_entry(self.document, self.path, REQUESTS, entry), self.path)
        _ = queue.entries
        return queue

    def write(self) -> None:
        """Write the file, all or nothing; a link stays one."""
        write_text(real_path(self.path), self.document.text)

    def _entry(self, number: int, removal: Removal, times: Counter[str]) -> QueueEntry:
        name = removal.method or self.content.method
        method = get(name)
        given = {**(self.content.settings if name == self.content.method else {}), **removal.settings}
        settings, concept = method.parse(given), _concept(self.described.catalog, removal)
        times[concept.label] += 1
        key = concept.label if times[concept.label] == 1 else f"{concept.label} ({times[concept.label]})"
        work = {
            "method": name,
            "settings": settings.model_dump(mode="json"),
            "seed": self.content.seed,
            "model": self.described.name,
        }
        return QueueEntry(
            number, key, removal, concept, method, settings, digest_values({**work, "concept": concept.to_dict()})
        )


_MADE = {"weights": "changes of weights", "adapter": "adapters"}


def strategies(method: Method) -> tuple[Strategy, ...]:
    """Those that take the method."""
    return ("joint", "sequential", "resolve") if method.solves else ("joint", "sequential")


def empty(path: Path, model: str | None, strategy: Strategy | None) -> Queue:
    """A queue that is begun."""
    lines = [f"{key}: {scalar(value)}" for key, value in (("model", model), ("strategy", strategy)) if value]
    text = "".join(f"{line}\n" for line in [*lines, f"{REQUESTS}:"])
    return Queue.parse(YamlText.parse(text, path), path)


def in_force(queue: Queue, names: Collection[str], kind: str | None) -> dict[int, State]:
    """The numbers of the requests for these concepts, each with the state withdrawn. Raises ValueError for one that nobody asks to erase."""
    found: dict[int, State] = {}
    for name in names:
        label = queue.described.catalog.resolve(name, kind).label
        entry = next((each for each in queue.wanted if each.label == label), None)
        if entry is None:
            asked = ", ".join(each.label for each in queue.wanted) or "nothing"
            raise ValueError(
                f"{queue.path} has no request for {quoted(label)} that could be withdrawn; it asks to erase {asked}"
            )
        found[entry.number] = "withdrawn"
    return found


def _concept(catalog: Catalog, removal: Removal) -> Concept:
    return catalog.resolve(removal.concept, removal.kind, removal.also)


def _removal(value: Any, number: int, path: Path) -> Removal:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: request {number} must be a mapping such as 'concept: cat', not {quoted(value)}")
    return _named(path, lambda: parse(Removal, value, f"key of request {number}"))


def _named(what: object, make: Callable[[], T]) -> T:
    """What `make` gives; an error names the file."""
    try:
        return make()
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{what}: {error}") from None
