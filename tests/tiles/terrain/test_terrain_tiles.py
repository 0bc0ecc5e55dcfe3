"""Quantized-mesh tiles read back: right heights, no cracks, everything a client needs to start."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin

from tiles.terrain import TerrainError, TerrainSummary, build_terrain, sample_heights
from tiles.terrain.quantized_mesh import TileGrid, encode_tile
from tiles.three_d import VerticalReference
from tiles.three_d.placement import up_vectors

WEST, NORTH = 25_496_000.0, 6_674_000.0
SIZE, PIXEL = 200, 10.0


class Mesh(NamedTuple):
    """A .terrain file read back: places (v, 3) in degrees and metres, triangles, edges, normals in ECEF."""

    place: NDArray[np.float64]
    u: NDArray[np.int64]
    v: NDArray[np.int64]
    triangles: NDArray[np.int64]
    edges: list[NDArray[np.int64]]
    normals: NDArray[np.float64]
    header: tuple[float, ...]

    @property
    def step(self) -> float:
        """Metres of one step of the stored heights."""
        return (self.header[4] - self.header[3]) / 32767


def ground(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A hill and waves, in metres."""
    return 40.0 + 30.0 * np.sin((x - WEST) / 300.0) * np.cos((y - NORTH) / 400.0) + (x - WEST) / 100.0


def write_dem(path: Path, crs: str = "EPSG:3879", transform: Any = None, **more: Any) -> Path:
    columns, rows = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    placed = transform or from_origin(WEST, NORTH, PIXEL, PIXEL)
    x, y = WEST + columns * PIXEL, NORTH - rows * PIXEL
    values = ground(x, y).astype("float32")
    values[:3, :3] = -9999.0
    profile = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE,
        "count": 1,
        "dtype": "float32",
        "nodata": -9999.0,
    }
    with rasterio.open(path, "w", crs=crs, transform=placed, **(profile | more)) as dataset:
        dataset.write(values, 1)
    return path


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dem(tmp_path_factory.mktemp("dem") / "dem.tif")


@pytest.fixture(scope="module")
def terrain(dem: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TerrainSummary]:
    folder = tmp_path_factory.mktemp("terrain")
    return folder, build_terrain(folder, dem, attribution="Simulated")


def unzigzag(content: bytes) -> NDArray[np.int64]:
    raw = np.frombuffer(content, "<u2").astype(np.int64)
    return np.cumsum((raw >> 1) ^ -(raw & 1))


def read(content: bytes, level: int, x: int, y: int) -> Mesh:
    header = struct.unpack_from("<3d2f4d3d", content)
    (count,) = struct.unpack_from("<I", content, 88)
    at = 92
    u, v, h = (unzigzag(content[at + 2 * count * part : at + 2 * count * (part + 1)]) for part in range(3))
    at += 6 * count
    (triangle_count,) = struct.unpack_from("<I", content, at)
    codes = np.frombuffer(content, "<u2", 3 * triangle_count, at + 4).astype(np.int64)
    at += 4 + 6 * triangle_count
    highest, indices = 0, []
    for code in codes.tolist():
        indices.append(highest - code)
        highest += code == 0
    edges = []
    for _ in range(4):
        (length,) = struct.unpack_from("<I", content, at)
        edges.append(np.frombuffer(content, "<u2", length, at + 4).astype(np.int64))
        at += 4 + 2 * length
    extension, length = struct.unpack_from("<BI", content, at)
    assert extension == 1
    coded = np.frombuffer(content, np.uint8, length, at + 5).reshape(-1, 2) / 255.0 * 2.0 - 1.0
    after = at + 5 + length
    while after < len(content):
        after += 5 + struct.unpack_from("<BI", content, after)[1]
    assert after == len(content)
    z = 1.0 - np.abs(coded).sum(axis=1)
    fold = (1.0 - np.abs(coded[:, ::-1])) * np.where(coded >= 0, 1.0, -1.0)
    plane = np.where((z < 0)[:, None], fold, coded)
    normals = np.column_stack((plane, z))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    size = 180.0 / 2**level
    heights = header[3] + h / 32767 * (header[4] - header[3])
    place = np.column_stack((-180 + (x + u / 32767) * size, -90 + (y + v / 32767) * size, heights))
    return Mesh(place, u, v, np.array(indices).reshape(-1, 3), edges, normals, header)


def read_all(folder: Path, level: int) -> dict[tuple[int, int], Mesh]:
    meshes = {}
    for path in folder.glob(f"{level}/*/*.terrain"):
        x, y = int(path.parent.name), int(path.stem)
        meshes[x, y] = read(path.read_bytes(), level, x, y)
    return meshes


def test_heights_are_those_of_the_ground(terrain: tuple[Path, TerrainSummary]) -> None:
    folder, summary = terrain
    to_grid = Transformer.from_crs("EPSG:4326", "EPSG:3879", always_xy=True)
    checked = 0
    for mesh in read_all(folder, summary.max_zoom).values():
        x, y = to_grid.transform(mesh.place[:, 0], mesh.place[:, 1])
        # Away from the border and from the gap in the north-west corner.
        inside = (x > WEST + 60) & (x < WEST + 1940) & (y < NORTH - 60) & (y > NORTH - 1940)
        if inside.any():
            assert np.abs(mesh.place[inside, 2] - ground(x[inside], y[inside])).max() < 0.15
            checked += int(inside.sum())
    assert checked > 1000


def test_meshes_cover_their_tile_and_face_up(terrain: tuple[Path, TerrainSummary]) -> None:
    folder, summary = terrain
    for level in range(summary.max_zoom + 1):
        for mesh in read_all(folder, level).values():
            a, b, c = (np.column_stack((mesh.u, mesh.v))[mesh.triangles[:, corner]] for corner in range(3))
            area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
            assert (area > 0).all()
            assert area.sum() == 2 * 32767**2
            assert len(np.unique(mesh.triangles)) == len(mesh.place)


def test_neighbours_meet_without_cracks(terrain: tuple[Path, TerrainSummary]) -> None:
    """On a common edge both tiles have the same vertices at the same heights, up to one step of each."""
    folder, summary = terrain
    pairs = 0
    for level in range(1, summary.max_zoom + 1):
        meshes = read_all(folder, level)
        for (x, y), mesh in meshes.items():
            for other, mine, theirs, axis in (((x + 1, y), 2, 0, "v"), ((x, y + 1), 3, 1, "u")):
                if other not in meshes:
                    continue
                here = sorted((getattr(mesh, axis)[i], mesh.place[i, 2]) for i in mesh.edges[mine])
                there = sorted(
                    (getattr(meshes[other], axis)[i], meshes[other].place[i, 2])
                    for i in meshes[other].edges[theirs]
                )
                assert [at for at, _ in here] == [at for at, _ in there]
                gap = np.abs(np.array(here)[:, 1] - np.array(there)[:, 1]).max()
                assert gap <= mesh.step + meshes[other].step
                pairs += 1
    assert pairs > 20


def test_normals_are_those_of_the_ground_and_agree_between_neighbours(
    terrain: tuple[Path, TerrainSummary],
) -> None:
    folder, summary = terrain
    meshes = read_all(folder, summary.max_zoom)
    compared = 0
    for (x, y), mesh in meshes.items():
        up = up_vectors(mesh.place[:, 0], mesh.place[:, 1])
        leaning = np.sum(up * mesh.normals, axis=1)
        # Steep only at the gap, whose ground lies at the lowest height.
        assert leaning.min() > 0.2
        assert np.median(leaning) > 0.98
        if (x + 1, y) in meshes:
            other = meshes[x + 1, y]
            mine = mesh.normals[mesh.edges[2][np.argsort(mesh.v[mesh.edges[2]])]]
            theirs = other.normals[other.edges[0][np.argsort(other.v[other.edges[0]])]]
            assert np.abs(mine - theirs).max() < 0.02
            compared += 1
    assert compared > 2


def test_a_slope_leans_its_normals() -> None:
    """Rising to the east by one in one: the normal leans to the west."""
    size = 180.0 / 2**14
    metres = size / 64 * 111_320.0
    heights = np.tile(np.arange(67) * metres, (67, 1))
    mesh = read(encode_tile(TileGrid(0.0, 0.0, size, size, heights), 0.5), 14, 2**14, 2**13)
    # At longitude 0, latitude 0: east is +y, up is +x.
    assert mesh.normals.mean(axis=0) == pytest.approx([np.sqrt(0.5), -np.sqrt(0.5), 0.0], abs=0.01)


@pytest.mark.parametrize("level", [0, 3, 6, 12, 20])
def test_a_flat_tile_follows_the_ellipsoid(level: int) -> None:
    """Between its vertices no triangle sinks below the ellipsoid by more than the level's error."""
    size = 180.0 / 2**level
    x, y = 2**level, 2**level // 2
    grid = TileGrid(
        -180 + x * size, -90 + y * size, -180 + (x + 1) * size, -90 + (y + 1) * size, np.zeros((67, 67))
    )
    error = 30_000.0 / 2**level
    mesh = read(encode_tile(grid, error), level, x, y)
    to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    ecef = np.column_stack(to_ecef.transform(*mesh.place.T))
    middles = ecef[mesh.triangles].mean(axis=1)
    *_, sunk = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(*middles.T)
    assert -np.min(sunk) <= max(error, 1e-3)
    center, radius = np.array(mesh.header[5:8]), mesh.header[8]
    assert np.linalg.norm(ecef - center, axis=1).max() <= radius * (1 + 1e-9)
    assert np.isfinite(mesh.header).all()


def test_the_horizon_point_is_above_the_ground() -> None:
    size = 180.0 / 2**12
    grid = TileGrid(24.0, 60.0, 24.0 + size, 60.0 + size, np.full((67, 67), 100.0))
    header = struct.unpack_from("<3d2f4d3d", encode_tile(grid, 1.0))
    assert 1.0 < np.linalg.norm(header[9:12]) < 1.01


def test_layer_json_lists_every_tile_and_both_roots(terrain: tuple[Path, TerrainSummary]) -> None:
    folder, summary = terrain
    layer = json.loads((folder / "layer.json").read_text())
    assert (layer["scheme"], layer["projection"], layer["format"]) == (
        "tms",
        "EPSG:4326",
        "quantized-mesh-1.0",
    )
    assert layer["extensions"] == ["octvertexnormals", "metadata"]
    assert layer["attribution"] == "Simulated"
    assert layer["available"][0] == [{"startX": 0, "startY": 0, "endX": 1, "endY": 0}]
    assert len(layer["available"]) == layer["maxzoom"] + 1 == summary.max_zoom + 1
    listed = {
        f"{level}/{x}/{y}.terrain"
        for level, ranges in enumerate(layer["available"])
        for part in ranges
        for x in range(part["startX"], part["endX"] + 1)
        for y in range(part["startY"], part["endY"] + 1)
    }
    assert listed == {path.relative_to(folder).as_posix() for path in folder.rglob("*.terrain")}
    assert len(listed) == summary.tile_count
    for path in folder.rglob("*.terrain"):
        assert gzip.decompress(path.with_name(path.name + ".gz").read_bytes()) == path.read_bytes()


def test_every_tile_has_its_parent(terrain: tuple[Path, TerrainSummary]) -> None:
    folder, _ = terrain
    for path in folder.rglob("*.terrain"):
        level, x, y = int(path.parts[-3]), int(path.parts[-2]), int(path.stem)
        assert level == 0 or (folder / f"{level - 1}/{x // 2}/{y // 2}.terrain").is_file()


def test_the_summary(terrain: tuple[Path, TerrainSummary]) -> None:
    _, summary = terrain
    # 10 m pixels: samples of level 15 are 9.6 m apart.
    assert (summary.min_zoom, summary.max_zoom) == (0, 15)
    assert "taken as ellipsoidal" in summary.height_reference
    west, south, bottom, east, north, top = summary.bbox84h
    assert (west, south) == pytest.approx((24.928, 60.161), abs=0.002)
    assert (east, north) == pytest.approx((24.964, 60.179), abs=0.002)
    assert 0.0 < bottom < top < 95.0


def test_heights_are_brought_to_the_ellipsoid(dem: Path, tmp_path: Path) -> None:
    lifted = build_terrain(tmp_path, dem, vertical=VerticalReference.offset(17.0, "city"), max_zoom=11)
    plain = build_terrain(tmp_path / "b", dem, max_zoom=11)
    assert lifted.bbox84h[2] - plain.bbox84h[2] == pytest.approx(17.0)
    assert "+17.000 m added (city)" in lifted.height_reference


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4547", "EPSG:3857"])
def test_models_in_other_crs(crs: str, tmp_path: Path) -> None:
    place = {
        "EPSG:4326": from_origin(114.0, 30.5, 0.0001, 0.0001),
        "EPSG:4547": from_origin(500_000.0, 3_379_000.0, 10.0, 10.0),
        "EPSG:3857": from_origin(12_690_000.0, 3_570_000.0, 10.0, 10.0),
    }[crs]
    summary = build_terrain(tmp_path / "t", write_dem(tmp_path / "dem.tif", crs, place), max_zoom=9)
    assert summary.tile_count >= 11
    assert summary.bbox84h[:2] == pytest.approx((114.0, 30.5), abs=0.1)


def test_progress_and_limits(dem: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    summary = build_terrain(tmp_path, dem, max_zoom=0, report=lambda done, total: heard.append((done, total)))
    assert heard == [(2, 2)]
    assert summary.tile_count == 2
    for level in (-1, 23):
        with pytest.raises(TerrainError, match="allowed are 0 to 22"):
            build_terrain(tmp_path, dem, max_zoom=level)


def test_files_that_are_no_elevation_model(tmp_path: Path) -> None:
    text = tmp_path / "a.tif"
    text.write_text("no raster")
    with pytest.raises(TerrainError, match="cannot be read as a raster"):
        build_terrain(tmp_path / "t", text)
    with pytest.raises(TerrainError, match="no CRS"):
        build_terrain(tmp_path / "t", write_dem(tmp_path / "b.tif", crs=""))
    gaps = tmp_path / "gaps.tif"
    profile = {"driver": "GTiff", "width": 9, "height": 9, "count": 1, "dtype": "float32", "nodata": 0.0}
    with rasterio.open(
        gaps, "w", crs="EPSG:3879", transform=from_origin(WEST, NORTH, 1, 1), **profile
    ) as dataset:
        dataset.write(np.zeros((9, 9), dtype="float32"), 1)
    with pytest.raises(TerrainError, match="only gaps"):
        build_terrain(tmp_path / "t", gaps)


def test_a_truncated_model_says_so(dem: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.tif"
    short.write_bytes(dem.read_bytes()[: dem.stat().st_size // 2])
    with pytest.raises(TerrainError):
        build_terrain(tmp_path / "t", short)


def test_samples_at_places(dem: Path) -> None:
    xy = np.array(
        [[WEST + 500.0, NORTH - 700.0], [WEST - 1.0, NORTH], [WEST + 5.0, NORTH - 5.0], [np.nan, 0.0]]
    )
    heights = sample_heights(dem, xy, "EPSG:3879")
    assert heights[0] == pytest.approx(ground(xy[:1, 0], xy[:1, 1])[0], abs=0.02)
    assert np.isnan(heights[1:]).all()
    lonlat = np.column_stack(
        Transformer.from_crs("EPSG:3879", "EPSG:4326", always_xy=True).transform(*xy[:1].T)
    )
    assert sample_heights(dem, lonlat, "EPSG:4326")[0] == pytest.approx(heights[0], abs=0.001)
    with pytest.raises(TerrainError, match=r"needed is \(n, 2\)"):
        sample_heights(dem, np.zeros(3), "EPSG:3879")


def test_samples_at_the_very_border(dem: Path) -> None:
    """The outer half of the border pixels counts as inside, the first step beyond does not."""
    east, south = WEST + SIZE * PIXEL, NORTH - SIZE * PIXEL
    xy = np.array([[east, south], [east + 0.01, south], [east, south - 0.01], [WEST + 1000.0, NORTH]])
    assert np.isfinite(sample_heights(dem, xy, "EPSG:3879")).tolist() == [True, False, False, True]


def test_samples_across_blocks(tmp_path: Path) -> None:
    """A model wider than one block that is kept: the same plane on both sides of the seam."""
    path = tmp_path / "wide.tif"
    profile = {"driver": "GTiff", "width": 2100, "height": 8, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:3879", transform=from_origin(0, 8, 1, 1), **profile) as dataset:
        dataset.write(np.tile(np.arange(2100, dtype="float32"), (8, 1)), 1)
    x = np.linspace(1000.0, 2090.0, 500)
    heights = sample_heights(path, np.column_stack((x, np.full(500, 4.0))), "EPSG:3879")
    assert heights == pytest.approx(x - 0.5, abs=1e-3)


def test_the_real_model(sample_data: Path, tmp_path: Path) -> None:
    """USGS lidar, 1 m: its heights come back and it is fine enough for level 18."""
    path = sample_data / "raster" / "lidar_dem.tif"
    summary = build_terrain(tmp_path, path, max_zoom=16)
    with rasterio.open(path) as dataset:
        values = dataset.read(1, masked=True)
    assert summary.bbox84h[2] == pytest.approx(float(values.min()), abs=1.0)
    assert summary.bbox84h[5] == pytest.approx(float(values.max()), abs=1.0)
