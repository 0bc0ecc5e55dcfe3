"""From what clients send to edits: GeoJSON and JSON-FG features, merge patches (RFC 7396), batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import shapely

from providers.errors import InvalidFeature, InvalidParameter, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.edits.faults import EditLimits, Faults, listed, shown
from providers.features.edits.geometry import GeometryReader
from providers.features.edits.times import read_time
from providers.features.edits.values import checked_properties
from providers.features.query import CRS84
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import NO_FIELDS, UNCHANGED, Edit, EditKind, Unchanged, Version

_IGNORED = frozenset(
    {"bbox", "links", "conformsTo", "featureType", "featureSchema", "geometryDimension", "@context"}
    | {"timeStamp", "stac_version"}
)
_MEMBERS = frozenset({"type", "id", "geometry", "properties", "place", "time", "coordRefSys"})
_MAXIMUM_ID = 1000
DEFAULT_LIMITS = EditLimits()


class FeatureReader:
    """Reads features for one collection; all faults of a request end in one InvalidFeature."""

    def __init__(
        self,
        schema: CollectionSchema,
        storage: ReferenceSystem,
        crs: str,
        hidden: frozenset[str],
        limits: EditLimits,
    ) -> None:
        """`crs`: URI of the CRS of `geometry` members. `hidden` fields are treated as if they did not exist."""
        self._schema = schema
        self._storage = storage
        self._crs = reference_system(crs)
        self._hidden = hidden
        self._fields: dict[str, FieldDefinition] = {
            item.name: item for item in schema.fields if item.name not in hidden
        }
        self.faults = Faults(limits)

    def whole(
        self, document: Any, at: str, kind: EditKind, feature_id: str | None, version: Version | None
    ) -> Edit:
        """A feature to create or replace. What is wrong is in `faults`, and the edit then of no use."""
        if not self._is_feature(document, at):
            return Edit(kind)
        if "geometry" not in document and "place" not in document:
            self.faults.add(at, "the member geometry is missing (null where the feature has none)")
        properties = self._properties(document, at, complete=True)
        geometry = self._geometry(document, at)
        own_id = self._id(document, at)
        if kind is EditKind.REPLACE:
            self._same_id(own_id, feature_id, at)
            if self._hidden:
                # What the client cannot see must not be wiped: everything it can see is set, and no more.
                kind, properties = EditKind.UPDATE, dict.fromkeys(self._fields) | properties
        else:
            feature_id = own_id if feature_id is None else feature_id
        return Edit(kind, feature_id, None if geometry is UNCHANGED else geometry, properties, version)

    def patch(self, document: Any, at: str, feature_id: str, version: Version | None) -> Edit:
        """A merge patch of a feature; absent members stay as they are, null properties become null."""
        if not isinstance(document, Mapping):
            self.faults.add(at, f"{shown(document)} is not a JSON object")
            return Edit(EditKind.UPDATE)
        if document.get("type", "Feature") != "Feature":
            self.faults.add(
                f"{at}/type", f"{shown(document['type'])}: the type of a feature cannot be changed"
            )
        self._refuse_members(document, at)
        self._same_id(self._id(document, at), feature_id, at)
        if "properties" in document and document["properties"] is None:
            self.faults.add(f"{at}/properties", "null would take away all properties: name those that change")
            properties = {}
        else:
            properties = self._properties(document, at, complete=False)
        return Edit(EditKind.UPDATE, feature_id, self._geometry(document, at), properties, version)

    # --- members ---------------------------------------------------------------------------------------------------

    def _is_feature(self, document: Any, at: str) -> bool:
        if not isinstance(document, Mapping):
            self.faults.add(at, f"{shown(document)} is not a GeoJSON Feature object")
            return False
        if document.get("type") != "Feature":
            self.faults.add(f"{at}/type", f"{shown(document.get('type'))} is not 'Feature'")
            return False
        self._refuse_members(document, at)
        return True

    def _refuse_members(self, document: Mapping[str, Any], at: str) -> None:
        for name in document:
            if name not in _MEMBERS and name not in _IGNORED:
                hint = "; give the CRS in the header Content-Crs" if name == "crs" else ""
                self.faults.add(f"{at}/{name}", f"a feature has no such member{hint}")

    def _id(self, document: Mapping[str, Any], at: str) -> str | None:
        value = document.get("id")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.faults.add(f"{at}/id", f"{shown(value)} is neither a text nor a whole number")
            return None
        text = str(value)
        if not text or len(text) > _MAXIMUM_ID or not text.isprintable():
            self.faults.add(
                f"{at}/id", f"an id is a text of 1 to {_MAXIMUM_ID} characters without control characters"
            )
            return None
        return text

    def _same_id(self, own: str | None, asked: str | None, at: str) -> None:
        if own is not None and own != asked:
            self.faults.add(
                f"{at}/id", f"{shown(own)}: the item to edit is {shown(asked)}; ids cannot be changed"
            )

    def _properties(self, document: Mapping[str, Any], at: str, *, complete: bool) -> dict[str, Any]:
        given = document.get("properties")
        if given is None:
            if complete and "properties" not in document:
                self.faults.add(at, "the member properties is missing (null where the feature has none)")
                return {}
            given = {}
        if not isinstance(given, Mapping):
            self.faults.add(f"{at}/properties", f"{shown(given)} is not a JSON object")
            return {}
        time_field = self._fields.get(self._schema.time_field or "")
        extra = read_time(document, time_field, given, self.faults, at)
        return checked_properties(
            {**given, **extra}, self._fields, self.faults, f"{at}/properties", complete=complete
        )

    def _geometry(self, document: Mapping[str, Any], at: str) -> shapely.Geometry | Unchanged | None:
        """JSON-FG: `place`, in the CRS it names, goes before `geometry`, which is then the same in WGS 84."""
        if document.get("place") is not None:
            system = self._place_system(document, at)
            return None if system is None else self._read(document["place"], f"{at}/place", system)
        if "geometry" in document:
            return self._read(document["geometry"], f"{at}/geometry", self._crs)
        return None if "place" in document else UNCHANGED

    def _read(self, value: Any, at: str, system: ReferenceSystem) -> shapely.Geometry | None:
        return GeometryReader(system, self._schema.geometry_type, self.faults).read(value, at, self._storage)

    def _place_system(self, document: Mapping[str, Any], at: str) -> ReferenceSystem | None:
        place = document["place"]
        where, value = f"{at}/coordRefSys", document.get("coordRefSys")
        if isinstance(place, Mapping) and place.get("coordRefSys") is not None:
            where, value = f"{at}/place/coordRefSys", place["coordRefSys"]
        if value is None:
            return self._crs
        if isinstance(value, Mapping) and value.get("type") == "Reference":
            value = value.get("href")
        if not isinstance(value, str):
            self.faults.add(where, f"{shown(value)} is not the URI of one CRS")
            return None
        try:
            return reference_system(value)
        except UnknownReferenceSystem as error:
            self.faults.add(where, str(error))
            return None


def parse_feature(
    document: bytes | Mapping[str, Any],
    schema: CollectionSchema,
    storage: ReferenceSystem,
    kind: EditKind,
    *,
    crs: str = CRS84,
    feature_id: str | None = None,
    version: Version | None = None,
    hidden: frozenset[str] = NO_FIELDS,
    limits: EditLimits = DEFAULT_LIMITS,
) -> Edit:
    """The edit that a GeoJSON Feature (RFC 7946) or JSON-FG feature asks for: CREATE, or REPLACE of `feature_id`.

    `crs` is the URI of Content-Crs, whose axis order the coordinates have. In CREATE the feature's own id is the one wished
    for. REPLACE with `hidden` fields becomes an UPDATE of all visible ones. Raises InvalidParameter (not JSON),
    InvalidFeature with all faults, UnknownReferenceSystem.
    """
    reader = FeatureReader(schema, storage, crs, hidden, limits)
    edit = reader.whole(load_json(document), "", kind, feature_id, version)
    reader.faults.check()
    return edit


def parse_merge_patch(
    document: bytes | Mapping[str, Any],
    schema: CollectionSchema,
    storage: ReferenceSystem,
    *,
    feature_id: str,
    crs: str = CRS84,
    version: Version | None = None,
    hidden: frozenset[str] = NO_FIELDS,
    limits: EditLimits = DEFAULT_LIMITS,
) -> Edit:
    """The UPDATE that a merge patch (RFC 7396, application/merge-patch+json) of a feature asks for; raises as `parse_feature`.

    A geometry is given whole.
    """
    reader = FeatureReader(schema, storage, crs, hidden, limits)
    edit = reader.patch(load_json(document), "", feature_id, version)
    reader.faults.check()
    return edit


def parse_transaction(
    document: bytes | Mapping[str, Any],
    schema: CollectionSchema,
    storage: ReferenceSystem,
    *,
    crs: str = CRS84,
    hidden: frozenset[str] = NO_FIELDS,
    limits: EditLimits = DEFAULT_LIMITS,
    read_version: Callable[[Any], Version | None] | None = None,
) -> list[Edit]:
    """The edits of a batch: `{"transaction": [{"action", "id", "version", "feature"}, ...]}`, or a FeatureCollection to create.

    `action` is create, replace, update (`feature` is then a merge patch) or delete. `read_version` makes a version of what
    clients write for it (an ETag, say) and raises ValueError; without it versions are whole numbers or texts.
    Raises as `parse_feature`; pointers begin with the number of the operation.
    """
    loaded = load_json(document)
    reader = FeatureReader(schema, storage, crs, hidden, limits)
    name, read = "transaction", _operation
    if isinstance(loaded, Mapping) and loaded.get("type") == "FeatureCollection":
        name, read = "features", _created
    operations = loaded.get(name) if isinstance(loaded, Mapping) else None
    if not isinstance(operations, list):
        raise InvalidFeature([(f"/{name}" if isinstance(loaded, Mapping) else "", _BATCH_WANTED)])
    if not 0 < len(operations) <= limits.edits:
        raise InvalidFeature(
            [(f"/{name}", f"{len(operations)} edits; 1 to {limits.edits} are possible at once")]
        )
    edits = []
    for number, operation in enumerate(operations):
        edits.append(read(reader, operation, f"/{name}/{number}", read_version or _plain_version))
        if reader.faults.full:
            break
    reader.faults.check()
    return edits


_BATCH_WANTED = (
    'a batch is {"transaction": [{"action": "create", "feature": {...}}, ...]} or a GeoJSON FeatureCollection'
)
_OPERATION_MEMBERS = frozenset({"action", "id", "version", "feature"})


def _created(
    reader: FeatureReader, document: Any, at: str, read_version: Callable[[Any], Version | None]
) -> Edit:
    return reader.whole(document, at, EditKind.CREATE, None, None)


def _operation(
    reader: FeatureReader, document: Any, at: str, read_version: Callable[[Any], Version | None]
) -> Edit:
    nothing = Edit(EditKind.DELETE)
    if not isinstance(document, Mapping):
        reader.faults.add(at, f"{shown(document)} is not a JSON object")
        return nothing
    for name in document.keys() - _OPERATION_MEMBERS:
        reader.faults.add(f"{at}/{name}", f"an operation has only {listed(sorted(_OPERATION_MEMBERS))}")
    action = document.get("action")
    if action not in [kind.value for kind in EditKind]:
        reader.faults.add(f"{at}/action", f"{shown(action)} is none of {', '.join(EditKind)}")
        return nothing
    kind = EditKind(action)
    feature_id = document.get("id")
    if isinstance(feature_id, int) and not isinstance(feature_id, bool):
        feature_id = str(feature_id)
    if not (isinstance(feature_id, str) or (feature_id is None and kind is EditKind.CREATE)):
        reader.faults.add(
            f"{at}/id", f"{shown(feature_id)}: the id of the item to {action} is wanted, as a text"
        )
        return nothing
    version = None
    if document.get("version") is not None:
        try:
            version = read_version(document["version"])
        except (TypeError, ValueError) as error:
            reader.faults.add(f"{at}/version", f"{shown(document['version'])}: {error}")
    if kind is EditKind.DELETE:
        if document.get("feature") is not None:
            reader.faults.add(f"{at}/feature", "delete takes no feature")
        return Edit(kind, feature_id, version=version)
    if kind is EditKind.UPDATE:
        return reader.patch(document.get("feature"), f"{at}/feature", feature_id or "", version)
    return reader.whole(document.get("feature"), f"{at}/feature", kind, feature_id, version)


def _plain_version(value: Any) -> Version:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("a version is a whole number or a text")
    return value


def load_json(document: bytes | Mapping[str, Any]) -> Any:
    """The JSON value of a request body. Raises InvalidParameter."""
    if not isinstance(document, bytes | bytearray | memoryview):
        return document
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        start = bytes(document[:100]).decode(errors="replace")
        raise InvalidParameter("body", start, f"a JSON document (RFC 8259) in UTF-8: {error}") from None
