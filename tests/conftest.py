"""Fixtures: tiny real pipelines in folders (`tiny_sd1`, ...) and fresh models of them (`sd1`, ...).

The folders are shared by the whole session and must not be written to; every test has models of its own.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: must come first
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

import diffusers  # noqa: E402
import transformers  # noqa: E402

import tiny_models  # noqa: E402
import tiny_qwen  # noqa: E402
from excise.evaluation.picture_counts import ASKED_FOR, AskedFor  # noqa: E402
from excise.models import Model  # noqa: E402
from fast import FILES, is_fast  # noqa: E402
from fresh_models import fresh  # noqa: E402

diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Fast tests alone: the other files need not even be imported."""
    others = collection_path.name.startswith("test_") and collection_path.name not in FILES
    return True if config.option.markexpr == "fast" and others else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_fast(item.nodeid):
            item.add_marker(pytest.mark.fast)


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few pictures, prompts and steps as there can be, where they only make figures finer."""
    for extent, few in (("quick", AskedFor(6, 3, 3, 1)), ("full", AskedFor(12, 6, 6, 1))):
        monkeypatch.setitem(ASKED_FOR, extent, few)
    for bound in ("PROMPTS", "MOST"):
        monkeypatch.setattr(f"excise.methods.mim.metric.{bound}", 32)
    monkeypatch.setattr("excise.evaluation.conditions.STEPS", (2, 3))


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr errors and warnings alone; tests of progress put another fixture of this name over it."""
    monkeypatch.setattr("excise.cli.plain_progress.PlainProgress._say", lambda self, stage: None)


@pytest.fixture(scope="session")
def tiny_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion 1.x."""
    return tiny_models.save_sd1(tmp_path_factory.mktemp("models") / "tiny-sd1")


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion 2.x (v-prediction)."""
    return tiny_models.save_sd2(tmp_path_factory.mktemp("models") / "tiny-sd2")


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion XL."""
    return tiny_models.save_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Stable Diffusion 3.5."""
    return tiny_models.save_sd3(tmp_path_factory.mktemp("models") / "tiny-sd3")


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny FLUX.1 dev."""
    return tiny_models.save_flux(tmp_path_factory.mktemp("models") / "tiny-flux")


@pytest.fixture(scope="session")
def tiny_z_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Z-Image."""
    return tiny_qwen.save(tiny_qwen.z_image(), tmp_path_factory.mktemp("models") / "tiny-z-image")


@pytest.fixture(scope="session")
def tiny_flux2_klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny FLUX.2-klein."""
    return tiny_qwen.save(tiny_qwen.flux2_klein(), tmp_path_factory.mktemp("models") / "tiny-flux2-klein")


@pytest.fixture(scope="session")
def tiny_qwen_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Qwen-Image."""
    return tiny_qwen.save(tiny_qwen.qwen_image(), tmp_path_factory.mktemp("models") / "tiny-qwen-image")


@pytest.fixture(scope="session")
def tiny_canvas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model with `excise.json` (three objects, three styles, five members) and a random classifier."""
    return tiny_models.save_canvas(tmp_path_factory.mktemp("models") / "tiny-canvas")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Call it with a hub id and a folder: as if that had been downloaded. There is no network, so nothing else is on the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder: Path) -> None:
        cache, commit = tmp_path / "hub" / f"models--{name.replace('/', '--')}", "0" * 40
        shutil.copytree(folder, cache / "snapshots" / commit)
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text(commit)

    return put


@pytest.fixture
def sd1(tiny_sd1: Path) -> Model:
    return fresh(tiny_sd1)


@pytest.fixture
def sd2(tiny_sd2: Path) -> Model:
    return fresh(tiny_sd2)


@pytest.fixture
def sdxl(tiny_sdxl: Path) -> Model:
    return fresh(tiny_sdxl)


@pytest.fixture
def sd3(tiny_sd3: Path) -> Model:
    return fresh(tiny_sd3)


@pytest.fixture
def flux(tiny_flux: Path) -> Model:
    return fresh(tiny_flux)


@pytest.fixture
def z_image(tiny_z_image: Path) -> Model:
    return fresh(tiny_z_image)


@pytest.fixture
def flux2_klein(tiny_flux2_klein: Path) -> Model:
    return fresh(tiny_flux2_klein)


@pytest.fixture
def qwen_image(tiny_qwen_image: Path) -> Model:
    return fresh(tiny_qwen_image)


@pytest.fixture
def canvas(tiny_canvas: Path) -> Model:
    return fresh(tiny_canvas)
