"""Legends in the values of the data: a style that takes its range from them has none of its own to show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from tiles.maps.style_model import Style


def in_values(style: Style, collection: Collection | None) -> Style:
    """The style with the range that a raster collection is drawn in; as it is where it has one, or nothing is known of it."""
    raster = style.raster
    if collection is None or raster is None or raster.kind != "ramp" or raster.span or raster.expression:
        return style
    span = _span(collection, raster.bands[0])
    return style if span is None else replace(style, raster=replace(raster, span=span))


def _span(collection: Collection, band: int) -> tuple[float, float] | None:
    """2nd to 98th percentile of a band, as publishing kept them; None where it kept none, or where all values are one."""
    coverage = collection.representations.get(RepresentationKind.COVERAGE)
    bands = coverage.properties.get("bands", ()) if coverage else ()
    if not 0 < band <= len(bands):
        return None
    low, high = bands[band - 1].get("percentile_2"), bands[band - 1].get("percentile_98")
    return (float(low), float(high)) if low is not None and high is not None and low < high else None
