"""Property tables in binary, as glTF (EXT_structural_metadata) and subtrees (OGC 22-025r4 clause 9.6) have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.metadata_schema import SIZES, WIDTHS, Classes, Property

_KINDS = {
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "<i2",
    "UINT16": "<u2",
    "INT32": "<i4",
    "UINT32": "<u4",
    "INT64": "<i8",
    "UINT64": "<u8",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
}
_OFFSET_TYPES = {"UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}
# How far a stated minimum or maximum of 32-bit numbers written as decimals may be off.
_BOUND_TOLERANCE = 1e-5


class Views(NamedTuple):
    """The buffer views of a file: bytes and start (in its buffer) by number, None where one cannot be read."""

    content: Callable[[Any], bytes | None]
    start: Callable[[Any], int | None]


@dataclass(frozen=True, slots=True)
class Table:
    """A property table read back. `columns` has (rows, width) arrays of the fixed-size numeric properties."""

    count: int
    class_id: str
    columns: Mapping[str, NDArray[Any]]
    properties: Mapping[str, Property]


def check_tables(tables: Any, classes: Classes, views: Views, findings: FileFindings) -> list[Table]:
    """All tables of a file, in order, so that others can refer to them by number."""
    if not isinstance(tables, list):
        findings.add("metadata-table", "propertyTables is no list")
        return []
    return [
        _check_table(number, table, classes, views, findings=findings) for number, table in enumerate(tables)
    ]


def _check_table(number: int, table: Any, classes: Classes, views: Views, *, findings: FileFindings) -> Table:
    where = f"property table {number}"
    stated = table if isinstance(table, dict) else {}
    count, name = stated.get("count"), str(stated.get("class"))
    if not isinstance(count, int) or count < 1:
        findings.add("metadata-table", f"{where} has {count!r} rows")
        count = 0
    known = classes.get(name)
    if known is None:
        findings.add("metadata-class", f"{where} is of class {name!r}, which the schema lacks")
        return Table(count, name, {}, {})
    columns = {}
    for key, stored in stated.get("properties", {}).items():
        if key not in known:
            findings.add("metadata-property", f"{where} stores {key!r}, which its class lacks")
        elif isinstance(stored, dict):
            values = _Column(f"{where}, {key}", known[key], stored, count, views, findings).check()
            if values is not None:
                columns[key] = values
    for key, one in known.items():
        given = key in stated.get("properties", {}) or not one.stated.get("required", False)
        findings.require(given, "metadata-property", f"{where} lacks the required {key!r}")
    return Table(count, name, columns, known)


class _Column:
    """One property of a table."""

    def __init__(
        self,
        where: str,
        known: Property,
        stored: dict[str, Any],
        count: int,
        views: Views,
        findings: FileFindings,
    ) -> None:
        self._where, self._property, self._stored = where, known, stored
        self._count, self._views, self._findings = count, views, findings

    def check(self) -> NDArray[Any] | None:
        """Its values (rows, width) where they are numbers of a fixed size and right."""
        self._check_alignment()
        values = self._views.content(self._stored.get("values"))
        elements = self._elements()
        if elements is None:
            return None
        if values is None:
            # Rows of no elements need no bytes.
            self._require(elements == 0, "metadata-values", "its buffer view cannot be read")
            return None
        if self._property.type == "STRING":
            self._check_strings(values, elements)
            return None
        if self._property.type == "BOOLEAN":
            needed = (elements + 7) // 8
            self._require(
                len(values) == needed, "metadata-values", f"{len(values)} bytes, needed are {needed}"
            )
            return None
        return self._check_numbers(values, elements)

    def _check_alignment(self) -> None:
        """Each view starts at a multiple of the size of what it holds (EXT_structural_metadata)."""
        kinds = {
            "values": self._property.component,
            "stringOffsets": self._stored.get("stringOffsetType", "UINT32"),
            "arrayOffsets": self._stored.get("arrayOffsetType", "UINT32"),
        }
        for name, kind in kinds.items():
            start, size = self._views.start(self._stored.get(name)), SIZES.get(str(kind), 1)
            if start is not None:
                self._require(
                    start % size == 0, "metadata-alignment", f"{name} start at byte {start}, not n x {size}"
                )

    def _require(self, condition: bool, rule: str, message: str) -> bool:
        return self._findings.require(condition, rule, f"{self._where}: {message}")

    def _elements(self) -> int | None:
        """How many elements all rows have together."""
        if not self._property.array:
            return self._count
        if self._property.count is not None:
            return self._count * self._property.count
        offsets = self._offsets("arrayOffsets", "arrayOffsetType", self._count)
        return None if offsets is None else int(offsets[-1])

    def _offsets(self, name: str, kind_name: str, rows: int) -> NDArray[np.int64] | None:
        """Offsets of `rows` rows: one more than these, rising from 0."""
        kind = _OFFSET_TYPES.get(self._stored.get(kind_name, "UINT32"))
        content = self._views.content(self._stored.get(name))
        if kind is None or content is None or len(content) != (rows + 1) * np.dtype(kind).itemsize:
            self._findings.add("metadata-offsets", f"{self._where}: {name} do not have {rows + 1} entries")
            return None
        offsets = np.frombuffer(content, dtype=kind).astype(np.int64)
        rising = bool(offsets[0] == 0 and (np.diff(offsets) >= 0).all())
        return offsets if self._require(rising, "metadata-offsets", f"{name} do not rise from 0") else None

    def _check_strings(self, values: bytes, elements: int) -> None:
        offsets = self._offsets("stringOffsets", "stringOffsetType", elements)
        if offsets is None or not self._require(
            int(offsets[-1]) == len(values),
            "metadata-offsets",
            f"stringOffsets end at {offsets[-1]} of {len(values)} bytes",
        ):
            return
        try:
            values.decode("utf-8")
        except UnicodeDecodeError as error:
            self._findings.add("metadata-text", f"{self._where}: not UTF-8 ({error.reason})")
            return
        # A text cut inside a character starts with a continuation byte.
        starts = offsets[:-1][offsets[:-1] < len(values)]
        cut = (np.frombuffer(values, np.uint8)[starts] & 0xC0) == 0x80
        self._require(not cut.any(), "metadata-text", f"{int(cut.sum())} texts begin inside a character")

    def _check_numbers(self, values: bytes, elements: int) -> NDArray[Any] | None:
        component = str(self._property.component)
        width = WIDTHS[self._property.type]
        needed = SIZES[component] * width * elements
        if not self._require(
            len(values) == needed,
            "metadata-values",
            f"{len(values)} bytes for {self._count} rows, not {needed}",
        ):
            return None
        numbers = np.frombuffer(values, _KINDS[component])
        finite = bool(np.isfinite(numbers).all())
        if self._require(finite, "metadata-values", "a value is not a number, or endless"):
            self._check_range(numbers.reshape(-1, width))
        if self._property.values is not None:
            self._check_enumeration(numbers)
        fixed = not self._property.array or self._property.count is not None
        return numbers.reshape(self._count, -1) if fixed and self._count else None

    def _check_enumeration(self, numbers: NDArray[Any]) -> None:
        used = set(np.unique(numbers).tolist())
        strange = used - set(self._property.values or ())
        self._require(
            not strange, "metadata-enum", f"values {sorted(strange)[:5]} are not in the enumeration"
        )

    def _check_range(self, numbers: NDArray[Any]) -> None:
        """Values lie within `min` and `max` of the class; those of the table are what is there."""
        missing = self._property.stated.get("noData")
        kept = numbers
        if isinstance(missing, int | float):
            kept = numbers[(numbers != missing).all(axis=1)]
        stated = self._property.stated
        if (
            self._property.array
            or not len(kept)
            or not any(name in owner for name in ("min", "max") for owner in (stated, self._stored))
        ):
            return
        real = self._real(kept)
        for name, found in (("min", np.nanmin(real, axis=0)), ("max", np.nanmax(real, axis=0))):
            for owner, exact in ((stated, False), (self._stored, True)):
                if name in owner and not _bounds(owner[name], found, name, exact=exact):
                    self._findings.add(
                        "metadata-bounds",
                        f"{self._where}: {name} {owner[name]}, values have {found.tolist()}",
                    )

    def _real(self, numbers: NDArray[Any]) -> NDArray[np.float64]:
        """Values as they are meant: normalized, then scaled, then moved."""
        real = numbers.astype(np.float64)
        stated = self._property.stated
        if stated.get("normalized") and numbers.dtype.kind in "iu":
            highest = float(np.iinfo(numbers.dtype).max)
            real = np.maximum(real / highest, -1.0)
        scale = self._stored.get("scale", stated.get("scale", 1.0))
        offset = self._stored.get("offset", stated.get("offset", 0.0))
        moved: NDArray[np.float64] = real * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)
        return moved


def _bounds(stated: Any, found: NDArray[np.float64], name: str, *, exact: bool) -> bool:
    bound = np.asarray(stated, dtype=np.float64).reshape(-1)
    if bound.size not in (1, found.size):
        return not exact
    slack = _BOUND_TOLERANCE * np.maximum(np.abs(bound), 1.0)
    if exact:
        return bool((np.abs(found - bound) <= slack).all())
    outside = bound - found if name == "min" else found - bound
    return bool((outside <= slack).all())
