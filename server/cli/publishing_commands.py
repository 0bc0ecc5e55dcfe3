"""`chengtu publish`, `unpublish` and `restore`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from server.cli import instance_options as trees
from server.cli import placement_options as models
from server.cli import publishing_options as given
from server.cli import underground_options as below
from server.cli.options import Config, Home, settings_of, split_qualified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.publish import PublishResult

Qualified = Annotated[
    str, typer.Argument(metavar="TENANT.COLLECTION", help="The collection", show_default=False)
]


def publish(
    files: given.Files,
    tenant: given.Tenant,
    id_: given.Id,
    title: given.Title,
    title_zh: given.TitleZh = None,
    description: given.Description = None,
    description_zh: given.DescriptionZh = None,
    keyword: given.Keyword = None,
    attribution: given.Attribution = "",
    licence: given.Licence = "",
    licence_url: given.LicenceUrl = None,
    field_title: given.FieldTitles = None,
    style: given.Style = None,
    simulated: given.Simulated = False,
    private: given.Private = None,
    replace: given.Replace = False,
    format_: given.Format = None,
    crs: given.Crs = None,
    layer: given.Layer = None,
    encoding: given.Encoding = None,
    x_column: given.XColumn = None,
    y_column: given.YColumn = None,
    wkt_column: given.WktColumn = None,
    id_field: given.IdField = None,
    time_field: given.TimeField = None,
    keep_field: given.KeepField = None,
    tag: given.Tag = None,
    where: given.Where = None,
    repair: given.Repair = False,
    time: given.Time = None,
    nodata: given.Nodata = None,
    on_top: given.OnTop = None,
    read_only: given.ReadOnly = False,
    no_if_match: given.NoIfMatch = False,
    create_by_put: given.CreateByPut = False,
    constraints: given.Constraints = None,
    tile_fields: given.TileFields = None,
    height_field: given.HeightField = None,
    levels_field: given.LevelsField = None,
    default_height: given.DefaultHeight = None,
    min_height_field: given.MinHeightField = None,
    base_field: given.BaseField = None,
    diameter_field: given.DiameterField = None,
    default_diameter: given.DefaultDiameter = None,
    depth_field: given.DepthField = None,
    underground: below.Underground = None,
    field_means: below.FieldMeans = None,
    depth_to: below.DepthTo = None,
    size_unit: below.SizeUnit = None,
    section: below.Section = None,
    section_size: below.SectionSize = None,
    wall: below.Wall = None,
    default_depth: below.DefaultDepth = None,
    network_kind: below.NetworkKind = None,
    colour_of: below.ColourOf = None,
    layer_name: below.LayerName = None,
    interpolation: below.InterpolationMethod = None,
    instances: trees.Instances = None,
    model_field: trees.ModelField = None,
    model_of: trees.ModelOf = None,
    instance_height_field: trees.InstanceHeightField = None,
    width_field: trees.WidthField = None,
    scale_field: trees.ScaleField = None,
    heading_field: trees.HeadingField = None,
    place: models.Place = None,
    heading: models.Heading = 0.0,
    model_scale: models.ModelScale = 1.0,
    terrain: given.Terrain = False,
    water: given.Water = None,
    terrain_levels: given.TerrainLevels = None,
    point_columns: given.PointColumns = None,
    vertical_crs: given.VerticalCrs = None,
    target_crs: given.TargetCrs = None,
    mosaic: given.Mosaic = None,
    pipeline: given.Pipeline = None,
    point_tiles: given.PointTiles = True,
    point_colour: given.PointColours = given.PointColour.CLASS,
    compress_3d: given.Compress3D = "none",
    ground: given.Ground = None,
    height_reference: given.HeightReference = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Publish files as one collection. A running server shows it at once; nothing has to be restarted."""
    # Long because an option is a parameter; all it does is to put each in its place of the request.
    from server.cli.console import progress, stopping_cleanly
    from server.publish import EditingOptions, PublishRequest, ReadingOptions, SceneOptions
    from server.publish import publish as publish_files
    from server.publish.constraint_files import read_constraints
    from server.publish.instance_options import InstanceOptions
    from server.publish.placement_options import PlacementOptions
    from server.publish.point_cloud_options import PointCloudOptions
    from server.publish.underground_options import UndergroundOptions
    from server.registry.catalogue import Access
    from server.registry.registry import open_registry_that_is_there

    settings = settings_of(home, config)
    request = PublishRequest(
        files=tuple(files),
        tenant=tenant,
        id=id_,
        titles=texts_of(title, title_zh),
        descriptions=texts_of(description, description_zh),
        keywords=tuple(keyword or ()),
        attribution=attribution,
        licence=licence,
        licence_url=licence_url,
        simulated=simulated,
        access=None if private is None else Access.PRIVATE if private else Access.PUBLIC,
        replace=replace,
        style=style,
        field_titles=dict(field_title or ()),
        reading=ReadingOptions(
            format=format_,
            crs=crs,
            layer=layer,
            encoding=encoding,
            x_column=x_column,
            y_column=y_column,
            wkt_column=wkt_column,
            id_field=id_field,
            time_field=time_field,
            tags=tuple(tag or ()),
            where=where,
            keep_fields=tuple(keep_field) if keep_field else None,
            repair=repair,
            time=time,
            nodata=nodata,
            on_top=on_top,
        ),
        editing=EditingOptions(
            editable=not read_only,
            if_match_required=not no_if_match,
            create_by_put=create_by_put,
            constraints={} if constraints is None else read_constraints(constraints),
        ),
        tile_fields=dict(tile_fields or ()),
        points=PointCloudOptions(
            mosaic=mosaic,
            columns=point_columns,
            vertical=vertical_crs,
            target_crs=target_crs,
            pipeline=tuple(pipeline or ()),
        ),
        scene=SceneOptions(
            height_field=height_field,
            levels_field=levels_field,
            default_height=default_height,
            min_height_field=min_height_field,
            base_field=base_field,
            ground=ground,
            diameter_field=diameter_field,
            default_diameter=default_diameter,
            depth_field=depth_field,
            vertical=height_reference,
            terrain=terrain,
            water=water,
            terrain_levels=terrain_levels,
            point_tiles=point_tiles,
            point_colour=point_colour.value,
            compression=compress_3d,
            underground=UndergroundOptions(
                kind=underground,
                fields=dict(field_means or ()),
                depth_to=depth_to,
                size_unit=size_unit,
                section=section,
                section_size=section_size,
                wall=wall,
                default_depth=default_depth,
                network_kind=network_kind,
                colours=dict(colour_of or ()),
                layers=tuple(layer_name or ()),
                interpolation=interpolation,
            ),
            instances=InstanceOptions(
                model=instances,
                model_field=model_field,
                models=dict(model_of or ()),
                height_field=instance_height_field,
                width_field=width_field,
                scale_field=scale_field,
                heading_field=heading_field,
            ),
            placement=PlacementOptions(place=place, heading=heading, scale=model_scale),
        ),
    )
    title_of_work = f"Publishing {tenant}.{id_}"
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(title_of_work) as report,
    ):
        result = publish_files(request, registry, settings, report)
    say_result(result, request.field_titles)


def unpublish(collection: Qualified, home: Home = None, config: Config = None) -> None:
    """Take a collection out of service at once."""
    from server.cli.console import say
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        registry.unpublish(tenant, id_)
        last = max(one.generation for one in registry.generations(tenant, id_) if one.state == "kept")
    say(
        f"{collection} is not served any more. `chengtu restore {collection} {last}` brings it back, "
        "as long as `chengtu sweep` has not removed its files."
    )


def restore(
    collection: Qualified,
    generation: Annotated[
        int | None, typer.Argument(help="Which one; without it they are listed", show_default=False)
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Serve an earlier generation of a collection again, or list its generations."""
    from server.cli.console import say, show_table
    from server.publish.closing import restore as restore_generation
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        if generation is None:
            show_table(
                ("generation", "state", "published"),
                [
                    (str(one.generation), one.state, one.committed or "")
                    for one in registry.generations(tenant, id_)
                ],
            )
            return
        restored = restore_generation(registry, tenant, id_, generation)
    say(f"{collection} is served in generation {restored.generation} again.")


def texts_of(en: str | None, zh: str | None) -> dict[str, str]:
    """The texts that were given, by language."""
    return {language: text for language, text in (("en", en), ("zh", zh)) if text}


def say_result(result: PublishResult, field_titles: Mapping[str, str] | None = None) -> None:
    """Tell what was published, and what its publisher should know."""
    from server.cli.console import say

    for warning in (*result.warnings, *_titles_of_nothing(result, field_titles or {})):
        say(f"Warning: {warning}")
    collection = result.collection
    count = "" if result.count is None else f", {result.count} of them"
    kinds = ", ".join(kind.value for kind in result.kinds)
    say(
        f"Published {collection.qualified_id} (generation {result.generation}: {kinds}{count}) in {result.seconds:.1f} s. "
        f"It is at /t/{collection.tenant}/ogc/collections/{collection.id}"
    )


def _titles_of_nothing(result: PublishResult, field_titles: Mapping[str, str]) -> list[str]:
    """A title of a field that is not there is most likely misspelt. (CityJSON's attributes are not listed as fields.)"""
    names = {field.name for field in result.collection.fields}
    return [
        f"There is no field {name!r} to give a title. The fields: {', '.join(sorted(names))}."
        for name in field_titles
        if names and name not in names
    ]
