"""Stored files under a collection: 3D Tiles, terrain, point clouds and downloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState

from providers.formatters.registry import DOWNLOAD_FORMATS, ItemFormat
from providers.formatters.scratch import configure_scratch
from providers.sensors.answers import list_locations, stream_series_csv
from server.http.answer import COMMON_HEADERS
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import NotFound
from server.http.features import FeatureRequest, feature_file, source_description, state_etag
from server.http.files import contained
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.downloads import edited_geopackage, feature_download, is_plain
from server.identity.decision import Decision
from server.pages.links import is_one_file
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
_QUANTIZED_MESH = "application/vnd.quantized-mesh;extensions=octvertexnormals-watermask-metadata"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/3dtiles", view_func=three_d_tileset)
    blueprint.add_url_rule(f"{base}/3dtiles/<path:path>", "three_d", three_d)
    blueprint.add_url_rule(f"{base}/terrain/<path:path>", "terrain", terrain)
    blueprint.add_url_rule(f"{base}/pointcloud.copc.laz", "point_cloud", point_cloud)
    blueprint.add_url_rule(f"{base}/download/<name>", "download", download)
    blueprint.record_once(_configure)


def _configure(state: BlueprintSetupState) -> None:
    """Tell the formats where files that cannot be streamed are made: in the cache of the home folder, nowhere else."""
    configure_scratch(state.app.extensions["chengtu"].settings.home / "cache" / "downloads")


def send_file(
    here: RequestContext,
    collection: Collection,
    decision: Decision,
    file: Path,
    *,
    media_type: str | None = None,
    download_name: str | None = None,
) -> Response:
    """A file of the collection's generation, its validator made from generation and path."""
    relative = str(file.relative_to(collection.directory.resolve()))
    etag = state_etag(collection, 0, decision, relative).removeprefix("W/")
    started: list[Any] = []
    body: Iterable[bytes] = here.services.files.send(
        file,
        here.environ,
        lambda status, headers: started.extend((status, headers)),
        etag=etag,
        media_type=media_type,
        private=decision.key != "public",
        download_name=download_name,
    )
    response = Response(body, status=started[0], direct_passthrough=True)
    response.headers.clear()
    for name, value in started[1]:
        response.headers.add(name, value)
    return response


def _below(document: Any, folder: str) -> Any:
    """A tileset document with `folder/` before each relative `uri`, for an address one level higher."""
    if isinstance(document, dict):
        return {
            name: f"{folder}/{value}" if name == "uri" and isinstance(value, str) else _below(value, folder)
            for name, value in document.items()
        }
    return [_below(value, folder) for value in document] if isinstance(document, list) else document


def three_d_tileset(public_id: str) -> Response:
    """The tileset at the address that has no file name, so its contents lie below `3dtiles/`."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, Kind.TILESET_3D)
    document = orjson.loads(collection.path_of(Kind.TILESET_3D).read_bytes())
    etag = state_etag(collection, 0, decision, "3dtiles")
    return respond(json_answer(_below(document, "3dtiles"), etag=etag, private=decision.key != "public"))


def three_d(public_id: str, path: str) -> Response:
    """tileset.json, subtrees and glb of a 3D Tiles 1.1 tileset."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, Kind.TILESET_3D)
    folder = collection.path_of(Kind.TILESET_3D).parent
    if path.endswith(".gz"):
        raise NotFound(f"there is no file {path!r} here")
    return send_file(here, collection, decision, contained(folder, path))


def terrain(public_id: str, path: str) -> Response:
    """layer.json and quantized-mesh tiles. Cesium adds parameters of its own (`v`, `extensions`), which change nothing."""
    here = context()
    here.only("v", "extensions")
    collection, decision = here.having(public_id, Kind.TERRAIN)
    folder = collection.path_of(Kind.TERRAIN).parent
    media_type = _QUANTIZED_MESH if path.endswith(".terrain") else None
    if path.endswith(".gz"):
        raise NotFound(f"there is no file {path!r} here")
    return send_file(here, collection, decision, contained(folder, path), media_type=media_type)


def point_cloud(public_id: str) -> Response:
    """The COPC file, whole or by byte ranges."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, Kind.POINT_CLOUD)
    file = collection.path_of(Kind.POINT_CLOUD).resolve()
    return send_file(here, collection, decision, file)


def _all_series(collection: Collection) -> Iterator[bytes]:
    path = collection.path_of(Kind.SERIES)
    places = [str(feature["id"]) for feature in list_locations(path)["features"]]
    return stream_series_csv(path, places)


def download(public_id: str, name: str) -> Response:
    """Whole collections as files: features in every format, COG, series as CSV.

    Features take the parameters of items but those that page.
    """
    here = context()
    collection, decision = here.collection(public_id)
    stem, _, ending = name.partition(".")
    if stem != collection.id:
        raise NotFound(f"there is no download {name[:200]!r}; names start with {collection.id!r}")
    has = collection.representations
    if ending == "csv" and Kind.SERIES in has:
        here.only()
        return _series(here, collection, decision, name)
    if ending == "tif" and is_one_file(collection):
        here.only()
        file = collection.path_of(Kind.COVERAGE).resolve()
        return send_file(here, collection, decision, file, download_name=name)
    form = DOWNLOAD_FORMATS.get(ending)
    if form is None or Kind.FEATURES not in has:
        raise NotFound(f"there is no download {name[:200]!r} of {public_id!r}")
    asked = FeatureRequest(collection, decision, here.url_of(public_id), here.parameters)
    is_whole = form.name == "gpkg" and is_plain(here) and not decision.hidden_fields
    if is_whole and source_description(collection) is None:
        return _stored_geopackage(here, asked, form)
    return feature_download(here, asked, form)


def _stored_geopackage(here: RequestContext, asked: FeatureRequest, form: ItemFormat) -> Response:
    """The embedded store, which is a GeoPackage: its file by byte ranges, or a copy where it has been edited."""
    if asked.source.change() != 0:
        return edited_geopackage(here, asked, form)
    collection = asked.collection
    file = feature_file(collection).resolve()
    name = f"{collection.id}.{form.ending}"
    return send_file(here, collection, asked.decision, file, download_name=name)


def _series(here: RequestContext, collection: Collection, decision: Decision, name: str) -> Response:
    headers = [
        *COMMON_HEADERS,
        ("Content-Type", MEDIA_TYPES["csv"]),
        ("Content-Disposition", f'attachment; filename="{name}"'),
    ]
    if decision.key != "public":
        headers.append(("Cache-Control", "no-store"))
    if here.environ["REQUEST_METHOD"] == "HEAD":
        return Response(iter(()), headers=headers)  # no length: it is not known
    body = here.services.files.stream(_all_series(collection))
    return Response(body, headers=headers, direct_passthrough=True)
