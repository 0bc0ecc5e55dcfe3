"""The parts of a checked map style. All are immutable and hash by value, so that a style can be a cache key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAXIMUM_ZOOM = 24
type Scaled = float | tuple[tuple[int, float], ...]
"""A number, or (zoom, number) pairs with rising zoom between which it is interpolated."""

type Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """What a feature's field must be: one of `values`, or in [minimum, maximum), or merely there."""

    field: str
    values: tuple[Scalar, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class PolygonSymbol:
    """The inside of polygons."""

    fill: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class LineSymbol:
    """Lines, and the outlines of polygons; width in pixels."""

    stroke: str
    width: Scaled = 1.0
    opacity: float = 1.0
    dash: tuple[float, ...] = ()
    cap: str = "round"
    join: str = "round"


@dataclass(frozen=True, slots=True)
class PointSymbol:
    """A disc on points (and inside polygons); size is its diameter in pixels."""

    fill: str
    size: Scaled = 6.0
    stroke: str = "#ffffff"
    stroke_width: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class LabelSymbol:
    """Text of a field; `placement` is "point" or "line", sizes are pixels."""

    field: str
    fill: str = "#333333"
    size: Scaled = 11.0
    halo: str = "#ffffff"
    halo_width: float = 1.5
    placement: str = "point"
    spacing: float = 300.0
    offset: float = 0.0


type Symbol = PolygonSymbol | LineSymbol | PointSymbol | LabelSymbol


@dataclass(frozen=True, slots=True)
class Rule:
    """Symbols for the features that meet all conditions, between two zoom levels (inclusive).

    `otherwise` takes the features no other rule of the pass has drawn.
    """

    symbols: tuple[Symbol, ...]
    name: str = ""
    conditions: tuple[Condition, ...] = ()
    otherwise: bool = False
    min_zoom: int = 0
    max_zoom: int = MAXIMUM_ZOOM


type RasterKind = Literal["rgb", "ramp", "classes", "hillshade"]


@dataclass(frozen=True, slots=True)
class RasterStyle:
    """How the numbers of a raster become colours.

    `bands` count from 1: three of them for "rgb", one otherwise. `span` is the range of values from the first to the last
    colour; None takes it from the data (2nd to 98th percentile). `ramp` has (position from 0 to 1, colour); `classes` maps
    whole numbers to colours. `hillshade` from 0 to 1 darkens slopes; `exaggeration` multiplies heights for it only.
    """

    kind: RasterKind
    bands: tuple[int, ...]
    span: tuple[float, float] | None = None
    ramp: tuple[tuple[float, str], ...] = ()
    classes: tuple[tuple[int, str], ...] = ()
    hillshade: float = 0.0
    azimuth: float = 315.0
    altitude: float = 45.0
    exaggeration: float = 1.0
    resampling: str = "bilinear"


@dataclass(frozen=True, slots=True)
class Style:
    """A checked style: passes of rules for vector data (a pass is drawn over the one before), or `raster`.

    `title` has keys "en" and perhaps "zh". Equal styles are equal and hash alike.
    """

    title: tuple[tuple[str, str], ...] = ()
    passes: tuple[tuple[Rule, ...], ...] = ()
    raster: RasterStyle | None = None
