"""An answer that is written before it is sent, because its first line tells how much follows; large ones wait on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Final

from flask import Response
from isal import isal_zlib

from server.http.answer import Answer, accepts_gzip
from server.http.context import RequestContext, respond

_IN_MEMORY: Final = 4 << 20  # bytes
_CHUNK: Final = 1 << 18
_GZIP_WINDOW: Final = 31


def spooled(chunks: Iterable[bytes]) -> IO[bytes]:
    """The chunks in a file that is in memory while it is small; its position is at the end."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed when the answer has been sent
    try:
        file.writelines(chunks)
    except BaseException:
        file.close()
        raise
    return file


def respond_with(here: RequestContext, answer: Answer, head: bytes, file: IO[bytes], tail: bytes) -> Response:
    """`answer` with the body `head`, `file`, `tail`. The file is closed in the end.

    Large ones go out in pieces, in one of the places for downloads. Raises Overloaded where all of those are taken.
    """
    size = file.tell()
    file.seek(0)
    if size <= _IN_MEMORY:
        with file:
            answer.body = b"".join((head, file.read(), tail))
        return respond(answer)

    small = Answer(b"", answer.content_type, etag=answer.etag, headers=answer.headers, private=answer.private)
    response = respond(small)
    del response.headers["Content-Length"]
    if response.status_code != 200:
        file.close()
        return response
    coded = answer.compressible and accepts_gzip(here.environ)
    if coded:
        response.headers["Content-Encoding"] = "gzip"
    else:
        response.headers["Content-Length"] = str(len(head) + size + len(tail))
    if here.environ["REQUEST_METHOD"] == "HEAD":
        file.close()
        return response
    pieces = _pieces(head, file, tail)
    response.response = here.services.files.stream(_gzipped(pieces) if coded else pieces)
    response.call_on_close(file.close)
    return response


def _pieces(head: bytes, file: IO[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    while chunk := file.read(_CHUNK):
        yield chunk
    yield tail


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    coder = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        if coded := coder.compress(piece):
            yield coded
    yield coder.flush()
