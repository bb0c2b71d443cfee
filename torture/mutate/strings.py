"""Texts that somebody may take for something else."""

from __future__ import annotations

LONG = "concept " * 1500

HOSTILE = (
    "", " ", ".", "..", "../../outside/o.safetensors", "../outside/private.txt", "/etc/passwd", "~", "-", "--help", "a/b", "a\\b", "C:\\x",
    "\x1b[31mred\x1b[2J", "\x9b31m", "\x00", "a\nb", "\r", "\u202e", "\ud800", "größe 猫", "{0.__class__}", "%s%n", "{{7*7}}", "[red]",
    "<script>alert(1)</script>", "$(touch pwned)", "`id`", "'; --", "null", "NaN", "1e999", "0x10", "1_000", "١٢", "x" * 300,
    "https://example.org/x", "con", "*", "?", "#", "&a", "!!python/object/apply:os.system [id]", LONG,
)  # fmt: skip
"""Paths, escapes, markup, formats, numbers that are none, lengths."""
