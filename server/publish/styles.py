"""The style of a collection's map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from server.publish.errors import OptionError
from server.publish.formats import Family
from server.publish.inputs import Input
from server.publish.request import PublishRequest
from server.settings import Settings
from tiles.errors import TilesError

if TYPE_CHECKING:
    from tiles.maps.style_model import Style


def usable_style(style: str | Mapping[str, Any], settings: Settings) -> Style:
    """The style of that name, or of these keys. Raises OptionError for one that is not there or not sound."""
    from tiles.maps.styles import load_style

    try:
        return load_style(style, settings.styles_directory)
    except TilesError as error:
        raise OptionError(f"The style cannot be used (--style): {error}.") from error


def check_style_fits(request: PublishRequest, item: Input, settings: Settings) -> None:
    """Refuse a style of rasters for features, and one of features for rasters. Raises OptionError."""
    if request.style is None:
        return
    # The map of a point cloud is drawn of its coverage.
    is_raster = item.format.family in (Family.RASTER, Family.POINT_CLOUD)
    if (usable_style(request.style, settings).raster is not None) == is_raster:
        return
    named = f"The style {request.style!r}" if isinstance(request.style, str) else "This style"
    raise OptionError(
        f"{named} (--style) is for {'features' if is_raster else 'rasters'}; {item.name} is {item.format.title} "
        f"({item.format.family.value}). Name a style for {'rasters' if is_raster else 'features'}, or leave it out."
    )


def chosen_style(request: PublishRequest, kind: str, settings: Settings) -> str | dict[str, Any]:
    """The style asked for (checked), else the name of the default of `kind`: a geometry type, or one of rasters.

    Raises OptionError for a style that is not there or not sound.
    """
    from tiles.maps.styles import default_style_name

    if request.style is None:
        return default_style_name(kind)
    usable_style(request.style, settings)
    return request.style if isinstance(request.style, str) else dict(request.style)
