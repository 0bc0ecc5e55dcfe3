"""Feature collections of other servers, cascaded: WFS, OGC API - Features, ArcGIS REST.

A description names the service, the collection and, by name, credentials; `SourceSettings` says what may be reached. Nothing is
asked before a collection is looked at; what the services say of themselves is kept (`facts`), features never are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from providers.errors import StoreError
from providers.features.remote.credentials import authorization_of
from providers.features.remote.facts import FactsKeeper, LastGood, RemoteFacts, with_overrides
from providers.features.remote.service import RemoteLayer, RemoteService
from providers.features.remote.source import RemoteSource
from providers.features.schema import FieldDefinition
from providers.features.source import Ability
from providers.features.sources import SourceSettings
from providers.outgoing import Client, OutgoingPolicy

__all__ = [
    "RemoteDescription",
    "RemoteLayer",
    "RemoteSource",
    "describe_remote",
    "list_layers",
    "open_arcgis",
    "open_features",
    "open_wfs",
]

type _Maker = Callable[[Mapping[str, Any], Client], RemoteService]

_FRESH_SECONDS = 10
_METADATA_SECONDS = 3_600
_COMMON = frozenset(
    [
        "store",
        "url",
        "layer",
        "credentials",
        "attribution",
        "licence",
        "time_field",
        "fresh_seconds",
        "metadata_seconds",
    ]
)
_OWN: Mapping[str, frozenset[str]] = {
    "wfs": frozenset({"version", "axes"}),
    "features": frozenset({"id_field"}),
    "arcgis": frozenset(),
}


@dataclass(frozen=True, slots=True)
class RemoteDescription:
    """What a remote collection is, for the one who registers it. `bbox`: CRS84 (4 numbers) or ()."""

    kind: str
    layer: str
    title: str
    description: str
    attribution: str
    licence: str
    fields: tuple[FieldDefinition, ...]
    geometry_type: str
    time_field: str | None
    storage_crs: str
    bbox: tuple[float, ...]
    count: int | None
    abilities: frozenset[Ability]


def open_wfs(description: Mapping[str, Any], settings: SourceSettings) -> RemoteSource:
    """A feature type of a WFS 1.1.0 or 2.0. Raises StoreError for a description that cannot be used."""
    return _open(description, settings)


def open_features(description: Mapping[str, Any], settings: SourceSettings) -> RemoteSource:
    """A collection of an OGC API - Features service. Raises StoreError for a description that cannot be used."""
    return _open(description, settings)


def open_arcgis(description: Mapping[str, Any], settings: SourceSettings) -> RemoteSource:
    """A layer of an ArcGIS REST service. Raises StoreError for a description that cannot be used."""
    return _open(description, settings)


def describe_remote(description: Mapping[str, Any], settings: SourceSettings) -> RemoteDescription:
    """Ask the service what the collection is, now. Raises StoreError, SourceUnavailable."""
    facts = _open(description, settings).keeper.read_now()
    return RemoteDescription(
        kind=str(description["store"]),
        layer=str(description["layer"]),
        title=facts.title,
        description=facts.description,
        attribution=facts.attribution,
        licence=facts.licence,
        fields=facts.fields,
        geometry_type=facts.geometry_type,
        time_field=facts.time_field,
        storage_crs=facts.storage_crs,
        bbox=facts.bbox,
        count=facts.count,
        abilities=facts.abilities,
    )


def list_layers(description: Mapping[str, Any], settings: SourceSettings) -> list[RemoteLayer]:
    """What a service offers; the description needs no `layer`. Raises StoreError, SourceUnavailable."""
    return _service({"layer": "", **description}, settings).layers()


def _open(description: Mapping[str, Any], settings: SourceSettings) -> RemoteSource:
    if not description.get("layer"):
        raise StoreError("The description of a remote source names no layer")
    service = _service(description, settings)

    def discover() -> RemoteFacts:
        return with_overrides(service.discover(), description)

    key = orjson.dumps(dict(description), option=orjson.OPT_SORT_KEYS)
    keeper = FactsKeeper(
        discover,
        LastGood(settings.cache_directory, key),
        _seconds(description, "metadata_seconds", _METADATA_SECONDS),
    )
    return RemoteSource(service, keeper, _seconds(description, "fresh_seconds", _FRESH_SECONDS))


def _service(description: Mapping[str, Any], settings: SourceSettings) -> RemoteService:
    kind = str(description.get("store"))
    unknown = sorted(set(description) - _COMMON - _OWN[kind])
    if unknown:
        raise StoreError(
            f"The description of a {kind} source holds {unknown}; it may hold {sorted(_COMMON | _OWN[kind])}"
        )
    url = description.get("url")
    if not isinstance(url, str) or not url:
        raise StoreError("The description of a remote source names no url")
    policy = OutgoingPolicy(frozenset(settings.allowed_hosts), settings.outgoing)
    client = Client(
        policy,
        url,
        timeout=settings.timeout,
        authorization=authorization_of(description, settings.connections),
    )
    return _MAKERS[kind](description, client)


def _wfs(description: Mapping[str, Any], client: Client) -> RemoteService:
    from providers.features.remote.wfs import WebFeatureType

    return WebFeatureType(
        description["url"],
        str(description["layer"]),
        client,
        description.get("version"),
        description.get("axes"),
    )


def _features(description: Mapping[str, Any], client: Client) -> RemoteService:
    from providers.features.remote.ogc_api import OgcApiFeatures

    return OgcApiFeatures(description["url"], str(description["layer"]), client, description.get("id_field"))


def _arcgis(description: Mapping[str, Any], client: Client) -> RemoteService:
    from providers.features.remote.arcgis import ArcgisLayer

    return ArcgisLayer(description["url"], str(description["layer"]), client)


_MAKERS: Mapping[str, _Maker] = {"wfs": _wfs, "features": _features, "arcgis": _arcgis}


def _seconds(description: Mapping[str, Any], name: str, default: int) -> int:
    value = description.get(name, default)
    if type(value) is not int or not 1 <= value <= 7 * 86_400:
        raise StoreError(
            f"{name} of a remote source is a whole number of seconds from 1 to a week, not {str(value)[:20]!r}"
        )
    return value
