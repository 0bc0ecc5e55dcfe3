"""pygeoapi plugin: OGC API - Records over a registered catalogue.

Errors are of `providers.errors` and pass through pygeoapi untouched, so that the server's one table gives them their
status. Filters beyond the simple parameters (`filter`, `sortby`) are refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pygeoapi.provider.base import BaseProvider

from providers.errors import InvalidParameter, ItemNotFound, UnsupportedQuery
from providers.records.catalogue import FindableRecords, list_records
from providers.records.query import MAXIMUM_LIMIT, parse_box, parse_record_query, query_records

_LISTS = ("type", "ids", "externalIds")


class ChengtuRecordProvider(BaseProvider):  # type: ignore[misc] # pygeoapi is untyped
    """The records of a catalogue; `data` is the key it is registered under."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__({**provider_def, "id_field": provider_def.get("id_field", "id")})
        # Without this pygeoapi drops the parameters that are no fields: ids and externalIds.
        self.include_extra_query_parameters = True
        self._fields = self.get_fields()

    def get_fields(self) -> dict[str, dict[str, str]]:
        """The queryables: {name: {"type"}}."""
        return {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "created": {"type": "string", "format": "date-time"},
            "updated": {"type": "string", "format": "date-time"},
        }

    def query(
        self,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        bbox: Sequence[float] = (),
        datetime_: str | None = None,
        properties: Sequence[tuple[str, str]] = (),
        sortby: Sequence[object] = (),
        q: str | None = None,
        filterq: object = None,
        **_: Any,
    ) -> dict[str, Any]:
        """A FeatureCollection of records. Raises InvalidParameter, UnsupportedQuery."""
        if filterq is not None or sortby:
            raise UnsupportedQuery(
                "The catalogue is searched with bbox, datetime, q, type, ids and externalIds"
            )
        asked = dict(properties)
        unknown = sorted(set(asked) - set(_LISTS))
        if unknown:
            raise InvalidParameter(
                unknown[0], asked[unknown[0]], "only " + ", ".join(_LISTS) + " besides the usual ones"
            )
        parameters = {**asked, "limit": str(min(limit, MAXIMUM_LIMIT)), "offset": str(offset)}
        if q:
            parameters["q"] = q
        if datetime_:
            parameters["datetime"] = datetime_
        if bbox:
            parameters["bbox"] = ",".join(str(edge) for edge in parse_box(bbox))
        answer = query_records(list_records(self.data), parse_record_query(parameters))
        if resulttype == "hits":
            answer |= {"features": [], "numberReturned": 0}
        return answer

    def get(self, identifier: str, **_: Any) -> dict[str, Any]:
        """One record. Raises ItemNotFound."""
        records = list_records(self.data)
        if isinstance(records, FindableRecords):
            record = records.find(identifier)
        else:
            record = next((one for one in records if one["id"] == identifier), None)
        if record is None:
            raise ItemNotFound(identifier)
        return record
