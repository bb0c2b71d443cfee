"""The model card of an edit: what was removed, how it was measured, what it does not promise, how to load it."""

from __future__ import annotations

import html
import json
import re
import shlex
from typing import TYPE_CHECKING

from excise.edits.manifest import Manifest
from excise.report import information_table, plain_words, result_table
from excise.results.erasure import ErasureResult
from excise.visible import visible

if TYPE_CHECKING:
    from excise.methods import Method


def render(manifest: Manifest, method: Method, result: ErasureResult, *, model: str, edit: str) -> str:
    """Markdown with the metadata that model hubs read.

    result  what `result.json` holds
    model   what a reader gives to `excise.load` for the base model
    edit    what a reader gives to `excise.load_edit`
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"cell": _cell, "code": _code, "argument": _argument}
    template = environment.from_string(files("excise.report").joinpath("card.md.j2").read_text(encoding="utf-8"))
    return template.render(
        metadata=_metadata(method, model).rstrip(),
        manifest=manifest,
        method=method,
        result=result,
        summary=plain_words.summary(manifest.names, manifest.model, result),
        learned=plain_words.learned(result.told),
        columns=result_table.COLUMNS,
        rows=result_table.table(result.evaluation) if result.evaluation else [],
        bystanders=plain_words.bystanders(result.evaluation) if result.evaluation else "",
        counts=result_table.counts(result.evaluation) if result.evaluation else "",
        quick=result_table.QUICK,
        words=information_table,
        base=next(iter(manifest.base.items())),
        model=model,
        edit=edit,
    )


def _metadata(method: Method, model: str) -> str:
    from huggingface_hub import ModelCardData

    return ModelCardData(
        base_model=model if model.count("/") == 1 else None,
        library_name="excise",
        pipeline_tag="text-to-image",
        tags=["concept-erasure", f"method:{method.name}"],
    ).to_yaml()


def _cell(value: object) -> str:
    """Text on one line that is neither markup, HTML nor a link, and cannot break out of a table cell."""
    text = html.escape(visible(" ".join(str(value).split())), quote=False)
    return re.sub(r"[\\`*_\[\]|~$#!@]|:(?=//)|(?<=www)\.", r"\\\g<0>", text)


def _code(value: object) -> str:
    """A string of Python on one line."""
    return json.dumps(visible(value), ensure_ascii=False)


def _argument(value: object) -> str:
    """An argument of a shell's command on one line."""
    return shlex.quote(visible(value))
