"""Files: what may be replaced, writing that a kill cannot halve, and reading what strangers made. No torch is loaded before tensors are."""

from excise.files.cache import Shelf, cache_folder, tell_not_kept
from excise.files.folders import check_new_file, check_ours, check_replaceable, vacant
from excise.files.places import PICTURE_ENDINGS, check_path, fitting
from excise.files.read import as_record, open_regular, parse_json, problem, read_json, read_record, read_text
from excise.files.replace import locked, replacing, replacing_folder
from excise.files.tensors import check_shards, read_tensors, write_tensors
from excise.files.write import write_json, write_text

__all__ = [
    "PICTURE_ENDINGS",
    "Shelf",
    "as_record",
    "cache_folder",
    "check_new_file",
    "check_ours",
    "check_path",
    "check_replaceable",
    "check_shards",
    "fitting",
    "locked",
    "open_regular",
    "parse_json",
    "problem",
    "read_json",
    "read_record",
    "read_tensors",
    "read_text",
    "replacing",
    "replacing_folder",
    "tell_not_kept",
    "vacant",
    "write_json",
    "write_tensors",
    "write_text",
]
