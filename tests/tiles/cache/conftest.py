"""Stores of every kind for the tests of the tile cache, over a real Redis server and a real S3 server."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tiles.cache import StoreAccess, TileName, Tileset, TileStore, open_tile_store

KINDS = ("files", "mbtiles", "geopackage", "redis", "s3")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        assert process.poll() is None, "the server has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., tuple[str, subprocess.Popen[bytes]]]]:
    """Starts a Redis server with options of its own; its URL and process."""
    program = shutil.which("redis-server")
    assert program is not None, "install redis-server (scripts/packages.txt)"
    started = []

    def start(*options: str, port: int | None = None) -> tuple[str, subprocess.Popen[bytes]]:
        port = port or free_port()
        process = subprocess.Popen(
            [
                program,
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                *options,
            ],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        wait_for(port, process)
        return f"redis://127.0.0.1:{port}/0", process

    yield start
    for process in started:
        if process.poll() is None:
            stop(process)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    assert program is not None, "install redis-server (scripts/packages.txt)"
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=tmp_path_factory.mktemp("redis"),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(process)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        cwd=tmp_path_factory.mktemp("s3"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@pytest.fixture
def s3_access(s3_endpoint: str, request: pytest.FixtureRequest) -> StoreAccess:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    bucket = f"b{zlib.crc32(request.node.nodeid.encode()):08x}"
    client.create_bucket(Bucket=bucket)
    client.close()
    return StoreAccess(
        s3_bucket=f"{bucket}/city/tiles",
        s3_endpoint=s3_endpoint,
        s3_access_key="key",
        s3_secret_key="secret",
    )


@pytest.fixture
def access_of(request: pytest.FixtureRequest) -> Callable[[str], StoreAccess]:
    """How a store of a kind is reached; the Redis server is emptied first."""

    def access(kind: str) -> StoreAccess:
        if kind == "redis":
            import redis

            url = request.getfixturevalue("redis_url")
            client = redis.Redis.from_url(url)
            client.flushall()
            client.close()
            return StoreAccess(redis_url=url)
        return request.getfixturevalue("s3_access") if kind == "s3" else StoreAccess()

    return access


@pytest.fixture(params=KINDS)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, access_of: Callable[[str], StoreAccess]
) -> Iterator[TileStore]:
    opened = open_tile_store(request.param, tmp_path / "tiles", access_of(request.param))
    yield opened
    opened.close()


def png(seed: int, size: int = 300) -> bytes:
    """A small PNG that is another one for every seed; not an image that a decoder likes to see."""
    content = struct.pack(">I", seed) * (size // 4)
    chunk = b"IDAT" + content
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(content))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


def webp(seed: int) -> bytes:
    content = b"WEBPVP8 " + struct.pack("<I", 4) + struct.pack("<I", seed)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def jpeg(seed: int) -> bytes:
    return b"\xff\xd8\xff\xe0" + struct.pack("<I", seed) * 20 + b"\xff\xd9"


@pytest.fixture
def body_of() -> Callable[..., bytes]:
    """Bytes of a tile: body_of(extension, seed)."""
    from tiles.cache.bodies import packed

    makers: dict[str, Callable[[int], bytes]] = {
        "png": png,
        "webp": webp,
        "jpeg": jpeg,
        "mvt": lambda seed: packed(struct.pack("<I", seed) * 50),
        "terrain": lambda seed: packed(struct.pack("<I", seed) * 60),
        "glb": lambda seed: packed(struct.pack("<I", seed) * 70),
        "b3dm": lambda seed: packed(struct.pack("<I", seed) * 80),
        "i3s": lambda seed: packed(struct.pack("<I", seed) * 90),
    }
    return lambda extension="png", seed=0: makers[extension](seed)


@pytest.fixture
def tileset() -> Callable[..., Tileset]:
    def make(**parts: Any) -> Tileset:
        given = {
            "tenant": "demo",
            "collection": "boxes",
            "generation": 1,
            "form": "map-plain-1a2b3c4d",
            "grid": "WebMercatorQuad",
            "extension": "png",
        }
        return Tileset(**(given | parts))

    return make


@pytest.fixture
def name(tileset: Callable[..., Tileset]) -> Callable[..., TileName]:
    def make(z: int = 10, x: int = 500, y: int = 300, **parts: Any) -> TileName:
        return TileName(tileset(**parts), z, x, y)

    return make


class Log:
    """Data that counts its edits and knows where they were."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, float, float, float]] = []
        self.known = True

    def edit(self, *box: float) -> None:
        self.boxes.append(box)  # type: ignore[arg-type]  # four numbers

    def change(self) -> int:
        return len(self.boxes)

    def dirty_since(self, change: int | str) -> list[tuple[float, float, float, float]] | None:
        return self.boxes[int(change) :] if self.known else None

    def touched_since(self, change: int | str, box84: tuple[float, float, float, float]) -> bool:
        if not self.known:
            return change != self.change()
        west, south, east, north = box84
        return any(
            one[0] <= east and one[2] >= west and one[1] <= north and one[3] >= south
            for one in self.boxes[int(change) :]
        )


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def forked() -> Callable[..., list[Callable[[], int | None]]]:
    """Runs functions in forked processes: forked(f, arguments, arguments ...); each gives its exit code when it is called.

    A function ends its process by itself where something is wrong (os._exit with a number over 0).
    """

    def start(function: Callable[..., object], *calls: tuple[Any, ...]) -> list[Callable[[], int | None]]:
        for _ in range(200):  # threads that delete files in the background; a fork of many threads is refused
            if threading.active_count() == 1:
                break
            time.sleep(0.02)
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_to_its_end, args=(function, *call)) for call in calls]
        for process in processes:
            process.start()

        def code(process: Any) -> int | None:
            process.join(60)
            return process.exitcode

        return [partial(code, process) for process in processes]

    return start


def _to_its_end(function: Callable[..., object], *arguments: Any) -> None:
    function(*arguments)
    os._exit(0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system; RLIMIT_FSIZE is tested for everyone")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount; RLIMIT_FSIZE is tested for everyone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
