"""The base of every request, and the Python function that a request describes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from inspect import Parameter, Signature
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from excise.files import writing
from excise.progress import Progress, silent
from excise.requests.clashes import check_apart
from excise.requests.fields import flag
from excise.settings import Given, parse


class Request(Given):
    """What a verb is asked for.

    The first paragraph of a request's docstring is the help of its command. A field's description is the help of its option and the
    meaning of the argument of the same name in Python.

    reports  whether the run of the request tells how far it is
    in_place fields that may name what the run replaces: it reads them whole before
    """

    most: ClassVar[int] = 2**63  # numbers declare bounds of their own (`excise.requests.fields`)
    reports: ClassVar[bool] = True
    in_place: ClassVar[frozenset[str]] = frozenset()

    def check(self) -> None:
        """Look at what the fields name: models, edits, settings, files. Nothing is loaded or written.

        Raises ValueError, FileNotFoundError or FileExistsError in one line.
        """

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        """Files and folders that the run writes or adds to."""
        return ()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside the block no other run writes to the outputs.

        Raises FileExistsError, naming the process, if one does already; and what `check` raises if one has written there since the check.
        """
        outputs = list(filter(None, self.outputs))
        with writing(*outputs):
            if any(os.path.lexists(path) for path in outputs):
                self.check()
            yield

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """The fields by the names that users give them: a request's own first, then what it has in common with others."""
        own = sorted(cls.model_fields, key=lambda name: name not in cls.__annotations__)
        return {cls.model_fields[name].alias or name: cls.model_fields[name] for name in own}

    @classmethod
    def summary(cls) -> str:
        """What the verb does, in a sentence or two."""
        return " ".join(_paragraphs(cls)[0].split())


T = TypeVar("T")


def function(schema: type[Request], run: Callable[..., T]) -> Callable[..., T]:
    """The Python function of a verb. It makes a request of its arguments, checks the request and runs it.

    run  (request, progress) -> result; (request) -> result if the request reports nothing

    The arguments are the fields of the request; those that are positional on the command line are so here.
    """
    signature = _signature(schema)

    def call(*arguments: Any, **named: Any) -> T:
        values = signature.bind(*arguments, **named).arguments
        how = {"progress": values.pop("progress", silent)} if schema.reports else {}
        request = parse(schema, values, "option")
        check_apart(request, free=request.in_place)
        request.check()
        with request.running():
            return run(request, **how)

    call.__name__ = call.__qualname__ = schema.__name__.removesuffix("Request").lower()
    call.__doc__ = _documentation(schema)
    call.__module__ = schema.__module__
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _signature(schema: type[Request]) -> Signature:
    parameters = [
        Parameter(
            name,
            Parameter.POSITIONAL_OR_KEYWORD if flag(field).positional else Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
            annotation=_accepted(field.annotation, field.metadata),
        )
        for name, field in schema.options().items()
    ]
    if schema.reports:
        parameters.append(Parameter("progress", Parameter.KEYWORD_ONLY, default=silent, annotation=Progress))
    return Signature(sorted(parameters, key=lambda parameter: parameter.kind))


def _accepted(annotation: Any, metadata: Iterable[Any] = ()) -> Any:
    """The type of the values that a field takes, which may be more than the type that it has in the end."""
    for item in metadata:
        if isinstance(item, BeforeValidator) and item.json_schema_input_type is not PydanticUndefined:
            return item.json_schema_input_type
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _accepted(inner, more)
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_accepted, get_args(annotation)))
    return annotation


def _documentation(schema: type[Request]) -> str:
    """The docstring of the function: what it does, a line for every argument, then the rest of the request's docstring."""
    about = {name: field.description or "" for name, field in schema.options().items()}
    if schema.reports:
        about["progress"] = "Called with (stage, done, total)."
    width = max(map(len, about)) + 1
    first, *rest = _paragraphs(schema)
    return "\n\n".join([first, "\n".join(f"{name:<{width}} {text}" for name, text in about.items()), *rest])


def _paragraphs(schema: type[Request]) -> list[str]:
    return inspect.cleandoc(schema.__doc__ or "").split("\n\n")
