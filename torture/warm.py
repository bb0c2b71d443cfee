"""A process that has imported all that a command needs, has one thread and makes no noise: what cases are forked from."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
import threading
from pathlib import Path

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
}
"""What the command line sets for the libraries underneath when they are not imported yet; and one thread, since only a thread can be forked."""

_OPTIONAL = ("excise.jobs.ray_cluster", "excise.canvas.glyphs", "excise.studio.layout", "excise.studio.theme")
_ALSO = (
    "rich.console",
    "rich.table",
    "rich.markup",
    "yaml",
    "torchmetrics.image.fid",
    "transformers.models.clip.modeling_clip",
)


def warm_up() -> None:
    """Import everything, and the tests' tiny models; then let as little as can be be copied when a case is forked.

    Raises RuntimeError if that has started a thread.
    """
    os.environ.update(QUIET)
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import torch

    torch.set_num_threads(1)
    import excise

    for module in pkgutil.walk_packages(excise.__path__, "excise."):
        if module.name not in _OPTIONAL:
            importlib.import_module(module.name)
    for name in _ALSO:
        importlib.import_module(name)
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("an import has started a thread; a process with threads cannot be forked safely")
    gc.collect()
    gc.freeze()
