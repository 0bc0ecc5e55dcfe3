"""`python -m benchmarks`: measure items, item, vector tile and cached map tile, for us and for the peers.

Writes a table to docs/benchmarks.md (unless --no-write) and the raw rows beside the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.dataset import batches, plain_geopackage
from benchmarks.load import (
    Row,
    fetch,
    item_script,
    items_script,
    measure,
    tile_addresses,
    tile_script,
    warm,
)
from benchmarks.processes import (
    cpu_seconds,
    find_program,
    free_port,
    memory_megabytes,
    running,
    tree,
    wait_for,
)
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter
from server.registry.catalogue import Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
_FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("address", "string"),
    FieldDefinition("kind", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("year_built", "integer"),
    FieldDefinition("energy", "number"),
    FieldDefinition("updated", "string", "date"),
)
_ITEMS, _PAGE, _ITEM = "items, bbox, 100", "items, page of 1000", "one item"
_TILE, _KEPT_TILE, _MAP = "vector tile z15, made", "vector tile z15, kept, gzip", "map tile z15, kept on disk"
_ZOOM = 15


def publish(home: Path, count: int) -> None:
    """Publish the data set into `home` as `bench.buildings`, unless it is there."""
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        if any((home / "collections" / "bench" / "buildings").glob("g*/features.gpkg")):
            return
        if not any(tenant.id == "bench" for tenant in registry.list_tenants()):
            registry.add_tenant("bench", "Benchmark")
        with staging_folder(home) as folder:
            staged = folder / "generation"
            staged.mkdir()
            with FeatureStoreWriter(
                staged / "features.gpkg", fields=_FIELDS, storage_crs="EPSG:4326", time_field="updated"
            ) as writer:
                for geometries, columns in batches(count):
                    writer.add(geometries, columns)
                summary = writer.finish()
            grids = ["WebMercatorQuad", "WorldCRS84Quad"]
            kinds: dict[RepresentationKind, dict[str, Any]] = {
                RepresentationKind.FEATURES: {
                    "geometry_type": summary.geometry_type,
                    "count": summary.count,
                    "time_field": "updated",
                    "id_field": None,
                },
                RepresentationKind.TILES: {"min_zoom": 10, "max_zoom": 18, "tile_matrix_sets": grids},
                RepresentationKind.MAP: {"tile_matrix_sets": grids},
            }
            draft = CollectionDraft(
                tenant="bench",
                id="buildings",
                titles={"en": "Buildings of the benchmark"},
                bbox=summary.bbox,
                storage_crs="http://www.opengis.net/def/crs/EPSG/0/4326",
                fields=tuple(Field(f.name, f.type, f.format, f.column) for f in summary.fields),
            )
            representations = [
                Representation(kind, "features.gpkg", 0, properties=properties)
                for kind, properties in kinds.items()
            ]
            registry.publish(draft, representations, staged, False)


@contextmanager
def chengtu(home: Path, work: Path, workers: int = 2) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Our server; gives pid, port, and the seconds until its port was open and until it was ready."""
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(home)),
        *("--port", str(port), "--workers", str(workers)),
    ]
    # As installed: modules are compiled once, and kept here even where the source folders may not be written.
    variables = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(work / "bytecode")}
    address = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    with running(command, f"{address}/health/live", work / "chengtu.log", variables, pause=0.01) as pid:
        opened = time.monotonic() - started
        # Connections are shared out among the workers: several answers in a row mean that all are there.
        for _ in range(4 * workers):
            wait_for(f"{address}/health/ready", 60)
        yield (
            pid,
            port,
            {"s until the port is open": opened, "s until it is ready": time.monotonic() - started},
        )


def _measure_all(
    name: str,
    address: str,
    cpu: Callable[[], float],
    scripts: Sequence[tuple[str, str, int, int]],
) -> list[Row]:
    rows = []
    for workload, script, seconds, connections in scripts:
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
            (_PAGE, items_script(f"{base}/items", 0.02, 1000), seconds, 16),
            (_ITEM, item_script(f"{base}/items/%d", count), seconds, 16),
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


def vanilla(bin_folder: Path, work: Path, count: int, seconds: int) -> list[Row]:
    """The rows of vanilla pygeoapi: on PostGIS, and on the GeoPackage where its Python may load SpatiaLite."""
    rows = []
    with ExitStack() as stack:
        database_pid, database_port = stack.enter_context(peers.postgis(work))
        collections = {"postgis": "pygeoapi, PostGIS"}
        if peers.has_spatialite(bin_folder):
            collections["gpkg"] = "pygeoapi, GeoPackage"
        else:
            print("  pygeoapi on GeoPackage is left out: it needs a Python whose sqlite3 may load SpatiaLite")
        pid, port = stack.enter_context(
            peers.pygeoapi(bin_folder, work, database_port, "gpkg" in collections)
        )
        address = f"http://127.0.0.1:{port}"

        def used() -> float:
            return cpu_seconds([pid, database_pid])

        for collection, name in collections.items():
            base = f"/collections/{collection}/items"
            scripts = [
                (_ITEMS, items_script(f"{base}?f=json", 0.005, 100), seconds, 4),
                (_PAGE, items_script(f"{base}?f=json", 0.02, 1000), seconds, 4),
                (_ITEM, item_script(f"{base}/%d?f=json", count), seconds, 4),
            ]
            rows += _measure_all(name, address, used, scripts)
        path = "/collections/postgis/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
        # Half a minute each: two say enough.
        tiles = tile_addresses(path, _ZOOM, address)
        rows.append(_made_tiles("pygeoapi, PostGIS", tiles[len(tiles) // 2 :][:2], used))
    return rows


def report(rows: list[Row], facts: dict[str, float], count: int) -> str:
    """The page docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` ([how](how-to/run-benchmarks.md)). CPU is that of the server's processes and, for PostGIS, of the",
        "database, divided by the requests answered: the steadiest figure on a shared machine. Every server runs under granian",
        "with two workers, one server after the other, on the same data and the same random requests of fixed seed, sent by wrk",
        "over loopback. Answers are not compressed, but for the vector tile that is kept. The best of three runs counts.",
        "",
        f"{count:,} polygons with eight attributes. {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, pygeoapi {version('pygeoapi')}, "
        f"MapProxy {version('mapproxy')}, granian {version('granian')}.",
        "",
        "| work | server | CPU ms a request | requests/s | p50 ms | p99 ms | bytes | errors |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for workload in dict.fromkeys(row.workload for row in rows):
        for row in sorted((row for row in rows if row.workload == workload), key=lambda row: row.cpu_ms):
            lines.append(
                f"| {row.workload} | {row.server} | {row.cpu_ms:,.3f} | {row.requests_per_second:,.1f} | {row.p50_ms} | "
                f"{row.p99_ms} | {row.bytes_per_request:,} | {row.bad} |"
            )
    lines += [
        "",
        "Requests a second are those of two workers beside wrk on this machine; for a vector tile that is made, of one client.",
        "A row with errors is not a result.",
        "",
        "| start and memory | |",
        "|---|--:|",
        *(f"| {name} | {value:.2f} |" for name, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--features", type=int, default=500_000, help="how many polygons (default 500,000)")
    parser.add_argument(
        "--seconds", type=int, default=4, help="length of one run; three are made (default 4)"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks", help="data, logs, rows")
    parser.add_argument("--ours-only", action="store_true", help="leave the peers out")
    parser.add_argument(
        "--no-write", action="store_true", help="print the page instead of writing docs/benchmarks.md"
    )
    options = parser.parse_args(arguments)
    needed = ["wrk"] if options.ours_only else ["wrk", "ogr2ogr", "psql", "pg_ctl"]
    missing = [name for name in needed if find_program(name) is None]
    if missing:
        print(
            f"{', '.join(missing)}: not found. `apt-get install wrk gdal-bin postgresql-15-postgis-3`, or --ours-only"
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
    print("Measuring Chengtu", flush=True)
    rows, facts = ours(home, work, options.features, options.seconds)
    if not options.ours_only:
        print("Measuring the peers", flush=True)
        store = next((home / "collections" / "bench" / "buildings").glob("g*/features.gpkg"))
        plain_geopackage(store, work / "buildings.gpkg")
        bin_folder = peers.environment(ROOT, base)
        rows += plain_mapproxy(bin_folder, home, work, options.seconds)
        rows += vanilla(bin_folder, work, options.features, options.seconds)
    (work / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    page = report(rows, facts, options.features)
    if options.no_write:
        print(page)
    else:
        (ROOT / "docs" / "benchmarks.md").write_text(page)
    return 1 if any(row.bad for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
