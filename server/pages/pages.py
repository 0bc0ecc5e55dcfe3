"""`Pages`: every HTML page of the server, from catalogue objects and JSON documents to text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from server.pages import point_views, views
from server.pages import styles as style_views
from server.pages.assets import Asset
from server.pages.documents import (
    DOCUMENT_KINDS,
    entries_of,
    fields_of,
    page_links_of,
    parameter_name,
    title_of,
)
from server.pages.extrusion import extrusion_settings
from server.pages.frame import Frame, PageRequest, PageSettings, address_with
from server.pages.links import Links
from server.pages.map_views import StyleChoice, examples_of, map_choices
from server.pages.policy import page_headers
from server.pages.scene import NO_SERVICES, SceneServices, has_scene, scene_settings
from server.registry.catalogue import Catalogue, Collection, RepresentationKind, Tenant

_CARDS_A_PAGE = 24
_TABLE_COLUMNS = 12
_METHODS = ("get", "post", "put", "patch", "delete")


class Pages:
    """Renders pages. Built once a process; holds no state of a request, so threads share it."""

    def __init__(self, settings: PageSettings) -> None:
        self._frame = Frame(settings)
        self._messages = self._frame.messages

    # -- assets and headers

    def static(self, path: str) -> Asset | None:
        """The asset at `/static/{path}`, None where there is none."""
        return self._frame.static.find(path)

    def vendor(self, path: str) -> Asset | None:
        """The asset at `/vendor/{path}`, None where there is none or it is not for browsers."""
        return self._frame.vendor.find(path)

    def missing_vendor_files(self) -> tuple[str, ...]:
        """The browser libraries that pages need and the vendor folder lacks."""
        return self._frame.vendor.missing()

    def headers(self, *, scene: bool = False) -> dict[str, str]:
        """The headers of a page; `scene` for the 3D scene."""
        return dict(page_headers(self._frame.import_map, scene=scene))

    # -- pages

    @staticmethod
    def has_scene(collections: Iterable[Collection]) -> bool:
        """Whether `scene` would have anything to show of these."""
        return has_scene(collections)

    def portal(
        self,
        request: PageRequest,
        catalogue: Catalogue,
        collections: Sequence[Collection],
        tenant: Tenant | None = None,
    ) -> str:
        """The portal: search, cards of the `collections` visible here, and a map of where they are.

        Reads `q` (words), `kind` (a representation kind) and `page` (from 1) of the request's query.
        """
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        q = request.query.get("q", "").strip()[:200]
        kind = request.query.get("kind", "")
        kind = kind if kind in set(RepresentationKind) else ""
        found = views.search(collections, q, kind)
        last = max(1, -(-len(found) // _CARDS_A_PAGE))
        page = min(_positive(request.query.get("page", "1")), last)
        shown = found[(page - 1) * _CARDS_A_PAGE : page * _CARDS_A_PAGE]
        tenants = sorted({c.tenant for c in collections})
        steps = {"previous": page - 1 if page > 1 else None, "next": page + 1 if page < last else None}
        return self._frame.render(
            "portal.html",
            request,
            tenant,
            credits=views.credits_of(collections if len(collections) <= _CARDS_A_PAGE else shown),
            q=q,
            kind=kind,
            kinds=sorted(
                {(badge, label) for c in collections for badge, label in views.badges_of(c, messages)}
            ),
            matched=len(found),
            total=len(collections),
            page=page,
            last_page=last,
            page_links={name: address_with(request, page=str(n)) if n else None for name, n in steps.items()},
            cards=[views.card_of(c, catalogue.tenants.get(c.tenant), links, messages) for c in shown],
            tenants=[
                {
                    "id": name,
                    "title": views.tenant_title(catalogue.tenants.get(name), name, request.language),
                    "href": Links(links.base_path, name).portal,
                    "count": sum(c.tenant == name for c in collections),
                    "scene": links.scene(name)
                    if has_scene(c for c in collections if c.tenant == name)
                    else None,
                }
                for name in tenants
            ],
            map_settings={
                "collections": [
                    {
                        "id": links.id_of(c),
                        "title": c.title(request.language),
                        "tenant": views.tenant_title(
                            catalogue.tenants.get(c.tenant), c.tenant, request.language
                        ),
                        "bounds": views.flat_bbox(c),
                        "simulated": c.simulated,
                        "href": links.collection(c, f="html"),
                    }
                    for c in islice(found, 500)
                ],
                "backdrop": [
                    layer
                    for name in islice(tenants, 20)
                    for layer in views.backdrop((c for c in collections if c.tenant == name), links, messages)
                ],
            },
        )

    def collection(
        self,
        request: PageRequest,
        collection: Collection,
        tenant: Tenant | None = None,
        siblings: Sequence[Collection] = (),
        owner: Tenant | None = None,
        *,
        styles: Sequence[StyleChoice] = (),
        instants: Sequence[str] = (),
    ) -> str:
        """The page of a collection; `siblings` (visible ones of its tenant) lend the map its backdrop.

        `owner` is the collection's tenant where the view is the city's, for its title; `styles` (its default first) and
        `instants` (RFC 3339, rising) are what its map can be shown in.
        """
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        preview = views.preview_of(collection, siblings, links, messages)
        preview["choices"] = map_choices(collection, styles, instants, links, messages)
        preview["points"] = point_views.point_settings(collection, links, request.language)
        backdrop = {layer["id"] for layer in preview["backdrop"]}
        shown = [collection, *(s for s in siblings if links.id_of(s) in backdrop)]
        tileset = RepresentationKind.TILESET_3D in collection.representations
        terrain = RepresentationKind.TERRAIN in collection.representations
        return self._frame.render(
            "collection.html",
            request,
            tenant,
            credits=views.credits_of(shown),
            collection=views.card_of(collection, owner or tenant, links, messages),
            facts=(*views.facts_of(collection, messages), *point_views.point_facts(collection, messages)),
            fields=collection.fields,
            services=(
                *views.services_of(collection, links, request.origin, messages),
                *point_views.point_services(collection, links, request.origin, messages),
            ),
            downloads=(
                *views.downloads_of(collection, links, messages),
                *point_views.point_downloads(collection, links, messages),
            ),
            point_formats=point_views.FORMATS,
            point_warnings=point_views.point_warnings(collection),
            preview=preview,
            examples=examples_of(collection, links, request.origin),
            address=links.collection(collection),
            has_map=RepresentationKind.MAP in collection.representations,
            has_items=RepresentationKind.FEATURES in collection.representations,
            scene_href=links.scene(collection.tenant) if tileset or terrain else None,
        )

    def collections(
        self,
        request: PageRequest,
        document: Mapping[str, Any],
        collections: Sequence[Collection],
        tenant: Tenant | None = None,
        tenants: Mapping[str, Tenant] = MappingProxyType({}),
    ) -> str:
        """One page of the OGC API's list: `collections` in the order of the paged JSON `document`.

        `tenants` (`Catalogue.tenants`) gives their titles.
        """
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        return self._frame.render(
            "collections.html",
            request,
            tenant,
            credits=views.credits_of(collections),
            cards=[views.card_of(c, tenants.get(c.tenant), links, messages) for c in collections],
            matched=document.get("numberMatched"),
            page_links=page_links_of(document, request.path),
        )

    def items(
        self,
        request: PageRequest,
        collection: Collection,
        document: Mapping[str, Any],
        tenant: Tenant | None = None,
        siblings: Sequence[Collection] = (),
    ) -> str:
        """One page of items, as a table and on a map; `document` is the GeoJSON FeatureCollection with its links."""
        features = list(document.get("features", ()))
        filled: dict[str, bool] = {}
        for feature in features:
            for name, value in (feature.get("properties") or {}).items():
                filled[name] = filled.get(name, False) or value not in (None, "")
        names = sorted(filled, key=lambda name: not filled[name])  # the empty ones last, else as they come
        return self._features(
            "items.html",
            request,
            collection,
            tenant,
            features=features,
            siblings=siblings,
            columns=names[:_TABLE_COLUMNS],
            hidden_columns=len(names[_TABLE_COLUMNS:]),
            matched=document.get("numberMatched"),
            returned=document.get("numberReturned", len(features)),
            page_links=page_links_of(document, request.path),
        )

    def item(
        self,
        request: PageRequest,
        collection: Collection,
        document: Mapping[str, Any],
        tenant: Tenant | None = None,
        siblings: Sequence[Collection] = (),
    ) -> str:
        """One feature: all its attributes, and where it is."""
        features = [dict(document)]
        return self._features(
            "item.html", request, collection, tenant, features=features, siblings=siblings, feature=document
        )

    def _features(
        self,
        template: str,
        request: PageRequest,
        collection: Collection,
        tenant: Tenant | None,
        *,
        features: list[dict[str, Any]],
        siblings: Sequence[Collection],
        **more: Any,
    ) -> str:
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        around = [s for s in siblings if s.tenant == collection.tenant and s.id != collection.id]
        behind = views.backdrop(around, links, messages)
        shown = {layer["id"] for layer in behind}
        return self._frame.render(
            template,
            request,
            tenant,
            credits=views.credits_of([collection, *(s for s in around if links.id_of(s) in shown)]),
            collection=views.card_of(collection, tenant, links, messages),
            titles={f.name: f.title or f.name for f in collection.fields},
            address=links.collection(collection),
            anchor=views.anchor,
            features=features,
            map_settings={
                "bounds": views.flat_bbox(collection),
                "backdrop": behind,
                "features": {"type": "FeatureCollection", "features": features},
                "itemAddress": links.collection(collection, "items") + "/",
            },
            **more,
        )

    def landing(self, request: PageRequest, document: Mapping[str, Any], tenant: Tenant | None = None) -> str:
        """The landing page of the OGC APIs."""
        return self._frame.render("landing.html", request, tenant, document=document, origin=request.origin)

    def conformance(
        self, request: PageRequest, document: Mapping[str, Any], tenant: Tenant | None = None
    ) -> str:
        """The conformance classes, grouped by standard."""
        groups: dict[str, list[str]] = {}
        for uri in sorted(document.get("conformsTo", ())):
            standard, _, name = str(uri).partition("/conf/")
            groups.setdefault(standard, []).append(name or str(uri))
        return self._frame.render("conformance.html", request, tenant, groups=groups)

    def api(self, request: PageRequest, openapi: Mapping[str, Any], tenant: Tenant | None = None) -> str:
        """The operations of an OpenAPI document as a readable list."""
        operations = [
            {
                "path": path,
                "method": method.upper(),
                "summary": operation.get("summary") or operation.get("description") or "",
                "tags": operation.get("tags", ()),
                "parameters": [
                    parameter_name(p, openapi)
                    for p in (*item.get("parameters", ()), *operation.get("parameters", ()))
                ],
            }
            for path, item in openapi.get("paths", {}).items()
            for method, operation in item.items()
            if method in _METHODS
        ]
        return self._frame.render(
            "api.html",
            request,
            tenant,
            operations=operations,
            version=openapi.get("info", {}).get("version", ""),
        )

    def scene(
        self,
        request: PageRequest,
        tenant: Tenant,
        collections: Sequence[Collection],
        services: SceneServices = NO_SERVICES,
    ) -> str:
        """The 3D scene of a tenant. Send it with `headers(scene=True)`."""
        links = self._frame.links(tenant)
        shown = [
            c
            for c in collections
            if c.representations.keys()
            & {RepresentationKind.TILESET_3D, RepresentationKind.TERRAIN, RepresentationKind.MAP}
        ]
        settings = scene_settings(shown, links, self._messages[request.language], services)
        cesium = self._frame.vendor_address("cesium")
        settings["cesiumBase"] = cesium.removesuffix("index.js")
        settings["extrusion"] = links.extrusion(tenant.id)
        return self._scene("scene.html", request, tenant, shown, settings)

    def extrusion(self, request: PageRequest, tenant: Tenant, collections: Sequence[Collection]) -> str:
        """The view of a tenant's city for light devices: footprints raised on a map."""
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        settings = extrusion_settings(collections, links, messages, tenant.id)
        names = {layer["collection"] for layer in settings["layers"]}
        shown = [c for c in collections if c.id in names or RepresentationKind.TERRAIN in c.representations]
        return self._scene("extrusion.html", request, tenant, shown, settings)

    def _scene(
        self,
        template: str,
        request: PageRequest,
        tenant: Tenant,
        shown: Sequence[Collection],
        settings: dict[str, Any],
    ) -> str:
        texts = self._frame.scene_messages[request.language]
        settings["messages"] = dict(texts.texts)
        return self._frame.render(
            template,
            request,
            tenant,
            s=texts,
            credits=views.credits_of(shown),
            scene_settings=settings,
            cesium_styles=settings.get("cesiumBase", "") + "Widgets/widgets.css",
        )

    def document(
        self,
        request: PageRequest,
        document: Any,
        tenant: Tenant | None = None,
        collection: Collection | None = None,
        *,
        title: str | None = None,
        kind: str = "document",
    ) -> str:
        """Any JSON document as a readable page, headed by its `kind` (one of DOCUMENT_KINDS)."""
        if kind not in DOCUMENT_KINDS:
            raise ValueError(f"document kind {kind!r} is unknown; known are {', '.join(DOCUMENT_KINDS)}")
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        return self._frame.render(
            "document.html",
            request,
            tenant,
            credits=views.credits_of([collection] if collection else []),
            heading=messages(f"document.{kind}"),
            document_title=title or title_of(kind, document),
            collection=views.card_of(collection, tenant, links, messages) if collection else None,
            document=document,
            entries=entries_of(kind, document, request.path),
            fields=fields_of(kind, document),
            page_links=page_links_of(document if isinstance(document, Mapping) else {}, request.path),
        )

    def map(
        self,
        request: PageRequest,
        collections: Sequence[Collection],
        tenant: Tenant | None = None,
        *,
        addresses: Mapping[str, str],
        width: int,
        height: int,
        facts: Mapping[str, str | None],
    ) -> str:
        """A map image with what it shows; `addresses` of it by format ("png" is the one shown), `facts` by message `map.{key}`."""
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        return self._frame.render(
            "map.html",
            request,
            tenant,
            credits=views.credits_of(collections),
            cards=[views.card_of(c, tenant, links, messages) for c in collections],
            addresses=addresses,
            width=width,
            height=height,
            facts=[(messages(f"map.{name}"), value) for name, value in facts.items() if value],
        )

    def styles(
        self,
        request: PageRequest,
        document: Mapping[str, Any],
        tenant: Tenant | None = None,
        collection: Collection | None = None,
    ) -> str:
        """The styles of a JSON list of them, each with its legend: of a view, or of a collection."""
        links = self._frame.links(tenant)
        url = style_views.styles_url(links, collection)
        return self._frame.render(
            "styles.html",
            request,
            tenant,
            collection=self._card(collection, tenant, request),
            cards=style_views.cards_of(document, url, request.language),
        )

    def style(
        self,
        request: PageRequest,
        document: Mapping[str, Any],
        tenant: Tenant | None = None,
        *,
        collection: Collection | None,
        drawn: Collection | None,
        draws: Sequence[Collection],
        own_id: str,
    ) -> str:
        """One style by its metadata `document`: legend, encodings, and a map of `drawn` or a list of the collections it `draws`.

        `collection` is the one it is asked for below, `own_id` its id there.
        """
        links = self._frame.links(tenant)
        messages = self._messages[request.language]
        url = style_views.styles_url(links, collection)
        address = f"{url}/{quote(document['id'])}"
        return self._frame.render(
            "style.html",
            request,
            tenant,
            credits=views.credits_of([drawn] if drawn else draws),
            collection=self._card(collection, tenant, request),
            style=document,
            list_address=url,
            address=address,
            origin=request.origin,
            preview=style_views.preview_of(drawn, own_id, links),
            uses=style_views.uses_of(draws, own_id, links, request.origin, request.language),
            encodings=style_views.encodings_of(document, address, messages),
            facts=style_views.facts_of(document, messages),
        )

    def _card(self, collection: Collection | None, tenant: Tenant | None, request: PageRequest) -> Any:
        links = self._frame.links(tenant)
        return (
            views.card_of(collection, tenant, links, self._messages[request.language]) if collection else None
        )

    def error(
        self,
        request: PageRequest,
        status: int,
        problem: Mapping[str, Any],
        tenant: Tenant | None = None,
    ) -> str:
        """A failed request: what went wrong (RFC 9457 problem details) and where to go from here."""
        messages = self._messages[request.language]
        key = f"error.{status}" if messages.has(f"error.{status}") else "error.other"
        return self._frame.render(
            "error.html", request, tenant, status=status, problem=problem, heading=messages(key)
        )


def _positive(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
