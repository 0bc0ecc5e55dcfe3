"""Ground by cloth simulation (CSF; Zhang et al. 2016), by the library of its authors in a child: the step ground:method=csf.

It needs no PDAL. Its options are named as those of PDAL's filters.csf, and have the same defaults.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pointclouds.errors import NothingLeftError, PipelineRefusedError
from pointclouds.las.structures import LAS_14_HEADER_SIZE, unpack_header
from pointclouds.pdal.allowed import RESERVED
from pointclouds.pdal.child import Limits, Program, never, run_child
from pointclouds.pdal.values import ranges

CLOTH: Final = "cloth"
"""The type of the stage: no name of PDAL's, which is never told of it."""
_PROGRAM: Final = Path(__file__).with_name("cloth_child.py")
_LIBRARY: Final = "cloth-simulation-filter"
_PARAMETERS: Final[Mapping[str, tuple[str, Any]]] = MappingProxyType(
    {
        "resolution": ("cloth_resolution", 1.0),
        "threshold": ("class_threshold", 0.5),
        "rigidness": ("rigidness", 3),
        "iterations": ("interations", 500),
        "smooth": ("bSloopSmooth", True),
    }
)
"""Options and what the library calls them (its spelling), with the defaults of both."""
_TIME_STEP: Final = 0.65
_RANGE: Final = re.compile(
    r"\s*(?P<name>\w+)\s*(?P<negated>!?)\s*(?P<open>[\[(])\s*(?P<low>[^:\s]*)\s*:\s*(?P<high>[^\])\s]*)\s*(?P<close>[\])])\s*"
)
_NAMES: Final[Mapping[str, tuple[str, float]]] = MappingProxyType(
    {
        **{name: (name, 1.0) for name in ("x", "y", "z", "intensity", "classification", "synthetic")},
        **{name: (name, 1.0) for name in ("withheld", "overlap", "red", "green", "blue")},
        "returnnumber": ("return_number", 1.0),
        "numberofreturns": ("number_of_returns", 1.0),
        "scandirectionflag": ("scan_direction_flag", 1.0),
        "edgeofflightline": ("edge_of_flight_line", 1.0),
        "keypoint": ("key_point", 1.0),
        "scananglerank": ("scan_angle", 0.006),
        "scanangle": ("scan_angle", 0.006),
        "userdata": ("user_data", 1.0),
        "pointsourceid": ("point_source_id", 1.0),
        "gpstime": ("gps_time", 1.0),
        "scanchannel": ("scanner_channel", 1.0),
        "infrared": ("nir", 1.0),
    }
)
"""PDAL's names in small letters: the name in LAS 1.4 as laspy has it, and what its values are multiplied by to be PDAL's."""


def cloth_version() -> str:
    """The library and its version, for the record of what was done."""
    return f"{_LIBRARY} {importlib.metadata.version(_LIBRARY)}"


def find_ground(
    options: Mapping[str, Any],
    handed: Path,
    output: Path,
    limits: Limits,
    *,
    only_own: bool = False,
    cancelled: Callable[[], bool] = never,
) -> None:
    """Give class 2 to the ground among the points of a file of ours (LAS 1.4), 1 to the rest; noise that is ignored stays noise.

    Args:
        options: of the step, checked: resolution, threshold (CRS units), rigidness, iterations, smooth, ignore (ranges).
        output: made anew, whole or not at all, LAS or LAZ by its suffix.
        only_own: write only points whose dimension RESERVED is 1, without that dimension.

    Raises:
        PipelineFailedError: there is nothing ground could be among, or the library crashes.
        NothingLeftError: no point is left.
        PipelineRefusedError, PipelineLimitError, RunCancelled: as run_child, and for ranges that are none.
    """
    with tempfile.TemporaryDirectory(prefix="cloth-", dir=output.parent) as folder:
        scratch = Path(folder)
        # Links: the child has names only, no path of a tenant.
        (scratch / f"input{handed.suffix}").symlink_to(handed.resolve())
        made = scratch / f"output{output.suffix}"
        asked = {
            "input": f"input{handed.suffix}",
            "output": made.name,
            "parameters": {
                **{theirs: options.get(name, usual) for name, (theirs, usual) in _PARAMETERS.items()},
                "time_step": _TIME_STEP,
            },
            "ignore": ignored_ranges(options.get("ignore", "")),
            "own": RESERVED if only_own else None,
        }
        (scratch / "cloth.json").write_text(json.dumps(asked))
        run_child(_program(), scratch, [handed.resolve()], limits, cancelled)
        with made.open("rb") as stream:
            if unpack_header(stream.read(LAS_14_HEADER_SIZE)).point_count == 0:
                raise NothingLeftError("nothing is left of the points after this step")
        shutil.move(made, output)


def ignored_ranges(text: str) -> list[dict[str, Any]]:
    """PDAL's ranges (Classification[7:7],Z(10:]) as the child takes them; a point in any of them is ignored.

    Raises PipelineRefusedError.
    """
    found: list[dict[str, Any]] = []
    for part in text.split(",") if text.strip() else []:
        match = _RANGE.fullmatch(part)
        if match is None or not _is_range(part):
            raise PipelineRefusedError(
                f"ignore of ground by csf takes ranges with commas between, such as Classification[7:7],Z[100:]; got {part[:60]!r}"
            )
        name, factor = _NAMES.get(match["name"].lower(), (match["name"], 1.0))
        found.append(
            {
                "name": name,
                "factor": factor,
                "negated": bool(match["negated"]),
                # JSON has no infinity.
                "low": float(match["low"]) if match["low"] else -sys.float_info.max,
                "high": float(match["high"]) if match["high"] else sys.float_info.max,
                "low_in": match["open"] == "[",
                "high_in": match["close"] == "]",
            }
        )
    return found


def _is_range(part: str) -> bool:
    try:
        ranges(part)
    except ValueError:
        return False
    return True


def _program() -> Program:
    folders = (sys.prefix, sys.base_prefix, str(_PROGRAM.parent))
    return Program("CSF", (sys.executable, "-I", str(_PROGRAM), "cloth.json"), folders)
