"""A served city for real clients: the whole demo, or one small block; and what the registry says of it."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from server.publish import PublishRequest, ReadingOptions, publish
from server.registry.catalogue import Collection
from server.registry.reader import open_catalogue_reader
from server.registry.registry import open_registry
from server.settings import load_settings

BUILT_WITHIN = 420  # seconds for the demo city from nothing, on two busy cores
PROGRAM_WITHIN = 180  # seconds for one run of a client's program


@dataclass(frozen=True)
class Served:
    """A running server: its address without a slash at the end, and the data home it serves."""

    address: str
    home: Path | None


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
            if requests.get(f"{address}/health/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.3)
    pytest.fail(f"the city did not come up:\n{log.read_text(errors='replace')[-3000:]}")


@contextmanager
def running(command: str, home: Path) -> Iterator[Served]:
    """`chengtu COMMAND` on a free port, until left."""
    log, port = home.with_suffix(".log"), free_port()
    arguments = [str(Path(sys.executable).parent / "chengtu"), command, "--home", str(home)]
    arguments += ["--port", str(port), "--workers", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield Served(f"http://127.0.0.1:{port}", home)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo city, served: CHENGTU_CITY (and its home CHENGTU_CITY_HOME) where one runs already, else our own."""
    given, home = os.environ.get("CHENGTU_CITY"), os.environ.get("CHENGTU_CITY_HOME")
    if given:
        yield Served(given.rstrip("/"), Path(home) if home else None)
        return
    with running("demo", tmp_path_factory.mktemp("city") / "home") as served:
        yield served


@pytest.fixture(scope="session")
def city(demo: Served) -> str:
    """The address of the served demo city."""
    return demo.address


@pytest.fixture(scope="session")
def helsinki(city: str) -> str:
    """The address of the tenant helsinki."""
    return f"{city}/t/helsinki"


@pytest.fixture(scope="session")
def published(demo: Served) -> Mapping[str, Collection]:
    """Collections by their qualified id, as the registry has them."""
    assert demo.home is not None, "say the data home of CHENGTU_CITY in CHENGTU_CITY_HOME"
    reader = open_catalogue_reader(load_settings((), {}, {"data.home": demo.home}))
    try:
        return {one.qualified_id: one for one in reader.current().collections.values()}
    finally:
        reader.close()


@pytest.fixture(scope="session")
def block(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a served city of one collection, `beijing.blocks`: three squares, two of them named in Chinese."""
    home = tmp_path_factory.mktemp("block") / "home"
    settings = load_settings((), {}, {"data.home": home})
    with open_registry(settings) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
        request = PublishRequest(
            files=(root / "tests" / "data" / "blocks.geojson",),
            tenant="beijing",
            id="blocks",
            titles={"en": "Blocks", "zh": "街区"},
            attribution="© the makers of this test",
            reading=ReadingOptions(time_field="built"),
        )
        publish(request, registry, settings)
    with running("serve", home) as served:
        yield served.address


@pytest.fixture(scope="session")
def http() -> Iterator[requests.Session]:
    """A session that keeps its connections."""
    with requests.Session() as session:
        yield session


type Fetch = Callable[..., Any]


@pytest.fixture(scope="session")
def fetch_json(http: requests.Session) -> Fetch:
    """`fetch_json(url, **parameters)`: the document of an answer that must be 200."""

    def fetch(url: str, **parameters: str) -> Any:
        reply = http.get(url, params=parameters, timeout=60)
        assert reply.status_code == 200, f"{reply.status_code} {reply.url}: {reply.text[:500]}"
        return reply.json()

    return fetch


type Run = Callable[..., str]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run("ogrinfo", "-q", ...)`: a program's standard output. It must succeed, and its standard error must be empty
    but for what the keyword `allowed` says is known.
    """
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o700)
    homes = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), str(folder)
    )
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "QT_QPA_PLATFORM": "offscreen",
        "GDAL_PAM_ENABLED": "NO",
        **homes,
    }

    def ran(*command: str, allowed: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROGRAM_WITHIN,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if line and not any(one in line for one in allowed)]
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout[-2000:]}"
        assert said == [], f"{command}: {said}"
        return done.stdout

    return ran


type Look = Callable[[bytes | Path], Any]


@pytest.fixture(scope="session")
def look() -> Look:
    """The pixels (rows, columns, 4) uint8 of an image, which must not be of one colour."""

    def looked(image: bytes | Path) -> Any:
        source = io.BytesIO(image) if isinstance(image, bytes) else image
        with Image.open(source) as opened:
            pixels = np.asarray(opened.convert("RGBA"))
        colours = np.unique(pixels.reshape(-1, 4), axis=0)
        assert len(colours) > 4, f"an image of {pixels.shape} has only the colours {colours.tolist()}"
        return pixels

    return looked
