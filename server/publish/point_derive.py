"""Collections derived from a published point cloud: worked on by PDAL block by block, then published as files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.errors import PointCloudError
from pointclouds.pdal.blocks import points_for
from pointclouds.pdal.rasters import RASTERS
from pointclouds.pdal.steps import Step
from providers.processes.point_work import Made, Raster, Workshop
from server.publish.errors import DamagedFile, OptionError
from server.publish.option_checks import check_values
from server.publish.point_pipeline import (
    RegistryResources,
    clear_pipeline_errors,
    derive_files,
    limits_of,
    pdal_for,
    provenance,
)
from server.publish.point_pipeline_options import work_of
from server.publish.publication import publish
from server.publish.request import (
    Cancelled,
    PublishRequest,
    PublishResult,
    ReadingOptions,
    Report,
    never_cancelled,
    report_nothing,
)
from server.registry.catalogue import Access, Collection, RepresentationKind
from server.registry.staging import staging_folder
from server.settings import Settings

if TYPE_CHECKING:
    from providers.processes.point_steps import Work
    from server.registry.registry import Registry

_SHARE = 0.8
"""How much of the whole the work of PDAL is said to be, in reports of progress."""


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """What is to be made: of the point cloud `source`, the collection `id`, both of `tenant`.

    `steps`: as `--step` takes them. `raster`: a kind of pdal.rasters.RASTERS, with cells of `cell` CRS units; None: a point cloud.
    `private` None: as the source.
    """

    tenant: str
    source: str
    id: str
    steps: tuple[str, ...] = ()
    raster: str | None = None
    cell: float = 1.0
    titles: Mapping[str, str] = field(default_factory=dict)
    private: bool | None = None
    replace: bool = False


def derive_collection(
    wanted: Derivation,
    registry: Registry,
    settings: Settings,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> PublishResult:
    """Make the collection, and return when every new request sees it.

    Raises OptionError and other PublishErrors, RegistryError; nothing is changed then.
    """
    work, raster = _checked(wanted)
    source, cloud = _source(wanted, registry)
    registry.check_publishable(wanted.tenant, wanted.id, wanted.replace)
    with clear_pipeline_errors():
        pdal = pdal_for(work, settings.points, raster=raster is not None)
    kept = provenance(source.qualified_id, work, pdal, raster) | {"generation": source.generation}
    request = _request(wanted, source, work, kept)
    check_values(request)
    with staging_folder(settings.home) as folder:
        shop = Workshop(
            pdal,
            limits_of(settings.points),
            points_for(settings.points.pdal_memory_bytes),
            work,
            RegistryResources(registry, wanted.tenant),
            folder,
            cancelled,
        )

        def worked(fraction: float) -> None:
            report("reading", _SHARE * fraction)

        made = derive_files(shop, cloud, raster, worked)
        reading = ReadingOptions(crs=_crs_text(made[0]), nodata=None)
        result = publish(
            replace(request, files=tuple(one.path for one in made), reading=reading),
            registry,
            settings,
            report,
            cancelled,
        )
    dropped = sorted({name for one in made for name in one.dropped})
    notes = tuple(f"The dimension {name} was left out: PDAL has no name for it." for name in dropped)
    return replace(result, warnings=(*result.warnings, *notes))


def _checked(wanted: Derivation) -> tuple[Work, Raster | None]:
    """The work and the raster. Raises OptionError."""
    if wanted.raster is not None and wanted.raster not in RASTERS:
        raise OptionError(f"There is no raster {wanted.raster!r}. Allowed: {', '.join(RASTERS)}.")
    work = work_of(wanted.steps)
    if not work and wanted.raster is None:
        raise OptionError("Say what to make: at least one --step, or a --raster.")
    heights = any(isinstance(one, Step) and one.name == "height" for one in work)
    if wanted.raster == "chm" and not heights:
        # Heights above the ground are what it shows: whoever asks for it asks for them.
        work = (*work, Step("height"))
    return work, None if wanted.raster is None else Raster(wanted.raster, wanted.cell)


def _source(wanted: Derivation, registry: Registry) -> tuple[Collection, Cloud]:
    found = registry.collection(wanted.tenant, wanted.source)
    name = f"{wanted.tenant}.{wanted.source}"
    if found is None:
        raise OptionError(f"There is no collection {name}.")
    if RepresentationKind.POINT_CLOUD not in found.representations:
        raise OptionError(f"{name} is no point cloud.")
    try:
        return found, open_cloud(found.path_of(RepresentationKind.POINT_CLOUD))
    except PointCloudError as error:
        raise DamagedFile(str(error)) from error


def _request(
    wanted: Derivation, source: Collection, work: Work, kept: Mapping[str, object]
) -> PublishRequest:
    done = ", ".join(one.name if isinstance(one, Step) else one.type for one in work)
    what = " ".join(part for part in (wanted.raster or "", f"({done})" if done else "") if part)
    titles = dict(wanted.titles) or {
        language: f"{title} {what}" for language, title in source.titles.items() if title
    }
    private = source.access is Access.PRIVATE if wanted.private is None else wanted.private
    keeps = wanted.replace and wanted.private is None
    return PublishRequest(
        files=(),
        tenant=wanted.tenant,
        id=wanted.id,
        titles=titles,
        descriptions={
            "en": f"Made of {source.qualified_id} by {kept['software']}: {what}.",
            "zh": f"由 {source.qualified_id} 经 {kept['software']} 处理得到:{what}。",
        },
        keywords=source.keywords,
        attribution=source.attribution,
        licence=source.licence,
        licence_url=source.licence_url,
        simulated=source.simulated,
        access=None if keeps else Access.PRIVATE if private else Access.PUBLIC,
        replace=wanted.replace,
        provenance=kept,
    )


def _crs_text(made: Made) -> str:
    """The CRS of the results, as --crs takes it: PDAL writes it without its authority."""
    authority = made.crs.to_authority(min_confidence=100)
    if authority is not None:
        return ":".join(authority)
    parts = [part.to_authority(min_confidence=100) for part in made.crs.sub_crs_list]
    if parts and all(parts):
        return "EPSG:" + "+".join(str(part[1]) for part in parts if part is not None)
    return str(made.crs.to_wkt("WKT2_2019"))
