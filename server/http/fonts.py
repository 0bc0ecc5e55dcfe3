"""Glyphs of the fonts of this machine, for MapLibre: /fonts/{fontstack}/{start}-{end}.pbf."""

from __future__ import annotations

import re

from flask import Flask, Response

from server.http.answer import Answer
from server.http.context import context, respond
from server.http.errors import InvalidParameter, NotFound
from tiles.cache import Places

_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})\.pbf")
_LONGEST_STACK = 200
_MAKING = Places(1, 12, 20.0, "letters")
"""A page with Chinese labels asks for a dozen ranges at once, each made once on this machine: they wait, but not on every thread."""


def register(app: Flask) -> None:
    """Add the route."""
    app.add_url_rule("/fonts/<stack>/<name>", "fonts", glyphs)


def glyphs(stack: str, name: str) -> Response:
    """256 letters. Every stack gets the fonts of our maps: what it names is not installed for certain."""
    from tiles.maps.glyphs import LAST, RANGE, kept_glyph_range, kept_glyphs

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
    folder = here.services.settings.home / "cache" / "glyphs"
    body = kept_glyphs(start, folder)
    if body is None:
        with _MAKING.taken():
            body = kept_glyph_range(start, "Chengtu Sans", folder)
    return respond(
        Answer(body, "application/x-protobuf", etag=f'"{len(body):x}-{start}"', cache_control="max-age=86400")
    )
