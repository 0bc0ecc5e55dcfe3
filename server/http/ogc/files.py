"""Stored files under a collection, and its downloads; those of point clouds are in point_files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState

from providers.formatters.registry import DOWNLOAD_FORMATS, ItemFormat
from providers.formatters.scratch import configure_scratch
from providers.sensors.answers import list_locations, stream_series_csv
from server.http.answer import COMMON_HEADERS
from server.http.context import RequestContext, context
from server.http.errors import NotFound
from server.http.features import FeatureRequest, feature_file, source_description, state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.downloads import edited_geopackage, feature_download, is_plain
from server.identity.decision import Decision
from server.pages.links import is_one_file
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
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
    etag: str | None = None,
    cache_control: str = "no-cache",
) -> Response:
    """A file of the collection's generation, its validator made from generation and path unless it is given."""
    if etag is None:
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
        cache_control=cache_control,
    )
    response = Response(body, status=started[0], direct_passthrough=True)
    response.headers.clear()
    for name, value in started[1]:
        response.headers.add(name, value)
    return response


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
