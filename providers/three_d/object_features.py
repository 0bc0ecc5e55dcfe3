"""The features that a tileset's objects are made of, in chunks and by their keys.

Whatever the objects are (raised footprints, tubes, instances), they are rows of a collection: its embedded store, at present
or at an instant of the past, or the snapshot that was taken of a collection that is stored elsewhere (`snapshot`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from providers.errors import StoreMissing
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store import FeatureStore
from tiles.three_d.objects import Keys
from tiles.three_d.schema import PropertySpec
from tiles.three_d.vertical import vertical_unit

CHUNK = 10_000
EMBEDDED_STORE = "features.gpkg"
SNAPSHOT = "scene/objects.sqlite"


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """n features. `keys` (n,); `columns` have n JSON values each, by field name.

    `geometries` (n,) shapely or None, x = east, z in metres upwards, whatever the vertical axis of their CRS counts in.
    """

    keys: Keys
    ids: list[str]
    geometries: NDArray[np.object_]
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.ids)


class ObjectFeatures(Protocol):
    """An open collection of features. Opened in each process for itself, after a fork."""

    @property
    def crs(self) -> pyproj.CRS:
        """The CRS of the geometries."""
        ...

    @property
    def fields(self) -> tuple[FieldDefinition, ...]:
        """The attributes."""
        ...

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6); () without any geometry."""
        ...

    def count(self) -> int | None:
        """Features, None where only reading tells."""
        ...

    def chunks(self) -> Iterator[FeatureRows]:
        """All features, neighbours about together, some thousands at a time."""
        ...

    def rows(self, keys: Keys) -> FeatureRows:
        """The features of these keys, in their order; those that are gone are left out."""
        ...

    def values(self, field: str) -> list[Any]:
        """One column of all features, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class FeaturesAt:
    """Where the features are; pickles. `generation` is the folder of the collection's generation, `path` is relative to it.

    `asof`: an RFC 3339 instant, None for the present.
    """

    generation: Path
    path: str = EMBEDDED_STORE
    asof: str | None = None

    def open(self) -> ObjectFeatures:
        """The features. Raises StoreMissing where there are none (`asof` before the first state), UnsupportedQuery."""
        place = self.generation / self.path
        if self.path == SNAPSHOT:
            from providers.three_d.snapshot import SnapshotFeatures

            return SnapshotFeatures(place, self.asof)
        return StoreFeatures(place, self.asof)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a recipe: without the folder, which is where the recipe is, and for the present."""
        return {"path": self.path}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> FeaturesAt:
        """The features of a recipe in the folder of a generation."""
        return cls(generation, document["path"])


class StoreFeatures:
    """The embedded store."""

    def __init__(self, path: Path, asof: str | None = None) -> None:
        from providers.features.store import open_store

        store: FeatureStore | None = open_store(path.absolute())
        if asof is not None and store is not None:
            store = store.at(asof)
        if store is None:
            raise StoreMissing(f"There was no state of {path.name!r} at {asof}")
        self._store = store
        self.crs: pyproj.CRS = pyproj.CRS.from_wkt(store.facts.storage_wkt)
        self.fields: tuple[FieldDefinition, ...] = store.facts.fields
        self._unit = vertical_unit(self.crs)

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6); () without any geometry."""
        return self._store.bbox

    def count(self) -> int | None:
        """Features in the store."""
        return self._store.count()

    def chunks(self) -> Iterator[FeatureRows]:
        """All features, ascending by key."""
        for columns in self._store.slices(size=CHUNK):
            yield _rows(columns, self._unit)

    def rows(self, keys: Keys) -> FeatureRows:
        """The features of these keys, in their order; those that are gone are left out."""
        found = self._store.read_keys(keys.tolist())
        return in_order(_rows(found, self._unit), keys)

    def values(self, field: str) -> list[Any]:
        """One column of all features, in any order."""
        return self._store.column(field)


def _rows(columns: FeatureColumns, unit: float) -> FeatureRows:
    return FeatureRows(
        np.array(columns.keys, dtype=np.int64),
        columns.ids,
        heights_in_metres(columns.geometries, unit),
        columns.columns,
    )


def heights_in_metres(geometries: NDArray[np.object_], unit: float) -> NDArray[np.object_]:
    """Geometries (n,) with their z times `unit`, `tiles.three_d.vertical.vertical_unit` of their CRS."""
    if unit == 1.0:
        return geometries
    result = geometries.copy()
    solid = shapely.has_z(geometries)
    result[solid] = shapely.transform(geometries[solid], lambda xyz: xyz * (1.0, 1.0, unit), include_z=True)
    return result


def in_order(rows: FeatureRows, keys: Keys) -> FeatureRows:
    """Rows in the order of `keys`; keys that have no row are left out."""
    if np.array_equal(rows.keys, keys):
        return rows
    order = np.argsort(rows.keys)
    at = np.searchsorted(rows.keys, keys, sorter=order)
    at = np.minimum(at, max(len(rows) - 1, 0))
    if not len(rows):
        return rows
    places = order[at]
    return take(rows, places[rows.keys[places] == keys])


def take(rows: FeatureRows, order: NDArray[np.intp]) -> FeatureRows:
    """The rows `order` (m,)."""
    if len(order) == len(rows) and np.array_equal(order, np.arange(len(rows))):
        return rows
    chosen = order.tolist()
    return FeatureRows(
        rows.keys[order],
        [rows.ids[row] for row in chosen],
        rows.geometries[order],
        {name: [values[row] for row in chosen] for name, values in rows.columns.items()},
    )


def property_specs(
    fields: Sequence[FieldDefinition], titles: Mapping[str, str] | None = None
) -> list[PropertySpec]:
    """What is known of the fields, for the typed tables. `titles`: names to show by field, over the fields' own."""
    found = []
    for field in fields:
        title = (titles or {}).get(field.name) or field.title
        shown = {language_of(title): title} if title else {}
        found.append(PropertySpec(field.name, shown, unit_of(title), field.type, field.format))
    return found


def language_of(title: str) -> str:
    """ "zh" for a title with Chinese characters, else "en"."""
    return "zh" if any("一" <= letter <= "鿿" for letter in title) else "en"


def unit_of(title: str | None) -> str | None:
    """The unit that a title ends in: "Height (m)", "高度（米）", "Diameter [mm]"; None without one."""
    if not title or title[-1] not in ")）]":
        return None
    start = max(title.rfind(bracket) for bracket in "(（[")
    unit = title[start + 1 : -1].strip() if start >= 0 else ""
    return unit if 0 < len(unit) <= 12 and " " not in unit else None
