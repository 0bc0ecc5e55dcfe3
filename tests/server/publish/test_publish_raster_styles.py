"""How a raster is drawn whose publisher names no style: palettes, few bands, deep images, series, heights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from server.publish.raster_styles import map_kind, palette_style
from server.registry.catalogue import RepresentationKind
from tiles.maps.raster_source import RasterMapSource
from tiles.maps.styles import default_style_name, parse_style
from tiles.rasters import close_rasters, open_raster

PALETTE = [[0, [0, 0, 0, 0]], [1, [65, 105, 225, 255]], [2, [34, 139, 34, 255]], [9, [0, 0, 0, 255]]]


def bands(dtype: str, count: int = 1, **more: Any) -> list[dict[str, Any]]:
    return [{"name": str(n), "dtype": dtype, "interpretation": "gray", **more} for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("found", "is_terrain", "is_series", "style"),
    [
        (bands("uint8", 3), False, False, "ortho"),
        (bands("uint8", 4), False, True, "ortho"),
        (bands("uint16", 3), False, False, "image"),
        (bands("float32", 12), False, False, "image"),
        (bands("uint8", 2), False, False, "grey"),
        (bands("uint16"), False, False, "grey"),
        (bands("float32"), False, False, "dem"),
        (bands("int16"), True, False, "dem"),
        (bands("float32"), False, True, "values"),
        (bands("float64", 2), False, False, "values"),
    ],
)
def test_default_style_asks_for_no_band_that_is_not_there(
    found: list[dict[str, Any]], is_terrain: bool, is_series: bool, style: str
) -> None:
    assert default_style_name(map_kind(found, is_terrain=is_terrain, is_series=is_series)) == style


def test_colours_of_a_palette_become_classes_of_the_codes_that_are_there() -> None:
    keys = palette_style(bands("uint8", colours=PALETTE, minimum=1.0, maximum=5.0))
    assert keys is not None
    drawn = parse_style(keys).raster
    assert drawn is not None
    assert (drawn.kind, drawn.resampling) == ("classes", "nearest")
    assert drawn.classes == ((1, "#4169e1ff"), (2, "#228b22ff"))


def test_without_statistics_every_colour_that_shows_is_a_class() -> None:
    keys = palette_style(bands("uint8", colours=PALETTE, minimum=None, maximum=None))
    assert keys is not None
    assert list(keys["raster"]["classes"]) == ["1", "2", "9"]


@pytest.mark.parametrize(
    "found",
    [bands("uint8"), bands("uint8", 3, colours=PALETTE), bands("uint8", colours=[[0, [0, 0, 0, 0]]])],
)
def test_no_palette_no_style_of_it(found: list[dict[str, Any]]) -> None:
    assert palette_style(found) is None


def test_a_classification_is_published_drawn_and_explained(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "cover.tif"
    codes = np.repeat(np.array([[1, 2], [2, 0]], np.uint8), 32, axis=0).repeat(32, axis=1)
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", crs="EPSG:32650", nodata=0,
        transform=from_origin(500_000, 4_400_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(codes, 1)
        file.write_colormap(1, {code: tuple(colour) for code, colour in PALETTE})
    result = publisher.publish(path)
    assert not result.warnings
    collection = result.collection
    style = parse_style(collection.representations[RepresentationKind.MAP].properties["style"])
    coverage = collection.representations[RepresentationKind.COVERAGE]
    source = open_raster(collection.directory, coverage.path, coverage.properties)
    drawn = RasterMapSource(source, style=style).render(
        (500_000, 4_399_360, 500_640, 4_400_000), "EPSG:32650", 64, 64
    )
    close_rasters()
    assert drawn[10, 10].tolist() == [65, 105, 225, 255]
    assert drawn[10, 50].tolist() == [34, 139, 34, 255]
    assert drawn[50, 50].tolist() == [0, 0, 0, 0]
