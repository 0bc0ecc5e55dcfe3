"""What a map service says of itself and of a layer, as it is kept at registration."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from providers.errors import AnswerTooLarge, StoreError
from providers.outgoing import Answer, Client, RemoteUnavailable
from providers.outgoing.client import JSON, MEBIBYTE, XML

MAXIMUM_DOCUMENT = 16 * MEBIBYTE
WORLD = (-180.0, -90.0, 180.0, 90.0)
COMMON = frozenset({"store", "url", "layer", "credentials", "max_age", "attribution", "bbox"})

_READERS: Mapping[str, tuple[str, frozenset[str]]] = MappingProxyType(
    {
        "wms": ("wms_facts", frozenset({"version", "style", "format", "axes", "crs"})),
        "wmts": ("wmts_facts", frozenset({"style", "format", "axes", "matrix_set"})),
        "tms": ("tile_facts", frozenset({"grid", "min_zoom", "max_zoom", "tile_size"})),
        "xyz": ("tile_facts", frozenset({"grid", "min_zoom", "max_zoom", "tile_size", "subdomains"})),
        "arcgis-map": ("arcgis_facts", frozenset({"format", "tiles"})),
        "ogc-maps": ("ogc_maps_facts", frozenset({"format", "tiles"})),
    }
)


@dataclass(frozen=True, slots=True)
class RemoteMapFacts:
    """What is known of a remote map. `bbox` is CRS84 (4 numbers); `remote` is what `open_remote_map` takes.

    `times`: instants and intervals as the service writes them, the earliest first. `crs`: a URI of the service's own CRS.
    """

    title: str
    remote: dict[str, Any]
    description: str = ""
    attribution: str = ""
    bbox: tuple[float, float, float, float] = WORLD
    times: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    crs: str = "EPSG:3857"
    notes: tuple[str, ...] = field(default=())


def read_facts(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """Ask the service. Raises StoreError for a description that does not fit, SourceUnavailable."""
    kind = str(description.get("store"))
    if kind not in _READERS:
        raise StoreError(f"There is no kind of map service {kind!r}; there are: {', '.join(_READERS)}")
    module, own = _READERS[kind]
    unknown = sorted(set(description) - COMMON - own)
    if unknown:
        raise StoreError(
            f"A {kind} source has no members {unknown}; it has: {', '.join(sorted(COMMON | own))}"
        )
    read: Callable[[Mapping[str, Any], Client], RemoteMapFacts] = importlib.import_module(
        f"providers.maps.remote.{module}"
    ).read
    return read(description, client)


def kept_members(description: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the description that stay in the registry beside what the service says."""
    names = ("store", "url", "layer", "credentials", "max_age", "subdomains")
    return {name: description[name] for name in names if description.get(name) is not None}


def document(client: Client, url: str, params: Mapping[str, str], *, json: bool = False) -> Answer:
    """A document about a service; media types are taken as they come. Raises RemoteUnavailable."""
    accept = (
        (*JSON, "text/plain", "text/html") if json else (*XML, "text/plain", "application/vnd.ogc.wms_xml")
    )
    try:
        answer = client.get(url, params, accept=accept, limit=MAXIMUM_DOCUMENT)
    except AnswerTooLarge as error:
        raise RemoteUnavailable(str(error)) from None
    if answer.status != 200:
        raise RemoteUnavailable(f"{client.name} answers {answer.status} where its description was asked for")
    return answer


def json_document(client: Client, url: str, params: Mapping[str, str]) -> dict[str, Any]:
    """A JSON object about a service. Raises RemoteUnavailable, also for the errors that ArcGIS answers with 200."""
    answer = document(client, url, params, json=True)
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise RemoteUnavailable(f"{client.name} answers something that is not JSON") from None
    if not isinstance(found, dict):
        raise RemoteUnavailable(f"{client.name} answers JSON that is no object")
    if isinstance(found.get("error"), dict):
        from providers.features.remote.documents import shown

        raise RemoteUnavailable(f"{client.name} answers an error: {shown(found['error'].get('message'))}")
    return found


def given_box(description: Mapping[str, Any], found: tuple[float, ...]) -> tuple[float, float, float, float]:
    """The extent: given at registration ("west,south,east,north"), else the service's, within the world. Raises StoreError."""
    text = description.get("bbox")
    if text is not None:
        try:
            found = tuple(float(part) for part in str(text).split(","))
        except ValueError:
            found = ()
        if len(found) != 4 or not (found[0] < found[2] and found[1] < found[3]):
            raise StoreError(f"bbox {str(text)[:100]!r} is not west,south,east,north in degrees")
    if len(found) != 4:
        return WORLD
    west, south, east, north = found
    box = (max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0))
    return box if box[0] < box[2] and box[1] < box[3] else WORLD


def whole(description: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number of the description. Raises StoreError."""
    text = str(description.get(name, default))
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise StoreError(f"{name} is a whole number from {low} to {high}, not {text[:40]!r}")
    return int(text)
