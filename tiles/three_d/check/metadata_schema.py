"""The schema of metadata: classes, their properties, and enumerations (3D Metadata Specification, OGC 22-025r4 clause 9.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tiles.three_d.check.findings import FileFindings

SIZES = {
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
WIDTHS = {
    "SCALAR": 1,
    "VEC2": 2,
    "VEC3": 3,
    "VEC4": 4,
    "MAT2": 4,
    "MAT3": 9,
    "MAT4": 16,
    "ENUM": 1,
    "BOOLEAN": 1,
    "STRING": 1,
}
_NUMERIC = {"SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"}
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a class, resolved: `component` is that of an enumeration too; `values` are the enumeration's numbers."""

    name: str
    type: str
    component: str | None
    array: bool
    count: int | None
    values: frozenset[int] | None
    stated: dict[str, Any]


type Classes = dict[str, dict[str, Property]]


def check_schema(schema: Any, findings: FileFindings) -> Classes:
    """The classes of a schema; what is wrong with one is found, and the property left out."""
    if not isinstance(schema, dict):
        findings.add("metadata-schema", "the schema is no object")
        return {}
    enums = _check_enums(schema.get("enums", {}), findings)
    classes: Classes = {}
    for name, stated in _entries(schema.get("classes", {}), "classes", findings):
        classes[name] = {}
        for key, value in _entries(stated.get("properties", {}), f"class {name}", findings):
            found = _check_property(f"{name}.{key}", key, value, enums, findings)
            if found is not None:
                classes[name][key] = found
    return classes


def _entries(value: Any, where: str, findings: FileFindings) -> list[tuple[str, dict[str, Any]]]:
    """The named objects of a JSON object."""
    if not isinstance(value, dict):
        findings.add("metadata-schema", f"{where}: no object")
        return []
    for name in value:
        findings.require(
            _IDENTIFIER.match(name) is not None, "metadata-schema", f"{where}: {name!r} is no identifier"
        )
    return [(name, entry) for name, entry in value.items() if isinstance(entry, dict)]


def _check_enums(value: Any, findings: FileFindings) -> dict[str, tuple[str, frozenset[int]]]:
    enums: dict[str, tuple[str, frozenset[int]]] = {}
    for name, stated in _entries(value, "enums", findings):
        kind, entries = stated.get("valueType", "UINT16"), stated.get("values", [])
        numbers = [entry.get("value", -1) for entry in entries if isinstance(entry, dict)]
        names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
        right = (
            kind in SIZES
            and not kind.startswith("FLOAT")
            and len(entries) == len(numbers) > 0
            and all(isinstance(number, int) for number in numbers)
            and len(set(numbers)) == len(numbers)
            and all(isinstance(one, str) for one in names)
            and len(set(names)) == len(names)
        )
        if findings.require(
            right, "metadata-enum", f"enumeration {name}: values are not distinct names and {kind} numbers"
        ):
            enums[name] = (kind, frozenset(numbers))
    return enums


def _check_property(
    where: str,
    name: str,
    stated: dict[str, Any],
    enums: dict[str, tuple[str, frozenset[int]]],
    findings: FileFindings,
) -> Property | None:
    kind, component, values = stated.get("type"), stated.get("componentType"), None
    if not findings.require(kind in WIDTHS, "metadata-schema", f"{where} is of type {kind!r}"):
        return None
    if kind == "ENUM":
        known = enums.get(stated.get("enumType", ""))
        if known is None:
            findings.add(
                "metadata-enum", f"{where} is of enumeration {stated.get('enumType')!r}, which is not there"
            )
            return None
        component, values = known
    numeric = kind in _NUMERIC
    right = (component in SIZES) if numeric else kind == "ENUM" or component is None
    if not findings.require(right, "metadata-schema", f"{where}: {kind} with componentType {component!r}"):
        return None
    array, count = stated.get("array", False) is True, stated.get("count")
    counted = count is None or (array and isinstance(count, int) and count >= 1)
    findings.require(counted, "metadata-schema", f"{where}: count {count!r}")
    _check_options(where, stated, numeric, component, findings)
    return Property(name, str(kind), component, array, count if array else None, values, stated)


def _check_options(
    where: str, stated: dict[str, Any], numeric: bool, component: str | None, findings: FileFindings
) -> None:
    """What may stand beside what: `required`, `noData`, `default`, `normalized`, `offset`, `scale`, `min`, `max`."""
    both = stated.get("required", False) and ("noData" in stated or "default" in stated)
    findings.require(
        not both, "metadata-schema", f"{where} is required, and has a value for where it is missing"
    )
    integer = numeric and not str(component).startswith("FLOAT")
    normalized = stated.get("normalized", False)
    findings.require(
        integer or not normalized, "metadata-schema", f"{where}: only integers can be normalized"
    )
    for name in ("offset", "scale"):
        scaled = name not in stated or (numeric and (not integer or normalized))
        findings.require(scaled, "metadata-schema", f"{where}: {name} of what is no decimal number")
    for name in ("min", "max"):
        findings.require(name not in stated or numeric, "metadata-schema", f"{where}: {name} of no number")
