"""How each collection of the demo is published: its file, and how that is to be read and shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from providers.sensors.store import SeriesStore, Span, rfc3339
from server.demo import buildings, city_layers, furniture, greenery, pipes, sources, survey, underground
from server.demo.auckland import PARAMETER
from server.demo.openstreetmap import CITY_GRID
from server.demo.vector_files import Column, write_layer
from server.demo.workshop import Workshop
from server.publish import ExtraRepresentation, ReadingOptions, RepresentationBuilder, SceneOptions
from server.publish.instance_options import InstanceOptions
from server.publish.underground_options import UndergroundOptions
from server.registry.catalogue import Interval, RepresentationKind

GEOID_METRES = 16.0
"""What the demo adds to its heights above the sea to place them on the ellipsoid: about the geoid's height at Helsinki."""

COUNTER_COLUMNS = (
    Column("counter_id", "str:60"),
    Column("address", "str:80"),
    Column("first_observation", "datetime"),
    Column("last_observation", "datetime"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One dataset ready to be published."""

    file: Path
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    scene: SceneOptions = field(default_factory=SceneOptions)
    extra: tuple[RepresentationBuilder, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A collection of the demo: `make` builds its file, `source` is the file of a package that it is made of, or None."""

    tenant: str
    id: str
    source: Callable[[], Path] | None
    make: Callable[[Workshop], Material]

    @property
    def key(self) -> str:
        """Its key in config/demo/collections.yml."""
        return f"{self.tenant}/{self.id}"


@dataclass(frozen=True, slots=True)
class _Layer:
    """A GeoPackage to be made: its columns, geometry type and CRS."""

    name: str
    columns: tuple[Column, ...]
    geometry_type: str
    crs: str = "OGC:CRS84"

    def write(self, workshop: Workshop, features: Iterable[tuple[BaseGeometry, Mapping[str, Any]]]) -> Path:
        path = workshop.folder / f"{self.name}.gpkg"
        write_layer(path, self.columns, features, geometry_type=self.geometry_type, crs=self.crs)
        return path


_BUILDINGS = _Layer("buildings", buildings.COLUMNS, "MultiPolygon")
_STREETS = _Layer("streets", city_layers.STREET_COLUMNS, "LineString")
_ADDRESSES = _Layer("addresses", city_layers.ADDRESS_COLUMNS, "Point")
_PLACES = _Layer("places", city_layers.PLACE_COLUMNS, "Point")
_PIPES = _Layer("pipes", pipes.COLUMNS, "3D LineString", CITY_GRID)
_MANHOLES = _Layer("manholes", underground.MANHOLE_COLUMNS, "3D Point", CITY_GRID)
_BOREHOLES = _Layer("boreholes", underground.BOREHOLE_COLUMNS, "3D Point", CITY_GRID)
_TUNNEL = _Layer("tunnel", underground.TUNNEL_COLUMNS, "3D LineString", CITY_GRID)
_DRILLED = {"intervals": "intervals", "hole": "borehole_id", "top": "孔口高程"}
_TREES = _Layer("trees", greenery.TREE_COLUMNS, "3D Point", CITY_GRID)
_FURNITURE = _Layer("street-furniture", furniture.COLUMNS, "3D Point", CITY_GRID)
_COUNTERS = _Layer("counters", COUNTER_COLUMNS, "Point")


def _buildings(workshop: Workshop) -> Material:
    features = buildings.building_features(workshop.buildings)
    return Material(
        file=_BUILDINGS.write(workshop, features),
        reading=ReadingOptions(id_field="osm_id"),
        scene=SceneOptions(height_field="height", base_field="ground", vertical=GEOID_METRES),
    )


def _streets(workshop: Workshop) -> Material:
    features = city_layers.street_features(workshop.extract)
    file = _STREETS.write(workshop, features)
    return Material(file=file, reading=ReadingOptions(id_field="osm_id"))


def _addresses(workshop: Workshop) -> Material:
    features = city_layers.address_features(workshop.extract)
    file = _ADDRESSES.write(workshop, features)
    return Material(file=file, reading=ReadingOptions(id_field="osm_id"))


def _places(workshop: Workshop) -> Material:
    features = city_layers.place_features(workshop.extract)
    file = _PLACES.write(workshop, features)
    return Material(file=file, reading=ReadingOptions(id_field="osm_id"))


def _terrain(workshop: Workshop) -> Material:
    return Material(file=workshop.terrain, scene=SceneOptions(terrain=True, vertical=GEOID_METRES))


def _ortho(workshop: Workshop) -> Material:
    return Material(file=workshop.orthophoto)


def _lidar(workshop: Workshop) -> Material:
    return Material(file=workshop.scan, scene=SceneOptions(vertical=GEOID_METRES, point_colour="rgb"))


def _pipes(workshop: Workshop) -> Material:
    features = pipes.pipe_features(workshop.extract, workshop.ground)
    return Material(
        file=_PIPES.write(workshop, features),
        reading=ReadingOptions(id_field="pipe_id"),
        scene=SceneOptions(
            diameter_field="diameter",
            vertical=GEOID_METRES,
            underground=UndergroundOptions(fields={"kind": "kind"}, size_unit="m"),
        ),
    )


def _manholes(workshop: Workshop) -> Material:
    features = underground.manhole_features(workshop.extract, workshop.ground)
    return Material(
        file=_MANHOLES.write(workshop, features),
        reading=ReadingOptions(id_field="manhole_id"),
        scene=SceneOptions(
            underground=UndergroundOptions(
                kind="pipes",
                fields={"diameter": "井径", "kind": "kind", "well_depth": "井深", "top": "地面高程"},
                size_unit="m",
            ),
            vertical=GEOID_METRES,
        ),
    )


def _boreholes(workshop: Workshop) -> Material:
    colours = underground.BOREHOLE_COLOURS
    options = UndergroundOptions(kind="boreholes", fields=_DRILLED, colours=colours)
    return _drilled(workshop, SceneOptions(underground=options, default_diameter=4.0, vertical=GEOID_METRES))


def _geology(workshop: Workshop) -> Material:
    layers = tuple(underground.BOREHOLE_COLOURS)
    options = UndergroundOptions(
        kind="geology", fields=_DRILLED, colours=underground.BOREHOLE_COLOURS, layers=layers
    )
    scene = SceneOptions(underground=options, ground=workshop.terrain, vertical=GEOID_METRES)
    return _drilled(workshop, scene)


def _drilled(workshop: Workshop, scene: SceneOptions) -> Material:
    features = underground.borehole_features(workshop.ground)
    return Material(
        file=_BOREHOLES.write(workshop, features),
        reading=ReadingOptions(id_field="borehole_id"),
        scene=scene,
    )


def _tunnel(workshop: Workshop) -> Material:
    options = UndergroundOptions(
        kind="tunnels", fields={"width": "width", "height": "height"}, size_unit="m", wall=0.4
    )
    return Material(
        file=_TUNNEL.write(workshop, underground.tunnel_features(workshop.ground)),
        scene=SceneOptions(underground=options, vertical=GEOID_METRES),
    )


def _trees(workshop: Workshop) -> Material:
    features = greenery.tree_features(workshop.trees, workshop.ground)
    models = InstanceOptions(
        model="broadleaf_tree", model_field="kind", height_field="height", width_field="crown"
    )
    return Material(
        file=_TREES.write(workshop, features),
        reading=ReadingOptions(id_field="tree_id"),
        scene=SceneOptions(instances=models, vertical=GEOID_METRES),
    )


def _street_furniture(workshop: Workshop) -> Material:
    features = furniture.furniture_features(workshop.extract, workshop.ground)
    models = InstanceOptions(model_field="kind", heading_field="heading")
    return Material(
        file=_FURNITURE.write(workshop, features),
        reading=ReadingOptions(id_field="osm_id"),
        scene=SceneOptions(instances=models, vertical=GEOID_METRES),
    )


def _survey(workshop: Workshop) -> Material:
    path = workshop.folder / "survey.zip"
    survey.write_parcels(path)
    return Material(
        file=path,
        reading=ReadingOptions(
            id_field="宗地号", time_field="登记日期", crs=survey.SURVEY_CRS, encoding="GBK"
        ),
    )


def _control_points(workshop: Workshop) -> Material:
    path = workshop.folder / "control-points.gpkg"
    survey.write_control_points(path)
    return Material(file=path, reading=ReadingOptions(id_field="点号", time_field="测量日期"))


def _pedestrian_counts(workshop: Workshop) -> Material:
    store, summary, locations, notes = workshop.series
    counters = []
    for place in locations:
        hours = [
            time
            for time, _ in SeriesStore(store).observations(
                place.id, PARAMETER.name, Span(None, None), 1 << 20
            )
        ]
        counters.append(
            (
                Point(place.longitude, place.latitude),
                {
                    "counter_id": place.id,
                    "address": place.title,
                    "first_observation": rfc3339(hours[0]) if hours else None,
                    "last_observation": rfc3339(hours[-1]) if hours else None,
                },
            )
        )
    warnings = (
        f"{len(notes.relabelled)} of {notes.rows} rows carry a wrong date and were read by their position",
        f"{len(notes.nonexistent)} rows are of an hour that the change to summer time skips, and were left out",
        f"{len(notes.repeated)} rows count both passes of the hour that the change from summer time repeats",
    )

    def copy_series(folder: Path) -> ExtraRepresentation:
        shutil.copyfile(store, folder / "series.sqlite")
        return ExtraRepresentation(
            kind=RepresentationKind.SERIES,
            path="series.sqlite",
            properties=summary.properties(),
            interval=Interval(summary.start, summary.end),
            warnings=warnings,
        )

    return Material(
        file=_COUNTERS.write(workshop, counters),
        reading=ReadingOptions(id_field="counter_id"),
        extra=(copy_series,),
    )


DATASETS: tuple[Dataset, ...] = (
    Dataset("helsinki", "buildings", sources.helsinki_extract, _buildings),
    Dataset("helsinki", "streets", sources.helsinki_extract, _streets),
    Dataset("helsinki", "addresses", sources.helsinki_extract, _addresses),
    Dataset("helsinki", "places", sources.helsinki_extract, _places),
    Dataset("helsinki", "pipes", sources.helsinki_extract, _pipes),
    Dataset("helsinki", "manholes", sources.helsinki_extract, _manholes),
    Dataset("helsinki", "boreholes", sources.helsinki_extract, _boreholes),
    Dataset("helsinki", "geology", sources.helsinki_extract, _geology),
    Dataset("helsinki", "tunnel", sources.helsinki_extract, _tunnel),
    Dataset("helsinki", "trees", sources.helsinki_extract, _trees),
    Dataset("helsinki", "street-furniture", sources.helsinki_extract, _street_furniture),
    Dataset("helsinki", "terrain", sources.helsinki_extract, _terrain),
    Dataset("helsinki", "ortho", sources.helsinki_extract, _ortho),
    Dataset("helsinki", "lidar", sources.helsinki_extract, _lidar),
    Dataset("helsinki", "survey-cgcs2000", None, _survey),
    Dataset("helsinki", "survey-control-points", None, _control_points),
    Dataset("auckland", "pedestrian-counts", sources.auckland_counts, _pedestrian_counts),
)
"""Every collection of the demo, in the order in which they are published."""
