"""A program of its own: finds ground by the cloth of CSF's authors (PyPI cloth-simulation-filter), and writes its class.

    python -I cloth_child.py FILE

FILE is a JSON object: input, output (LAS or LAZ, names in the working folder), parameters (of CSF), ignore (ranges, see cloth.py),
own (the name of the dimension that is 1 for points to be kept, or null). It is run in a child only: the library works through a raw
pointer, prints, and takes memory by the size of the cloth.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any, Final

import laspy
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

_CHUNK: Final = 1_000_000
_MOST_PARTICLES: Final = 40_000_000
_GROUND, _OTHER, _NOISE = 2, 1, (7, 18)


class Refused(Exception):
    """Why it cannot be done, for whoever asked."""


def main(arguments: list[str]) -> int:
    """The status to exit with: 0 done, 1 refused with a sentence on the standard error."""
    asked = json.loads(Path(arguments[0]).read_text())
    try:
        counts, xyz = _candidates(asked)
        ground = _ground(xyz, asked["parameters"])
        _write(asked, counts, ground)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _candidates(asked: dict[str, Any]) -> tuple[Bools, npt.NDArray[np.float64]]:
    """Which points may be ground, (n,) bool, and where these are, (m, 3): last returns that are not ignored."""
    masks: list[Bools] = []
    places: list[npt.NDArray[np.float64]] = []
    with laspy.open(asked["input"]) as reader:
        names = set(reader.header.point_format.dimension_names) | {"x", "y", "z"}
        for one in asked["ignore"]:
            if one["name"] not in names:
                raise Refused(f"ignore names {one['name']}, which the points do not have")
        for points in reader.chunk_iterator(_CHUNK):
            # Returns of 0 of 0 are single ones of writers that know no returns.
            mask = np.asarray(points.return_number) >= np.asarray(points.number_of_returns)
            for one in asked["ignore"]:
                mask &= ~_within(np.asarray(points[one["name"]]) * one["factor"], one)
            masks.append(mask)
            places.append(np.stack([np.asarray(points[axis])[mask] for axis in "xyz"], axis=1))
    mask = np.concatenate(masks) if masks else np.zeros(0, np.bool_)
    if not mask.any():
        raise Refused("there are no last returns that ground could be among, beside what is ignored")
    return mask, np.concatenate(places)


def _within(values: npt.NDArray[Any], one: dict[str, Any]) -> Bools:
    low = values >= one["low"] if one["low_in"] else values > one["low"]
    high = values <= one["high"] if one["high_in"] else values < one["high"]
    return np.asarray((low & high) != one["negated"])


def _ground(xyz: npt.NDArray[np.float64], parameters: dict[str, Any]) -> npt.NDArray[np.int64]:
    """The rows of (m, 3) that are ground. Raises Refused for a cloth that no memory holds."""
    import CSF

    low, high = xyz.min(axis=0), xyz.max(axis=0)
    columns, rows = (math.ceil(side / parameters["cloth_resolution"]) + 5 for side in (high - low)[:2])
    if columns * rows > _MOST_PARTICLES:
        raise Refused(
            f"a cloth of {columns} x {rows} particles is asked for, more than {_MOST_PARTICLES}; give a larger resolution "
            "or ask for a smaller area"
        )
    filter_ = CSF.CSF()
    for name, value in parameters.items():
        setattr(filter_.params, name, value)
    # Near the origin: the cloth is computed from small numbers.
    filter_.setPointCloud(np.ascontiguousarray(xyz - low))
    ground, other = CSF.VecInt(), CSF.VecInt()
    filter_.do_filtering(ground, other, False)
    return np.array(ground, np.int64)


def _write(asked: dict[str, Any], candidate: Bools, ground: npt.NDArray[np.int64]) -> None:
    """The points with their classes; only those whose dimension `own` is 1, without it, where there is such a dimension."""
    is_ground = np.zeros(len(candidate), np.bool_)
    is_ground[np.flatnonzero(candidate)[ground]] = True
    own, at = asked["own"], 0
    with laspy.open(asked["input"]) as reader:
        header = reader.header
        dropped = own is not None and own in header.point_format.dimension_names
        given = _without(header, own) if dropped else header
        with laspy.open(asked["output"], mode="w", header=given) as writer:
            for points in reader.chunk_iterator(_CHUNK):
                part = slice(at, at + len(points))
                at += len(points)
                codes = np.asarray(points.classification)
                # What was ignored keeps being noise if it is noise; the rest is no ground.
                stays = ~candidate[part] & np.isin(codes, _NOISE)
                classes = np.where(is_ground[part], _GROUND, _OTHER)
                points.classification = np.where(stays, codes, classes).astype(np.uint8)
                writer.write_points(_kept(points, given, own) if dropped else points)


def _kept(
    points: laspy.ScaleAwarePointRecord, header: laspy.LasHeader, own: str
) -> laspy.ScaleAwarePointRecord:
    """The points whose dimension `own` is 1, as the header has them."""
    chosen = points[np.asarray(points[own]) == 1]
    found = laspy.ScaleAwarePointRecord.zeros(len(chosen), header=header)
    found.copy_fields_from(chosen)
    return found


def _without(header: laspy.LasHeader, own: str) -> laspy.LasHeader:
    """The header for points without that extra dimension."""
    # A copy: the reader goes on with its own.
    las = laspy.LasData(copy.deepcopy(header))
    las.remove_extra_dim(own)
    return las.header


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
