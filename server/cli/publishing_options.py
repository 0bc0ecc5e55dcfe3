"""The options of `chengtu publish`, in the groups in which `--help` shows them, and the request that they make."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

COLLECTION = "The collection"
READING = "How the files are read"
EDITING = "Edits over HTTP"
TILES = "Vector tiles"
BUILDINGS = "Footprints to buildings in 3D"
PIPES = "Lines to pipes in 3D"
HEIGHTS = "Terrain, point clouds, and what heights count from"

HEIGHT_REFERENCES = ("ellipsoidal", "egm96", "automatic")


class PointColour(StrEnum):
    """What the points of a tileset are coloured by."""

    CLASS = "class"
    HEIGHT = "height"
    RGB = "rgb"
    INTENSITY = "intensity"
    RETURN = "return"
    TIME = "time"


class GroupedOptions(typer.core.TyperCommand):
    """A command whose help lists its options under the headings of their `rich_help_panel`, as plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options. The types are click's, which typer keeps private."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            heading = getattr(parameter, "rich_help_panel", None) or "Options"
            if parameter.param_type_name == "argument":
                heading, record = "Arguments", (record[0].partition(" <")[0], record[1])  # no "<list[Path]>"
            groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def height_reference(text: str) -> str | float:
    """A word of `HEIGHT_REFERENCES`, or a number of metres. Raises typer.BadParameter."""
    if text in HEIGHT_REFERENCES:
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = math.nan
    if not math.isfinite(metres):
        raise typer.BadParameter(
            f"{text!r} is neither {', '.join(HEIGHT_REFERENCES)} nor a number of metres."
        )
    return metres


def field_title(text: str) -> tuple[str, str]:
    """Field and title of FIELD=TITLE. Raises typer.BadParameter."""
    name, _, title = (part.strip() for part in text.partition("="))
    if not name or not title:
        raise typer.BadParameter(f"{text!r} is not FIELD=TITLE, such as height=Height.")
    return name, title


def tile_fields(text: str) -> tuple[str, list[str]]:
    """Zooms and fields of ZOOMS=FIELD,... Raises typer.BadParameter."""
    zooms, equals, names = (part.strip() for part in text.partition("="))
    if not zooms or not equals:
        raise typer.BadParameter(f"{text!r} is not ZOOMS=FIELD,..., such as 0-11=name,kind.")
    return zooms, [name.strip() for name in names.split(",") if name.strip()]


def _option(group: str, *names: str, metavar: str | None = None, text: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=group, **more)


def _words(group: str, name: str, metavar: str, text: str, **more: Any) -> Any:
    return _option(group, name, metavar=metavar, text=f"{text}; may be repeated", **more)


Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE", help="Files of one dataset, zipped ones too", show_default=False),
]

Tenant = Annotated[
    str, _option(COLLECTION, "--tenant", metavar="TENANT", text="Its tenant", show_default=False)
]
Id = Annotated[
    str, _option(COLLECTION, "--id", metavar="ID", text="Its id, unique in the tenant", show_default=False)
]
Title = Annotated[
    str, _option(COLLECTION, "--title", metavar="TEXT", text="Title in English", show_default=False)
]
TitleZh = Annotated[str | None, _option(COLLECTION, "--title-zh", metavar="TEXT", text="Title in Chinese")]
Description = Annotated[
    str | None, _option(COLLECTION, "--description", metavar="TEXT", text="Description in English")
]
DescriptionZh = Annotated[
    str | None, _option(COLLECTION, "--description-zh", metavar="TEXT", text="Description in Chinese")
]
Keyword = Annotated[list[str] | None, _words(COLLECTION, "--keyword", "WORD", "Keyword")]
Attribution = Annotated[
    str, _option(COLLECTION, "--attribution", metavar="TEXT", text="Credit shown with the data")
]
Licence = Annotated[
    str, _option(COLLECTION, "--licence", metavar="TEXT", text="Licence, best as SPDX id such as CC-BY-4.0")
]
LicenceUrl = Annotated[
    str | None, _option(COLLECTION, "--licence-url", metavar="URL", text="Address of the licence's text")
]
FieldTitles = Annotated[
    list[Any] | None,
    _words(COLLECTION, "--field-title", "FIELD=TITLE", "Title shown for a field", parser=field_title),
]
Style = Annotated[
    str | None,
    _option(COLLECTION, "--style", metavar="NAME", text="Map style [default: by the kind of data]"),
]
Simulated = Annotated[bool, _option(COLLECTION, "--simulated", text="The data are not observed but made up")]
Private = Annotated[
    bool | None,
    _option(
        COLLECTION,
        "--private/--public",
        text="Who sees it [default: as before; a new one is public]",
        show_default=False,
    ),
]
Replace = Annotated[bool, _option(COLLECTION, "--replace", text="Replace the collection of this id")]

Format = Annotated[
    str | None, _option(READING, "--format", metavar="KEY", text="Format, where the content does not tell")
]
Crs = Annotated[
    str | None,
    _option(READING, "--crs", metavar="CRS", text="CRS of the files, such as EPSG:4547; overrides theirs"),
]
Layer = Annotated[
    str | None, _option(READING, "--layer", metavar="NAME", text="Layer, of files with several")
]
Encoding = Annotated[
    str | None, _option(READING, "--encoding", metavar="NAME", text="Text encoding, such as GB18030")
]
XColumn = Annotated[
    str | None,
    _option(READING, "--x-column", metavar="NAME", text="CSV: column of longitude or easting"),
]
YColumn = Annotated[
    str | None, _option(READING, "--y-column", metavar="NAME", text="CSV: column of latitude or northing")
]
WktColumn = Annotated[
    str | None, _option(READING, "--wkt-column", metavar="NAME", text="CSV: column of WKT geometries")
]
IdField = Annotated[
    str | None,
    _option(READING, "--id-field", metavar="FIELD", text="Field that becomes the feature id"),
]
TimeField = Annotated[
    str | None, _option(READING, "--time-field", metavar="FIELD", text="Field of the features' time")
]
KeepField = Annotated[list[str] | None, _words(READING, "--keep-field", "FIELD", "Keep only this field")]
Tag = Annotated[list[str] | None, _words(READING, "--tag", "KEY", "OpenStreetMap key to make a field of")]
Where = Annotated[
    str | None,
    _option(READING, "--where", metavar="CONDITION", text="Only these features, as an SQL condition"),
]
Repair = Annotated[bool, _option(READING, "--repair", text="Repair invalid polygons instead of refusing")]

Time = Annotated[
    str | None,
    _option(
        READING,
        "--time",
        metavar="TIME",
        text="Rasters: when they are of, as a time, a pattern of file names such as S2_%Y%m%d, or tag (TIFF tag DateTime)",
    ),
]
Nodata = Annotated[
    float | None,
    _option(
        READING, "--nodata", metavar="VALUE", text="Rasters: value of pixels without data [default: theirs]"
    ),
]
OnTop = Annotated[
    str | None,
    _option(
        READING,
        "--on-top",
        metavar="newest|first|last",
        text="Rasters: which of overlapping files is seen [default: newest, then the last given]",
    ),
]

ReadOnly = Annotated[bool, _option(EDITING, "--read-only", text="Features cannot be edited over HTTP")]
NoIfMatch = Annotated[
    bool,
    _option(EDITING, "--no-if-match", text="Take edits that do not say which version they saw"),
]
CreateByPut = Annotated[
    bool, _option(EDITING, "--create-by-put", text="A PUT to an id that is free creates the feature")
]
Constraints = Annotated[
    Path | None,
    _option(
        EDITING,
        "--constraints",
        metavar="FILE",
        text="What values have to keep, by field: YAML or JSON with words of JSON Schema, required and unique",
    ),
]
TileFields = Annotated[
    list[Any] | None,
    _words(
        TILES,
        "--tile-fields",
        "ZOOMS=FIELD,...",
        "Fields that vector tiles of these zooms carry, such as 0-11=name",
        parser=tile_fields,
    ),
]

HeightField = Annotated[
    str | None,
    _option(BUILDINGS, "--height-field", metavar="FIELD", text="Field of the height above ground, metres"),
]
LevelsField = Annotated[
    str | None,
    _option(
        BUILDINGS,
        "--levels-field",
        metavar="FIELD",
        text="Field of the storeys (3.2 m each), where no height is",
    ),
]
DefaultHeight = Annotated[
    float | None,
    _option(BUILDINGS, "--default-height", metavar="METRES", text="Height where neither is known"),
]
MinHeightField = Annotated[
    str | None,
    _option(
        BUILDINGS,
        "--min-height-field",
        metavar="FIELD",
        text="Field of the height above ground at which a building part begins, metres",
    ),
]
BaseField = Annotated[
    str | None,
    _option(BUILDINGS, "--base-field", metavar="FIELD", text="Field of the height of the ground, metres"),
]

DiameterField = Annotated[
    str | None, _option(PIPES, "--diameter-field", metavar="FIELD", text="Field of the diameter, metres")
]
DefaultDiameter = Annotated[
    float | None, _option(PIPES, "--default-diameter", metavar="METRES", text="Diameter where none is known")
]
DepthField = Annotated[
    str | None,
    _option(
        PIPES,
        "--depth-field",
        metavar="FIELD",
        text="Field of the axis' depth below ground, metres [default: the lines' own z]",
    ),
]

Terrain = Annotated[
    bool, _option(HEIGHTS, "--terrain", text="The raster is an elevation model: make a terrain of it")
]
Water = Annotated[
    str | None,
    _option(
        HEIGHTS,
        "--water",
        metavar="WHERE",
        text="Water of the terrain: nodata, a height, a file of polygons, a raster, or a collection",
    ),
]
TerrainLevels = Annotated[
    int | None,
    _option(
        HEIGHTS,
        "--terrain-levels",
        metavar="LEVEL",
        min=-1,
        max=22,
        text="Deepest level of terrain tiles made at once; deeper ones are made on request [default: two minutes' worth]",
    ),
]
PointColumns = Annotated[
    str | None,
    _option(
        READING,
        "--point-columns",
        metavar="NAMES",
        text="Columns of points as text, in their order, such as 'x y z intensity r g b'; - skips one",
    ),
]
VerticalCrs = Annotated[
    str | None,
    _option(
        READING,
        "--vertical-crs",
        metavar="CRS",
        text="Vertical CRS that the heights of a point cloud count from, such as EPSG:5737",
    ),
]
TargetCrs = Annotated[
    str | None,
    _option(
        READING,
        "--target-crs",
        metavar="CRS",
        text="Projected CRS that a point cloud is brought to [default: its own; of degrees, one of the place]",
        show_default=False,
    ),
]
Mosaic = Annotated[
    bool | None,
    _option(
        HEIGHTS,
        "--mosaic/--no-mosaic",
        text="Keep every file of a point cloud as a tile of its own, or all points in one file [default: by number and size]",
        show_default=False,
    ),
]
Pipeline = Annotated[
    list[str] | None,
    _option(
        HEIGHTS,
        "--pipeline",
        metavar="STEP|FILE.json",
        text="What PDAL does to every file of a point cloud first: ready steps (ground, outliers, NAME:OPTION=VALUE,...) or a PDAL "
        "pipeline of filters; may be given several times",
        show_default=False,
    ),
]
PointTiles = Annotated[
    bool,
    _option(
        HEIGHTS,
        "--point-tiles/--no-point-tiles",
        text="Make 3D Tiles of a point cloud [default: yes]",
        show_default=False,
    ),
]
PointColours = Annotated[
    PointColour,
    _option(
        HEIGHTS,
        "--point-colour",
        metavar="|".join(PointColour),
        text="What colours the points of its 3D Tiles",
    ),
]
Compress3D = Annotated[
    str,
    _option(
        HEIGHTS,
        "--compress-3d",
        metavar="none|draco",
        text="Compression of meshes in 3D Tiles; Draco halves what goes over the wire and takes several times as long",
    ),
]
Ground = Annotated[
    Path | None,
    _option(
        HEIGHTS, "--ground", metavar="FILE", text="Elevation raster on which buildings stand and pipes lie"
    ),
]
HeightReference = Annotated[
    Any,
    _option(
        HEIGHTS,
        "--height-reference",
        metavar="|".join((*HEIGHT_REFERENCES, "METRES")),
        text="What heights count from, or metres to add to make them ellipsoidal "
        "[default: ellipsoidal; CityJSON and point clouds: as their CRS says]",
        parser=height_reference,
    ),
]
