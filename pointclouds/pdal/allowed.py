"""Pipelines from users: the stages and options that are allowed, and what becomes of a document that holds anything else.

Only filters: what is read and written is chosen by the server. Left out are filters that run code (filters.python, matlab, julia,
shell), name files (colorization, hag_dem, overlay, dem, neighborclassifier's candidates ...), make several clouds of one, or
need a second input. `tag`, `inputs`, `option_file`, `log`, `user_data` and `plugin` exist on every stage and are on no list here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pointclouds.errors import PipelineRefusedError
from pointclouds.pdal.stages import Stage
from pointclouds.pdal.values import (
    Check,
    Number,
    OneOf,
    SomeOf,
    assignments,
    bounds,
    copies,
    crs,
    dimension,
    formula,
    formulas,
    matrix,
    polygon,
    ranges,
    truth,
)

MAXIMUM_STAGES: Final = 32
RESERVED: Final = "ChengtuOwn"
"""A dimension of ours while a pipeline runs in blocks; nobody else may name it."""

_LENGTH = Number(1e-3, 1e5)
_NEIGHBOURS = Number(1, 1_000, whole=True)
_RETURNS = SomeOf(("first", "last", "intermediate", "only"))
_CLASS = Number(0, 255, whole=True)
_SHARE = Number(0, 1e4)
_MANY = Number(1, 1e9, whole=True)


def _options(**checks: Check) -> Mapping[str, Check]:
    return MappingProxyType(checks)


STAGES: Final[Mapping[str, Mapping[str, Check]]] = MappingProxyType(
    {
        "filters.smrf": _options(
            cell=Number(0.05, 1e4),
            slope=_SHARE,
            scalar=_SHARE,
            threshold=_SHARE,
            window=Number(0.1, 1_000),
            cut=Number(0, 1e4),
            ignore=ranges,
            returns=_RETURNS,
        ),
        "filters.csf": _options(
            resolution=Number(0.1, 1e4),
            step=Number(0.01, 10),
            threshold=_SHARE,
            rigidness=Number(1, 3, whole=True),
            iterations=Number(1, 2_000, whole=True),
            smooth=truth,
            ignore=ranges,
            returns=_RETURNS,
        ),
        "filters.pmf": _options(
            cell_size=Number(0.05, 1e4),
            exponential=truth,
            initial_distance=_SHARE,
            max_distance=_SHARE,
            max_window_size=Number(1, 1_000),
            slope=_SHARE,
            ignore=ranges,
            returns=_RETURNS,
        ),
        "filters.skewnessbalancing": _options(),
        "filters.outlier": _options(
            method=OneOf(("statistical", "radius")),
            min_k=_NEIGHBOURS,
            radius=_LENGTH,
            mean_k=_NEIGHBOURS,
            multiplier=_SHARE,
            **{"class": _CLASS},
        ),
        "filters.elm": _options(cell=Number(0.1, 1e4), threshold=_SHARE, **{"class": _CLASS}),
        "filters.hag_nn": _options(count=_NEIGHBOURS, max_distance=_LENGTH, allow_extrapolation=truth),
        "filters.hag_delaunay": _options(count=_NEIGHBOURS, allow_extrapolation=truth),
        "filters.sample": _options(radius=_LENGTH, cell=_LENGTH),
        "filters.voxelcenternearestneighbor": _options(cell=_LENGTH),
        "filters.voxelcentroidnearestneighbor": _options(cell=_LENGTH),
        "filters.voxeldownsize": _options(cell=_LENGTH, mode=OneOf(("first", "center"))),
        "filters.decimation": _options(step=_MANY, offset=Number(0, 1e9, whole=True), limit=_MANY),
        "filters.fps": _options(count=_MANY),
        "filters.head": _options(count=_MANY),
        "filters.tail": _options(count=_MANY),
        "filters.range": _options(limits=ranges),
        "filters.expression": _options(expression=formula),
        "filters.assign": _options(assignment=assignments, condition=ranges, value=formulas),
        "filters.ferry": _options(dimensions=copies),
        "filters.crop": _options(bounds=bounds, polygon=polygon, outside=truth),
        "filters.reprojection": _options(out_srs=crs, in_srs=crs),
        "filters.transformation": _options(matrix=matrix),
        "filters.normal": _options(knn=_NEIGHBOURS, always_up=truth),
        "filters.covariancefeatures": _options(
            knn=_NEIGHBOURS, feature_set=OneOf(("Dimensionality",)), radius=_LENGTH, min_k=_NEIGHBOURS
        ),
        "filters.eigenvalues": _options(knn=_NEIGHBOURS, normalize=truth),
        "filters.estimaterank": _options(knn=_NEIGHBOURS, thresh=_SHARE),
        "filters.approximatecoplanar": _options(knn=_NEIGHBOURS, thresh1=_SHARE, thresh2=_SHARE),
        "filters.planefit": _options(knn=_NEIGHBOURS),
        "filters.reciprocity": _options(knn=_NEIGHBOURS),
        "filters.miniball": _options(knn=_NEIGHBOURS),
        "filters.lof": _options(minpts=_NEIGHBOURS),
        "filters.nndistance": _options(mode=OneOf(("kth", "avg")), k=_NEIGHBOURS),
        "filters.radialdensity": _options(radius=Number(1e-3, 100)),
        "filters.optimalneighborhood": _options(min_k=_NEIGHBOURS, max_k=_NEIGHBOURS),
        "filters.cluster": _options(
            min_points=_MANY, max_points=_MANY, tolerance=Number(1e-3, 100), is3d=truth
        ),
        "filters.dbscan": _options(min_points=_MANY, eps=Number(1e-3, 100)),
        "filters.litree": _options(min_points=_MANY, min_height=_SHARE, radius=Number(1e-3, 1_000)),
        "filters.iqr": _options(dimension=dimension, k=_SHARE),
        "filters.mad": _options(dimension=dimension, k=_SHARE, mad_multiplier=_SHARE),
        "filters.sort": _options(dimension=dimension, order=OneOf(("ASC", "DESC"))),
        "filters.mortonorder": _options(),
        "filters.randomize": _options(),
    }
)
"""Name -> its options. Those of PDAL 2.2 to 2.9; what the PDAL at hand has not, it refuses itself, by name."""

_EVERYWHERE: Final[Mapping[str, Check]] = MappingProxyType({"where": formula})

_INSTEAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "filters.colorization": "use the step colourise with a collection",
        "filters.hag_dem": "use the step height with method=dem and a collection",
        "filters.overlay": "use the step clip with a feature of a collection",
        "filters.python": "a pipeline runs no code",
        "filters.matlab": "a pipeline runs no code",
        "filters.julia": "a pipeline runs no code",
        "filters.shell": "a pipeline runs no code",
    }
)


def check_pipeline(document: Any) -> tuple[Stage, ...]:
    """The stages of a user's pipeline: PDAL JSON, that is {"pipeline": [...]} or the list alone, of filters only.

    Raises:
        PipelineRefusedError: it holds anything that is not allowed; the message names stage and option, and what is.
    """
    if isinstance(document, Mapping):
        unknown = sorted(str(name)[:40] for name in document if name != "pipeline")
        if unknown or "pipeline" not in document:
            raise PipelineRefusedError(
                'a pipeline is a list of filters, or an object whose only member is "pipeline", such a list'
            )
        document = document["pipeline"]
    if not isinstance(document, list) or not document:
        raise PipelineRefusedError('a pipeline is a list of filters such as [{"type": "filters.smrf"}]')
    if len(document) > MAXIMUM_STAGES:
        raise PipelineRefusedError(
            f"the pipeline has {len(document)} stages; at most {MAXIMUM_STAGES} are allowed"
        )
    return tuple(_checked_stage(number, stage) for number, stage in enumerate(document, 1))


def _checked_stage(number: int, stage: Any) -> Stage:
    kind = stage.get("type") if isinstance(stage, Mapping) else None
    if not isinstance(stage, Mapping) or not isinstance(kind, str):
        raise PipelineRefusedError(
            f'stage {number} is no object with a "type", such as {{"type": "filters.smrf"}}; files are not named in a pipeline: '
            "the server reads and writes"
        )
    kind = kind if kind.startswith(("filters.", "readers.", "writers.")) else f"filters.{kind}"
    rules = STAGES.get(kind)
    if rules is None:
        raise PipelineRefusedError(f"stage {number}: {_not_allowed(kind)}")
    checked: dict[str, Any] = {}
    for name, value in stage.items():
        if name == "type":
            continue
        check = rules.get(name) or _EVERYWHERE.get(name)
        if check is None:
            raise PipelineRefusedError(
                f"stage {number}: {kind} has no option {str(name)[:40]!r} here; allowed: {', '.join((*rules, *_EVERYWHERE))}"
            )
        checked[name] = _checked_value(number, kind, name, check, value)
    return Stage(kind, MappingProxyType(checked))


def _not_allowed(kind: str) -> str:
    shown = kind[:60]
    if kind.startswith(("readers.", "writers.")):
        return f"{shown!r} is not allowed; the server reads the points and writes the result, a pipeline holds filters only"
    hint = _INSTEAD.get(kind)
    allowed = ", ".join(name.removeprefix("filters.") for name in STAGES)
    return f"{shown!r} is not allowed" + (f": {hint}" if hint else f"; allowed filters: {allowed}")


def _checked_value(number: int, kind: str, name: str, check: Check, value: Any) -> Any:
    try:
        checked = check(value)
    except ValueError as error:
        shown = repr(value) if isinstance(value, str | float | bool | None) else type(value).__name__
        raise PipelineRefusedError(
            f"stage {number}: {name} of {kind} is {shown[:80]}; allowed: {error}"
        ) from error
    if RESERVED.lower() in str(checked).lower():
        raise PipelineRefusedError(
            f"stage {number}: {name} of {kind} names {RESERVED}, which is the server's"
        )
    return checked
