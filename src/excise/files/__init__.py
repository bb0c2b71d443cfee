"""Files: what may be replaced, writing that a kill cannot halve, and reading what strangers made. No torch is loaded before tensors are."""

from excise.files.cache import NOWHERE, Shelf, cache_folder, tell_not_kept
from excise.files.damage import reading
from excise.files.folders import WRITTEN, FolderKind, check_new_file, check_ours, check_replaceable, new_result, vacant
from excise.files.locks import writing
from excise.files.packed import JsonFile, pack, packed_path, place, read_files, read_packed, write_packed
from excise.files.places import CRASH, PICTURE_ENDINGS, at_home, check_path, fitting, real_path
from excise.files.read import as_record, open_regular, parse_json, problem, read_json, read_record, read_text
from excise.files.replace import PathTaken, delete_files, replacing, replacing_folder
from excise.files.tensors import (
    COUNTS,
    FLOATS,
    Declared,
    check_dtypes,
    check_shapes,
    check_shards,
    read_header,
    read_tensors,
    write_tensors,
)
from excise.files.write import STDOUT, copy_file, write_json, write_text

__all__ = [
    "COUNTS",
    "CRASH",
    "FLOATS",
    "NOWHERE",
    "PICTURE_ENDINGS",
    "STDOUT",
    "WRITTEN",
    "Declared",
    "FolderKind",
    "JsonFile",
    "PathTaken",
    "Shelf",
    "as_record",
    "at_home",
    "cache_folder",
    "check_dtypes",
    "check_new_file",
    "check_ours",
    "check_path",
    "check_replaceable",
    "check_shapes",
    "check_shards",
    "copy_file",
    "delete_files",
    "fitting",
    "new_result",
    "open_regular",
    "pack",
    "packed_path",
    "parse_json",
    "place",
    "problem",
    "read_files",
    "read_header",
    "read_json",
    "read_packed",
    "read_record",
    "read_tensors",
    "read_text",
    "reading",
    "real_path",
    "replacing",
    "replacing_folder",
    "tell_not_kept",
    "vacant",
    "write_json",
    "write_packed",
    "write_tensors",
    "write_text",
    "writing",
]
