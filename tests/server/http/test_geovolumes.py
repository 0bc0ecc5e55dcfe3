"""OGC API - 3D GeoVolumes, and the 3D tileset of a whole view."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from server.http.app import create_app, make_services
from server.http.collection_index import Box, CollectionIndex
from server.http.ogc.conformance import classes_of, classes_of_all
from server.http.ogc.geovolumes import CLASSES, geovolumes_classes
from server.http.three_d_city import Entry, Root, city_tileset
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings

JSON, CORE_TYPE, CLASS_TYPE = "application/json", "application/json+3dtiles", "application/3dtiles+json"
REGION = [math.radians(v) for v in (24.90, 60.15, 24.95, 60.18)]


def publish_tileset(
    registry: Registry,
    home: Path,
    tenant: str,
    name: str,
    bbox: tuple[float, ...],
    *,
    access: Access = Access.PUBLIC,
    volume: dict[str, Any] | None = None,
    kind: RepresentationKind = RepresentationKind.TILESET_3D,
) -> None:
    """A collection of nothing but a tileset.json (or another file)."""
    with staging_folder(home) as folder:
        staged = folder / "generation"
        (staged / "3dtiles").mkdir(parents=True)
        tileset = {
            "asset": {"version": "1.1"},
            "geometricError": 70.0,
            "root": {
                "boundingVolume": volume or {"region": [*REGION, 5.0, 60.0]},
                "geometricError": 90.0,
                "refine": "ADD",
                "content": {"uri": "content/0.glb"},
            },
        }
        (staged / "3dtiles" / "tileset.json").write_text(json.dumps(tileset))
        draft = CollectionDraft(
            tenant=tenant,
            id=name,
            titles={"en": name},
            bbox=bbox,
            storage_crs="http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            access=access,
            attribution="© nobody",
            licence="CC0-1.0",
        )
        representation = Representation(kind, "3dtiles/tileset.json", 0, properties={"content": "buildings"})
        registry.publish(draft, [representation], staged, False)


@dataclass
class Volumes:
    client: Any
    token: str
    catalogue: Any


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Volumes]:
    home = tmp_path_factory.mktemp("volumes")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        registry.add_tenant("other", "Other", "另")
        publish_tileset(registry, home, "demo", "high", (24.9, 60.15, 5.0, 24.95, 60.18, 60.0))
        deep = {"region": [*REGION, -80.0, -20.0]}
        publish_tileset(
            registry, home, "demo", "deep", (24.9, 60.15, -80.0, 24.95, 60.18, -20.0), volume=deep
        )
        sphere = {"sphere": [2886000.0, 1340000.0, 5500000.0, 900.0]}
        publish_tileset(
            registry, home, "demo", "boxed", (24.9, 60.15, 0.0, 24.95, 60.18, 50.0), volume=sphere
        )
        publish_tileset(
            registry, home, "demo", "flat", (24.9, 60.15, 24.95, 60.18), kind=RepresentationKind.TERRAIN
        )
        publish_tileset(
            registry, home, "demo", "secret", (0.0, 0.0, 0.0, 1.0, 1.0, 9.0), access=Access.PRIVATE
        )
        publish_tileset(registry, home, "other", "else", (24.9, 60.15, 5.0, 24.95, 60.18, 60.0))
        token = (home / "operator.token").read_text().strip()
        yield Volumes(wsgi_client(create_app(settings)), token, make_services(settings).catalogue.current())


# --- collections -----------------------------------------------------------------------------------------------------------


def test_links_of_a_collection_in_both_media_types(volumes: Volumes) -> None:
    address = "/t/demo/ogc/collections/high"
    document = volumes.client.json(address, accept=JSON)
    assert len(document["extent"]["spatial"]["bbox"][0]) == 6
    assert document["extent"]["spatial"]["crs"].endswith("CRS84h")
    links = [link for link in document["links"] if link["rel"] == "[ogc-rel:3d-geovolumes]"]
    assert [link["type"] for link in links] == [CORE_TYPE, CLASS_TYPE]
    assert {link["href"] for link in links} == {f"http://city.example:8000{address}/3dtiles/tileset.json"}
    for link in links:
        path = link["href"].removeprefix("http://city.example:8000")
        reply = volumes.client.get(path, accept=link["type"])
        assert (reply.status, reply.headers["Content-Type"]) == (200, link["type"])
    rels = {link["rel"]: link["type"] for link in reversed(document["links"])}
    assert rels["http://www.opengis.net/def/rel/ogc/0.0/tileset-3dtiles"] == JSON
    assert rels["http://www.opengis.net/def/rel/ogc/1.0/3d-geovolumes"] in (CORE_TYPE, CLASS_TYPE)
    assert [one["type"] for one in document["content"]] == [CORE_TYPE]
    assert set(CLASSES) <= set(document["conformsTo"])


def test_terrain_is_content_and_no_volume(volumes: Volumes) -> None:
    document = volumes.client.json("/t/demo/ogc/collections/flat", accept=JSON)
    assert document["content"][0]["href"].endswith("/terrain/layer.json")
    assert not [link for link in document["links"] if "geovolumes" in link["rel"]]
    assert not set(CLASSES) & set(document.get("conformsTo", ()))


def test_classes_are_computed(volumes: Volumes) -> None:
    high = volumes.catalogue.find("demo", "high")
    without_heights = replace(high, bbox=(24.9, 60.15, 24.95, 60.18))
    assert set(CLASSES) <= set(classes_of(high))
    assert geovolumes_classes(without_heights) == ()
    assert set(CLASSES) <= set(classes_of_all([high], ()))
    assert not set(CLASSES) & set(classes_of_all([high, without_heights], ()))
    assert set(CLASSES) <= set(volumes.client.json("/ogc/conformance", accept=JSON)["conformsTo"])


@pytest.mark.parametrize(
    ("bbox", "found"),
    [
        ("24.8,60.1,25,60.2", {"high", "deep", "boxed", "flat"}),
        ("24.8,60.1,-1000,25,60.2,1000", {"high", "deep", "boxed", "flat"}),
        ("24.8,60.1,-1000,25,60.2,-50", {"deep", "flat"}),
        ("24.8,60.1,55,25,60.2,1000", {"high", "flat"}),
        ("24.8,60.1,60,25,60.2,1000", {"high", "flat"}),
        ("24.8,60.1,60.01,25,60.2,1000", {"flat"}),
        ("25.1,60.1,-1000,25.2,60.2,1000", set()),
    ],
)
def test_collections_by_a_box_with_heights(volumes: Volumes, bbox: str, found: set[str]) -> None:
    document = volumes.client.json(f"/t/demo/ogc/collections?bbox={bbox}", accept=JSON)
    assert {one["id"] for one in document["collections"]} == found


@pytest.mark.parametrize("bbox", ["1,2,9,3,4,8", "1,2,nan,3,4,8", "1,2,3,4,5", "1,2,3,4,5,6,7"])
def test_bad_boxes_with_heights(volumes: Volumes, bbox: str) -> None:
    assert volumes.client.get(f"/t/demo/ogc/collections?bbox={bbox}").status == 400


def test_ten_thousand_extents_are_asked_at_once(volumes: Volumes) -> None:
    high = volumes.catalogue.find("demo", "high")
    many = [replace(high, bbox=(0.0, 0.0, float(n), 1.0, 1.0, n + 0.5)) for n in range(10_000)]
    index = CollectionIndex(many)
    assert index.selected((), Box(0, 0, 1, 1), (9.75, 10.25)) == [many[10]]


# --- the tileset of a view -------------------------------------------------------------------------------------------------


def leaves(tile: dict[str, Any], parent: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Tiles with content; each must lie in the one above, and not be wrong by more."""
    if parent is not None:
        inner, outer = tile["boundingVolume"]["region"], parent["boundingVolume"]["region"]
        assert outer[0] <= inner[0]
        assert outer[1] <= inner[1]
        assert outer[2] >= inner[2]
        assert outer[3] >= inner[3]
        assert outer[4] <= inner[4]
        assert outer[5] >= inner[5]
        assert parent["geometricError"] >= tile["geometricError"]
    if "content" in tile:
        yield tile
    children = tile.get("children", ())
    assert len(children) <= 8
    for child in children:
        yield from leaves(child, tile)


def test_tileset_of_a_view(volumes: Volumes) -> None:
    document = volumes.client.json("/t/demo/ogc/3dtiles/tileset.json")
    assert document["asset"]["version"] == "1.1"
    assert "tile" in document["schema"]["classes"]
    found = {tile["content"]["uri"]: tile for tile in leaves(document["root"])}
    assert set(found) == {f"../collections/{name}/3dtiles/tileset.json" for name in ("high", "deep", "boxed")}
    assert found["../collections/high/3dtiles/tileset.json"]["geometricError"] == 90.0
    low, high = document["root"]["boundingVolume"]["region"][4:]
    assert (low, high) == (-80.0, 60.0)
    landing = volumes.client.json("/t/demo/ogc/", accept=JSON)
    assert any(link["href"].endswith("/ogc/3dtiles/tileset.json") for link in landing["links"])
    bare = {tile["content"]["uri"] for tile in leaves(volumes.client.json("/t/demo/ogc/3dtiles")["root"])}
    assert bare == {uri.removeprefix("../") for uri in found}
    city = {
        tile["content"]["uri"] for tile in leaves(volumes.client.json("/ogc/3dtiles/tileset.json")["root"])
    }
    assert "../collections/other.else/3dtiles/tileset.json" in city
    for uri in city:
        assert volumes.client.get(f"/ogc/{uri.removeprefix('../')}").status == 200


def test_private_tilesets_are_shown_to_who_may_see_them(volumes: Volumes) -> None:
    private = volumes.client.get("/t/demo/ogc/3dtiles/tileset.json", authorization=f"Bearer {volumes.token}")
    assert "secret" in private.body.decode()
    assert private.headers["Cache-Control"].startswith("private")
    public = volumes.client.get("/t/demo/ogc/3dtiles/tileset.json")
    assert "secret" not in public.body.decode()
    assert private.headers["ETag"] != public.headers["ETag"]
    reply = volumes.client.get("/t/demo/ogc/3dtiles/tileset.json", if_none_match=public.headers["ETag"])
    assert reply.status == 304


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("collections=high,deep", 200),
        ("collections=high", 200),
        ("collections=secret", 404),
        ("collections=absent", 404),
        ("collections=flat", 400),
        ("collections=", 400),
        ("collections=high,", 400),
        ("other=1", 400),
        ("collections=high&collections=deep", 400),
    ],
)
def test_chosen_collections(volumes: Volumes, query: str, status: int) -> None:
    reply = volumes.client.get(f"/t/demo/ogc/3dtiles/tileset.json?{query}")
    assert reply.status == status, reply.body
    if status == 200:
        asked = query.partition("=")[2].split(",")
        assert len(list(leaves(reply.json["root"]))) == len(asked)


def test_a_view_without_tilesets_has_an_empty_one() -> None:
    empty = city_tileset([])
    assert list(leaves(empty["root"])) == []
    assert len(empty["root"]["boundingVolume"]["region"]) == 6


@pytest.mark.parametrize("count", [1, 8, 9, 64, 65, 1000])
def test_groups_by_place(count: int) -> None:
    entries = []
    for number in range(count):
        west, south = (
            math.radians(-80 + 160 * (number * 0.618 % 1)),
            math.radians(-60 + 120 * (number * 0.381 % 1)),
        )
        region = (west, south, west + 0.001, south + 0.001, 0.0, 50.0)
        entries.append(Entry(Root(region, 40.0 + number), f"{number}/tileset.json"))
    document = city_tileset(entries)
    assert {tile["content"]["uri"] for tile in leaves(document["root"])} == {one.uri for one in entries}
    assert document["geometricError"] >= 40.0 + count - 1


def test_collections_around_the_antimeridian() -> None:
    fiji = (math.radians(177), -0.3, math.radians(-179), -0.2, 0.0, 9.0)
    east = (math.radians(-178), -0.3, math.radians(-177), -0.2, 0.0, 9.0)
    root = city_tileset([Entry(Root(fiji, 1.0), "a"), Entry(Root(east, 1.0), "b")])["root"]
    west, _, right, *_ = root["boundingVolume"]["region"]
    assert math.isclose(west, math.radians(177))
    assert math.isclose(right, math.radians(-177))
