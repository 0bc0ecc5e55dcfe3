"""What a Flask view needs to know of its request, worked out once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, current_app, g, request

from server.http.answer import Answer, Environ, Header, send
from server.http.errors import NotFound
from server.http.negotiation import MEDIA_TYPES, choose_format
from server.http.parameters import only, query_parameters
from server.http.scope import CITY, IDENTIFIER, Scope
from server.identity.decision import Action, Decision, Principal, decide
from server.pages import PageRequest, choose_language, language_cookie
from server.pages.language import Language
from server.registry.catalogue import Catalogue, Collection, RepresentationKind, Tenant

if TYPE_CHECKING:
    from server.http.ogc.pygeoapi_adapter import PygeoapiAdapter
    from server.http.services import Services

LANGUAGE_COOKIE = "chengtu_language"


@dataclass(frozen=True)
class RequestContext:
    """One request: its view, the catalogue it sees, who asks, and how it wants to be answered."""

    services: Services
    adapter: PygeoapiAdapter
    scope: Scope
    catalogue: Catalogue
    who: Principal
    environ: Environ

    @cached_property
    def origin(self) -> str:
        """`scheme://host[:port]`."""
        return self.services.origin(self.environ)

    @property
    def root(self) -> str:
        """URL of the view's OGC API, no slash at its end."""
        return f"{self.origin}{self.scope.prefix}/ogc"

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """The query. Raises InvalidParameter."""
        return query_parameters(self.environ)

    @property
    def language(self) -> Language:
        """The language of titles and pages."""
        return choose_language(
            request.headers.get("Accept-Language"),
            request.args.get("lang"),
            request.cookies.get(LANGUAGE_COOKIE),
        )

    @property
    def tenant(self) -> Tenant | None:
        """The tenant of the view, None for the city."""
        return None if self.scope.tenant is None else self.catalogue.tenants[self.scope.tenant]

    def only(self, *allowed: str) -> dict[str, str]:
        """The query as a mapping; `f` and `lang` are always allowed. Raises InvalidParameter."""
        return only(self.parameters, ("f", "lang", *allowed))

    def format(self, *offered: str) -> str:
        """The format to answer in. Raises NotAcceptable."""
        return choose_format(request.args.get("f"), request.headers.get("Accept", ""), offered)

    def collection(self, public_id: str, action: Action = Action.READ) -> tuple[Collection, Decision]:
        """The collection, allowed. Raises NotFound."""
        return self.services.allowed(self.catalogue, self.scope, public_id, self.who, action)

    def having(self, public_id: str, kind: RepresentationKind) -> tuple[Collection, Decision]:
        """The collection, allowed, with a representation of this kind. Raises NotFound."""
        collection, decision = self.collection(public_id)
        if kind not in collection.representations:
            found = ", ".join(collection.representations)
            raise NotFound(f"collection {public_id!r} has no {kind}; it has: {found}")
        return collection, decision

    def siblings(self, collection: Collection) -> list[Collection]:
        """The collections of the same tenant that this client may see."""
        visible = self.services.visible(self.catalogue, Scope(collection.tenant), self.who)
        return [other for other in visible if other is not collection]

    def url_of(self, public_id: str) -> str:
        """URL of a collection of this view."""
        return f"{self.root}/collections/{public_id}"

    def page_request(self) -> PageRequest:
        """The request as pages see it."""
        return PageRequest(
            language=self.language, path=request.path, query=request.args.to_dict(), origin=self.origin
        )


def make_context(tenant: str | None) -> RequestContext:
    """The context of the present Flask request. Raises NotFound where there is no such tenant, IdentityError."""
    services: Services = current_app.extensions["chengtu"]
    adapter: PygeoapiAdapter = current_app.extensions["chengtu-pygeoapi"]
    catalogue = services.catalogue.current()
    if tenant is not None and (IDENTIFIER.fullmatch(tenant) is None or tenant not in catalogue.tenants):
        raise NotFound(f"there is no tenant {tenant!r}")
    scope = CITY if tenant is None else Scope(tenant)
    who = services.principal(request.environ)
    if not decide(who, Action.READ, None).allowed:
        raise NotFound("there is nothing here for this client")
    return RequestContext(services, adapter, scope, catalogue, who, request.environ)


def context() -> RequestContext:
    """The context that the URL preprocessor made."""
    made: RequestContext = g.chengtu
    return made


def as_shown(collection: Collection, decision: Decision) -> Collection:
    """The collection for a page: without the fields that may not even be named."""
    if not decision.hidden_fields:
        return collection
    shown = tuple(field for field in collection.fields if field.name not in decision.hidden_fields)
    return replace(collection, fields=shown)


def json_answer(
    document: Any,
    media_type: str = MEDIA_TYPES["json"],
    *,
    status: int = 200,
    etag: str | None = None,
    headers: list[Header] | None = None,
    private: bool = False,
) -> Answer:
    """A document as JSON."""
    return Answer(
        orjson.dumps(document), media_type, status=status, etag=etag, headers=headers or [], private=private
    )


def html_answer(page: str, *, scene: bool = False, status: int = 200) -> Answer:
    """A page, with the headers pages need and the language cookie where the switch was used."""
    headers: list[Header] = []
    media_type = MEDIA_TYPES["html"]
    for name, value in context().services.pages.headers(scene=scene).items():
        if name == "Content-Type":
            media_type = value
        elif name == "Cache-Control" and context().who.operator:
            headers.append((name, "no-store"))
        elif name != "X-Content-Type-Options":
            headers.append((name, value))
    cookie = language_cookie(request.args.get("lang"))
    if cookie is not None:
        headers.append(("Set-Cookie", cookie))
    return Answer(page.encode(), media_type, status=status, headers=headers)


def respond(answer: Answer) -> Response:
    """An Answer through Flask, by the same `send` as the hot lane."""
    captured: list[Any] = []
    body = b"".join(send(answer, request.environ, lambda status, headers: captured.extend((status, headers))))
    response = Response(body, status=captured[0])
    response.headers.clear()
    for name, value in captured[1]:
        response.headers.add(name, value)
    return response
