"""pygeoapi plugin: OGC API - Coverages over a Cloud Optimized GeoTIFF.

Errors are the room's own (`providers.errors`) and pass through pygeoapi untouched, so that the server's one table gives
them their status. pygeoapi 0.24 does not hand scale-size and scale-factor on: `answers.answer_coverage` understands them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pygeoapi.provider.base import BaseProvider

from providers.coverages.answers import answer_request, coverage_json, coverage_schema
from providers.coverages.query import ALL_LABELS, CoverageRequest
from providers.coverages.raster import describe_coverage
from providers.errors import InvalidParameter
from providers.features.query import CRS84


class ChengtuCoverageProvider(BaseProvider):  # type: ignore[misc] # pygeoapi is untyped
    """Parts of a raster as GeoTIFF (`GTiff`) or CoverageJSON (`json`); `data` is the path of coverage.tif.

    pygeoapi makes one for every request; the raster itself stays open in a cache of the thread.
    """

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.path = Path(self.data)
        coverage = describe_coverage(self.path)
        self.axes = list(ALL_LABELS)
        self.crs = coverage.reference.uri
        self.num_bands = len(coverage.bands)
        self._fields: dict[str, dict[str, Any]] = {}
        self.get_fields()

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """The bands by number: {"1": {"title", "type", "x-ogc-unit"}}."""
        if not self._fields:
            self._fields = coverage_schema(self.path)["properties"]
        return self._fields

    def query(
        self,
        properties: Sequence[str] = (),
        subsets: Mapping[str, Sequence[float]] | None = None,
        bbox: Sequence[float] = (),
        bbox_crs: str | None = None,
        format_: str = "json",
        **_: Any,
    ) -> dict[str, Any] | bytes:
        """CoverageJSON as a dict for "json", else the bytes of a GeoTIFF. Raises what `answers.answer_coverage` raises."""
        request = CoverageRequest(
            bbox=_horizontal(bbox),
            bbox_crs=bbox_crs or CRS84,
            subset={label: _interval(label, values) for label, values in (subsets or {}).items()},
            properties=tuple(properties),
        )
        if format_ in ("json", "covjson", None):
            return coverage_json(self.path, request)
        return answer_request(self.path, request, format_).body


def _horizontal(bbox: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The horizontal part of a box of four or six numbers."""
    if not bbox:
        return None
    upper = len(bbox) // 2
    return bbox[0], bbox[1], bbox[upper], bbox[upper + 1]


def _interval(label: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise InvalidParameter(
            "subset", f"{label}({values[0] if values else ''})", "an interval: axis(low:high)"
        )
    return float(values[0]), float(values[1])
