"""Tiles at size: a mosaic of thousands of scenes, thousands of connections, random requests while data are edited."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from rasterio.transform import from_origin

from tiles.grids import tile_range

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

SCENES = 3000
ACROSS = 60
STEP = 0.002
CONNECTIONS = 1000
SECONDS = 60
REQUESTS = 20_000
WEST, NORTH = 113.8, 22.8


def chengtu(*arguments: object) -> str:
    command = [str(Path(sys.executable).with_name("chengtu")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resident(processes: list[int]) -> int:
    """Bytes of memory of some processes."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes)
    return pages * resource.getpagesize()


def open_files(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home with a mosaic of many small scenes and a collection of polygons."""
    folder = tmp_path_factory.mktemp("large")
    scenes = folder / "scenes"
    scenes.mkdir()
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    for number in range(SCENES):
        row, column = divmod(number, ACROSS)
        place = from_origin(WEST + column * STEP, NORTH - row * STEP, STEP / 60, STEP / 60)
        with rasterio.open(scenes / f"s{number:04d}.tif", "w", transform=place, **profile) as target:
            target.write(np.full((3, 64, 64), 1 + number % 250, dtype=np.uint8))
    plots = {"type": "FeatureCollection", "features": []}
    chance = random.Random(3)
    for number in range(3000):
        x, y = chance.uniform(WEST, WEST + 0.12), chance.uniform(NORTH - 0.1, NORTH)
        ring = [[x, y], [x + 5e-4, y], [x + 5e-4, y + 5e-4], [x, y + 5e-4], [x, y]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        plots["features"].append(
            {"type": "Feature", "geometry": shape, "properties": {"name": f"楼 {number}"}}
        )  # type: ignore[attr-defined]
    (folder / "plots.geojson").write_text(json.dumps(plots))
    made = folder / "home"
    chengtu("tenants", "add", "demo", "--title", "Demo", "--home", made)
    here = ("--tenant", "demo", "--title", "T", "--home", made)
    chengtu("publish", folder / "plots.geojson", "--id", "plots", "--no-if-match", *here)
    began = time.monotonic()
    chengtu("publish", *sorted(scenes.glob("*.tif")), "--id", "mosaic", *here)
    print(f"{SCENES} scenes published in {time.monotonic() - began:.0f} s")
    return made


@pytest.fixture(scope="module")
def server(home: Path, serving: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    with serving(home) as running:
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def places(zooms: range, count: int, seed: int) -> list[str]:
    chance, found = random.Random(seed), []
    for _ in range(count):
        x, y = (
            chance.uniform(WEST, WEST + ACROSS * STEP),
            chance.uniform(NORTH - SCENES / ACROSS * STEP, NORTH),
        )
        zoom = chance.choice(zooms)
        one = tile_range("WebMercatorQuad", (x, y, x, y), zoom)
        found.append(f"WebMercatorQuad/{zoom}/{one.min_row}/{one.min_column}")
    return found


def test_a_mosaic_of_thousands_of_scenes(server: Any) -> None:
    """All levels are answered; neither files nor memory grow with the number of scenes."""
    base = "/t/demo/ogc/collections/mosaic/map/tiles"
    connections = server.connect()
    for zoom in range(20):
        place = places(range(zoom, zoom + 1), 1, zoom)[0]
        for connection in connections:
            status, _, body = connection.get(f"{base}/{place}")
            assert status == 200, (place, body[:300])
    before = resident(server.workers)
    for number, place in enumerate(places(range(8, 18), 400, 1)):
        assert connections[number % 2].get(f"{base}/{place}")[0] == 200, place
    assert max(open_files(worker) for worker in server.workers) < 1000
    grown = resident(server.workers) - before
    print(f"{max(map(open_files, server.workers))} open files, {grown / 1e6:.0f} MB more after 400 tiles")
    assert grown < 400e6


def test_a_thousand_connections_are_held(server: Any) -> None:
    path = f"/t/demo/ogc/collections/plots/map/tiles/{places(range(13, 14), 1, 2)[0]}"
    kind = type(server.connect()[0])
    connections = [kind(server.port) for _ in range(CONNECTIONS)]
    try:
        assert {one.get(path)[0] for one in connections} == {200}
        sizes, until = [], time.monotonic() + SECONDS
        while time.monotonic() < until:
            assert {one.get(path)[0] for one in connections} == {200}
            sizes.append(resident(server.workers))
    finally:
        for one in connections:
            one.close()
    print(f"{len(sizes)} rounds; memory {sizes[0] / 1e6:.0f} MB at first, {sizes[-1] / 1e6:.0f} MB at last")
    assert sizes[-1] - sizes[len(sizes) // 3] < 50e6


def test_random_requests_while_data_are_edited(server: Any, home: Path) -> None:
    base, token = "/t/demo/ogc/collections", (home / "operator.token").read_text().strip()
    addresses = [
        f"{base}/plots/{kind}tiles/{place}" for place in places(range(5, 18), 400, 3) for kind in ("", "map/")
    ]
    addresses += [f"{base}/mosaic/map/tiles/{place}" for place in places(range(10, 18), 200, 4)]
    chance = random.Random(5)
    for _ in range(40):
        x, y = chance.uniform(WEST, WEST + 0.1), chance.uniform(NORTH - 0.1, NORTH)
        box = f"{x},{y - 0.01},{x + 0.01},{y}"
        addresses.append(
            f"{base}/{chance.choice(['plots', 'mosaic'])}/map?bbox={box}&width=300&height=300&f=png"
        )
    statuses: Counter[int] = Counter()
    left = threading.Semaphore(REQUESTS)
    edits: list[int] = []
    root = f"http://127.0.0.1:{server.port}"

    def ask(seed: int) -> None:
        mine = random.Random(seed)
        with requests.Session() as session:
            while left.acquire(blocking=False):
                reply = session.get(root + mine.choice(addresses), timeout=60)
                statuses[reply.status_code] += 1
                if reply.status_code == 503:
                    assert int(reply.headers["Retry-After"]) >= 1

    def edit() -> None:
        mine = random.Random(6)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/geo+json"}
        with requests.Session() as session:
            while any(client.is_alive() for client in clients):
                x, y = mine.uniform(WEST, WEST + 0.1), mine.uniform(NORTH - 0.1, NORTH)
                ring = [[x, y], [x + 1e-3, y], [x + 1e-3, y + 1e-3], [x, y]]
                feature = {
                    "type": "Feature",
                    "properties": {"name": "new"},
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
                reply = session.post(
                    f"{root}{base}/plots/items", json.dumps(feature), headers=headers, timeout=60
                )
                edits.append(reply.status_code)
                time.sleep(0.2)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    editor = threading.Thread(target=edit)
    editor.start()
    for thread in (*clients, editor):
        thread.join(1500)
    print(f"statuses {dict(statuses)}, {len(edits)} edits")
    assert sum(statuses.values()) == REQUESTS
    assert set(edits) == {201}
    assert set(statuses) <= {200, 204, 503}
    assert statuses[503] < REQUESTS / 50
