"""`python -m excise`."""

from __future__ import annotations

from excise.cli import main

if __name__ == "__main__":
    main()
