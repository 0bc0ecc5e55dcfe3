"""Pipelines as steps of a publish: points go through PDAL before a point cloud, or rasters, are built of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointclouds.errors import PipelineError, PipelineRefusedError
from pointclouds.pdal.blocks import blocks_of, points_for
from pointclouds.pdal.child import Limits, RunCancelled
from pointclouds.pdal.command import Pdal, require_pdal
from pointclouds.pdal.handover import ResultSource
from providers.processes.point_steps import document_of, needs_pdal, reach_of, software_of
from providers.processes.point_work import Made, Raster, Workshop, run_on_block, run_on_source
from server.publish.errors import InputError, PublishCancelled
from server.publish.point_pipeline_options import work_of
from server.settings.sections import PointSettings

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import Cloud
    from providers.features.source import FeatureSource
    from providers.processes.point_steps import Work
    from server.publish.building import Task
    from server.publish.point_cloud_sources import OpenInput
    from server.registry.registry import Registry
    from tiles.rasters.source import RasterSource

_SHARE = 0.4
"""How much of the building of a point cloud its pipeline is said to be, in reports of progress."""


class PipelineNotRun(InputError):
    """The pipeline of a publish is refused, failed, or there is no PDAL."""


@contextmanager
def clear_pipeline_errors() -> Iterator[None]:
    """Turn errors of pipelines into those of a publish; others pass."""
    try:
        yield
    except RunCancelled as error:
        raise PublishCancelled("The publish was stopped; nothing was changed.") from error
    except PipelineError as error:
        text = str(error)
        raise PipelineNotRun(f"{text[:1].upper()}{text[1:]}.") from error


@dataclass(frozen=True)
class RegistryResources:
    """What steps name, among the collections that are published: "tenant.collection", or an id of `tenant`."""

    registry: Registry
    tenant: str

    def raster(self, collection: str) -> RasterSource:
        """See Resources.raster."""
        from server.registry.catalogue import RepresentationKind
        from tiles.rasters.opening import open_raster

        found = self._found(collection)
        coverage = found.representations.get(RepresentationKind.COVERAGE)
        if coverage is None:
            raise PipelineRefusedError(f"{collection!r} has no coverage")
        return open_raster(found.directory, coverage.path, coverage.properties)

    def features(self, collection: str) -> FeatureSource:
        """See Resources.features."""
        from providers.features.store import open_store
        from server.registry.catalogue import RepresentationKind

        found = self._found(collection)
        if RepresentationKind.FEATURES not in found.representations:
            raise PipelineRefusedError(f"{collection!r} has no features")
        if found.representations[RepresentationKind.FEATURES].properties.get("source") is not None:
            raise PipelineRefusedError(
                f"the features of {collection!r} are served where they are; publish them, or use the process point-cloud-clip"
            )
        return open_store(found.path_of(RepresentationKind.FEATURES))

    def _found(self, collection: str) -> Any:
        tenant, _, name = collection.rpartition(".")
        found = self.registry.collection(tenant or self.tenant, name)
        if found is None:
            raise PipelineRefusedError(f"there is no collection {tenant or self.tenant}.{name}")
        return found


@dataclass(frozen=True)
class NoResources:
    """For a publish that knows no registry: steps that name collections are refused."""

    def raster(self, collection: str) -> RasterSource:
        """Raises PipelineRefusedError."""
        raise PipelineRefusedError(
            f"{collection!r} is not known while files are published; publish first, then use chengtu points derive"
        )

    def features(self, collection: str) -> FeatureSource:
        """Raises PipelineRefusedError."""
        raise PipelineRefusedError(
            f"{collection!r} is not known while files are published; publish first, then use chengtu points derive"
        )


def limits_of(settings: PointSettings) -> Limits:
    """What the settings give to one run."""
    return Limits(seconds=settings.pdal_seconds, memory=settings.pdal_memory_bytes)


def piped_inputs(task: Task, inputs: Sequence[OpenInput]) -> list[OpenInput]:
    """The inputs of a publish after its pipeline: each read, worked on by PDAL, and a source again. `inputs` where it names none.

    Raises PipelineNotRun, PublishCancelled.
    """
    given = task.request.points.pipeline
    if not given:
        return list(inputs)
    work = work_of(given)
    settings = task.settings.points
    folder = task.workspace / "pipeline"
    folder.mkdir(exist_ok=True)
    found: list[OpenInput] = []
    with clear_pipeline_errors():
        shop = Workshop(
            pdal_for(work, settings),
            limits_of(settings),
            points_for(settings.pdal_memory_bytes),
            work,
            NoResources(),
            folder,
            task.cancelled,
        )
        for number, item in enumerate(inputs):
            task.stage("reading", number / len(inputs))
            made = run_on_source(shop, item.source, folder / f"input-{number}.laz")
            source = ResultSource(made.path, made.crs, item.name)
            found.append(replace(item, source=source, original=None))
    return found


def pdal_for(work: Work, settings: PointSettings, *, raster: bool = False) -> Pdal | None:
    """The PDAL, None where the work is done without one. Raises PdalAbsentError where it is needed and absent."""
    return require_pdal(settings.pdal) if needs_pdal(work, raster=raster) else None


def provenance(
    origin: str | None, work: Work, pdal: Pdal | None, raster: Raster | None = None
) -> dict[str, Any]:
    """What is kept of how something was made: the property `derived` of its representations."""
    made: dict[str, Any] = {"steps": document_of(work), "software": software_of(work, pdal)}
    if origin is not None:
        made["from"] = origin
    if raster is not None:
        made["raster"] = {"kind": raster.kind, "cell": raster.cell}
    return made


def provenance_of_publish(task: Task) -> dict[str, Any]:
    """What is kept of the pipeline of a publish."""
    work = work_of(task.request.points.pipeline)
    return provenance(None, work, pdal_for(work, task.settings.points))


def derive_files(
    shop: Workshop, cloud: Cloud, raster: Raster | None, report: Callable[[float], None]
) -> list[Made]:
    """The results of a whole cloud, block by block, in `shop.folder`.

    Raises PipelineNotRun: also where nothing is left; PublishCancelled.
    """
    suffix = "laz" if raster is None else "tif"
    made: list[Made] = []
    with clear_pipeline_errors():
        reach = reach_of(shop.work, cloud.crs)
        blocks = list(blocks_of(cloud, shop.most, reach))
        for number, block in enumerate(blocks):
            report(number / len(blocks))
            if shop.cancelled():
                raise RunCancelled("stopped")
            output = shop.folder / f"block-{number:05d}.{suffix}"
            found = _tolerant(shop, cloud, block, output, raster, only=len(blocks) == 1)
            if found is not None:
                made.append(found)
        if not made:
            raise PipelineRefusedError("nothing is left of the points after these steps")
    return made


def _tolerant(
    shop: Workshop, cloud: Cloud, block: Any, output: Path, raster: Raster | None, *, only: bool
) -> Made | None:
    """A block of which nothing is left is no fault where there are others."""
    from pointclouds.errors import NothingLeftError

    try:
        return run_on_block(shop, cloud, block, output, raster=raster)
    except NothingLeftError:
        if only:
            raise
        return None
