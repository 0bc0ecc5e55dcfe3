"""The options of `chengtu publish` about what lies under the ground."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

UNDERGROUND = "Pipes, tunnels, boreholes, bodies and geology in 3D"


def meaning(text: str) -> tuple[str, str]:
    """Meaning and field of MEANING=FIELD. Raises typer.BadParameter."""
    name, _, field = (part.strip() for part in text.partition("="))
    if not name or not field:
        raise typer.BadParameter(f"{text!r} is not MEANING=FIELD, such as diameter=管径.")
    return name, field


def colour(text: str) -> tuple[str, str]:
    """Name and colour of NAME=#RRGGBB. Raises typer.BadParameter."""
    name, _, shade = (part.strip() for part in text.rpartition("="))
    if not name or not shade:
        raise typer.BadParameter(f"{text!r} is not NAME=#RRGGBB, such as water=#00A8F0.")
    return name, shade


def section_size(text: str) -> tuple[float, float]:
    """Width and height of WIDTHxHEIGHT, in metres. Raises typer.BadParameter."""
    parts = text.lower().replace("×", "x").split("x")
    try:
        sizes = [float(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not all(math.isfinite(size) for size in sizes):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in metres, such as 6x5.5.")
    return sizes[0], sizes[-1]


def _option(*names: str, metavar: str | None = None, text: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=UNDERGROUND, **more)


Underground = Annotated[
    str | None,
    _option(
        "--underground",
        metavar="pipes|tunnels|boreholes|bodies|geology",
        text="Make this of the features (of rasters: geology), with fields recognised by usual names",
    ),
]
FieldMeans = Annotated[
    list[Any] | None,
    _option(
        "--field-means",
        metavar="MEANING=FIELD",
        text="Which field it is, such as end_depth=终点埋深; may be repeated",
        parser=meaning,
    ),
]
DepthTo = Annotated[
    str | None,
    _option(
        "--depth-to",
        metavar="axis|top|bottom|kind",
        text="What depths and heights of lines are measured to; kind: as CJJ 61 has it",
    ),
]
SizeUnit = Annotated[
    str | None,
    _option(
        "--size-unit",
        metavar="m|cm|mm",
        text="Unit of diameters and sections [default: mm where their median is above 20, else m]",
    ),
]
Section = Annotated[
    str | None,
    _option(
        "--section",
        metavar="circle|box|horseshoe",
        text="Shape of lines that do not say it [default: circle; tunnels: horseshoe]",
    ),
]
SectionSize = Annotated[
    Any,
    _option(
        "--section-size",
        metavar="WIDTHxHEIGHT",
        text="Size of lines that do not say it, metres",
        parser=section_size,
    ),
]
Wall = Annotated[
    float | None, _option("--wall", metavar="METRES", text="Thickness of a tunnel's wall [default: 0.3]")
]
DefaultDepth = Annotated[
    float | None, _option("--default-depth", metavar="METRES", text="Depth where none is known")
]
NetworkKind = Annotated[
    str | None,
    _option("--network-kind", metavar="KIND", text="Kind of lines that do not say it, such as water"),
]
ColourOf = Annotated[
    list[Any] | None,
    _option(
        "--colour-of",
        metavar="NAME=#RRGGBB",
        text="Colour of a kind of line, a soil, a rock or a layer; may be repeated",
        parser=colour,
    ),
]
LayerName = Annotated[
    list[str] | None,
    _option("--layer-name", metavar="NAME", text="Geological layers from above; may be repeated"),
]
InterpolationMethod = Annotated[
    str | None,
    _option(
        "--interpolation", metavar="idw|linear", text="How layers are found between boreholes [default: idw]"
    ),
]
