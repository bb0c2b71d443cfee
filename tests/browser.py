"""A headless Chromium, spoken to by its DevTools protocol over a pipe: nothing but the standard library and the browser."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120


def find() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
"""Keys that can be pressed, with their codes."""


class Tab:
    """One page. `complaints` holds what its console and its scripts said was wrong, `requests` the addresses that were asked for."""

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.rest, self.number, self.session = to, back, b"", 0, ""
        self.loaded, self.complaints, self.requests = False, list[str](), list[str]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setFocusEmulationEnabled", enabled=True
        )  # otherwise nothing loses the focus, as in a window behind others

    def call(self, method: str, **options: Any) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises RuntimeError for a refusal."""
        self.number += 1
        about = {"id": self.number, "method": method, "params": options} | ({"sessionId": self.session} if self.session else {})
        os.write(self.to, json.dumps(about).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def open(self, page: Path | str, width: int, height: int = 900, **features: str) -> None:
        """Show a file or an address at a width in CSS pixels; features such as prefers_color_scheme="dark"."""
        self.loaded = False
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=told)
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while not self.loaded:
            self._next()

    def value(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key of the keyboard, one of `KEYS`."""
        more: dict[str, Any] = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key.strip() or "Space",
                windowsVirtualKeyCode=KEYS[key],
                **more,
            )
            more = {}

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def wait(self, script: str, seconds: float = PATIENCE) -> Any:
        """What a JavaScript expression gives as soon as that is true. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.value(script):
                return found
            time.sleep(0.2)
        raise TimeoutError(f"not within {seconds:.0f} s: {script}")

    def shoot(self, path: Path, whole: bool = True) -> None:
        """A picture of the page as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.back], [], [], PATIENCE)
            part = os.read(self.back, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser has ended" if ready else f"the browser said nothing for {PATIENCE} s")
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["text"])
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(told["args"]))


@contextmanager
def tab(program: str, *more: str) -> Iterator[Tab]:
    """A fresh browser with one page; it is ended afterwards. `more` are further options of it."""
    (read_here, to), (back, write_there) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # the browser reads commands from descriptor 3 and answers on 4
        command = ["bash", "-c", f'exec "$@" 3<&{read_here} 4>&{write_there}', "bash", program]
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            *more,
        ]
        browser = subprocess.Popen([*command, *options], pass_fds=(read_here, write_there), stderr=subprocess.DEVNULL)
        os.close(read_here)
        os.close(write_there)
        try:
            yield Tab(to, back)
        finally:
            browser.terminate()
            browser.wait()
            os.close(to)
            os.close(back)
