"""Property tables out of a glb (EXT_structural_metadata): the inverse of `glb_tables`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyColumn, PropertyTable
from tiles.three_d.errors import GlbError
from tiles.three_d.glb_document import GlbDocument

EXTENSION = "EXT_structural_metadata"
SCALARS = {
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "UINT16": "<u2",
    "INT32": "<i4",
    "UINT32": "<u4",
    "INT64": "<i8",
    "UINT64": "<u8",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
}
OFFSETS = {"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}


def tables_of(document: GlbDocument) -> list[dict[str, Any]]:
    """The property tables as they stand in the JSON."""
    found = document.extension(EXTENSION).get("propertyTables", [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise GlbError("propertyTables of the glb is no list of objects")
    return found


def class_of(document: GlbDocument, table: dict[str, Any]) -> dict[str, Any]:
    """The properties of a table's class. Raises GlbError where the schema does not have it."""
    classes = document.extension(EXTENSION).get("schema", {}).get("classes", {})
    found = classes.get(table.get("class")) if isinstance(classes, dict) else None
    if not isinstance(found, dict):
        raise GlbError(f"the schema of the glb has no class {table.get('class')!r}")
    properties = found.get("properties", {})
    return properties if isinstance(properties, dict) else {}


def read_table(document: GlbDocument, number: int = 0) -> PropertyTable | None:
    """One table, None where there is none of that number. Arrays, vectors and enums are left out: sources write none."""
    tables = tables_of(document)
    if number >= len(tables):
        return None
    table = tables[number]
    count = table_count(table)
    stored = table.get("properties", {})
    columns = [
        column
        for identifier, schema in class_of(document, table).items()
        if (column := _column(document, identifier, schema, stored.get(identifier), count)) is not None
    ]
    return PropertyTable(str(table["class"]), tuple(columns), count)


def table_count(table: dict[str, Any]) -> int:
    """The rows of a table. Raises GlbError where they are not said."""
    count = table.get("count")
    if not isinstance(count, int) or count < 1:
        raise GlbError(f"a property table has {count!r} rows")
    return count


def _column(
    document: GlbDocument, identifier: str, schema: dict[str, Any], stored: dict[str, Any] | None, count: int
) -> PropertyColumn | None:
    name = str(schema.get("name", identifier))
    kind = schema.get("type")
    if schema.get("array"):
        return None
    if kind == "STRING":
        if stored is None:
            return PropertyColumn(
                identifier, name, schema, np.empty(0, np.uint8), np.zeros(count + 1, dtype=np.int64)
            )
        text, offsets = strings(document, stored, count)
        return PropertyColumn(identifier, name, schema, text, offsets)
    if stored is None:
        return None
    content = document.view(stored.get("values"))
    if kind == "BOOLEAN":
        return PropertyColumn(identifier, name, schema, booleans(content, count))
    dtype = SCALARS.get(str(schema.get("componentType")))
    if kind != "SCALAR" or dtype is None:
        return None
    return PropertyColumn(identifier, name, schema, fixed(content, dtype, count, 1)[:, 0])


def fixed(content: memoryview, dtype: str, count: int, width: int) -> NDArray[Any]:
    """Values of equal size (count, width). Raises GlbError where the view is too short."""
    size = np.dtype(dtype).itemsize * count * width
    if size > len(content):
        raise GlbError(f"a property of {count} rows needs {size} bytes, its view has {len(content)}")
    return np.frombuffer(content, dtype=dtype, count=count * width).reshape(count, width)


def booleans(content: memoryview, count: int) -> NDArray[np.bool_]:
    """Packed bits, least significant first. Raises GlbError where the view is too short."""
    if len(content) * 8 < count:
        raise GlbError(f"{count} booleans do not fit in {len(content)} bytes")
    bits = np.unpackbits(np.frombuffer(content, np.uint8), count=count, bitorder="little")
    return bits.astype(np.bool_)


def strings(
    document: GlbDocument, stored: dict[str, Any], count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 text and its offsets (count + 1,). Raises GlbError where they do not fit together."""
    kind = OFFSETS.get(str(stored.get("stringOffsetType", "UINT32")))
    if kind is None:
        raise GlbError(f"string offsets are of type {stored.get('stringOffsetType')!r}")
    offsets = fixed(document.view(stored.get("stringOffsets")), kind, count + 1, 1)[:, 0].astype(np.int64)
    text = np.frombuffer(document.view(stored.get("values")), dtype=np.uint8)
    if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(text):
        raise GlbError("the string offsets of a property run out of its text")
    return text, offsets
