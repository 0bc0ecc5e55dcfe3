"""CesiumJS draws and picks every kind of 3D output, in every form in which it is served: no tile fails, nothing is said in the console."""

import time
from urllib.parse import quote

import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

# Kind: how far away (in radii), an attribute that must be read where it is picked, and the least part of the picture drawn.
KINDS = {
    "houses": (1.5, "year", 0.02),
    "parts": (2.0, "height", 0.005),
    "pipes": (0.3, "管类", 0.005),
    "tunnel": (1.0, "depth", 0.005),
    "boreholes": (0.7, "interval_lithology", 0.0005),
    "between": (2.0, "layer", 0.05),
    "geology": (2.0, "layer", 0.05),
    "trees": (0.5, "kind", 0.01),
    "signs": (0.5, "kind", 0.001),
    "city": (2.0, "storeys", 0.05),
    "house-ifc": (2.5, "id", 0.02),
    "hall-glb": (2.5, "id", 0.05),
    "hall-obj": (2.5, "id", 0.05),
    "rooms": (2.5, "name", 0.05),
}
FORMS = {"implicit": "", "explicit": "explicit/", "1.0": "1.0/"}


def titled(hit, name):
    """The value of an attribute of a feature by its name or, where that is no identifier, by the one made of it."""
    from tiles.three_d.attributes import property_id

    return hit.get(name, hit.get(property_id(name)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(cesium, every_scene, kind):
    times, attribute, least = KINDS[kind]
    result = cesium.tileset(f"{every_scene.collection(kind)}/3dtiles/tileset.json", times=times)
    assert (result["loaded"], result["failed"]) == (True, [])
    assert result["ids"]
    assert (cesium.picture() < 250).any(axis=2).mean() > least
    hits = cesium.picked()
    assert hits
    assert all(str(hit["id"]) in result["ids"] for hit in hits)
    assert any(titled(hit, attribute) is not None for hit in hits), hits[0]
    assert cesium.problems == []


@pytest.mark.parametrize("form", ["explicit", "1.0"])
@pytest.mark.parametrize("kind", ["houses", "trees", "city"])
def test_every_form(cesium, every_scene, kind, form):
    """The features of all forms are the same, and where a picture has something the others have it too."""
    seen = []
    for path in ("", FORMS[form]):
        url = f"{every_scene.collection(kind)}/3dtiles/{path}tileset.json"
        result = cesium.tileset(url, times=0.6 if kind == "trees" else 2.0, again=bool(path))
        assert (result["loaded"], result["failed"]) == (True, [])
        assert cesium.picked(4)
        seen.append((result["ids"], (cesium.picture() < 250).any(axis=2)))
    (ids, first), (other, second) = seen
    assert ids == other
    assert (first != second).mean() < 0.02
    assert cesium.problems == []


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("year=1960", lambda hit: hit["year"] == 1960),
        (
            f"filter={quote('height > 40 AND year < 1970')}",
            lambda hit: hit["height"] > 40 and hit["year"] < 1970,
        ),
        ("datetime=1990-01-01/1999-12-31", lambda hit: 1990 <= hit["year"] < 2000),
        ("bbox=114.295,30.495,114.3,30.5", lambda hit: True),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_filters(cesium, every_scene, http, query, fits, form):
    address = every_scene.collection("houses")
    result = cesium.tileset(f"{address}/3dtiles/{FORMS[form]}tileset.json?{query}", times=1.5, error=0.2)
    assert (result["loaded"], result["failed"]) == (True, [])
    matched = http.get(f"{address}/items?limit=10000&{query}", timeout=60).json()["numberReturned"]
    assert 0 < len(result["ids"]) <= matched
    hits = cesium.picked()
    assert hits
    assert all(fits(hit) for hit in hits)
    assert cesium.problems == []


@pytest.mark.parametrize("form", FORMS)
def test_a_filter_that_nothing_meets_is_an_empty_tileset(cesium, every_scene, form):
    url = f"{every_scene.collection('houses')}/3dtiles/{FORMS[form]}tileset.json?code=none"
    result = cesium.tileset(url)
    assert (result["loaded"], result["failed"], result["ids"]) == (True, [], [])
    assert cesium.picture().min() >= 250
    assert cesium.problems == []


def test_the_tileset_of_the_whole_view(cesium, every_scene):
    result = cesium.tileset(f"{every_scene.ogc}/3dtiles/tileset.json", times=0.4)
    assert (result["loaded"], result["failed"]) == (True, [])
    urls = [url for url in cesium.asked if "/content/" in url]
    assert {url.partition("/collections/")[2].partition("/")[0] for url in urls} >= {
        "houses",
        "trees",
        "city",
        "pipes",
    }
    assert cesium.picked()
    assert cesium.problems == []


def test_an_edit_and_the_time_before_it(cesium, every_scene, http):
    address = every_scene.collection("edited")
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    url, headers = f"{address}/items/H100", {"Authorization": f"Bearer {every_scene.token}"}
    headers["If-Match"] = http.get(url, timeout=30).headers["ETag"]
    assert http.delete(url, headers=headers, timeout=60).status_code == 204
    now = cesium.tileset(f"{address}/3dtiles/tileset.json", error=0.2)
    then = cesium.tileset(f"{address}/3dtiles/tileset.json?asof={before}", error=0.2)
    assert (now["failed"], then["failed"]) == ([], [])
    assert set(then["ids"]) - set(now["ids"]) == {"H100"}
    assert cesium.problems == []
