"""Reading CityJSON 1.0, 1.1, 2.0 and CityJSONSeq.

A CityJSONSeq is read line by line; of a large CityJSON file only the objects at hand and the vertices (in a temporary file) are ever
parsed. What is broken by itself is reported and the rest is read; a file that is no CityJSON raises CityJSONError.
"""

from __future__ import annotations

import mmap
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import orjson

from tiles.three_d.city_models.cityjson_geometry import Templates
from tiles.three_d.city_models.cityjson_objects import ObjectReader
from tiles.three_d.city_models.json_members import Member, inside_of, items_of, members_of
from tiles.three_d.city_models.model import CityBatch, Collector
from tiles.three_d.errors import CityJSONError
from tiles.three_d.placement import Positions
from tiles.three_d.report import ProblemLog

VERSIONS = ("1.0", "1.1", "2.0")
LARGE_BYTES = 16 << 20
# Arrays of more objects leave the cache of a processor core.
OBJECTS_A_BATCH = 500
CORNERS_A_BATCH = 120_000
_LONGEST_LINE = 256 << 20
_PARSED_AT_ONCE = 2 << 20
_TYPE = re.compile(rb'"type"\s*:\s*"CityJSON"')
_FIRST_BYTES = 1 << 20
_NUMBER_AND_SPACE = b"0123456789.+-eE \t\r\n"
# Nothing is given back once it is matched: a text of megabytes is gone through once.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_MARK = b"\xef\xbb\xbf"


def is_cityjson(path: Path) -> bool:
    """True where the file says it is CityJSON or CityJSONSeq; looks at its two ends only."""
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
        if not start.lstrip(_MARK + b" \t\r\n").startswith(b"{"):
            return False
        file.seek(max(0, path.stat().st_size - _FIRST_BYTES))
        return bool(_TYPE.search(start) or _TYPE.search(file.read(_FIRST_BYTES)))


class CityObjects(Protocol):
    """The city objects of a document by name."""

    def __iter__(self) -> Iterator[tuple[str, Any]]: ...

    def __len__(self) -> int: ...

    def find(self, name: str) -> dict[str, Any] | None:
        """One object, None where there is none."""
        ...


class CityJSONFile:
    """One file. `reference_system` is what its metadata say, None for nothing."""

    def __init__(self, path: Path, workspace: Path | None = None, *, large_bytes: int = LARGE_BYTES) -> None:
        """`workspace`: where temporary files may lie. Raises CityJSONError."""
        self.path = path
        self._workspace = workspace
        self._large = path.stat().st_size > large_bytes
        sequence = _sequence_head(path)
        self._is_sequence = sequence is not None
        self._whole: dict[str, Any] | None = None
        self._members: dict[str, Member] = {}
        self._head: dict[str, Any]
        if sequence is not None:
            self._head = sequence
        elif not self._large:
            self._whole = self._head = _parsed(path.read_bytes(), path.name)
        else:
            with _mapped(path) as content:
                self._members = members_of(content)
                self._head = _small_members(content, self._members, path.name)
        _check_head(self._head, path.name)
        self.reference_system = _reference_system(self._head)
        # CityJSON's first number is the easting or longitude, whatever order the CRS gives its axes.
        self.north_first = False
        self.fraction = 0.0

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All objects, some hundreds at a time. Problems of single objects go to `log`. Raises CityJSONError."""
        if self._is_sequence:
            yield from self._sequence(log)
        elif self._whole is not None:
            vertices = vertex_array(self._whole.get("vertices"), "vertices")
            objects = _InMemory(self._whole.get("CityObjects", {}))
            yield from self._document(self._whole, objects, vertices, log)
        else:
            with _mapped(self.path) as content, tempfile.TemporaryFile(dir=self._workspace) as file:
                vertices = _vertices_beside(content, self._members.get("vertices"), file)
                objects_at = self._members.get("CityObjects")
                if objects_at is not None:
                    yield from self._document(self._head, _OnDisk(content, objects_at), vertices, log)

    def _document(
        self, document: dict[str, Any], objects: CityObjects, vertices: Positions, log: ProblemLog
    ) -> Iterator[CityBatch]:
        templates = Templates(self._head.get("geometry-templates"), vertex_array)
        sink = Collector()
        reader = self._reader(document, objects, vertices, templates, sink, log)
        total = max(len(objects), 1)
        for number, (name, value) in enumerate(objects):
            reader.read(name, value)
            self.fraction = number / total
            if len(sink) >= OBJECTS_A_BATCH or sink.corner_count >= CORNERS_A_BATCH:
                yield sink.finish(reader.place)
                sink = Collector()
                reader = self._reader(document, objects, vertices, templates, sink, log)
        if len(sink):
            yield sink.finish(reader.place)

    def _reader(
        self,
        document: Mapping[str, Any],
        objects: CityObjects,
        vertices: Positions,
        templates: Templates,
        sink: Collector,
        log: ProblemLog,
    ) -> ObjectReader:
        return ObjectReader(
            objects.find,
            vertices,
            _transform(self._head),
            templates,
            document.get("appearance"),
            self.path.parent,
            sink,
            log,
        )

    def _sequence(self, log: ProblemLog) -> Iterator[CityBatch]:
        templates = Templates(self._head.get("geometry-templates"), vertex_array)
        sink, parts, offset = Collector(), [], 0
        for document in self._features(log):
            try:
                vertices = vertex_array(document.get("vertices"), "vertices")
                objects = _InMemory(document.get("CityObjects", {}))
            except CityJSONError as error:
                log.add(str(document.get("id")), str(error), "skipped")
                continue
            reader = self._reader(document, objects, vertices, templates, sink, log)
            reader.shift = offset
            for name, value in objects:
                reader.read(name, value)
            parts.append(reader.vertices())
            offset += len(parts[-1])
            if len(sink) >= OBJECTS_A_BATCH or sink.corner_count >= CORNERS_A_BATCH:
                yield sink.finish(np.concatenate(parts).__getitem__)
                sink, parts, offset = Collector(), [], 0
        if len(sink):
            yield sink.finish(np.concatenate(parts).__getitem__)

    def _features(self, log: ProblemLog) -> Iterator[dict[str, Any]]:
        if self._head.get("CityObjects"):
            yield self._head
        with self.path.open("rb") as file:
            file.readline()
            number, size = 1, self.path.stat().st_size
            while line := file.readline(_LONGEST_LINE):
                number += 1
                self.fraction = file.tell() / size
                if not line.strip():
                    continue
                feature = _loads_or_none(line)
                if isinstance(feature, dict) and feature.get("type") == "CityJSONFeature":
                    yield feature
                else:
                    log.add(f"line {number}", "not a CityJSONFeature", "skipped")


class _InMemory:
    def __init__(self, objects: Any) -> None:
        if not isinstance(objects, dict):
            raise CityJSONError(f'"CityObjects" is a {type(objects).__name__}, needed is an object')
        self._objects = objects

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._objects.items())

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, name: str) -> dict[str, Any] | None:
        found = self._objects.get(name)
        return found if isinstance(found, dict) else None


class _OnDisk:
    """City objects parsed from their places in a file: some at once in order, single ones by name."""

    def __init__(self, content: mmap.mmap, member: Member) -> None:
        self._content = content
        self._places: dict[str, tuple[int, int]] = {}
        for start, end in items_of(content, member):
            name = _name_at(content, start, end)
            if name is not None:
                self._places[name] = (start, end)
        self._near: dict[str, Any] = {}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        begin = last = -1
        for start, end in self._places.values():
            # Names given twice leave a gap: only neighbours are parsed together.
            if begin >= 0 and (start != last + 1 or end - begin > _PARSED_AT_ONCE):
                yield from self._parsed(begin, last)
                begin = -1
            if begin < 0:
                begin = start
            last = end
        if begin >= 0:
            yield from self._parsed(begin, last)

    def __len__(self) -> int:
        return len(self._places)

    def _parsed(self, start: int, end: int) -> Iterator[tuple[str, Any]]:
        self._near = _parsed(b"{" + self._content[start:end] + b"}", "the file")
        return iter(list(self._near.items()))

    def find(self, name: str) -> dict[str, Any] | None:
        found = self._near.get(name)
        if found is None and name in self._places:
            start, end = self._places[name]
            found = _parsed(b"{" + self._content[start:end] + b"}", "the file").get(name)
        return found if isinstance(found, dict) else None


def _name_at(content: mmap.mmap | bytes, start: int, end: int) -> str | None:
    quote = content.find(b'"', start, end)
    text = _TEXT.match(content, quote, end) if quote >= 0 else None
    name = None if text is None else _loads_or_none(text[0])
    return name if isinstance(name, str) else None


def _vertices_beside(content: mmap.mmap, member: Member | None, file: Any) -> Positions:
    """All vertices, (v, 3) float64, in `file`."""
    if member is None:
        return np.empty((0, 3))
    count = 0
    begin, last = -1, -1
    _, inner_end = inside_of(content, member)
    for start, end in items_of(content, member):
        begin = start if begin < 0 else begin
        last = end
        if end - begin >= _PARSED_AT_ONCE or end == inner_end:
            count += _append_vertices(content[begin:last], file)
            begin = -1
    if count == 0:
        return np.empty((0, 3))
    file.flush()
    return np.memmap(file, dtype=np.float64, mode="r", shape=(count, 3))


def _append_vertices(text: bytes, file: BinaryIO) -> int:
    part = _integer_vertices(text)
    if part is None:
        part = vertex_array(_parsed(b"[" + text + b"]", "the file"), "vertices")
    file.write(part.tobytes())
    return len(part)


def _integer_vertices(text: bytes) -> Positions | None:
    """Vertices (v, 3) of text that is nothing but triples of numbers, a third of the work; None where it is anything else."""
    shape = text.translate(None, _NUMBER_AND_SPACE)
    if shape != b"[,,]," * (len(shape) // 5) + b"[,,]":
        return None
    flat = _loads_or_none(b"[" + text.translate(None, b"[]") + b"]")
    if flat is None:
        return None
    return np.array(flat, dtype=np.float64).reshape(-1, 3)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _small_members(content: mmap.mmap, members: Mapping[str, Member], name: str) -> dict[str, Any]:
    """All members but the city objects and the vertices."""
    return {
        key: _parsed(content[member.start : member.end], name)
        for key, member in members.items()
        if key not in ("CityObjects", "vertices")
    }


def _sequence_head(path: Path) -> dict[str, Any] | None:
    """The first line of a CityJSONSeq, None where the file is something else."""
    with path.open("rb") as file:
        first = file.readline(_FIRST_BYTES * 16)
        if not first.endswith(b"\n") or not file.read(_FIRST_BYTES).strip():
            return None
    head = _loads_or_none(first.removeprefix(_MARK))
    return head if isinstance(head, dict) else None


def _parsed(content: bytes, name: str) -> Any:
    try:
        return orjson.loads(content.removeprefix(_MARK))
    except orjson.JSONDecodeError as error:
        raise CityJSONError(f"{name} is not valid JSON: {error}") from error


def _loads_or_none(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _check_head(head: Any, name: str) -> None:
    if not isinstance(head, dict) or head.get("type") != "CityJSON":
        found = head.get("type") if isinstance(head, dict) else type(head).__name__
        raise CityJSONError(f'{name} is not CityJSON: its "type" is {found!r}, needed is "CityJSON"')
    if str(head.get("version")) not in VERSIONS:
        raise CityJSONError(
            f"{name} is CityJSON version {head.get('version')!r}; this server reads {', '.join(VERSIONS)}: "
            "upgrade the file with a CityJSON tool"
        )


def _reference_system(head: Mapping[str, Any]) -> str | None:
    metadata = head.get("metadata")
    system = metadata.get("referenceSystem") if isinstance(metadata, dict) else None
    return system if isinstance(system, str) and system else None


def vertex_array(vertices: Any, name: str) -> Positions:
    """(v, 3) float64 of a list of three numbers each. Raises CityJSONError."""
    if not vertices:
        return np.empty((0, 3))
    try:
        flat = np.fromiter(chain.from_iterable(vertices), dtype=np.float64)
        if len(flat) != 3 * len(vertices) or set(map(len, vertices)) != {3}:
            raise ValueError("not three numbers each")
    except (TypeError, ValueError) as error:
        raise CityJSONError(f'"{name}" is not a list of three numbers each: {error}') from error
    return flat.reshape(-1, 3)


def _transform(head: Mapping[str, Any]) -> tuple[Positions, Positions] | None:
    transform = head.get("transform")
    if transform is None:
        return None
    try:
        scale = np.array(transform["scale"], dtype=np.float64)
        translate = np.array(transform["translate"], dtype=np.float64)
    except (TypeError, ValueError, KeyError) as error:
        raise CityJSONError(f'"transform" needs "scale" and "translate" of three numbers: {error}') from error
    if scale.shape != (3,) or translate.shape != (3,):
        raise CityJSONError('"transform" needs "scale" and "translate" of three numbers')
    return scale, translate
