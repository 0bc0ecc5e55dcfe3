"""Which collections a map shows, in which style, at which time, and in which order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from providers.features.query import TimeInterval
from server.http.collection_index import Box as IndexBox
from server.http.context import RequestContext
from server.http.errors import InvalidParameter, NotFound
from server.http.map_sources import Drawing
from server.http.maps import bounds84
from server.http.ogc.map_crs import Box, known_crs, transformed_box
from server.http.ogc.map_drawing import MapLayer
from server.http.ogc.map_query import MapQuery
from server.identity.decision import Decision
from server.registry.catalogue import CRS84, Collection, Interval, RepresentationKind
from tiles.crs import metres_per_unit
from tiles.errors import MapSourceError, RasterError, StyleError, UnknownInstant
from tiles.grids import STANDARD_PIXEL

Kind = RepresentationKind
MOST_COLLECTIONS = 20
"""The most collections of one map."""
_FIRST, _LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
_log = logging.getLogger(__name__)


class MapChoice(NamedTuple):
    """A collection of a map, allowed; `style` None: its default."""

    collection: Collection
    decision: Decision
    style: str | None = None


# --- which collections -----------------------------------------------------------------------------------------------------------


def collection_choice(here: RequestContext, public_id: str, style: str | None) -> MapChoice:
    """A collection to be shown alone. Raises NotFound, also for a style that is not offered for it."""
    collection, decision = here.having(public_id, Kind.MAP)
    return MapChoice(
        collection, decision, None if style is None else own_style(here, collection, style, decision)
    )


def own_style(here: RequestContext, collection: Collection, style: str, decision: Decision) -> str:
    """The id of a style within its tenant, of the id this view knows it by. Raises NotFound where it is not offered."""
    offered = _styles_of(here, collection, decision)
    plain = style.removeprefix(f"{collection.tenant}.") if here.scope.tenant is None else style
    if plain not in offered:
        raise NotFound(
            f"style {style[:100]!r} is not offered for {here.scope.public_id(collection)!r}; there are: {', '.join(offered)}"
        )
    return plain


def _styles_of(here: RequestContext, collection: Collection, decision: Decision) -> Sequence[str]:
    from server.registry.style_choice import style_ids

    directory = here.services.settings.styles_directory
    return style_ids(here.catalogue, collection, directory, hidden=decision.hidden_fields)


def parse_collections(here: RequestContext, text: str | None) -> tuple[str, ...] | None:
    """The public ids that `collections` names, by id or by address here; None where it is not given.

    Raises InvalidParameter.
    """
    if text is None:
        return None
    prefix = f"{here.root}/collections/"
    names = tuple(dict.fromkeys(name.strip().removeprefix(prefix) for name in text.split(",")))
    allowed = f"1 to {MOST_COLLECTIONS} ids of collections, divided by commas"
    if not all(names) or len(names) > MOST_COLLECTIONS:
        raise InvalidParameter(
            f"collections={text[:200]!r}; allowed: {allowed}", "collections", text, allowed
        )
    return names


def dataset_choices(here: RequestContext, names: Sequence[str] | None, style: str | None) -> list[MapChoice]:
    """The collections of a map of the whole view, lowest first: those named in their order, or all that can be shown.

    With a style, those it is offered for. Raises NotFound where there is none, InvalidParameter for a name that has no map.
    """
    if names is not None:
        return [_named(here, name, style) for name in names]
    found = []
    for collection in here.services.visible(here.catalogue, here.scope, here.who):
        if Kind.MAP not in collection.representations:
            continue
        allowed, decision = here.collection(here.scope.public_id(collection))
        own = None if style is None else _offered(here, allowed, style, decision)
        if style is None or own is not None:
            found.append(MapChoice(allowed, decision, own))
    if not found:
        what = "with a map" if style is None else f"with a map in style {style[:100]!r}"
        raise NotFound(f"there is no collection {what} here")
    found.sort(key=lambda choice: _height(choice.collection))
    return found


def _named(here: RequestContext, name: str, style: str | None) -> MapChoice:
    collection, decision = here.collection(name)
    if Kind.MAP not in collection.representations:
        raise InvalidParameter(
            f"collection {name!r} has no map; it has: {', '.join(collection.representations)}",
            "collections",
            name,
            "collections with a map",
        )
    return MapChoice(
        collection, decision, None if style is None else own_style(here, collection, style, decision)
    )


def _offered(here: RequestContext, collection: Collection, style: str, decision: Decision) -> str | None:
    try:
        return own_style(here, collection, style, decision)
    except NotFound:
        return None


def _height(collection: Collection) -> int:
    """Images lie below areas, these below lines and points."""
    features = collection.representations.get(Kind.FEATURES)
    if features is None:
        return 0
    kind = str(features.properties.get("geometry_type", "")).removeprefix("Multi")
    return {"Polygon": 1, "LineString": 2, "Point": 4}.get(kind, 3)


def in_box(here: RequestContext, choices: Sequence[MapChoice], box84: Box, *, named: bool) -> list[MapChoice]:
    """Those that may have anything to show in a box. Raises InvalidParameter where they are too many and were not named."""
    if named or len(choices) == 1:
        return list(choices)
    index = here.services.index(here.catalogue, here.scope, here.who)
    meeting = {collection.qualified_id for collection in index.selected((), IndexBox(*box84))}
    found = [choice for choice in choices if choice.collection.qualified_id in meeting]
    if len(found) > MOST_COLLECTIONS:
        raise InvalidParameter(
            f"{len(found)} collections lie in this map; name those wanted, at most {MOST_COLLECTIONS}: collections=a,b",
            "collections",
            "",
            f"at most {MOST_COLLECTIONS} ids of collections",
        )
    return found


def box84_of(query: MapQuery) -> Box:
    """The box of a map in degrees of CRS84; the whole world where it cannot be told."""
    try:
        west, south, east, north = transformed_box(query.bbox, query.system, known_crs(CRS84))
    except InvalidParameter:
        return -180.0, -90.0, 180.0, 90.0
    if east - west >= 360:
        return -180.0, south, 180.0, north
    return west, south, east - 360 if east > 180 else east, north


def extent_of_all(choices: Sequence[MapChoice]) -> Box:
    """The box around all of them in CRS84; the whole round where one lies over the antimeridian."""
    boxes = [bounds84(choice.collection) for choice in choices]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if len(boxes) > 1 and any(box[0] > box[2] for box in boxes):
        return -180.0, south, 180.0, north
    return min(box[0] for box in boxes), south, max(box[2] for box in boxes), north


# --- at which time ---------------------------------------------------------------------------------------------------------------


def instant_of(collection: Collection, interval: TimeInterval | None) -> str | None:
    """What a source is asked for: an instant of a raster's, an interval of features; None for everything, or without time.

    Without an interval a raster with instants shows its latest. Raises UnknownInstant where a raster has none in it.
    """
    if interval is None or interval == (None, None):
        return None
    features = collection.representations.get(Kind.FEATURES)
    if features is not None:
        if not features.properties.get("time_field"):
            return None
        start, end = interval.start or _FIRST, interval.end or _LAST
        return start if start == end else f"{start}/{end}"
    instants = instants_of(collection)
    if not instants:
        return None
    found = [
        instant
        for instant in instants
        if (interval.start is None or _comparable(instant) >= _comparable(interval.start))
        and (interval.end is None or _comparable(instant) <= _comparable(interval.end))
    ]
    if not found:
        raise UnknownInstant(
            f"{collection.id} has no instant between {interval.start or '..'} and {interval.end or '..'}; it has"
            f" {len(instants)} from {instants[0]} to {instants[-1]}"
        )
    return found[-1]


def instants_of(collection: Collection) -> Sequence[str]:
    """The instants of a raster, rising; () for one without time, and for features."""
    coverage = collection.representations.get(Kind.COVERAGE)
    if coverage is None or not coverage.properties.get("instants"):
        return ()
    from tiles.rasters import open_raster

    return open_raster(collection.directory, coverage.path, coverage.properties).description.instants


def _comparable(instant: str) -> str:
    base, _, fraction = instant.removesuffix("Z").partition(".")
    return f"{base}.{fraction:0<9}"


def content_datetime(choices: Sequence[MapChoice], interval: TimeInterval | None) -> str | None:
    """The value of `Content-Datetime`: the time shown; None where nothing of the map has a time (OGC 20-058, 7.6)."""
    spans = [span for choice in choices if (span := _span(choice.collection, interval)) is not None]
    if not spans:
        return None
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    return start if start == end else f"{start}/{end}"


def _span(collection: Collection, interval: TimeInterval | None) -> tuple[str, str] | None:
    instants = instants_of(collection)
    if instants:
        instant = instant_of(collection, interval) or instants[-1]
        return instant, instant
    features = collection.representations.get(Kind.FEATURES)
    if features is None or not features.properties.get("time_field"):
        return None
    whole = collection.interval or Interval(None, None)
    start, end = interval or (None, None)
    start, end = start or whole.start, end or whole.end
    return None if start is None or end is None else (start, end)


# --- what draws them -------------------------------------------------------------------------------------------------------------


def layers_of(
    here: RequestContext, choices: Sequence[MapChoice], query: MapQuery, *, named: bool
) -> list[MapLayer]:
    """What draws the collections. Of those nobody named, one that cannot be drawn is left out and logged: the others go on.

    Raises UnknownInstant where none has anything of that time, and errors of the sources.
    """
    drawn = drawings_of(here, choices, query.interval, named=named)
    scale = query.resolution * metres_per_unit(query.crs) / STANDARD_PIXEL
    return [
        MapLayer(
            drawing.source,
            drawing.instant,
            whole=any(low <= scale < high for low, high in drawing.labelled),
            slow=drawing.slow,
            name=choice.collection.qualified_id,
        )
        for choice, drawing in drawn
    ]


def drawings_of(
    here: RequestContext, choices: Sequence[MapChoice], interval: TimeInterval | None, *, named: bool
) -> list[tuple[MapChoice, Drawing]]:
    """The same as drawings, for tiles."""
    found: list[tuple[MapChoice, Drawing]] = []
    missing = None
    for choice in choices:
        try:
            instant = instant_of(choice.collection, interval)
            drawing = here.services.maps.drawing(
                choice.collection, choice.decision, choice.style, instant, catalogue=here.catalogue
            )
            found.append((choice, drawing))
        except UnknownInstant as error:
            missing = error
        except (StyleError, MapSourceError, RasterError) as error:
            if named:
                raise
            log_left_out(choice.collection.qualified_id, error)
    if missing is not None and not found:
        raise missing
    return found


def log_left_out(collection: str, error: Exception) -> None:
    """One collection of a map that nobody named cannot be drawn: a line in the log, and the others go on."""
    _log.warning("collection left out of a map", extra={"collection": collection, "reason": str(error)})
