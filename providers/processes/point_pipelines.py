"""Processes on point clouds by PDAL: a pipeline, and each ready step by itself. The answer is a LAZ file, or a GeoTIFF."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from pointclouds.errors import PipelineError, PipelineRefusedError
from pointclouds.pdal.allowed import MAXIMUM_STAGES, STAGES
from pointclouds.pdal.child import RunCancelled
from pointclouds.pdal.rasters import RASTERS
from pointclouds.pdal.steps import STEPS, Step, make_step
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.processes.description import POLYGON_SCHEMA, Processor
from providers.processes.point_inputs import (
    MAXIMUM_STEPS,
    WHERE,
    PointInputs,
    RequestResources,
    asked_points,
    optional,
)
from providers.processes.point_steps import Work, needs_pdal
from providers.processes.point_tools import (
    MAXIMUM_OUTPUT_BYTES,
    MAXIMUM_POINTS,
    availability,
    pdal_of,
    provider_error,
    tools_of,
)
from providers.processes.point_work import Raster, Workshop, run_on_query

LAZ = "application/vnd.laszip"
GEOTIFF = "image/tiff; application=geotiff"
_NUMBER = {"type": "number", "exclusiveMinimum": 0}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 1000}
_ID = {"type": "string", "minLength": 1, "maxLength": 200}


def _words(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words), "default": words[0]}


def _described(
    name: str,
    titles: tuple[str, str],
    descriptions: tuple[str, str],
    inputs: Mapping[str, Any],
    output: tuple[str, str, str],
    example: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The metadata of a process; `output` is its name, title and media type."""
    return MappingProxyType(
        {
            "version": "1.0.0",
            "id": name,
            "title": dict(zip(("en", "zh"), titles, strict=True)),
            "description": dict(zip(("en", "zh"), descriptions, strict=True)),
            "keywords": ["point cloud", "PDAL", "点云"],
            "jobControlOptions": ["sync-execute"],
            "outputTransmission": ["value"],
            "links": [],
            "inputs": {**WHERE, **inputs},
            "outputs": {
                output[0]: {
                    "title": output[1],
                    "description": f"At most {MAXIMUM_OUTPUT_BYTES // 1024**2} MB, of at most {MAXIMUM_POINTS} points",
                    "schema": {"type": "string", "contentEncoding": "binary", "contentMediaType": output[2]},
                }
            },
            "example": {"inputs": {"collection": "scan", **example}},
        }
    )


_POINTS = ("points", "Points", LAZ)


class PointProcessor(Processor):
    """A process on points; what it does to them is `work`."""

    STEP: ClassVar[str] = ""

    def __init__(self, processor_def: dict[str, Any]) -> None:
        super().__init__(processor_def)
        # Told anew for every description: PDAL may be installed while the server runs.
        now = availability(self.resolver_key, ground=self.STEP == "ground")
        texts = self.metadata["description"]
        self.metadata["description"] = {
            language: f"{text} {now[language]}" for language, text in texts.items()
        }

    def work(self, inputs: PointInputs) -> Work:
        """The step with the options that are given. Raises InvalidParameter."""
        taken = {name: inputs.raw(name) for name in STEPS[self.STEP].options if inputs.given(name)}
        return (checked_step(self.STEP, taken),)

    def raster(self, inputs: PointInputs) -> Raster | None:
        """The raster to be made instead of points."""
        return None

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, bytes]:
        """(media type, file). Raises InvalidParameter, AnswerTooLarge, SourceUnavailable, PointCloudError."""
        inputs = PointInputs(data, self.METADATA["inputs"])
        work, raster = self.work(inputs), self.raster(inputs)
        tools = tools_of(self.resolver_key)
        pdal = pdal_of(self.resolver_key) if needs_pdal(work, raster=raster is not None) else None
        asked = asked_points(self.resolver_key, inputs)
        with tempfile.TemporaryDirectory(prefix="points-") as folder:
            shop = Workshop(
                pdal, tools.limits, MAXIMUM_POINTS, work, RequestResources(self.resolver_key), Path(folder)
            )
            output = Path(folder) / ("output.laz" if raster is None else "output.tif")
            try:
                made = run_on_query(
                    shop, asked.cloud, asked.query, output, hidden=asked.source.hidden, raster=raster
                )
            except (PipelineError, RunCancelled) as error:
                raise provider_error(error) from error
            if made is None:
                raise InvalidParameter(
                    "bbox", str(inputs.raw("bbox")), "a place with points that may be seen"
                )
            if output.stat().st_size > MAXIMUM_OUTPUT_BYTES:
                raise AnswerTooLarge(
                    f"The result has more than {MAXIMUM_OUTPUT_BYTES // 1024**2} MB; ask for a smaller area"
                )
            return (LAZ if raster is None else GEOTIFF), output.read_bytes()


def checked_step(name: str, options: Mapping[str, Any]) -> Step:
    """A step. Raises InvalidParameter."""
    try:
        return make_step(name, options)
    except PipelineRefusedError as error:
        raise InvalidParameter(name, str(error), "what the description of this process lists") from error


class PointCloudPipelineProcessor(PointProcessor):
    """Ready steps one after another, or a user's pipeline of PDAL filters."""

    METADATA = _described(
        "point-cloud-pipeline",
        ("Point cloud pipeline", "点云处理流程"),
        (
            "Runs ready steps, or a PDAL pipeline of filters, on the points of a collection.",
            "对点云集合依次执行预置步骤,或执行由 PDAL 过滤器组成的流程。",
        ),
        {
            "steps": optional(
                "Steps",
                f"1 to {MAXIMUM_STEPS} of {', '.join(STEPS)}: a text (ground:method=smrf) or an object with the member step",
                {"type": "array", "minItems": 1, "maxItems": MAXIMUM_STEPS},
            ),
            "pipeline": optional(
                "Pipeline",
                f"PDAL JSON: 1 to {MAXIMUM_STAGES} filters, without readers and writers. Allowed: "
                + ", ".join(name.removeprefix("filters.") for name in STAGES),
                {"type": ["array", "object"]},
            ),
        },
        _POINTS,
        {"steps": ["outliers", "ground", "height"]},
    )

    def work(self, inputs: PointInputs) -> Work:
        """See PointInputs.work."""
        return inputs.work()


class PointCloudGroundProcessor(PointProcessor):
    """Ground and the rest."""

    STEP = "ground"
    METADATA = _described(
        "point-cloud-ground",
        ("Ground classification", "地面点分类"),
        (
            "Classifies points as ground (2) or not (1), by SMRF or PMF of PDAL, or CSF, which needs no PDAL; noise (7, 18) stays noise.",
            "用 PDAL 的 SMRF、PMF 或无需 PDAL 的 CSF 将点分为地面点(2)与非地面点(1);噪声点(7、18)保持不变。",
        ),
        {
            "method": optional("Method", "How ground is found", _words("smrf", "csf", "pmf")),
            "cell": optional("Cell", "SMRF, PMF: cell size, CRS units", _NUMBER),
            "slope": optional("Slope", "SMRF, PMF: slope of the ground, rise over run", _NUMBER),
            "scalar": optional("Scalar", "SMRF: elevation scalar", _NUMBER),
            "threshold": optional("Threshold", "SMRF, CSF: distance to the ground surface", _NUMBER),
            "window": optional("Window", "SMRF, PMF: the largest building, CRS units", _NUMBER),
            "resolution": optional("Resolution", "CSF: distance of the cloth's particles", _NUMBER),
            "rigidness": optional("Rigidness", "CSF: 1 (mountains) to 3 (plains)", {"type": "integer"}),
            "iterations": optional("Iterations", "CSF: at most", {"type": "integer"}),
            "smooth": optional("Smooth", "CSF: slopes are worked on afterwards", {"type": "boolean"}),
            "ignore": optional("Ignore", "Points left out, such as Classification[7:7]", {"type": "string"}),
        },
        _POINTS,
        {"method": "smrf"},
    )


class PointCloudOutliersProcessor(PointProcessor):
    """Noise removed, or classified."""

    STEP = "outliers"
    METADATA = _described(
        "point-cloud-outliers",
        ("Outlier removal", "噪声点剔除"),
        (
            "Removes points far from all others, or gives them class 7.",
            "剔除远离其他点的噪声点,或将其归入类别 7。",
        ),
        {
            "method": optional("Method", "How outliers are found", _words("statistical", "radius")),
            "neighbours": optional(
                "Neighbours", "How many are looked at, or needed within the radius", _COUNT
            ),
            "multiplier": optional("Multiplier", "statistical: of the standard deviation", _NUMBER),
            "radius": optional("Radius", "radius: CRS units", _NUMBER),
            "keep": optional("Keep", "Classify them as noise (7) instead", {"type": "boolean"}),
        },
        _POINTS,
        {"method": "statistical", "neighbours": 8},
    )


class PointCloudHeightProcessor(PointProcessor):
    """Heights above the ground."""

    STEP = "height"
    METADATA = _described(
        "point-cloud-height-above-ground",
        ("Height above ground", "离地高度"),
        (
            "Adds the dimension HeightAboveGround: above the ground points around (class 2), or above an elevation coverage.",
            "增加维度 HeightAboveGround:相对周围地面点(类别 2)或高程覆盖数据的高度。",
        ),
        {
            "method": optional("Method", "What the ground is", _words("nearest", "delaunay", "dem")),
            "count": optional("Count", "nearest, delaunay: how many ground points", _COUNT),
            "max_distance": optional("Largest distance", "nearest: of ground points, CRS units", _NUMBER),
            "elevation": optional("Elevation", "dem: id of a collection with a coverage of heights", _ID),
        },
        _POINTS,
        {"method": "delaunay"},
    )

    def work(self, inputs: PointInputs) -> Work:
        """The step; its collection is the input `elevation`."""
        taken = {name: inputs.raw(name) for name in ("method", "count", "max_distance") if inputs.given(name)}
        if inputs.given("elevation"):
            taken["collection"] = inputs.text("elevation")
        return (checked_step("height", taken),)


class PointCloudThinProcessor(PointProcessor):
    """Fewer points."""

    STEP = "thin"
    METADATA = _described(
        "point-cloud-thin",
        ("Thinning", "点云抽稀"),
        (
            "Keeps points at a distance from each other, or the one nearest to the centre of each voxel.",
            "保留彼此间隔一定距离的点,或每个体素中最接近中心的点。",
        ),
        {
            "method": optional("Method", "Which points stay", _words("sample", "voxel")),
            "radius": optional("Radius", "sample: least distance, CRS units", _NUMBER),
            "cell": optional("Cell", "voxel: its edge, CRS units", _NUMBER),
        },
        _POINTS,
        {"radius": 0.5},
    )


class PointCloudColorizeProcessor(PointProcessor):
    """Colours of an orthophoto."""

    STEP = "colourise"
    METADATA = _described(
        "point-cloud-colorize",
        ("Colourising", "点云着色"),
        (
            "Gives points the colours of an orthophoto, of the pixel each lies in; 8 bits become 16 (times 256).",
            "用正射影像为点着色(取点所在像元的颜色);8 位值乘以 256 变为 16 位。",
        ),
        {
            "imagery": {
                **optional("Imagery", "Id of a collection with bands red, green, blue", _ID),
                "minOccurs": 1,
            }
        },
        _POINTS,
        {"imagery": "orthophoto"},
    )

    def work(self, inputs: PointInputs) -> Work:
        """The step; its collection is the input `imagery`."""
        return (checked_step("colourise", {"collection": inputs.text("imagery")}),)


class PointCloudClipProcessor(PointProcessor):
    """Points inside a feature, or a polygon."""

    STEP = "clip"
    METADATA = _described(
        "point-cloud-clip",
        ("Clipping", "点云裁剪"),
        (
            "Points inside a polygon feature of another collection, or inside `polygon`.",
            "裁剪出位于另一集合的面要素内(或 polygon 内)的点。",
        ),
        {
            "features": optional("Features", "Id of a collection of polygons", _ID),
            "feature": optional("Feature", "Id of the feature", {"type": ["string", "integer"]}),
            "polygon": optional("Polygon", "Polygon in CRS84, in place of a feature", POLYGON_SCHEMA),
        },
        _POINTS,
        {"features": "districts", "feature": "1"},
    )

    def work(self, inputs: PointInputs) -> Work:
        """A clip by the feature; a polygon has cut the points before. Raises InvalidParameter where there is neither."""
        if not (inputs.given("features") or inputs.given("feature")):
            if not inputs.given("polygon"):
                raise InvalidParameter("features", "", "`features` and `feature`, or `polygon`")
            return ()
        taken = {"collection": inputs.text("features"), "feature": inputs.raw("feature")}
        return (checked_step("clip", taken),)


class PointCloudRasterProcessor(PointProcessor):
    """Rasters of points."""

    METADATA = _described(
        "point-cloud-raster",
        ("Raster of points", "点云栅格化"),
        (
            "Makes a terrain model (dtm, of class 2), surface model (dsm), canopy heights (chm) or intensities of points.",
            "由点云生成地形模型(dtm,类别 2)、表面模型(dsm)、冠层高度(chm)或强度影像。",
        ),
        {
            "kind": optional("Kind", "What the cells hold", _words(*RASTERS)),
            "cell": optional("Cell", "Its edge, CRS units", {**_NUMBER, "default": 1}),
            "steps": optional(
                "Steps", "What is done to the points first, as in point-cloud-pipeline", {"type": "array"}
            ),
            "pipeline": optional("Pipeline", "Or a PDAL pipeline of filters", {"type": ["array", "object"]}),
        },
        ("raster", "Raster", GEOTIFF),
        {"kind": "dtm", "cell": 1},
    )

    def work(self, inputs: PointInputs) -> Work:
        """What is done first; heights for a canopy where they are not asked for."""
        given = inputs.work() if inputs.given("steps") or inputs.given("pipeline") else ()
        if inputs.raw("kind") == "chm" and not any(getattr(one, "name", "") == "height" for one in given):
            return (*given, Step("height"))
        return given

    def raster(self, inputs: PointInputs) -> Raster:
        """The raster that is asked for. Raises InvalidParameter."""
        kind = inputs.raw("kind") if inputs.given("kind") else next(iter(RASTERS))
        if not isinstance(kind, str) or kind not in RASTERS:
            raise InvalidParameter("kind", str(kind)[:80], "one of " + ", ".join(RASTERS))
        return Raster(kind, inputs.number_or("cell", 0.01, 10_000, 1.0))
