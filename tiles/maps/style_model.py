"""The parts of a checked map style. All are immutable and hash by value, so that a style can be a cache key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tiles.maps.style_filters import Filter

MAXIMUM_ZOOM = 24
type Scaled = float | tuple[tuple[float, float], ...]
"""A number, or (zoom, number) pairs with rising zoom between which it is interpolated. Zoom levels are those of the web map
grid with 256 pixels a tile: MapLibre counts one less at the same scale."""

type Placement = Literal["point", "line"]
type Anchor = Literal[
    "center", "left", "right", "top", "bottom", "top-left", "top-right", "bottom-left", "bottom-right"
]
"""The part of a label or icon that stands on its point, as in MapLibre: "left" puts the text to the right of the point."""

type Shape = Literal["circle", "square", "triangle", "star", "cross", "x"]


@dataclass(frozen=True, slots=True)
class FieldText:
    """The value of the first of these fields that a feature has."""

    fields: tuple[str, ...]


type TextPart = str | FieldText


_SHORTEST_DASHES, _LONGEST_DASH = 1.0, 10_000.0


def drawable_dashes(lengths: Sequence[float]) -> tuple[float, ...]:
    """Dashes and gaps in pixels; () (a line without gaps) where all together are shorter than a pixel.

    A line of thousands of millions of dashes would never be drawn to its end.
    """
    found = tuple(min(abs(one), _LONGEST_DASH) for one in lengths)
    return found if sum(found) >= _SHORTEST_DASHES else ()


@dataclass(frozen=True, slots=True)
class PolygonSymbol:
    """The inside of polygons: a colour, and over it, where there is one, the icon `pattern` repeated."""

    fill: str
    opacity: Scaled = 1.0
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class LineSymbol:
    """Lines, and the outlines of polygons; width and offset (to the right of its direction) in pixels."""

    stroke: str
    width: Scaled = 1.0
    opacity: Scaled = 1.0
    dash: tuple[float, ...] = ()
    cap: str = "round"
    join: str = "round"
    offset: Scaled = 0.0


@dataclass(frozen=True, slots=True)
class PointSymbol:
    """A disc or another shape on points (and inside polygons); size is its diameter in pixels, rotation clockwise."""

    fill: str
    size: Scaled = 6.0
    stroke: str = "#ffffff"
    stroke_width: float = 1.0
    opacity: Scaled = 1.0
    shape: Shape = "circle"
    rotation: float = 0.0


@dataclass(frozen=True, slots=True)
class IconSymbol:
    """An icon of the folder of icons, by name, on points (and inside polygons); size is its height in pixels.

    Without `overlap` an icon that would cover another one, or a label, is left out.
    """

    icon: str
    size: Scaled = 20.0
    opacity: Scaled = 1.0
    rotation: float = 0.0
    anchor: Anchor = "center"
    overlap: bool = True


@dataclass(frozen=True, slots=True)
class LabelSymbol:
    """Text of a field, or of the parts of `text` where there are some; sizes are pixels, offsets to the right and down."""

    field: str = ""
    fill: str = "#333333"
    size: Scaled = 11.0
    halo: str = "#ffffff"
    halo_width: float = 1.5
    placement: Placement = "point"
    spacing: float = 300.0
    offset: float = 0.0
    text: tuple[TextPart, ...] = ()
    offset_x: float = 0.0
    anchor: Anchor = "center"
    rotation: float = 0.0
    opacity: Scaled = 1.0
    wrap: float = 90.0
    overlap: bool = False

    @property
    def parts(self) -> tuple[TextPart, ...]:
        """What is written, in order."""
        return self.text or (FieldText((self.field,)),)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it is written from."""
        return tuple(field for part in self.parts if isinstance(part, FieldText) for field in part.fields)


type Symbol = PolygonSymbol | LineSymbol | PointSymbol | IconSymbol | LabelSymbol


@dataclass(frozen=True, slots=True)
class Rule:
    """Symbols for the features that meet the filter (None: all), between two zoom levels (inclusive).

    `otherwise` takes the features no other rule of the pass has drawn. `min_scale` and `max_scale` are scale denominators
    (0.28 mm a pixel): the rule is drawn from min_scale up to, not including, max_scale. `layer` names the data it is for,
    where a document draws several; "" for any.
    """

    symbols: tuple[Symbol, ...]
    name: str = ""
    filter: Filter | None = None
    otherwise: bool = False
    min_zoom: int = 0
    max_zoom: int = MAXIMUM_ZOOM
    min_scale: float | None = None
    max_scale: float | None = None
    title: tuple[tuple[str, str], ...] = ()
    layer: str = ""


type RasterKind = Literal["rgb", "ramp", "intervals", "classes", "hillshade"]


@dataclass(frozen=True, slots=True)
class RasterStyle:
    """How the numbers of a raster become colours.

    `bands` count from 1: three of them for "rgb", one otherwise; `expression` takes the place of one band (see
    tiles.maps.band_expression). `span` is the range of values from the first to the last colour, `spans` one for each band of
    "rgb"; None takes it from the data (2nd to 98th percentile). `ramp` has (position from 0 to 1, colour); `intervals` has
    (upper end, colour), the upper end not included, None for no end; `classes` maps numbers to colours; `labels` names
    classes and intervals by their place. `gamma` brightens the middle of "rgb" and "ramp". `hillshade` from 0 to 1 darkens
    slopes; `exaggeration` multiplies heights for it only; `multidirectional` lights from four sides.
    """

    kind: RasterKind
    bands: tuple[int, ...]
    span: tuple[float, float] | None = None
    ramp: tuple[tuple[float, str], ...] = ()
    classes: tuple[tuple[float, str], ...] = ()
    hillshade: float = 0.0
    azimuth: float = 315.0
    altitude: float = 45.0
    exaggeration: float = 1.0
    resampling: str = "bilinear"
    expression: str | None = None
    spans: tuple[tuple[float, float], ...] = ()
    intervals: tuple[tuple[float | None, str], ...] = ()
    labels: tuple[str, ...] = ()
    gamma: float = 1.0
    opacity: float = 1.0
    multidirectional: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """A checked style: passes of rules for vector data (a pass is drawn over the one before), or `raster`.

    `title` has keys "en" and perhaps "zh". `background` is the colour of a map of this style alone. `icon_folder` is where its
    icons are; without it icons and patterns are not drawn. Equal styles are equal and hash alike.
    """

    title: tuple[tuple[str, str], ...] = ()
    passes: tuple[tuple[Rule, ...], ...] = ()
    raster: RasterStyle | None = None
    background: str | None = None
    icon_folder: str | None = None
