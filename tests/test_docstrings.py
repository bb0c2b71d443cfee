"""Examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import excise

GRADIO = {"excise.studio.layout", "excise.studio.theme"}
"""Modules that need an extra."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(excise.__path__, "excise.")
    if module.name not in GRADIO or importlib.util.find_spec("gradio")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_modules_have_examples() -> None:
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 3
