"""The 3D tileset of a whole view: one root, below it the tilesets of all collections that the client may see."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import orjson
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import RequestContext, context, respond
from server.http.errors import InvalidParameter
from server.http.three_d_bytes import media_type_of
from server.http.three_d_city import Entry, city_tileset, root_of
from server.http.tiles import cache_control
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

MOST_COLLECTIONS = 1000
"""The most that `collections` may name."""
_NAME = "tileset.json"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule("/ogc/3dtiles", "city_three_d_bare", bare)
    blueprint.add_url_rule(f"/ogc/3dtiles/{_NAME}", "city_three_d", dataset_tileset)


def dataset_tileset() -> Response:
    """The tileset of the view."""
    return _answer(context(), "../collections")


def bare() -> Response:
    """The same at the address that has no file name."""
    return _answer(context(), "collections")


def _answer(here: RequestContext, collections: str) -> Response:
    given = here.only("collections")
    chosen = _chosen(here, given.get("collections"))
    entries = [
        Entry(root_of(collection), f"{collections}/{quote(here.scope.public_id(collection))}/3dtiles/{_NAME}")
        for collection, _ in chosen
    ]
    body = orjson.dumps(city_tileset(entries))
    private = any(decision.key != "public" for _, decision in chosen)
    answer = Answer(
        body,
        media_type_of(_NAME, here.environ.get("HTTP_ACCEPT", "")),
        etag=f'W/"{hashlib.blake2s(body, digest_size=12).hexdigest()}"',
        cache_control="no-cache" if private else cache_control(here.services.settings),
        vary="Accept, Accept-Encoding, Authorization",
        private=private,
    )
    return respond(answer)


def _chosen(here: RequestContext, text: str | None) -> list[tuple[Collection, Decision]]:
    """The collections with a 3D tileset that were named, or all that the client may see.

    Raises NotFound for a name that is not the client's to see, InvalidParameter for one without a tileset.
    """
    if text is None:
        found = here.services.visible(here.catalogue, here.scope, here.who)
        return [
            here.collection(here.scope.public_id(one))
            for one in found
            if RepresentationKind.TILESET_3D in one.representations
        ]
    names = tuple(dict.fromkeys(text.split(",")))
    allowed = f"1 to {MOST_COLLECTIONS} ids of collections with a 3D tileset, divided by commas"
    if not all(names) or len(names) > MOST_COLLECTIONS:
        raise InvalidParameter(
            f"collections={text[:200]!r}; allowed: {allowed}", "collections", text[:200], allowed
        )
    chosen = [here.collection(name) for name in names]
    for name, (collection, _) in zip(names, chosen, strict=True):
        if RepresentationKind.TILESET_3D not in collection.representations:
            raise InvalidParameter(
                f"collection {name!r} has no 3D tileset; it has: {', '.join(collection.representations)}",
                "collections",
                name,
                allowed,
            )
    return chosen
