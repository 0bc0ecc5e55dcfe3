"""Fixtures of all tests: where things are, and the sample data that is only here on some machines."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")
SAMPLE_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def write_points() -> Callable[..., Path]:
    """Write points as a COPC with its nodes: write_points(path, x, y, z, classification=..., intensity=..., crs="EPSG:28992")."""

    def write(path: Path, x: Any, y: Any, z: Any, *, crs: str = "EPSG:28992", **columns: Any) -> Path:
        import laspy

        from pointclouds.cloud.nodes import compute_nodes, nodes_path
        from pointclouds.copc.reader import CopcFile
        from pointclouds.copc.writer import write_copc

        header = laspy.LasHeader(point_format=columns.pop("point_format", 6), version="1.4")
        header.scales, header.offsets = [0.001] * 3, [float(int(values.min())) for values in (x, y, z)]
        las = laspy.LasData(header)
        las.points = laspy.ScaleAwarePointRecord.zeros(len(x), header=header)
        las.x, las.y, las.z = x, y, z
        for name, values in {"return_number": 1, "number_of_returns": 1, **columns}.items():
            las[name][:] = values
        source = path.with_suffix(".las")
        las.write(source)
        write_copc(source, path, crs=crs)
        source.unlink()
        with CopcFile(path) as copc:
            compute_nodes(copc).save(nodes_path(path))
        return path

    return write


@pytest.fixture(scope="session")
def chromium_flags(root: Path) -> list[str]:
    """How a headless Chromium is started without a screen, a graphics card or the outside world."""
    return (root / "scripts" / "chromium_flags.txt").read_text().split()


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """Real sample data that is never part of the repository."""
    if not SAMPLE_DATA.is_dir():
        pytest.skip("the sample data beside the repository is not here")
    return SAMPLE_DATA


@pytest.fixture(scope="session")
def pdal_command(root: Path) -> str:
    """The `pdal` of CHENGTU_TEST_PDAL, else the one that scripts/pdal_bullseye brings; tests fail without one."""
    command = os.environ.get("CHENGTU_TEST_PDAL") or str(root / "build" / "pdal-bullseye" / "bin" / "pdal")
    assert shutil.which(command), f"there is no PDAL at {command}: run scripts/pdal_bullseye install"
    return command


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database: CHENGTU_TEST_POSTGRES, or a private cluster of its own."""
    given = os.environ.get("CHENGTU_TEST_POSTGRES")
    if given:
        yield given
        return
    programs = sorted(POSTGRESQL_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        message = (
            "no PostgreSQL here; set CHENGTU_TEST_POSTGRES or install the packages of scripts/packages.txt"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield from _private_cluster(programs[-1].parent)


def _private_cluster(programs: Path) -> Iterator[str]:
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="chengtu-pg-") as name:
        folder = Path(name)
        if as_postgres:
            shutil.chown(folder, "postgres", "postgres")
        cluster = folder / "cluster"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [*as_postgres, str(programs / program), *arguments],
                check=True,
                capture_output=True,
                cwd=folder,
            )

        run(
            "initdb",
            "-D",
            str(cluster),
            "-A",
            "trust",
            "-U",
            "chengtu",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        options = f"-p {port} -k {folder} -c listen_addresses= -c fsync=off"
        run("pg_ctl", "-D", str(cluster), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://chengtu@/postgres?host={folder}&port={port}"
        finally:
            run("pg_ctl", "-D", str(cluster), "-w", "-m", "immediate", "stop")


class WorkerConnection:
    """A connection that stays open, and so stays with one worker."""

    def __init__(self, port: int) -> None:
        self._inner = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._inner.connect()

    @property
    def own_port(self) -> int:
        """The port at this end."""
        return int(self._inner.sock.getsockname()[1])

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in small letters) and body; `_` in the name of a header stands for `-`."""
        self._inner.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        reply = self._inner.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The answer to a GET."""
        return self.request("GET", path, **headers)

    def close(self) -> None:
        """Close it."""
        self._inner.close()


@dataclass
class RunningServer:
    """`chengtu serve` with real workers, and a connection to each of them."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    connections: dict[int, WorkerConnection] = field(default_factory=dict)

    @property
    def workers(self) -> list[int]:
        """The processes that answer."""
        return children(self.process.pid)

    def connect(self) -> list[WorkerConnection]:
        """A connection to each worker that is there now; those that were there are kept."""
        workers = self.workers
        for worker in set(self.connections) - set(workers):
            self.connections.pop(worker).close()

        def all_reached() -> bool:
            connection = WorkerConnection(self.port)
            status = connection.get("/health/ready")[0]
            worker = _at_the_other_end(connection.own_port, self.port, workers)
            if status == 200 and worker is not None and worker not in self.connections:
                self.connections[worker] = connection
            else:
                connection.close()
            return len(self.connections) == len(workers)

        if len(self.connections) < len(workers):
            wait_until(all_reached)
        return [self.connections[worker] for worker in workers]


def children(process: int) -> list[int]:
    """The processes that a process has started and that are there."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait until something holds, and say how long it took; the limit is for a machine under load, not a promise."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + seconds, "it did not come true"
        time.sleep(0.01)
    return time.monotonic() - began


def unused_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _at_the_other_end(own: int, port: int, workers: list[int]) -> int | None:
    wanted = (f"{port:04X}", f"{own:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if (parts[1].split(":")[1], parts[2].split(":")[1]) == wanted:
            inode = f"socket:[{parts[9]}]"
            return next((worker for worker in workers if inode in _open_files(worker)), None)
    return None


def _open_files(process: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.add(os.readlink(entry))  # noqa: PTH115 - a socket's name is no path
        except FileNotFoundError:
            continue
    return found


def _is_ready(port: int) -> bool:
    try:
        connection = WorkerConnection(port)
        try:
            return connection.get("/health/ready")[0] == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _serving(home: Path, workers: int = 2, **variables: str) -> Iterator[RunningServer]:
    port = unused_port()
    command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(home)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workers", str(workers)],
        env={**os.environ, **{f"CHENGTU_{name}": value for name, value in variables.items()}},
    )
    server = RunningServer(home, port, process)
    try:
        wait_until(lambda: _is_ready(port) and len(server.workers) == workers)
        server.connect()
        yield server
    finally:
        for connection in server.connections.values():
            connection.close()
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[RunningServer]]:
    """Serves a data home: `with serving(home, workers=2, CACHE_STORE="redis", ...) as server`, settings by their variables."""
    return _serving


@pytest.fixture(scope="session")
def until() -> Callable[..., float]:
    """Waits until something holds: `seconds = until(lambda: ...)`."""
    return wait_until
