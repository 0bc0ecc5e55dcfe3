"""The portal's pages and the files they load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flask import Flask, Response, request

from server.http.context import RequestContext, as_shown, context, html_answer, respond
from server.http.errors import NotFound
from server.http.services import Services
from server.pages import Asset, SceneServices, has_scene
from server.registry.catalogue import Collection, Tenant


def register(app: Flask, services: Services) -> None:
    """Add the routes."""

    def send_asset(asset: Asset | None, path: str) -> Response:
        if asset is None:
            raise NotFound(f"there is no file {path[:200]!r}")
        started: list[Any] = []
        body: Iterable[bytes] = services.files.send(
            asset.file,
            request.environ,
            lambda status, headers: started.extend((status, headers)),
            etag=asset.etag,
            media_type=asset.media_type,
            cache_control=asset.cache_control.removeprefix("public, "),
            compressible=asset.compressible,
        )
        response = Response(body, status=started[0], direct_passthrough=True)
        response.headers.clear()
        for name, value in started[1]:
            response.headers.add(name, value)
        return response

    def static(path: str) -> Response:
        return send_asset(services.pages.static(path), path)

    def vendor(path: str) -> Response:
        return send_asset(services.pages.vendor(path), path)

    def favicon() -> Response:
        return send_asset(services.pages.static("favicon.svg"), "favicon.ico")

    app.add_url_rule("/static/<path:path>", "static", static)
    app.add_url_rule("/vendor/<path:path>", "vendor", vendor)
    app.add_url_rule("/favicon.ico", "favicon", favicon)
    app.add_url_rule("/", "portal", portal)
    app.add_url_rule("/t/<tenant>", "tenant_portal_bare", portal)
    app.add_url_rule("/t/<tenant>/", "tenant_portal", portal)
    app.add_url_rule("/t/<tenant>/scene", "scene", scene)
    app.add_url_rule("/t/<tenant>/extrusion", "extrusion", extrusion)


def portal() -> Response:
    """The portal of the city or of a tenant."""
    here = context()
    visible = here.services.visible(here.catalogue, here.scope, here.who)
    return respond(
        html_answer(here.services.pages.portal(here.page_request(), here.catalogue, visible, here.tenant))
    )


def scene() -> Response:
    """The 3D scene of a tenant."""
    here, tenant, visible = _shown_in_three_dimensions()
    services = SceneServices(profile=f"{here.root}/profile")
    page = here.services.pages.scene(here.page_request(), tenant, visible, services)
    return respond(html_answer(page, scene=True))


def extrusion() -> Response:
    """The view of a tenant's city for light devices."""
    here, tenant, visible = _shown_in_three_dimensions()
    visible = [as_shown(*here.collection(here.scope.public_id(one))) for one in visible]
    return respond(html_answer(here.services.pages.extrusion(here.page_request(), tenant, visible)))


def _shown_in_three_dimensions() -> tuple[RequestContext, Tenant, Sequence[Collection]]:
    """Who asks, of which tenant, and what of it he may see. Raises NotFound where nothing of it has a height."""
    here = context()
    visible = here.services.visible(here.catalogue, here.scope, here.who)
    tenant = here.tenant
    if tenant is None or not has_scene(visible):
        raise NotFound("this tenant has nothing that a 3D scene could show")
    return here, tenant, visible
