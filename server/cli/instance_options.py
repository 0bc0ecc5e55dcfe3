"""Options of `chengtu publish` about points that become trees and street furniture."""

from __future__ import annotations

from typing import Annotated, Any

import typer

INSTANCES = "Points to trees and street furniture in 3D"


def model_of(text: str) -> tuple[str, str]:
    """Value and model of VALUE=MODEL. Raises typer.BadParameter."""
    value, equals, name = (part.strip() for part in text.rpartition("="))
    if not equals or not value or not name:
        raise typer.BadParameter(f"{text!r} is not VALUE=MODEL, such as spruce=conifer.")
    return value, name


def _field(name: str, text: str) -> Any:
    return typer.Option(name, metavar="FIELD", help=text, rich_help_panel=INSTANCES)


Instances = Annotated[
    str | None,
    typer.Option(
        "--instances",
        metavar="MODEL",
        help="Draw each point as this model: one that is built in, such as broadleaf_tree, or a .glb file",
        rich_help_panel=INSTANCES,
    ),
]
ModelField = Annotated[
    str | None,
    _field("--model-field", "Field whose values say the model, by --model-of or as a model's name"),
]
ModelOf = Annotated[
    list[Any] | None,
    typer.Option(
        "--model-of",
        metavar="VALUE=MODEL",
        help="Model of the points whose --model-field has this value; may be repeated",
        rich_help_panel=INSTANCES,
        parser=model_of,
    ),
]
InstanceHeightField = Annotated[
    str | None, _field("--instance-height-field", "Field of the height of each, metres")
]
WidthField = Annotated[
    str | None, _field("--width-field", "Field of the width of each, of trees the crown's diameter, metres")
]
ScaleField = Annotated[str | None, _field("--scale-field", "Field of a factor on the model's size")]
HeadingField = Annotated[
    str | None, _field("--heading-field", "Field of where each faces, degrees clockwise from north")
]
