"""Options of `chengtu publish` for models drawn in coordinates of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

MODELS = "Models (glTF, OBJ, PLY, STL, IFC)"


def place(text: str) -> tuple[float, ...]:
    """Two or three numbers of LON,LAT[,HEIGHT]. Raises typer.BadParameter."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 3):
        raise typer.BadParameter(f"{text!r} is not LON,LAT or LON,LAT,HEIGHT, such as 114.3,30.5,22.")
    return numbers


Place = Annotated[
    Any,
    typer.Option(
        "--place",
        metavar="LON,LAT[,HEIGHT]",
        parser=place,
        help="Where the model's origin stands (degrees, metres); overrides what an IFC says of itself",
        rich_help_panel=MODELS,
    ),
]
Heading = Annotated[
    float,
    typer.Option(
        "--heading",
        metavar="DEGREES",
        help="Where the model's y axis points, clockwise from north",
        rich_help_panel=MODELS,
    ),
]
ModelScale = Annotated[
    float,
    typer.Option(
        "--model-scale", metavar="METRES", help="Metres of one of its units", rich_help_panel=MODELS
    ),
]
