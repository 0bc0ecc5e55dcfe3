"""Answers about a coverage: the parameters of a request, fitted, read and encoded into a file.

A file, not bytes: what is written by rows needs no more memory for a large answer than for a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from providers.coverages.coverage_json import COVERAGE_JSON, dump, grid_coverage
from providers.coverages.reading import read_all
from providers.coverages.references import in_axis_order
from providers.coverages.request import CoverageRequest, parse_coverage_request
from providers.coverages.selection import Selection, select
from providers.errors import InvalidParameter
from tiles.rasters.source import RasterSource

GEOTIFF = "image/tiff; application=geotiff"
NETCDF = "application/x-netcdf"
PNG = "image/png"
HEAVY_VALUES = 262_144
"""Answers of more values take a place among the costly ones."""

type Writer = Callable[[RasterSource, Selection, Path], None]


class Form(NamedTuple):
    """A format: its media type and file ending, the most values of an answer, and whether it has room for many instants."""

    media_type: str
    ending: str
    maximum_values: int
    all_instants: bool


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "gtiff": Form(GEOTIFF, "tif", 33_554_432, False),
        "netcdf": Form(NETCDF, "nc", 33_554_432, True),
        "covjson": Form(COVERAGE_JSON, "covjson", 500_000, True),
        "png": Form(PNG, "png", 16_777_216, False),
    }
)


@dataclass(frozen=True, slots=True)
class CoverageAnswer:
    """What a request selects in one form; `headers` say its CRS and box in that CRS's order of axes (Content-Crs, Content-Bbox)."""

    source: RasterSource
    selection: Selection
    form: str

    @property
    def media_type(self) -> str:
        """The media type of the file."""
        return FORMS[self.form].media_type

    @property
    def heavy(self) -> bool:
        """Whether making it takes long enough to keep others waiting."""
        return self.selection.values > HEAVY_VALUES

    @property
    def headers(self) -> Mapping[str, str]:
        """Content-Crs and Content-Bbox."""
        west, south, east, north = self.selection.bounds
        reference = self.selection.reference
        edges = (*in_axis_order(reference, west, south), *in_axis_order(reference, east, north))
        crs = {"Content-Crs": f"<{reference.uri}>"} if reference.uri else {}
        return {**crs, "Content-Bbox": ",".join(f"{edge:.12g}" for edge in edges)}

    def write(self, path: Path) -> None:
        """Make the file. Raises RasterError, and InvalidParameter for bands a form has no room for."""
        _writer(self.form)(self.source, self.selection, path)


def answer_coverage(
    source: RasterSource, parameters: Sequence[tuple[str, str]], form: str = "gtiff"
) -> CoverageAnswer:
    """Fit the pairs of a query string (without f and lang) to a coverage.

    Raises InvalidParameter, OutsideCoverage, AnswerTooLarge, UnknownInstant, RasterError.
    """
    return answer_request(source, parse_coverage_request(parameters), form)


def answer_request(source: RasterSource, request: CoverageRequest, form: str) -> CoverageAnswer:
    """The same for a request that was read already."""
    chosen = FORMS.get(form)
    if chosen is None:
        raise InvalidParameter("f", form, ", ".join(FORMS))
    selection = select(request, source.description, chosen.maximum_values, all_instants=chosen.all_instants)
    return CoverageAnswer(source, selection, form)


def _writer(form: str) -> Writer:
    # Each brings a library that the other forms need not.
    if form == "netcdf":
        from providers.coverages.netcdf import write_netcdf

        return write_netcdf
    if form == "covjson":
        return _write_coverage_json
    from providers.coverages.geotiff import write_geotiff, write_png

    return write_png if form == "png" else write_geotiff


def _write_coverage_json(source: RasterSource, selection: Selection, path: Path) -> None:
    path.write_bytes(dump(grid_coverage(selection, read_all(source, selection))))
