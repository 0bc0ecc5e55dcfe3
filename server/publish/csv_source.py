"""Delimited text with coordinates in two columns, or with well-known text in one."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import shapely

from server.publish.errors import DamagedFile, InvalidGeometry, OptionError, TextEncodingError
from server.publish.inputs import Input
from server.publish.request import ReadingOptions
from server.publish.text_encoding import text_file_encoding
from server.publish.vectors import BATCH_SIZE, Batch, Geometries
from server.registry.catalogue import Field

LONGITUDE_NAMES = ("longitude", "lon", "long", "lng", "经度", "經度", "gps_longitude", "gps_lon", "lon_dd")
LATITUDE_NAMES = ("latitude", "lat", "纬度", "緯度", "gps_latitude", "gps_lat", "lat_dd")
EAST_NAMES = ("x", "easting", "east", "point_x", "coord_x", "x_coord", "xcoord", "东坐标", "横坐标")
NORTH_NAMES = ("y", "northing", "north", "point_y", "coord_y", "y_coord", "ycoord", "北坐标", "纵坐标")
WKT_NAMES = ("wkt", "geometry", "geom", "the_geom", "geometry_wkt", "wkt_geom", "几何")

_DELIMITERS = ",;\t|"
_LARGEST_VALUE = 64 * 1024 * 1024
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?\.?\d*([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_WKT = re.compile(r"\s*(SRID=\d+;)?(MULTI)?(POINT|LINESTRING|POLYGON)|\s*GEOMETRYCOLLECTION", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the geometry is: two columns of numbers, or one of well-known text (then `y` is -1)."""

    x: int
    y: int
    degrees: bool


class CsvSource:
    """One file. Raises OptionError, DamagedFile, TextEncodingError, InvalidGeometry."""

    def __init__(self, item: Input, options: ReadingOptions) -> None:
        self.name = item.name
        self._path = item.path
        encoding = text_file_encoding(item.path, options.encoding)
        self._codec = encoding.codec
        self.warnings: list[str] = []
        if encoding.how == "bytes" and encoding.codec not in ("utf-8", "utf-8-sig"):
            self.warnings.append(
                f"{item.name} was read as {encoding.codec}, found from its bytes. If names look wrong, publish again with "
                "--encoding."
            )
        self._delimiter = self._find_delimiter()
        self._header = self._read_header()
        self._place = _find_place(self._header, self._first_row(), options, self.name)
        self.crs: pyproj.CRS | None = (
            pyproj.CRS.from_authority("OGC", "CRS84") if self._place.degrees else None
        )
        self.expected: int | None
        self.expected, self.fields = self._learn()

    def _find_delimiter(self) -> str:
        with self._opened() as file:
            line = file.readline(1_000_000)
        return max(_DELIMITERS, key=lambda mark: (line.count(mark), -_DELIMITERS.index(mark)))

    @contextmanager
    def _opened(self) -> Iterator[io.TextIOWrapper]:
        """The text, with our words for what cannot be decoded or split."""
        try:
            with self._path.open(encoding=self._codec, newline="") as file:
                yield file
        except csv.Error as error:
            raise DamagedFile(f"{self.name} is not delimited text: {error}.") from error
        except UnicodeDecodeError as error:
            raise TextEncodingError(
                f"{self.name} is not in {self._codec}: byte {error.object[error.start]:#04x}. Name the right encoding with "
                "--encoding."
            ) from error

    def _read_header(self) -> list[str]:
        header = [name.strip() or f"column_{number}" for number, name in enumerate(next(self._rows(), []), 1)]
        doubles = sorted({name for name in header if header.count(name) > 1})
        if doubles:
            raise OptionError(
                f"{self.name} has two columns named {doubles[0]!r}. Give each column a name of its own."
            )
        if not header:
            raise DamagedFile(f"{self.name} has no header line.")
        return header

    def _first_row(self) -> list[str]:
        return next(itertools.islice(self._rows(), 1, None), [])

    def _rows(self) -> Iterator[list[str]]:
        """All rows with something in them, the header first."""
        csv.field_size_limit(_LARGEST_VALUE)  # of the process; the default is too small for well-known text
        with self._opened() as file:
            yield from (row for row in csv.reader(file, delimiter=self._delimiter) if row)

    def _numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows after the header with their numbers, the header's being 1."""
        for number, row in enumerate(itertools.islice(self._rows(), 1, None), 2):
            if len(row) != len(self._header):
                raise DamagedFile(
                    f"Row {number} of {self.name} has {len(row)} values, the header {len(self._header)}: the file is cut off, "
                    "or a value with a delimiter is not in quotes."
                )
            yield number, row

    def _learn(self) -> tuple[int, tuple[Field, ...]]:
        """The number of rows, and the type of each column that is not a coordinate: the narrowest all its values fit."""
        comma = self._delimiter != ","
        kinds: list[set[str]] = [set() for _ in self._header]
        count = 0
        for _, row in self._numbered_rows():
            count += 1
            for found, value in zip(kinds, row, strict=True):
                if value and len(found) < 4:
                    found.add(_kind(value, comma))
        hidden = {self._place.x, self._place.y}
        fields = [
            _field(name, found)
            for index, (name, found) in enumerate(zip(self._header, kinds, strict=True))
            if index not in hidden
        ]
        return count, tuple(fields)

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises InvalidGeometry, DamagedFile."""
        rows = self._numbered_rows()
        while part := list(itertools.islice(rows, BATCH_SIZE)):
            positions = {name: index for index, name in enumerate(self._header)}
            columns = {
                field.name: [_value(row[positions[field.name]], field) for _, row in part]
                for field in self.fields
            }
            yield Batch(self._geometries(part), columns)

    def _geometries(self, part: Sequence[tuple[int, list[str]]]) -> Geometries:
        geometries: Geometries = np.full(len(part), None, dtype=object)
        if self._place.y < 0:
            for index, (number, row) in enumerate(part):
                geometries[index] = self._from_wkt(row[self._place.x], number)
            return geometries
        present, positions = [], []
        for index, (number, row) in enumerate(part):
            x, y = row[self._place.x].strip(), row[self._place.y].strip()
            if x or y:
                present.append(index)
                positions.append((self._coordinate(x, number), self._coordinate(y, number)))
        if positions:
            geometries[present] = shapely.points(np.array(positions))
        return geometries

    def _coordinate(self, text: str, number: int) -> float:
        if self._delimiter != ",":
            text = text.replace(",", ".", 1)
        try:
            return float(text)
        except ValueError as error:
            raise InvalidGeometry(
                f"Row {number} of {self.name} has the coordinate {text!r}; a number is needed."
            ) from error

    def _from_wkt(self, text: str, number: int) -> shapely.Geometry | None:
        if not text.strip():
            return None
        try:
            return shapely.from_wkt(
                text.rsplit(";", maxsplit=1)[-1] if text.lstrip().upper().startswith("SRID") else text
            )
        except shapely.errors.ShapelyError as error:
            raise InvalidGeometry(
                f"Row {number} of {self.name} has broken well-known text: {error} ({text[:60]!r})."
            ) from error


def _find_place(header: Sequence[str], row: Sequence[str], options: ReadingOptions, source: str) -> _Place:
    names = {name.casefold(): index for index, name in enumerate(header)}

    def column(name: str) -> int:
        if name not in header:
            raise OptionError(f"{source} has no column {name!r}. Its columns: {', '.join(header)}.")
        return header.index(name)

    def first(candidates: Sequence[str]) -> int:
        return next((names[name] for name in candidates if name in names), -1)

    if options.wkt_column:
        return _Place(column(options.wkt_column), -1, degrees=False)
    if options.x_column or options.y_column:
        if not (options.x_column and options.y_column):
            raise OptionError("Name both columns of coordinates, --x-column and --y-column.")
        x, y = column(options.x_column), column(options.y_column)
        degrees = (
            options.x_column.casefold() in LONGITUDE_NAMES and options.y_column.casefold() in LATITUDE_NAMES
        )
        return _Place(x, y, degrees)
    for east, north, degrees in ((LONGITUDE_NAMES, LATITUDE_NAMES, True), (EAST_NAMES, NORTH_NAMES, False)):
        if (x := first(east)) >= 0 and (y := first(north)) >= 0:
            return _Place(x, y, degrees)
    wkt = first(WKT_NAMES)
    if 0 <= wkt < len(row) and _WKT.match(row[wkt]):
        return _Place(wkt, -1, degrees=False)
    raise OptionError(
        f"{source} has no columns known to hold coordinates, such as longitude and latitude. Name them with --x-column and "
        f"--y-column, or --wkt-column. Its columns: {', '.join(header)}."
    )


def _kind(value: str, comma: bool) -> str:
    if _INTEGER.fullmatch(value):
        return "integer"
    number = value.replace(",", ".", 1) if comma else value
    if _NUMBER.fullmatch(number) and any(map(str.isdigit, number)) and not re.match(r"[+-]?0\d", number):
        return "number"
    if value.casefold() in ("true", "false"):
        return "boolean"
    if _DATE.fullmatch(value):
        return "date"
    return "date-time" if _DATE_TIME.fullmatch(value) else "text"


def _field(name: str, kinds: set[str]) -> Field:
    if kinds == {"integer", "number"}:
        return Field(name, "number")
    if len(kinds) == 1 and (kind := next(iter(kinds))) != "text":
        return Field(name, "string", kind) if kind.startswith("date") else Field(name, kind)
    return Field(name, "string")


def _value(text: str, field: Field) -> Any:
    if text == "":
        return None
    if field.type == "integer":
        return int(text)
    if field.type == "number":
        return float(text.replace(",", ".", 1))
    if field.type == "boolean":
        return text.casefold() == "true"
    return text
