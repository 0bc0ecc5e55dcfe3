"""A small catalogue with one collection of every kind, and the pages over the repository's own node_modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from server.pages import PageRequest, Pages, PageSettings
from server.registry.catalogue import (
    Access,
    Catalogue,
    Collection,
    Field,
    Interval,
    Representation,
    RepresentationKind,
    Tenant,
)

REPOSITORY = Path(__file__).parents[3]
HELSINKI = (24.90, 60.15, 24.98, 60.19)
OSM = "© OpenStreetMap contributors, ODbL"

TENANTS = {
    "auckland": Tenant("auckland", "demo", {"en": "Auckland", "zh": "奥克兰"}),
    "helsinki": Tenant("helsinki", "demo", {"en": "Helsinki", "zh": "赫尔辛基"}),
}


def make_collection(
    tenant: str,
    name: str,
    titles: tuple[str, str],
    kinds: Mapping[str, Mapping[str, Any]],
    *,
    simulated: bool = False,
    **changes: Any,
) -> Collection:
    """A collection with the given representations; titles are (English, Chinese)."""
    values: dict[str, Any] = {
        "tenant": tenant,
        "id": name,
        "titles": {"en": titles[0], "zh": titles[1]},
        "descriptions": {
            "en": f"{titles[0]} of the demo city, kept on one space-time reference.",
            "zh": f"演示城市的{titles[1]}，统一时空基准。",
        },
        "keywords": (name, "demo"),
        "bbox": HELSINKI,
        "interval": None,
        "storage_crs": "http://www.opengis.net/def/crs/EPSG/0/3879",
        "access": Access.PUBLIC,
        "attribution": OSM,
        "licence": "ODbL-1.0",
        "licence_url": "https://opendatacommons.org/licenses/odbl/1-0/",
        "simulated": simulated,
        "generation": 1,
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-02T03:04:05Z",
        "directory": Path("nowhere"),
        "representations": {
            RepresentationKind(kind): Representation(RepresentationKind(kind), "file", 1, 0, properties)
            for kind, properties in {**kinds, "record": {}}.items()
        },
        "fields": (Field("name", "string", title="Name"), Field("levels", "integer")),
    }
    return Collection(**values | changes)


def vector(geometry: str, count: int) -> dict[str, Mapping[str, Any]]:
    """The representations of a feature collection."""
    return {
        "features": {"geometry_type": geometry, "count": count},
        "tiles": {"min_zoom": 0, "max_zoom": 15},
        "map": {"style": "default"},
    }


def make_catalogue() -> Catalogue:
    """Helsinki with every kind, Auckland with readings."""
    raster = {
        "width": 2000,
        "height": 1000,
        "resolution": [2.0, 2.0],
        "bands": [{"name": "1", "title": "Red"}],
    }
    counts = {"parameters": [{"name": "pedestrians", "title": "Pedestrians", "unit": "1/h"}], "count": 176400}
    height = (24.90, 60.15, 5.0, 24.98, 60.19, 95.0)
    collections = [
        make_collection(
            "auckland",
            "pedestrian-counts",
            ("Pedestrian counts", "行人流量"),
            {"series": counts},
            bbox=(174.75, -36.87, 174.78, -36.84),
            interval=Interval("2025-01-01T00:00:00Z", "2025-12-31T23:00:00Z"),
            attribution="Heart of the City Auckland",
            licence="CC-BY-4.0",
            licence_url="https://creativecommons.org/licenses/by/4.0/",
            fields=(),
        ),
        make_collection("helsinki", "addresses", ("Addresses", "地址"), vector("Point", 12000)),
        make_collection(
            "helsinki",
            "buildings",
            ("Buildings", "建筑"),
            {**vector("MultiPolygon", 4321), "3dtiles": {"content": "buildings", "feature_count": 4321}},
            bbox=height,
        ),
        make_collection(
            "helsinki",
            "lidar",
            ("Lidar scan (simulated)", "激光雷达扫描（模拟）"),
            {"pointcloud": {"count": 1_000_000}, "3dtiles": {"content": "points"}},
            simulated=True,
            bbox=height,
        ),
        make_collection(
            "helsinki",
            "ortho",
            ("Orthophoto (simulated)", "正射影像（模拟）"),
            {"coverage": raster, "map": {}},
            simulated=True,
            fields=(),
        ),
        make_collection(
            "helsinki",
            "pipes",
            ("Pipe network (simulated)", "地下管网（模拟）"),
            {**vector("LineString", 900), "3dtiles": {"content": "pipes"}},
            simulated=True,
        ),
        make_collection("helsinki", "streets", ("Streets", "道路"), vector("LineString", 3000)),
        make_collection(
            "helsinki",
            "terrain",
            ("Terrain (simulated)", "地形（模拟）"),
            {"coverage": raster, "map": {}, "terrain": {"height_reference": "ellipsoid (WGS 84)"}},
            simulated=True,
            fields=(),
        ),
    ]
    return Catalogue(
        1, MappingProxyType(TENANTS), MappingProxyType({(c.tenant, c.id): c for c in collections})
    )


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return make_catalogue()


@pytest.fixture(scope="session")
def pages() -> Pages:
    return Pages(PageSettings(vendor_dir=REPOSITORY / "node_modules"))


@pytest.fixture
def ask() -> Any:
    """Make a page request: `ask("/path", "zh", q="...")`."""

    def make(path: str = "/", language: Any = "en", **query: str) -> PageRequest:
        return PageRequest(language, path, "http://localhost:8000", query)

    return make


@pytest.fixture
def new_collection() -> Any:
    return make_collection
