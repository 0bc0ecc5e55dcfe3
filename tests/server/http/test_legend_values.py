"""Legends of rasters whose style takes its range from the data show that range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from server.http.legend_values import in_values
from server.registry.catalogue import Representation, RepresentationKind
from tiles.maps.styles import parse_style

RAMP = {"kind": "ramp", "palette": "viridis"}


@dataclass(frozen=True)
class Raster:
    """As much of a collection as legends look at."""

    bands: list[dict[str, Any]]

    @property
    def representations(self) -> MappingProxyType[RepresentationKind, Representation]:
        kind = RepresentationKind.COVERAGE
        return MappingProxyType({kind: Representation(kind, str(Path("x")), 1, 0, {"bands": self.bands})})


def span(style: dict[str, Any], *bands: dict[str, Any]) -> tuple[float, float] | None:
    shown = in_values(parse_style({"raster": style}), Raster(list(bands)))  # type: ignore[arg-type]  # a stand-in
    assert shown.raster is not None
    return shown.raster.span


def band(low: float | None, high: float | None) -> dict[str, Any]:
    return {"name": "1", "percentile_2": low, "percentile_98": high}


@pytest.mark.parametrize(
    ("style", "bands", "expected"),
    [
        (RAMP, (band(380, 410),), (380.0, 410.0)),
        (RAMP | {"bands": [2]}, (band(0, 1), band(5, 9)), (5.0, 9.0)),
        (RAMP | {"bands": [3]}, (band(0, 1), band(5, 9)), None),
        (RAMP | {"span": [0, 100]}, (band(380, 410),), (0.0, 100.0)),
        (RAMP | {"span": [0, 1], "expression": "b1 / 2"}, (band(380, 410),), (0.0, 1.0)),
        (RAMP, (band(7, 7),), None),
        (RAMP, (band(None, None),), None),
        (RAMP, ({"name": "1"},), None),
        (RAMP, (), None),
        ({"kind": "hillshade"}, (band(380, 410),), None),
    ],
)
def test_the_range_of_a_legend(
    style: dict[str, Any], bands: tuple[dict[str, Any], ...], expected: tuple[float, float] | None
) -> None:
    assert span(style, *bands) == expected


def test_without_a_collection_a_style_stays_as_it_is() -> None:
    style = parse_style({"raster": RAMP})
    assert in_values(style, None) is style
