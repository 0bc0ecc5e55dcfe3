"""GeoJSON (RFC 7946) and GeoJSON text sequences (RFC 8142), read as a stream.

fiona could read them, but it stops at nested values and alters feature ids that are not unique; here ids, nested values
and the place of an error are kept. The file is read twice: once to learn the fields, once for the features.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyproj

from server.publish.errors import DamagedFile, InvalidGeometry, SchemaMismatch, TextEncodingError
from server.publish.inputs import Input
from server.publish.reference_systems import parse_crs
from server.publish.request import ReadingOptions
from server.publish.vectors import BATCH_SIZE, Batch, broken_geometries, geometries_of
from server.registry.catalogue import Field

_CHUNK = 1024 * 1024
_LARGEST_FEATURE = 256 * 1024 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_GEOMETRIES = frozenset(
    ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
)
MAX_FIELDS = 1000


class GeoJSONSource:
    """The features of one file. Raises DamagedFile, TextEncodingError, InvalidGeometry, CrsError, SchemaMismatch."""

    def __init__(self, item: Input, options: ReadingOptions) -> None:
        self.name = item.name
        self._item = item
        self._members: dict[str, Any] = {}
        kinds: dict[str, set[str]] = {}
        count = with_id = 0
        for feature in self._features():
            count += 1
            with_id += feature.get("id") is not None
            for name, value in (feature.get("properties") or {}).items():
                kinds.setdefault(name, set()).add(_kind(value))
            if len(kinds) > MAX_FIELDS:
                raise SchemaMismatch(f"{self.name} has more than {MAX_FIELDS} different property names.")
        self.expected: int | None = count
        self.fields = tuple(_field(name, found) for name, found in kinds.items())
        self._has_ids = count > 0 and with_id == count
        self.warnings: list[str] = []
        self._broken: list[str] | None = [] if options.repair else None
        if with_id and not self._has_ids:
            self.warnings.append(
                f"{with_id} of {count} features of {self.name} have an id; ids were left out, and features numbered."
            )
        self.crs: pyproj.CRS | None = self._crs()

    def _crs(self) -> pyproj.CRS:
        """CRS84 by RFC 7946 clause 4; the `crs` member of GeoJSON 2008 is honoured where there is one."""
        member = self._members.get("crs")
        name = member.get("properties", {}).get("name") if isinstance(member, dict) else None
        if isinstance(name, str):
            return parse_crs(name)
        return pyproj.CRS.from_authority("OGC", "CRS84")

    def _features(self) -> Iterator[dict[str, Any]]:
        if self._item.format.key == "geojsonseq":
            yield from _sequence(self._item.path, self.name)
        else:
            yield from _JsonStream(self._item.path, self.name).features(self._members)

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises InvalidGeometry, DamagedFile."""
        rows: list[dict[str, Any]] = []
        read = 0
        for feature in self._features():
            rows.append(feature)
            if len(rows) == BATCH_SIZE:
                yield self._batch(rows, read + 1)
                read += len(rows)
                rows = []
        if rows:
            yield self._batch(rows, read + 1)
        self.warnings += broken_geometries(self._broken or (), self.name)

    def _batch(self, rows: Sequence[dict[str, Any]], first: int) -> Batch:
        types: list[str | None] = []
        coordinates: list[Any] = []
        for index, row in enumerate(rows):
            geometry = row.get("geometry")
            if geometry is None:
                types.append(None)
                coordinates.append(None)
                continue
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            if kind not in _GEOMETRIES:
                raise InvalidGeometry(
                    f"Feature {first + index} of {self.name} has a geometry of type {kind!r}. "
                    f"Allowed: {', '.join(sorted(_GEOMETRIES))}."
                )
            types.append(str(kind))
            coordinates.append(geometry.get("geometries" if kind == "GeometryCollection" else "coordinates"))
        properties = [row.get("properties") or {} for row in rows]
        columns = {
            field.name: [_value(item.get(field.name), field) for item in properties] for field in self.fields
        }
        ids = [str(row["id"]) for row in rows] if self._has_ids else None
        return Batch(geometries_of(types, coordinates, first, self.name, self._broken), columns, ids)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        if _DATE.fullmatch(value):
            return "date"
        return "date-time" if _DATE_TIME.fullmatch(value) else "text"
    return "json"


def _field(name: str, kinds: set[str]) -> Field:
    kinds = kinds - {"null"}
    if len(kinds) == 1 and (kind := next(iter(kinds))) not in ("text", "json"):
        return Field(name, "string", kind) if kind.startswith("date") else Field(name, kind)
    if kinds == {"integer", "number"}:
        return Field(name, "number")
    return Field(name, "string")


def _value(value: Any, field: Field) -> Any:
    """The value as its field has it: text of what is mixed, JSON of what is nested."""
    if value is None or field.type != "string" or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return json.dumps(value)


def _feature(value: Any, number: int, source: str) -> dict[str, Any]:
    if isinstance(value, dict):
        if value.get("type") in _GEOMETRIES:
            return {"type": "Feature", "geometry": value, "properties": {}}
        properties = value.get("properties")
        if value.get("type") == "Feature" and (properties is None or isinstance(properties, dict)):
            return value
    raise DamagedFile(f"Member {number} of {source} is not a GeoJSON feature: {str(value)[:60]}.")


def _sequence(path: Path, source: str) -> Iterator[dict[str, Any]]:
    """The features of a text sequence: one a line, or each after a record separator (RFC 8142)."""
    number = 0
    with path.open("rb") as file:
        separated = file.read(1) == b"\x1e"
        file.seek(0)
        for text in _records(file) if separated else file:
            stripped = text.strip(b" \t\r\n\x1e\xef\xbb\xbf")
            if not stripped:
                continue
            number += 1
            try:
                value = orjson.loads(stripped)
            except orjson.JSONDecodeError as error:
                raise DamagedFile(
                    f"{source} is truncated or damaged: feature {number} is not JSON ({error}): {stripped[:60]!r}."
                ) from error
            yield _feature(value, number, source)


def _records(file: Any) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\x1e")
        yield from whole
    yield rest


class _JsonStream:
    """Read the features of one JSON object without holding it whole."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._decode = json.JSONDecoder(parse_constant=self._refuse_constant).raw_decode
        self._text = ""
        self._position = 0
        self._before = 0  # characters already dropped
        self._ended = False

    def _refuse_constant(self, name: str) -> float:
        raise InvalidGeometry(
            f"{self._source} holds {name}, which is no JSON number, near character {self._before + self._position}."
        )

    def features(self, members: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Each feature; the other members of the object are put into `members`."""
        try:
            with self._path.open(encoding="utf-8-sig") as self._file:
                yield from self._object(members)
        except UnicodeDecodeError as error:
            raise TextEncodingError(
                f"{self._source} is not UTF-8, as RFC 7946 wants: {error.reason}."
            ) from error

    def _object(self, members: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._expect("{")
        found = False
        if not self._accept("}"):
            while True:
                key = self._value()
                self._expect(":")
                if key == "features" and self._accept("["):
                    found = True
                    yield from self._array()
                else:
                    members[str(key)] = self._value()
                if self._accept("}"):
                    break
                self._expect(",")
        if self._peek():
            raise self._damaged("there is more text after the end of the JSON object")
        if not found:
            yield _feature(members, 1, self._source)

    def _array(self) -> Iterator[dict[str, Any]]:
        number = 0
        if self._accept("]"):
            return
        while True:
            number += 1
            yield _feature(self._value(), number, self._source)
            if self._accept("]"):
                return
            self._expect(",")

    def _value(self) -> Any:
        self._peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._position > _LARGEST_FEATURE:
                    raise self._damaged(error.msg) from error
            except RecursionError as error:
                raise self._damaged("values are nested too deeply") from error
            else:
                # A number at the end of what is read so far may go on.
                if end < len(self._text) or self._ended:
                    self._position = end
                    return value
            self._read(wanted)
            wanted *= 2

    def _read(self, size: int) -> None:
        more = self._file.read(size)
        self._ended = not more
        self._before += self._position
        self._text = self._text[self._position :] + more
        self._position = 0

    def _peek(self) -> str:
        while True:
            match = _SPACE.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if self._ended:
                return ""
            self._read(_CHUNK)

    def _accept(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._position += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._accept(character):
            raise self._damaged(
                f"{character!r} is expected, {self._peek() or 'the end of the file'!r} was found"
            )

    def _damaged(self, what: str) -> DamagedFile:
        place = self._before + self._position
        return DamagedFile(f"{self._source} is truncated or damaged JSON: {what}, at character {place:,}.")
