"""Lists of shards that lead elsewhere: to pickles, to other folders, to absolute paths."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.strange_files import pickled
from torture.verbs import FEWEST

PARTS = ("unet", "vae", "text_encoder", "clip")
PICKLES = (
    "evil.bin",
    "evil.pt",
    "evil.ckpt",
    "evil.pth",
    "evil.pkl",
    "sub/evil.bin",
    "evil.safetensors.bin",
    "evil.bin\0.safetensors",
)


def play(sandbox: Sandbox, random: Random) -> Played:
    """Replace a part's weights by a list that names one hostile file; it must be refused before that is opened."""
    part = random.choice(PARTS)
    folder = sandbox.take("clip") if part == "clip" else sandbox.take("tiny", "MODEL") / part
    for whole in folder.glob("*.safetensors"):
        whole.unlink()
    keys = [f"layer.{number}.weight" for number in range(3)]
    names = ["good.safetensors", random.choice(_hostile(sandbox, folder, random)), "good.safetensors"]
    sandbox.take("partial.safetensors", folder / "good.safetensors")
    index = json.dumps({"metadata": {}, "weight_map": dict(zip(keys, names, strict=True))})
    (folder / f"{_stem(part)}.safetensors.index.json").write_text(index)
    if random.random() < 0.2:
        (folder / f"{_stem(part)}.bin.index.json").write_text(index)
    return attempt(sandbox, _command(part, sandbox), ("made.json", "made.png"), must="be refused", named=("index", part))


def _hostile(sandbox: Sandbox, folder: Path, random: Random) -> list[str]:
    """Names that lead to a pickle beside, or to a good file outside."""
    for name in PICKLES:
        if "\0" not in name:
            sandbox.own(folder / name, pickled(sandbox, random))
    outside = sandbox.outside / "o.safetensors"
    up = "/".join([".."] * len(folder.relative_to(sandbox.root).parts))
    (folder / "link").symlink_to(sandbox.outside)
    leads = [
        str(outside),
        f"{up}/outside/o.safetensors",
        f"./{up}/outside/o.safetensors",
        "link/o.safetensors",
        f"file://{outside}",
        "..",
        "",
    ]
    return [*leads, *PICKLES]


def _stem(part: str) -> str:
    return "diffusion_pytorch_model" if part in ("unet", "vae") else "model"


def _command(part: str, sandbox: Sandbox) -> str:
    if part != "clip":
        return "generate cat --model MODEL --steps 1 --out made.png"
    sandbox.take("tiny")
    return f"evaluate --concept cat --model tiny {FEWEST} --clip clip --json made.json"


KIND = Kind("shards", "lists of shards with hostile names", 20, play)
