"""schemathesis over our own OpenAPI document, against a live server; and half-open requests against the same."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.settings import settings_environment

pytestmark = pytest.mark.acceptance
_HALF = (
    b"POST /ogc/processes/buffer-clip/execution HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 5000\r\n\r\n{"
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until, "the server did not become ready"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def live(city: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of its own over the small city."""
    port = _free_port()
    log = tmp_path_factory.mktemp("live") / "server.log"
    command = [sys.executable, "-m", "server.cli", "serve", "--home", str(city.home), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=settings_environment(city.settings)
        )
    try:
        _wait(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
        assert city.token not in log.read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("view", ["", "/t/demo"])
def test_our_openapi_document_holds_against_the_server(live: str, view: str, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"{live}{view}/ogc/api?f=json", timeout=10) as reply:
        document = json.load(reply)
    # Ids that are there, or nearly every request would end at the first segment that is not.
    for name, known in (
        ("collectionId", "boxes" if view else "demo.boxes"),
        ("processId", "buffer-clip"),
        ("featureId", "1"),
    ):
        document["components"]["parameters"][name]["schema"]["enum"] = [known, "absent"]
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", str(schema), "--url", f"{live}{view}/ogc"),
        # What we promise: no failure of the server, answers of the media types and shapes that are described.
        *("--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"),
        *("--seed", "20260101", "--max-examples", "30", "--workers", "2", "--request-timeout", "10"),
        *("--phases", "examples,coverage,fuzzing"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_half_open_requests_do_not_stop_the_server(live: str) -> None:
    address = ("127.0.0.1", int(live.rsplit(":", 1)[1]))
    held = [socket.create_connection(address) for _ in range(60)]
    try:
        for one in held:
            one.sendall(_HALF)
        # Later than the server's patience with a body, so that no thread still waits for one.
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"{live}/ogc", timeout=5) as reply:
                    assert reply.status == 200
                    return
            except TimeoutError:
                assert time.monotonic() < until, "half-open requests hold every thread"
    finally:
        for one in held:
            one.close()
