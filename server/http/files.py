"""Files of a generation over HTTP: byte ranges, validators, precompressed siblings; paths never leave their folder.

Byte ranges follow RFC 9110 clause 14; one range a request is served, several are answered with the whole file, as the
clause allows. Answers of more than a megabyte are streamed, and only so many at a time, so that downloads can never
hold all the threads that serve tiles and items.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from server.http.answer import (
    COMMON_HEADERS,
    Environ,
    Header,
    StartResponse,
    accepts_gzip,
    gzip_bytes,
    not_modified,
)
from server.http.errors import NotFound, Overloaded, RangeNotSatisfiable

_STREAM_FROM = 1 << 20  # bytes
_CHUNK = 1 << 18
_COMPRESS_BELOW = 8 << 20
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")  # no file has 10^18 bytes

MEDIA_TYPES = {
    ".json": "application/json",
    ".glb": "model/gltf-binary",
    ".subtree": "application/octet-stream",
    ".terrain": "application/vnd.quantized-mesh",
    ".laz": "application/vnd.laszip+copc",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".png": "image/png",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


def contained(folder: Path, relative: str) -> Path:
    """The file `relative` below `folder`. Raises NotFound where it leaves the folder or is no file."""
    try:
        candidate = (folder / relative).resolve()
        found = candidate.is_relative_to(folder.resolve()) and candidate.is_file()
    except (OSError, ValueError):  # a name the file system cannot have: too long, or with a NUL
        found = False
    if not found:
        raise NotFound(f"there is no file {relative[:200]!r} here")
    return candidate


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte asked for, None for the whole file.

    Raises RangeNotSatisfiable where the range lies outside a file of `size` bytes; anything that is not one byte range
    is ignored, as RFC 9110 14.2 demands.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        if length == 0:
            raise RangeNotSatisfiable(f"an empty range of a file of {size} bytes", size)
        return max(0, size - length), size - 1
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(f"bytes {start}- of a file of {size} bytes", size)
    return start, end


class _FileSlice:
    """Iterates over a part of an open file and gives the download's place back when closed."""

    def __init__(self, source: BinaryIO, length: int, places: threading.Semaphore) -> None:
        self._source = source
        self._left = length
        self._places = places
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._source.read(min(_CHUNK, self._left)) if self._left else b""
        if not chunk:
            self.close()
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        if self._open:
            self._open = False
            self._source.close()
            self._places.release()


class _MadeChunks:
    """Iterates over chunks made on the way and gives the download's place back when closed."""

    def __init__(self, chunks: Iterator[bytes], places: threading.Semaphore) -> None:
        self._chunks = chunks
        self._places = places
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._open:
            self._open = False
            self._places.release()


class FileSender:
    """Sends files; at most `downloads` answers of more than a megabyte at once in this process."""

    def __init__(self, downloads: int) -> None:
        self._places = threading.Semaphore(downloads)

    def send(
        self,
        file: Path,
        environ: Environ,
        start_response: StartResponse,
        *,
        etag: str,
        media_type: str | None = None,
        private: bool = False,
        cache_control: str = "no-cache",
        download_name: str | None = None,
        compressible: bool = False,
    ) -> Iterable[bytes]:
        """Answer with a file, a range of it, or 304; a gzip sibling is sent where there is one.

        `compressible` files without a sibling are compressed on the way while they are small.

        Raises RangeNotSatisfiable, NotFound, and Overloaded where all download places are taken.
        """
        headers: list[Header] = [
            *COMMON_HEADERS,
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", f"{'private' if private else 'public'}, {cache_control}"),
            ("Vary", "Accept-Encoding, Authorization"),
        ]
        if not_modified(environ, etag):
            start_response("304 Not Modified", headers)
            return []
        headers.append(
            ("Content-Type", media_type or MEDIA_TYPES.get(file.suffix, "application/octet-stream"))
        )
        if download_name is not None:
            headers.append(("Content-Disposition", f'attachment; filename="{download_name}"'))
        range_header = environ.get("HTTP_RANGE")
        compressed = file.with_name(file.name + ".gz")
        if range_header is None and accepts_gzip(environ):
            if compressed.is_file():
                headers.append(("Content-Encoding", "gzip"))
                file = compressed
            elif compressible and file.stat().st_size <= _COMPRESS_BELOW:
                body = gzip_bytes(file.read_bytes())
                headers.extend((("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))))
                start_response("200 OK", headers)
                return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
        return self._send_part(file, range_header, headers, environ, start_response)

    def _send_part(
        self,
        file: Path,
        range_header: str | None,
        headers: list[Header],
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        try:
            source = file.open("rb")
        except FileNotFoundError as error:
            raise NotFound("this file was replaced or withdrawn; ask for its collection again") from error
        with contextlib.ExitStack() as guard:
            guard.callback(source.close)
            size = source.seek(0, 2)
            wanted = parse_range(range_header, size)
            start, end = wanted or (0, size - 1)
            length = end - start + 1
            status = "200 OK" if wanted is None else "206 Partial Content"
            if wanted is not None:
                headers.append(("Content-Range", f"bytes {start}-{end}/{size}"))
            headers.append(("Content-Length", str(length)))
            source.seek(start)
            if environ["REQUEST_METHOD"] == "HEAD":
                start_response(status, headers)
                return []
            if length <= _STREAM_FROM:
                body = source.read(length)
                start_response(status, headers)
                return [body]
            stream = self._stream(source, length, status, headers, start_response)
            guard.pop_all()  # from here the stream closes the file
            return stream

    def _stream(
        self, source: BinaryIO, length: int, status: str, headers: list[Header], start_response: StartResponse
    ) -> Iterable[bytes]:
        if not self._places.acquire(blocking=False):
            raise Overloaded(
                "too many large downloads at once; try again in a moment, or ask for smaller ranges"
            )
        start_response(status, headers)
        return _FileSlice(source, length, self._places)

    def stream(self, chunks: Iterator[bytes]) -> Iterable[bytes]:
        """Chunks made on the way, in one of the download places. Raises Overloaded where all are taken."""
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many large downloads at once; try again in a moment")
        return _MadeChunks(chunks, self._places)
