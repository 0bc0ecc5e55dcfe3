"""`python -m benchmarks`: measure items, item, vector tile and cached map tile, for us and for the peers.

Writes a table to docs/benchmarks.md (unless --no-write) and the raw rows beside the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import peers
from benchmarks.dataset import batches, plain_geopackage
from benchmarks.load import (
    Row,
    item_script,
    items_script,
    measure,
    tile_addresses,
    tile_script,
    warm,
    work_folder,
)
from benchmarks.processes import cpu_seconds, free_port, memory_megabytes, running, tree
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
_TILE, _WARM_TILE, _MAP = "vector tile z15, made", "vector tile z15, again", "cached map tile z15"
_ZOOM = 15


def publish(home: Path, count: int) -> None:
    """Publish the data set into `home` as `bench.buildings`, unless it is there."""
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        if any(tenant.id == "bench" for tenant in registry.list_tenants()):
            return
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
            kinds = {
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
def chengtu(home: Path, log: Path, workers: int = 2) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Our server; gives pid, port, and the seconds until its port was open and until it was ready."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("chengtu")),
        "serve",
        "--home",
        str(home),
        "--port",
        str(port),
    ]
    command += ["--workers", str(workers)]
    started = time.monotonic()
    with running(command, f"http://127.0.0.1:{port}/health/live", log) as pid:
        opened = time.monotonic() - started
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready"):
                    break
            except OSError:
                time.sleep(0.05)
        yield pid, port, {"port open": opened, "ready": time.monotonic() - started}


def _fetch(url: str) -> None:
    with urllib.request.urlopen(url, timeout=120) as answer:
        answer.read()


def _measure_all(
    name: str,
    address: str,
    cpu: Callable[[], float],
    scripts: Sequence[tuple[str, str, int, int]],
) -> list[Row]:
    rows = []
    for workload, script, seconds, connections in scripts:
        row = measure(name, workload, script, address, cpu, seconds, connections)
        print(
            f"  {name:28} {workload:24} {row.cpu_ms:9.3f} ms CPU  {row.requests_per_second:9.1f} req/s",
            flush=True,
        )
        rows.append(row)
    return rows


def ours(home: Path, work: Path, count: int, seconds: int) -> tuple[list[Row], dict[str, float]]:
    """Our rows, and facts about start and memory."""
    with chengtu(home, work / "chengtu.log") as (pid, port, facts):
        address = f"http://127.0.0.1:{port}"
        base = "/t/bench/ogc/collections/buildings"
        map_path = f"{base}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
        tile_path = f"{base}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=mvt"
        time.sleep(2)
        workers = [member for member in tree(pid) if member != pid]
        facts["worker memory at rest, MB"] = max(memory_megabytes(member) for member in workers)
        made = tile_path + "&lang=en"
        rows = _measure_all(
            "Chengtu",
            address,
            lambda: cpu_seconds([pid]),
            [
                (_ITEMS, items_script(f"{base}/items", 0.005, 100), seconds, 16),
                (_PAGE, items_script(f"{base}/items", 0.02, 1000), seconds, 16),
                (_ITEM, item_script(f"{base}/items/%d", count), seconds, 16),
            ],
        )
        rows += tile_rows(address, made, [pid])
        rows += _measure_all(
            "Chengtu",
            address,
            lambda: cpu_seconds([pid]),
            [(_WARM_TILE, tile_script(tile_path, _ZOOM), seconds, 16)],
        )
        warm(tile_addresses(map_path, _ZOOM, address), _fetch)
        rows += _measure_all(
            "Chengtu",
            address,
            lambda: cpu_seconds([pid]),
            [(_MAP, tile_script(map_path, _ZOOM), seconds, 16)],
        )
        facts["worker memory after load, MB"] = max(memory_megabytes(member) for member in workers)
        rows += _peer_mapproxy(work, f"{address}/t/bench/maps/service?", seconds)
    return rows, facts


def tile_rows(address: str, path: str, pids: list[int]) -> list[Row]:
    """Each tile of the zoom fetched once, so that none comes from a cache."""
    addresses = tile_addresses(path, _ZOOM, address)
    before, started, size = cpu_seconds(pids), time.monotonic(), 0
    for url in addresses:
        with urllib.request.urlopen(url, timeout=120) as answer:
            size += len(answer.read())
    wall = time.monotonic() - started
    used = cpu_seconds(pids) - before
    count = len(addresses)
    each = round(wall / count * 1000, 2)
    row = Row(
        "Chengtu",
        _TILE,
        1,
        round(used / count * 1000, 3),
        round(count / wall, 1),
        each,
        each,
        size // count,
        0,
    )
    print(f"  {'Chengtu':28} {_TILE:24} {row.cpu_ms:9.3f} ms CPU", flush=True)
    return [row]


def _peer_mapproxy(work: Path, wms: str, seconds: int) -> list[Row]:
    path = "/wmts/buildings/mercator/{z}/{x}/{y}.png"
    with peers.mapproxy(peers.environment(ROOT, work), work, wms, "buildings") as (pid, port):
        address = f"http://127.0.0.1:{port}"
        warm(tile_addresses(path, _ZOOM, address), _fetch)
        return _measure_all(
            "MapProxy 7", address, lambda: cpu_seconds([pid]), [(_MAP, tile_script(path, _ZOOM), seconds, 16)]
        )


def vanilla(work: Path, count: int, seconds: int) -> list[Row]:
    """The rows of vanilla pygeoapi on both stores."""
    rows = []
    with ExitStack() as stack:
        database_pid, database_port = stack.enter_context(peers.postgis(work))
        bin_folder = peers.environment(ROOT, work)
        pid, port = stack.enter_context(peers.pygeoapi(bin_folder, work, database_port))
        address = f"http://127.0.0.1:{port}"
        for name, collection in (("pygeoapi, GeoPackage", "gpkg"), ("pygeoapi, PostGIS", "postgis")):
            base = f"/collections/{collection}/items"
            rows += _measure_all(
                name,
                address,
                lambda: cpu_seconds([pid, database_pid]),
                [
                    (_ITEMS, items_script(f"{base}?f=json", 0.005, 100), seconds, 4),
                    (_PAGE, items_script(f"{base}?f=json", 0.02, 1000), seconds, 4),
                    (_ITEM, item_script(f"{base}/%d?f=json", count), seconds, 4),
                ],
            )
        path = "/collections/postgis/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
        script = tile_script(path, _ZOOM)
        rows += _measure_all(
            "pygeoapi, PostGIS",
            address,
            lambda: cpu_seconds([pid, database_pid]),
            [(_TILE, script, seconds, 2)],
        )
    return rows


def report(rows: list[Row], facts: dict[str, float], count: int) -> str:
    """The page docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; the raw rows are in `build/benchmarks/rows.json`. CPU is that of the server's processes and,",
        "for PostGIS, of the database, divided by the requests answered: the steadiest figure on a shared machine. Both",
        "servers run under granian with two workers, one after the other, on the same data and the same fixed-seed random",
        "requests by wrk on loopback, identity coding.",
        "",
        f"Data: {count:,} polygons with eight attributes. {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, pygeoapi {version('pygeoapi')}, "
        f"MapProxy {version('mapproxy')}, granian {version('granian')}.",
        "",
        "| work | server | CPU ms a request | requests/s | p50 ms | p99 ms | bytes | errors |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: (row.workload, row.cpu_ms)):
        lines.append(
            f"| {row.workload} | {row.server} | {row.cpu_ms:.3f} | {row.requests_per_second:,.0f} | {row.p50_ms} | "
            f"{row.p99_ms} | {row.bytes_per_request:,} | {row.bad} |"
        )
    lines += ["", "A row with errors is not a result."]
    lines += ["", "| start and memory | |", "|---|--:|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in facts.items()]
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
    work = work_folder(options.work.resolve())
    home = work / f"home-{options.features}"
    print("data", flush=True)
    publish(home, options.features)
    store = next((home / "collections" / "bench" / "buildings").glob("g*/features.gpkg"))
    plain_geopackage(store, work / "buildings.gpkg")
    print("measuring", flush=True)
    rows, facts = ours(home, work, options.features, options.seconds)
    if not options.ours_only:
        rows += vanilla(work, options.features, options.seconds)
    (work / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    page = report(rows, facts, options.features)
    if options.no_write:
        print(page)
    else:
        (ROOT / "docs" / "benchmarks.md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
