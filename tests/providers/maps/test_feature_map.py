"""Maps of any feature source: the same picture as Mapnik draws of the GeoPackage itself, and what may be seen only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely

from providers.errors import SourceUnavailable
from providers.features.ogr import open_ogr
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.sources import SourceSettings
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store
from providers.maps import feature_map
from providers.maps.errors import RemoteMapUnavailable
from providers.maps.feature_map import FeatureMapSource, box84, foremost, meets
from tiles.errors import MapSourceError, StyleError
from tiles.maps import VectorMapSource, parse_style
from tiles.maps.source import MapRequest

COUNT = 300
BOX = (12_668_000.0, 2_587_000.0, 12_702_000.0, 2_610_000.0)
POLYGONS = parse_style(
    {
        "rules": [
            {
                "where": {"kind": "park"},
                "symbols": [{"polygon": {"fill": "#00aa00"}}, {"line": {"stroke": "#004400", "width": 2}}],
            },
            {"where": {"listed": True}, "symbols": [{"polygon": {"fill": "#aa0000"}}]},
            {"otherwise": True, "symbols": [{"polygon": {"fill": "#0000aa"}}]},
        ]
    }
)
PLAIN = parse_style({"rules": [{"symbols": [{"polygon": {"fill": "#112233"}}]}]})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares around Shenzhen with a kind, a flag, and a time."""
    random = np.random.default_rng(5)
    x, y = random.uniform(113.8, 114.1, COUNT), random.uniform(22.65, 22.85, COUNT)
    path = tmp_path_factory.mktemp("maps") / "features.gpkg"
    fields = (
        FieldDefinition("kind", "string"),
        FieldDefinition("listed", "boolean"),
        FieldDefinition("built", "string", "date-time"),
    )
    with FeatureStoreWriter(
        path, fields=fields, storage_crs="EPSG:4326", time_field="built", title="squares"
    ) as writer:
        writer.add(
            np.asarray(shapely.box(x, y, x + 3e-3, y + 2e-3), dtype=object),
            {
                "kind": [["park", "house", None][i % 3] for i in range(COUNT)],
                "listed": [bool(i % 2) for i in range(COUNT)],
                "built": [f"{2000 + i % 20}-05-06T00:00:00Z" for i in range(COUNT)],
            },
            [str(i) for i in range(COUNT)],
        )
        writer.finish()
    return path


@pytest.fixture(scope="module")
def store(stored: Path) -> FeatureStore:
    """The squares as a source."""
    return open_store(stored)


def _direct(stored: Path) -> Any:
    return VectorMapSource(stored, crs="EPSG:4326", style=POLYGONS, columns={"built": "built"})


@pytest.mark.parametrize(
    ("crs", "box"),
    [
        ("EPSG:3857", BOX),
        ("EPSG:4326", (113.8, 22.65, 114.1, 22.85)),
        ("CRS:84", (113.8, 22.65, 114.1, 22.85)),
        ("EPSG:4490", (113.8, 22.65, 114.1, 22.85)),
        ("EPSG:4547", (479_000.0, 2_506_000.0, 510_000.0, 2_528_000.0)),
    ],
)
def test_the_picture_is_that_of_the_geopackage(
    stored: Path, store: FeatureStore, crs: str, box: tuple[float, float, float, float]
) -> None:
    ours = FeatureMapSource(store, style=POLYGONS).render(box, crs, 300, 200)
    theirs = _direct(stored).render(box, crs, 300, 200)
    assert ours.shape == (200, 300, 4)
    assert ours[..., 3].any()
    assert len(np.unique(ours[..., :3].reshape(-1, 3), axis=0)) >= 3
    assert (ours != theirs).any(axis=2).mean() < 0.002  # places are rounded to 10 nanodegrees in one of them


def test_a_file_in_place_is_drawn_the_same(stored: Path, tmp_path: Path) -> None:
    squares = open_store(stored).read()
    file = tmp_path / "squares.fgb"
    kinds = np.array(squares.columns["kind"], dtype=object)
    pyogrio.raw.write(
        file, shapely.to_wkb(squares.geometries), [kinds], ["kind"], geometry_type="Polygon", crs="EPSG:4326"
    )
    settings = SourceSettings(file_roots=(tmp_path,), cache_directory=tmp_path / "cache")
    source = open_ogr({"store": "ogr", "path": str(file)}, settings)
    ours = FeatureMapSource(source, style=PLAIN).render(BOX, "EPSG:3857", 256, 256)
    theirs = VectorMapSource(stored, crs="EPSG:4326", style=PLAIN).render(BOX, "EPSG:3857", 256, 256)
    assert ours[..., 3].any()
    assert (ours != theirs).any(axis=2).mean() < 0.002


def test_hidden_fields_draw_nothing(store: FeatureStore) -> None:
    seen = FeatureMapSource(store, style=POLYGONS).render(BOX, "EPSG:3857", 256, 256)
    kept = FeatureMapSource(store, style=POLYGONS, hidden=frozenset({"kind", "listed"}))
    unseen = kept.render(BOX, "EPSG:3857", 256, 256)
    blue = np.array([0, 0, 0xAA], dtype=np.uint8)
    inside = unseen[..., 3] == 255
    assert inside.any()
    assert (abs(unseen[inside][:, :3].astype(int) - blue) <= 2).all()  # edges of neighbours mix in eight bits
    assert not (abs(seen[inside][:, :3].astype(int) - blue) <= 2).all()


def test_features_outside_the_area_are_not_drawn(store: FeatureStore) -> None:
    west = shapely.box(113.0, 22.0, 113.9, 23.0)
    found = FeatureMapSource(store, style=PLAIN, area=west).render(
        (113.8, 22.65, 114.1, 22.85), "CRS:84", 300, 200
    )
    assert found[:, :95, 3].any()
    assert not found[:, 110:, 3].any()


def test_an_instant_selects_by_the_time_field(store: FeatureStore) -> None:
    source = FeatureMapSource(store, style=PLAIN)

    def covered(instant: str | None) -> int:
        return int((source.render(BOX, "EPSG:3857", 256, 256, instant=instant)[..., 3] > 0).sum())

    everything = covered(None)
    some = covered("2003-05-06T00:00:00Z")
    more = covered("2003-01-01T00:00:00Z/2007-12-31T00:00:00Z")
    assert 0 < some < more < everything
    assert covered("1900-01-01T00:00:00Z") == 0
    assert covered("../..") == everything


def test_at_most_so_many_features_are_drawn(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def covered() -> int:
        drawn = FeatureMapSource(store, style=PLAIN).render(BOX, "EPSG:3857", 256, 256)
        return int((drawn[..., 3] > 0).sum())

    everything = covered()
    monkeypatch.setattr(feature_map, "MAXIMUM_FEATURES", COUNT)
    assert covered() == everything
    monkeypatch.setattr(feature_map, "MAXIMUM_FEATURES", COUNT // 10)
    assert 0 < covered() < everything / 5


def test_what_is_left_out_of_a_crowd_is_the_same_whatever_lies_beside_it() -> None:
    random = np.random.default_rng(6)
    x, y = random.uniform(0, 1000, 4000), random.uniform(0, 1000, 4000)
    size = random.choice([0.0, 1.0, 1.4, 40.0], 4000, p=[0.4, 0.3, 0.25, 0.05])
    shapes = np.asarray(shapely.box(x, y, x + size, y + size), dtype=object)
    shapes[size == 0] = shapely.points(x[size == 0], y[size == 0])

    def part(rows: Any) -> FeatureColumns:
        ids = [f"f-{row}" for row in rows]
        return FeatureColumns(list(range(len(ids))), ids, shapes[rows], {"number": rows.tolist()})

    left, right = np.flatnonzero(x < 600), random.permutation(np.flatnonzero(x > 400))
    few = {name: set(foremost(part(rows), 500).ids) for name, rows in (("left", left), ("right", right))}
    many = {name: set(foremost(part(rows), 900).ids) for name, rows in (("left", left), ("right", right))}
    for name in ("left", "right"):
        assert len(few[name]) == 500
        assert few[name] < many[name]
    # Of what both see, one of them may leave out more, but never something else.
    both = {f"f-{row}" for row in np.flatnonzero((x > 400) & (x < 600))}
    for first, second in ((few["left"], few["right"]), (few["left"], many["right"])):
        assert (first & both) <= (second & both) or (second & both) <= (first & both)
    large = {f"f-{row}" for row in left if size[row] == 40}
    assert large <= few["left"]
    assert foremost(part(left), len(left)).ids == part(left).ids
    found = foremost(part(left), 500)
    assert found.columns["number"] == sorted(found.columns["number"])
    assert [f"f-{number}" for number in found.columns["number"]] == found.ids
    # A crowd is thinned everywhere, not from one end on.
    points = np.array([row for row in found.columns["number"] if size[row] < 40])
    assert np.histogram(x[points], 6, (0, 600))[0].min() > 30


def test_nothing_is_read_beside_the_extent(store: FeatureStore) -> None:
    assert not FeatureMapSource(store, style=PLAIN).render((0, 0, 1000, 1000), "EPSG:3857", 64, 64).any()


def test_a_source_that_is_down_is_told_as_such() -> None:
    def opening() -> FeatureStore:
        raise SourceUnavailable("the database 'gis' does not answer now")

    source = FeatureMapSource(opening, style=PLAIN)
    with pytest.raises(RemoteMapUnavailable, match="does not answer now") as caught:
        source.render(BOX, "EPSG:3857", 64, 64)
    assert isinstance(caught.value, MapSourceError)
    assert isinstance(caught.value, SourceUnavailable)


def test_raster_styles_are_refused(store: FeatureStore) -> None:
    with pytest.raises(StyleError, match="raster"):
        FeatureMapSource(store, style=parse_style({"raster": {"kind": "rgb"}}))


@pytest.mark.parametrize(
    ("extent", "box", "expected"),
    [
        ((), None, False),
        ((0.0, 0.0, 1.0, 1.0), None, True),
        ((0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 2.0, 2.0), True),
        ((0.0, 0.0, 1.0, 1.0), (1.1, 0.0, 2.0, 2.0), False),
        ((0.0, 0.0, 5.0, 1.0, 1.0, 9.0), (0.5, 0.5, 2.0, 2.0), True),
        ((0.0, 0.0, 1.0, 1.0), (170.0, 0.0, -170.0, 2.0), True),
        ((0.0, 0.0, 1.0, 1.0), (170.0, 2.0, -170.0, 3.0), False),
    ],
)
def test_meets(extent: tuple[float, ...], box: Any, expected: bool) -> None:
    from providers.features.query import BBox

    assert meets(extent, None if box is None else BBox(*box)) is expected


def test_the_box_of_a_system_without_a_code_is_not_known() -> None:
    assert box84(MapRequest((0.0, 0.0, 1.0, 1.0), "+proj=laea +lat_0=20 +lon_0=110", 10, 10), 0) is None
