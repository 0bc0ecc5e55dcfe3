"""Answers that are made as a file first: small ones sent whole, large ones by pieces, costly ones from a place of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from flask import Response

from providers.formatters.scratch import scratch_folder, sent
from server.http.answer import COMMON_HEADERS, Answer, Header, not_modified
from server.http.context import RequestContext, respond
from server.http.ogc.downloads import start_sending

_WHOLE = 4 << 20  # bytes; larger answers are not held in memory


def made_answer(
    here: RequestContext,
    make: Callable[[Path], None],
    media_type: str,
    *,
    etag: str,
    headers: Sequence[Header],
    private: bool,
    heavy: bool,
    compressible: bool,
) -> Response:
    """The file that `make` writes at the path it is given. Nothing is made for a client that has it (304).

    Raises Overloaded where costly work finds no place, and what `make` raises.
    """
    if not_modified(here.environ, etag):
        return respond(Answer(b"", media_type, etag=etag, headers=list(headers), private=private))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(scratch_folder()) / "answer"
        with here.services.heavy.taken() if heavy else contextlib.nullcontext():
            make(file)
        size = file.stat().st_size
        if size <= _WHOLE:
            answer = Answer(
                file.read_bytes(),
                media_type,
                etag=etag,
                headers=list(headers),
                private=private,
                compressible=compressible,
            )
            return respond(answer)
        sending = [
            *COMMON_HEADERS,
            *headers,
            ("ETag", etag),
            ("Cache-Control", f"{'private' if private else 'public'}, no-cache"),
            ("Vary", "Accept, Accept-Encoding, Accept-Language, Authorization"),
            ("Content-Type", media_type),
            ("Content-Length", str(size)),
        ]
        if here.environ["REQUEST_METHOD"] == "HEAD":
            return _without_defaults(Response(iter(()), direct_passthrough=True), sending)
        kept = stack.pop_all()
    body = start_sending(here.services.files, _pieces(file, kept))
    return _without_defaults(Response(body, direct_passthrough=True), sending)


def _without_defaults(response: Response, headers: Sequence[Header]) -> Response:
    response.headers.clear()
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _pieces(file: Path, kept: contextlib.ExitStack) -> Generator[bytes]:
    with kept:
        pieces: Iterator[bytes] = sent(file)
        yield from pieces
