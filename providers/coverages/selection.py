"""Fitting a request to a coverage: which cells, bands and instants, in which CRS, and how many cells of the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from providers.coverages.axes import Axis
from providers.coverages.errors import OutsideCoverage
from providers.coverages.instants import chosen_instants
from providers.coverages.references import (
    axis_labels,
    box_between,
    named_reference,
    own_reference,
    same,
    transformer,
)
from providers.coverages.request import AxisRange, CoverageRequest
from providers.coverages.windows import Window, bounds_of, cell_of, meet, window_of
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from tiles.rasters.source import Bounds, RasterBand, RasterDescription, Resampling

_MOST_CELLS = 1 << 20
"""Cells a side of an answer that is only counted, before it is refused for its size."""
_OPEN = AxisRange(None, None, False)
_TURN = 360.0


class Piece(NamedTuple):
    """A part to be read: its outer edges in the CRS of the answer, and its columns. Two where a box crosses the coverage's seam."""

    bounds: Bounds
    columns: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read. `instants` is (None,) for the newest state, or where there is no time; `timed` says which.

    `bounds` are the outer edges of the answer in the CRS `reference`, which may run past 180 degrees; `pieces` lie side by side
    from west to east. `sliced` axes have one cell and are no dimension of the answer.
    """

    description: RasterDescription
    reference: ReferenceSystem
    bands: tuple[RasterBand, ...]
    instants: tuple[str | None, ...]
    timed: bool
    bounds: Bounds
    rows: int
    pieces: tuple[Piece, ...]
    sliced: frozenset[Axis]
    warped: bool
    resampling: Resampling

    @property
    def columns(self) -> int:
        """Cells of a row."""
        return sum(piece.columns for piece in self.pieces)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    @property
    def values(self) -> int:
        """How many values the answer holds."""
        return self.rows * self.columns * len(self.bands) * len(self.instants)


class _Wanted(NamedTuple):
    """The part asked for: edges in the CRS `reference`, unbounded by the coverage; which axes are slices."""

    bounds: Bounds
    reference: ReferenceSystem
    sliced: frozenset[Axis]


def select(
    request: CoverageRequest,
    description: RasterDescription,
    maximum_values: int,
    *,
    all_instants: bool = False,
) -> Selection:
    """Fit a request to a coverage. Without a time in the request: the newest state, or all instants with `all_instants`.

    Raises InvalidParameter, OutsideCoverage, UnknownInstant, and AnswerTooLarge beyond `maximum_values`.
    """
    bands = bands_of(request.properties, description)
    instants = _instants(request, description, all_instants)
    wanted = _wanted(request, description)
    own = own_reference(description)
    out = own if request.crs is None else named_reference("crs", request.crs)
    chosen = (
        _in_own_crs(request, description, wanted, own)
        if same(out, own)
        else _in_other_crs(request, description, wanted, own, out)
    )
    bounds, rows, pieces, resampled = chosen
    sliced = wanted.sliced | _sliced_time(request)
    selection = Selection(
        description=description,
        # The order of axes of the answer's CRS is the one that was asked for.
        reference=out,
        bands=bands,
        instants=instants,
        timed=bool(instants != (None,)),
        bounds=bounds,
        rows=rows,
        pieces=pieces,
        sliced=sliced,
        warped=not same(out, own),
        resampling=_resampling(bands, resampled, warped=not same(out, own)),
    )
    check_size(selection, request, maximum_values)
    return selection


def _sliced_time(request: CoverageRequest) -> frozenset[Axis]:
    return frozenset({"time"}) if request.time is not None and request.time.slice else frozenset()


def check_size(selection: Selection, request: CoverageRequest, maximum_values: int) -> None:
    """Raises AnswerTooLarge beyond `maximum_values`; the message names the scale-factor that fits."""
    if selection.values <= maximum_values:
        return
    rows, columns = selection.shape
    factor = math.ceil(math.sqrt(selection.values / maximum_values) * 10) / 10 * (request.scale_factor or 1.0)
    times = f" at {len(selection.instants)} instants" if selection.timed else ""
    fewer = ", fewer instants by datetime" if len(selection.instants) > 1 else ""
    raise AnswerTooLarge(
        f"The answer would hold {columns} x {rows} cells of {len(selection.bands)} bands{times}, {selection.values} values; "
        f"at most {maximum_values} are given at once in this format. Ask for a smaller bbox or subset, fewer properties{fewer}, "
        f"scale-size, or scale-factor={factor:g}"
    )


def bands_of(names: tuple[str, ...], description: RasterDescription) -> tuple[RasterBand, ...]:
    """The bands of `properties`, by number or by name, in the order asked; "*" stands for those not named yet."""
    if not names:
        return description.bands
    by_name = {str(band.number): band for band in description.bands}
    by_name |= {band.name: band for band in description.bands}
    chosen: list[RasterBand] = []
    for name in names:
        if name == "*":
            chosen += [band for band in description.bands if band not in chosen]
        elif name in by_name and by_name[name] not in chosen:
            chosen.append(by_name[name])
        else:
            allowed = ", ".join(f"{band.number} ({band.name})" for band in description.bands)
            raise InvalidParameter("properties", ",".join(names), f"each once of {allowed}")
    return tuple(chosen)


def _instants(
    request: CoverageRequest, description: RasterDescription, all_instants: bool
) -> tuple[str | None, ...]:
    if request.time is not None:
        return chosen_instants(description.instants, request.time)
    return description.instants if all_instants and description.instants else (None,)


# --- the part asked for --------------------------------------------------------------------------------------------------


def _wanted(request: CoverageRequest, description: RasterDescription) -> _Wanted:
    own = own_reference(description)
    if request.box is not None:
        return _Wanted(request.box, request.box_reference or own, frozenset())
    if request.bbox is not None:
        system = named_reference("bbox-crs", request.bbox_crs)
        return _Wanted(_box(request.bbox, system), system, frozenset())
    if not request.subset:
        return _Wanted(description.bounds, own, frozenset())
    return _from_subset(request, description, own)


def _box(numbers: tuple[float, float, float, float], system: ReferenceSystem) -> Bounds:
    first, second, third, fourth = numbers
    box = Bounds(second, first, fourth, third) if system.swap else Bounds(*numbers)
    geographic = system.horizontal.is_geographic
    if box.south > box.north or (box.west > box.east and not geographic):
        shown = ",".join(f"{one:g}" for one in numbers)
        raise InvalidParameter("bbox", shown, "the lower corner before the upper one")
    if geographic and not (-90 <= box.south <= box.north <= 90):
        shown = ",".join(f"{one:g}" for one in numbers)
        raise InvalidParameter("bbox", shown, "latitudes from -90 to 90")
    return box


def _from_subset(request: CoverageRequest, description: RasterDescription, own: ReferenceSystem) -> _Wanted:
    system = own
    if request.subset_crs is not None:
        system = named_reference("subset-crs", request.subset_crs)
    elif request.subset_in_degrees and not own.horizontal.is_geographic:
        system = reference_system(CRS84)
    geographic = system.horizontal.is_geographic
    if request.subset_in_degrees and not geographic:
        raise InvalidParameter(
            "subset", ",".join(request.subset), "the axes E and N of the CRS of subset-crs"
        )
    x, y = request.subset.get("x", _OPEN), request.subset.get("y", _OPEN)
    _check_order(y, wraps=False)
    _check_order(x, wraps=geographic)
    sliced: frozenset[Axis] = frozenset(axis for axis, part in request.subset.items() if part.slice)
    if len(sliced) == 1 and not same(system, own):
        raise InvalidParameter(
            "subset",
            ",".join(request.subset),
            f"a slice by one axis only in the coverage's own CRS ({' and '.join(axis_labels(own))}), or by both",
        )
    whole = box_between("subset", description.bounds, own, system)
    return _Wanted(
        Bounds(
            whole.west if x.low is None else x.low,
            whole.south if y.low is None else y.low,
            whole.east if x.high is None else x.high,
            whole.north if y.high is None else y.high,
        ),
        system,
        sliced,
    )


def _check_order(part: AxisRange, *, wraps: bool) -> None:
    if part.low is not None and part.high is not None and part.low > part.high and not wraps:
        raise InvalidParameter(
            "subset", f"{part.low:g}:{part.high:g}", "an interval whose low end is not above its high end"
        )


# --- cells of the coverage's own grid ------------------------------------------------------------------------------------

type _Cells = tuple[Bounds, int, tuple[Piece, ...], float]
"""Edges, rows, pieces, and how many cells of the coverage one of the answer stands for along an axis (at least)."""


def _in_own_crs(
    request: CoverageRequest, description: RasterDescription, wanted: _Wanted, own: ReferenceSystem
) -> _Cells:
    asked = _in_own_coordinates(request, wanted, own)
    windows = _windows(description, asked, own, wanted)
    if not windows:
        raise _outside(request, description, own)
    height, width = windows[0][0].height, sum(window.width for window, _ in windows)
    seen = [_shifted(bounds_of(description, window), -turn) for window, turn in windows]
    bounds = Bounds(seen[0].west, seen[0].south, seen[-1].east, seen[0].north)
    rows, columns = _scaled(request, (height, width), asked, bounds)
    pieces = []
    left = 0
    for number, (window, _) in enumerate(windows):
        share = columns - left if number == len(windows) - 1 else round(columns * window.width / width)
        pieces.append(Piece(bounds_of(description, window), max(share, 1)))
        left += max(share, 1)
    return bounds, rows, tuple(pieces), min(height / rows, width / columns)


def _in_own_coordinates(request: CoverageRequest, wanted: _Wanted, own: ReferenceSystem) -> Bounds:
    name = "bbox" if request.bbox is not None else "subset"
    box = wanted.bounds
    if same(wanted.reference, own):
        across = box.west > box.east and own.horizontal.is_geographic
        return box._replace(east=box.east + _TURN) if across else box
    if wanted.sliced:
        change = transformer(wanted.reference.horizontal, own.horizontal)
        x, y = change.transform(box.west, box.south)
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InvalidParameter(
                name, f"{box.west:g},{box.south:g}", "a position within the area of the CRS"
            )
        return Bounds(x, y, x, y)
    return box_between(name, box, wanted.reference, own)


def _windows(
    description: RasterDescription, asked: Bounds, own: ReferenceSystem, wanted: _Wanted
) -> list[tuple[Window, float]]:
    """The windows that hold the part asked for, west to east as it sees them, each with the turn to its place in the file."""
    turns = (0.0, -_TURN, _TURN) if own.horizontal.is_geographic else (0.0,)
    found = []
    for turn in turns:
        window = _window(description, _shifted(asked, turn), wanted.sliced)
        if window.width > 0 and window.height > 0:
            found.append((window, turn))
    if len(found) > 1 and asked.east - asked.west > _TURN:
        found = found[:1]  # once around and more: the whole of it, as it lies
    return sorted(found, key=lambda one: bounds_of(description, one[0]).west - one[1])


def _window(description: RasterDescription, asked: Bounds, sliced: frozenset[Axis]) -> Window:
    """Cells of a box; of a slice the one it lies in."""
    whole = description.bounds
    inside = meet(asked, whole)
    if inside.west > inside.east or inside.south > inside.north:
        return Window(0, 0, 0, 0)
    window = window_of(description, inside)
    cell = cell_of(description, inside.west, inside.north)
    if cell is not None and "x" in sliced:
        window = window._replace(column=cell[0], width=1)
    if cell is not None and "y" in sliced:
        window = window._replace(row=cell[1], height=1)
    return window


def _shifted(box: Bounds, turn: float) -> Bounds:
    return box if turn == 0 else Bounds(box.west + turn, box.south, box.east + turn, box.north)


def _outside(
    request: CoverageRequest, description: RasterDescription, own: ReferenceSystem
) -> OutsideCoverage:
    name = "bbox" if request.bbox is not None else "subset"
    edges = ", ".join(f"{edge:.9g}" for edge in description.bounds)
    degrees = ", ".join(f"{edge:.7g}" for edge in description.footprint)
    return OutsideCoverage(
        f"No cell of the coverage lies within {name}; its extent is {edges} ({own.crs.name}, "
        f"{', '.join(axis_labels(own))}), in degrees {degrees}"
    )


def _scaled(
    request: CoverageRequest, cells: tuple[int, int], asked: Bounds, bounds: Bounds
) -> tuple[int, int]:
    """(rows, columns) of the answer for (rows, columns) of the coverage."""
    factor = request.scale_factor or 1.0
    rows = _side(cells[0] / request.scale_axes.get("y", factor))
    columns = _side(cells[1] / request.scale_axes.get("x", factor))
    if "y" in request.scale_size:
        share = _share(asked.south, asked.north, bounds.south, bounds.north)
        rows = _side(request.scale_size["y"] * share)
    if "x" in request.scale_size:
        columns = _side(request.scale_size["x"] * _share(asked.west, asked.east, bounds.west, bounds.east))
    return rows, columns


def _share(low: float, high: float, edge_low: float, edge_high: float) -> float:
    """The part of an interval asked for that lies in the coverage: scale-size counts the cells of all of it (req. size, D)."""
    if high <= low:
        return 1.0
    return max(min(high, edge_high) - max(low, edge_low), 0.0) / (high - low)


def _side(cells: float) -> int:
    return min(max(round(cells), 1), _MOST_CELLS)


# --- cells of another CRS ------------------------------------------------------------------------------------------------


def _in_other_crs(
    request: CoverageRequest,
    description: RasterDescription,
    wanted: _Wanted,
    own: ReferenceSystem,
    out: ReferenceSystem,
) -> _Cells:
    if wanted.sliced:
        raise InvalidParameter("crs", out.uri, "the coverage's own CRS where subset names a slice of an axis")
    if wanted.bounds.west > wanted.bounds.east:
        raise InvalidParameter(
            "crs", out.uri, "the coverage's own CRS where the box crosses the antimeridian"
        )
    whole = box_between("crs", description.bounds, own, out)
    asked = box_between("crs", wanted.bounds, wanted.reference, out)
    bounds = meet(asked, whole)
    if bounds.west >= bounds.east or bounds.south >= bounds.north:
        raise _outside(request, description, own)
    size = _cell_size(description, bounds, own, out)
    cells = _side((bounds.north - bounds.south) / size), _side((bounds.east - bounds.west) / size)
    rows, columns = _scaled(request, cells, asked, bounds)
    return bounds, rows, (Piece(bounds, columns),), min(cells[0] / rows, cells[1] / columns)


def _cell_size(
    description: RasterDescription, bounds: Bounds, own: ReferenceSystem, out: ReferenceSystem
) -> float:
    """The side of a square in `out` that covers as much as a cell of the coverage does in the middle of `bounds`."""
    x, y = (bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2
    middle = transformer(out.horizontal, own.horizontal).transform(x, y)
    if not all(map(math.isfinite, middle)):
        raise InvalidParameter("crs", out.uri, "a CRS in which the middle of the part asked for has a place")
    width, height = description.resolution
    back = transformer(own.horizontal, out.horizontal)
    xs, ys = back.transform(
        np.array([middle[0], middle[0] + width, middle[0]]),
        np.array([middle[1], middle[1], middle[1] + height]),
    )
    area = abs((xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0]))
    if not (math.isfinite(area) and area > 0):
        raise InvalidParameter("crs", out.uri, "a CRS in which cells of this coverage have an extent")
    return math.sqrt(area)


# --- values between values -----------------------------------------------------------------------------------------------


def is_continuous(band: RasterBand) -> bool:
    """Whether a value between two values means something: numbers with fractions, and colours. Other integers may be codes."""
    if band.colours is not None:
        return False
    return band.dtype.startswith("float") or band.name in ("red", "green", "blue", "gray")


def _resampling(bands: tuple[RasterBand, ...], shrinks: float, *, warped: bool) -> Resampling:
    """How values come about (/rec/core/default-interpolation): codes stay codes, others are averaged where cells grow.

    Where cells shrink they repeat: no value is given that was not measured. In another CRS continuous values are interpolated.
    """
    if not all(map(is_continuous, bands)):
        return "nearest"
    if shrinks > 1:
        return "average"
    return "bilinear" if warped else "nearest"
