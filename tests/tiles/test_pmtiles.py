"""PMTiles archives beside the reader of the format's own authors; damage, order and determinism."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from pmtiles.reader import MmapSource, Reader, all_tiles
from pmtiles.tile import zxy_to_tileid

from tiles.errors import ArchiveError
from tiles.grids import TileId, tile_bounds
from tiles.pmtiles import Archive, ArchiveWriter, tile_number, tile_numbers
from tiles.vector import encode_layer

BOX = (113.8, 22.65, 114.1, 22.85)


def write(path: Path, tiles: dict[TileId, bytes], **metadata: object) -> None:
    with ArchiveWriter(path) as writer:
        for tile in sorted(tiles, key=tile_number):
            writer.add(tile_number(tile), tiles[tile])
        zooms = [tile.z for tile in tiles] or [0]
        writer.finish({"name": "a", "vector_layers": [], **metadata}, BOX, (min(zooms), max(zooms)))


def grid_of_tiles(zoom: int, count: int, kinds: int) -> dict[TileId, bytes]:
    chosen = random.Random(1)
    cells = {(chosen.randrange(1 << zoom), chosen.randrange(1 << zoom)) for _ in range(count)}
    return {TileId(zoom, x, y): f"tile {(x * y) % kinds}".encode() for x, y in cells}


def test_numbers_are_those_of_the_format() -> None:
    chosen = random.Random(2)
    for _ in range(2000):
        zoom = chosen.randint(0, 24)
        x, y = chosen.randrange(1 << zoom), chosen.randrange(1 << zoom)
        expected = zxy_to_tileid(zoom, x, y)
        assert tile_number(TileId(zoom, x, y)) == expected
        assert tile_numbers(zoom, np.array([x]), np.array([y])).tolist() == [expected]


@pytest.mark.parametrize(
    ("zoom", "count", "kinds"), [(0, 1, 1), (5, 300, 1), (10, 2000, 7), (14, 30_000, 10**9)]
)
def test_the_authors_reader_finds_every_tile(tmp_path: Path, zoom: int, count: int, kinds: int) -> None:
    tiles = grid_of_tiles(zoom, count, kinds)
    path = tmp_path / "a.pmtiles"
    write(path, tiles, attribution="©")
    archive = Archive(path)
    with path.open("rb") as file:
        source = MmapSource(file)
        reader = Reader(source)
        header = reader.header()
        assert header["clustered"]
        assert header["addressed_tiles_count"] == len(tiles)
        assert header["tile_contents_count"] == len(set(tiles.values()))
        assert (header["min_zoom"], header["max_zoom"]) == (zoom, zoom) == archive.zooms
        assert (header["min_lon_e7"], header["max_lat_e7"]) == (1138000000, 228500000)
        assert header["root_offset"] + header["root_length"] <= 16384
        assert reader.metadata() == archive.metadata()
        found = {TileId(*place): gzip.decompress(content) for place, content in all_tiles(source)}
    assert found == tiles
    for tile, content in list(tiles.items())[:500]:
        packed = archive.tile(tile)
        assert packed is not None
        assert gzip.decompress(packed) == content
    absent = [TileId(zoom, x, 0) for x in range(min(1 << zoom, 200)) if TileId(zoom, x, 0) not in tiles]
    assert all(archive.tile(tile) is None for tile in absent)
    assert archive.tile(TileId(zoom + 1, 0, 0)) is None


def test_equal_tiles_give_equal_bytes(tmp_path: Path) -> None:
    tiles = grid_of_tiles(8, 500, 3)
    for name in ("a", "b"):
        write(tmp_path / name, tiles)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_archive_without_tiles(tmp_path: Path) -> None:
    write(tmp_path / "a", {})
    assert Archive(tmp_path / "a").tile(TileId(0, 0, 0)) is None


def test_leaving_without_finish_leaves_nothing_and_an_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, {TileId(0, 0, 0): b"old"})
    with ArchiveWriter(path) as writer:
        writer.add(0, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert gzip.decompress(Archive(path).tile(TileId(0, 0, 0)) or b"") == b"old"


@pytest.mark.parametrize("second", [4, 5])
def test_numbers_must_rise(tmp_path: Path, second: int) -> None:
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add(5, b"x")
        with pytest.raises(ArchiveError, match="rise"):
            writer.add(second, b"y")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PMTiles\x02" + content[8:],
        lambda content: content[:126],
        lambda content: content[:200],
        lambda content: content[:127] + b"\x1f\x8b" + bytes(40) + content[169:],
        lambda content: content[:97] + b"\x01" + content[98:],
    ],
)
def test_damage_is_said(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "a"
    write(path, grid_of_tiles(6, 200, 1000))
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveError):
        Archive(path)


def test_a_missing_tile_content_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, {TileId(0, 0, 0): b"x" * 1000})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArchiveError, match="ends before"):
        Archive(path).tile(TileId(0, 0, 0))
    with pytest.raises(ArchiveError, match="cannot be opened"):
        Archive(tmp_path / "none")


def test_gdal_reads_the_archive(tmp_path: Path) -> None:
    bounds = tile_bounds("WebMercatorQuad", TileId(0, 0, 0))
    tile = encode_layer("places", [shapely.Point(1e6, 2e6)], [7], {"name": ["城"]}, tuple(bounds))
    path = tmp_path / "a.pmtiles"
    layer = {"id": "places", "fields": {"name": "String"}, "minzoom": 0, "maxzoom": 0}
    write(path, {TileId(0, 0, 0): tile}, vector_layers=[layer])
    info, _, geometries, columns = pyogrio.raw.read(path, layer="places")
    assert columns[list(info["fields"]).index("name")].tolist() == ["城"]
    (point,) = shapely.from_wkb(geometries)
    assert (point.x, point.y) == pytest.approx((1e6, 2e6), abs=10_000)
