"""OGC API - 3D GeoVolumes as a client follows it: from the landing page by links alone to tilesets that work."""

from urllib.parse import urlsplit

import pytest
from owslib.ogcapi.features import Features

from tiles.three_d.check import CallFiles, inspect_tileset

pytestmark = pytest.mark.clients

REL = "[ogc-rel:3d-geovolumes]"
TILESETS = ("application/json+3dtiles", "application/3dtiles+json")
SCENE_LAYERS = ("application/json+i3s", "application/i3s+json")
CORE = "https://www.opengis.net/spec/ogcapi-geovolumes-1/1.0/conf"


def linked(document, rel, media_type="application/json"):
    """The address of the one link of this relation and type."""
    found = {
        link["href"] for link in document["links"] if link["rel"] == rel and link.get("type") == media_type
    }
    assert len(found) == 1, (rel, found)
    return found.pop()


@pytest.fixture(scope="module")
def landing(every_scene, fetch_json):
    return fetch_json(f"{every_scene.ogc}/", f="json")


@pytest.fixture(scope="module")
def collections(landing, fetch_json):
    """Documents of the collections by id, from the landing page on."""
    found = fetch_json(linked(landing, "data"), limit="100")["collections"]
    return {one["id"]: fetch_json(linked(one, "self")) for one in found}


def test_conformance_is_declared(landing, fetch_json):
    declared = set(fetch_json(linked(landing, "conformance"))["conformsTo"])
    assert {f"{CORE}/core", f"{CORE}/3d-tiles", f"{CORE}/i3s"} <= declared


def test_every_volume_has_a_box_with_heights_and_a_link(collections, every_scene):
    for name in (name for name in every_scene.collections if name != "hills"):
        document = collections[name]
        (box,) = document["extent"]["spatial"]["bbox"][:1]
        assert len(box) == 6
        assert box[2] < box[5]
        assert document["extent"]["spatial"]["crs"].endswith("CRS84h")
        types = [link["type"] for link in document["links"] if link["rel"] == REL]
        assert set(TILESETS) <= set(types)


@pytest.mark.parametrize("media_type", TILESETS)
@pytest.mark.parametrize("name", ["parts", "pipes", "trees", "city", "geology"])
def test_the_link_leads_to_a_tileset_that_works(collections, http, name, media_type):
    address = linked(collections[name], REL, media_type)
    first = http.get(address, headers={"Accept": media_type}, timeout=60)
    assert (first.status_code, first.headers["Content-Type"]) == (200, media_type)
    parts = urlsplit(address)

    def fetch(path):
        reply = http.get(
            f"{parts.scheme}://{parts.netloc}/{path}", headers={"Accept": media_type}, timeout=60
        )
        return reply.content if reply.status_code == 200 else None

    report = inspect_tileset(CallFiles(fetch), parts.path.lstrip("/"))
    assert [str(finding) for finding in report.findings] == []
    assert report.counts["files"] > 1


@pytest.mark.parametrize("media_type", SCENE_LAYERS)
def test_the_link_leads_to_a_scene_layer(collections, http, media_type):
    address = linked(collections["houses"], REL, media_type)
    reply = http.get(address, headers={"Accept": media_type}, timeout=60)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, media_type)
    assert reply.json()["store"]["profile"] == "meshpyramids"
    assert http.get(f"{address}/nodepages/0", timeout=60).status_code == 200


def test_contents_are_listed_and_there(collections, http):
    """The member `content`: all forms of a collection, each with an address that answers."""
    for name in ("houses", "city", "hills"):
        for link in collections[name]["content"]:
            reply = http.head(link["href"], headers={"Accept": link["type"]}, timeout=60)
            assert reply.status_code == 200, link
    types = {link["type"] for link in collections["houses"]["content"]}
    assert types & set(TILESETS)
    assert types & set(SCENE_LAYERS)


def test_owslib_finds_the_volumes(every_scene):
    """OWSLib has no client of GeoVolumes; what it shares with other parts of OGC API works, links among it."""
    client = Features(f"{every_scene.ogc}/")
    assert f"{CORE}/core" in client.conformance()["conformsTo"]
    listed = {one["id"]: one for one in client.collections()["collections"]}
    assert set(every_scene.collections) <= set(listed)
    assert linked(client.collection("city"), REL, TILESETS[0]).endswith(
        "/collections/city/3dtiles/tileset.json"
    )
    features = client.collection_items("houses", bbox=[114.299, 30.499, 114.301, 30.501], limit=5)
    assert features["features"]
