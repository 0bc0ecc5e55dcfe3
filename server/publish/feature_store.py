"""From open vector sources to the feature store of a new generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from providers.errors import DuplicateFeatureId as StoreDuplicateFeatureId
from providers.errors import StoreBuildError
from providers.features.store import FeatureStoreWriter, StoreSummary
from server.publish.constraints import ValueCheck, constrained_fields
from server.publish.errors import (
    BuildError,
    DuplicateFeatureId,
    OptionError,
    PublishCancelled,
    SchemaMismatch,
)
from server.publish.geometry_check import GeometryCheck
from server.publish.reference_systems import bounds_in_crs84, required_crs, stored_crs
from server.publish.request import Cancelled, PublishRequest, ReadingOptions
from server.publish.vectors import Batch, Geometries, VectorSource
from server.registry.catalogue import Field


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """What was stored. `fields` have the columns of the store; `bounds84` is (west, south, east, north)."""

    summary: StoreSummary
    fields: tuple[Field, ...]
    crs: pyproj.CRS
    bounds84: tuple[float, float, float, float]
    warnings: tuple[str, ...]


def store_features(
    sources: Sequence[VectorSource],
    path: Path,
    request: PublishRequest,
    progress: Callable[[float], None],
    cancelled: Cancelled,
) -> StoredFeatures:
    """Read all sources into one store at `path`. `progress` hears 0 to 1. Raises PublishError and its kinds."""
    plan = _Plan(sources, request.reading)
    titled = [replace(field, title=request.field_titles.get(field.name)) for field in plan.fields]
    definitions = constrained_fields(titled, request.editing.constraints)
    values = ValueCheck(definitions, plan.name)
    check = GeometryCheck(plan.name, repair=request.reading.repair)
    bounds84: tuple[float, float, float, float] | None = None
    with ExitStack() as stack:
        try:
            writer = stack.enter_context(
                FeatureStoreWriter(
                    path,
                    fields=definitions,
                    storage_crs=plan.crs,
                    time_field=request.reading.time_field,
                    title=request.titles.get("en") or request.titles.get("zh", ""),
                    attribution=request.attribution,
                )
            )
            for batch in plan.batches():
                if cancelled():
                    raise PublishCancelled("The publish was stopped; nothing was changed.")
                names = plan.names(batch, check.count)
                geometries = check.look(batch.geometries, names)
                if check.bounds is not None:
                    bounds84 = bounds_in_crs84(check.bounds.tolist(), plan.crs, plan.name)
                values.look(batch.columns)
                if not check.refused:
                    writer.add(_flat_where_no_height(geometries), batch.columns, batch.ids)
                progress(check.count / plan.expected if plan.expected else 0.5)
            warnings = check.finish()
            summary = writer.finish()
        except StoreDuplicateFeatureId as error:
            raise DuplicateFeatureId(
                f"{error}. Correct the ids of {plan.name}, or name another field with --id-field."
            ) from error
        except StoreBuildError as error:
            raise BuildError(f"{plan.name} cannot be stored: {error}.") from error
    assert bounds84 is not None  # finish() refuses a dataset without any geometry
    columns = {field.name: field.column for field in summary.fields}
    fields = tuple(replace(field, column=columns[field.name]) for field in titled)
    return StoredFeatures(summary, fields, plan.crs, bounds84, (*plan.warnings(), *warnings))


def _flat_where_no_height(geometries: Geometries) -> Geometries:
    """Without the third dimension where a height is NaN, which means "no height"."""
    has_z = shapely.has_z(geometries)
    if not has_z.any():
        return geometries
    coordinates, owners = shapely.get_coordinates(geometries, include_z=True, return_index=True)
    unknown = np.unique(owners[np.isnan(coordinates[:, 2])])
    unknown = unknown[has_z[unknown]]
    if len(unknown) == 0:
        return geometries
    geometries = geometries.copy()
    geometries[unknown] = shapely.force_2d(geometries[unknown])
    return geometries


class _Plan:
    """Several sources as one: their common fields and CRS, and ids as asked."""

    def __init__(self, sources: Sequence[VectorSource], options: ReadingOptions) -> None:
        self._sources = sources
        self._options = options
        self.name = sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more"
        self.crs = _common_crs(sources, options)
        self.fields = self._with_time_field(_kept(_common_fields(sources), options))
        known = [source.expected for source in sources]
        self.expected = None if None in known else sum(count for count in known if count is not None)
        names = [field.name for field in _common_fields(sources)]
        for option, wanted in (("--id-field", options.id_field), ("--time-field", options.time_field)):
            if wanted is not None and wanted not in names:
                raise OptionError(
                    f"{self.name} has no field {wanted!r} for {option}. Its fields: {', '.join(names)}."
                )
        self._text_time = self._text_time_field()

    def _with_time_field(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        """The fields, text in the time field being taken as date and time (checked value by value as it is read)."""
        return tuple(
            replace(field, format="date-time")
            if field.name == self._options.time_field and field.type == "string" and field.format is None
            else field
            for field in fields
        )

    def batches(self) -> Iterator[Batch]:
        """All batches of all sources, with ids as asked and only the fields that are kept."""
        for source in self._sources:
            for batch in source.batches():
                ids = self._ids(batch)
                if self._text_time is not None:
                    _check_times(batch.columns[self._text_time], self._text_time, source.name)
                columns = {field.name: batch.columns[field.name] for field in self.fields}
                yield Batch(batch.geometries, columns, ids)

    def _text_time_field(self) -> str | None:
        name = self._options.time_field
        for field in _common_fields(self._sources):
            if field.name != name:
                continue
            if field.type != "string":
                raise OptionError(
                    f"The field {name!r} holds {field.type}s; --time-field needs dates or times."
                )
            return name if field.format is None else None
        return None

    def _ids(self, batch: Batch) -> Sequence[str] | None:
        name = self._options.id_field
        if name is None:
            # Row numbers of several files would collide.
            own = batch.ids is not None and (
                len(self._sources) == 1 or not all(map(str.isdecimal, batch.ids))
            )
            return batch.ids if own else None
        values = batch.columns[name]
        if None in values:
            raise OptionError(
                f"The field {name!r} is empty in some features of {self.name}; an id field has a value in each."
            )
        return [str(value) for value in values]

    def warnings(self) -> list[str]:
        """What the readers have to say; complete after the last batch."""
        return [warning for source in self._sources for warning in source.warnings]

    def names(self, batch: Batch, before: int) -> list[str]:
        """How to speak of each feature of a batch: by id, else by its number from 1."""
        if batch.ids is not None:
            return [f"feature {name!r}" for name in batch.ids]
        return [f"feature {before + number}" for number in range(1, len(batch.geometries) + 1)]


def _common_crs(sources: Sequence[VectorSource], options: ReadingOptions) -> pyproj.CRS:
    found = [required_crs(source.crs, options.crs, source.name) for source in sources]
    for source, crs in zip(sources, found, strict=True):
        if not crs.equals(found[0], ignore_axis_order=True):
            raise SchemaMismatch(
                f"{sources[0].name} is in {found[0].name}, {source.name} in {crs.name}. Publish them one by one, or bring "
                "them to one CRS first."
            )
    return stored_crs(found[0])


def _common_fields(sources: Sequence[VectorSource]) -> tuple[Field, ...]:
    merged = {field.name: field for field in sources[0].fields}
    for source in sources[1:]:
        others = {field.name: field for field in source.fields}
        if set(others) != set(merged):
            raise SchemaMismatch(
                f"{source.name} and {sources[0].name} have different fields: {', '.join(sorted(set(others) ^ set(merged)))}. "
                "Publish them one by one."
            )
        for name, field in others.items():
            merged[name] = _common_field(merged[name], field, source.name)
    return tuple(merged.values())


def _common_field(one: Field, other: Field, source: str) -> Field:
    if (one.type, one.format) == (other.type, other.format):
        return one
    if {one.type, other.type} == {"integer", "number"}:
        return replace(one, type="number")
    if one.type == other.type == "string":
        return replace(one, format=None)
    raise SchemaMismatch(
        f"The field {one.name!r} is {one.type} in the first file and {other.type} in {source}."
    )


def _kept(fields: tuple[Field, ...], options: ReadingOptions) -> tuple[Field, ...]:
    if options.keep_fields is None:
        return fields
    names = {field.name for field in fields}
    absent = [name for name in options.keep_fields if name not in names]
    if absent:
        raise OptionError(f"There is no field {absent[0]!r} to keep. The fields: {', '.join(sorted(names))}.")
    wanted = {*options.keep_fields, options.time_field}
    return tuple(field for field in fields if field.name in wanted)


def _check_times(values: Sequence[Any], name: str, source: str) -> None:
    for value in values:
        if value is None:
            continue
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise OptionError(
                f"The time field {name!r} of {source} holds {value!r}; ISO 8601 is needed, such as 2024-05-01T08:00:00+08:00."
            ) from error
