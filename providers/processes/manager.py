"""A process manager that is right under threads.

pygeoapi's own manager keeps the processor of the present execution on itself, so that under threads an execution can be
answered by another one's process. Here everything of an execution is local to the call. Processes answer at once; there
are no stored jobs yet, and no callbacks.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any

from pygeoapi.process.base import JobNotFoundError
from pygeoapi.process.manager.base import BaseManager
from pygeoapi.util import JobStatus

from providers.errors import InvalidParameter

_PROCESSORS = {
    "area-statistics": "providers.processes.area_statistics.AreaStatisticsProcessor",
    "buffer-clip": "providers.processes.buffer_clip.BufferClipProcessor",
    "vertical-profile": "providers.processes.scene_objects.VerticalProfileProcessor",
    "objects-in-box": "providers.processes.scene_objects.ObjectsInBoxProcessor",
    "clearance": "providers.processes.scene_objects.ClearanceProcessor",
    "line-of-sight": "providers.processes.scene_views.LineOfSightProcessor",
    "viewshed": "providers.processes.scene_views.ViewshedProcessor",
    "shadow": "providers.processes.scene_views.ShadowProcessor",
    "cut-and-fill": "providers.processes.cut_fill.CutAndFillProcessor",
    "sky-view": "providers.processes.scene_views.SkyViewProcessor",
    "point-cloud-pipeline": "providers.processes.point_pipelines.PointCloudPipelineProcessor",
    "point-cloud-ground": "providers.processes.point_pipelines.PointCloudGroundProcessor",
    "point-cloud-outliers": "providers.processes.point_pipelines.PointCloudOutliersProcessor",
    "point-cloud-height-above-ground": "providers.processes.point_pipelines.PointCloudHeightProcessor",
    "point-cloud-raster": "providers.processes.point_pipelines.PointCloudRasterProcessor",
    "point-cloud-thin": "providers.processes.point_pipelines.PointCloudThinProcessor",
    "point-cloud-colorize": "providers.processes.point_pipelines.PointCloudColorizeProcessor",
    "point-cloud-clip": "providers.processes.point_pipelines.PointCloudClipProcessor",
    "point-cloud-change": "providers.processes.cloud_change.PointCloudChangeProcessor",
    "point-cloud-volume": "providers.processes.cloud_change.PointCloudVolumeProcessor",
    "point-cloud-profile": "providers.processes.cloud_heights.PointCloudProfileProcessor",
    "point-cloud-zonal": "providers.processes.cloud_heights.PointCloudZonalProcessor",
}


def process_resources(resolver_key: str) -> dict[str, dict[str, Any]]:
    """pygeoapi's `resources` of our processes; `resolver_key` as given to `sources.register_resolver`."""
    return {
        process: {"type": "process", "processor": {"name": name, "resolver": resolver_key}}
        for process, name in _PROCESSORS.items()
    }


class ChengtuProcessManager(BaseManager):  # type: ignore[misc] # pygeoapi is untyped
    """Runs processes in the calling thread. Errors of `providers.errors` pass through to the server's table of statuses."""

    def __init__(self, manager_def: dict[str, Any]) -> None:
        super().__init__(manager_def)
        self.is_async = False
        self.supports_subscribing = False

    def get_jobs(
        self, status: object = None, limit: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """No jobs: every execution is answered at once."""
        return {"jobs": [], "numberMatched": 0}

    def get_job(self, job_id: str) -> dict[str, Any]:
        """Raises JobNotFoundError: no job is kept."""
        raise JobNotFoundError(job_id)

    def execute_process(
        self,
        process_id: str,
        data_dict: dict[str, Any],
        execution_mode: object = None,
        requested_outputs: object = None,
        subscriber: object = None,
        requested_response: str = "raw",
    ) -> tuple[str, str, Any, Any, dict[str, str] | None]:
        """Run a process: (job id, media type, result, status, headers).

        A `document` answer holds the result under the name of its output (18-062r2 clause 7.11.4). A wish for an
        asynchronous execution is not met, which RFC 7240 allows. Raises InvalidParameter, and what the process raises.
        """
        if subscriber is not None:
            raise InvalidParameter("subscriber", "given", "no subscriber: callbacks are not offered")
        if requested_response not in ("raw", "document"):
            raise InvalidParameter("response", str(requested_response), "raw or document")
        processor = self.get_processor(process_id)
        job_id = str(uuid.uuid4())
        processor.set_job_id(job_id)
        (output,) = processor.metadata["outputs"]
        _check_outputs(requested_outputs, output)
        media_type, result = processor.execute(data_dict, outputs=requested_outputs)
        if requested_response == "document":
            media_type, result = "application/json", {output: _in_document(media_type, result)}
        return job_id, media_type, result, JobStatus.successful, None

    def __repr__(self) -> str:
        return f"<ChengtuProcessManager {', '.join(self.processes)}>"


def _in_document(media_type: str, result: Any) -> Any:
    """A result as a member of a document: bytes as a qualified value (18-062r2, table 12), in base64."""
    if not isinstance(result, bytes):
        return result
    return {"value": base64.b64encode(result).decode(), "encoding": "base64", "mediaType": media_type}


def _check_outputs(requested: object, output: str) -> None:
    """Refuse outputs that the process does not have, and transmission by reference."""
    if not requested:
        return
    if not isinstance(requested, Mapping) or set(requested) != {output}:
        raise InvalidParameter("outputs", str(requested)[:80], f"an object with the one output {output!r}")
    wanted = requested[output]
    mode = wanted.get("transmissionMode", "value") if isinstance(wanted, Mapping) else "value"
    if mode != "value":
        raise InvalidParameter("transmissionMode", str(mode)[:80], "value")
