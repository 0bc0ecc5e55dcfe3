"""Ready steps: what a person asks for by name, and the filters of PDAL it becomes.

ground       classes ground (2) and the rest (1), by SMRF or PMF of PDAL, or the CSF of its authors (no PDAL)
outliers     removes noise, or gives it class 7
height       the dimension HeightAboveGround
thin         fewer points, at a distance or one a voxel
reproject    another projected CRS, heights kept
colourise    red, green, blue of an orthophoto
clip         the points inside a polygon
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import pyproj
from shapely.geometry.base import BaseGeometry

from pointclouds.crs import horizontal_part, las_wkt, parse_crs, require_usable, vertical_part
from pointclouds.errors import CrsError, PipelineRefusedError
from pointclouds.pdal.cloth import CLOTH, ignored_ranges
from pointclouds.pdal.stages import Stage
from pointclouds.pdal.values import Check, Number, OneOf, crs, polygon_text, ranges, truth

HEIGHT: Final = "HeightAboveGround"
_LENGTH = Number(1e-3, 1e5)
_NEIGHBOURS = Number(1, 1_000, whole=True)


def _collection(value: Any) -> str:
    """The id of a collection; whoever runs the step finds it, with the rights of who asks."""
    if not isinstance(value, str) or not re.fullmatch(
        r"[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_-]{0,62})?", value
    ):
        raise ValueError("the id of a collection")
    return value


def _feature(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= 200:
        raise ValueError("the id of a feature")
    return text


@dataclass(frozen=True)
class StepKind:
    """A step: its options and how they are checked, those that must be given, and the neighbourhood it looks at.

    `reach` is the distance (in metres) over which points change what becomes of a point: blocks are read so much wider.
    """

    options: Mapping[str, Check]
    required: tuple[str, ...] = ()
    reach: float = 0.0


STEPS: Final[Mapping[str, StepKind]] = MappingProxyType(
    {
        "ground": StepKind(
            {
                "method": OneOf(("smrf", "csf", "pmf")),
                "cell": Number(0.05, 1e3),
                "slope": Number(0, 100),
                "scalar": Number(0, 1e3),
                "threshold": Number(0, 1e3),
                "window": Number(0.1, 1e3),
                "resolution": Number(0.1, 1e3),
                "rigidness": Number(1, 3, whole=True),
                "iterations": Number(1, 2_000, whole=True),
                "smooth": truth,
                "ignore": ranges,
            },
            reach=40.0,
        ),
        "outliers": StepKind(
            {
                "method": OneOf(("statistical", "radius")),
                "neighbours": _NEIGHBOURS,
                "multiplier": Number(0, 1e3),
                "radius": _LENGTH,
                "keep": truth,
            },
            reach=10.0,
        ),
        "height": StepKind(
            {
                "method": OneOf(("nearest", "delaunay", "dem")),
                "count": _NEIGHBOURS,
                "max_distance": _LENGTH,
                "collection": _collection,
            },
            reach=40.0,
        ),
        "thin": StepKind(
            {"method": OneOf(("sample", "voxel")), "radius": _LENGTH, "cell": _LENGTH}, reach=0.0
        ),
        "reproject": StepKind({"crs": crs}, required=("crs",)),
        "colourise": StepKind({"collection": _collection}, required=("collection",)),
        "clip": StepKind(
            {"collection": _collection, "feature": _feature}, required=("collection", "feature")
        ),
    }
)


@dataclass(frozen=True)
class Step:
    """A step with checked options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> float:
        """See StepKind.reach; a distance that is asked for counts."""
        distances = [self.options.get(name, 0.0) for name in ("radius", "max_distance", "window")]
        return (
            max(STEPS[self.name].reach, *(float(one) for one in distances)) if STEPS[self.name].reach else 0.0
        )

    def document(self) -> dict[str, Any]:
        """The step as JSON, for the record of what was done."""
        return {"step": self.name, **self.options}


def make_step(name: str, options: Mapping[str, Any]) -> Step:
    """A step with its options checked. Raises PipelineRefusedError, which names step, option and what is allowed."""
    kind = STEPS.get(name)
    if kind is None:
        raise PipelineRefusedError(f"there is no step {name[:60]!r}; there are {', '.join(STEPS)}")
    checked: dict[str, Any] = {}
    for option, value in options.items():
        check = kind.options.get(option)
        if check is None:
            raise PipelineRefusedError(
                f"step {name} has no option {str(option)[:40]!r}; it has {', '.join(kind.options)}"
            )
        try:
            checked[option] = check(value)
        except ValueError as error:
            raise PipelineRefusedError(
                f"{option} of step {name} is {str(value)[:80]!r}; allowed: {error}"
            ) from error
    missing = [option for option in kind.required if option not in checked]
    if missing:
        raise PipelineRefusedError(f"step {name} needs {' and '.join(missing)}: {name}:{missing[0]}=...")
    return Step(name, checked)


def parse_step(text: str) -> Step:
    """A step as a command line gives it: NAME, or NAME:OPTION=VALUE,OPTION=VALUE. Raises PipelineRefusedError."""
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    # A comma inside brackets or before a text without "=" belongs to the value (Classification[7:7],Z[0:5]).
    for part in re.split(r",(?=[a-z_]+=)", rest) if rest else []:
        option, equals, value = part.partition("=")
        if not equals:
            raise PipelineRefusedError(f"{part[:60]!r} of step {name[:60]} is not OPTION=VALUE")
        options[option.strip()] = value.strip()
    return make_step(name.strip(), options)


@dataclass(frozen=True)
class StepContext:
    """What a step refers to. `crs` is that of the points as the step gets them; `polygon` (native) is what a clip step cuts with;
    `raster` the name of the file that the run hands over (`files` of run_pipeline), `colour_scale` what its values are multiplied by.
    """

    crs: pyproj.CRS
    polygon: BaseGeometry | None = None
    raster: str = ""
    colour_scale: float = 256.0


def stages_of(step: Step, context: StepContext) -> tuple[Stage, ...]:
    """The filters of a step.

    Raises:
        PipelineRefusedError: a clip without a usable polygon, or a reprojection that would change heights.
    """
    return _BUILDERS[step.name](step.options, context)


def needs_pdal(step: Step) -> bool:
    """Whether PDAL does this step."""
    return not (step.name == "ground" and step.options.get("method") == "csf")


def crs_after(steps: Sequence[Step], crs_before: pyproj.CRS) -> pyproj.CRS:
    """The CRS of the points after these steps. Raises PipelineRefusedError."""
    found = crs_before
    for step in steps:
        if step.name == "reproject":
            found = _target(step.options, found)
    return found


def _only(options: Mapping[str, Any], *names: str, **renamed: str) -> dict[str, Any]:
    """The given ones of some options, under PDAL's names."""
    wanted = {**{name: name for name in names}, **renamed}
    return {theirs: options[ours] for ours, theirs in wanted.items() if ours in options}


_GROUND_OPTIONS: Final = {
    "smrf": ("cell", "slope", "scalar", "threshold", "window", "ignore"),
    "csf": ("resolution", "threshold", "rigidness", "iterations", "smooth", "ignore"),
    "pmf": ("cell", "slope", "window", "ignore"),
}


def _ground(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    method = options.get("method", "smrf")
    known = _GROUND_OPTIONS[method]
    strange = sorted(set(options) - set(known) - {"method"})
    if strange:
        raise PipelineRefusedError(
            f"{strange[0]} is no option of ground by {method}; it has {', '.join(known)}"
        )
    given = _only(options, *known)
    if method == "pmf":
        given = _only(options, "slope", "ignore", cell="cell_size", window="max_window_size")
    # What was noise stays noise, and is not taken for ground.
    given.setdefault("ignore", "Classification[7:7],Classification[18:18]")
    if method == "csf":
        ignored_ranges(given["ignore"])
        return (Stage(CLOTH, given),)
    return (
        Stage(
            "filters.assign",
            {"assignment": ["Classification[0:6]=1", "Classification[8:17]=1", "Classification[19:255]=1"]},
        ),
        Stage(f"filters.{method}", given),
    )


def _outliers(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    method = options.get("method", "statistical")
    given = {"method": method, "class": 7}
    if method == "statistical":
        given |= _only(options, "multiplier", neighbours="mean_k")
    else:
        given |= _only(options, "radius", neighbours="min_k")
    found = (Stage("filters.outlier", given),)
    return (
        found if options.get("keep") else (*found, Stage("filters.range", {"limits": "Classification![7:7]"}))
    )


def _height(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    method = options.get("method", "nearest")
    if method == "dem":
        if "collection" not in options:
            raise PipelineRefusedError(
                "height above an elevation model needs its collection: height:method=dem,collection=ID"
            )
        return (Stage("filters.hag_dem", {"raster": context.raster, "zero_ground": False}),)
    if method == "delaunay":
        return (Stage("filters.hag_delaunay", _only(options, "count")),)
    return (Stage("filters.hag_nn", _only(options, "count", "max_distance")),)


def _thin(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    if options.get("method", "voxel" if "cell" in options else "sample") == "voxel":
        return (Stage("filters.voxelcenternearestneighbor", {"cell": options.get("cell", 1.0)}),)
    return (Stage("filters.sample", {"radius": options.get("radius", 1.0)}),)


def _target(options: Mapping[str, Any], before: pyproj.CRS) -> pyproj.CRS:
    """The CRS asked for, with the heights of the points: PDAL would leave z as it is where a grid is missing, without a word."""
    try:
        after = require_usable(parse_crs(options["crs"], "crs of step reproject"), "the step reproject")
    except CrsError as error:
        raise PipelineRefusedError(str(error)) from error
    vertical, asked = vertical_part(before), vertical_part(after)
    if asked is not None and (vertical is None or not asked.equals(vertical)):
        raise PipelineRefusedError(
            f"reprojecting keeps heights as they are ({vertical.name if vertical else 'of no known datum'}); "
            f"{asked.name} is asked for: give the horizontal CRS alone"
        )
    if vertical is None or asked is not None:
        return after
    return pyproj.crs.CompoundCRS(f"{after.name} + {vertical.name}", [horizontal_part(after), vertical])


def _reproject(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    target = _target(options, context.crs)
    given = {"in_srs": las_wkt(horizontal_part(context.crs)), "out_srs": las_wkt(horizontal_part(target))}
    return (Stage("filters.reprojection", given),)


def _colourise(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    bands = ", ".join(
        f"{name}:{band}:{context.colour_scale}" for band, name in enumerate(("Red", "Green", "Blue"), 1)
    )
    return (Stage("filters.colorization", {"raster": context.raster, "dimensions": bands}),)


def _clip(options: Mapping[str, Any], context: StepContext) -> tuple[Stage, ...]:
    if context.polygon is None:
        raise PipelineRefusedError("the step clip has no polygon")
    try:
        return (Stage("filters.crop", {"polygon": polygon_text(context.polygon)}),)
    except ValueError as error:
        raise PipelineRefusedError(f"the step clip needs {error}") from error


_Builder = Callable[[Mapping[str, Any], StepContext], tuple[Stage, ...]]
_BUILDERS: Final[Mapping[str, _Builder]] = MappingProxyType(
    {
        "ground": _ground,
        "outliers": _outliers,
        "height": _height,
        "thin": _thin,
        "reproject": _reproject,
        "colourise": _colourise,
        "clip": _clip,
    }
)
