"""Register a source where it is: a table of PostGIS, a file, a layer or a map of a remote service becomes a collection.

Nothing is copied. The collection's features representation carries the description by which
`providers.features.sources` opens the source; a description never holds a password, only the name of a connection. What a map
service says of its layer is kept with the map representation (`registering_maps`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from providers.errors import ProviderError
from providers.features.conformance import self_test
from providers.features.query import ItemQuery, SortKey
from providers.features.source import Ability, EditableSource, FeatureSource
from providers.features.sources import configure_sources, open_source
from providers.maps.remote import KINDS
from server.publish.building import TILE_MATRIX_SETS
from server.publish.closing import closed_to_edits
from server.publish.errors import InputError, OptionError
from server.publish.features import tile_zooms
from server.publish.reference_systems import crs_identifier
from server.publish.registering_maps import (
    checked_style,
    describe_map,
    map_place,
    map_properties,
    tested_features,
)
from server.publish.request import PublishResult
from server.registry.catalogue import Access, Field, Interval, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.staging import staging_folder
from server.settings import Settings
from server.settings.sources import source_settings_of

if TYPE_CHECKING:
    from server.registry.registry import Registry

_WORLD = (-180.0, -90.0, 180.0, 90.0)
_NAME = r"[^\x00-\x1f/]{1,63}"
_EXAMPLES = (
    "postgis:CONNECTION/SCHEMA.TABLE, parquet:/FILE, ogr:/FILE, wfs:https://HOST/PATH, features:https://HOST/PATH or "
    "arcgis:https://HOST/.../FeatureServer/LAYER; maps: wms:URL#LAYER, wmts:URL#LAYER, tms:URL, xyz:https://HOST/{z}/{x}/{y}.png, "
    "arcgis-map:https://HOST/.../MapServer, ogc-maps:https://HOST/PATH#COLLECTION"
)
_FULL_ZOOM = 14
"""The zoom from which tiles of a source hold every feature; the embedded store measures its own."""


class SourceNotUsable(InputError):
    """The source cannot be opened, or cannot be served as a collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """One source to register; the other members are those of `PublishRequest`.

    `source` names kind and place (see `describe_source`). `layer` is needed where the place has several. `credentials`
    is the name of a connection of the settings that a remote service asks for. `options` are further members of the
    description that a kind of source knows, such as `geometry` or `fragment` of PostGIS. `style` draws the map of features: a
    style's name, or its keys; None the default of the geometry. `max_age`: seconds for which kept tiles of what another server
    gives count as current.
    """

    source: str
    tenant: str
    id: str
    titles: Mapping[str, str]
    descriptions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    keywords: tuple[str, ...] = ()
    attribution: str = ""
    licence: str = ""
    licence_url: str | None = None
    access: Access | None = None
    replace: bool = False
    layer: str | None = None
    id_field: str | None = None
    time_field: str | None = None
    credentials: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    style: str | Mapping[str, Any] | None = None
    max_age: int | None = None


def register(request: RegisterRequest, registry: Registry, settings: Settings) -> PublishResult:
    """Register a source as one collection, and return when every new request sees it.

    Raises PublishError (SourceNotUsable where the source does not answer or does not fit) and RegistryError.
    """
    started = time.monotonic()
    if not any(request.titles.get(language) for language in ("en", "zh")):
        raise OptionError("A collection needs a title, in English or Chinese.")
    description = describe_source(request, settings)
    registry.check_publishable(request.tenant, request.id, request.replace)
    configure_sources(source_settings_of(settings))
    try:
        draft, representations, warnings = _described(request, description, settings)
    except ProviderError as error:
        raise SourceNotUsable(f"{request.source}: {error}") from error
    with staging_folder(settings.home) as staging:
        folder = (
            staging / "generation"
        )  # stays empty; generations are numbered, kept and restored by their folders
        folder.mkdir()
        present = registry.collection(request.tenant, request.id) if request.replace else None
        with closed_to_edits(present):
            collection = registry.publish(draft, representations, folder, request.replace)
    return PublishResult(
        collection=collection,
        generation=collection.generation,
        kinds=tuple(collection.representations),
        count=representations[0].properties.get("count"),
        warnings=tuple(warnings),
        seconds=time.monotonic() - started,
    )


def describe_source(request: RegisterRequest, settings: Settings) -> dict[str, Any]:
    """The description of what `request.source` names. Raises OptionError, PublishError."""
    kind, colon, place = request.source.partition(":")
    parse = _PLACES.get(kind)
    if not colon or parse is None:
        raise OptionError(f"{request.source!r} names no source; allowed: {_EXAMPLES}")
    description: dict[str, Any] = {"store": kind, **parse(request, place, settings)}
    if parse is map_place and (request.id_field is not None or request.time_field is not None):
        raise OptionError(f"{kind} is a service of maps, which have no fields (--id-field, --time-field)")
    names = ("id_field", "time_field") if parse is _remote_place else ("id", "time")
    for name, value in zip(names, (request.id_field, request.time_field), strict=True):
        if value is not None:
            description[name] = value
    if request.credentials is not None:
        _check_connection(request.credentials, settings)
        description["credentials"] = request.credentials
    for name, text in request.options.items():
        if name in description:
            raise OptionError(f"--set {name}: is said by the source already ({description[name]!r})")
        description[name] = text
    return description


def _check_connection(name: str, settings: Settings) -> None:
    if name not in settings.sources.connections:
        known = ", ".join(sorted(settings.sources.connections)) or "none"
        raise OptionError(
            f"The settings have no connection {name!r} (there are: {known}). Name it under sources.connections, or in "
            "CHENGTU_SOURCES_CONNECTIONS, for this command and for the server"
        )


def _postgis_place(request: RegisterRequest, place: str, settings: Settings) -> dict[str, Any]:
    match = re.fullmatch(rf"({_NAME})/(?:({_NAME}?)\.)?({_NAME})", place)
    if match is None:
        raise OptionError(f"{request.source!r}: a table is named postgis:CONNECTION/SCHEMA.TABLE")
    _check_connection(match.group(1), settings)
    return {"connection": match.group(1), "schema": match.group(2) or "public", "table": match.group(3)}


def _file_place(request: RegisterRequest, place: str, settings: Settings) -> dict[str, Any]:
    path = Path(place)
    if not path.is_absolute() or "\0" in place:
        raise OptionError(f"{request.source!r}: a file in place is named by its absolute path")
    roots = [root.resolve() for root in settings.sources.file_roots]
    if not any(path.resolve().is_relative_to(root) for root in roots):
        shown = ", ".join(map(str, roots)) or "none"
        raise OptionError(
            f"{path} does not lie in a folder from which files may be served in place (sources.file_roots: {shown}). "
            "Add its folder there, or publish a copy with `chengtu publish`"
        )
    return {"path": str(path), **({} if request.layer is None else {"layer": request.layer})}


def _remote_place(request: RegisterRequest, place: str, settings: Settings) -> dict[str, Any]:
    parts = urlsplit(place)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise OptionError(
            f"{request.source.partition(':')[0]}: a service is named by its http or https address, without user or password "
            "(--credentials names a connection of the settings)"
        )
    if not settings.sources.outgoing:
        raise OptionError("The settings let no remote service be asked (sources.outgoing is false)")
    return {"url": place, **({} if request.layer is None else {"layer": request.layer})}


_PLACES: Mapping[str, Callable[[RegisterRequest, str, Settings], dict[str, Any]]] = MappingProxyType(
    {
        "postgis": _postgis_place,
        "parquet": _file_place,
        "ogr": _file_place,
        "wfs": _remote_place,
        "features": _remote_place,
        "arcgis": _remote_place,
        **dict.fromkeys(KINDS, map_place),
    }
)


def _described(
    request: RegisterRequest, description: dict[str, Any], settings: Settings
) -> tuple[CollectionDraft, list[Representation], list[str]]:
    """Ask the source what it is. Raises PublishError, ProviderError."""
    if description["store"] in KINDS:
        return describe_map(request, description, settings)
    source, style = open_source(None, description), checked_style(request, settings)
    draft, representations, warnings = _describe(request, source, description, style)
    drawn = dict(representations[-1].properties)
    warnings += tested_features(source, drawn, draft.bbox, settings)
    return draft, [*representations[:-1], replace(representations[-1], properties=drawn)], warnings


def _describe(
    request: RegisterRequest,
    source: FeatureSource,
    description: dict[str, Any],
    style: str | dict[str, Any] | None,
) -> tuple[CollectionDraft, list[Representation], list[str]]:
    schema = source.schema
    bbox = tuple(source.bbox) or _WORLD
    half = len(bbox) // 2
    lowest, highest = tile_zooms(
        (bbox[0], bbox[1], bbox[half], bbox[half + 1]), schema.geometry_type, _FULL_ZOOM
    )
    tested = self_test(source)
    features = {
        "source": description,
        "geometry_type": schema.geometry_type,
        "count": source.count(),
        "id_field": request.id_field,
        "time_field": schema.time_field,
        "editable": isinstance(source, EditableSource),
        "conformance": tested.passed,
    }
    tiles = {"min_zoom": lowest, "max_zoom": highest, "tile_matrix_sets": TILE_MATRIX_SETS}
    drawn = map_properties(request, description, style, schema.geometry_type)
    draft = CollectionDraft(
        tenant=request.tenant,
        id=request.id,
        titles=request.titles,
        descriptions=request.descriptions,
        keywords=request.keywords,
        bbox=bbox,
        interval=_interval(source),
        storage_crs=schema.storage_crs or crs_identifier(source.storage.crs),
        access=request.access,
        attribution=request.attribution,
        licence=request.licence,
        licence_url=request.licence_url,
        fields=tuple(
            Field(item.name, item.type, item.format, item.column, item.title) for item in schema.fields
        ),
    )
    representations = [
        Representation(RepresentationKind.FEATURES, "", 0, 0, features),
        Representation(RepresentationKind.TILES, "", 0, 0, tiles),
        Representation(RepresentationKind.MAP, "", 0, 0, drawn),
    ]
    return draft, representations, [f"Self-test of {uri}: {why}" for uri, why in tested.failed.items()]


def _interval(source: FeatureSource) -> Interval | None:
    """The temporal extent, from the first and the last feature by time; None where the source cannot sort."""
    name = source.schema.time_field
    if name is None or Ability.SORTBY not in source.abilities:
        return None
    ends: list[str | None] = []
    for descending in (False, True):
        query = ItemQuery(
            limit=1, sortby=(SortKey(name, descending),), properties=(name,), skip_geometry=True
        )
        values = source.columns(query).columns.columns[name]
        if not values or values[0] is None:
            return None
        ends.append(str(values[0]))
    return Interval(ends[0], ends[1])
