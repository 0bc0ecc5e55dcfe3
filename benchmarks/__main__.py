"""`python -m benchmarks`: measure items, item, vector tile and cached map tile, for us and for the peers.

Writes a table to docs/benchmarks.md (unless --no-write) and the raw rows beside the data.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks import database_peers, peers, points, three_d
from benchmarks.city import chengtu, publish, register_table, settings_of
from benchmarks.dataset import plain_geopackage
from benchmarks.growth import grow
from benchmarks.load import (
    Row,
    fetch,
    filter_script,
    first_answer,
    item_script,
    items_script,
    measure,
    tile_addresses,
    tile_script,
    warm,
)
from benchmarks.maps import measure_maps
from benchmarks.processes import cpu_seconds, find_program, memory_megabytes, tree
from benchmarks.report import growth_section, maps_report, report

ROOT = Path(__file__).resolve().parent.parent
_ITEMS, _PAGE, _ITEM = "items, bbox, 100", "items, page of 1000", "one item"
_CRS, _GZIP = "items, bbox, 100, crs=EPSG:4547", "items, bbox, 100, gzip"
_FILTER = "CQL2: kind = and height >, 100"
_TILE, _KEPT_TILE, _MAP = "vector tile z15, made", "vector tile z15, kept, gzip", "map tile z15, kept on disk"
_ZOOM = 15
_CGCS2000 = "http://www.opengis.net/def/crs/EPSG/0/4547"


def _measure_all(
    name: str,
    address: str,
    cpu: Callable[[], float],
    scripts: Sequence[tuple[str, str, int, int]],
) -> list[Row]:
    rows = []
    for workload, script, seconds, connections in scripts:
        first_answer(script, address)
        rows.append(measure(name, workload, script, address, cpu, seconds, connections))
        _show(rows[-1])
    return rows


def _show(row: Row) -> None:
    errors = f"  {row.bad} errors" if row.bad else ""
    print(
        f"  {row.server:22} {row.workload:28} {row.cpu_ms:10.3f} ms CPU {row.requests_per_second:9.1f} req/s{errors}",
        flush=True,
    )


def ours(home: Path, work: Path, count: int, seconds: int) -> tuple[list[Row], dict[str, float]]:
    """Our rows, and facts about start and memory."""
    with chengtu(home, work):
        pass  # the first start compiles modules
    with chengtu(home, work) as (pid, port, facts):
        address, name = f"http://127.0.0.1:{port}", "Chengtu"
        base = "/t/bench/ogc/collections/buildings"
        map_path = f"{base}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
        tile_path = f"{base}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=mvt"
        time.sleep(2)
        workers = [member for member in tree(pid) if member != pid]

        def memory() -> float:
            return max(memory_megabytes(member) for member in workers)

        def used() -> float:
            return cpu_seconds([pid])

        facts["MB of memory of a worker at rest"] = memory()
        scripts = [
            (_ITEMS, items_script(f"{base}/items", 0.005, 100), seconds, 16),
            (_GZIP, items_script(f"{base}/items", 0.005, 100, "gzip"), seconds, 16),
            (_CRS, items_script(f"{base}/items?crs={_CGCS2000}", 0.005, 100), seconds, 16),
            (_PAGE, items_script(f"{base}/items", 0.02, 1000), seconds, 16),
            (_ITEM, item_script(f"{base}/items/%d", count), seconds, 16),
            (_FILTER, filter_script(f"{base}/items?limit=100"), seconds, 16),
        ]
        rows = _measure_all(name, address, used, scripts)
        rows.append(_made_tiles(name, tile_addresses(tile_path, _ZOOM, address), used))
        # Each worker has a memory of its own: twice over, so that both hold every tile.
        warm(tile_addresses(tile_path, _ZOOM, address) * 2)
        rows += _measure_all(
            name, address, used, [(_KEPT_TILE, tile_script(tile_path, _ZOOM, "gzip"), seconds, 16)]
        )
        warm(tile_addresses(map_path, _ZOOM, address))
        rows += _measure_all(name, address, used, [(_MAP, tile_script(map_path, _ZOOM), seconds, 16)])
        facts["MB of memory of a worker after all that"] = memory()
    return rows, facts


def _made_tiles(name: str, addresses: Sequence[str], cpu: Callable[[], float]) -> Row:
    """Each tile fetched once, one after the other, so that none comes from a cache."""
    before, started, size, times = cpu(), time.monotonic(), 0, []
    for url in addresses:
        asked = time.monotonic()
        size += len(fetch(url))
        times.append((time.monotonic() - asked) * 1000)
    wall, used, count = time.monotonic() - started, cpu() - before, len(addresses)
    times.sort()
    row = Row(
        name,
        _TILE,
        1,
        round(used / count * 1000, 3),
        round(count / wall, 1),
        round(times[count // 2], 2),
        round(times[int(count * 0.99)], 2),
        size // count,
        0,
    )
    _show(row)
    return row


def plain_mapproxy(bin_folder: Path, home: Path, work: Path, seconds: int) -> list[Row]:
    """MapProxy's row. Its tiles are drawn by our WMS, which is stopped before the measurement."""
    path = "/wmts/buildings/mercator/{z}/{x}/{y}.png"
    with ExitStack() as stack:
        with chengtu(home, work) as (_, our_port, _):
            wms = f"http://127.0.0.1:{our_port}/t/bench/maps/service?"
            pid, port = stack.enter_context(peers.mapproxy(bin_folder, work, wms, "buildings"))
            address = f"http://127.0.0.1:{port}"
            warm(tile_addresses(path, _ZOOM, address))
        script = tile_script(path, _ZOOM)
        return _measure_all(
            "MapProxy, file cache", address, lambda: cpu_seconds([pid]), [(_MAP, script, seconds, 16)]
        )


def on_postgis(bin_folder: Path, home: Path, work: Path, base: Path, count: int, seconds: int) -> list[Row]:
    """The rows of everything that stands on the same PostGIS: ours, vanilla pygeoapi, tipg, MapServer."""
    rows: list[Row] = []
    with peers.postgis(work) as (database_pid, database_port):
        rows += _ours_on_postgis(home, work, database_pid, database_port, count, seconds)
        rows += _bare_tiles(database_pid, database_port)
        collections = {"postgis": "pygeoapi, PostGIS"}
        if peers.has_spatialite(bin_folder):
            collections["gpkg"] = "pygeoapi, GeoPackage"
        else:
            print("  pygeoapi on GeoPackage is left out: it needs a Python whose sqlite3 may load SpatiaLite")
        with peers.pygeoapi(bin_folder, work, database_port, "gpkg" in collections) as (pid, port):
            address = f"http://127.0.0.1:{port}"
            used = _cpu_of(pid, database_pid)
            for collection, name in collections.items():
                scripts = _peer_scripts(f"/collections/{collection}/items", "?f=json", count, seconds)
                rows += _measure_all(name, address, used, scripts)
            path = "/collections/postgis/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
            # Half a minute each: two say enough.
            tiles = tile_addresses(path, _ZOOM, address)
            rows.append(_made_tiles("pygeoapi, PostGIS", tiles[len(tiles) // 2 :][:2], used))
        with database_peers.tipg(peers.environment(ROOT, base, "tipg"), work, database_port) as (pid, port):
            address, used = f"http://127.0.0.1:{port}", _cpu_of(pid, database_pid)
            scripts = _peer_scripts("/collections/public.buildings/items", "?f=geojson", count, seconds)
            rows += _measure_all("tipg, PostGIS", address, used, scripts)
            path = "/collections/public.buildings/tiles/WebMercatorQuad/{z}/{x}/{y}"
            rows.append(_made_tiles("tipg, PostGIS", tile_addresses(path, _ZOOM, address), used))
        with database_peers.mapserver(work, database_port) as (pids, port):
            address, used = f"http://127.0.0.1:{port}", _cpu_of(*pids, database_pid)
            scripts = _peer_scripts("/peer/ogcapi/collections/buildings/items", "?f=json", count, seconds)
            rows += _measure_all("MapServer, PostGIS", address, used, scripts[:2])  # no item by id, no CQL2
    return rows


def _cpu_of(*pids: int) -> Callable[[], float]:
    return lambda: cpu_seconds(pids)


def _peer_scripts(items: str, form: str, count: int, seconds: int) -> list[tuple[str, str, int, int]]:
    return [
        (_ITEMS, items_script(f"{items}{form}", 0.005, 100), seconds, 4),
        (_PAGE, items_script(f"{items}{form}", 0.02, 1000), seconds, 4),
        (_ITEM, item_script(f"{items}/%d{form}", count), seconds, 4),
        (_FILTER, filter_script(f"{items}{form}&limit=100"), seconds, 4),
    ]


def _ours_on_postgis(
    home: Path, work: Path, database_pid: int, database_port: int, count: int, seconds: int
) -> list[Row]:
    """Ours on the table as it is, then with a column of encoded features."""
    settings = settings_of(home, database_port)
    register_table(settings, "table")
    peers.add_fragments(database_port)
    register_table(settings, "fragments", "fragment")
    rows: list[Row] = []
    with chengtu(home, work, settings=settings) as (pid, port, _):
        address, used = f"http://127.0.0.1:{port}", _cpu_of(pid, database_pid)
        for collection, name in (
            ("table", "Chengtu, PostGIS"),
            ("fragments", "Chengtu, PostGIS with fragments"),
        ):
            base = f"/t/bench/ogc/collections/{collection}"
            rows += _measure_all(
                name, address, used, _peer_scripts(f"{base}/items", "?f=json", count, seconds)
            )
        path = "/t/bench/ogc/collections/table/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
        rows.append(_made_tiles("Chengtu, PostGIS", tile_addresses(path, _ZOOM, address), used))
    peers.drop_fragments(database_port)
    return rows


def _bare_tiles(database_pid: int, database_port: int) -> list[Row]:
    """ST_AsMVT asked by a driver, with nothing around it: the floor of tiles from PostGIS."""
    with peers.bare_tiles(database_port) as make:
        places = [tuple(map(int, address.split("/"))) for address in tile_addresses("{z}/{x}/{y}", _ZOOM, "")]
        before, started, size = cpu_seconds([database_pid]), time.monotonic(), 0
        for zoom, x, y in places:
            size += make(zoom, x, y)
        used, wall, count = cpu_seconds([database_pid]) - before, time.monotonic() - started, len(places)
    row = Row(
        "ST_AsMVT alone",
        _TILE,
        1,
        round(used / count * 1000, 3),
        round(count / wall, 1),
        0.0,
        0.0,
        size // count,
        0,
    )
    _show(row)
    return [row]


def _maps(options: argparse.Namespace, base: Path, work: Path, home: Path) -> int:
    print("Measuring map tiles", flush=True)
    rows, facts = measure_maps(
        home, work, base, ROOT, options.seconds, _show, with_peers=not options.ours_only
    )
    page = maps_report(rows, facts)
    if options.no_write:
        print(page)
    else:
        (ROOT / "docs" / "benchmarks-maps.md").write_text(page)
    return 1 if any(row.bad for row in rows) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--features", type=int, default=500_000, help="how many polygons (default 500,000)")
    parser.add_argument(
        "--seconds", type=int, default=4, help="length of one run; three are made (default 4)"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="data, logs, rows")
    parser.add_argument(
        "--growth", action="store_true", help="also 50,000, 500,000 and 5 million (10 minutes, 12 GB more)"
    )
    parser.add_argument(
        "--maps", action="store_true", help="only map tiles: cold, kept, under load (docs/benchmarks-maps.md)"
    )
    parser.add_argument(
        "--3d",
        dest="three_d",
        action="store_true",
        help="only 3D: tilesets and terrain (docs/benchmarks-3d.md)",
    )
    parser.add_argument(
        "--points",
        action="store_true",
        help="only point clouds: COPC, tiles, boxes, EPT (docs/benchmarks-points.md)",
    )
    parser.add_argument(
        "--survey-points", type=int, default=12_000_000, help="points of the survey (default 12,000,000)"
    )
    parser.add_argument(
        "--large-points",
        type=int,
        default=48_000_000,
        help="points of what is built out of core (default 48,000,000)",
    )
    parser.add_argument(
        "--scan", type=Path, help="a real LAS or LAZ, repeated side by side, in place of the survey"
    )
    parser.add_argument("--ours-only", action="store_true", help="leave the peers out")
    parser.add_argument(
        "--no-write", action="store_true", help="print the page instead of writing docs/benchmarks.md"
    )
    options = parser.parse_args(arguments)
    if options.three_d:
        return three_d.run(options, options.work.resolve(), ROOT)
    if options.points:
        return points.run(options, options.work.resolve(), ROOT)
    needed = ["wrk"] if options.ours_only else ["wrk", "ogr2ogr", "psql", "pg_ctl", "mapserv", "nginx"]
    missing = [name for name in needed if find_program(name) is None]
    if missing:
        print(
            f"{', '.join(missing)}: not found. `apt-get install wrk gdal-bin postgresql-15-postgis-3 mapserver-bin nginx-light`, or --ours-only"
        )
        return 2
    # Ended by a signal, the servers below are stopped as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base: Path = options.work.resolve()
    work = base / str(options.features)
    work.mkdir(parents=True, exist_ok=True)
    home = work / "home"
    print(f"Making {options.features:,} polygons, or taking those of the last run", flush=True)
    publish(home, options.features)
    if options.maps:
        return _maps(options, base, work, home)
    if options.growth:
        print("Measuring how the same requests fare as collections grow", flush=True)
        grown, downloaded = grow(base, options.seconds, _show)
        (base / "growth.json").write_text(
            json.dumps({"rows": [asdict(row) for row in grown], "download": downloaded}, indent=1)
        )
    print("Measuring Chengtu", flush=True)
    rows, facts = ours(home, work, options.features, options.seconds)
    if not options.ours_only:
        print("Measuring the peers", flush=True)
        store = next((home / "collections" / "bench" / "buildings").glob("g*/features.gpkg"))
        plain_geopackage(store, work / "buildings.gpkg")
        bin_folder = peers.environment(ROOT, base)
        rows += plain_mapproxy(bin_folder, home, work, options.seconds)
        rows += on_postgis(bin_folder, home, work, base, options.features, options.seconds)
    (work / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    page = report(rows, facts, options.features) + growth_section(base)
    if options.no_write:
        print(page)
    else:
        (ROOT / "docs" / "benchmarks.md").write_text(page)
    return 1 if any(row.bad for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
