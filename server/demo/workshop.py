"""The demo's materials, each made when first needed and kept until all that is built from it is published."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from numpy import uint8
from numpy.typing import NDArray
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from providers.sensors.store import Location, SeriesSummary, write_series
from server.demo import sources
from server.demo.auckland import PARAMETER, ReadingNotes, read_locations, read_observations
from server.demo.buildings import Building, find_buildings
from server.demo.greenery import Trees, find_trees
from server.demo.ground import Ground, build_ground, write_terrain
from server.demo.lidar import scan, write_scan
from server.demo.openstreetmap import Extract, read_extract
from server.demo.orthophoto import draw_orthophoto, write_orthophoto

# Where no tree of ours may stand: on courts and in basins, and nearer than this to a way.
_BARE = {("leisure", "pitch"), ("leisure", "playground"), ("landuse", "basin"), ("natural", "water")}
_WAY_CLEARANCE = 2.5


class Workshop:
    """Materials and the files made of them; everything is written below `folder`, which its owner removes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def extract(self) -> Extract:
        """The OpenStreetMap extract of Helsinki."""
        return read_extract(sources.helsinki_extract())

    @cached_property
    def ground(self) -> Ground:
        """The simulated ground."""
        return build_ground(self.extract)

    @cached_property
    def buildings(self) -> list[Building]:
        """The buildings on that ground."""
        return find_buildings(self.extract, self.ground)

    @cached_property
    def trees(self) -> Trees:
        """Mapped and simulated trees."""
        return find_trees(self.extract, self._obstacles())

    @cached_property
    def picture(self) -> tuple[NDArray[uint8], Affine]:
        """The simulated orthophoto and its transform."""
        return draw_orthophoto(self.extract, self.ground, self.buildings, self.trees)

    @cached_property
    def terrain(self) -> Path:
        """The ground as GeoTIFF."""
        path = self.folder / "terrain.tif"
        write_terrain(path, self.ground)
        return path

    @cached_property
    def orthophoto(self) -> Path:
        """The orthophoto as GeoTIFF."""
        path = self.folder / "ortho.tif"
        write_orthophoto(path, *self.picture)
        return path

    @cached_property
    def scan(self) -> Path:
        """The lidar scan as LAZ."""
        path = self.folder / "lidar.laz"
        write_scan(path, self.ground, scan(self.ground, self.buildings, self.trees), *self.picture)
        return path

    @cached_property
    def series(self) -> tuple[Path, SeriesSummary, list[Location], ReadingNotes]:
        """The series of Auckland's counters: the store, what it holds, the counters, and what had to be decided."""
        path = self.folder / "series.sqlite"
        notes = ReadingNotes()
        locations = read_locations(sources.auckland_locations())
        observations = read_observations(sources.auckland_counts(), locations, notes)
        return path, write_series(path, locations, [PARAMETER], observations), locations, notes

    def _obstacles(self) -> BaseGeometry:
        ways = [
            one.planar.buffer(_WAY_CLEARANCE, quad_segs=2)
            for one in self.extract.lines
            if "highway" in one.tags or "railway" in one.tags
        ]
        bare = [
            one.planar
            for one in self.extract.areas
            if any(one.tags.get(key) == value for key, value in _BARE)
        ]
        return unary_union([one.footprint for one in self.buildings] + ways + bare + [self.ground.water])
