"""What a page in the browser is asked for."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from excise.files import at_home, read_text, vacant
from excise.models.names import resolve
from excise.quoting import cut
from excise.requests.fields import Device, Flag, Names, UserPath
from excise.requests.request import Request

HERE = "127.0.0.1"
"""The address that this machine alone can reach."""


class StudioRequest(Request):
    """Open a page in the browser: choose what to erase, watch it, compare before and after.

    The page goes on until it is stopped. What it writes lies below `root`; people who open it see what they made themselves. Nothing is asked
    of any other machine, but for a model that somebody names by its hub id.

    Raises ValueError if Gradio is missing, or if others can reach the page and no password is set; FileNotFoundError for a model that is not
    there; FileExistsError if another page has the same root, or there is something at `space`.
    """

    reports: ClassVar = False

    model: Names = Field((), description="A model that the page offers besides the built-in ones; may be given several times.")
    root: UserPath = Field(
        Path("out/studio"), description="Folder that everything is written to, and that model folders named on the page lie in."
    )
    host: str = Field(HERE, description="Address that is listened at; one that others can reach needs --auth.")
    port: int = Field(7860, ge=1, le=65535, description="Port that is listened at.")
    auth: Annotated[SecretStr | None, Flag(metavar="USER:PASSWORD")] = Field(
        None, description="Who may open the page: user:password, or a file with such lines."
    )
    device: Device
    space: UserPath | None = Field(None, description="Write the folder of a Hugging Face Space with the same page, and stop.")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def users(self) -> tuple[tuple[str, str], ...]:
        """Names and passwords; none where nobody is asked. Raises ValueError, which quotes no password, for lines that are none."""
        if self.auth is None:
            return ()
        given = self.auth.get_secret_value()
        lines = read_text(at_home(given)).splitlines() if at_home(given).is_file() else [given]
        pairs = [line.strip().partition(":")[::2] for line in lines if line.strip()]
        if not pairs or not all(name and password for name, password in pairs):
            raise ValueError("auth must be user:password, or a file with one such line for each user")
        if len(dict(pairs)) < len(pairs):
            raise ValueError("auth names a user twice")
        return tuple(pairs)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.root if self.space is None else self.space,)

    def check(self) -> None:
        if self.space is not None:
            if not vacant(self.space):
                raise FileExistsError(f"{self.space} exists; choose another path")
            return
        if find_spec("gradio") is None:
            raise ValueError("the studio needs Gradio: pip install 'excise[studio]'")
        for model in self.model:
            resolve(model)
        if not self.users and not self.local:
            raise ValueError(
                f"others can reach {cut(self.host)}: say who may open the page with --auth user:password, or a file of such lines"
            )
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is not a folder")
