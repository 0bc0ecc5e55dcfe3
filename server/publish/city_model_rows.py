"""City objects as features: kept beside the generation while the models are read, then read back as vector data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyproj
import shapely
from numpy.typing import NDArray

from server.publish.vectors import BATCH_SIZE, Batch
from server.registry.catalogue import Field
from tiles.three_d.city_models.prepare import PreparedBatch

_MEASURES = ("type", "lod", "height")
_LARGEST_INTEGER = 2**63 - 1
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}$")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")


class CityObjectRows:
    """Rows of city objects in a temporary file: `add` while reading, then a `VectorSource`. A context manager, which closes the file.

    Fields are `type`, `lod` (the finest level of detail), `height` (m, the attribute of that name where it is a number, else top minus bottom), and
    every attribute; what has no type of its own becomes JSON text.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.crs: pyproj.CRS | None = None
        self.expected: int | None = 0
        self.warnings: list[str] = []
        self.fields: tuple[Field, ...] = ()
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._kinds: dict[str, set[str]] = {}

    def __enter__(self) -> CityObjectRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, prepared: PreparedBatch, keep: NDArray[np.bool_]) -> None:
        """Keep the objects marked in `keep` (n,)."""
        chosen = np.flatnonzero(keep).tolist()
        heads = [prepared.batch.heads[prepared.rows[row]] for row in chosen]
        for head in heads:
            for name, value in head.attributes.items():
                if value is None:
                    continue
                kinds = self._kinds.get(name)
                if kinds is None:
                    kinds = self._kinds[name] = set()
                # Where some are plain text, it says nothing more that others look like dates.
                if not (type(value) is str and "text" in kinds):
                    kinds.add(_kind(value))
        plans = [content or b"" for content in shapely.to_wkb(prepared.plans[chosen]).tolist()]
        record = {
            "ids": [head.id for head in heads],
            "types": [head.type for head in heads],
            "lods": [f"{lod:g}" for lod in prepared.lods[chosen].tolist()],
            "heights": prepared.heights[chosen].tolist(),
            "attributes": [head.attributes for head in heads],
            "sizes": [len(plan) for plan in plans],
        }
        self._file.write(orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")
        self._file.write(b"".join(plans))
        self.expected = (self.expected or 0) + len(chosen)

    def finish(self, crs: pyproj.CRS) -> None:
        """No more objects come; their plans are in `crs`."""
        self._file.close()
        self.crs = crs
        self.fields = self._fields()

    def _fields(self) -> tuple[Field, ...]:
        """Measures first, then the attributes in the order in which they came."""
        own = (Field("type", "string"), Field("lod", "string"), Field("height", "number"))
        return own + tuple(
            _field(name, kinds) for name, kinds in self._kinds.items() if name not in _MEASURES
        )

    def batches(self) -> Iterator[Batch]:
        """All objects, some thousands at a time."""
        fields = self.fields
        waiting: list[Batch] = []
        count = 0
        with self._path.open("rb") as file:
            while line := file.readline():
                record = orjson.loads(line)
                batch = _batch(record, file, fields)
                waiting.append(batch)
                count += len(batch.geometries)
                if count >= BATCH_SIZE:
                    yield _joined(waiting)
                    waiting, count = [], 0
        if waiting:
            yield _joined(waiting)


def _batch(record: Mapping[str, Any], file: BinaryIO, fields: Sequence[Field]) -> Batch:
    plans = np.array([file.read(size) or None for size in record["sizes"]], dtype=object)
    attributes = record["attributes"]
    columns: dict[str, Sequence[Any]] = {
        "type": record["types"],
        "lod": record["lods"],
        "height": [
            given if _is_number(given := values.get("height")) else measured
            for values, measured in zip(attributes, record["heights"], strict=True)
        ],
    }
    for field in fields[len(_MEASURES) :]:
        name = field.name
        values = [row.get(name) for row in attributes]
        columns[name] = [_text(value) for value in values] if field.type == "string" else values
    return Batch(shapely.from_wkb(plans), columns, record["ids"])


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    names = batches[0].columns
    return Batch(
        np.concatenate([batch.geometries for batch in batches]),
        {name: [value for batch in batches for value in batch.columns[name]] for name in names},
        [name for batch in batches for name in batch.ids or ()],
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if abs(value) <= _LARGEST_INTEGER else "text"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return _text_kind(value)
    return "text"


def _text_kind(value: str) -> str:
    try:
        if _DATE.match(value):
            date.fromisoformat(value)
            return "date"
        if _DATE_TIME.match(value):
            datetime.fromisoformat(value)
            return "date-time"
    except ValueError:
        pass
    return "text"


def _field(name: str, kinds: set[str]) -> Field:
    if kinds in ({"boolean"}, {"integer"}):
        return Field(name, next(iter(kinds)))
    if kinds and kinds <= {"integer", "number"}:
        return Field(name, "number")
    if kinds in ({"date"}, {"date-time"}):
        return Field(name, "string", next(iter(kinds)))
    return Field(name, "string")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
