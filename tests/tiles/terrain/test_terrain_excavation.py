"""Pits against what geometry says of them: volumes, and a mesh that is closed below its edge."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from tiles.terrain import TerrainTiles, build_terrain
from tiles.terrain.errors import ExcavationError
from tiles.terrain.excavation import MOST_VERTICES, Pit, excavate, excavation_of
from tiles.terrain.excavation_glb import pit_bbox, pit_glb, pit_tileset
from tiles.three_d import VerticalReference

EAST, NORTH, SIZE, CRS = 500_000.0, 3_380_000.0, 200, "EPSG:4547"


@pytest.fixture(scope="module")
def terrain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TerrainTiles]:
    """Flat ground at 10 m that rises by 1 in 10 to the east from the middle on; 2 m pixels."""
    folder = tmp_path_factory.mktemp("pit")
    values = np.full((SIZE, SIZE), 10.0, "float32")
    values[:, SIZE // 2 :] += 0.2 * (np.arange(SIZE // 2) + 0.5)
    with rasterio.open(
        folder / "dem.tif", "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32", crs=CRS,
        transform=from_origin(EAST, NORTH, 2.0, 2.0),
    ) as out:  # fmt: skip
        out.write(values, 1)
    build_terrain(folder / "t", folder / "dem.tif", vertical=VerticalReference.offset(-15.0), prebuilt=0)
    with TerrainTiles.open(folder / "t") as opened:
        yield opened


def square(left: float, size: float = 50.0) -> shapely.Polygon:
    """A square in the model's grid, `left` metres from its western edge."""
    return shapely.box(EAST + left, NORTH - 200.0, EAST + left + size, NORTH - 200.0 + size)


def dug(terrain: TerrainTiles, polygon: Any, **how: Any) -> Pit:
    return excavate(terrain, excavation_of(polygon, CRS, **how))


def test_an_upright_pit_is_a_box(terrain: TerrainTiles) -> None:
    pit = dug(terrain, square(60.0), depth=5.0)
    assert pit.area == pytest.approx(2500.0, rel=1e-4)
    assert pit.cut == pytest.approx(12_500.0, rel=1e-4)
    assert (pit.fill, pit.floor, pit.floor_area) == (0.0, pytest.approx(5.0), pytest.approx(pit.area))


def test_leaning_walls_make_a_frustum(terrain: TerrainTiles) -> None:
    pit = dug(terrain, square(60.0), floor=5.0, slope=45.0)
    assert pit.floor_area == pytest.approx(1600.0, rel=1e-3)
    assert pit.cut == pytest.approx(5.0 / 3.0 * (2500.0 + 1600.0 + 2000.0), rel=2e-3)


def test_cut_and_fill_of_a_slope(terrain: TerrainTiles) -> None:
    """From 210 to 260 m the ground rises from 11 to 16 m: a floor at 13 m is cut on one side and filled on the other."""
    pit = dug(terrain, square(210.0), floor=13.0)
    assert pit.cut == pytest.approx(50.0 * 30.0 * 3.0 / 2.0, rel=5e-3)
    assert pit.fill == pytest.approx(50.0 * 20.0 * 2.0 / 2.0, rel=5e-3)
    assert pit.lowest == pytest.approx(11.0, abs=0.2)
    assert pit.highest == pytest.approx(16.0, abs=0.2)


def test_a_crooked_pit_counts_as_its_parts(terrain: TerrainTiles) -> None:
    corner = shapely.difference(
        square(60.0, 60.0), shapely.box(EAST + 90.0, NORTH - 170.0, EAST + 200.0, NORTH)
    )
    assert dug(terrain, corner, depth=2.0).cut == pytest.approx(2.0 * (3600.0 - 900.0), rel=2e-3)


@pytest.mark.parametrize("slope", [90.0, 60.0])
def test_the_mesh_is_closed_but_for_its_edge(terrain: TerrainTiles, slope: float) -> None:
    pit = dug(terrain, square(150.0, 80.0), depth=6.0, slope=slope)
    triangles = np.concatenate((pit.mesh.walls, pit.mesh.floor))
    sides = np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    directed = {tuple(side) for side in sides.tolist()}
    assert len(directed) == len(sides)
    open_sides = [side for side in directed if side[::-1] not in directed]
    # What is open is the upper edge: as many sides as it has vertices.
    rim = {vertex for side in open_sides for vertex in side}
    assert len(open_sides) == len(rim)
    tops = pit.mesh.positions[sorted(rim), 2]
    assert tops.min() > pit.floor + 5.9
    # Seen from inside: the floor looks up.
    a, b, c = (pit.mesh.positions[pit.mesh.floor[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0.0).all()


def test_walls_look_into_the_pit(terrain: TerrainTiles) -> None:
    mesh = dug(terrain, square(60.0), depth=5.0).mesh
    a, b, c = (mesh.positions[mesh.walls[:, corner]] for corner in range(3))
    assert ((np.cross(b - a, c - a) * ((a + b + c) / 3.0))[:, :2].sum(axis=1) < 0.0).all()


def test_the_pit_as_gltf_and_tileset(terrain: TerrainTiles) -> None:
    pit = dug(terrain, square(60.0), depth=5.0)
    content = pit_glb(pit, terrain)
    magic, version, length, json_length = struct.unpack_from("<4sIII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    document = json.loads(content[20 : 20 + json_length])
    assert [one["name"] for one in document["materials"]] == ["walls", "floor"]
    tileset = pit_tileset(pit, terrain, "a.glb")
    assert tileset["root"]["content"] == {"uri": "a.glb"}
    assert pit_bbox(pit, terrain)[2] == pytest.approx(5.0 - 15.0)
    assert tileset["root"]["boundingVolume"]["region"][4:] == pytest.approx([-10.0, -5.0])


BAD: list[tuple[str, Any, dict[str, Any], str]] = [
    ("nothing", None, {"depth": 1.0}, "one polygon"),
    ("a line", shapely.LineString([(0, 0), (1, 1)]), {"depth": 1.0}, "one polygon"),
    ("two", shapely.MultiPolygon([square(0.0), square(60.0)]), {"depth": 1.0}, "one polygon"),
    ("a hole", shapely.difference(square(0.0), square(10.0, 5.0).buffer(0)), {"depth": 1.0}, "holes"),
    ("itself crossed", shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), {"depth": 1.0}, "not valid"),
    ("neither", square(60.0), {}, "one of them"),
    ("both", square(60.0), {"depth": 1.0, "floor": 1.0}, "one of them"),
    ("no depth", square(60.0), {"depth": 0.0}, "above 0"),
    ("deep", square(60.0), {"depth": 1000.1}, "up to 1000"),
    ("not a number", square(60.0), {"floor": float("nan")}, "-12000"),
    ("flat walls", square(60.0), {"depth": 1.0, "slope": 9.9}, "10 to 90"),
    ("overhanging", square(60.0), {"depth": 1.0, "slope": 90.1}, "10 to 90"),
    ("far down", square(60.0), {"floor": -1500.0}, "from the ground"),
    ("walls meet", square(60.0), {"depth": 30.0, "slope": 45.0}, "slopes of more than 50.2"),
    ("over the border", square(380.0), {"depth": 1.0}, "no heights on"),
    ("huge", shapely.box(EAST, NORTH - 6000, EAST + 6000, NORTH), {"depth": 1.0}, "m2; allowed"),
    ("far away", shapely.box(1e9, 1e9, 2e9, 2e9), {"depth": 1.0}, "outside the area"),
]


@pytest.mark.parametrize(("polygon", "how", "said"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_pits_that_cannot_be_dug(terrain: TerrainTiles, polygon: Any, how: Any, said: str) -> None:
    if said == "holes":
        polygon = shapely.Polygon(square(0.0).exterior, [square(10.0, 5.0).exterior])
        polygon = shapely.Polygon(
            square(0.0).exterior, [shapely.box(EAST + 10, NORTH - 190, EAST + 15, NORTH - 185).exterior]
        )
    with pytest.raises(ExcavationError, match=said):
        dug(terrain, polygon, **how)


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_vertices_and_no_more(terrain: TerrainTiles, more: int) -> None:
    angle = np.linspace(0.0, 2.0 * np.pi, MOST_VERTICES + more, endpoint=False)
    circle = shapely.Polygon(
        np.column_stack((EAST + 100 + 20 * np.cos(angle), NORTH - 100 + 20 * np.sin(angle)))
    )
    if more:
        with pytest.raises(ExcavationError, match="vertices"):
            dug(terrain, circle, depth=1.0)
    else:
        assert dug(terrain, circle, depth=1.0).cut == pytest.approx(np.pi * 400.0, rel=5e-3)
