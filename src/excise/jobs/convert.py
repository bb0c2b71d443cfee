"""Result files of earlier versions, rewritten in place in today's form."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.edits.manifest import Manifest
from excise.files import read_json, real_path, write_json
from excise.quoting import cut
from excise.requests.convert import ConvertRequest
from excise.requests.request import function
from excise.results import earlier
from excise.results.audit_benchmark import AuditBenchmark
from excise.results.audit_result import AttackResult, AuditFile
from excise.results.cell import Cell, Grid
from excise.results.erasure import ErasureResult
from excise.results.information import Measurement
from excise.results.result_file import ResultFile
from excise.results.suite_result import SuiteResult
from excise.results.variation import Variation

Content = Mapping[str, Any]
Write = Callable[[Path], None]


@dataclass(frozen=True)
class Converter:
    """One kind of file.

    knows    whether a file's content is of this kind and of an earlier format
    prepare  what writes today's form of the content to a path; raises ValueError, naming the path, if the content is damaged
    """

    name: str
    knows: Callable[[Content], bool]
    prepare: Callable[[Content, Path], Write]


def converter(name: str, kind: str, schema: type[ResultFile]) -> Converter:
    """For files that are a `ResultFile` today."""

    def prepare(content: Content, path: Path) -> Write:
        return schema.parse(_converted(earlier.CONVERTERS[kind], content, path), path).write

    return Converter(name, lambda content: earlier.kind(content) == kind, prepare)


def _manifest(content: Content, path: Path) -> Write:
    found = _converted(earlier.manifest, content, path)
    manifest = Manifest.parse(found, path)
    for entry in (manifest, *map(Manifest.model_validate, manifest.ledger)):
        if "kind" in entry.measurements:
            ErasureResult.parse(entry.measurements, path)
    return lambda where: write_json(where, found)


def _is_earlier_manifest(content: Content) -> bool:
    """Whether a manifest's measurements, or those of one in its ledger, have the form of format 1."""
    measured, ledger = content.get("measurements"), content.get("ledger")
    own = isinstance(measured, Mapping) and "ua" in measured and "format" not in measured
    return own or (isinstance(ledger, list) and any(isinstance(one, Mapping) and _is_earlier_manifest(one) for one in ledger))


CONVERTERS: list[Converter] = [
    converter("results of erasures", "erasure", ErasureResult),
    converter("measurements in nats", "information", Measurement),
    converter("variations", "variation", Variation),
    converter("results of suites", "suite", SuiteResult),
    converter("cells of benchmarks", "cell", Cell),
    converter("benchmarks", "grid", Grid),
    converter("audits", "audit", AuditFile),
    converter("attacks", "attack", AttackResult),
    converter("benchmarks of audits", "audits", AuditBenchmark),
    Converter(
        "manifests of edits",
        lambda content: {"weights_sha256", "measurements"} <= content.keys() and _is_earlier_manifest(content),
        _manifest,
    ),
]
"""Every kind of file that has changed since format 1."""


def run(request: ConvertRequest) -> dict[str, int]:
    """Carry out a request that was checked; returns how many files of each kind there were."""
    found: list[tuple[str, Path, Write]] = []
    for path, shown in _files(request.paths).items():
        content = read_json(shown, object)
        for one in CONVERTERS:
            if isinstance(content, dict) and one.knows(content):
                found.append((one.name, path, one.prepare(content, shown)))
    for _, path, write in found:
        write(path)
    return dict(Counter(name for name, *_ in found))


convert = function(ConvertRequest, run)


def _files(paths: Sequence[Path]) -> dict[Path, Path]:
    """JSON files that are named, or in folders that are, by where they lead: each once, and a link is no file of its own."""
    below = (file for path in paths for file in (_below(path) if path.is_dir() else (path,)))
    return {real_path(file): file for file in below}


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        if "model_index.json" in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if name.endswith(".json") and not name.startswith("."))


def _converted(function: Callable[[Content], dict[str, Any]], content: Content, path: Path) -> dict[str, Any]:
    try:
        return function(content)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        what = cut(f"no {error}" if isinstance(error, KeyError) else str(error))
        raise ValueError(f"{path} is damaged ({what}); nothing was converted; write it again, or take it out") from None
