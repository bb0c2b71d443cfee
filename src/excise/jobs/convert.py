"""Result files of earlier versions, rewritten in place in today's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from excise.edits.manifest import Manifest
from excise.files import JsonFile, place, read_json, read_packed, real_path, write_json, write_packed
from excise.jobs.pack import folders_of_results, pack
from excise.quoting import cut
from excise.requests.convert import ConvertRequest
from excise.requests.request import function
from excise.results import earlier
from excise.results.audit_benchmark import AuditBenchmark
from excise.results.audit_result import AttackResult, AuditFile
from excise.results.cell import Cell, Grid
from excise.results.cells import PACKED
from excise.results.erasure import ErasureResult
from excise.results.information import Measurement
from excise.results.result_file import ResultFile, write_content
from excise.results.suite_result import SuiteResult
from excise.results.variation import Variation

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Converter:
    """One kind of file.

    knows    whether a file's content is of this kind and of an earlier format
    convert  today's form of what a file holds; raises ValueError, naming the place, if it is damaged
    write    writes it to a file of its own
    """

    name: str
    knows: Callable[[Content], bool]
    convert: Callable[[JsonFile], dict[str, Any]]
    write: Callable[[Path, dict[str, Any]], None]


def converter(name: str, kind: str, schema: type[ResultFile]) -> Converter:
    """For files that are a `ResultFile` today."""

    def convert(file: JsonFile) -> dict[str, Any]:
        return schema.parse(_converted(earlier.CONVERTERS[kind], file), file.path, file.line).signed()

    return Converter(name, lambda content: earlier.kind(content) == kind, convert, write_content)


def _manifest(file: JsonFile) -> dict[str, Any]:
    found = _converted(earlier.manifest, file)
    manifest = Manifest.parse(found, file.path)
    for entry in (manifest, *map(Manifest.model_validate, manifest.ledger)):
        if "kind" in entry.measurements:
            ErasureResult.parse(entry.measurements, file.path, file.line)
    return found


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
        write_json,
    ),
]
"""Every kind of file that has changed since format 1."""


def run(request: ConvertRequest) -> dict[str, int]:
    """Carry out a request that was checked; returns how many files of each kind there were."""
    counts, writes = Counter[str](), list[Callable[[], None]]()
    for path, shown in _files(request.paths).items():
        if shown.name == PACKED:
            lines = read_packed(shown)
            changed = {name: _today(file, counts) for name, file in lines.items()}
            if any(by for by, _ in changed.values()):
                writes.append(partial(write_packed, path, {name: content for name, (_, content) in changed.items()}))
        elif isinstance(content := read_json(shown, object), dict):
            by, today = _today(JsonFile(content, shown), counts)
            if by:
                writes.append(partial(by.write, path, today))
    for write in writes:
        write()
    if request.pack and (number := pack(request.paths)):
        counts["cells of benchmarks packed"] = number
    return dict(counts)


convert = function(ConvertRequest, run)


def _today(file: JsonFile, counts: Counter[str]) -> tuple[Converter | None, dict[str, Any]]:
    """What a file holds, in today's form; and what converted it, which is counted. None: it was of today, or is nobody's."""
    for one in CONVERTERS:
        if one.knows(file.content):
            counts[one.name] += 1
            return one, one.convert(file)
    return None, file.content


def _files(paths: Sequence[Path]) -> dict[Path, Path]:
    """JSON files that are named, or in folders that are, by where they lead: each once, and a link is no file of its own."""
    below = (file for path in paths for file in (_below(path) if path.is_dir() else (path,)))
    return {real_path(file): file for file in below}


def _below(folder: Path) -> Iterator[Path]:
    for here, names in folders_of_results(folder):
        yield from (here / name for name in names if name.endswith(".json") or name == PACKED)


def _converted(function: Callable[[Content], dict[str, Any]], file: JsonFile) -> dict[str, Any]:
    try:
        return function(file.content)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        what = cut(f"no {error}" if isinstance(error, KeyError) else str(error))
        raise ValueError(
            f"{place(file.path, file.line)} is damaged ({what}); nothing was converted; write it again, or take it out"
        ) from None
