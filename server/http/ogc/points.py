"""Points of a point cloud as items: pages of GeoJSON, one point, downloads in formats of points, statistics.

`/points` answers every point cloud; `/items` answers the same where the collection has no features. The routes are in `point_routes`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import orjson
from flask import Response

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.cloud.query import plan
from providers.features.cursors import encode_cursor
from providers.points.items import (
    FORMS,
    PointForm,
    crs_of,
    point_chunks,
    point_feature,
    point_page,
    points_to_read,
    require_budget,
)
from providers.points.request import (
    SELECTING,
    PointContext,
    PointLimits,
    PointRequest,
    parse_points,
    without_limit,
)
from providers.points.statistics import statistics_document
from server.http.answer import COMMON_HEADERS, Answer, Header, not_modified
from server.http.context import RequestContext, json_answer, respond
from server.http.feature_links import encoded, with_parameters
from server.http.features import state_etag, timestamp
from server.http.ogc.downloads import start_sending
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

_AT_ONCE = 400_000
"""Points up to which an answer is made before it is sent; larger ones are sent while they are made, from a place of downloads."""
_VARY = "Accept, Accept-Encoding, Accept-Language, Authorization"
_GEOJSON = FORMS["geojson"].media_type


def cloud_of(collection: Collection) -> Cloud:
    """The point cloud of a collection that has one. Raises PointCloudError where it cannot be read."""
    return open_cloud(collection.path_of(RepresentationKind.POINT_CLOUD))


def point_context(here: RequestContext, collection: Collection, decision: Decision) -> PointContext:
    """What a request for points of this collection, by this client, is parsed with."""
    settings = here.services.settings.points
    limits = PointLimits(
        min(here.services.limits.default, settings.geojson_points),
        settings.geojson_points,
        settings.request_points,
    )
    return PointContext(
        collection.generation, decision.hidden_fields, decision.area, collection.interval, limits
    )


# --- points --------------------------------------------------------------------------------------------------------------


def points_answer(here: RequestContext, public_id: str, path: str) -> Response:
    """A page of points as GeoJSON, or all that are asked for in a format of points, at `path` below the collection ("points",
    "items")."""
    collection, decision = here.having(public_id, RepresentationKind.POINT_CLOUD)
    form = FORMS[here.format(*FORMS)]
    url = f"{here.url_of(public_id)}/{path}"
    etag = _etag(here, collection, decision, form.name)
    cloud = cloud_of(collection)
    asked = point_context(here, collection, decision)
    request = parse_points(here.parameters, cloud, asked)
    private = decision.key != "public"
    if form.name == "geojson":
        if not_modified(here.environ, etag):
            return respond(Answer(b"", _GEOJSON, etag=etag, private=private))
        return respond(_page(here, cloud, request, asked, url, etag, private=private))
    return _download(here, collection, cloud, without_limit(request), form, asked, etag, private=private)


def _etag(here: RequestContext, collection: Collection, decision: Decision, form: str) -> str:
    return state_etag(
        collection,
        0,
        decision,
        here.origin,
        here.environ["PATH_INFO"],
        repr(here.parameters),
        form,
        here.language,
    )


def _content_crs(uri: str) -> list[Header]:
    """Content-Crs (Part 2, 6.4); a system without a code of an authority has no URI to name there."""
    return [("Content-Crs", f"<{uri}>")] if uri else []


def _page(
    here: RequestContext,
    cloud: Cloud,
    request: PointRequest,
    asked: PointContext,
    url: str,
    etag: str,
    *,
    private: bool,
) -> Answer:
    """GeoJSON, with links to the next page and to the other formats (OGC API - Features Part 1, 7.15)."""
    limits = asked.limits
    limit = min(request.limit or limits.default, limits.maximum)
    if request.query.max_points is not None:
        require_budget(plan(cloud, request.query), limits.read)
    page = point_page(cloud, request, limit)
    links = _links(here.parameters, url, asked.generation, request, page.next_id)
    counts: dict[str, Any] = {"timeStamp": timestamp(), "numberReturned": page.returned}
    if page.matched is not None:
        counts["numberMatched"] = page.matched
    tail = orjson.dumps({**counts, "links": links})
    body = b'{"type":"FeatureCollection","features":[' + page.features + b"]," + tail[1:]
    headers: list[Header] = [*_content_crs(page.crs), ("OGC-NumberReturned", str(page.returned))]
    if page.matched is not None:
        headers.append(("OGC-NumberMatched", str(page.matched)))
    following = [link for link in links if link["rel"] in ("next", "collection")]
    headers.append(
        ("Link", ", ".join(f'<{one["href"]}>; rel="{one["rel"]}"; type="{one["type"]}"' for one in following))
    )
    return Answer(body, _GEOJSON, etag=etag, headers=headers, private=private)


def _links(
    parameters: Sequence[tuple[str, str]],
    url: str,
    generation: int,
    request: PointRequest,
    next_id: str | None,
) -> list[dict[str, str]]:
    common = encoded([pair for pair in parameters if pair[0] not in ("f", "cursor")])
    paging = encoded([pair for pair in parameters if pair[0] == "cursor"])
    selecting = encoded([pair for pair in parameters if pair[0] not in ("f", "cursor", "limit")])
    links = [{"rel": "self", "type": _GEOJSON, "href": with_parameters(url, common, paging, "f=geojson")}]
    links += [
        {
            "rel": "alternate",
            "type": form.media_type,
            "href": with_parameters(url, selecting, f"f={form.name}"),
        }
        for form in FORMS.values()
        if form.name != "geojson"
    ]
    links.append({"rel": "collection", "type": "application/json", "href": url.rpartition("/")[0]})
    if next_id is not None:
        cursor = encoded([("cursor", encode_cursor(generation, (next_id,), request.mark))])
        href = with_parameters(url, common, cursor, "f=geojson")
        links.append({"rel": "next", "type": _GEOJSON, "href": href})
    return links


# --- one point -----------------------------------------------------------------------------------------------------------


def point_answer(here: RequestContext, public_id: str, point_id: str, path: str) -> Response:
    """One point by its id, at `path` below the collection."""
    collection, decision = here.having(public_id, RepresentationKind.POINT_CLOUD)
    here.only("crs")
    here.format("geojson")
    cloud = cloud_of(collection)
    request = parse_points(here.parameters, cloud, point_context(here, collection, decision), ("crs",))
    etag = _etag(here, collection, decision, "geojson")
    feature, uri = point_feature(cloud, request, point_id)
    url = here.url_of(public_id)
    links = [
        {"rel": "self", "type": _GEOJSON, "href": f"{url}/{path}/{point_id}"},
        {"rel": "collection", "type": "application/json", "href": url},
    ]
    body = feature[:-1] + b',"links":' + orjson.dumps(links) + b"}"
    headers = _content_crs(uri)
    return respond(Answer(body, _GEOJSON, etag=etag, headers=headers, private=decision.key != "public"))


# --- files and streams ---------------------------------------------------------------------------------------------------


def _download(
    here: RequestContext,
    collection: Collection,
    cloud: Cloud,
    request: PointRequest,
    form: PointForm,
    asked: PointContext,
    etag: str,
    *,
    private: bool,
) -> Response:
    """All points in a format: made and then sent where they are few, else while they are made."""
    headers: list[Header] = [
        *_content_crs(crs_of(request, cloud, form)),
        ("Content-Disposition", f'attachment; filename="{collection.id}.{form.ending}"'),
    ]
    if not_modified(here.environ, etag):
        return respond(Answer(b"", form.media_type, etag=etag, headers=headers, private=private))
    source = plan(cloud, request.query)
    require_budget(source, asked.limits.read)
    chunks = point_chunks(cloud, request, form, source)
    if points_to_read(source) <= _AT_ONCE:
        with here.services.heavy.taken():
            body = b"".join(chunks)
        return respond(
            Answer(body, form.media_type, etag=etag, headers=headers, private=private, compressible=form.text)
        )
    return _sent(here, chunks, form, headers, etag, private=private)


def _sent(
    here: RequestContext,
    chunks: Generator[bytes],
    form: PointForm,
    headers: list[Header],
    etag: str,
    *,
    private: bool,
) -> Response:
    sending = [
        *COMMON_HEADERS,
        *headers,
        ("ETag", etag),
        ("Cache-Control", f"{'private' if private else 'public'}, no-cache"),
        ("Vary", _VARY),
        ("Content-Type", form.media_type),
    ]
    if here.environ["REQUEST_METHOD"] == "HEAD":
        chunks.close()
        response = Response(iter(()), direct_passthrough=True)
    else:
        response = Response(start_sending(here.services.files, chunks), direct_passthrough=True)
    response.headers.clear()
    for name, value in sending:
        response.headers.add(name, value)
    return response


# --- statistics ----------------------------------------------------------------------------------------------------------


def statistics_answer(here: RequestContext, public_id: str) -> Response:
    """Counts, classes, spans of dimensions, density and time of the points asked for."""
    collection, decision = here.having(public_id, RepresentationKind.POINT_CLOUD)
    here.format("json")
    cloud = cloud_of(collection)
    asked = point_context(here, collection, decision)
    request = parse_points(here.parameters, cloud, asked, SELECTING)
    etag = _etag(here, collection, decision, "json")
    private = decision.key != "public"
    if not_modified(here.environ, etag):
        return respond(json_answer({}, etag=etag, private=private))
    with here.services.heavy.taken():
        document = statistics_document(cloud, request, asked.limits.read, here.language)
    url = here.url_of(public_id)
    query = encoded([pair for pair in here.parameters if pair[0] not in ("f", "lang")])
    document["links"] = [
        {
            "rel": "self",
            "type": "application/json",
            "href": with_parameters(f"{url}/points/statistics", query, "f=json"),
        },
        {"rel": "items", "type": _GEOJSON, "href": with_parameters(f"{url}/points", query, "f=geojson")},
        {"rel": "collection", "type": "application/json", "href": url},
    ]
    return respond(json_answer(document, etag=etag, private=private))
