"""EXT_mesh_features and EXT_structural_metadata: feature ids and property tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Glb, read_accessor, view_bytes

_SIZES = {
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "UINT16": 2,
    "INT32": 4,
    "UINT32": 4,
    "INT64": 8,
    "UINT64": 8,
    "FLOAT32": 4,
    "FLOAT64": 8,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16, "ENUM": 1}
_OFFSET_TYPES = {"UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}


def check_property_tables(glb: Glb, findings: FileFindings) -> list[int]:
    """Check all property tables; gives the number of rows of each."""
    extension = glb.document.get("extensions", {}).get("EXT_structural_metadata", {})
    classes = extension.get("schema", {}).get("classes", {})
    counts = []
    for number, table in enumerate(extension.get("propertyTables", [])):
        count = int(table.get("count", 0))
        counts.append(count)
        where = f"property table {number}"
        definition = classes.get(table.get("class"))
        if definition is None:
            findings.add(
                "metadata-class", f"{where} is of class {table.get('class')!r}, which the schema lacks"
            )
            continue
        known = definition.get("properties", {})
        for name, stored in table.get("properties", {}).items():
            if name not in known:
                findings.add("metadata-property", f"{where} stores {name!r}, which its class lacks")
            else:
                _check_property(glb, f"{where}, {name}", known[name], stored, count, findings=findings)
        for name, schema in known.items():
            given = name in table.get("properties", {}) or not schema.get("required", False)
            findings.require(given, "metadata-property", f"{where} lacks the required {name!r}")
    return counts


def _check_property(
    glb: Glb,
    where: str,
    schema: dict[str, Any],
    stored: dict[str, Any],
    count: int,
    *,
    findings: FileFindings,
) -> None:
    for name in ("values", "stringOffsets", "arrayOffsets"):
        if name in stored:
            _check_alignment(glb, stored[name], where, findings)
    values = view_bytes(glb, stored.get("values"))
    if values is None:
        findings.add("metadata-values", f"{where}: its buffer view cannot be read")
    elif schema.get("type") == "STRING":
        _check_strings(glb, where, stored, values, count, findings=findings)
    else:
        expected = _expected_bytes(schema, count)
        right = expected is None or len(values) == expected
        findings.require(
            right, "metadata-values", f"{where}: {len(values)} bytes for {count} rows, not {expected}"
        )


def _check_alignment(glb: Glb, number: Any, where: str, findings: FileFindings) -> None:
    views = glb.list_of("bufferViews")
    if isinstance(number, int) and 0 <= number < len(views):
        start = int(views[number].get("byteOffset", 0))
        findings.require(start % 8 == 0, "metadata-alignment", f"{where}: view starts at {start}, not n x 8")


def _expected_bytes(schema: dict[str, Any], count: int) -> int | None:
    """Bytes of a fixed-size property; None for types this server does not write (arrays)."""
    if schema.get("array"):
        return None
    if schema.get("type") == "BOOLEAN":
        return (count + 7) // 8
    size = _SIZES.get(schema.get("componentType", ""), 0)
    return size * _WIDTHS.get(schema.get("type", ""), 0) * count


def _check_strings(
    glb: Glb, where: str, stored: dict[str, Any], values: bytes, count: int, *, findings: FileFindings
) -> None:
    kind = _OFFSET_TYPES.get(stored.get("stringOffsetType", "UINT32"))
    content = view_bytes(glb, stored.get("stringOffsets"))
    if kind is None or content is None or len(content) != (count + 1) * np.dtype(kind).itemsize:
        findings.add("metadata-offsets", f"{where}: string offsets do not have {count + 1} entries")
        return
    offsets = np.frombuffer(content, dtype=kind).astype(np.int64)
    rising = offsets[0] == 0 and (np.diff(offsets) >= 0).all() and offsets[-1] == len(values)
    if not findings.require(
        bool(rising), "metadata-offsets", f"{where}: string offsets do not rise from 0 to {len(values)}"
    ):
        return
    try:
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            values[begin:end].decode("utf-8")
    except UnicodeDecodeError as error:
        findings.add("metadata-text", f"{where}: not UTF-8 ({error.reason})")


def check_feature_ids(
    glb: Glb, primitive: dict[str, Any], table_counts: list[int], findings: FileFindings
) -> None:
    """Feature ids lie below their count, and the count is that of their property table."""
    extension = primitive.get("extensions", {}).get("EXT_mesh_features", {})
    for number, entry in enumerate(extension.get("featureIds", [])):
        count = int(entry.get("featureCount", 0))
        where = f"feature id set {number}"
        table = entry.get("propertyTable")
        if table is not None:
            exists = isinstance(table, int) and 0 <= table < len(table_counts)
            if findings.require(exists, "features-table", f"{where} points to property table {table!r}"):
                rows = table_counts[table]
                findings.require(
                    rows == count, "features-table", f"{where}: {count} features, {rows} table rows"
                )
        if "attribute" not in entry:
            continue
        accessor = primitive.get("attributes", {}).get(f"_FEATURE_ID_{entry['attribute']}")
        ids = read_accessor(glb, accessor, findings)
        if ids is not None:
            used = np.unique(ids)
            inside = used[0] >= 0 and used[-1] < count
            findings.require(
                bool(inside), "features-range", f"{where}: ids {used[0]} to {used[-1]}, count {count}"
            )
