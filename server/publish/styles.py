"""The style of a collection's map."""

from __future__ import annotations

from typing import Any

from server.publish.errors import OptionError
from server.publish.request import PublishRequest
from server.settings import Settings
from tiles.errors import TilesError


def chosen_style(request: PublishRequest, kind: str, settings: Settings) -> str | dict[str, Any]:
    """The style asked for (checked), else the name of the default of `kind`: a geometry type, "dem" or "image".

    Raises OptionError for a style that is not there or not sound.
    """
    from tiles.maps.styles import default_style_name, load_style

    if request.style is None:
        return default_style_name(kind)
    try:
        load_style(request.style, settings.styles_directory)
    except TilesError as error:
        raise OptionError(f"The style cannot be used: {error}.") from error
    return request.style if isinstance(request.style, str) else dict(request.style)
