"""Tiles of a real server with two workers: edits are seen by both, one rendering serves many, a slow source starves nobody."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import shapely

from providers.features.source import Edit, EditKind
from providers.features.sources import SourceSettings
from providers.features.store import open_store
from providers.maps.remote import describe_remote_map
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings
from tiles.cache import open_tile_cache
from tiles.grids import tile_range

PLOTS = "/t/demo/ogc/collections/plots"
LONGITUDE, LATITUDE = 113.93, 22.65


class Connection:
    """A connection that stays open, and so stays with one worker."""

    def __init__(self, port: int) -> None:
        self.inner = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.inner.connect()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        self.inner.request("GET", path, headers=headers)
        reply = self.inner.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()

    def worker(self, port: int, processes: list[int]) -> int:
        """The process at the other end: the one that has the socket whose peer this one is."""
        local = self.inner.sock.getsockname()[1]
        wanted = (f"{port:04X}", f"{local:04X}")
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            parts = line.split()
            if (parts[1].split(":")[1], parts[2].split(":")[1]) == wanted:
                inode = f"socket:[{parts[9]}]"
                return next(process for process in processes if inode in _files(process))
        raise AssertionError("no process has the other end")


def _files(process: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.add(os.readlink(entry))  # noqa: PTH115 - a socket's name is no path
        except FileNotFoundError:
            continue
    return found


@dataclass
class Server:
    """Two workers, and a connection to each."""

    port: int
    town: Any
    connections: list[Connection]

    def renderings(self) -> int:
        """How many tiles were made, by all processes."""
        cache = open_tile_cache("files", self.town.home / "cache" / "tiles", memory_bytes=0)
        return cache.statistics().renderings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], object], seconds: float = 30.0) -> float:
    """Wait until something holds, and say how long it took; the limit is for a machine under load, not a promise."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + seconds, "it did not come true"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def server(city: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        town = type(city)(home, settings, registry)
        town.publish("plots", count=300, more={"if_match_required": False, "create_by_put": True})
        hanging = socket.create_server(("127.0.0.1", 0), backlog=256)  # connects, and never says a word
        host = f"127.0.0.1:{hanging.getsockname()[1]}"
        publish_cascade(registry, home, host)
        command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(home)]
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "2"],
            env={
                **os.environ,
                "CHENGTU_SERVER_BLOCKING_THREADS": "32",
                "CHENGTU_SOURCES_TIMEOUT_SECONDS": "2",
                "CHENGTU_SOURCES_ALLOWED_HOSTS": f'["{host}"]',
            },
        )
        connections: dict[int, Connection] = {}
        try:
            eventually(lambda: _ready(port), 60)
            workers = _children(process.pid)
            eventually(lambda: _connected(port, workers, connections))
            yield Server(port, town, list(connections.values()))
        finally:
            for connection in connections.values():
                connection.inner.close()
            hanging.close()
            process.terminate()
            process.wait(20)


def publish_cascade(registry: Any, home: Path, host: str) -> None:
    """A collection `far` whose map is another server's tiles."""
    allowed = SourceSettings(allowed_hosts=frozenset({host}))
    facts = describe_remote_map({"store": "xyz", "url": f"http://{host}/{{z}}/{{x}}/{{y}}.png"}, allowed)
    properties = {"remote": facts.remote, "tile_matrix_sets": ["WebMercatorQuad"]}
    draft = CollectionDraft(
        tenant="demo",
        id="far",
        titles={"en": "Far", "zh": "远"},
        bbox=(-180.0, -85.0, 180.0, 85.0),
        storage_crs="http://www.opengis.net/def/crs/EPSG/0/3857",
        access=Access.PUBLIC,
        attribution="nobody",
        licence="CC0-1.0",
        fields=(),
    )
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        kind = RepresentationKind.MAP
        registry.publish(draft, [Representation(kind, "", 0, properties=properties)], staged, False)


def _ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _connected(port: int, workers: list[int], connections: dict[int, Connection]) -> bool:
    """Open another connection; whether there is one to each of two workers."""
    connection = Connection(port)
    status, _, _ = connection.get("/health/ready")
    worker = connection.worker(port, workers)
    if status != 200 or worker in connections:
        connection.inner.close()
    else:
        connections[worker] = connection
    return len(connections) == 2


def addresses(longitude: float, latitude: float) -> list[str]:
    """The vector and map tile of every level at a place."""
    box = (longitude, latitude, longitude, latitude)
    found = []
    for zoom in range(17):
        one = tile_range("WebMercatorQuad", box, zoom)
        place = f"WebMercatorQuad/{zoom}/{one.min_row}/{one.min_column}"
        found += [f"{PLOTS}/tiles/{place}", f"{PLOTS}/map/tiles/{place}"]
    return found


def seen(server: Server, paths: list[str]) -> list[list[tuple[int, str, bytes]]]:
    """What each worker answers: status, validator and body of each path."""
    answers = []
    for connection in server.connections:
        got = [connection.get(path) for path in paths]
        answers.append([(status, headers["etag"], body) for status, headers, body in got])
    return answers


def test_an_edit_is_seen_by_both_workers_at_every_level(server: Server) -> None:
    here = addresses(LONGITUDE, LATITUDE)
    elsewhere = [path for path in addresses(114.08, 22.78) if path not in here]
    far = [path for path in elsewhere if int(path.split("WebMercatorQuad/")[1].split("/")[0]) >= 13]
    seen(server, [*here, *far])
    before, before_far = seen(server, here), seen(server, far)
    assert before[0] == before[1]
    reply = requests.post(
        f"http://127.0.0.1:{server.port}{PLOTS}/items",
        b'{"type": "Feature", "properties": {"name": "new"}, "geometry": {"type": "Polygon", "coordinates":'
        b" [[[113.92, 22.64], [113.94, 22.64], [113.94, 22.66], [113.92, 22.66], [113.92, 22.64]]]}}",
        headers={"Content-Type": "application/geo+json", "Authorization": f"Bearer {server.town.token}"},
        timeout=30,
    )
    assert reply.status_code == 201, reply.text
    after = seen(server, here)  # the first request after the edit's answer sees it
    for number, path in enumerate(here):
        for worker in (0, 1):
            assert after[worker][number][1] != before[worker][number][1], path
    deep = [
        number
        for number, path in enumerate(here)
        if int(path.split("WebMercatorQuad/")[1].split("/")[0]) >= 11
    ]
    for number in deep:
        assert after[0][number][2] != before[0][number][2], here[number]
    assert after[0] == after[1]
    assert seen(server, far) == before_far


def test_an_edit_of_another_process_is_found(server: Server) -> None:
    collection = server.town.registry.catalogue().find("demo", "plots")
    here = addresses(114.0, 22.7)
    seen(server, here)
    before = seen(server, here)
    store = open_store(collection.path_of(RepresentationKind.FEATURES))
    store.edit([Edit(EditKind.CREATE, None, shapely.box(113.99, 22.69, 114.01, 22.71), {"name": "by hand"})])
    taken = eventually(
        lambda: all(
            new[number][1] != old[number][1]
            for new, old in zip(seen(server, here), before, strict=True)
            for number in range(len(here))
        )
    )
    print(f"seen by both workers after {taken:.2f} s")


@pytest.mark.parametrize("kind", ["tiles", "map/tiles"])
def test_one_rendering_serves_32_clients(server: Server, kind: str) -> None:
    """In a place where a neighbour in the block would not do: the count is of renderings, not of tiles."""
    path = f"{PLOTS}/{kind}/WebMercatorQuad/14/7130/13375"
    before = server.renderings()
    start = threading.Barrier(32)

    def ask(_: int) -> tuple[int, bytes]:
        start.wait()
        reply = requests.get(f"http://127.0.0.1:{server.port}{path}", timeout=60)
        return reply.status_code, reply.content

    with ThreadPoolExecutor(32) as clients:
        answers = set(clients.map(ask, range(32)))
    served = {answer for answer in answers if answer[0] != 503}
    assert len(served) == 1
    assert next(iter(served))[0] in (200, 204)
    assert server.renderings() - before == 1


def test_a_source_that_hangs_keeps_no_kept_tile_waiting(server: Server) -> None:
    kept = f"{PLOTS}/map/tiles/WebMercatorQuad/11/892/1672"
    far = f"http://127.0.0.1:{server.port}/t/demo/ogc/collections/far/map/tiles/WebMercatorQuad/12"
    assert [connection.get(kept)[0] for connection in server.connections] == [200, 200]
    refused: list[requests.Response] = []
    pending = threading.Semaphore(0)

    def ask(number: int) -> None:
        reply = requests.get(f"{far}/{number}/{number}", timeout=60)
        refused.append(reply)
        pending.release()

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(48)]
    for client in clients:
        client.start()
    # Places and queues of both workers are full once somebody is refused.
    assert pending.acquire(timeout=30)
    for _ in range(50):
        assert [connection.get(kept)[0] for connection in server.connections] == [200, 200]
    assert any(client.is_alive() for client in clients), (
        "nobody waited for the source: this test says nothing"
    )
    for client in clients:
        client.join(60)
    assert len(refused) == 48
    for reply in refused:
        assert reply.status_code == 503, reply.text
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert int(reply.headers["Retry-After"]) >= 1


def test_a_thousand_connections_are_held(server: Server) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    path = f"{PLOTS}/map/tiles/WebMercatorQuad/11/892/1672"
    # However they are shared out, one of two workers has more than the 512 that granian would let it have by itself.
    connections = [Connection(server.port) for _ in range(1_100)]
    try:
        for _ in range(2):
            assert {connection.get(path)[0] for connection in connections} == {200}
    finally:
        for connection in connections:
            connection.inner.close()
