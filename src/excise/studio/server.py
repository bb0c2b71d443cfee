"""The page as a server on this machine: who may come in, and what it never does."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from excise.requests.studio import StudioRequest
from excise.studio.actions import MADE, Studio
from excise.studio.private_folder import PEOPLE

LARGEST = "4gb"
"""Of a file that is uploaded (ours): a dense edit of the largest models."""

_RULES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'"
)
"""What a browser may fetch: what comes from here, and nothing else."""


def serve(request: StudioRequest, tell: Callable[[str], None]) -> None:
    """Open the page, tell its address, and stay until a signal comes."""
    with opened(request.root, request.model, request.device, request.host, request.port, request.users) as address:
        tell(address)
        threading.Event().wait()


@contextmanager
def opened(
    root: Path,
    offered: Sequence[str] = (),
    device: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    users: Sequence[tuple[str, str]] = (),
    framed: bool = False,
) -> Iterator[str]:
    """Inside the block the page is open at the address that is given.

    framed  whether the page of somebody else may show it inside (a Space)

    Raises OSError if the port is taken.
    """
    _say_nothing(root)
    import gradio
    import safehttpx
    from starlette.middleware import Middleware

    from excise.studio.layout import build
    from excise.studio.theme import theme

    safehttpx.async_validate_url = _fetch_nothing
    studio = Studio(root, offered, device)
    page = build(studio)
    try:
        try:
            _, address, _ = page.launch(
                server_name=host, server_port=port, auth=list(users) or None, prevent_thread_lock=True, quiet=True,
                share=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, inbrowser=False, footer_links=[],
                allowed_paths=[], blocked_paths=[str(studio.root / PEOPLE)], max_file_size=LARGEST,
                theme=theme(), css_paths=Path(__file__).with_name("studio.css"),
                app_kwargs={"middleware": [Middleware(_Headers, framed=framed)], "docs_url": None, "redoc_url": None},
            )  # fmt: skip
        except OSError as error:
            raise OSError(f"nothing can listen at {host}, port {port} ({error}); give another --port") from None
        yield address
    finally:
        page.close(verbose=False)
        studio.close()
        gradio.close_all(verbose=False)


def _say_nothing(root: Path) -> None:
    """No word to anybody about this page, and no file outside the root; read when Gradio is imported."""
    shutil.rmtree(root / MADE, ignore_errors=True)
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": str((root / MADE).absolute()),
    }


async def _fetch_nothing(host: str) -> str:
    """Stands where Gradio asks whether it may fetch an address that a browser sends in place of a file."""
    raise ValueError("the studio fetches nothing from other machines")


class _Headers:
    """Sends with every answer what browsers may fetch."""

    def __init__(self, app: Any, framed: bool) -> None:
        rules = _RULES if framed else f"{_RULES}; frame-ancestors 'none'"
        self.app = app
        self.headers = [
            (b"content-security-policy", rules.encode()),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        await self.app(scope, receive, answer if scope["type"] == "http" else send)
