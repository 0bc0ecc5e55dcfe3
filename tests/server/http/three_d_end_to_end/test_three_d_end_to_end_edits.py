"""Edits over HTTP of every kind of 3D collection show at once, in every form, in both workers; filters choose what items choose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import shapely

WEST, SOUTH = 24.90, 60.15
COUNT = 300
FACES = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
BOX = np.array(
    [[0, 0, 0], [10, 0, 0], [10, 20, 0], [0, 20, 0], [0, 0, 6], [10, 0, 6], [10, 20, 6], [0, 20, 6]]
)
STREETS = ("人民路", "Esplanadi", "O'Brien St", "Ø", "a;b", '"x"')


def houses() -> tuple[list[Any], dict[str, list[Any]]]:
    """Boxes on a grid, every tenth with a courtyard."""
    random = np.random.default_rng(5)
    shapes = []
    for number in range(COUNT):
        x, y = WEST + 0.001 * (number % 20), SOUTH + 0.001 * (number // 20)
        outer = shapely.box(x, y, x + 0.0006, y + 0.0004)
        hole = shapely.box(x + 0.0002, y + 0.0001, x + 0.0004, y + 0.0003)
        shapes.append(outer.difference(hole) if number % 10 == 0 else outer)
    return shapes, {
        "height": [round(float(value), 2) for value in random.uniform(3.0, 90.0, COUNT)],
        "street": [None if n % 11 == 0 else f"{STREETS[n % 6]} {n}" for n in range(COUNT)],
        "kind": [("住宅", "商业", "office")[n % 3] for n in range(COUNT)],
        "built": [None if n % 13 == 0 else f"{1950 + n % 70}-0{1 + n % 9}-15" for n in range(COUNT)],
        "floors": [None if n % 7 == 0 else n % 40 for n in range(COUNT)],
        "share": [None if n % 5 == 0 else n / 3 for n in range(COUNT)],
    }


def geojson(path: Path, shapes: list[Any], columns: dict[str, list[Any]]) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {name: values[number] for name, values in columns.items()},
        }
        for number, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def city_model(path: Path) -> Path:
    objects, vertices = {}, []
    for number in range(12):
        first = len(vertices)
        vertices += (1000 * (BOX + np.array([30 * number, 0, 0]))).tolist()
        solid = [[[corner + first for corner in face]] for face in FACES]
        objects[f"b{number}"] = {
            "type": "Building",
            "attributes": {"storeys": number, "name": f"楼 {number}", "height": 6.0},
            "geometry": [{"type": "Solid", "lod": "2.2", "boundaries": [solid]}],
        }
    document = {
        "type": "CityJSON",
        "version": "2.0",
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "transform": {"scale": [0.001] * 3, "translate": [85_000.0, 447_500.0, 0.0]},
        "CityObjects": objects,
        "vertices": vertices,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def line(number: int) -> Any:
    y = SOUTH + 0.0005 * number
    return shapely.LineString([(WEST, y, -2.0), (WEST + 0.002, y, -2.5), (WEST + 0.002, y + 0.0003, -3.0)])


def point(number: int) -> Any:
    return shapely.Point(WEST + 0.0007 * (number % 5), SOUTH + 0.0007 * (number // 5), 3.0)


LOG = json.dumps([{"from": 0, "to": 2, "lithology": "填土"}, {"from": 2, "to": 8, "lithology": "clay"}])


@pytest.fixture(scope="module")
def server(
    home: Any, serving: Callable[..., AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Two workers over one collection of each kind."""
    folder = tmp_path_factory.mktemp("edits")
    shapes, columns = houses()
    height = ("--height-field", "height", "--field-title", "height=高度（m）", "--time-field", "built")
    home.publish(geojson(folder / "h.json", shapes, columns), "houses", *height)
    lines = [line(n) for n in range(20)]
    home.publish(
        geojson(folder / "p.json", lines, {"diameter": [0.3] * 20, "kind": ["给水"] * 20}), "pipes",
        "--underground", "pipes", "--diameter-field", "diameter",
    )  # fmt: skip
    points = [point(n) for n in range(20)]
    home.publish(
        geojson(folder / "m.json", points, {"depth": [2.0] * 20}), "manholes",
        "--underground", "pipes", "--field-means", "well_depth=depth",
    )  # fmt: skip
    home.publish(
        geojson(folder / "t.json", points, {"tall": [8.0] * 20, "species": ["杉"] * 20}), "trees",
        "--instances", "conifer", "--instance-height-field", "tall",
    )  # fmt: skip
    home.publish(
        geojson(folder / "b.json", points, {"log": [LOG] * 20, "name": [f"ZK{n}" for n in range(20)]}), "boreholes",
        "--underground", "boreholes", "--field-means", "intervals=log",
    )  # fmt: skip
    home.publish(
        geojson(folder / "u.json", lines, {"name": ["line 1"] * 20}), "tunnels",
        "--underground", "tunnels", "--section-size", "6x5",
    )  # fmt: skip
    home.publish(city_model(folder / "c.city.json"), "models", "--height-reference", "ellipsoidal")
    with serving(home.folder) as running:
        yield running


@pytest.fixture
def readers(server: Any, reader: Any) -> list[Any]:
    return [reader(connection.get) for connection in server.connect()]


@pytest.fixture
def edit(server: Any, home: Any) -> Callable[..., str]:
    """Edits one feature through the first worker; the id of a new one."""

    def send(method: str, path: str, document: Any = None) -> str:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/geo+json"
        worker, address = server.connect()[0], f"/t/town/ogc/collections/{path}"
        seen = {} if method == "POST" else {"if_match": worker.get(address)[1]["etag"]}
        status, headers, body = worker.request(
            method, address, None if document is None else json.dumps(document).encode(),
            content_type=kind, authorization=f"Bearer {home.token}", **seen,
        )  # fmt: skip
        assert status in (200, 201, 204), (status, body[:500])
        return headers.get("location", "").rpartition("/")[2]

    return send


def feature(shape: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": properties}


def shown(readers: list[Any], collection: str) -> Any:
    """What both workers show: the same, and nothing wrong with it."""
    one, other = (reader.walk(collection) for reader in readers)
    assert one.contents == other.contents
    assert one.etags == other.etags
    assert one.tileset == other.tileset
    assert one.twice == []
    assert readers[1].faults(collection) == []
    assert one.objects.keys() == readers[1].items(collection).keys()
    return one


def in_every_form(readers: list[Any], collection: str, decoded: Any, walked: Any) -> None:
    """The explicit trees and the scene layer of the second worker have the objects that the implicit one has."""
    from tiles.three_d.check import check_content_bytes

    explicit: dict[str, Any] = {}
    for content in readers[1].explicit(collection, "explicit").values():
        explicit |= decoded(content)
    assert explicit.keys() == walked.objects.keys()
    old = readers[1].explicit(collection, "1.0")
    assert len(old) == len(walked.contents)
    for content in old.values():
        assert check_content_bytes(content) == []


# --- edits -----------------------------------------------------------------------------------------------------------------

HOUSE = shapely.box(WEST + 0.0301, SOUTH + 0.0002, WEST + 0.0306, SOUTH + 0.0005)
NEW = {
    "houses": feature(HOUSE, height=25.0, street="新街", kind="x", built="2024-02-03", floors=3, share=0.5),
    "pipes": feature(line(40), diameter=0.8, kind="给水"),
    "manholes": feature(point(40), depth=4.0),
    "trees": feature(point(40), tall=15.0, species="松"),
    "boreholes": feature(point(40), log=LOG, name="ZK-new"),
    "tunnels": feature(line(40), name="line 2"),
    "models": feature(shapely.box(4.3740, 52.0110, 4.3742, 52.0112), name="新", storeys=3, height=9.0),
}


@pytest.mark.parametrize("collection", list(NEW))
def test_create_move_and_delete(
    collection: str, readers: list[Any], edit: Any, decoded: Any, server: Any
) -> None:
    before = shown(readers, collection)
    fields = readers[0].json(f"/t/town/ogc/collections/{collection}/schema?f=json")["properties"]
    document = NEW[collection] | {
        "properties": {name: value for name, value in NEW[collection]["properties"].items() if name in fields}
    }
    began = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    made = edit("POST", f"{collection}/items", document)
    created = shown(readers, collection)
    assert created.objects.keys() - before.objects.keys() == {made}
    in_every_form(readers, collection, decoded, created)
    untouched = [name for name in before.etags if created.etags.get(name) == before.etags[name]]
    for name in untouched:
        assert created.contents[name] == before.contents[name]
    assert len(before.etags) - len(untouched) <= 3

    some = next(iter(before.objects))
    place = readers[0].items(collection)[some]["geometry"]
    moved = shapely.affinity.translate(shapely.geometry.shape(place), 0.0004, 0.0002)
    edit("PATCH", f"{collection}/items/{some}", {"geometry": shapely.geometry.mapping(moved)})
    after = shown(readers, collection)
    shift = after.objects[some].box - before.objects[some].box
    assert shift[[0, 1, 3, 4]] == pytest.approx([0.0004, 0.0002, 0.0004, 0.0002], abs=1e-6)
    in_every_form(readers, collection, decoded, after)

    edit("DELETE", f"{collection}/items/{some}")
    gone = shown(readers, collection)
    assert some not in gone.objects
    in_every_form(readers, collection, decoded, gone)

    past = readers[1].walk(collection, f"asof={quote(began)}")
    assert past.objects.keys() == before.objects.keys()
    assert past.objects[some].box == pytest.approx(before.objects[some].box, abs=1e-6)


@pytest.mark.parametrize(
    ("collection", "change", "seen"),
    [
        ("houses", {"height": 120.0}, lambda found: found.rise == pytest.approx(120.0, abs=0.05)),
        ("pipes", {"diameter": 2.0}, lambda found: found.properties["section_width"] == 2.0),
        # The lid stands 6 cm above the cover level.
        ("manholes", {"depth": 6.5}, lambda found: found.rise == pytest.approx(6.56, abs=0.03)),
        ("trees", {"tall": 21.0}, lambda found: found.rise == pytest.approx(21.0, abs=0.05)),
        (
            "boreholes",
            {"log": json.dumps([{"from": 0, "to": 30, "lithology": "砂"}])},
            lambda found: found.rise == pytest.approx(30.0, abs=0.05),
        ),
        ("tunnels", {"name": "换乘"}, lambda found: found.properties["name"] == "换乘"),
        ("models", {"storeys": 77}, lambda found: found.properties["storeys"] == 77),
    ],
)
def test_attributes(
    collection: str, change: dict[str, Any], seen: Any, readers: list[Any], edit: Any
) -> None:
    some = list(readers[0].walk(collection).objects)[1]
    edit("PATCH", f"{collection}/items/{some}", {"properties": change})
    found = shown(readers, collection).objects[some]
    assert seen(found), (found.properties, found.rise)


# --- filters ---------------------------------------------------------------------------------------------------------------


def filters(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        x, y = WEST + random.uniform(-0.002, 0.02), SOUTH + random.uniform(-0.002, 0.015)
        wide, high = random.uniform(0.0001, 0.01, 2)
        year, least = int(random.integers(1950, 2015)), round(float(random.uniform(3, 90)), 2)
        box = f"bbox={x},{y},{x + wide},{y + high}"
        made += [
            (box),
            f"filter={quote(f'height > {least}')}",
            f"filter={quote(f'kind = {chr(39)}住宅{chr(39)} AND (floors IS NULL OR floors < {year % 40})')}",
            f"datetime={year}-01-01/{year + int(random.integers(0, 30))}-12-31",
            f"datetime={year}-01-01/..&{box}",
            f"q={quote(STREETS[number % 2])}",
            f"kind={quote('商业')}&{box}",
            f"filter={quote(f'street LIKE {chr(39)}%{year % 10}%{chr(39)} AND NOT share > 50')}",
            f"filter={quote(f'S_INTERSECTS(geometry, POINT({x} {y}))')}",
            f"filter={quote(f'built >= DATE({chr(39)}{year}-06-01{chr(39)})')}",
        ]
    return made


def chosen(readers: list[Any], queries: list[str]) -> None:
    for number, query in enumerate(queries):
        expected = readers[0].items("houses", query).keys()
        found = readers[number % 2].walk("houses", query)
        assert found.objects.keys() == expected, query
        assert found.twice == []


def test_filters_choose_what_items_choose(readers: list[Any]) -> None:
    chosen(readers, filters(1, 3))


@pytest.mark.acceptance
def test_many_filters_choose_what_items_choose(readers: list[Any]) -> None:
    chosen(readers, filters(2, 40))


def test_properties_say_what_items_say(readers: list[Any]) -> None:
    items, walked = readers[0].items("houses"), readers[1].walk("houses")
    for name, found in walked.objects.items():
        said = items[name]["properties"]
        for field in ("height", "floors", "share"):
            assert found.properties[field] == said[field], (name, field)
        for field in ("street", "kind", "built"):
            assert found.properties[field] == said[field], (name, field)
        epoch = found.properties["built_epoch"]
        if said["built"] is None:
            assert epoch is None
        else:
            assert epoch == datetime.fromisoformat(said["built"]).replace(tzinfo=UTC).timestamp()
    schema = read_schema(next(iter(walked.contents.values())))
    assert "高度" in schema["height"]["name"] + schema["height"].get("description", "")
    assert "m" in schema["height"].get("description", "")


def read_schema(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[12:16], "little")
    document = json.loads(content[20 : 20 + length])
    (only,) = document["extensions"]["EXT_structural_metadata"]["schema"]["classes"].values()
    return dict(only["properties"])
