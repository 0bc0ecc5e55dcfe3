"""Styles are made, replaced and removed by operators, and made the default of a collection (20-009, Manage styles)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, request

from server.errors import InvalidIdentifier
from server.http import errors as http_errors
from server.http.answer import Answer, Header
from server.http.context import RequestContext, context, respond
from server.http.errors import (
    Forbidden,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    UnsupportedMediaType,
)
from server.identity.decision import Action, decide
from server.registry.catalogue import StyleRecord
from server.registry.identifiers import IDENTIFIER
from server.registry.style_choice import installed_styles, resolve_style
from server.registry.styles import (
    DuplicateStyle,
    StyleDraft,
    StyleVersionConflict,
    UnknownStyleRecord,
    check_style_id,
    put_style,
    remove_style,
    set_default_style,
    style_engine,
)
from tiles.errors import StyleError, UnknownStyle

for _error, _status in (
    (DuplicateStyle, 409),
    (UnknownStyleRecord, 404),
    (StyleVersionConflict, 412),
):
    http_errors.register_status(_error, _status)

_TYPES = {
    "application/vnd.mapbox.style+json": "maplibre",
    "application/json": "maplibre",
    "application/vnd.ogc.se+xml": "sld-1.1",
    "application/vnd.chengtu.style+yaml": "chengtu",
    "application/yaml": "chengtu",
}
_SLD = "application/vnd.ogc.sld+xml"
ACCEPTED_TYPES = (*_TYPES, _SLD)
"""Media types of a style that is sent."""
MERGE_PATCH = "application/merge-patch+json"
_ACCEPTED = ", ".join(ACCEPTED_TYPES)
_VERSION = re.compile(r'(?:W/)?"v(\d{1,9})-[0-9a-f]+[^"]*"')


def register(blueprint: Blueprint) -> None:
    """Add the routes that write."""
    collection = "/ogc/collections/<public_id>/styles"
    blueprint.add_url_rule("/ogc/styles", "style_create", create, methods=["POST"])
    blueprint.add_url_rule("/ogc/styles/<style_id>", "style_put", put, methods=["PUT"])
    blueprint.add_url_rule("/ogc/styles/<style_id>", "style_delete", delete, methods=["DELETE"])
    blueprint.add_url_rule(collection, "style_default", set_default, methods=["PATCH"])


def _operator(here: RequestContext, *allowed: str) -> dict[str, str]:
    """The query, once it is sure that this client may write."""
    if not decide(here.who, Action.OPERATE, None).allowed:
        raise Forbidden(
            "styles are changed by operators; send the operator's token as `Authorization: Bearer TOKEN`"
        )
    return here.only(*allowed)


def _format() -> str:
    media_type = request.mimetype
    if media_type == _SLD or media_type in ("application/xml", "text/xml"):
        if media_type == _SLD and "1.1" in str(request.mimetype_params.get("version", "")):
            return "sld-1.1"
        return "sld-1.0"
    if media_type not in _TYPES:
        raise UnsupportedMediaType(
            f"Content-Type is {(request.content_type or 'not given')[:100]!r}; allowed: {_ACCEPTED}",
            [("Accept-Post", _ACCEPTED)],
        )
    return _TYPES[media_type]


def _draft(
    here: RequestContext, given: dict[str, str], tenant: str, style_id: str | None
) -> tuple[StyleDraft, tuple[str, ...]]:
    """The style of the body, checked. Raises InvalidParameter, with `Prefer: handling=strict` for every note too."""
    from tiles.maps.style_documents import read_document

    format_ = _format()
    body = here.services.bodies.read(request.stream, request.content_length)
    try:
        document = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter("the style is not UTF-8", "body", "", "UTF-8") from error
    if "sld" in format_ and re.search(
        r'version\s*=\s*["\']1\.1', document[:2000].partition("?>")[2] or document[:2000]
    ):
        format_ = "sld-1.1"
    try:
        style, notes = read_document(document, format_)
    except StyleError as error:
        raise InvalidParameter(
            f"the style is not valid: {error}", "body", "", "a style that can be drawn"
        ) from error
    strict = "handling=strict" in request.headers.get("Prefer", "").replace(" ", "").lower()
    if strict and notes:
        listed = "; ".join(notes[:20])
        raise InvalidParameter(
            f"not all of the style is understood: {listed}", "body", "", "Prefer: handling=lenient"
        )
    titles = dict(style.title)
    id_ = style_id or given.get("id") or _id_of(titles.get("en", ""), document)
    try:
        check_style_id(id_)
    except InvalidIdentifier as error:
        raise InvalidParameter(str(error), "id", id_[:80], "an id of style") from error
    collections = tuple(part for part in given.get("collections", "").split(",") if part)
    for one in collections:
        if here.catalogue.find(tenant, one) is None:
            raise InvalidParameter(
                f"collections={one[:80]!r}: tenant {tenant!r} has no such collection", "collections", one
            )
    titles = {
        language: given[key] for language, key in (("en", "title"), ("zh", "title_zh")) if key in given
    } or titles
    return StyleDraft(
        tenant, id_, format_, document, titles=titles or {"en": id_}, collections=collections
    ), notes


def _id_of(title: str, document: str) -> str:
    made = re.sub(r"[^a-z0-9_-]+", "-", title.lower()).strip("-_")[:40]
    if IDENTIFIER.fullmatch(made):
        return made
    import hashlib

    return "style-" + hashlib.blake2s(document.encode(), digest_size=5).hexdigest()


_PARAMETERS = ("id", "title", "title_zh", "collections", "dry-run", "tenant")


def _is_dry(given: dict[str, str]) -> bool:
    text = given.get("dry-run", "false").lower()
    if text not in ("true", "false", ""):
        raise InvalidParameter(f"dry-run={text[:20]!r}; allowed: true, false", "dry-run", text, "true, false")
    return text != "false"


def _headers(notes: tuple[str, ...]) -> list[Header]:
    from server.http.ogc.styles import _header_text

    return [("X-Style-Note", _header_text(note)) for note in notes[:20]]


def create() -> Response:
    """POST: a new style. 201 with its address; 204 for dry-run=true."""
    here = context()
    given = _operator(here, *_PARAMETERS)
    tenant = here.scope.tenant or given.get("tenant", "")
    if tenant not in here.catalogue.tenants:
        raise InvalidParameter(
            "styles belong to tenants: post to /t/TENANT/ogc/styles, or name one by tenant=", "tenant", tenant
        )
    draft, notes = _draft(here, given, tenant, None)
    if draft.id in installed_styles(here.services.settings.styles_directory):
        raise DuplicateStyle(f"{draft.id!r} is a style of the installation; choose another id")
    if _is_dry(given):
        if (tenant, draft.id) in here.catalogue.styles:
            raise DuplicateStyle(f"tenant {tenant!r} has a style {draft.id!r}")
        return respond(Answer(b"", "application/json", status=204, headers=_headers(notes)))
    with style_engine(here.services.settings) as engine:
        put_style(engine, draft, create=True)
    id_ = draft.id if here.scope.tenant else f"{tenant}.{draft.id}"
    headers = [("Location", f"{here.root}/styles/{id_}"), *_headers(notes)]
    return respond(Answer(b"", "application/json", status=201, headers=headers))


def _target(here: RequestContext, style_id: str) -> tuple[str, str, StyleRecord | None]:
    """Tenant, id and record of a style that is to be changed. Raises NotFound, MethodNotAllowed."""
    tenant, dot, name = (here.scope.tenant, ".", style_id) if here.scope.tenant else style_id.partition(".")
    installed = installed_styles(here.services.settings.styles_directory)
    if (name if dot else style_id) in installed and (str(tenant), name) not in here.catalogue.styles:
        raise MethodNotAllowed(
            f"style {style_id!r} belongs to the installation and is read-only",
            [("Allow", "GET, HEAD, OPTIONS")],
        )
    if not dot or tenant not in here.catalogue.tenants:
        raise NotFound(f"there is no style {style_id[:80]!r} here")
    return str(tenant), name, here.catalogue.styles.get((str(tenant), name))


def _expected(record: StyleRecord) -> int | None:
    """The version that If-Match asks for. Raises PreconditionRequired, PreconditionFailed."""
    header = request.headers.get("If-Match")
    if header is None:
        raise PreconditionRequired("a style is changed with If-Match: the ETag of what you have read, or *")
    if header.strip() == "*":
        return None
    versions = {int(one) for one in _VERSION.findall(header)}
    if record.version not in versions:
        raise PreconditionFailed(
            f"style {record.id!r} is at version {record.version}; read it again, then change it"
        )
    return record.version


def put(style_id: str) -> Response:
    """PUT: replace a style, or make one of this id where there is none. 204, or 201 where it is new."""
    here = context()
    given = _operator(here, *(name for name in _PARAMETERS if name not in ("id", "tenant")))
    tenant, name, record = _target(here, style_id)
    expected = None if record is None else _expected(record)
    if record is None and request.headers.get("If-Match") is not None:
        raise PreconditionFailed(f"there is no style {style_id[:80]!r} that If-Match could mean")
    if record is not None and request.headers.get("If-None-Match", "").strip() == "*":
        raise PreconditionFailed(f"there is a style {style_id!r} already")
    draft, notes = _draft(here, given, tenant, name)
    if record is not None:
        draft = replace(
            draft,
            titles=draft.titles if "title" in given or "title_zh" in given else record.titles,
            descriptions=record.descriptions,
            keywords=record.keywords,
            collections=draft.collections if "collections" in given else record.collections,
        )
    if _is_dry(given):
        return respond(Answer(b"", "application/json", status=204, headers=_headers(notes)))
    with style_engine(here.services.settings) as engine:
        _, is_new = put_style(engine, draft, create=record is None, expected_version=expected)
    headers = [*([("Location", f"{here.root}/styles/{style_id}")] if is_new else []), *_headers(notes)]
    return respond(Answer(b"", "application/json", status=201 if is_new else 204, headers=headers))


def delete(style_id: str) -> Response:
    """DELETE: remove a style. Collections it was the default of are drawn as they were published."""
    here = context()
    _operator(here)
    tenant, name, record = _target(here, style_id)
    if record is None:
        raise NotFound(f"there is no style {style_id[:80]!r} here")
    expected = _expected(record) if "If-Match" in request.headers else None
    with style_engine(here.services.settings) as engine:
        remove_style(engine, tenant, name, expected_version=expected)
    return respond(Answer(b"", "application/json", status=204))


def set_default(public_id: str) -> Response:
    """PATCH of a collection's styles: {"default": "id"} or null (20-009, Update the default style)."""
    here = context()
    _operator(here)
    collection, _ = here.collection(public_id, Action.WRITE)
    if request.mimetype not in (MERGE_PATCH, "application/json"):
        raise UnsupportedMediaType(f"Content-Type must be {MERGE_PATCH}", [("Accept-Patch", MERGE_PATCH)])
    wanted = _wanted(here.services.bodies.read(request.stream, request.content_length))
    if wanted is not None:
        try:
            resolve_style(here.catalogue, collection, wanted, here.services.settings.styles_directory)
        except UnknownStyle as error:
            raise InvalidParameter(
                str(error), "default", wanted[:80], "the id of a style of the collection"
            ) from error
    with style_engine(here.services.settings) as engine:
        set_default_style(engine, collection.tenant, collection.id, None if wanted == "default" else wanted)
    return respond(Answer(b"", "application/json", status=204))


def _wanted(body: bytes) -> str | None:
    try:
        content: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(
            f"the body is not JSON: {error}", "body", "", '{"default": "STYLE"}'
        ) from error
    if (
        not isinstance(content, dict)
        or set(content) != {"default"}
        or not isinstance(content["default"], str | None)
    ):
        raise InvalidParameter(
            'the body must be {"default": "STYLE"} or {"default": null}', "body", "", "that"
        )
    found: str | None = content["default"]
    return found
