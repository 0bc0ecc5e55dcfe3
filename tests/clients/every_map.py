"""A small city of maps for real clients: features, an image, heights, a time series, a PostGIS table, and maps of other servers.

Every pixel of the images tells its own place: `Ramp.colours` says what a picture must show there, in whatever CRS it is
drawn, so that a client's picture is compared with the truth and not only with another picture of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from rasterio.transform import from_origin

TENANT = "atlas"
DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")
GRID = "EPSG:4548"
"""CGCS2000 / 3-degree Gauss-Kruger CM 117E: what the image and the series are kept in."""


@dataclass(frozen=True)
class Ramp:
    """An image of `edge` x `edge` cells of `cell` metres in GRID, whose red grows eastwards and whose green grows northwards.

    `blue` is the same everywhere, but for `hole` cells in the upper left corner, which are no data.
    """

    blue: int = 90
    west: float = 448_000.0
    south: float = 4_417_800.0
    edge: int = 512
    cell: float = 4.0
    hole: int = 64

    @property
    def north(self) -> float:
        """The upper edge."""
        return self.south + self.edge * self.cell

    @property
    def east(self) -> float:
        """The right edge."""
        return self.west + self.edge * self.cell

    def bounds(self, crs: str, inset: float = 0.0) -> tuple[float, float, float, float]:
        """West, south, east, north in a CRS (x first), `inset` metres within the edges."""
        to = pyproj.Transformer.from_crs(GRID, crs, always_xy=True)
        sides = (self.west + inset, self.south + inset, self.east - inset, self.north - inset)
        return to.transform_bounds(*sides)

    def write(self, path: Path) -> Path:
        """The image as a GeoTIFF, RGB with a mask of nodata 0."""
        steps = 20 + np.arange(self.edge) * 200 // (self.edge - 1)
        red, green = np.meshgrid(steps, steps[::-1])
        values = np.stack([red, green, np.full_like(red, self.blue)]).astype("uint8")
        values[:, : self.hole, : self.hole] = 0
        profile = {"driver": "GTiff", "width": self.edge, "height": self.edge, "count": 3, "dtype": "uint8"}
        place = from_origin(self.west, self.north, self.cell, self.cell)
        with rasterio.open(
            path, "w", **profile, crs=GRID, transform=place, nodata=0, photometric="RGB"
        ) as file:
            file.write(values)
        return path

    def colours(self, box: tuple[float, float, float, float], crs: str, size: tuple[int, int]) -> Any:
        """What a picture of a box (x first, in a CRS) must show: rows x columns x (red, green, blue), float; NaN outside."""
        width, height = size
        west, south, east, north = box
        x = west + (np.arange(width) + 0.5) * (east - west) / width
        y = north - (np.arange(height) + 0.5) * (north - south) / height
        to = pyproj.Transformer.from_crs(crs, GRID, always_xy=True)
        ground_x, ground_y = to.transform(*np.meshgrid(x, y))
        across = (ground_x - self.west) / (self.east - self.west)
        up = (ground_y - self.south) / (self.north - self.south)
        hole = self.hole / self.edge
        outside = (across < 0) | (across > 1) | (up < 0) | (up > 1) | ((across < hole) & (up > 1 - hole))
        seen = np.stack([20 + 200 * across, 20 + 200 * up, np.full_like(across, self.blue)], axis=-1)
        seen[outside] = np.nan
        return seen

    def wrong(
        self, pixels: Any, box: tuple[float, float, float, float], crs: str, tolerance: float = 9
    ) -> float:
        """The share of the pixels (rows, columns, 3 or 4) of a picture of a box that do not show what is there.

        Pixels at an edge of the image (two beside it) are not looked at; outside, a picture must be clear or white.
        """
        expected = self.colours(box, crs, (pixels.shape[1], pixels.shape[0]))
        inside = ~np.isnan(expected[..., 0])
        near = np.zeros_like(inside)
        for row in range(-2, 3):
            for column in range(-2, 3):
                near |= np.roll(inside, (row, column), (0, 1)) != inside
        away = np.abs(pixels[..., :3].astype(float) - np.nan_to_num(expected)).max(axis=-1)
        clear = (pixels[..., :3] == 255).all(axis=-1)
        if pixels.shape[-1] == 4:
            clear |= pixels[..., 3] == 0
            away[pixels[..., 3] < 255] = 255
        bad = np.where(inside, away > tolerance, ~clear)
        return float(bad[~near].mean())


def write_heights(path: Path) -> Path:
    """Heights in EPSG:4490, 60 x 40 cells of 0.0005 degrees: 10 + column + row / 100 metres; NaN in the lower right 5 x 5."""
    columns, rows = np.meshgrid(np.arange(60), np.arange(40))
    values = (10 + columns + rows / 100).astype("float32")
    values[-5:, -5:] = np.nan
    place = from_origin(116.385, 39.925, 0.0005, 0.0005)
    profile = {"driver": "GTiff", "width": 60, "height": 40, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs="EPSG:4490", transform=place, nodata=float("nan")) as file:
        file.write(values, 1)
        file.set_band_description(1, "height")
    return path


SERIES = {day: Ramp(blue=60 + 80 * number) for number, day in enumerate(DAYS)}
PHOTO = Ramp()


@dataclass(frozen=True)
class MapCity:
    """The served city. `cascades` are the collections that other servers draw, `far` the Chengtu among those servers."""

    address: str
    home: Path
    token: str
    cascades: tuple[str, ...] = ()
    far: str = ""
    towers: Any = None
    photo: Ramp = field(default=PHOTO)
    series: Mapping[str, Ramp] = field(default_factory=lambda: SERIES)

    @property
    def ogc(self) -> str:
        """The landing page of the OGC APIs, with a slash as clients are given it."""
        return f"{self.address}/t/{TENANT}/ogc/"

    @property
    def maps(self) -> str:
        """The address below which WMS, WMTS, TMS and KML are."""
        return f"{self.address}/t/{TENANT}/maps"

    def collection(self, name: str) -> str:
        """The address of a collection."""
        return f"{self.ogc}collections/{name}"


MAPFILE = """
MAP
  NAME "city"
  SIZE 100 100
  MAXSIZE 2048
  EXTENT 116.38 39.89 116.42 39.93
  PROJECTION "init=epsg:4326" END
  IMAGETYPE "rgba"
  OUTPUTFORMAT
    NAME "rgba"
    DRIVER "AGG/PNG"
    MIMETYPE "image/png"
    IMAGEMODE RGBA
    TRANSPARENT ON
  END
  WEB
    METADATA
      "wms_title" "City"
      "wms_onlineresource" "http://nowhere.invalid/wms?"
      "wms_srs" "EPSG:4326 EPSG:4490 EPSG:3857"
      "wms_enable_request" "*"
      "wms_feature_info_mime_type" "text/plain"
    END
  END
  LAYER
    NAME "photo"
    TYPE RASTER
    STATUS ON
    DATA "{data}"
    PROCESSING "RESAMPLE=BILINEAR"
    PROJECTION "init=epsg:4548" END
    METADATA
      "wms_title" "Photo"
      "wms_extent" "{extent}"
    END
  END
END
"""


def write_mapfile(photo: Path, folder: Path) -> Path:
    """A mapfile that draws the image by WMS."""
    mapfile = folder / "photo.map"
    extent = f"{PHOTO.west} {PHOTO.south} {PHOTO.east} {PHOTO.north}"
    mapfile.write_text(MAPFILE.format(data=photo, extent=extent))
    return mapfile


type Publishing = Callable[..., None]


def publish_city(folder: Path, publish: Publishing, blocks: Path) -> None:
    """Publish the city's own collections: `publish(id, *files, title=..., zh=..., **reading options)`."""
    publish("blocks", blocks, title="Blocks", zh="街区", time_field="built")
    publish("photo", PHOTO.write(folder / "photo.tif"), title="Photo", zh="影像")
    publish("heights", write_heights(folder / "heights.tif"), title="Heights", zh="高程")
    scenes = [ramp.write(folder / f"day_{day}.tif") for day, ramp in SERIES.items()]
    publish("series", *scenes, title="Series", zh="时序影像", time="day_%Y-%m-%d")


def xyz_of(far: MapCity) -> tuple[str, ...]:
    """What `chengtu register` is told of the image's tiles by their address alone."""
    template = f"{far.collection('photo')}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
    box = ",".join(f"{side:.6f}" for side in PHOTO.bounds("OGC:CRS84"))
    return f"xyz:{template}", "--set", f"bbox={box}"
