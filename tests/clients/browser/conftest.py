"""The demo city, served, and a browser that must stay free of errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BUILT_WITHIN = 420  # seconds for the demo city from nothing, on two busy cores


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until /health/ready answers 200; fails with the end of the server's log."""
    deadline = time.monotonic() + BUILT_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=5) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"the demo city did not come up:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a served demo city: CHENGTU_CITY where one runs already, else one of our own."""
    given = os.environ.get("CHENGTU_CITY")
    if given:
        yield given.rstrip("/")
        return
    folder = tmp_path_factory.mktemp("city")
    log = folder / "demo.log"
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "chengtu"),
        "demo",
        "--home",
        str(folder / "home"),
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield launched
        launched.close()


type OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def open_page(browser: Browser, city: str) -> OpenPage:
    """`with open_page("/path", "zh-CN", width=1280) as page:`; on leaving, the page must have been free of errors.

    An error is a console error or warning, an exception nobody caught, an answer of 400 or more, or a request to
    anyone but this server.
    """

    @contextmanager
    def opened(path: str, locale: str = "en-GB", width: int = 1280, height: int = 800) -> Iterator[Page]:
        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        context.set_default_timeout(180_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "response",
            lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )
        page.on(
            "request",
            lambda r: problems.append(r.url) if not r.url.startswith((city, "data:", "blob:")) else None,
        )
        try:
            page.goto(city + path)
            yield page
        finally:
            context.close()
        assert problems == []

    return opened
