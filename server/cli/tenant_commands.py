"""`chengtu tenants set-map-policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli.options import Config, Home, settings_of


def set_map_policy(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant", show_default=False)],
    watermark: Annotated[str | None, typer.Option("--watermark", help="Text on all its maps")] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip", help="Area outside of which its maps show nothing: a GeoJSON file, or WKT in CRS84"
        ),
    ] = None,
    no_watermark: Annotated[bool, typer.Option("--no-watermark", help="Take the text away")] = False,
    no_clip: Annotated[bool, typer.Option("--no-clip", help="Show the maps whole")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Set the watermark and the clip of a tenant's maps and map tiles; what is not named stays as it is."""
    from server.cli.console import say
    from server.errors import InvalidMapPolicy
    from server.registry.registry import open_registry_that_is_there

    if (watermark and no_watermark) or (clip and no_clip):
        raise InvalidMapPolicy("--watermark and --no-watermark, --clip and --no-clip exclude each other")
    area = _area(clip) if clip else None
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        present = registry.tenant(tenant)
        text = None if no_watermark else watermark or present.map_watermark
        area = None if no_clip else area or present.map_clip
        registry.set_map_policy(tenant, text, area)
    drawn = f"the watermark {text!r}" if text else "no watermark"
    shown = "cut to its area" if area else "shown whole"
    say(f"Maps of {tenant} carry {drawn} and are {shown}.")


def _area(clip: str) -> str:
    """The WKT of a file or of the text itself. Raises InvalidMapPolicy."""
    from server.errors import InvalidMapPolicy

    if _is_wkt(clip):
        return clip
    path = Path(clip)
    if not path.is_file():
        raise InvalidMapPolicy(
            f"--clip {clip[:100]!r} is neither a file nor WKT such as POLYGON((24 60, 25 60, 25 61, 24 60))"
        )
    return _area_of_file(path)


def _is_wkt(text: str) -> bool:
    return text.lstrip()[:1].isalpha() and "(" in text


def _area_of_file(path: Path) -> str:
    import orjson
    import shapely

    from server.errors import InvalidMapPolicy

    content = path.read_bytes()
    written = content.decode(errors="replace").strip()
    if _is_wkt(written):
        return written
    try:
        document: Any = orjson.loads(content)
        shapes = [shapely.from_geojson(orjson.dumps(one)) for one in _geometries(document)]
    except (orjson.JSONDecodeError, shapely.errors.GEOSException, TypeError, AttributeError) as error:
        raise InvalidMapPolicy(f"{path.name} holds neither GeoJSON of polygons nor WKT: {error}") from error
    if not shapes:
        raise InvalidMapPolicy(f"{path.name} holds no polygon")
    return str(shapely.to_wkt(shapely.union_all(shapes), rounding_precision=9))


def _geometries(document: Any) -> list[Any]:
    if document.get("type") == "FeatureCollection":
        return [one["geometry"] for one in document.get("features", ()) if one.get("geometry")]
    if document.get("type") == "Feature":
        return [document["geometry"]] if document.get("geometry") else []
    return [document]
