"""What a reader can choose about the map of a collection: its style, and its instant."""

from __future__ import annotations

from collections.abc import Iterator

from server.http.context import RequestContext
from server.http.ogc.map_layers import instants_of
from server.identity.decision import Decision
from server.pages import StyleChoice
from server.registry.catalogue import Collection, RepresentationKind
from server.registry.style_choice import (
    ResolvedStyle,
    default_style_id,
    is_raster,
    resolve_style,
    style_ids,
)

_MOST_STYLES = 50
_MOST_INSTANTS = 5000
_ANY_FIELD = frozenset({"name"})
"""Fields so common that having them does not make a style one for a collection."""


def style_choices(
    here: RequestContext, collection: Collection, decision: Decision
) -> tuple[StyleChoice, ...]:
    """The styles that show something of a collection, its default first; () without a map or for a cascaded one.

    Styles of the installation for other bands, geometries or fields are left out, though they are served if asked for.
    """
    map_ = collection.representations.get(RepresentationKind.MAP)
    if map_ is None or "remote" in map_.properties:
        return ()
    return tuple(
        StyleChoice(style.id, style.title.get(here.language) or style.title.get("en") or style.id)
        for style in _suitable(here, collection, decision)
    )[:_MOST_STYLES]


def map_instants(collection: Collection) -> tuple[str, ...]:
    """The latest instants that a raster can be shown at, rising; () for one without time, or that cannot be read now."""
    from tiles.errors import RasterError

    try:
        return tuple(instants_of(collection)[-_MOST_INSTANTS:])
    except RasterError:
        return ()  # its map and coverage say what is wrong; the page goes on


def _suitable(here: RequestContext, collection: Collection, decision: Decision) -> Iterator[ResolvedStyle]:
    from tiles.errors import StyleError

    directory = here.services.settings.styles_directory
    default = default_style_id(collection)
    for id_ in style_ids(here.catalogue, collection, directory, hidden=decision.hidden_fields):
        try:
            found = resolve_style(here.catalogue, collection, id_, directory)
        except StyleError:
            continue  # served as an error where it is asked for; no reason to lose the page
        own = (collection.tenant, id_) in here.catalogue.styles
        if id_ == default or own or _suits(found, collection):
            yield found


def _suits(found: ResolvedStyle, collection: Collection) -> bool:
    """Whether a style of the installation is for data like these."""
    if is_raster(collection):
        coverage = collection.representations.get(RepresentationKind.COVERAGE)
        bands = len(coverage.properties.get("bands", ())) if coverage else 0
        raster = found.style.raster
        return raster is not None and max(raster.bands, default=1) <= bands
    from tiles.maps.mapnik_style import style_fields

    fields = set(style_fields(found.style)) - _ANY_FIELD
    return bool(fields & {field.name for field in collection.fields})
