"""Whole collections of features as files, in every format of `providers.formatters`, made while they are sent.

A download reads the collection in keyset slices, each in a transaction of its own, and holds one slice at a time. It has a place
among so many at once, a budget of time, and ends as soon as the client goes away or does not read any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from flask import Response
from isal import isal_zlib

from providers.errors import AnswerTooLarge, InvalidParameter, UnsupportedQuery
from providers.features.page_budget import PageBudget, columns_within, page_within
from providers.features.query import ItemQuery
from providers.features.source import Ability
from providers.features.store import FeatureStore
from providers.formatters.registry import (
    DOWNLOAD_FORMATS,
    Batch,
    ItemFormat,
    WritingContext,
    fields_to_write,
)
from providers.formatters.scratch import scratch_folder, sent
from server.http.answer import COMMON_HEADERS, Header, accepts_gzip, not_modified
from server.http.context import RequestContext
from server.http.features import FeatureRequest, parse_items, state_etag, timestamp
from server.http.files import FileSender
from server.registry.catalogue import Collection, RepresentationKind

_PAGING = ("limit", "offset", "cursor", "resulttype")
_SLICE = 2000  # features
_SLICE_BUDGET = PageBudget(body_bytes=8 << 20, seconds=2.0)
_GATHER = 1 << 16  # bytes; smaller pieces are sent together
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download may last, and how long a client may take over one piece; in seconds."""

    overall: float = 3600.0
    piece: float = 120.0


_PATIENCE = Patience()
type Clock = Callable[[], float]


class DownloadEndedError(AnswerTooLarge):
    """The download was given up: too slow, or too long. Where it had begun the connection is broken off, so that nobody takes it
    for complete.
    """


def feature_downloads(collection: Collection) -> tuple[ItemFormat, ...]:
    """The formats in which all features of a collection can be had, as `{collection.id}.{form.ending}`; GeoPackage first."""
    if RepresentationKind.FEATURES not in collection.representations:
        return ()
    return tuple(sorted(DOWNLOAD_FORMATS.values(), key=lambda form: form.name != "gpkg"))


# --- the answer ----------------------------------------------------------------------------------------------------------


def is_plain(here: RequestContext) -> bool:
    """Whether all of the collection is asked for, as it is."""
    return all(name in ("f", "lang") for name, _ in here.parameters)


def feature_download(here: RequestContext, asked: FeatureRequest, form: ItemFormat) -> Response:
    """The features that a query without paging selects, as a file. Raises what parsing and the first slice raise."""
    change = asked.source.change()
    query = _query_of(here, asked, form)
    headers = _headers(asked, form, query, change)
    etag = dict(headers)["ETag"]
    if not_modified(here.environ, etag):
        return Response(status=304, headers=headers)
    if here.environ["REQUEST_METHOD"] == "HEAD":
        return Response(
            iter(()), headers=[*headers, ("Content-Type", form.media_type)]
        )  # no length: it is not known
    context = _writing(here, asked, query)
    deadline = time.monotonic() + _PATIENCE.overall
    chunks = _gathered(form.load()(context, batches_of(asked, query, form, deadline)))
    if form.compressible and accepts_gzip(here.environ):
        headers.append(("Content-Encoding", "gzip"))
        chunks = _gzipped(chunks)
    headers.append(("Content-Type", form.media_type))
    return _response(here, chunks, headers)


def edited_geopackage(here: RequestContext, asked: FeatureRequest, form: ItemFormat) -> Response:
    """The store itself as a GeoPackage, in its present state: a copy, since the file alone lacks the latest edits."""
    store = asked.source
    assert isinstance(store, FeatureStore)  # only the embedded store is a GeoPackage
    query = ItemQuery(crs=store.storage.uri)
    headers = _headers(asked, form, query, store.change())
    if not_modified(here.environ, dict(headers)["ETag"]):
        return Response(status=304, headers=headers)
    headers.append(("Content-Type", form.media_type))
    if here.environ["REQUEST_METHOD"] == "HEAD":
        return Response(iter(()), headers=headers)  # no length, rather than 0
    return _response(here, _copied(store), headers)


def _response(here: RequestContext, chunks: Generator[bytes], headers: Sequence[Header]) -> Response:
    body = start_sending(here.services.files, chunks)
    return Response(body, headers=list(headers), direct_passthrough=True)


def _headers(asked: FeatureRequest, form: ItemFormat, query: ItemQuery, change: int | str) -> list[Header]:
    etag = state_etag(
        asked.collection, change, asked.decision, asked.url, form.name, repr(list(asked.parameters))
    )
    headers = [
        *COMMON_HEADERS,
        ("ETag", etag),
        ("Cache-Control", f"{'private' if asked.private else 'public'}, no-cache"),
        ("Vary", "Accept-Encoding, Authorization"),
        ("Content-Disposition", f'attachment; filename="{asked.collection.id}.{form.ending}"'),
    ]
    if query.crs:
        headers.append(("Content-Crs", f"<{query.crs}>"))
    return headers


def _query_of(here: RequestContext, asked: FeatureRequest, form: ItemFormat) -> ItemQuery:
    """The query of the parameters. Raises InvalidParameter for those that page, UnsupportedQuery where a store cannot go on."""
    for name, value in asked.parameters:
        if name in _PAGING:
            raise InvalidParameter(name, value, "nothing: a download holds all features that are selected")
    query = parse_items(asked, here.services.limits)
    if Ability.CURSOR not in asked.source.abilities:
        raise UnsupportedQuery(f"This collection's store ({asked.source.kind}) cannot be read to its end")
    if form.name == "gpkg" and all(name != "crs" for name, _ in asked.parameters):
        # As the file of the store itself, which is what is sent where nothing is selected.
        query = replace(query, crs=asked.source.storage.uri)
    return replace(query, limit=_SLICE)


def _writing(here: RequestContext, asked: FeatureRequest, query: ItemQuery) -> WritingContext:
    source = asked.source
    has_z = True if len(source.bbox) == 6 else (False if source.kind == "embedded" else None)
    return WritingContext(
        name=asked.collection.id,
        title=asked.collection.title(here.language),
        url=asked.url,
        schema=source.schema,
        storage=source.storage,
        query=query,
        fields=fields_to_write(source.schema, query, asked.hidden),
        timestamp=timestamp(),
        has_z=has_z,
    )


# --- pieces --------------------------------------------------------------------------------------------------------------


def batches_of(
    asked: FeatureRequest,
    query: ItemQuery,
    form: ItemFormat,
    deadline: float,
    clock: Clock = time.monotonic,
) -> Iterator[Batch]:
    """Everything the query selects, slice by slice; a slice may be empty and yet not be the last.

    Raises DownloadEndedError after the deadline.
    """
    source, hidden, key = asked.source, asked.hidden, asked.budget_key
    while True:
        if clock() > deadline:
            raise DownloadEndedError(
                "this download takes longer than it may; ask for less (bbox, filter), or for pages of items"
            )
        if form.batches == "bodies":
            page = page_within(source, query, hidden, key=key, budget=_SLICE_BUDGET)
            cursor = page.cursor
            if page.bodies:
                yield page.bodies
        else:
            columns = columns_within(source, query, hidden, key=key, budget=_SLICE_BUDGET)
            cursor = columns.cursor
            yield from (part for part in columns.slices if len(part))
        if cursor is None:
            return
        query = replace(query, cursor=cursor, offset=0)


def _copied(store: FeatureStore) -> Generator[bytes]:
    with scratch_folder() as folder:
        copy = folder / "copy.gpkg"
        store.copy_to(copy)
        yield from sent(copy)


def _gathered(chunks: Iterator[bytes]) -> Generator[bytes]:
    """The same bytes in pieces worth sending, none of them empty."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _GATHER:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if size:
        yield b"".join(waiting)


def _gzipped(chunks: Generator[bytes]) -> Generator[bytes]:
    """The same, compressed by gzip at level 1."""
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP_WINDOW)
    with closing(chunks):
        for chunk in chunks:
            packed = compressor.compress(chunk)
            if packed:
                yield bytes(packed)
    yield bytes(compressor.flush())


# --- sending -------------------------------------------------------------------------------------------------------------


def start_sending(
    files: FileSender, chunks: Generator[bytes], patience: Patience = _PATIENCE
) -> Iterable[bytes]:
    """Take a place and make the first piece, so that what can be refused is refused before anything is sent.

    Raises Overloaded where no place is free, and what the first piece raises.
    """
    sending = _Sending(files.stream(chunks), chunks, patience)
    try:
        sending.begin()
    except BaseException:
        sending.close()
        raise
    return sending


class _Sending:
    """The body of a download. Closing it ends the work; a watch closes it when the client is not heard of any more."""

    def __init__(self, held: Iterable[bytes], chunks: Generator[bytes], patience: Patience) -> None:
        self._held: Any = held
        self._pieces = iter(held)
        self._chunks = chunks
        self._patience = patience
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._complete = False
        self._first: bytes | None = None
        self._started = self._asked = time.monotonic()

    def begin(self) -> None:
        """Make the first piece and start the watch."""
        self._first = next(self._pieces, None)
        self._complete = self._first is None
        self._asked = time.monotonic()
        threading.Thread(target=self._watch, name="download-watch", daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._lock:
            if self._first is not None:
                piece, self._first = self._first, None
            elif self._complete:
                raise StopIteration
            elif self._ended.is_set():
                raise DownloadEndedError("a download was given up: its client was too slow")
            else:
                piece = self._next()
            self._asked = time.monotonic()
            return piece

    def _next(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            self._complete = True
            self._end()
            raise
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End the work and give the place back; the WSGI server calls it, also when the client has gone."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._ended.set()
        self._first = None
        self._chunks.close()
        self._held.close()

    def _watch(self) -> None:
        pause = min(self._patience.piece / 4, 5.0)
        while not self._ended.wait(pause):
            if not self._lock.acquire(blocking=False):
                continue  # a piece is being made: that has its own deadline
            try:
                now = time.monotonic()
                waited, lasted = now - self._asked, now - self._started
                if waited > self._patience.piece or lasted > self._patience.overall:
                    self._end()
            finally:
                self._lock.release()
