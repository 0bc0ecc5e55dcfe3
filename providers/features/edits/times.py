"""The member `time` of JSON-FG: the same instant as the time field of the collection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from providers.features.edits.faults import Faults, shown
from providers.features.schema import FieldDefinition


def read_time(
    document: Mapping[str, Any],
    field: FieldDefinition | None,
    properties: Mapping[str, Any],
    faults: Faults,
    at: str,
) -> dict[str, Any]:
    """The time field's value as `time` gives it; {} where there is no `time`, or it only repeats the property."""
    time = document.get("time")
    if time is None:
        return {}
    where = f"{at}/time"
    if field is None:
        faults.add(where, "the collection has no time field that could hold it")
        return {}
    member = "date" if field.format == "date" else "timestamp"
    if not isinstance(time, Mapping) or not isinstance(time.get(member), str):
        faults.add(
            where, f"{shown(time)}: an instant with the member {member!r} is wanted; intervals cannot be kept"
        )
        return {}
    value, given = time[member], properties.get(field.name)
    if given is not None and not _same(value, given):
        faults.add(
            f"{where}/{member}", f"{shown(value)} differs from the property {field.name!r}, {shown(given)}"
        )
        return {}
    return {} if given is not None else {field.name: value}


def _same(first: str, second: Any) -> bool:
    if first == second:
        return True
    try:
        return datetime.fromisoformat(first) == datetime.fromisoformat(str(second))
    except (ValueError, TypeError):
        return False
