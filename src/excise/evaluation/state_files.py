"""Reading other people's weights: tensors by name, and no other pickled object."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from excise.files import read_tensors, reading


def load_state(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors or .pth file, also inside "model_state_dict" or "state_dict"; no other pickled object is read.

    what  for errors: whose weights these should be

    Raises ValueError if the file holds anything else.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    with warnings.catch_warnings(), reading(path, f"it could not be read as the weights of {what}: "):
        warnings.simplefilter("ignore", UserWarning)  # torch's about pickles of other protocols, before it refuses them
        data = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model_state_dict", "state_dict"):
        if isinstance(data, dict) and key in data:
            data = data[key]
    if not isinstance(data, dict) or not data or not all(isinstance(value, torch.Tensor) for value in data.values()):
        raise ValueError(f"{path} holds no tensors by name, so these are not the weights of {what}")
    return data
