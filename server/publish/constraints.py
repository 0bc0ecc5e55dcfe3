"""Constraints of fields: taken from whoever publishes, and kept by what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from providers.errors import StoreBuildError
from providers.features.edits.constraints import check_definition, fault_of
from providers.features.schema import FieldDefinition
from server.publish.errors import BuildError, OptionError
from server.registry.catalogue import Field


def constrained_fields(
    fields: Sequence[Field], constraints: Mapping[str, Mapping[str, Any]]
) -> list[FieldDefinition]:
    """The fields with their constraints. Raises OptionError for a field that is not there, or words that do not fit it."""
    names = [field.name for field in fields]
    for name in constraints:
        if name not in names:
            raise OptionError(f"--constraints: there is no field {name!r}. The fields: {', '.join(names)}.")
    made = [
        FieldDefinition(
            field.name,
            field.type,
            field.format,
            title=field.title,
            constraints=dict(constraints.get(field.name, {})),
        )
        for field in fields
    ]
    for field in made:
        try:
            check_definition(field)
        except StoreBuildError as error:
            raise OptionError(f"--constraints: {error}") from None
    return made


class ValueCheck:
    """Looks at the values of constrained fields as they are read."""

    def __init__(self, fields: Sequence[FieldDefinition], source: str) -> None:
        self._fields = [field for field in fields if field.constraints]
        self._source = source
        self._seen: dict[str, set[Any]] = {
            field.name: set() for field in self._fields if field.constraints.get("unique")
        }
        self._rows = 0

    def look(self, columns: Mapping[str, Any]) -> None:
        """Check one batch. Raises BuildError, which names row, field and fault."""
        count = 0
        for field in self._fields:
            values = columns[field.name]
            values = values.tolist() if hasattr(values, "tolist") else values
            count = len(values)
            for row, value in enumerate(values):
                fault = fault_of(field, value)
                if fault is None and value is not None and field.name in self._seen:
                    if value in self._seen[field.name]:
                        fault = f"{value!r} comes twice, and the field is unique"
                    self._seen[field.name].add(value)
                if fault is not None:
                    raise BuildError(
                        f"{self._source}, row {self._rows + row + 1}, field {field.name!r}: {fault}. Correct the data, or the "
                        "constraint."
                    )
        self._rows += count
