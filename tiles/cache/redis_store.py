"""Tiles in Redis: one hash for each block of 16 x 16 tiles.

Where Redis drops keys to make room (maxmemory-policy allkeys-lru), a block goes as a whole, with its list of tiles: nothing is
kept that an edit would not find.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import batched, groupby
from typing import TYPE_CHECKING, Any

from tiles.cache.areas import in_ranges, possible
from tiles.cache.bodies import is_whole
from tiles.cache.breaker import Breaker
from tiles.cache.store import StoredTile, TileAge, Usage
from tiles.cache.tile import TileName, Tileset, checked_folder, parse_path
from tiles.errors import TileCacheFull
from tiles.grids import TileRange

if TYPE_CHECKING:
    from redis import Redis

_PREFIX = "chengtu:tiles:"
_BITS = 4  # a block is 16 tiles wide
_STAMP = 8  # bytes before the body
_CONNECT_SECONDS, _ANSWER_SECONDS = 0.3, 1.0
_SCAN = 5000
_MOST_BLOCKS = 1024


class RedisStore:
    """Keeps tiles in a Redis server. Connects at its first use; a server that does not answer is left alone for 5 seconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | None = None
        self._lock = threading.Lock()
        self._breaker = Breaker("the Redis server of kept tiles")

    def get(self, name: TileName) -> StoredTile | None:
        """See TileStore."""
        value = self._ask(lambda redis: redis.hget(_block_key(name), f"{name.x}/{name.y}"))
        if value is None:
            return None
        body = value[_STAMP:]
        if not is_whole(body, name.tileset.extension):
            self.remove((name,))
            return None
        return StoredTile(body, int.from_bytes(value[:_STAMP], "big"))

    def put(self, name: TileName, body: bytes) -> int:
        """See TileStore."""
        from redis.exceptions import OutOfMemoryError

        stamp = time.time_ns()
        value = stamp.to_bytes(_STAMP, "big") + body
        try:
            self._ask(lambda redis: redis.hset(_block_key(name), f"{name.x}/{name.y}", value))
        except OutOfMemoryError as error:
            raise TileCacheFull("the Redis server of kept tiles has no memory left") from error
        return stamp

    def remove(self, names: Iterable[TileName]) -> int:
        """See TileStore."""
        removed = 0
        for some in batched(names, 5000):
            keyed = sorted((_block_key(name), f"{name.x}/{name.y}") for name in some)
            blocks = [
                (key, [field for _, field in group]) for key, group in groupby(keyed, key=lambda one: one[0])
            ]
            removed += sum(self._pipelined([("HDEL", key, *fields) for key, fields in blocks]))
        return removed

    def tilesets(self, folder: str) -> list[Tileset]:
        """See TileStore."""
        found = {key.partition(":")[0] for key in self._keys(f"{checked_folder(folder)}/" if folder else "")}
        names = (parse_path(f"{path.rpartition('/')[0]}/0/0/0.{path.rpartition('/')[2]}") for path in found)
        return sorted(
            (name.tileset for name in names if name is not None), key=lambda one: (one.path, one.extension)
        )

    def levels(self, tileset: Tileset) -> list[int]:
        """See TileStore."""
        return sorted({_zoom(key) for key in self._keys(_place(tileset))})

    def within(self, tileset: Tileset, zoom: int, ranges: Sequence[TileRange]) -> Iterator[TileName]:
        """See TileStore."""
        blocks = [
            TileRange(
                zoom,
                one.min_column >> _BITS,
                one.min_row >> _BITS,
                one.max_column >> _BITS,
                one.max_row >> _BITS,
            )
            for one in ranges
        ]
        place = f"{_place(tileset)}{zoom}/"
        if possible(blocks) <= _MOST_BLOCKS:
            keys = {
                f"{place}{x}/{y}"
                for one in blocks
                for x in range(one.min_column, one.max_column + 1)
                for y in range(one.min_row, one.max_row + 1)
            }
        else:
            keys = {key for key in self._keys(place) if in_ranges(blocks, *_column_row(key))}
        for name in self._names(tileset, sorted(keys)):
            if in_ranges(ranges, name.x, name.y):
                yield name

    def tiles(self, tileset: Tileset) -> Iterator[TileName]:
        """See TileStore."""
        yield from self._names(tileset, sorted(self._keys(_place(tileset))))

    def remove_folder(self, folder: str) -> None:
        """See TileStore; key by key."""
        for some in batched(self._keys(f"{checked_folder(folder)}/"), 500):
            self._pipelined([("UNLINK", *(_PREFIX + key for key in some))])

    def usage(self, folder: str) -> Usage:
        """See TileStore."""
        tiles = size = 0
        for one in self.ages(folder):
            tiles += 1
            size += one.bytes
        return Usage(tiles, size)

    def ages(self, folder: str) -> Iterator[TileAge]:
        """See TileStore; a block counts as used when any of its tiles was."""
        for tileset in self.tilesets(folder):
            for key in sorted(self._keys(_place(tileset))):
                idle = self._ask(partial(_idle_seconds, key=_PREFIX + key))
                used = time.time_ns() - idle * 10**9
                names = list(self._names(tileset, [key]))
                sizes = self._pipelined([("HSTRLEN", _PREFIX + key, f"{name.x}/{name.y}") for name in names])
                for name, size in zip(names, sizes, strict=True):
                    yield TileAge(name, max(0, size - _STAMP), used)

    def tidy(self) -> None:
        """A killed process leaves nothing."""

    def close(self) -> None:
        """See TileStore."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _names(self, tileset: Tileset, keys: Sequence[str]) -> Iterator[TileName]:
        for some in batched(keys, 200):
            answers = self._pipelined([("HKEYS", _PREFIX + key) for key in some])
            for key, fields in zip(some, answers, strict=True):
                for field in fields:
                    x, _, y = field.decode().partition("/")
                    yield TileName(tileset, _zoom(key), int(x), int(y))

    def _keys(self, begin: str) -> set[str]:
        """Keys of blocks that begin so, without the prefix. Names hold nothing that Redis takes for a pattern."""
        found = self._ask(lambda redis: list(redis.scan_iter(match=f"{_PREFIX}{begin}*", count=_SCAN)))
        return {key.decode()[len(_PREFIX) :] for key in found}

    def _pipelined(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        def run(redis: Redis) -> list[Any]:
            with redis.pipeline(transaction=False) as pipeline:
                queue: Callable[..., object] = pipeline.execute_command
                for command in commands:
                    queue(*command)
                return list(pipeline.execute())

        answers: list[Any] = self._ask(run) if commands else []
        return answers

    def _ask(self, question: Callable[[Redis], Any]) -> Any:
        from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

        with self._breaker.asked((ConnectionError, TimeoutError, BusyLoadingError, OSError)):
            return question(self._connected())

    def _connected(self) -> Redis:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or self._connect()
        return client

    def _connect(self) -> Redis:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(
            self._url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )


def _place(tileset: Tileset) -> str:
    return f"{tileset.path}/{tileset.extension}:"


def _block_key(name: TileName) -> str:
    return f"{_PREFIX}{_place(name.tileset)}{name.z}/{name.x >> _BITS}/{name.y >> _BITS}"


def _zoom(key: str) -> int:
    return int(key.rpartition(":")[2].partition("/")[0])


def _column_row(key: str) -> tuple[int, int]:
    _, x, y = key.rpartition(":")[2].split("/")
    return int(x), int(y)


def _idle_seconds(redis: Redis, key: str) -> int:
    from redis.exceptions import ResponseError

    try:
        idle = redis.object("idletime", key)
    except ResponseError:  # a server that counts how often, not when (maxmemory-policy lfu)
        return 0
    return int(idle or 0)
