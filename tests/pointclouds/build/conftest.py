"""Sources made of arrays, and what every build is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointclouds.build.build import _facts
from pointclouds.build.layout import common_layout, conformed
from pointclouds.build.out_of_core import Limits, build_out_of_core
from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.copc.octree import OctreeRules
from pointclouds.copc.reader import CopcFile
from pointclouds.las.layout import Records
from pointclouds.sources import LasSource, PointSource, SourceDescription

TINY = Limits(run_points=10_000, bucket_points=8_000, processes=1)
SMALL = OctreeRules(leaf_points=3_000, smallest_child=100, grid_depth=5)


class ArraySource:
    """Records in memory as a source; `box` and `count` say what they are told to say."""

    def __init__(self, records: Records, like: SourceDescription, **changed: Any) -> None:
        self.records = records
        self._description = replace(like, count=len(records), **changed)

    @property
    def description(self) -> SourceDescription:
        return self._description

    def chunks(self, points: int = 500_000, start: int = 0, stop: int | None = None) -> Iterator[Records]:
        end = len(self.records) if stop is None else min(stop, len(self.records))
        for first in range(start, end, points):
            yield self.records[first : min(first + points, end)].copy()


@pytest.fixture(scope="session")
def array_source() -> type[ArraySource]:
    return ArraySource


@pytest.fixture(scope="session")
def scan_source(scan: Path) -> LasSource:
    return LasSource(scan, "EPSG:7415")


@pytest.fixture(scope="session")
def scan_records(scan_source: LasSource) -> Records:
    return np.concatenate(list(scan_source.chunks()))


@pytest.fixture(scope="session")
def small_rules() -> OctreeRules:
    return SMALL


@pytest.fixture(scope="session")
def build_small() -> Callable[..., PointCloudSummary]:
    """Build out of core with limits of thousands of points: build(sources, out, limits, workspace=, report=, cancelled=, rules=)."""

    def build(
        sources: Sequence[PointSource],
        out: Path,
        limits: Limits = TINY,
        *,
        workspace: Path | None = None,
        report: Callable[[str, float], None] = lambda _stage, _part: None,
        cancelled: Callable[[], bool] = lambda: False,
        rules: OctreeRules = SMALL,
    ) -> PointCloudSummary:
        layout = common_layout(sources)
        alike = [conformed(source, layout) for source in sources]
        facts = _facts(alike, layout, rules)
        return build_out_of_core(alike, out, facts, limits, report, cancelled, workspace)

    return build


@pytest.fixture(scope="session")
def nodes_of() -> Callable[[Path], dict[tuple[int, ...], bytes]]:
    """All nodes of a COPC: level, x, y, z -> the bytes of its records."""

    def read(path: Path) -> dict[tuple[int, ...], bytes]:
        with CopcFile(path) as copc:
            return {
                tuple(int(entry[name]) for name in ("level", "x", "y", "z")): copc.read_node(entry).tobytes()
                for entry in copc.entries
            }

    return read


@pytest.fixture(scope="session")
def left_behind() -> Callable[[Path], list[str]]:
    """Names in a folder, sorted."""
    return lambda folder: sorted(path.name for path in folder.iterdir())
