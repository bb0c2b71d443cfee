"""Erased weights that others publish: some tensors of a U-Net, a LoRA, a pickle."""

from __future__ import annotations

from random import Random

from torture.attempt import Must, Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """Import a spoilt file as an edit; pickles and LoRAs must be refused as they are."""
    sandbox.take("tiny")
    sandbox.take("cache", sandbox.cache)
    name = random.choice(("partial.safetensors",) * 6 + ("lora.safetensors", "partial.pt"))
    path = sandbox.take(name)
    whole = random.random() < 0.1
    named = (name,) if whole else (*spoil(sandbox, path, random), name)
    must: Must = "be refused" if whole and name != "partial.safetensors" else "end"
    return attempt(sandbox, f"diff tiny {name} --out made", ("made",), named=(*named, "erased"), must=must)


KIND = Kind("adapters", "published weights and LoRAs, imported by diff", 20, play)
