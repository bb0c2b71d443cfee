"""Good content in, hostile content out; the same generator gives the same."""

from torture.mutate.json_text import json_text
from torture.mutate.packed_lines import packed_lines
from torture.mutate.pictures import picture
from torture.mutate.plain_bytes import damaged
from torture.mutate.strings import HOSTILE, LONG
from torture.mutate.tables import table
from torture.mutate.tensor_file import tensor_file
from torture.mutate.yaml_text import yaml_text

__all__ = ["HOSTILE", "LONG", "damaged", "json_text", "packed_lines", "picture", "table", "tensor_file", "yaml_text"]
