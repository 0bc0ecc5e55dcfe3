"""Tiles in a bucket of S3, or of a server that speaks its protocol: PREFIX/TILESET/EXT/z/x/y."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING, Any

from tiles.cache.areas import in_ranges
from tiles.cache.bodies import is_whole
from tiles.cache.breaker import Breaker
from tiles.cache.store import StoredTile, TileAge, Usage
from tiles.cache.tile import EXTENSIONS, TileName, Tileset, checked_folder, parse_path
from tiles.errors import TileCacheFull, TileCacheUnavailable
from tiles.grids import TileRange

if TYPE_CHECKING:
    from tiles.cache.opening import StoreAccess

_CONNECT_SECONDS, _ANSWER_SECONDS = 1, 5
_CONNECTIONS = 32
_STAMP = "stamp"
_FEW_COLUMNS = 16
_AT_ONCE = 1000  # objects that S3 removes in one request
_ABSENT = ("NoSuchKey", "404")
_NO_ROOM = ("QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "507")


class S3Store:
    """Keeps tiles in a bucket. Connects at its first use; a server that does not answer is left alone for 5 seconds."""

    def __init__(self, access: StoreAccess) -> None:
        bucket, _, prefix = (access.s3_bucket or "").partition("/")
        self._access = access
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client: Any = None
        self._lock = threading.Lock()
        self._breaker = Breaker("the S3 server of kept tiles")

    def get(self, name: TileName) -> StoredTile | None:
        """See TileStore."""

        def read(client: Any) -> StoredTile | None:
            answer = client.get_object(Bucket=self._bucket, Key=self._key(name))
            with answer["Body"] as content:
                body = content.read()
            return StoredTile(body, int(answer["Metadata"].get(_STAMP, "0")))

        found: StoredTile | None = self._ask(read, absent=None)
        if found is not None and not is_whole(found.body, name.tileset.extension):
            self.remove((name,))
            return None
        return found

    def put(self, name: TileName, body: bytes) -> int:
        """See TileStore."""
        stamp = time.time_ns()
        self._ask(
            lambda client: client.put_object(
                Bucket=self._bucket,
                Key=self._key(name),
                Body=body,
                Metadata={_STAMP: str(stamp)},
                ContentType=EXTENSIONS[name.tileset.extension],
            )
        )
        return stamp

    def remove(self, names: Iterable[TileName]) -> int:
        """See TileStore; S3 does not tell which were there, so that all count."""
        return self._remove_keys(self._key(name) for name in names)

    def tilesets(self, folder: str) -> list[Tileset]:
        """See TileStore."""
        places = [f"{checked_folder(folder)}/" if folder else ""]
        for _ in range(6 - (folder.count("/") + 1 if folder else 0)):
            places = [below for place in places for below in self._folders(place)]
        found = []
        for place in places:
            path, _, extension = place.rstrip("/").rpartition("/")
            name = parse_path(f"{path}/0/0/0.{extension}")
            if name is not None:
                found.append(name.tileset)
        return found

    def levels(self, tileset: Tileset) -> list[int]:
        """See TileStore."""
        place = _place(tileset)
        names = (below[len(place) :].rstrip("/") for below in self._folders(place))
        return sorted(int(name) for name in names if name.isdigit())

    def within(self, tileset: Tileset, zoom: int, ranges: Sequence[TileRange]) -> Iterator[TileName]:
        """See TileStore."""
        place = f"{_place(tileset)}{zoom}/"
        columns = sum(one.max_column - one.min_column + 1 for one in ranges)
        if columns <= _FEW_COLUMNS:
            wanted = sorted({x for one in ranges for x in range(one.min_column, one.max_column + 1)})
            places = [f"{place}{x}/" for x in wanted]
        else:
            places = [place]
        for one in places:
            for name, _ in self._listed(one):
                if in_ranges(ranges, name.x, name.y):
                    yield name

    def tiles(self, tileset: Tileset) -> Iterator[TileName]:
        """See TileStore."""
        for name, _ in self._listed(_place(tileset)):
            yield name

    def remove_folder(self, folder: str) -> None:
        """See TileStore; a thousand objects at a time."""
        self._remove_keys(entry["Key"] for entry in self._objects(f"{checked_folder(folder)}/"))

    def usage(self, folder: str) -> Usage:
        """See TileStore."""
        tiles = size = 0
        for one in self.ages(folder):
            tiles += 1
            size += one.bytes
        return Usage(tiles, size)

    def ages(self, folder: str) -> Iterator[TileAge]:
        """See TileStore; S3 knows when a tile was written, not when it was read."""
        for name, entry in self._listed(f"{checked_folder(folder)}/" if folder else ""):
            yield TileAge(name, entry["Size"], int(entry["LastModified"].timestamp() * 1e9))

    def tidy(self) -> None:
        """A killed process leaves nothing."""

    def close(self) -> None:
        """See TileStore."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _key(self, name: TileName) -> str:
        return f"{self._prefix}{_place(name.tileset)}{name.z}/{name.x}/{name.y}"

    def _listed(self, place: str) -> Iterator[tuple[TileName, Any]]:
        for entry in self._objects(place):
            path, _, tile = _split(entry["Key"][len(self._prefix) :])
            name = parse_path(f"{path}/{tile}")
            if name is not None:
                yield name, entry

    def _objects(self, place: str) -> Iterator[Any]:
        for page in self._pages(place, ""):
            yield from page.get("Contents", ())

    def _folders(self, place: str) -> list[str]:
        return [
            entry["Prefix"][len(self._prefix) :]
            for page in self._pages(place, "/")
            for entry in page.get("CommonPrefixes", ())
        ]

    def _pages(self, place: str, delimiter: str) -> Iterator[Any]:
        more: dict[str, str] = {}
        while True:
            page = self._ask(partial(self._list, place, delimiter, more))
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _list(self, place: str, delimiter: str, more: dict[str, str], client: Any) -> Any:
        return client.list_objects_v2(
            Bucket=self._bucket, Prefix=self._prefix + place, Delimiter=delimiter, **more
        )

    def _delete(self, keys: Sequence[str], client: Any) -> Any:
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        return client.delete_objects(Bucket=self._bucket, Delete=objects)

    def _remove_keys(self, keys: Iterable[str]) -> int:
        removed = 0
        for some in batched(keys, _AT_ONCE):
            removed += len(some)
            self._ask(partial(self._delete, some))
        return removed

    def _ask(self, question: Callable[[Any], Any], **absent: None) -> Any:
        """The answer; None where an object is `absent` and may be. Raises TileCacheUnavailable, TileCacheFull."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self._breaker.asked((BotoCoreError, OSError)):
            try:
                return question(self._connected())
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
                if code in _ABSENT and absent:
                    return None
                if code in _NO_ROOM or status in _NO_ROOM:
                    raise TileCacheFull(f"the bucket of kept tiles has no room: {code}") from error
                raise TileCacheUnavailable(
                    f"the S3 server of kept tiles refuses: {code or status}"
                ) from error

    def _connected(self) -> Any:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or self._connect()
        return client

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        access = self._access
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=_CONNECTIONS,
            # Servers that are not Amazon's know neither buckets as host names nor its newer checksums.
            s3={"addressing_style": "path" if access.s3_endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=access.s3_endpoint,
            region_name=access.s3_region,
            aws_access_key_id=access.s3_access_key,
            aws_secret_access_key=access.s3_secret_key,
            config=config,
        )


def _place(tileset: Tileset) -> str:
    return f"{tileset.path}/{tileset.extension}/"


def _split(key: str) -> tuple[str, str, str]:
    """Path of the tileset, extension, and z/x/y.EXT of a key without its prefix."""
    parts = key.split("/")
    path, extension, tile = "/".join(parts[:5]), parts[5] if len(parts) > 5 else "", "/".join(parts[6:])
    return path, extension, f"{tile}.{extension}"
