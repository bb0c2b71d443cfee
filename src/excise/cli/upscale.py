"""`excise upscale`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.upscale import UpscaleRequest

EXAMPLES = """
  excise upscale small.png --out out/large

  excise upscale *.jpg --model ./stable-diffusion-2-1-base --restorer sr.safetensors --fidelity 0.8 --out out/large"""


def upscale(request: UpscaleRequest) -> None:
    """Restore the pictures, and print their files."""
    from excise.jobs.upscale import run

    with screen.progress() as progress:
        about = run(request, progress)
    for picture in about.pictures:
        screen.say(f"{request.out / picture.file}: {picture.width} x {picture.height} pixels, from {picture.source}")
    screen.say(f"restored in {about.seconds:.0f} s; details are invented in keeping with each picture")


COMMAND = Command("upscale", UpscaleRequest, upscale, EXAMPLES)
