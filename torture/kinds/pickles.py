"""Pickles wherever weights may be given: none may be opened."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.strange_files import pickled
from torture.verbs import FEWEST

ENDINGS = (".ckpt", ".pt", ".bin", ".pth", ".pkl", ".npy", ".npz", ".safetensors", ".joblib", "")
EVALUATE = f"evaluate --concept cat --model tiny {FEWEST}"
SUITE = "suite run {} --model tiny --out made"
COMMANDS = (
    "info FILE",
    "generate cat --model FILE --out made.png",
    "diff tiny FILE --out made",
    f"{EVALUATE} --features inception --inception FILE",
    f"{EVALUATE} --lpips FILE",
    f"{EVALUATE} --clip FILE",
    SUITE.format("unlearncanvas --set target=style:Van_Gogh --weights uc_style=FILE --weights uc_object=FILE"),
    SUITE.format("i2p --set prompts=i2p.csv --weights nudenet=FILE"),
    "erase --config FILE --dry-run",
    "report FILE",
)
PLACES = (
    "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/pytorch_model", "text_encoder/model", "classifier",
)  # fmt: skip


def play(sandbox: Sandbox, random: Random) -> Played:
    """A pickle as a file of its own, or as the weights of a part of a model."""
    sandbox.take("tiny")
    sandbox.take("i2p.csv")
    ending, pickle = random.choice(ENDINGS), pickled(sandbox, random)
    if random.random() < 0.6:
        name = f"evil{ending}"
        sandbox.own(sandbox.work / name, pickle)
        argv = random.choice(COMMANDS).replace("FILE", name)
        return attempt(sandbox, argv, must="be refused")
    place = random.choice(PLACES)
    for old in (sandbox.work / "tiny" / place).parent.glob("*.safetensors"):
        old.unlink()
    sandbox.own(sandbox.work / "tiny" / f"{place}{ending}", pickle)
    if place == "classifier":
        return attempt(sandbox, EVALUATE, must="be refused")
    return attempt(sandbox, "generate cat --model tiny --steps 1 --out made.png", must="be refused")


KIND = Kind("pickles", "pickles in the place of weights", 30, play)
