"""`excise studio`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.studio import StudioRequest

EXAMPLES = """
  excise studio

  excise studio --host 0.0.0.0 --auth users.txt --root /srv/studio

  excise studio --space my-space"""


def studio(request: StudioRequest) -> None:
    """Open the page and stay until it is stopped; or write the folder of a Space."""
    if request.space is not None:
        from excise.studio.space import write

        screen.say(write(request.space))
        return
    from excise.studio.server import serve

    serve(request, lambda address: screen.say(f"the studio is open at {address}; Ctrl-C closes it"))


COMMAND = Command("studio", StudioRequest, studio, EXAMPLES)
