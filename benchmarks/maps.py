"""Map tiles: cold and kept, beside titiler, plain MapProxy, mod_mapcache and nginx; under load, and on many connections."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import map_peers, peers
from benchmarks.city import chengtu, settings_of
from benchmarks.city import publish as publish_buildings
from benchmarks.connections import hold
from benchmarks.dataset import EAST, NORTH, SOUTH, WEST
from benchmarks.imagery import make_orthophoto
from benchmarks.load import Row, fetch, measure, offered_load, tile_addresses, tile_of, tile_script, warm
from benchmarks.processes import cpu_seconds, own_megabytes, tree
from server.publish.publication import publish
from server.publish.request import PublishRequest
from server.registry.catalogue import Access
from server.registry.folders import operator_token_file
from server.registry.registry import open_registry
from server.settings import Settings, load_settings

KEPT, COLD_RASTER, COLD_VECTOR = "map tile z15, kept", "raster map tile, cold", "vector map tile z15, cold"
_MAPS = "/t/bench/ogc/collections/{collection}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
_BUILDINGS = _MAPS.format(collection="buildings")
_CLOSED = _MAPS.format(collection="closed")
_ORTHO = _MAPS.format(collection="ortho")
_ZOOM = 15
_COLD_TILES = 150
_CLOSED_FEATURES = 20_000
_OFFERED, _OFFERED_CONNECTIONS = 3_000, 256
_HELD_CONNECTIONS, _HELD_SECONDS = 1_000, 60

_BARE_RIO_TILER = """
import sys, time
from rio_tiler.io import Reader
tiles = [tuple(map(int, part.split("/"))) for part in sys.argv[2:]]
with Reader(sys.argv[1]) as reader:
    z, x, y = tiles[0]
    reader.tile(x, y, z)
    started = time.process_time()
    for z, x, y in tiles:
        reader.tile(x, y, z).render(img_format="PNG")
    print((time.process_time() - started) / len(tiles) * 1000)
"""


def add_orthophoto(home: Path, image: Path) -> None:
    """Publish the image into the benchmark's home as `bench.ortho`, unless it is there."""
    settings = settings_of(home)
    with open_registry(settings) as registry:
        if registry.collection("bench", "ortho") is None:
            request = PublishRequest(
                files=(image,), tenant="bench", id="ortho", titles={"en": "Orthophoto of the benchmark"}
            )
            publish(request, registry, settings)


def measure_maps(
    home: Path,
    work: Path,
    base: Path,
    root: Path,
    seconds: int,
    show: Callable[[Row], None],
    *,
    with_peers: bool,
) -> tuple[list[Row], dict[str, float]]:
    """All rows of map tiles, and the facts about load and connections."""
    image = work / "ortho.tif"
    make_orthophoto(image)
    add_orthophoto(home, image)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        show(row)

    for row in _ours_cold(home, work):
        add(row)
    for row in _ours_kept(home, work, seconds):
        add(row)
    for row in _ours_behind_nginx(home, work, seconds):
        add(row)
    facts = _under_load(home, work)
    if with_peers:
        for row in _peers_cold(work, image, peers.environment(root, base, "titiler")):
            add(row)
        for row in _peers_kept(home, work, peers.environment(root, base), seconds):
            add(row)
    return rows, facts


def _with(home: Path, **cache: Any) -> Settings:
    return load_settings(
        (), None, {"data.home": home, **{f"cache.{name}": value for name, value in cache.items()}}
    )


def _forget_tiles(home: Path) -> None:
    """Every tile is cold again."""
    shutil.rmtree(home / "cache", ignore_errors=True)


def _cold_places(zooms: Sequence[int], count: int = _COLD_TILES) -> list[tuple[int, int, int]]:
    """Tiles (zoom, x, y), all different, in random order of fixed seed."""
    places = []
    for zoom in zooms:
        left, bottom = tile_of(WEST + 0.001, SOUTH + 0.001, zoom)
        right, top = tile_of(EAST - 0.001, NORTH - 0.001, zoom)
        places += [(zoom, x, y) for x in range(left, right + 1) for y in range(top, bottom + 1)]
    random.Random(5).shuffle(places)
    return places[:count]


def _addresses(path: str, base: str, places: Sequence[tuple[int, int, int]]) -> list[str]:
    return [base + path.format(z=zoom, x=x, y=y) for zoom, x, y in places]


def one_by_one(server: str, workload: str, addresses: Sequence[str], cpu: Callable[[], float]) -> Row:
    """A row of requests that one client sends one after the other; the first is not counted."""
    fetch(addresses[0])
    times, size, before, started = [], 0, cpu(), time.monotonic()
    for address in addresses[1:]:
        asked = time.monotonic()
        size += len(fetch(address))
        times.append((time.monotonic() - asked) * 1000)
    wall, used, count = time.monotonic() - started, cpu() - before, len(addresses) - 1
    times.sort()
    return Row(
        server,
        workload,
        1,
        round(used / count * 1000, 3),
        round(count / wall, 1),
        round(statistics.median(times), 2),
        round(times[int(count * 0.99)], 2),
        size // count,
        0,
    )


def _ours_cold(home: Path, work: Path) -> Iterator[Row]:
    _forget_tiles(home)
    with chengtu(home, work) as (pid, port, _):
        address, used = f"http://127.0.0.1:{port}", lambda: cpu_seconds([pid])
        for workload, path, zooms in (
            (COLD_RASTER, _ORTHO, (13, 14, 15)),
            (COLD_VECTOR, _BUILDINGS, (_ZOOM,)),
        ):
            # Both workers have opened what they draw from: that is not a tile's price.
            warm(_addresses(path, address, _cold_places((12,), 8)) * 2)
            yield one_by_one("Chengtu", workload, _addresses(path, address, _cold_places(zooms)), used)


def _ours_kept(home: Path, work: Path, seconds: int) -> Iterator[Row]:
    script = tile_script(_BUILDINGS, _ZOOM)
    for memory, name in ((0, "Chengtu, from disk"), (64 << 20, "Chengtu, from memory")):
        with chengtu(home, work, settings=_with(home, memory_bytes=memory)) as (pid, port, _):
            address = f"http://127.0.0.1:{port}"
            warm(tile_addresses(_BUILDINGS, _ZOOM, address) * 2)
            yield measure(name, KEPT, script, address, lambda pid=pid: cpu_seconds([pid]), seconds, 64)


def _ours_behind_nginx(home: Path, work: Path, seconds: int) -> Iterator[Row]:
    """Kept tiles by docker/nginx.conf, public and private, and the same files by nginx alone; CPU of nginx and of our server."""
    publish_buildings(home, _CLOSED_FEATURES, "closed", Access.PRIVATE)
    token = f"Bearer {operator_token_file(home).read_text().strip()}"
    plain = work / "plain-tiles"
    with chengtu(home, work) as (pid, port, _):
        server = f"http://127.0.0.1:{port}"
        _copy_tiles(plain, server)
        warm(tile_addresses(_CLOSED, _ZOOM, server), token)
        with map_peers.nginx_before(work, home, port) as (proxy, outer):
            address = f"http://127.0.0.1:{outer}"
            for name, path, authorization in (
                ("Chengtu behind nginx, public", _BUILDINGS, None),
                ("Chengtu behind nginx, private", _CLOSED, token),
            ):
                script = tile_script(path, _ZOOM, authorization=authorization)
                yield measure(name, KEPT, script, address, lambda: cpu_seconds([pid, proxy]), seconds, 64)
    yield _static_nginx(work, plain, seconds)


def _static_nginx(work: Path, tiles: Path, seconds: int) -> Row:
    with map_peers.static_nginx(work, tiles) as (pid, port):
        script = tile_script("/{z}/{x}/{y}.png", _ZOOM)
        address = f"http://127.0.0.1:{port}"
        return measure("nginx, static files", KEPT, script, address, lambda: cpu_seconds([pid]), seconds, 64)


def _under_load(home: Path, work: Path) -> dict[str, float]:
    """Kept tiles at a steady rate while cold ones are drawn beside; then many connections that are held."""
    facts: dict[str, float] = {}
    with chengtu(home, work) as (pid, port, _):
        address = f"http://127.0.0.1:{port}"
        warm(tile_addresses(_BUILDINGS, _ZOOM, address) * 2)
        shutil.rmtree(home / "cache" / "tiles" / "bench" / "ortho", ignore_errors=True)
        cold = _addresses(_ORTHO, address, _cold_places((14, 15)))
        for label, beside in (("alone", []), ("with 2 cold tiles a second beside", cold)):
            with _cold_beside(beside):
                result = offered_load(
                    tile_script(_BUILDINGS, _ZOOM), address, 15, _OFFERED_CONNECTIONS, _OFFERED
                )
            for key, value in result.items():
                facts[
                    f"{_OFFERED:,} offered a second over {_OFFERED_CONNECTIONS} connections, {label}: {key}"
                ] = value
        workers = [member for member in tree(pid) if member != pid]
        before = max(own_megabytes(member) for member in workers)
        held = hold(
            "127.0.0.1", port, tile_addresses(_BUILDINGS, _ZOOM, "")[:500], _HELD_CONNECTIONS, _HELD_SECONDS
        )
        label = f"{_HELD_CONNECTIONS:,} connections held for {_HELD_SECONDS} s"
        facts |= {f"{label}: {key}": value for key, value in held.items()}
        facts[f"{label}: MB a worker grew"] = max(own_megabytes(member) for member in workers) - before
    return facts


@contextmanager
def _cold_beside(addresses: Sequence[str]) -> Iterator[None]:
    """Ask for two of these a second until the block ends."""
    ended = threading.Event()

    def ask() -> None:
        for address in addresses:
            if ended.wait(0.5):
                return
            fetch(address)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _peers_cold(work: Path, image: Path, bin_folder: Path) -> Iterator[Row]:
    places = _cold_places((13, 14, 15))
    with map_peers.titiler(bin_folder, work) as (pid, port):
        path = f"/cog/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png?url={quote(str(image))}"
        address = f"http://127.0.0.1:{port}"
        warm(_addresses(path, address, _cold_places((12,), 8)) * 2)
        yield one_by_one(
            "titiler", COLD_RASTER, _addresses(path, address, places), lambda: cpu_seconds([pid])
        )
    tiles = [f"{zoom}/{x}/{y}" for zoom, x, y in places]
    done = subprocess.run(
        [bin_folder / "python", "-c", _BARE_RIO_TILER, image, *tiles],
        capture_output=True,
        text=True,
        check=True,
    )
    yield Row("rio-tiler alone", COLD_RASTER, 1, round(float(done.stdout), 3), 0.0, 0.0, 0.0, 0, 0)


def _peers_kept(home: Path, work: Path, bin_folder: Path, seconds: int) -> Iterator[Row]:
    """The same tiles, taken from us once, then served by each peer alone."""
    plain = work / "plain-tiles"
    with ExitStack() as stack:
        with chengtu(home, work) as (_, our_port, _):
            ours = f"http://127.0.0.1:{our_port}"
            _copy_tiles(plain, ours)
            wms = f"{ours}/t/bench/maps/service?"
            pid, port = stack.enter_context(peers.mapproxy(bin_folder, work, wms, "buildings"))
            path = "/wmts/buildings/mercator/{z}/{x}/{y}.png"
            address = f"http://127.0.0.1:{port}"
            warm(tile_addresses(path, _ZOOM, address))
        yield measure(
            "MapProxy, file cache",
            KEPT,
            tile_script(path, _ZOOM),
            address,
            lambda: cpu_seconds([pid]),
            seconds,
            64,
        )
    if map_peers.MAPCACHE_MODULE.is_file():
        with map_peers.mapcache(work, plain) as (pid, port):
            script = tile_script("/mapcache/gmaps/buildings@g/{z}/{x}/{y}.png", _ZOOM)
            address = f"http://127.0.0.1:{port}"
            yield measure("mod_mapcache", KEPT, script, address, lambda: cpu_seconds([pid]), seconds, 64)


def _copy_tiles(folder: Path, address: str) -> None:
    """Every tile that the script may ask for, as plain files."""
    for _, x, y in _cold_places((_ZOOM,), 10**6):
        file = folder / str(_ZOOM) / str(x) / f"{y}.png"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(fetch(address + _BUILDINGS.format(z=_ZOOM, x=x, y=y)))
