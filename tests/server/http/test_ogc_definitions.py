"""Every route of the OGC APIs is in the OpenAPI definition, with every method; tile matrix sets and processes keep their schemas."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.http.app import create_flask, make_services

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
NAMES = {
    "public_id": "collectionId",
    "style_id": "styleId",
    "process_id": "processId",
    "location_id": "locationId",
    "location": "locationId",
    "tile_row": "tileRow",
    "tile_column": "tileCol",
    "feature_id": "featureId",
    "item_id": "featureId",
    "point_id": "pointId",
    "grid_id": "tileMatrixSetId",
    "tms": "tileMatrixSetId",
    "tile_matrix": "tileMatrix",
    "zoom": "tileMatrix",
    "row": "tileRow",
    "column": "tileCol",
    "col": "tileCol",
}
FILES = re.compile(r"/(3dtiles|terrain|download|ept|pointcloud)|\.pmtiles$|SceneServer")
"""Files of a generation: each kind is described by its entry document."""


def routes(city: Any) -> set[tuple[str, str]]:
    """(method, path as OpenAPI writes it) of every route below /ogc."""
    found = set()
    for rule in create_flask(make_services(city.settings)).url_map.iter_rules():
        path = re.sub(
            r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda one: "{" + NAMES.get(one[1], one[1]) + "}", rule.rule
        )
        if path.startswith("/ogc") and not FILES.search(path):
            found |= {
                (method, path.removeprefix("/ogc") or "/") for method in (rule.methods or set()) & METHODS
            }
    return found


@pytest.fixture(scope="module")
def described(client: Any) -> set[tuple[str, str]]:
    paths = client.json("/ogc/api?f=json")["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


def test_every_route_is_described(city: Any, described: set[tuple[str, str]]) -> None:
    assert routes(city) - described == set()


def test_the_definition_stays_small(client: Any) -> None:
    assert len(client.get("/ogc/api?f=json").body) < 120_000


def test_operations_have_names_of_their_own(client: Any) -> None:
    paths = client.json("/ogc/api?f=json")["paths"]
    ids = [operation["operationId"] for item in paths.values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_tile_matrix_sets_are_what_the_standard_calls_so(client: Any) -> None:
    """OGC 17-083r4, Annex B: what a client needs to find a tile, consistent with itself."""
    listed = client.json("/ogc/tileMatrixSets")["tileMatrixSets"]
    assert {"WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad"} <= {one["id"] for one in listed}
    for one in listed:
        (address,) = (each["href"] for each in one["links"] if each["rel"] == "self")
        document = client.json(address.removeprefix("http://city.example:8000"))
        assert (document["id"], document["crs"]) == (one["id"], one["crs"])
        ids = [matrix["id"] for matrix in document["tileMatrices"]]
        assert ids == [str(number) for number in sorted(map(int, ids))]
        for matrix in document["tileMatrices"]:
            assert matrix["cellSize"] > 0
            assert matrix["matrixWidth"] * matrix["matrixHeight"] >= 1
            assert (matrix["tileWidth"], matrix["tileHeight"], len(matrix["pointOfOrigin"])) == (256, 256, 2)
        scales = [matrix["scaleDenominator"] for matrix in document["tileMatrices"]]
        assert scales == sorted(scales, reverse=True)
    assert client.get("/ogc/tileMatrixSets/nope").status == 404


def test_processes_are_listed_and_described(client: Any) -> None:
    """OGC 18-062r2, 7.9 and 7.10."""
    listed = client.json("/ogc/processes")["processes"]
    assert {"area-statistics", "buffer-clip"} <= {one["id"] for one in listed}
    for one in listed:
        described = client.json(f"/ogc/processes/{one['id']}")
        assert described["id"] == one["id"]
        assert described["version"]
        assert "sync-execute" in described["jobControlOptions"]
        assert all(
            "schema" in each for each in (*described["inputs"].values(), *described["outputs"].values())
        )
    assert client.get("/ogc/processes/nope").status == 404
