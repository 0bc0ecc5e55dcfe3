"""Kept tiles in use: memory, one rendering for many, edits, stale tiles, faults of the store, the size limit, counts."""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiles.cache import (
    KeptTile,
    Places,
    StoreAccess,
    TileCache,
    TileName,
    Tileset,
    Unchanging,
    Usage,
    open_tile_cache,
)
from tiles.errors import MapError, RenderingBusy, TileCacheError
from tiles.grids import TileId, tile_bounds_crs84

NamesOf = Callable[..., TileName]
BodyOf = Callable[..., bytes]
Forked = Callable[..., list[Callable[[], int | None]]]
NOWHERE = StoreAccess()
WORLD = (-180.0, -90.0, 180.0, 90.0)


@pytest.fixture
def places() -> Places:
    return Places(2, 64, seconds=20.0)


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Callable[..., TileCache]]:
    opened = []

    def open_(kind: str = "files", access: StoreAccess = NOWHERE, **options: Any) -> TileCache:
        options = {"memory_bytes": 1 << 20} | options
        opened.append(open_tile_cache(kind, options.pop("directory", tmp_path / "tiles"), access, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def cache(open_cache: Callable[..., TileCache]) -> TileCache:
    return open_cache()


def box_of(name: TileName) -> tuple[float, float, float, float]:
    return tuple(tile_bounds_crs84(name.tileset.grid, TileId(name.z, name.x, name.y)))


def test_a_tile_is_made_once_and_then_kept(
    cache: TileCache,
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
) -> None:
    assert cache.get(name()) is None
    calls = []
    made = cache.make(name(), box_of(name()), log, lambda: calls.append(1) or body_of(), places=places)
    assert made.body == body_of()
    assert (made.media_type, made.gzipped, made.stale, made.empty) == ("image/png", False, False, False)
    assert made.etag.startswith('"')
    assert cache.get(name()) == made
    other = open_cache()
    assert other.get(name()) == made  # another process has the same ETag
    assert other.make(name(), box_of(name()), log, lambda: calls.append(1) or b"", places=places) == made
    assert calls == [1]


def test_vector_tiles_are_gzip_and_may_be_empty(
    cache: TileCache, name: NamesOf, places: Places, log: Any
) -> None:
    import gzip

    full, empty = name(form="mvt", extension="mvt"), name(form="mvt", extension="mvt", x=1)
    made = cache.make(full, box_of(full), log, lambda: b"\x1a\x05layer" * 9, places=places)
    assert made.gzipped
    assert gzip.decompress(made.body) == b"\x1a\x05layer" * 9
    assert not made.empty
    nothing = cache.make(empty, box_of(empty), log, lambda: b"", places=places)
    assert nothing.empty
    assert gzip.decompress(nothing.body) == b""
    assert cache.get(empty) == nothing
    packed = gzip.compress(b"\x1a\x05layer" * 9)
    ready = name(form="mvt", extension="mvt", x=2)
    assert cache.make(ready, box_of(ready), log, lambda: packed, places=places).body == packed


def test_a_block_gives_all_its_tiles(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    block = {name(x=500 + x, y=300 + y): body_of("png", 2 * y + x) for x in (0, 1) for y in (0, 1)}
    made = cache.make(name(x=501), WORLD, log, lambda: block, places=places, block=name(x=500))
    assert made.body == block[name(x=501)]
    assert {tile: cache.get(tile).body for tile in block} == block
    with pytest.raises(TileCacheError, match="none of them"):
        cache.make(name(x=510), WORLD, log, lambda: block, places=places, block=name(x=510))


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x89PNG\r\n\x1a\nhalf"])
def test_what_is_no_tile_is_not_kept(
    cache: TileCache, name: NamesOf, places: Places, log: Any, body: bytes
) -> None:
    with pytest.raises(TileCacheError, match="no png"):
        cache.make(name(), WORLD, log, lambda: body, places=places)
    assert cache.get(name()) is None


def test_thirty_two_threads_cause_one_rendering(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    calls, found, begin = [], [], threading.Barrier(32)

    def render() -> bytes:
        calls.append(1)
        time.sleep(0.2)
        return body_of()

    def ask() -> None:
        begin.wait()
        found.append(cache.get(name()) or cache.make(name(), WORLD, log, render, places=places))

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(calls) == 1
    assert len(found) == 32
    assert set(found) == {found[0]}


def _ask_once(
    directory: Path, kind: str, access: StoreAccess, tile: TileName, body: bytes, note: Path
) -> None:
    cache = open_tile_cache(kind, directory, access, memory_bytes=1 << 20)

    def render() -> bytes:
        with note.open("a") as stream:
            stream.write("rendered\n")
        time.sleep(0.3)
        return body

    kept = cache.get(tile) or cache.make(tile, WORLD, Unchanging(), render, places=Places(2, 32))
    if kept.body != body:
        os._exit(5)


@pytest.mark.parametrize("kind", ["files", "mbtiles", "redis"])
def test_four_processes_cause_one_rendering(
    tmp_path: Path,
    name: NamesOf,
    body_of: BodyOf,
    forked: Forked,
    kind: str,
    access_of: Callable[[str], StoreAccess],
) -> None:
    note, access = tmp_path / "note", access_of(kind)
    calls = [(tmp_path / "tiles", kind, access, name(), body_of(), note)] * 4
    assert [ended() for ended in forked(_ask_once, *calls)] == [0] * 4
    assert note.read_text() == "rendered\n"
    assert list((tmp_path / "tiles" / ".locks").iterdir()) == []


def test_a_killed_process_holds_up_nobody(
    tmp_path: Path, cache: TileCache, name: NamesOf, body_of: BodyOf, forked: Forked, places: Places
) -> None:
    begun = tmp_path / "begun"
    (ended,) = forked(_die_rendering, (tmp_path / "tiles", name(), begun))
    assert ended() == 9
    assert begun.exists()
    assert cache.make(name(), WORLD, Unchanging(), body_of, places=places).body == body_of()


def _die_rendering(directory: Path, tile: TileName, begun: Path) -> None:
    cache = open_tile_cache("files", directory, memory_bytes=0)

    def render() -> bytes:
        begun.touch()
        os._exit(9)

    cache.make(tile, WORLD, Unchanging(), render, places=Places(1, 1))


def test_all_who_wait_get_the_error_and_the_next_one_tries_again(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    begun, errors = threading.Event(), []

    def fail() -> bytes:
        begun.set()
        time.sleep(0.2)
        raise MapError("its data are gone")

    def ask() -> None:
        with pytest.raises(MapError, match="its data are gone") as caught:
            cache.make(name(), WORLD, log, fail, places=places)
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 5
    assert cache.make(name(), WORLD, log, body_of, places=places).body == body_of()


def test_more_than_may_wait_are_turned_away(
    cache: TileCache, name: NamesOf, body_of: BodyOf, log: Any
) -> None:
    places = Places(1, 1, seconds=20.0)
    release, begun = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        release.wait(10)
        return body_of()

    threads = [
        threading.Thread(target=lambda x=x: cache.make(name(x=x), WORLD, log, slow, places=places))
        for x in range(2)
    ]
    threads[0].start()
    assert begun.wait(5)
    threads[1].start()
    while places._waiting == 0:
        time.sleep(0.005)
    for tile in (name(x=2), name(x=0)):  # one more rendering, and one more who waits for the tile being made
        with pytest.raises(RenderingBusy) as caught:
            cache.make(tile, WORLD, log, body_of, places=places)
        assert caught.value.retry_after >= 1
    others = Places(1, 1)
    assert cache.make(name(x=3), WORLD, log, body_of, places=others).body == body_of()
    release.set()
    for thread in threads:
        thread.join(10)
    assert cache.make(name(x=2), WORLD, log, body_of, places=places).body == body_of()
    assert cache.statistics().busy == 2


def test_nobody_waits_longer_than_the_time_there_is(
    cache: TileCache, name: NamesOf, body_of: BodyOf, log: Any
) -> None:
    places = Places(1, 5, seconds=0.05)
    with places.taken(), pytest.raises(RenderingBusy):
        cache.make(name(), WORLD, log, body_of, places=places)
    with places.taken():
        pass


def test_an_edit_voids_what_it_touches_in_every_process_at_once(
    cache: TileCache,
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
) -> None:
    near, far = name(10, 835, 445), name(10, 100, 445)
    other = open_cache()
    for tile in (near, far):
        cache.make(tile, box_of(tile), log, body_of, places=places)
        assert other.get(tile) is not None
    assert cache.bring_up_to_date("demo", "boxes", 1, log) == 0
    west, south, east, north = box_of(near)
    log.edit((west + east) / 2, (south + north) / 2, (west + east) / 2, (south + north) / 2)
    assert other.bring_up_to_date("demo", "boxes", 1, log) == 1
    assert cache.get(near) is None
    assert other.get(near) is None
    assert cache.get(far) is not None
    assert cache.bring_up_to_date("demo", "boxes", 1, log) == 0
    assert cache.cached_collections() == [("demo", "boxes", 1)]


def test_a_kill_between_commit_and_invalidation_is_repaired(
    cache: TileCache,
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
) -> None:
    cache.make(name(), box_of(name()), log, body_of, places=places)
    log.edit(*box_of(name()))  # committed; its process has died
    restarted = open_cache()
    assert restarted.bring_up_to_date("demo", "boxes", 1, log) == 1
    assert restarted.get(name()) is None


def test_tiles_of_an_unknown_state_go(
    tmp_path: Path, cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    cache.make(name(), box_of(name()), log, body_of, places=places)
    for content in (b"", b"{", b'{"a": 1}', None):
        state = tmp_path / "tiles/.carried/demo/boxes/g000001"
        if content is None:
            state.unlink()
        else:
            state.write_bytes(content)
        assert cache.bring_up_to_date("demo", "boxes", 1, log) is None
        assert cache.get(name()) is None
        cache.make(name(), box_of(name()), log, body_of, places=places)


def test_where_nobody_knows_what_changed_all_tiles_go(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    log.known = False
    tiles = [name(), name(x=3), name(form="mvt", extension="mvt")]
    for tile in [*tiles, name(collection="lines")]:
        cache.make(tile, box_of(tile), log, lambda tile=tile: body_of(tile.tileset.extension), places=places)
    log.edit(0, 0, 1, 1)
    assert cache.bring_up_to_date("demo", "boxes", 1, log) is None
    assert [cache.get(tile) for tile in tiles] == [None] * 3
    assert cache.get(name(collection="lines")) is not None
    assert cache.bring_up_to_date("demo", "boxes", 1, log) == 0


@pytest.mark.parametrize("known", [True, False])
def test_an_edit_while_a_tile_is_made_keeps_it_from_being_kept(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any, known: bool
) -> None:
    log.known = known

    def render() -> bytes:
        log.edit(*box_of(name()))
        cache.bring_up_to_date("demo", "boxes", 1, log)
        return body_of("png", 1)

    assert cache.make(name(), box_of(name()), log, render, places=places).body == body_of("png", 1)
    assert cache.get(name()) is None
    assert cache.make(name(), box_of(name()), log, lambda: body_of("png", 2), places=places).body == body_of(
        "png", 2
    )
    assert cache.get(name()).body == body_of("png", 2)


def test_an_edit_between_the_last_look_and_keeping_is_found_afterwards(
    cache: TileCache,
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
) -> None:
    other, plain = open_cache(), cache.store.put
    box = box_of(name())

    def put(tile: TileName, body: bytes) -> int:
        log.edit(*box)
        other.bring_up_to_date("demo", "boxes", 1, log)
        stamp = plain(tile, body)
        assert other.get(tile) is not None  # another process reads it in this moment, and holds it
        return stamp

    cache.store.put = put  # type: ignore[method-assign]
    cache.make(name(), box, log, body_of, places=places)
    assert other.get(name()) is None
    assert cache.get(name()) is None


def test_who_asks_after_an_edit_never_gets_what_was_read_before_it(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    reading, edited = threading.Event(), threading.Event()
    renderings = []

    def render() -> bytes:
        renderings.append(1)
        state = log.change()
        reading.set()
        assert edited.wait(10)
        time.sleep(0.05)
        return body_of("png", state)

    first: list[KeptTile] = []
    leader = threading.Thread(
        target=lambda: first.append(cache.make(name(), box_of(name()), log, render, places=places))
    )
    leader.start()
    assert reading.wait(10)
    log.edit(*box_of(name()))
    cache.bring_up_to_date("demo", "boxes", 1, log)
    answers: list[KeptTile] = []
    later = threading.Thread(
        target=lambda: answers.append(cache.make(name(), box_of(name()), log, render, places=places))
    )
    later.start()
    while places._waiting == 0:
        time.sleep(0.005)
    edited.set()
    leader.join(10)
    later.join(10)
    assert first[0].body == body_of("png", 0)
    assert answers[0].body == body_of("png", 1)
    assert len(renderings) == 2


def test_a_stale_tile_is_shown_while_one_request_makes_the_new_one(
    open_cache: Callable[..., TileCache], name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    cache = open_cache(stale_seconds=60)
    cache.make(name(), box_of(name()), log, lambda: body_of("png", 1), places=places)
    log.edit(*box_of(name()))
    assert cache.bring_up_to_date("demo", "boxes", 1, log, keep_stale=True) == 1
    assert cache.get(name()) is None
    begun, release, renderings = threading.Event(), threading.Event(), []

    def render() -> bytes:
        renderings.append(1)
        begun.set()
        assert release.wait(10)
        return body_of("png", 2)

    made: list[KeptTile] = []
    thread = threading.Thread(
        target=lambda: made.append(cache.make(name(), box_of(name()), log, render, places=places))
    )
    thread.start()
    assert begun.wait(10)
    for _ in range(3):
        old = cache.make(name(), box_of(name()), log, render, places=places)
        assert (old.body, old.stale) == (body_of("png", 1), True)
    release.set()
    thread.join(10)
    assert (made[0].body, made[0].stale) == (body_of("png", 2), False)
    assert cache.get(name()).body == body_of("png", 2)
    assert renderings == [1]
    assert cache.usage() == Usage(1, len(body_of()))  # the stale one has gone
    assert cache.statistics().stale == 3
    assert cache.tilesets() == [name().tileset]


def test_a_stale_tile_has_its_time_and_an_edit_without_it_takes_it_too(
    open_cache: Callable[..., TileCache], name: NamesOf, body_of: BodyOf, log: Any
) -> None:
    busy = Places(1, 0)
    for seconds, keep, expected in ((0.0001, True, False), (60, False, False), (60, True, True)):
        cache = open_cache(stale_seconds=seconds)
        cache.make(name(), box_of(name()), log, body_of, places=Places(1, 1))
        log.edit(*box_of(name()))
        cache.bring_up_to_date("demo", "boxes", 1, log, keep_stale=keep)
        time.sleep(0.002)
        with busy.taken():
            if expected:
                assert cache.make(name(), box_of(name()), log, body_of, places=busy).stale
            else:
                with pytest.raises(RenderingBusy):
                    cache.make(name(), box_of(name()), log, body_of, places=busy)
    log.edit(*box_of(name()))
    cache.bring_up_to_date("demo", "boxes", 1, log)
    assert cache.usage() == Usage(0, 0)


@pytest.mark.parametrize("kind", ["files", "mbtiles", "geopackage"])
def test_a_full_disk_serves_all_the_same_and_says_so_once(
    kind: str,
    small_disk: Path,
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    filled = small_disk / "filled"
    descriptor = os.open(filled, os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):  # noqa: PT012  # until the disk is full
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)
    cache = open_cache(kind, directory=small_disk / "tiles")
    with caplog.at_level(logging.WARNING):
        for x in range(20):
            made = cache.make(name(x=x), WORLD, log, lambda x=x: body_of("png", x), places=places)
            assert made.body == body_of("png", x)
            assert cache.get(name(x=x)) is None
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records) < 8
    filled.unlink()
    cache.make(name(), WORLD, log, body_of, places=places)
    assert cache.get(name()) is not None


@pytest.mark.parametrize("kind", ["files", "mbtiles", "geopackage"])
def test_a_limit_of_file_sizes_serves_all_the_same(
    kind: str, tmp_path: Path, name: NamesOf, forked: Forked
) -> None:
    (ended,) = forked(_with_small_files, (kind, tmp_path / "tiles", name()))
    assert ended() == 0


def _with_small_files(kind: str, directory: Path, tile: TileName) -> None:
    body = b"\x89PNG\r\n\x1a\n" + bytes(3 << 20) + b"IEND\xaeB`\x82"
    cache = open_tile_cache(kind, directory, memory_bytes=64 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    made = cache.make(tile, WORLD, Unchanging(), lambda: body, places=Places(1, 1))
    aside = list((directory / ".aside").iterdir())
    if made.body != body or cache.store.get(tile) is not None or aside:
        os._exit(6)


def test_a_server_that_dies_and_comes_back(
    start_redis: Callable[..., Any],
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from tiles.cache.breaker import Breaker

    url, process = start_redis()
    cache = open_cache("redis", StoreAccess(redis_url=url), memory_bytes=0)
    now = [1000.0]
    monkeypatch.setattr(cache.store, "_breaker", Breaker("the Redis server", clock=lambda: now[0]))
    cache.make(name(), box_of(name()), log, body_of, places=places)
    process.terminate()
    process.wait(20)
    with caplog.at_level(logging.WARNING):
        for x in range(10):
            assert cache.get(name(x=x)) is None
            assert cache.make(name(x=x), WORLD, log, body_of, places=places).body == body_of()
    assert len(caplog.records) <= 3
    assert not any(url in record.getMessage() for record in caplog.records)
    log.edit(*box_of(name()))
    assert cache.bring_up_to_date("demo", "boxes", 1, log) is None  # what it kept may come back with it
    start_redis(port=int(url.rpartition(":")[2].partition("/")[0]))
    now[0] += 6
    assert cache.bring_up_to_date("demo", "boxes", 1, log) is not None
    cache.make(name(), WORLD, log, body_of, places=places)
    assert cache.get(name()) is not None


def test_a_server_without_memory_serves_all_the_same(
    start_redis: Callable[..., Any],
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    places: Places,
    log: Any,
) -> None:
    url, _ = start_redis("--maxmemory", "2mb", "--maxmemory-policy", "noeviction")
    cache = open_cache("redis", StoreAccess(redis_url=url), memory_bytes=0)
    body = b"\x89PNG\r\n\x1a\n" + os.urandom(300_000) + b"IEND\xaeB`\x82"
    for x in range(12):
        assert cache.make(name(x=x), WORLD, log, lambda: body, places=places).body == body
    assert 0 < cache.usage().tiles < 12


@pytest.mark.parametrize(
    "access",
    [
        {"redis_url": "redis://127.0.0.1:1/0"},
        {
            "s3_bucket": "tiles",
            "s3_endpoint": "http://127.0.0.1:1",
            "s3_access_key": "a",
            "s3_secret_key": "SECRET",
        },
    ],
)
def test_a_server_that_is_not_there(
    access: dict[str, str],
    open_cache: Callable[..., TileCache],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = open_cache("redis" if "redis_url" in access else "s3", StoreAccess(**access))
    with caplog.at_level(logging.WARNING):
        assert cache.make(name(), WORLD, log, body_of, places=places).body == body_of()
    assert cache.get(name()) is not None  # memory serves all the same
    assert "SECRET" not in caplog.text
    with pytest.raises(TileCacheError):
        cache.usage()


def test_memory_holds_no_more_than_it_may(
    open_cache: Callable[..., TileCache], name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    cache = open_cache(memory_bytes=20_000)
    for x in range(60):
        cache.make(name(x=x), WORLD, log, body_of, places=places)
        cache.get(name(x=0))
        assert cache._memory.bytes <= 20_000
    before = cache.statistics()
    cache.get(name(x=0))
    cache.get(name(x=59))
    assert cache.statistics().memory_hits == before.memory_hits + 2
    cache.get(name(x=5))
    assert cache.statistics().store_hits == before.store_hits + 1
    without = open_cache(memory_bytes=0)
    assert without.get(name(x=3)) is not None
    assert len(without._memory) == 0


@pytest.mark.parametrize("kind", ["files", "mbtiles", "geopackage", "redis"])
def test_the_tiles_longest_not_used_go_first(
    kind: str,
    tmp_path: Path,
    open_cache: Callable[..., TileCache],
    access_of: Callable[[str], StoreAccess],
    name: NamesOf,
    body_of: BodyOf,
    places: Places,
    log: Any,
) -> None:
    access, size = access_of(kind), len(body_of())
    filling = open_cache(kind, access)
    for x in range(40):
        filling.make(name(x=x), WORLD, log, body_of, places=places)
    if kind == "files":
        for x in range(40):
            written = time.time_ns() - (100 - x) * 86400 * 10**9
            os.utime(tmp_path / "tiles" / name(x=x).path, ns=(written, written))
        filling.store.get(name(x=0))  # used now, and noted
    limited = open_cache(kind, access, max_bytes=20 * size)
    assert limited._evictor.evict() == 22
    assert limited.usage() == Usage(18, 18 * size)
    if kind == "files":
        assert {one.x for one in limited.store.tiles(name().tileset)} == {0, *range(23, 40)}
    elif kind != "redis":  # Redis knows when a block of tiles was used
        assert {one.x for one in limited.store.tiles(name().tileset)} == set(range(22, 40))
    assert limited._evictor.evict() == 0
    assert limited.statistics().evicted == 22
    for x in range(40, 60):  # it goes on by itself
        limited.make(name(x=x), WORLD, log, body_of, places=places)
    for _ in range(200):
        if limited.usage().bytes <= 20 * size:
            break
        limited._evictor.kept(size)
        time.sleep(0.02)
    assert limited.usage().bytes <= 20 * size


def test_counts_are_those_of_all_processes(
    cache: TileCache, tmp_path: Path, name: NamesOf, body_of: BodyOf, forked: Forked, places: Places
) -> None:
    assert cache.statistics().hit_rate is None
    cache.make(name(), WORLD, Unchanging(), body_of, places=places)
    assert [ended() for ended in forked(_count, *[(tmp_path / "tiles", name())] * 3)] == [0, 0, 0]
    found = cache.statistics()
    assert (found.store_hits, found.memory_hits, found.misses, found.renderings) == (3, 27, 3, 1)
    assert found.hit_rate == 30 / 33
    assert cache.statistics(("demo", "boxes")) == found
    assert cache.statistics(("demo", "lines")).hit_rate is None


def _count(directory: Path, tile: TileName) -> None:
    cache = open_tile_cache("files", directory, memory_bytes=1 << 20)
    for _ in range(10):
        cache.get(tile)
    cache.get(tile._replace(x=1))


def test_cleaning_by_levels_area_and_age(
    tmp_path: Path, cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    tiles = [name(z, x, y) for z in (3, 4, 5) for x in range(4) for y in range(4)]
    for tile in tiles:
        cache.make(tile, WORLD, log, body_of, places=places)
    tileset: Tileset = name().tileset
    assert cache.clean(tileset, range(4, 5)) == 16
    assert cache.clean(tileset, None, [box_of(name(5, 1, 1))]) == 2
    assert cache.get(name(5, 1, 1)) is None
    assert cache.clean(tileset, None, None, older_than_seconds=3600) == 0
    old = tmp_path / "tiles" / name(5, 2, 2).path
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert cache.clean(tileset, None, None, older_than_seconds=3600) == 1
    assert cache.clean(tileset) == 29
    assert cache.usage() == Usage(0, 0)


def test_a_generation_is_forgotten(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    for generation in (1, 2):
        cache.make(name(generation=generation), WORLD, log, body_of, places=places)
    cache.forget("demo", "boxes", 1)
    assert cache.get(name()) is None
    assert cache.get(name(generation=2)) is not None
    assert cache.cached_collections() == [("demo", "boxes", 2)]
    cache.forget("demo", "boxes", 1)


def test_files_are_ready_for_a_web_server_in_front(
    tmp_path: Path, cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    before = os.umask(0o077)
    try:
        cache.make(name(), WORLD, log, body_of, places=places)
    finally:
        os.umask(before)
    path = tmp_path / "tiles" / name().path
    assert path.read_bytes() == body_of()
    assert path.stat().st_mode & 0o777 == 0o644
    while path.parent != tmp_path / "tiles":
        path = path.parent
        assert path.stat().st_mode & 0o005 == 0o005


def test_a_tile_that_is_too_old_is_made_anew(
    cache: TileCache, name: NamesOf, body_of: BodyOf, places: Places, log: Any
) -> None:
    old = cache.make(name(), WORLD, log, body_of, places=places)
    same = cache.make(name(), WORLD, log, lambda: body_of("png", 1), places=places, oldest=old.stamp)
    assert same == old
    new = cache.make(name(), WORLD, log, lambda: body_of("png", 2), places=places, oldest=old.stamp + 1)
    assert new.body == body_of("png", 2)
    assert cache.get(name()) == new


def test_a_tile_made_anew_within_a_second_has_another_second_than_the_one_before(
    tmp_path: Path, cache: TileCache, name: NamesOf, body_of: BodyOf
) -> None:
    seconds = []
    for seed in range(6):
        cache.keep({name(): body_of("png", seed)})
        seconds.append(int((tmp_path / "tiles" / name().path).stat().st_mtime))
        if seed % 2:
            cache.store.remove([name()])
    assert len(set(seconds)) == len(seconds)
