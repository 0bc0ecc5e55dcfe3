"""MBTiles and GeoPackage files: read by GDAL, healed where they are damaged, one for each tileset, so many open at a time."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from tiles.cache import TileName, Tileset, open_tile_store, sqlite_files
from tiles.errors import TileCacheError
from tiles.grids import TileId, grid

COLOURS = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (200, 200, 0)}


def image(colour: tuple[int, int, int], form: str) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGBA" if form == "png" else "RGB", (256, 256), colour)
    picture.save(stream, form, **({} if form == "png" else {"quality": 95}))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "suffix", "grid_id", "extension"),
    [
        ("mbtiles", "mbtiles", "WebMercatorQuad", "png"),
        ("mbtiles", "mbtiles", "WebMercatorQuad", "jpeg"),
        ("geopackage", "gpkg", "WebMercatorQuad", "png"),
        ("geopackage", "gpkg", "WebMercatorQuad", "jpeg"),
        ("geopackage", "gpkg", "WebMercatorQuad", "webp"),
        ("geopackage", "gpkg", "WorldCRS84Quad", "png"),
        ("geopackage", "gpkg", "CGCS2000GK3CM117E", "png"),
    ],
)
def test_gdal_reads_the_files(tmp_path: Path, kind: str, suffix: str, grid_id: str, extension: str) -> None:
    store = open_tile_store(kind, tmp_path)
    tileset = Tileset("demo", "city", 1, "map-plain", grid_id, extension)
    columns, rows = grid(grid_id).matrix_size(1)
    for (right, below), colour in COLOURS.items():
        tile = TileName(tileset, 1, right * (columns - 1), below * (rows - 1))
        store.put(tile, image(colour, extension))
    store.close()
    with rasterio.open(tmp_path / tileset.path / f"{extension}.{suffix}") as found:
        assert found.crs is not None
        for (right, below), colour in COLOURS.items():
            box = grid(grid_id).bounds(TileId(1, right * (columns - 1), below * (rows - 1)))
            (value,) = found.sample([((box.minx + box.maxx) / 2, (box.miny + box.maxy) / 2)])
            assert np.allclose(value[:3].astype(int), colour, atol=8), (right, below)


def test_a_geopackage_says_what_it_is(tmp_path: Path, body_of: Callable[..., bytes]) -> None:
    store = open_tile_store("geopackage", tmp_path)
    for extension, grid_id in (("webp", "WorldCRS84Quad"), ("mvt", "CGCS2000Quad")):
        tileset = Tileset("demo", "city", 1, "form", grid_id, extension)
        store.put(TileName(tileset, 0, 0, 0), body_of(extension))
        with closing(sqlite3.connect(tmp_path / tileset.path / f"{extension}.gpkg")) as connection:
            assert connection.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            ((kind, srs),) = connection.execute("SELECT data_type, srs_id FROM gpkg_contents").fetchall()
            assert (kind, srs) == (("tiles", 4326) if extension == "webp" else ("vector-tiles", 4490))
            extensions = connection.execute("SELECT extension_name FROM gpkg_extensions").fetchall()
            assert extensions == ([("gpkg_webp",)] if extension == "webp" else [])
    store.close()


@pytest.mark.parametrize("kind", ["mbtiles", "geopackage"])
@pytest.mark.parametrize("damage", ["text", "empty", "pages"])
def test_a_damaged_file_heals(
    tmp_path: Path, kind: str, damage: str, name: Callable[..., TileName], body_of: Callable[..., bytes]
) -> None:
    store = open_tile_store(kind, tmp_path)
    for x in range(300):
        store.put(name(x=x), body_of())
    store.close()
    (path,) = [
        one for one in (tmp_path / name().tileset.path).iterdir() if one.suffix in (".mbtiles", ".gpkg")
    ]
    content = path.read_bytes()
    path.write_bytes(
        {
            "text": b"no database at all" * 1000,
            "empty": b"",
            "pages": content[:8192] + bytes(len(content) - 8192),
        }[damage]
    )
    for _ in range(2):  # one who finds the damage, and one who writes anew
        try:
            store.put(name(), body_of("png", 5))
        except TileCacheError:
            continue
    found = store.get(name())
    assert found is not None
    assert found.body == body_of("png", 5)
    store.close()


@pytest.mark.parametrize("kind", ["mbtiles", "geopackage"])
def test_many_tilesets_in_many_threads(
    tmp_path: Path,
    kind: str,
    name: Callable[..., TileName],
    body_of: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_files, "_MOST_OPEN", 6)
    store: Any = open_tile_store(kind, tmp_path)
    names = [name(form=f"form-{number}") for number in range(9)]
    for tile in names:
        store.put(tile, body_of())
    missed: list[TileName] = []

    def read() -> None:
        missed.extend(tile for tile in names for _ in range(2) if store.get(tile) is None)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert missed == []
    assert len(store._files._open) <= 6
    store.close()
    assert len(store._files._open) == 0


def test_another_process_that_removed_the_file_is_followed(
    tmp_path: Path, name: Callable[..., TileName], body_of: Callable[..., bytes]
) -> None:
    one, other = open_tile_store("mbtiles", tmp_path), open_tile_store("mbtiles", tmp_path)
    one.put(name(), body_of())
    assert other.get(name()) is not None
    one.remove_folder("demo")
    assert other.get(name()) is None
    other.put(name(x=1), body_of())
    assert one.get(name(x=1)) is not None
    assert one.get(name()) is None
    one.close()
    other.close()


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    import os

    for kind in ("files", "mbtiles"):
        store = open_tile_store(kind, tmp_path)
        (tmp_path / ".removed/1/demo").mkdir(parents=True)
        (tmp_path / ".removed/1/demo/x").touch()
        (tmp_path / ".aside").mkdir(exist_ok=True)
        for age in (10, 7200):
            (tmp_path / f".aside/{age}").touch()
            os.utime(tmp_path / f".aside/{age}", (0, (tmp_path / ".aside").stat().st_mtime - age))
        store.tidy()
        assert list((tmp_path / ".removed").iterdir()) == []
        assert [path.name for path in (tmp_path / ".aside").iterdir()] == ["10"]
        store.close()
