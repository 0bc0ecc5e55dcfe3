"""Features as GeoJSON: one collection (RFC 7946), a text sequence (RFC 8142), or one feature a line.

The features come encoded, so nothing is decoded on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from providers.formatters.registry import Batch, WritingContext, bodies_of

_RECORD_SEPARATOR = b"\x1e"


def write_geojson(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A FeatureCollection, or the feature alone where one item is asked for."""
    if context.item:
        yield b"".join(body for batch in batches for body in bodies_of(batch))
        return
    yield b'{"type":"FeatureCollection","features":['
    between = b""
    for batch in batches:
        bodies = bodies_of(batch)
        if bodies:
            yield between + b",".join(bodies)
            between = b","
    members: dict[str, object] = {}
    if context.timestamp:
        members["timeStamp"] = context.timestamp
    if context.links:
        members["links"] = [dict(link) for link in context.links]
    yield b"]" + (b"," + orjson.dumps(members)[1:] if members else b"}")


def write_geojsonseq(_: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """RFC 8142: each feature between a record separator (0x1E) and a line feed."""
    for batch in batches:
        bodies = bodies_of(batch)
        if bodies:
            yield _RECORD_SEPARATOR + (b"\n" + _RECORD_SEPARATOR).join(bodies) + b"\n"


def write_geojsonl(_: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A feature a line; the encoder writes line feeds inside texts as escapes, so no feature holds one."""
    for batch in batches:
        bodies = bodies_of(batch)
        if bodies:
            yield b"\n".join(bodies) + b"\n"
