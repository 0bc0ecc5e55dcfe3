"""From columns of plain numbers to point records: what each column is, which scale fits, what is left out.

Formats that are no LAS (text, PLY, E57, binary EPT) give columns by name. A first pass over them tells their spans (`Spans`), from
which a `Layout` is made once; a second pass turns columns into records with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats.quantising import Triple, choose_offset, choose_scale
from pointclouds.las.extra_bytes import describe, fitting_name
from pointclouds.las.layout import FIELDS, SCAN_ANGLE_STEP, Records, record_dtype
from pointclouds.las.structures import GPS_STANDARD_TIME

Columns = Mapping[str, npt.NDArray[Any]]
"""Values (n,) by name; X, Y and Z among them, in CRS units."""

_SAMPLE: Final = 50_000
_LONGEST_AXIS: Final = 1e9
_WEEK: Final = 604_800.0
_LARGEST: Final = {
    "Classification": 255,
    "UserData": 255,
    "PointSourceId": 65_535,
    "ReturnNumber": 15,
    "NumberOfReturns": 15,
    "Synthetic": 1,
    "KeyPoint": 1,
    "Withheld": 1,
    "Overlap": 1,
    "ScannerChannel": 3,
    "ScanDirectionFlag": 1,
    "EdgeOfFlightLine": 1,
}
"""Dimensions of whole numbers, and the largest number each has room for."""
_BITS: Final = {
    "ReturnNumber": ("Returns", 0),
    "NumberOfReturns": ("Returns", 4),
    "Synthetic": ("Flags", 0),
    "KeyPoint": ("Flags", 1),
    "Withheld": ("Flags", 2),
    "Overlap": ("Flags", 3),
    "ScannerChannel": ("Flags", 4),
    "ScanDirectionFlag": ("Flags", 6),
    "EdgeOfFlightLine": ("Flags", 7),
}
_COLOURS: Final = ("Red", "Green", "Blue")
_ALIASES: Final = {
    "X": "x easting east e lon lng long longitude point_x 东坐标 横坐标 经度 x坐标",
    "Y": "y northing north n lat latitude point_y 北坐标 纵坐标 纬度 y坐标",
    "Z": "z height elevation altitude alt h elev point_z 高程 高度 z坐标",
    "Intensity": "intensity i reflectance amplitude scalar_intensity 强度 反射强度",
    "Red": "r red diffuse_red 红",
    "Green": "g green diffuse_green 绿",
    "Blue": "b blue diffuse_blue 蓝",
    "Infrared": "infrared nir 近红外",
    "Classification": "classification class classify scalar_classification 分类 类别",
    "ReturnNumber": "returnnumber return_number return_num scalar_returnnumber 回波号 回波次序",
    "NumberOfReturns": "numberofreturns number_of_returns num_returns scalar_numberofreturns 回波数 回波总数",
    "GpsTime": "gpstime gps_time gpsseconds scalar_gpstime gps时间",
    "ScanAngle": "scanangle scan_angle scan_angle_rank scananglerank scalar_scananglerank 扫描角",
    "UserData": "userdata user_data scalar_userdata",
    "PointSourceId": "pointsourceid point_source_id pt_src_id scalar_pointsourceid 航带号",
    "Synthetic": "synthetic",
    "KeyPoint": "keypoint key_point",
    "Withheld": "withheld",
    "Overlap": "overlap",
    "ScannerChannel": "scannerchannel scanner_channel scan_channel",
    "ScanDirectionFlag": "scandirectionflag scan_direction_flag scandirection scalar_scandirectionflag",
    "EdgeOfFlightLine": "edgeofflightline edge_of_flight_line scalar_edgeofflightline",
}
_BY_ALIAS: Final = {alias: name for name, text in _ALIASES.items() for alias in text.split()}


def dimension_of(name: str) -> str:
    """The LAS dimension that a column of this name means, whatever its case; the name itself where it means none."""
    plain = name.strip().strip("\"'").strip()
    return _BY_ALIAS.get(plain.lower().replace(" ", "_"), _BY_ALIAS.get(plain.lower(), plain))


def dimensions_of(names: Sequence[str]) -> list[str]:
    """The dimensions that columns mean. Where several mean the same, the one of the plainest name ("z", not "height") has it and
    the others keep their own names; where none is plain, all of them mean it."""
    meant = [dimension_of(name) for name in names]
    plain = {dimension for name, dimension in zip(names, meant, strict=True) if _is_plain(name, dimension)}
    return [
        dimension
        if meant.count(dimension) == 1 or dimension not in plain or _is_plain(name, dimension)
        else name.strip()
        for name, dimension in zip(names, meant, strict=True)
    ]


def _is_plain(name: str, dimension: str) -> bool:
    return name.strip().strip("\"'").lower() == dimension.lower()


@dataclass
class Span:
    """What was seen of one column: its ends, and whether all of it were whole numbers."""

    kind: str
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True

    def add(self, values: npt.NDArray[Any]) -> None:
        """See further values; those that are not finite do not count."""
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
            self.whole = self.whole and bool((values == np.rint(values)).all())
        if len(values):
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))


@dataclass
class Spans:
    """Collects what a first pass sees. `kept` counts points, `left_out` those without three finite coordinates."""

    columns: dict[str, Span] = field(default_factory=dict)
    kept: int = 0
    left_out: int = 0
    sample: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))

    def add(self, columns: Columns) -> int:
        """See a block of points; returns how many of them have finite coordinates."""
        good = finite(columns)
        count = int(np.count_nonzero(good))
        for name, values in columns.items():
            span = self.columns.setdefault(name, Span(values.dtype.str))
            span.add(values if count == len(values) else values[good])
        if len(self.sample) < _SAMPLE:
            part = np.stack([columns[axis][good][:_SAMPLE] for axis in "XYZ"], axis=1).astype(np.float64)
            self.sample = np.concatenate([self.sample, part])
        self.kept += count
        self.left_out += len(good) - count
        return count

    @property
    def low(self) -> Triple:
        """Lowest x, y, z."""
        return self.columns["X"].low, self.columns["Y"].low, self.columns["Z"].low

    @property
    def high(self) -> Triple:
        """Highest x, y, z."""
        return self.columns["X"].high, self.columns["Y"].high, self.columns["Z"].high


def finite(columns: Columns) -> npt.NDArray[np.bool_]:
    """Points (n,) whose three coordinates are finite numbers."""
    good = np.isfinite(columns["X"])
    for axis in "YZ":
        good &= np.isfinite(columns[axis])
    return np.asarray(good)


@dataclass(frozen=True)
class _Way:
    """How one column gets into a record: round(value * factor + shift) into `name`."""

    name: str
    factor: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Layout:
    """How columns become records of point format 6, 7 or 8. `notes` say what was chosen and left out."""

    point_format: int
    scale: Triple
    offset: Triple
    ways: Mapping[str, _Way]
    extra: tuple[tuple[str, np.dtype[Any]], ...]
    notes: tuple[str, ...]
    global_encoding: int = 0

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The packed record."""
        return record_dtype(self.point_format, self.extra)

    @property
    def extra_structs(self) -> bytes:
        """The extra dimensions described (192 bytes each)."""
        return b"".join(describe(name, dtype) for name, dtype in self.extra)

    def records(self, columns: Columns) -> Records:
        """The points with finite coordinates as packed records, in their order."""
        good = finite(columns)
        records = np.zeros(int(np.count_nonzero(good)), self.dtype)
        everything = len(records) == len(good)
        for axis, name in enumerate("XYZ"):
            values = columns[name] if everything else columns[name][good]
            records[name] = np.rint((values.astype(np.float64) - self.offset[axis]) / self.scale[axis])
        for name, way in self.ways.items():
            if name in columns:  # of several scans in a file some lack what others have
                _fill(records, way, columns[name] if everything else columns[name][good])
        return records


def _fill(records: Records, way: _Way, values: npt.NDArray[Any]) -> None:
    plain = way.factor == 1.0 and way.shift == 0.0
    target = way.name if way.name not in _BITS else _BITS[way.name][0]
    kind = records.dtype[target].kind
    if values.dtype.kind == "f" and kind != "f":
        values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if not plain:
        values = values.astype(np.float64) * way.factor + way.shift
    if values.dtype.kind == "f" and kind != "f":
        values = np.rint(values)
    if way.name in _BITS:
        field_name, shift = _BITS[way.name]
        records[field_name] |= values.astype(np.uint8) << np.uint8(shift)
    else:
        records[way.name] = values.astype(records.dtype[way.name])


def make_layout(
    spans: Spans, name: str, *, geographic: bool = False, scale: float | None = None, encoding: int = 0
) -> Layout:
    """Choose scale, offset, point format and the place of every column.

    Args:
        name: the file's, for messages.
        geographic: x and y are degrees.
        scale: in place of what the data suggest.
        encoding: global encoding bits that the format itself implies.

    Raises:
        EmptyPointCloudError: no point has finite coordinates.
        UnreadablePointCloudError: coordinates farther than any place on Earth, or a scale they do not fit in.
    """
    if spans.kept == 0:
        lost = f" ({spans.left_out} without finite coordinates)" if spans.left_out else ""
        raise EmptyPointCloudError(f"{name} holds no points{lost}; there is nothing to publish")
    if max(*(abs(value) for value in (*spans.low, *spans.high))) > _LONGEST_AXIS:
        raise UnreadablePointCloudError(
            f"{name}: coordinates run from {_place(spans.low)} to {_place(spans.high)}, farther than any place on Earth; "
            "check which columns are x, y and z"
        )
    chosen = choose_scale(spans.sample, spans.low, spans.high, name, geographic=geographic, asked=scale)
    planner = _Planner(spans.columns)
    planner.plan()
    notes = [f"coordinates are kept in steps of {_steps(chosen)}", *planner.notes]
    if spans.left_out:
        notes.append(f"{spans.left_out} points without finite coordinates were left out")
    return Layout(
        point_format=planner.point_format(),
        scale=chosen,
        offset=choose_offset(spans.low, spans.high),
        ways=planner.ways,
        extra=tuple(planner.extra),
        notes=tuple(notes),
        global_encoding=encoding | planner.encoding,
    )


def _place(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _steps(scale: Triple) -> str:
    return f"{scale[0]:g}" if len(set(scale)) == 1 else ", ".join(f"{value:g}" for value in scale)


class _Planner:
    """Decides for one column after another; what a standard dimension has no room for becomes an extra dimension."""

    def __init__(self, spans: Mapping[str, Span]) -> None:
        self.spans = spans
        self.ways: dict[str, _Way] = {}
        self.extra: list[tuple[str, np.dtype[Any]]] = []
        self.encoding = 0
        self.notes: list[str] = []
        self._taken = {name for name, _ in FIELDS[8]} | set(_BITS)

    def plan(self) -> None:
        for name, span in self.spans.items():
            if name in ("X", "Y", "Z", *_COLOURS):
                continue
            if span.low > span.high:
                continue  # not one number in it
            self._plan_one(name, span)
        self._plan_colours()

    def point_format(self) -> int:
        if "Infrared" in self.ways:
            return 8
        return 7 if "Red" in self.ways else 6

    def _plan_one(self, name: str, span: Span) -> None:
        if name == "Intensity":
            self.ways[name] = self._intensity(span)
        elif name == "Infrared":
            self.ways[name] = _Way(name, self._colour_factor([span], "infrared"))
        elif name == "GpsTime":
            self.ways[name] = _Way(name)
            if span.low > _WEEK and span.high < 1e9:
                self.encoding = GPS_STANDARD_TIME
                self.notes.append("GPS times are taken as adjusted standard GPS time")
        elif name == "ScanAngle" and span.low >= -180 and span.high <= 180:
            self.ways[name] = _Way(name, 1 / SCAN_ANGLE_STEP)
        elif name in _LARGEST and span.whole and span.low >= 0 and span.high <= _LARGEST[name]:
            self.ways[name] = _Way(name)
        else:
            self._plan_extra(name, span)

    def _plan_extra(self, name: str, span: Span) -> None:
        fitting = fitting_name(name, self._taken)
        self._taken.add(fitting)
        kind = np.dtype(span.kind).newbyteorder("<")
        if kind == np.dtype("<f8") and span.whole and max(abs(span.low), abs(span.high)) < 2**31:
            kind = np.dtype("<i4")
        elif kind.kind == "b":
            kind = np.dtype("u1")
        self.ways[name] = _Way(fitting)
        self.extra.append((fitting, kind))
        if fitting != name:
            self.notes.append(f"{name} became the extra dimension {fitting}")

    def _intensity(self, span: Span) -> _Way:
        if span.low >= 0 and span.high <= 1 and not span.whole:
            self.notes.append("intensities of 0 to 1 became 0 to 65535")
            return _Way("Intensity", 65_535.0)
        if span.low >= 0 and span.high <= 65_535:
            return _Way("Intensity")
        factor = 65_535.0 / ((span.high - span.low) or 1.0)
        self.notes.append(f"intensities of {span.low:g} to {span.high:g} became 0 to 65535")
        return _Way("Intensity", factor, -span.low * factor)

    def _plan_colours(self) -> None:
        spans = [self.spans[name] for name in _COLOURS if name in self.spans]
        if len(spans) < 3:
            for name in _COLOURS:
                if name in self.spans:
                    self._plan_extra(name.lower(), self.spans[name])
                    self.ways[name] = self.ways.pop(name.lower())
            return
        factor = self._colour_factor(spans, "colours")
        for name in _COLOURS:
            self.ways[name] = _Way(name, factor)

    def _colour_factor(self, spans: list[Span], what: str) -> float:
        highest = max(span.high for span in spans)
        if np.dtype(spans[0].kind) == np.dtype("u2"):
            return 1.0
        if highest <= 1 and not all(span.whole for span in spans):
            self.notes.append(f"{what} of 0 to 1 became 0 to 65535")
            return 65_535.0
        if highest <= 255:
            self.notes.append(f"{what} of 8 bits became 16 bits")
            return 257.0
        if highest <= 65_535:
            return 1.0
        self.notes.append(f"{what} of 0 to {highest:g} became 0 to 65535")
        return 65_535.0 / highest
