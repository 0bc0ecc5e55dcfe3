"""Tiles kept in memory and on disk."""

from __future__ import annotations

import gzip
import io
import secrets
from typing import Any

from PIL import Image

from server.http.tiles import TileMemory


def test_a_tile_is_kept_smaller_where_it_can_be() -> None:
    memory = TileMemory(10)
    long, short = b"tile" * 1000, b"tile"
    memory.put("long", long)
    memory.put("short", short)
    kept = memory.get("long")
    assert kept is not None
    assert kept.gzipped
    assert gzip.decompress(kept.body) == long
    assert memory.get("short") == (short, False)
    assert memory.get("other") is None


def test_the_least_used_tile_goes_first() -> None:
    memory = TileMemory(2)
    for name in ("a", "b"):
        memory.put(name, name.encode())
    memory.get("a")
    memory.put("c", b"c")
    assert [memory.get(name) is not None for name in ("a", "b", "c")] == [True, False, True]


def test_no_tile_is_kept_where_none_is_wanted() -> None:
    memory = TileMemory(0)
    memory.put("a", b"a")
    assert memory.get("a") is None


def test_memory_is_bounded_in_bytes(monkeypatch: Any) -> None:
    monkeypatch.setattr("server.http.tiles._MOST_BYTES", 80_000)
    memory = TileMemory(1000)
    memory.put("too large for one place", secrets.token_bytes(10_100))
    assert memory.get("too large for one place") is None
    for number in range(12):
        memory.put(number, secrets.token_bytes(8_000))
    held = [number for number in range(12) if memory.get(number) is not None]
    assert held == list(range(held[0], 12))
    assert 8 <= len(held) <= 10


def test_kept_tiles_are_answered_like_made_ones(client: Any) -> None:
    url = "/t/demo/ogc/collections/boxes/tiles/WebMercatorQuad/10/445/835?f=mvt"
    made, kept, packed = client.get(url), client.get(url), client.get(url, ACCEPT_ENCODING="gzip")
    assert made.status == kept.status == 200
    assert made.body == kept.body == gzip.decompress(packed.body)
    assert packed.headers["Content-Encoding"] == "gzip"


def test_map_tiles_of_drawn_shapes_have_a_palette(client: Any) -> None:
    url = "/t/demo/ogc/collections/boxes/map/tiles/WebMercatorQuad/10/445/835?f=png"
    drawn, read = client.get(url), client.get(url)
    assert drawn.status == 200
    assert drawn.body == read.body
    assert Image.open(io.BytesIO(drawn.body)).mode == "P"
