"""The boundary around files of strangers: whatever a reader raises is one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from excise.shortage import shortage


@contextmanager
def reading(path: Path | str, what: str = "") -> Iterator[None]:
    """Around code of others that reads a file, or builds what it says: ValueError "PATH is damaged: ..." for whatever they raise.

    what  what is told before their own words

    Memory or disk that ran out is no fault of the file and goes through as it is.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # also what readers written in Rust raise when they give up (PanicException)
        if shortage(error):
            raise
        raise ValueError(f"{path} is damaged: {what}{_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (f"{type(error).__name__}: {line}" if not isinstance(error, ValueError) or not line else line)[:300]
