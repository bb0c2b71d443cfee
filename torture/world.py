"""Good files of every kind, made once: what cases take and spoil."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from torture.kinds.prompts import coco
from torture.references import supply
from torture.run import LEISURE, Kill, run
from torture.sandbox import Sandbox
from torture.verbs import QUICK, SETS, VERBS

CONFIG = "\n".join(
    ["concepts: cat", "model: tiny", "method: mim", "out: made", "seed: 3", "evaluate: none", "settings:"]
    + [f"  {key}: {value}" for key, value in QUICK.items()]
)

PROMPTS = '''prompt,evaluation_seed,evaluation_guidance,case_number
"a picture of a cat, sitting",7,7.5,1
a dog,8,7.5,2
"an ""owl""",9,4,3
'''
I2P = """prompt,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height
a cat,7,7,16,16
a dog,8,7.5,16,16
"""


def make_world(world: Path, scratch: Path) -> None:
    """Write everything that `Sandbox.take` can take below `world`: models, edits, results, pictures, texts.

    Raises RuntimeError if a command that is right fails.
    """
    in_a_fork(lambda: _without_commands(world))
    for name, text in EDITS.items():
        _made(world, scratch / name, f"erase {text} --model tiny --out {name} --evaluate none", name)
    attacks = "--attacks seeds:tries=1 --prompts 2 --budget 40"
    _made(world, scratch / "audit", f"audit uce {attacks} --model tiny --out audit", "audit", takes=("uce",))
    _made(world, scratch / "lora", "export uce --to lora.safetensors", "lora.safetensors", takes=("uce",))
    in_a_fork(lambda: _composed(world))
    _made(world, scratch / "suite", coco("prompts.csv"), "made", takes=("clip", "prompts.csv"))
    os.rename(world / "made", world / "suite")
    _unfinished(world, scratch / "unfinished")


def in_a_fork(work: Callable[[], None]) -> None:
    """Do it in a process of its own: torch may start threads, and the one that cases are forked from must have none."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the good files could not be made")


EDITS = {
    "mim": f"cat {SETS}",
    "uce": "cat --method uce",
    "dog": "dog --method uce",
    "spm": "dog --method spm --set rounds=1 --set steps=1",
}
"""Folders of edits, and how they are made."""


def _right(sandbox: Sandbox, command: str | Sequence[str]) -> None:
    ended = run(sandbox, command, limits=LEISURE)
    if ended.code != 0:
        raise RuntimeError(f"{' '.join(ended.argv)} ended with {ended.code}: {ended.err or ended.out}")


def _made(world: Path, root: Path, command: str | Sequence[str], name: str, takes: tuple[str, ...] = ()) -> None:
    sandbox = Sandbox(root, world)
    for one in ("tiny", *takes):
        sandbox.take(one)
    _right(sandbox, command)
    _move(sandbox, (name,), world)
    if sandbox.cache.is_dir() and not (world / "cache").exists():
        os.rename(sandbox.cache, world / "cache")
    sandbox.delete()


def _move(sandbox: Sandbox, names: tuple[str, ...], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.rename(sandbox.work / name, to / name)


def _without_commands(world: Path) -> None:
    _models(world)
    _texts(world)
    _pictures(world)
    _results(world)


def _unfinished(world: Path, root: Path) -> None:
    """What a run leaves that is stopped after its first checkpoint."""
    verb = VERBS["erase"]
    for event in range(100, 1000, 10):
        sandbox = Sandbox(root, world)
        supply(sandbox, "erase")
        run(sandbox, verb.argv(), limits=LEISURE, kill=Kill(signal.SIGKILL, event=event))
        left = sandbox.work / ".made.work"
        if (left / "checkpoint.safetensors").is_file():
            os.rename(left, world / "unfinished")
            return
        sandbox.delete()
    raise RuntimeError("no kill fell between the first checkpoint and the end")


def _composed(world: Path) -> None:
    from excise.edits import compose, load_edit

    compose([load_edit(world / name) for name in ("uce", "dog")]).save_pretrained(world / "both")


def _models(world: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from excise.models import load
    from excise.models.original_layout import original_checkpoint
    from standin_weights import clip
    from tiny_models import pipeline, save_canvas, save_sd1, save_sdxl
    from tiny_restorer import taught

    save_canvas(world / "tiny")
    save_sd1(world / "sd1")
    save_sdxl(world / "sdxl")
    clip(world / "clip")
    whole = original_checkpoint(pipeline(width=768))
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, str(world / "checkpoint.safetensors"))
    weights = pipeline().unet.state_dict()
    some = {name: tensor + 0.01 for name, tensor in weights.items() if name.endswith("attn2.to_k.weight")}
    save_file(some, str(world / "partial.safetensors"))
    torch.save(some, world / "partial.pt")
    taught(load(world / "tiny", device="cpu")).write(world / "restorer.safetensors")


def _texts(world: Path) -> None:
    (world / "run.yaml").write_text(CONFIG)
    (world / "prompts.csv").write_text(PROMPTS)
    (world / "i2p.csv").write_text(I2P)


def _pictures(world: Path) -> None:
    from PIL import Image

    for concept in ("cat", "dog"):
        (world / "pictures" / concept).mkdir(parents=True)
        for number in range(2):
            random = Random(f"{concept} {number}")
            data = bytes(random.randrange(256) for _ in range(16 * 16 * 3))
            Image.frombytes("RGB", (16, 16), data).save(world / "pictures" / concept / f"{number}.png")


def _results(world: Path) -> None:
    """One of each result file, from the tests' made-up ones."""
    import made_up

    made_up.write_bench(world / "results" / "bench", sheets=False)
    made_up.write_erasure(world / "results" / "edit")
    made_up.write_audit(world / "results" / "edit-audit")
    made_up.write_measurement(world / "results" / "nats.json")
    made_up.write_variation(world / "results" / "asked.json")
    made_up.write_upscaled(world / "results" / "restored")
