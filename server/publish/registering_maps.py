"""The maps of registered sources: drawn here from features that lie elsewhere, or by another server altogether."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from providers.features.sources import SourceSettings
from providers.maps.changes import DEFAULT_MAX_AGE, REMOTE_STORES
from providers.maps.remote import describe_remote_map, open_remote_map
from server.publish.building import TILE_MATRIX_SETS
from server.publish.errors import OptionError
from server.publish.styles import usable_style
from server.registry.catalogue import Interval, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.settings import Settings
from server.settings.sources import source_settings_of

if TYPE_CHECKING:
    from providers.features.source import FeatureSource
    from server.publish.registering import RegisterRequest
    from tiles.maps.source import MapSource

MAXIMUM_AGE = 366 * 86_400


def map_place(request: RegisterRequest, place: str, settings: Settings) -> dict[str, Any]:
    """Address and layer of a map service: URL#LAYER, or URL with --layer. Raises OptionError."""
    address, hash_, layer = place.partition("#")
    kind = request.source.partition(":")[0]
    try:
        parts = urlsplit(address)
        usable = (
            parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.password)
        )
    except ValueError:
        usable = None
    if not usable:
        raise OptionError(
            f"{kind}: a map service is named by its http or https address, without user or password (--credentials names a "
            "connection of the settings)"
        )
    if not settings.sources.outgoing and not settings.sources.allowed_hosts:
        raise OptionError("The settings let no remote service be asked (sources.outgoing is false)")
    if hash_ and request.layer is not None:
        raise OptionError("The layer is named twice: after # and by --layer")
    chosen = layer or request.layer
    return {"url": address, **({} if not chosen else {"layer": chosen})}


def checked_style(request: RegisterRequest, settings: Settings) -> str | dict[str, Any] | None:
    """The style of features that was asked for, None where none was. Raises OptionError for one that does not fit."""
    if request.style is None:
        return None
    if usable_style(request.style, settings).raster is not None:
        raise OptionError("The style (--style) is for rasters; name one for features, or leave it out.")
    return request.style if isinstance(request.style, str) else dict(request.style)


def map_properties(
    request: RegisterRequest,
    description: Mapping[str, Any],
    style: str | dict[str, Any] | None,
    geometry_type: str,
) -> dict[str, Any]:
    """The map representation of features in place. Raises OptionError."""
    from tiles.maps.styles import default_style_name

    properties: dict[str, Any] = {
        "style": style if style is not None else default_style_name(geometry_type),
        "tile_matrix_sets": TILE_MATRIX_SETS,
    }
    if description["store"] in REMOTE_STORES:
        properties["max_age"] = max_age(request)
    elif request.max_age is not None:
        raise OptionError(
            f"--max-age is for what another server gives; a {description['store']} source says itself when it has changed"
        )
    return properties


def tested_features(
    source: FeatureSource, properties: dict[str, Any], bbox: tuple[float, ...], settings: Settings
) -> list[str]:
    """Ask the map of features about itself: what it passes of OGC API - Maps joins `properties`; what it fails, as warnings."""
    from providers.maps.feature_map import FeatureMapSource

    drawn = FeatureMapSource(source, style=usable_style(properties["style"], settings))
    timed = source.schema.time_field is not None
    return _tested(drawn, properties, bbox, source.schema.storage_crs or "OGC:CRS84", timed=timed)


def _tested(
    source: MapSource, properties: dict[str, Any], bbox: tuple[float, ...], crs: str, *, timed: bool = False
) -> list[str]:
    from tiles.maps.self_test import map_self_test

    half = len(bbox) // 2
    tested = map_self_test(source, (bbox[0], bbox[1], bbox[half], bbox[half + 1]), crs, timed=timed)
    properties["conformance"] = tested.passed
    # A map that cannot be drawn at all fails every class for one reason: it is said once.
    reasons = {why: uri for uri, why in reversed(tested.failed.items())}
    return [f"Self-test of {uri}: {why}" for why, uri in reversed(reasons.items())]


def max_age(request: RegisterRequest) -> int:
    """Seconds for which kept tiles count as current. Raises OptionError."""
    age = DEFAULT_MAX_AGE if request.max_age is None else request.max_age
    if not 0 <= age <= MAXIMUM_AGE:
        raise OptionError(f"--max-age is a number of seconds from 0 to {MAXIMUM_AGE}, not {age}")
    return age


def describe_map(
    request: RegisterRequest, description: Mapping[str, Any], settings: Settings
) -> tuple[CollectionDraft, list[Representation], list[str]]:
    """A map of another server as a collection. Raises OptionError, ProviderError."""
    from providers.maps.remote.image_services import crs_uri_of

    if request.style is not None:
        raise OptionError(
            "A map of another server is drawn in its own styles: --set style=NAME names one (wms, wmts)"
        )
    age = max_age(request)
    allowed: SourceSettings = source_settings_of(settings)
    facts = describe_remote_map({**description, "max_age": age}, allowed)
    properties = {"tile_matrix_sets": TILE_MATRIX_SETS, "max_age": age, "remote": facts.remote}
    drawn = open_remote_map(facts.remote, allowed)
    failed = _tested(drawn, properties, facts.bbox, crs_uri_of(facts.crs))
    draft = CollectionDraft(
        tenant=request.tenant,
        id=request.id,
        titles=request.titles,
        descriptions=request.descriptions or ({"en": facts.description} if facts.description else {}),
        keywords=request.keywords or facts.keywords,
        bbox=facts.bbox,
        interval=_interval(facts.times),
        storage_crs=crs_uri_of(facts.crs),
        access=request.access,
        attribution=request.attribution or facts.attribution,
        licence=request.licence,
        licence_url=request.licence_url,
    )
    representations = [Representation(RepresentationKind.MAP, "", 0, 0, properties)]
    return draft, representations, [*facts.notes, *failed]


def _interval(times: tuple[str, ...]) -> Interval | None:
    """The temporal extent of instants and periods; dates without a time count as midnight in UTC."""
    ends = [part for each in times for part in each.split("/")[:2]]
    stated = sorted(end for end in ends if end not in ("", "..") and end[:4].isdigit())
    if not stated:
        return None
    return Interval(_instant(stated[0]), None if ".." in ends else _instant(stated[-1]))


def _instant(text: str) -> str:
    return (
        text
        if "T" in text
        else f"{(text + '-01-01')[:10] if len(text) == 4 else (text + '-01')[:10]}T00:00:00Z"
    )
