"""Tiles of the embedded store's tile parts beside those of its geometries; after edits beside a store built anew."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.query import BBox
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store
from providers.features.store.tile_parts import ALL, HEAD, MOST_LOOSE
from providers.features.store.tile_parts import beside as beside_of
from providers.tiles.generic import generic_tile
from providers.tiles.vector import vector_tile, window_at
from tiles.grids import TileId

MERCATOR = "WebMercatorQuad"
ALL_BESIDE = beside_of(ALL)
FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("kind", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
)
Decode = Callable[[bytes], dict[str, dict[str, Any]]]


def tile_of(longitude: float, latitude: float, zoom: int) -> TileId:
    count = 1 << zoom
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return TileId(zoom, int((longitude + 180) / 360 * count), int(y * count))


def columns_of(count: int) -> dict[str, list[Any]]:
    return {
        "name": [f"楼 {n}" if n % 7 else None for n in range(count)],
        "kind": [("住宅", "商业", "office")[n % 3] for n in range(count)],
        "height": [n / 10 for n in range(count)],
        "floors": [n % 9 - 2 for n in range(count)],
        "listed": [n % 2 == 0 for n in range(count)],
        "built": [f"20{n % 25:02d}-01-01" for n in range(count)],
    }


def mixed_shapes(count: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Boxes, some with a hole, lines, points, pairs of boxes, a collection, and one wide strip over all of them."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(114.0, 114.1, count), random.uniform(22.5, 22.6, count)
    boxes = shapely.box(x, y, x + 0.001, y + 0.001)
    shapes = boxes.copy()
    holes = shapely.box(x + 0.0003, y + 0.0003, x + 0.0006, y + 0.0006)
    shapes[0::6] = shapely.difference(boxes[0::6], holes[0::6])
    shapes[1::6] = shapely.linestrings(
        np.stack([np.stack([x[1::6], y[1::6]], 1), np.stack([x[1::6] + 0.002, y[1::6] + 0.001], 1)], 1)
    )
    shapes[2::6] = shapely.points(x[2::6], y[2::6])
    shapes[3::6] = [shapely.MultiPolygon([b, shapely.affinity.translate(b, 0.002)]) for b in boxes[3::6]]
    shapes[4::6] = [shapely.MultiPoint([b.centroid, b.boundary.coords[0]]) for b in boxes[4::6]]
    shapes[5] = shapely.GeometryCollection([boxes[5], shapely.Point(x[5], y[5])])
    shapes[11] = shapely.box(113.9, 22.55, 114.2, 22.551)
    return shapes


def build(
    path: Path,
    shapes: Any,
    columns: dict[str, list[Any]],
    ids: list[str] | None = None,
    crs: str = "EPSG:4326",
) -> FeatureStore:
    with FeatureStoreWriter(path, fields=FIELDS, storage_crs=crs) as writer:
        writer.add(shapes, columns, ids)
        writer.finish()
    return open_store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return build(tmp_path_factory.mktemp("parts") / "a.gpkg", mixed_shapes(1200), columns_of(1200))


def generic(store: FeatureStore, tile: TileId) -> bytes:
    names = [field.name for field in store.schema.fields]
    return generic_tile(store, window_at(MERCATOR, tile), "a", names, store.facts.full_zoom)


def made(store: FeatureStore, tile: TileId, **more: Any) -> bytes:
    return vector_tile(store, MERCATOR, tile.z, tile.y, tile.x, "a", **more)


def place(feature: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The box of what a client shows of a feature: within the tile, whatever was left beyond its edge."""
    make = {1: shapely.MultiPoint, 2: shapely.LineString, 3: shapely.Polygon}[feature["type"]]
    shown = shapely.clip_by_rect([make(path) for path in feature["paths"]], 0, 0, 4096, 4096)
    return np.nan_to_num(shapely.total_bounds(shown), nan=-99)


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = place(one), place(other)
    # At the very edge one rounding lies inside and the other does not.
    return bool(np.abs(first - second).max() <= 2 or {first[0], second[0]} >= {-99})


def around(zoom: int) -> Iterator[TileId]:
    first, last = tile_of(113.99, 22.61, zoom), tile_of(114.11, 22.49, zoom)
    for y in range(first.y, last.y + 1):
        for x in range(first.x, last.x + 1):
            yield TileId(zoom, x, y)


@pytest.mark.parametrize("zoom", [9, 12, 14, 15])
def test_parts_say_what_the_geometries_say(store: FeatureStore, decode: Decode, zoom: int) -> None:
    seen = 0
    for tile in list(around(zoom))[:40]:
        ours, theirs = decode(made(store, tile)), decode(generic(store, tile))
        assert ours.keys() == theirs.keys()
        if not ours:
            continue
        mine = {feature["id"]: feature for feature in ours["a"]["features"]}
        others = {feature["id"]: feature for feature in theirs["a"]["features"]}
        # What is left whole may have its box in the margin, and nothing of itself.
        for number in mine.keys() ^ others.keys():
            assert place((mine | others)[number])[0] == -99
        seen += len(mine)
        for number in mine.keys() & others.keys():
            feature, other = mine[number], others[number]
            assert feature["properties"] == other["properties"]
            assert feature["type"] == other["type"]
            assert alike(feature, other)
    assert seen > 200


def test_rings_wind_clockwise_on_the_screen_and_holes_the_other_way(
    store: FeatureStore, decode: Decode
) -> None:
    polygons = holes = 0
    for tile in around(14):
        layer = decode(made(store, tile)).get("a", {"features": []})
        for feature in layer["features"]:
            if feature["type"] != 3:
                continue
            areas = []
            for path in feature["paths"]:
                ring = np.array(path, dtype=np.int64)
                after = np.roll(ring, -1, axis=0)
                areas.append(int((ring[:, 0] * after[:, 1] - after[:, 0] * ring[:, 1]).sum()))
                assert len(path) >= 3
            assert areas[0] > 0
            assert 0 not in areas
            polygons += 1
            holes += sum(area < 0 for area in areas)
    assert polygons > 500
    assert holes > 100


def test_every_value_has_its_type(store: FeatureStore, decode: Decode) -> None:
    found = {
        feature["id"]: feature["properties"]
        for tile in around(13)
        for feature in decode(made(store, tile)).get("a", {"features": []})["features"]
    }
    assert found[2] == {
        "name": "楼 1",
        "kind": "商业",
        "height": pytest.approx(0.1),
        "floors": -1,
        "listed": False,
        "built": "2001-01-01",
    }
    assert type(found[2]["listed"]) is bool
    assert "name" not in found[8]  # a null
    assert found[11]["height"] == 1.0
    assert len(found) == 1200


def test_hidden_and_unwanted_fields_leave_no_bytes(store: FeatureStore, decode: Decode) -> None:
    tile = tile_of(114.05, 22.55, 13)
    whole = made(store, tile)
    assert "楼".encode() in whole
    assert "住宅".encode() in whole
    hidden = made(store, tile, hidden=frozenset({"name", "kind"}))
    assert "楼".encode() not in hidden
    assert "住宅".encode() not in hidden
    assert decode(hidden)["a"]["keys"] == ["height", "floors", "listed", "built"]
    chosen = made(store, tile, tile_fields={"0-12": [], "13": ["kind", "no such field"]})
    assert decode(chosen)["a"]["keys"] == ["kind"]
    below = made(store, tile_of(114.05, 22.55, 12), tile_fields={"0-12": [], "13": ["kind"]})
    assert decode(below)["a"]["keys"] == []
    assert decode(made(store, tile_of(114.05, 22.55, 14), tile_fields={"0-12": []}))["a"]["keys"]


def test_zooms_beyond_the_units_are_made_of_the_geometries(store: FeatureStore, decode: Decode) -> None:
    point = shapely.get_coordinates(store.read(fields=[]).geometries[:1])[0]
    for zoom in (19, 20, 22, 24):
        layer = decode(made(store, tile_of(*point, zoom)))["a"]
        assert layer["features"]


def test_ids_that_are_texts_are_an_attribute(tmp_path: Path, decode: Decode) -> None:
    shapes = mixed_shapes(60)
    other = build(tmp_path / "b.gpkg", shapes, columns_of(60), [f"w/{n}" for n in range(60)])
    layer = decode(made(other, tile_of(114.05, 22.55, 9)))["a"]
    assert layer["keys"][0] == "id"
    assert {feature["id"] for feature in layer["features"]} == {None}
    assert {feature["properties"]["id"] for feature in layer["features"]} == {f"w/{n}" for n in range(60)}


def test_small_polygons_become_squares_that_share_a_place(tmp_path: Path, decode: Decode) -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(114.0, 114.1, 6000), random.uniform(22.5, 22.6, 6000)
    small = build(tmp_path / "c.gpkg", shapely.box(x, y, x + 1e-5, y + 1e-5), columns_of(6000))
    assert small.facts.full_zoom > 6
    for zoom in (0, 5, 9):
        features = decode(made(small, tile_of(114.05, 22.55, zoom)))["a"]["features"]
        places = [tuple(feature["paths"][0][0]) for feature in features]
        assert len(set(places)) == len(places)
        for feature in features:
            (path,) = feature["paths"]
            size = np.ptp(np.array(path), axis=0)
            assert size.tolist() == [2, 2]
    assert len(features) <= 33 * 33


def test_a_tile_stays_below_a_million_bytes(tmp_path: Path, decode: Decode) -> None:
    random = np.random.default_rng(6)
    x, y = random.uniform(114.0, 114.001, 3900), random.uniform(22.5, 22.501, 3900)
    columns = columns_of(3900) | {"name": [f"{n} " + "字" * 300 for n in range(3900)]}
    size = random.uniform(1e-5, 1e-4, 3900)
    large = build(tmp_path / "d.gpkg", shapely.box(x, y, x + size, y + size), columns)
    tile = tile_of(114.0005, 22.5005, 12)
    for content in (made(large, tile), generic(large, tile)):
        assert 500_000 < len(content) <= 1_000_000
        kept = {feature["id"] for feature in decode(content)["a"]["features"]}
        largest = {int(n) + 1 for n in np.argsort(-size)[:500]}
        assert len(largest & kept) > 490


def blocks(path: Path) -> list[tuple[int, int, list[int]]]:
    """(band, first, keys) of all blocks, in order."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT band, first, heads FROM tile_part ORDER BY band, first").fetchall()
    connection.close()
    return [(band, first, np.frombuffer(heads, HEAD)["key"].tolist()) for band, first, heads in rows]


def test_blocks_hold_every_feature_once_in_key_order(store: FeatureStore) -> None:
    keys = [key for band, first, held in blocks(store.path) if band == ALL for key in held]
    assert keys == sorted(keys)
    assert keys == store.read(fields=[]).keys
    assert all(first == held[0] for _, first, held in blocks(store.path))


def content(store: FeatureStore, decode: Decode) -> dict[Any, Any]:
    """What all tiles of some zooms show."""
    shown = {}
    for zoom in (8, 11, 14):
        for tile in around(zoom):
            for feature in decode(made(store, tile)).get("a", {"features": []})["features"]:
                key = (tile, feature["id"])
                shown[key] = (feature["properties"], feature["type"], feature["paths"])
    return shown


def test_after_edits_tiles_are_those_of_a_store_built_anew(tmp_path: Path, decode: Decode) -> None:
    count = 400
    shapes, columns = mixed_shapes(count), columns_of(count)
    edited = build(tmp_path / "e.gpkg", shapes, columns)
    before = content(edited, decode)
    moved = shapely.box(114.02, 22.52, 114.021, 22.521)
    new = {
        "name": "新楼",
        "kind": "仓储",
        "height": 3.25,
        "floors": 40,
        "listed": True,
        "built": "2026-01-01",
    }
    made_id = edited.edit([Edit(EditKind.CREATE, None, moved, new)])[0].feature_id
    edited.edit(
        [
            Edit(EditKind.UPDATE, "5", properties={"kind": "新的种类"}),
            Edit(EditKind.UPDATE, "7", geometry=moved),
            Edit(EditKind.DELETE, "9"),
            Edit(EditKind.REPLACE, "12", shapely.box(114.0, 22.5, 114.1, 22.6), new),
        ]
    )
    assert content(edited, decode) != before
    wanted_shapes = [*shapes, moved]
    wanted = {name: [*values, new[name]] for name, values in columns.items()}
    wanted["kind"][4] = "新的种类"
    wanted_shapes[6] = moved
    wanted_shapes[11] = shapely.box(114.0, 22.5, 114.1, 22.6)
    for name, value in new.items():
        wanted[name][11] = value
    ids = [*map(str, range(1, count + 1)), made_id]
    for values in (wanted_shapes, ids, *wanted.values()):
        del values[8]  # type: ignore[attr-defined]  # lists all
    anew = build(tmp_path / "f.gpkg", wanted_shapes, wanted, ids)
    assert anew.facts.full_zoom == edited.facts.full_zoom == 0
    assert content(edited, decode) == content(anew, decode)


def test_an_edit_of_a_thinned_store_shows_where_it_is_large(tmp_path: Path, decode: Decode) -> None:
    random = np.random.default_rng(8)
    count = 20_000
    x, y = random.uniform(114.0, 114.1, count), random.uniform(22.5, 22.6, count)
    dense = build(tmp_path / "g.gpkg", shapely.box(x, y, x + 1e-4, y + 1e-4), columns_of(count))
    full = dense.facts.full_zoom
    assert full > 12
    new = dict.fromkeys(("name", "kind", "height", "floors", "listed", "built"))
    large = shapely.box(114.03, 22.53, 114.07, 22.57)
    number = int(dense.edit([Edit(EditKind.CREATE, None, large, new)])[0].feature_id)

    def shown(zoom: int) -> bool:
        layer = decode(made(dense, tile_of(114.05, 22.55, zoom)))["a"]
        return number in {feature["id"] for feature in layer["features"]}

    assert [shown(zoom) for zoom in (9, 10, full - 2, full - 1, full)] == [True] * 5
    dense.edit([Edit(EditKind.DELETE, str(number))])
    assert [shown(zoom) for zoom in (9, 10, full - 2, full - 1, full)] == [False] * 5
    held = [key for band, _, keys in blocks(dense.path) if band == ALL for key in keys]
    assert held == sorted(held)
    assert len(held) == count


def test_a_new_small_feature_stands_for_a_place_that_nothing_stands_for(
    tmp_path: Path, decode: Decode
) -> None:
    random = np.random.default_rng(9)
    count = 20_000
    x, y = random.uniform(114.0, 114.1, count), random.uniform(22.5, 22.6, count)
    dense = build(tmp_path / "i.gpkg", shapely.box(x, y, x + 1e-5, y + 1e-5), columns_of(count))
    full = dense.facts.full_zoom
    assert full > 11
    new = dict.fromkeys(("name", "kind", "height", "floors", "listed", "built"))

    def small(longitude: float, latitude: float, size: float = 1e-5) -> shapely.Geometry:
        return shapely.box(longitude, latitude, longitude + size, latitude + size)

    def first_shown(number: str, longitude: float, latitude: float) -> int:
        shown = [
            int(number) in {feature["id"] for feature in layer["features"]}
            for zoom in range(full + 2)
            if (layer := decode(made(dense, tile_of(longitude, latitude, zoom))).get("a", {"features": []}))
        ]
        assert shown == sorted(shown)  # and at every zoom from there on
        return shown.index(True)

    far, beside, inside = (115.3, 23.7), (115.30001, 23.70001), (114.05, 22.55)
    edits = [Edit(EditKind.CREATE, None, small(*place), new) for place in (far, inside)]
    edits.insert(1, Edit(EditKind.CREATE, None, small(*beside, 2e-5), new))
    first, larger, crowded = (result.feature_id for result in dense.edit(edits))
    # 1.3 degrees from all others, which one cell of zoom 4 (360 / 2 ** 9 degrees) no longer holds together with it.
    assert 2 <= first_shown(larger, *beside) <= 5
    assert first_shown(first, *far) == full  # the larger one of the same batch stands for both
    assert first_shown(crowded, *inside) == full
    # An edit of an attribute, and one within its cell, leave it what it stands for; a move away does not.
    before = first_shown(larger, *beside)
    dense.edit([Edit(EditKind.UPDATE, larger, properties={"name": "x"})])
    dense.edit([Edit(EditKind.UPDATE, larger, geometry=small(beside[0] + 1e-6, beside[1]))])
    assert first_shown(larger, *beside) == before
    dense.edit([Edit(EditKind.UPDATE, larger, geometry=small(114.0501, 22.5501))])
    assert first_shown(larger, 114.0501, 22.5501) == full
    # What stood for its place in the collection as built, goes on to.
    built = dense.read(BBox(114.0, 22.5, 114.1, 22.6), fields=[], zoom=3)
    number = built.ids[0]
    centre = shapely.get_coordinates(shapely.centroid(built.geometries[0]))[0]
    before = first_shown(number, *centre)
    assert before <= 3
    dense.edit([Edit(EditKind.UPDATE, number, properties={"name": "y"})])
    assert first_shown(number, *centre) == before


def test_blocks_in_which_much_is_edited_are_put_together_anew(tmp_path: Path, decode: Decode) -> None:
    count = 400
    busy = build(tmp_path / "j.gpkg", mixed_shapes(count), columns_of(count))
    names = {}
    for start in range(0, count, 7):
        edits = [
            Edit(EditKind.UPDATE, str(n + 1), properties={"name": f"edit {n}"})
            for n in range(start, min(start + 5, count))
        ]
        edits += [Edit(EditKind.DELETE, str(n + 1)) for n in range(start + 5, min(start + 7, count), 2)]
        busy.edit(edits)
        names |= {int(edit.feature_id or 0): edit.properties.get("name") for edit in edits}
    with contextlib.closing(sqlite3.connect(busy.path)) as connection:
        query = "SELECT count(*) FROM tile_part WHERE band = ?"
        (blocks_now,) = connection.execute(query, (ALL,)).fetchone()
        (singles,) = connection.execute(query, (ALL_BESIDE,)).fetchone()
        (gone,) = connection.execute("SELECT count(*) FROM tile_gone").fetchone()
        (placed,) = connection.execute("SELECT count(*) FROM tile_index").fetchone()
        (parts,) = connection.execute("SELECT count(*) FROM tile_part").fetchone()
    assert placed == parts
    assert singles + gone <= (blocks_now + 1) * MOST_LOOSE
    assert singles < len(names)
    found: dict[int, Any] = {}
    for feature in decode(made(busy, tile_of(114.05, 22.55, 9)))["a"]["features"]:
        assert feature["id"] not in found
        found[feature["id"]] = feature["properties"].get("name")
    assert found == {
        n: names[n] if n in names else columns_of(count)["name"][n - 1]
        for n in range(1, count + 1)
        if names.get(n, "") is not None
    }
    busy.edit([Edit(EditKind.DELETE, str(n)) for n in found])
    assert made(busy, tile_of(114.05, 22.55, 9)) == b""


def test_a_store_built_empty_shows_what_edits_bring(tmp_path: Path, decode: Decode) -> None:
    empty = build(tmp_path / "h.gpkg", [], {field.name: [] for field in FIELDS})
    assert made(empty, TileId(0, 0, 0)) == b""
    new = dict.fromkeys(("name", "kind", "height", "floors", "listed", "built"))
    edits = [
        Edit(EditKind.CREATE, None, shapely.Point(114 + n / 1000, 22.5), new | {"name": str(n)})
        for n in range(150)
    ]
    empty.edit(edits)
    layer = decode(made(empty, TileId(0, 0, 0)))["a"]
    assert len(layer["features"]) == 150


@pytest.mark.parametrize("longitude", [-179.9999, 179.9999])
def test_the_edges_of_the_world(tmp_path: Path, decode: Decode, longitude: float) -> None:
    """A feature that reaches over the antimeridian or to a pole is drawn on its own side, cut there or left whole."""
    shapes = [
        shapely.box(longitude - 0.5, 10, longitude + 0.5, 11),
        shapely.box(longitude - 0.5, 80, longitude + 0.5, 90),
        shapely.box(longitude - 0.5, -90, longitude + 0.5, -80),
    ]
    edge = build(tmp_path / "edge.gpkg", shapes, columns_of(3))
    layer = decode(made(edge, TileId(0, 0, 0)))["a"]
    assert {feature["id"] for feature in layer["features"]} == {1, 2, 3}
    for tile in (tile_of(longitude, 10.5, 6), tile_of(longitude, 84, 6), tile_of(longitude, -84, 6)):
        for feature in decode(made(edge, tile))["a"]["features"]:
            vertices = np.array([v for path in feature["paths"] for v in path])
            assert vertices.min() >= -64 - 256
            assert vertices.max() <= 4160 + 256


def test_a_projected_store_has_the_same_parts(store: FeatureStore, tmp_path: Path, decode: Decode) -> None:
    import pyproj

    forward = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:4547", always_xy=True)
    shapes = shapely.transform(mixed_shapes(300), forward.transform, interleaved=False)
    projected = build(tmp_path / "p.gpkg", shapes, columns_of(300), crs="EPSG:4547")
    plain = build(tmp_path / "q.gpkg", mixed_shapes(300), columns_of(300))
    for tile in list(around(13)):
        ours, theirs = decode(made(projected, tile)), decode(made(plain, tile))
        assert ours.keys() == theirs.keys()
        for one, other in zip(
            *(
                sorted(t.get("a", {"features": []})["features"], key=lambda f: f["id"])
                for t in (ours, theirs)
            ),
            strict=True,
        ):
            assert one["properties"] == other["properties"]
            assert alike(one, other)


def test_asof_shows_the_state_of_then(tmp_path: Path, decode: Decode) -> None:
    past = build(tmp_path / "past.gpkg", mixed_shapes(12), columns_of(12))
    tile = tile_of(114.05, 22.55, 9)
    before = made(past, tile)
    past.edit([Edit(EditKind.UPDATE, "3", properties={"name": "first"})])
    (first, built) = past.history("3")
    past.edit([Edit(EditKind.UPDATE, "3", properties={"name": "second"})])

    def name(**more: Any) -> Any:
        features = decode(made(past, tile, **more))["a"]["features"]
        return {feature["id"]: feature["properties"]["name"] for feature in features if feature["id"] == 3}[3]

    assert name() == "second"
    assert name(asof=first.since) == "first"
    assert name(asof=built.since) == "楼 2"
    assert {f["id"] for f in decode(before)["a"]["features"]} == {
        f["id"] for f in decode(made(past, tile, asof=built.since))["a"]["features"]
    }
    assert made(past, tile, asof="2000-01-01T00:00:00Z") == b""
