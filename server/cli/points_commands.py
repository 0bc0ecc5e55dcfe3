"""`chengtu points`: the files of a published point cloud, its history, and edits that are new generations of it."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.options import Config, Home, Json, settings_of, split_qualified

if TYPE_CHECKING:
    from server.publish.point_cloud_generations import CloudEdit
    from server.publish.point_cloud_listing import ListedTile

PointCloud = Annotated[
    str,
    typer.Argument(
        metavar="TENANT.COLLECTION", help="A collection that is a point cloud", show_default=False
    ),
]


class Language(StrEnum):
    """The language of a report."""

    ENGLISH = "en"
    CHINESE = "zh"


def list_tiles(
    collection: PointCloud,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many, by name")] = None,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """List the files of a point cloud: one COPC, or the tiles of a mosaic."""
    from server.cli.console import show, show_table
    from server.publish.point_cloud_listing import list_tiles as tiles_of
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        tiles = tiles_of(registry, tenant, id_)[:limit]
    if json:
        show(_json([tile.document() for tile in tiles]))
        return
    show_table(
        ("tile", "points", "MB", "time", "classes", "west, south, east, north"),
        [_row(tile) for tile in tiles],
    )


def _row(tile: ListedTile) -> tuple[str, ...]:
    return (
        tile.name,
        f"{tile.count}",
        f"{tile.bytes / 1e6:.1f}",
        "" if tile.start is None else f"{tile.start} to {tile.end}" if tile.end != tile.start else tile.start,
        " ".join(str(code) for code in tile.classes),
        ", ".join(f"{tile.bbox[place]:.5f}" for place in (0, 1, 3, 4)),
    )


def _json(document: Any) -> str:
    import orjson

    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def add_tiles(
    collection: PointCloud,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Point clouds; each becomes a tile", show_default=False),
    ],
    time: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="When they are of, as for `chengtu publish`")
    ] = None,
    crs: Annotated[
        str | None, typer.Option("--crs", metavar="CRS", help="CRS of the files; overrides theirs")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put a file in the place of the tile of its name")
    ] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Add files to a point cloud as tiles of a mosaic. Other tiles are not built again."""
    from server.cli.console import progress, stopping_cleanly
    from server.publish import ReadingOptions
    from server.publish.point_cloud_edits import add_files
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Adding to {collection}") as report,
    ):
        reading = ReadingOptions(time=time, crs=crs)
        edit = add_files(
            registry, settings, tenant, id_, files, _who(), reading, replace_tiles=replace, report=report
        )
    _say(collection, edit)


def remove_tiles(
    collection: PointCloud,
    names: Annotated[
        list[str], typer.Argument(metavar="TILE", help="Names, as `list` shows them", show_default=False)
    ],
    home: Home = None,
    config: Config = None,
) -> None:
    """Take tiles out of a mosaic. Other tiles are not built again."""
    from server.cli.console import progress, stopping_cleanly
    from server.publish.point_cloud_edits import remove_tiles as remove
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Removing from {collection}") as report,
    ):
        plain = [name.removesuffix(".copc.laz") for name in names]
        edit = remove(registry, settings, tenant, id_, plain, _who(), report=report)
    _say(collection, edit)


def reclassify(
    collection: PointCloud,
    area: Annotated[
        str,
        typer.Option(
            "--area",
            metavar="WKT|FILE",
            help="Polygon or multipolygon: WKT, GeoJSON, or a file with one of them",
            show_default=False,
        ),
    ],
    to: Annotated[
        int, typer.Option("--to", min=0, max=255, metavar="CLASS", help="The new class", show_default=False)
    ],
    crs: Annotated[
        str, typer.Option("--area-crs", metavar="CRS", help="CRS of the area, x or longitude first")
    ] = "OGC:CRS84",
    from_: Annotated[
        list[int] | None,
        typer.Option(
            "--from", min=0, max=255, metavar="CLASS", help="Only points of this class; may be repeated"
        ),
    ] = None,
    low: Annotated[
        float | None, typer.Option("--from-height", metavar="Z", help="Lowest height, in units of z")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--to-height", metavar="Z", help="Highest height, in units of z")
    ] = None,
    above_ground: Annotated[
        bool, typer.Option("--above-ground", help="Heights count from the cloud's own ground (class 2)")
    ] = False,
    ground: Annotated[
        Path | None,
        typer.Option("--ground", metavar="RASTER", help="Heights count from this raster of heights"),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Give the points inside a polygon another class. Only the nodes that meet it are written again."""
    from server.cli.console import progress, stopping_cleanly
    from server.publish.point_cloud_reclassify import ClassChange, parse_area
    from server.publish.point_cloud_reclassify import reclassify as change_classes
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    if above_ground and ground is not None:
        raise typer.BadParameter("--above-ground and --ground do not go together: give one or the other")
    change = ClassChange(
        area=parse_area(_text_of(area)),
        to=to,
        from_classes=frozenset(from_) if from_ else None,
        low=low,
        high=high,
        ground=ground if ground is not None else "points" if above_ground else None,
        crs=crs,
    )
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Changing {collection}") as report,
    ):
        edit = change_classes(registry, settings, tenant, id_, change, _who(), report=report)
    _say(collection, edit)


def _text_of(area: str) -> str:
    """The text itself, or what is in the file it names."""
    if area.lstrip()[:1] in ("{", "") or "(" in area:
        return area
    return Path(area).read_text("utf-8")


def info(collection: PointCloud, json: Json = False, home: Home = None, config: Config = None) -> None:
    """Show what a point cloud holds, and the edits that led to it."""
    from server.cli.console import show, show_table
    from server.publish.point_cloud_listing import describe_cloud
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        facts = describe_cloud(registry, tenant, id_)
    if json:
        show(_json(facts))
        return
    edits = facts.pop("edits")
    facts["crs"] = crs_name(facts["crs"])
    show_table(("", ""), [(name, _shown(value)) for name, value in facts.items()])
    if edits:
        show("")
        show_table(("edit", "who", "generation", "what"), [_edit_row(edit) for edit in edits])


def crs_name(identifier: str) -> str:
    """The name of a CRS, and its URI where it has one; the whole well-known text is in the JSON."""
    import pyproj

    name = pyproj.CRS.from_user_input(identifier).name
    return f"{name} ({identifier})" if identifier.startswith("http") else name


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(one) for one in value)
    # nothing is minus nothing
    return f"{value + 0.0:.6g}" if isinstance(value, float) and abs(value) < 1 else str(value)


def _edit_row(edit: dict[str, Any]) -> tuple[str, ...]:
    return edit["time"], edit["who"], str(edit["generation"]), sentence_of(edit)


def sentence_of(edit: dict[str, Any]) -> str:
    """What an edit did, in words."""
    points = f"{edit.get('points', 0):,} points"
    match edit["what"]:
        case "reclassified":
            parts = ", ".join(f"{count:,} of class {code}" for code, count in edit.get("changed", {}).items())
            return f"{points} became class {edit['to']}" + (f" ({parts})" if parts else "")
        case what:
            names = ", ".join(edit.get("tiles", ()))
            more = edit.get("count", 0) - len(edit.get("tiles", ()))
            return f"{what} {names}" + (f" and {more} more" if more > 0 else "") + f" ({points})"


def report(
    collection: PointCloud,
    language: Annotated[Language, typer.Option("--language", help="Language of the text")] = Language.ENGLISH,
    read_points: Annotated[
        bool,
        typer.Option("--read-points", help="Read every point too, for outliers, duplicates and small gaps"),
    ] = False,
    gaps: Annotated[
        Path | None, typer.Option("--gaps", metavar="FILE", help="Write the gaps as GeoJSON polygons")
    ] = None,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Show the validation report: densities, classes, returns, outliers and gaps."""
    from server.cli.console import show
    from server.publish.point_cloud_listing import validation_of
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        found = validation_of(registry, tenant, id_, read_points=read_points)
    if gaps is not None:
        gaps.write_text(_json(found.gaps_geojson() or {"type": "FeatureCollection", "features": []}))
    show(_json(found.as_json()) if json else found.as_text(language.value))


def _who() -> str:
    """The person at the terminal, as the history names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name in a container's list of users
        return "command line"


def _say(collection: str, edit: CloudEdit) -> None:
    from server.cli.console import say

    for warning in edit.warnings:
        say(f"Warning: {warning}")
    if not edit.is_new:
        say(f"{collection} was left as it is: no point would change.")
        return
    say(
        f"{collection}: {sentence_of(dict(edit.entry))}, in {edit.seconds:.1f} s. It is generation {edit.collection.generation}; "
        f"`chengtu restore {collection} {edit.entry['before']}` brings back the one before."
    )
