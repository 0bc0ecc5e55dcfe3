"""Our own server on the benchmark's data: published into a home, or registered where PostGIS has them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dataset import batches
from benchmarks.processes import free_port, running, wait_for
from providers.features.conformance import self_test
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStore, FeatureStoreWriter
from server.publish.registering import RegisterRequest, register
from server.registry.catalogue import Access, Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings, settings_environment

FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("address", "string"),
    FieldDefinition("kind", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("year_built", "integer"),
    FieldDefinition("energy", "number"),
    FieldDefinition("updated", "string", "date"),
)


def settings_of(home: Path, database_port: int | None = None) -> Settings:
    """Settings of a home; with the peers' PostGIS as the connection `peers`."""
    connections = {}
    if database_port is not None:
        connections["peers"] = f"postgresql://postgres@127.0.0.1:{database_port}/postgres"
    return load_settings((), None, {"data.home": home, "sources.connections": connections})


def register_table(settings: Settings, collection: str, fragment: str | None = None) -> None:
    """Serve the peers' table as `bench.COLLECTION`; `fragment` names its column of encoded features."""
    request = RegisterRequest(
        source="postgis:peers/public.buildings",
        tenant="bench",
        id=collection,
        titles={"en": "Buildings in PostGIS"},
        time_field="updated",
        replace=True,
        options={} if fragment is None else {"fragment": fragment},
    )
    with open_registry(settings) as registry:
        register(request, registry, settings)


def publish(home: Path, count: int, collection: str = "buildings", access: Access = Access.PUBLIC) -> None:
    """Publish the data set into `home` as `bench.COLLECTION`, unless it is there."""
    settings = settings_of(home)
    with open_registry(settings) as registry:
        if any((home / "collections" / "bench" / collection).glob("g*/features.gpkg")):
            return
        if not any(tenant.id == "bench" for tenant in registry.list_tenants()):
            registry.add_tenant("bench", "Benchmark")
        with staging_folder(home) as folder:
            staged = folder / "generation"
            staged.mkdir()
            with FeatureStoreWriter(
                staged / "features.gpkg", fields=FIELDS, storage_crs="EPSG:4326", time_field="updated"
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
                    "conformance": self_test(FeatureStore(staged / "features.gpkg")).passed,
                },
                RepresentationKind.TILES: {"min_zoom": 10, "max_zoom": 18, "tile_matrix_sets": grids},
                RepresentationKind.MAP: {"tile_matrix_sets": grids},
            }
            draft = CollectionDraft(
                tenant="bench",
                id=collection,
                titles={"en": "Buildings of the benchmark"},
                access=access,
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
def chengtu(
    home: Path, work: Path, workers: int = 2, settings: Settings | None = None
) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Our server; gives pid, port, and the seconds until its port was open and until it was ready."""
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(home)),
        *("--port", str(port), "--workers", str(workers)),
    ]
    # As installed: modules are compiled once, and kept here even where the source folders may not be written.
    variables: Mapping[str, str] = {
        **({} if settings is None else settings_environment(settings)),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(work / "bytecode"),
    }
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
