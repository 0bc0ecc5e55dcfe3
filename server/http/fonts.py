"""Glyphs of the fonts of this machine, for MapLibre: /fonts/{fontstack}/{start}-{end}.pbf."""

from __future__ import annotations

import re

from flask import Flask, Response

from server.http.answer import Answer
from server.http.context import context, respond
from server.http.errors import InvalidParameter, NotFound

_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})\.pbf")
_LONGEST_STACK = 200


def register(app: Flask) -> None:
    """Add the route."""
    app.add_url_rule("/fonts/<stack>/<name>", "fonts", glyphs)


def glyphs(stack: str, name: str) -> Response:
    """256 letters. Every stack gets the fonts of our maps: what it names is not installed for certain."""
    from tiles.maps.glyphs import LAST, RANGE, glyph_range

    here = context()
    here.only()
    match = _RANGE.fullmatch(name)
    if match is None:
        raise NotFound(f"there are no glyphs {name[:40]!r}; allowed: START-END.pbf")
    start, end = int(match[1]), int(match[2])
    if start % RANGE or end != start + RANGE - 1 or end > LAST:
        raise InvalidParameter(
            f"glyphs {start}-{end}; allowed: {RANGE} letters from a multiple of {RANGE}, up to {LAST}",
            "range",
            name,
        )
    if len(stack) > _LONGEST_STACK or not stack.isprintable():
        raise InvalidParameter(
            f"the font stack has at most {_LONGEST_STACK} printable letters", "fontstack", stack
        )
    with here.services.heavy.taken():
        body = glyph_range(start, "Chengtu Sans")
    return respond(
        Answer(body, "application/x-protobuf", etag=f'"{len(body):x}-{start}"', cache_control="max-age=86400")
    )
