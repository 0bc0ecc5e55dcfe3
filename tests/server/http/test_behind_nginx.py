"""docker/nginx.conf with a real nginx, in front of real workers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


@pytest.fixture(scope="module")
def upstream(city: Any) -> Iterator[int]:
    """Our own command, serving the small city."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(city.home)]
    process = subprocess.Popen([*command, "--port", str(port), "--workers", "1"])
    try:
        wait_for(f"http://127.0.0.1:{port}/health/ready", process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def proxy(root: Path, upstream: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The committed configuration; only addresses and temporary folders are replaced."""
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    text = (root / "docker" / "nginx.conf").read_text()
    text = text.replace("server:8000", f"127.0.0.1:{upstream}").replace(
        "listen 8080", f"listen 127.0.0.1:{port}"
    )
    text = text.replace("/tmp/", f"{folder}/")
    (folder / "nginx.conf").write_text(text)
    folder.chmod(0o755)
    check = subprocess.run(
        [NGINX, "-t", "-c", folder / "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"])
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health/ready", process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def test_links_carry_the_address_the_client_used(proxy: str) -> None:
    landing = requests.get(f"{proxy}/ogc/?f=json", timeout=30).json()
    assert all(link["href"].startswith(proxy) for link in landing["links"])


def test_items_are_compressed_and_revalidated(proxy: str) -> None:
    url = f"{proxy}/t/demo/ogc/collections/boxes/items?limit=200"
    first = requests.get(url, timeout=30)
    assert first.headers["Content-Encoding"] == "gzip"
    assert first.json()["numberReturned"] == 200
    again = requests.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")


def test_ranges_pass_through(proxy: str) -> None:
    url = f"{proxy}/t/demo/ogc/collections/boxes/download/boxes.gpkg"
    part = requests.get(url, headers={"Range": "bytes=0-15"}, timeout=30)
    assert (part.status_code, part.content) == (206, b"SQLite format 3\0")


def test_bodies_that_are_too_large_stop_at_the_door(proxy: str) -> None:
    url = f"{proxy}/t/demo/ogc/processes/buffer-clip/execution"
    assert requests.post(url, data=b"x" * (11 << 20), timeout=60).status_code == 413


def test_chinese_ids_and_filters_survive_the_wire(proxy: str) -> None:
    url = f"{proxy}/t/demo/ogc/collections/boxes/items"
    found = requests.get(url, params={"kind": "住宅", "limit": "300"}, timeout=30).json()
    assert found["numberReturned"] > 50
    assert {feature["properties"]["kind"] for feature in found["features"]} == {"住宅"}
