"""pygeoapi plugin: OGC API - Coverages over a raster source.

Errors are the room's own (`providers.errors`) and pass through pygeoapi untouched, so that the server's one table gives
them their status. pygeoapi 0.24 hands neither scaling nor crs on: `answers.answer_coverage` understands them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pygeoapi.provider.base import BaseProvider

from providers.coverages.answers import answer_request
from providers.coverages.axes import ALL_LABELS, DEGREE_LABELS, Axis, axis_of
from providers.coverages.opening import source_at
from providers.coverages.references import own_reference
from providers.coverages.request import AxisRange, CoverageRequest
from providers.coverages.schema import coverage_fields
from providers.errors import InvalidParameter
from providers.features.query import CRS84
from providers.formatters.scratch import scratch_folder

_FORMS = {"GTiff": "gtiff", "json": "covjson", "covjson": "covjson", "NetCDF": "netcdf", "PNG": "png"}


class ChengtuCoverageProvider(BaseProvider):  # type: ignore[misc] # pygeoapi is untyped
    """Parts of a raster as GeoTIFF (`GTiff`), CoverageJSON (`json`), `NetCDF` or `PNG`.

    `data` is the path of coverage.tif or mosaic.sqlite. pygeoapi makes one for every request; files stay open below `tiles.rasters`.
    """

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.source = source_at(Path(self.data))
        description = self.source.description
        self.axes = list(ALL_LABELS)
        self.crs = own_reference(description).uri
        self.num_bands = len(description.bands)
        self._fields: dict[str, dict[str, Any]] = {}
        self.get_fields()

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """The bands by name: {"height": {"title", "type", "x-ogc-unit"}}."""
        if not self._fields:
            self._fields = coverage_fields(self.source.description)
        return self._fields

    def query(
        self,
        properties: Sequence[str] = (),
        subsets: Mapping[str, Sequence[float]] | None = None,
        bbox: Sequence[float] = (),
        bbox_crs: str | None = None,
        format_: str | None = "json",
        **_: Any,
    ) -> dict[str, Any] | bytes:
        """CoverageJSON as a dict for "json", else the bytes of a file. Raises what `answers.answer_coverage` raises."""
        subset, in_degrees = _subset(subsets or {})
        request = CoverageRequest(
            bbox=_horizontal(bbox),
            bbox_crs=bbox_crs or CRS84,
            subset=subset,
            subset_in_degrees=in_degrees,
            properties=tuple(properties),
        )
        form = _FORMS.get(format_ or "json")
        if form is None:
            raise InvalidParameter("f", str(format_), ", ".join(_FORMS))
        answer = answer_request(self.source, request, form)
        with scratch_folder() as folder:
            file = folder / "answer"
            answer.write(file)
            body = file.read_bytes()
        return dict(orjson.loads(body)) if form == "covjson" else body


def _horizontal(bbox: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The horizontal part of a box of four or six numbers."""
    if not bbox:
        return None
    upper = len(bbox) // 2
    return bbox[0], bbox[1], bbox[upper], bbox[upper + 1]


def _subset(subsets: Mapping[str, Sequence[float]]) -> tuple[dict[Axis, AxisRange], bool]:
    """pygeoapi's intervals by label. Raises InvalidParameter for an axis that is none, or anything but low and high."""
    found: dict[Axis, AxisRange] = {}
    for label, values in subsets.items():
        axis = axis_of(label)
        if axis is None or axis == "time" or axis in found or len(values) != 2:
            shown = ":".join(str(value) for value in values)
            raise InvalidParameter("subset", f"{label}({shown})", "an interval low:high of each axis once")
        found[axis] = AxisRange(float(values[0]), float(values[1]), False)
    degrees = {label.lower() in DEGREE_LABELS for label in subsets}
    if len(degrees) > 1:
        raise InvalidParameter("subset", ",".join(subsets), "labels of one CRS")
    return found, degrees == {True}
