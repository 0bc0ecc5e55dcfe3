"""`chengtu seed` and `chengtu cache`: making tiles ahead, and the care of those that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.options import Config, Home, Json, settings_of

if TYPE_CHECKING:
    from server.seeding.seeding import Seeding
    from server.settings import Settings
    from tiles.cache import TileCache, Tileset

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the seeding", show_default=False)]
Below = Annotated[
    str | None,
    typer.Argument(metavar="[TENANT[.COLLECTION]]", help="Only tiles of these", show_default=False),
]
Levels = Annotated[
    str | None, typer.Option("--levels", metavar="LEVELS", help="Zoom levels, as in 12 or 0-14")
]
Box = Annotated[
    str | None, typer.Option("--bbox", metavar="W,S,E,N", help="Only tiles that touch this box (degrees)")
]


def seed(
    collections: Annotated[
        list[str] | None,
        typer.Argument(metavar="TENANT.COLLECTION...", help="What to make tiles of", show_default=False),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="map or tiles (vector) [default: what there is]"),
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", metavar="STYLE", help="Style of maps [default: the collection's]")
    ] = None,
    extension: Annotated[str, typer.Option("--format", help="png, jpeg or webp, of maps")] = "png",
    grids: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", metavar="GRID", help="Tile matrix set; may be repeated [default: WebMercatorQuad]"
        ),
    ] = None,
    levels: Annotated[
        str, typer.Option("--levels", metavar="LEVELS", help="Zoom levels, as in 12 or 0-14")
    ] = "0-12",
    bbox: Box = None,
    coverage: Annotated[
        Path | None,
        typer.Option(
            "--coverage", metavar="FILE", help="Only tiles that touch the polygons of this GeoJSON file"
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=256, help="Processes that make tiles")
    ] = 2,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="NAME", help="Go on with this seeding instead of a new one"),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Make tiles before they are asked for. What is kept already is not made again.

    Ctrl-C, or a kill, loses nothing: go on with --resume.
    """
    from server.cli.console import progress, say, stopping_cleanly
    from server.seeding.errors import SeedingError
    from server.seeding.running import run_seeding

    settings = settings_of(home, config)
    if (resume is None) == (not collections):
        raise SeedingError("name collections to make tiles of, or a seeding to go on with (--resume NAME)")
    if resume is None:
        seeding = _new_seeding(
            settings, collections or [], kind, style, extension, grids, levels, bbox, coverage
        )
    else:
        seeding = _seeding(settings, resume)
    seeding.wanted = "run"
    say(f"Seeding {seeding.id}: at most {seeding.division.most_tiles} tiles.")
    try:
        with stopping_cleanly(), progress(f"seeding {seeding.id}", whole=True) as report:
            ended = run_seeding(seeding, settings, processes, report)
    except KeyboardInterrupt:
        say(f"Go on with: chengtu seed --resume {seeding.id}")
        raise
    made, kept, failed, reason = seeding.progress.result
    say(f"{made} tiles made, {kept} were kept before, {failed} failed.")
    if ended == "stop":
        say(f"Stopped. Go on with: chengtu seed --resume {seeding.id}")
    if failed:
        say(f"The first that failed: {reason}")
        raise typer.Exit(1)


def list_tilesets(below: Below = None, json: Json = False, home: Home = None, config: Config = None) -> None:
    """List what is kept: each form and grid with its tiles, bytes and levels."""
    from server.cli.console import show_table

    with _cache(settings_of(home, config)) as cache:
        rows = []
        for tileset in cache.tilesets(_folder(below)):
            tiles, size = _size(cache, tileset)
            levels = cache.store.levels(tileset)
            rows.append((tileset, tiles, size, levels))
    if json:
        _show_json([_tileset_document(*row) for row in rows])
        return
    show_table(
        ("collection", "generation", "form", "grid", "format", "levels", "tiles", "MB"),
        [
            (
                f"{one.tenant}.{one.collection}",
                str(one.generation),
                one.form,
                one.grid,
                one.extension,
                f"{levels[0]}-{levels[-1]}" if levels else "",
                str(tiles),
                f"{size / 1e6:.1f}",
            )
            for one, tiles, size, levels in rows
        ],
    )


def show_statistics(
    below: Below = None, json: Json = False, home: Home = None, config: Config = None
) -> None:
    """Show how often tiles were found kept, made, voided by edits and removed for room, over all processes."""
    from server.cli.console import show

    with _cache(settings_of(home, config)) as cache:
        tenant, _, collection = (below or "").partition(".")
        found = cache.statistics((tenant, collection) if collection else None)
        usage = cache.usage(_folder(below))
    document = {**found._asdict(), "hit_rate": found.hit_rate, "tiles": usage.tiles, "bytes": usage.bytes}
    if json:
        _show_json(document)
        return
    rate = "nothing was asked for yet" if found.hit_rate is None else f"{found.hit_rate:.1%}"
    show(f"hit rate\t{rate}")
    for key, value in document.items():
        if key != "hit_rate":
            show(f"{key.replace('_', ' ')}\t{value}")


def clean(
    below: Below = None,
    levels: Levels = None,
    bbox: Box = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Only tiles not used for so many days"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all tenants, where none is named")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Remove kept tiles; they are made again when they are asked for."""
    from server.cli.console import say
    from server.seeding.choosing import parse_box, parse_levels
    from server.seeding.errors import SeedingError

    if below is None and not everything:
        raise SeedingError("name a tenant or a collection, or give --all")
    low, high = (None, None) if levels is None else parse_levels(levels)
    zooms = None if low is None or high is None else range(low, high + 1)
    boxes = None if bbox is None else [parse_box(bbox)]
    seconds = None if older_than is None else older_than * 86400
    removed = 0
    with _cache(settings_of(home, config)) as cache:
        for tileset in cache.store.tilesets(_folder(below)):  # those that are stale too
            removed += cache.clean(tileset, zooms, boxes, seconds)
        cache.store.tidy()
    say(f"Removed {removed} tiles.")


def list_seedings(json: Json = False, home: Home = None, config: Config = None) -> None:
    """List seedings: how far each is, and whether it runs."""
    from server.cli.console import show_table
    from server.seeding.seeding import names

    settings = settings_of(home, config)
    found = [_seeding(settings, name) for name in names(_seedings(settings))]
    if json:
        _show_json([_seeding_document(one) for one in found])
        return
    show_table(
        ("seeding", "state", "done", "made", "kept before", "failed", "collections"),
        [
            (
                one.id,
                _state(one),
                f"{one.fraction:.1%}",
                *(str(number) for number in one.progress.result[:3]),
                " ".join(dict.fromkeys(layer.collection for layer in one.plan.layers)),
            )
            for one in found
        ],
    )


def pause(name: Name, home: Home = None, config: Config = None) -> None:
    """Let a seeding wait, wherever it runs on this machine."""
    from server.cli.console import say

    _seeding(settings_of(home, config), name).wanted = "pause"
    say(f"Seeding {name} waits. Go on with: chengtu cache resume {name}")


def resume_seeding(name: Name, home: Home = None, config: Config = None) -> None:
    """Let a seeding that waits go on."""
    from server.cli.console import say

    seeding = _seeding(settings_of(home, config), name)
    seeding.wanted = "run"
    if seeding.running:
        say(f"Seeding {name} goes on.")
    else:
        say(f"Seeding {name} is run by no process. Go on with: chengtu seed --resume {name}")


def stop(name: Name, home: Home = None, config: Config = None) -> None:
    """End a seeding after the tiles under way; it can be gone on with."""
    from server.cli.console import say

    _seeding(settings_of(home, config), name).wanted = "stop"
    say(f"Seeding {name} ends. Go on with: chengtu seed --resume {name}")


def _new_seeding(
    settings: Settings,
    collections: list[str],
    kind: str | None,
    style: str | None,
    extension: str,
    grids: list[str] | None,
    levels: str,
    bbox: str | None,
    coverage: Path | None,
) -> Seeding:
    from server.registry.reader import open_catalogue_reader
    from server.seeding.choosing import parse_box, plan_of, read_coverage
    from server.seeding.errors import SeedingError
    from server.seeding.making import offer_own_grids
    from server.seeding.seeding import Seeding

    if kind not in (None, "map", "tiles"):
        raise SeedingError(f"--kind {kind}; allowed: map, tiles")
    if extension not in ("png", "jpeg", "webp"):
        raise SeedingError(f"--format {extension}; allowed: png, jpeg, webp")
    offer_own_grids(settings)
    reader = open_catalogue_reader(settings)
    catalogue = reader.current()
    reader.close()
    plan = plan_of(
        catalogue,
        collections,
        kind=kind,
        style=style,
        extension=extension,
        grids=grids or ["WebMercatorQuad"],
        levels=levels,
        area=None if bbox is None else parse_box(bbox),
        coverage=None if coverage is None else read_coverage(coverage),
    )
    return Seeding.create(_seedings(settings), plan)


def _seeding(settings: Settings, name: str) -> Seeding:
    from server.seeding.making import offer_own_grids
    from server.seeding.seeding import Seeding

    offer_own_grids(settings)
    return Seeding.open(_seedings(settings), name)


def _seedings(settings: Settings) -> Path:
    return settings.home / "cache" / "seedings"


def _state(seeding: Seeding) -> str:
    if seeding.finished:
        return "done"
    if not seeding.running:
        return "stopped"
    return "paused" if seeding.wanted == "pause" else "running"


def _seeding_document(seeding: Seeding) -> dict[str, Any]:
    result = seeding.progress.result
    return {
        "id": seeding.id,
        "state": _state(seeding),
        "fraction": seeding.fraction,
        "made": result.made,
        "kept_before": result.kept,
        "failed": result.failed,
        "reason": result.reason,
        "plan": seeding.plan.document(),
    }


@contextmanager
def _cache(settings: Settings) -> Iterator[TileCache]:
    """The kept tiles of these settings; what is wrong with their store is an error of the command."""
    from server.http.tile_maker import open_tile_maker
    from server.seeding.errors import SeedingError
    from server.seeding.making import offer_own_grids
    from tiles.errors import TileCacheError

    offer_own_grids(settings)
    cache = open_tile_maker(settings).cache
    try:
        yield cache
    except TileCacheError as error:
        raise SeedingError(str(error)) from error
    finally:
        cache.close()


def _folder(below: str | None) -> str:
    """The folder of a tenant or collection. Raises InvalidIdentifier."""
    from server.registry.identifiers import check_collection_id, check_tenant_id

    if below is None:
        return ""
    tenant, dot, collection = below.partition(".")
    check_tenant_id(tenant)
    if dot:
        check_collection_id(collection)
    return f"{tenant}/{collection}" if dot else tenant


def _size(cache: TileCache, tileset: Tileset) -> tuple[int, int]:
    tiles = size = 0
    for one in cache.store.ages(tileset.path):
        if one.name.tileset == tileset:
            tiles += 1
            size += one.bytes
    return tiles, size


def _tileset_document(tileset: Tileset, tiles: int, size: int, levels: list[int]) -> dict[str, Any]:
    return {
        "collection": f"{tileset.tenant}.{tileset.collection}",
        "generation": tileset.generation,
        "form": tileset.form,
        "grid": tileset.grid,
        "format": tileset.extension,
        "levels": levels,
        "tiles": tiles,
        "bytes": size,
    }


def _show_json(document: object) -> None:
    import orjson

    from server.cli.console import show

    show(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
