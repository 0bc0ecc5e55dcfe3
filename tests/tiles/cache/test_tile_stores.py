"""What every store of tiles has to do: one suite for files, MBTiles, GeoPackage, Redis and S3."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tiles.cache import EXTENSIONS, StoreAccess, TileName, Tileset, TileStore, Usage, open_tile_store
from tiles.errors import TileCacheError
from tiles.grids import TileRange

NamesOf = Callable[..., TileName]
BodyOf = Callable[..., bytes]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_tile_comes_back_as_it_was_kept(
    store: TileStore, name: NamesOf, body_of: BodyOf, extension: str
) -> None:
    tile = name(extension=extension)
    assert store.get(tile) is None
    first = store.put(tile, body_of(extension, 1))
    assert store.get(tile) == (body_of(extension, 1), first)
    second = store.put(tile, body_of(extension, 2))
    assert second != first
    assert store.get(tile) == (body_of(extension, 2), second)
    for other in (
        {"x": 501},
        {"y": 301},
        {"z": 11},
        {"form": "mvt"},
        {"collection": "lines"},
        {"generation": 2},
    ):
        assert store.get(name(**({"extension": extension} | other))) is None


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("damage", ["empty", "cut", "cut by one", "wrong magic", "html"])
def test_a_damaged_tile_heals(
    store: TileStore, name: NamesOf, body_of: BodyOf, extension: str, damage: str
) -> None:
    tile, body = name(extension=extension), body_of(extension)
    store.put(
        tile,
        {
            "empty": b"",
            "cut": body[: len(body) // 2],
            "cut by one": body[:-1],
            "wrong magic": b"\0\0\0\0" + body[4:],
            "html": b"<html>504 Gateway Time-out</html>",
        }[damage],
    )
    assert store.get(tile) is None
    assert list(store.tiles(tile.tileset)) == []
    store.put(tile, body)
    found = store.get(tile)
    assert found is not None
    assert found.body == body


def test_what_is_kept_is_listed(store: TileStore, name: NamesOf, body_of: BodyOf) -> None:
    kept = {
        name(z, x, y)
        for z, x, y in [(0, 0, 0), (3, 0, 7), (3, 7, 0), (10, 500, 300), (10, 500, 301), (10, 517, 3)]
    }
    others = [
        name(extension="webp"),
        name(form="mvt", extension="mvt"),
        name(grid="WorldCRS84Quad"),
        name(generation=2),
    ]
    for tile in [*kept, *others]:
        store.put(tile, body_of(tile.tileset.extension))
    store.put(name(tenant="other"), body_of())
    tileset = name().tileset
    assert set(store.tiles(tileset)) == kept
    assert store.levels(tileset) == [0, 3, 10]
    one, two = {tileset, *(tile.tileset for tile in others[:3])}, others[3].tileset
    assert set(store.tilesets(tileset.folder)) == one
    assert set(store.tilesets("demo/boxes")) == {*one, two}
    assert set(store.tilesets("demo")) == {*one, two}
    assert set(store.tilesets("")) == {*one, two, name(tenant="other").tileset}
    assert store.tilesets("demo/box") == []
    assert store.tilesets("nobody") == []
    sizes = sum(len(body_of(tile.tileset.extension)) for tile in [*kept, *others])
    assert store.usage("demo") == Usage(len(kept) + len(others), sizes)
    assert store.usage("demo/boxes/g000002") == Usage(1, len(body_of()))
    ages = list(store.ages("demo"))
    assert {one.name for one in ages} == {*kept, *others}
    assert sum(one.bytes for one in ages) == sizes
    assert all(abs(one.used - ages[0].used) < 60e9 for one in ages)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], set()),
        ([(0, 0, 0, 0)], {(0, 0)}),
        ([(1, 1, 1, 1)], set()),
        ([(0, 0, 1023, 1023)], {(0, 0), (15, 16), (16, 15), (16, 17), (500, 1023), (1023, 500)}),
        ([(15, 15, 16, 16)], {(15, 16), (16, 15)}),
        ([(16, 0, 16, 1023)], {(16, 15), (16, 17)}),
        ([(0, 17, 1023, 17)], {(16, 17)}),
        ([(15, 15, 16, 16), (16, 15, 17, 17), (0, 0, 0, 0)], {(15, 16), (16, 15), (16, 17), (0, 0)}),
        ([(16, 17, 16, 17), (0, 0, 1023, 16)], {(0, 0), (15, 16), (16, 15), (16, 17)}),
    ],
)
def test_tiles_within_blocks(
    store: TileStore,
    name: NamesOf,
    body_of: BodyOf,
    ranges: list[tuple[int, int, int, int]],
    expected: set[tuple[int, int]],
) -> None:
    for x, y in [(0, 0), (15, 16), (16, 15), (16, 17), (500, 1023), (1023, 500)]:
        store.put(name(10, x, y), body_of())
        store.put(name(10, x, y, extension="webp"), body_of("webp"))
    found = list(store.within(name().tileset, 10, [TileRange(10, *one) for one in ranges]))
    assert {(one.x, one.y) for one in found} == expected
    assert len(found) == len(expected)
    assert all(one.tileset == name().tileset for one in found)
    assert list(store.within(name().tileset, 11, [TileRange(11, 0, 0, 2047, 2047)])) == []


def test_tiles_are_taken_out(store: TileStore, name: NamesOf, body_of: BodyOf) -> None:
    for x in range(40):
        store.put(name(x=x), body_of())
    store.put(name(form="mvt", extension="mvt"), body_of("mvt"))
    gone = [*(name(x=x) for x in range(39)), name(form="mvt", extension="mvt")]
    assert store.remove(gone) == 40
    assert list(store.tiles(name().tileset)) == [name(x=39)]
    assert store.get(name(x=0)) is None
    assert store.get(name(x=39)) is not None
    assert store.remove([]) == 0


def test_a_folder_goes_as_a_whole(store: TileStore, name: NamesOf, body_of: BodyOf) -> None:
    gone = [name(), name(form="mvt", extension="mvt"), name(grid="WorldCRS84Quad")]
    for tile in [*gone, name(generation=2), name(collection="boxes2")]:
        store.put(tile, body_of(tile.tileset.extension))
    store.remove_folder(name().tileset.folder)
    assert [store.get(tile) for tile in gone] == [None] * 3
    assert store.tilesets(name().tileset.folder) == []
    assert store.get(name(generation=2)) is not None
    assert store.get(name(collection="boxes2")) is not None
    store.put(name(), body_of())
    assert store.get(name()) is not None
    store.remove_folder(name().tileset.path)
    assert store.get(name()) is None
    store.remove_folder("demo/nothing")
    for wrong in ("", ".", "..", "demo/../x", "/demo", ".epochs"):
        with pytest.raises(TileCacheError):
            store.remove_folder(wrong)
        if wrong:
            with pytest.raises(TileCacheError):
                list(store.ages(wrong))
    assert store.get(name(generation=2)) is not None


def _write(
    kind: str, directory: Path, access: StoreAccess, tileset: Tileset, bodies: list[bytes], seed: int
) -> None:
    store = open_tile_store(kind, directory, access)
    for number in range(60):
        tile = TileName(tileset, 10, (number * (2 * seed + 1)) % 8, 3)
        if number % 5 == 4:
            store.remove([tile])
        else:
            store.put(tile, bodies[(number + seed) % len(bodies)])
        found = store.get(TileName(tileset, 10, (number * 3 + seed) % 8, 3))
        if found is not None and found.body not in bodies:
            os._exit(3)
    store.close()


@pytest.mark.parametrize("kind", ["files", "mbtiles", "geopackage", "redis", "s3"])
def test_processes_write_read_and_remove_at_one_time(
    kind: str,
    tmp_path: Path,
    access_of: Callable[[str], StoreAccess],
    tileset: Callable[..., Tileset],
    body_of: BodyOf,
    forked: Callable[..., list[Callable[[], int | None]]],
) -> None:
    bodies = [body_of("png", seed) for seed in range(5)]
    access = access_of(kind)
    calls = [(kind, tmp_path, access, tileset(), bodies, seed) for seed in range(3)]
    assert [ended() for ended in forked(_write, *calls)] == [0, 0, 0]
    store = open_tile_store(kind, tmp_path, access)
    kept = list(store.tiles(tileset()))
    assert len(kept) == len(set(kept)) <= 8
    for tile in kept:
        found = store.get(tile)
        assert found is not None
        assert found.body in bodies
    store.close()


@pytest.mark.parametrize("kind", ["files", "mbtiles", "geopackage", "redis", "s3"])
def test_a_store_made_before_a_fork_serves_parent_and_child(
    kind: str,
    tmp_path: Path,
    access_of: Callable[[str], StoreAccess],
    name: NamesOf,
    body_of: BodyOf,
    forked: Callable[..., list[Callable[[], int | None]]],
) -> None:
    store = open_tile_store(kind, tmp_path, access_of(kind))
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert made == []  # nothing is opened, and nothing is made
    store.put(name(), body_of())
    (ended,) = forked(_child, (store, name(), name(x=1), body_of()))
    for _ in range(50):
        assert store.get(name()) is not None
    assert ended() == 0
    assert store.get(name(x=1)) is not None
    store.close()


def _child(store: TileStore, there: TileName, new: TileName, body: bytes) -> None:
    found = store.get(there)
    store.put(new, body)
    if found is None or found.body != body:
        os._exit(4)
