"""Icons on one picture, for MapLibre: /sprites/city.json, .png, @2x.json, @2x.png."""

from __future__ import annotations

import hashlib
import re

import orjson
from flask import Flask, Response

from server.http.answer import Answer
from server.http.context import context, respond
from server.http.errors import NotFound
from server.http.negotiation import MEDIA_TYPES

SPRITE = "city"
_NAME = re.compile(rf"{SPRITE}(@2x)?\.(json|png)")


def register(app: Flask) -> None:
    """Add the route."""
    app.add_url_rule("/sprites/<name>", "sprites", sprites)


def sprites(name: str) -> Response:
    """The index or the picture of the sprite."""
    from tiles.maps.sprites import sprite
    from tiles.maps.styles import ICONS

    here = context()
    here.only()
    match = _NAME.fullmatch(name)
    if match is None:
        raise NotFound(
            f"there is no sprite {name[:60]!r}; there are {SPRITE}.json, {SPRITE}.png and those with @2x"
        )
    made = sprite(here.services.settings.styles_directory / ICONS, 2 if match[1] else 1)
    body = orjson.dumps(made.places) if match[2] == "json" else made.image
    etag = f'"{hashlib.blake2s(body, digest_size=8).hexdigest()}"'
    is_json = match[2] == "json"
    return respond(
        Answer(
            body,
            MEDIA_TYPES["json" if is_json else "png"],
            etag=etag,
            cache_control="max-age=3600",
            compressible=is_json,
        )
    )
