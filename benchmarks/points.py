"""Benchmarks of point clouds: LAZ to COPC, COPC to 3D Tiles, boxes, overviews and EPT nodes, beside other makers on the same data."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import laspy
import numpy as np

from benchmarks import peers, points_data
from benchmarks.city import chengtu, settings_of
from benchmarks.processes import cpu_seconds
from benchmarks.three_d import Job, run_job

POINTS_OF_PEER = 500_000
COLLECTION = "bench.survey"
_SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
_HIERARCHY_NODES = 40


@dataclass(frozen=True, slots=True)
class PointRow:
    """What a maker used for one kind of work: `count` points (of a request: those it answered) in `cpu` seconds.

    `times` is how many requests the figures are the mean of; None: a whole job. `size` is bytes of what came out, `of` bytes of what
    went in where comparing them says something.
    """

    work: str
    maker: str
    count: int
    cpu: float
    wall: float
    memory: float
    size: int
    of: int | None = None
    times: int | None = None
    note: str = ""


def _job(work: str, maker: str, name: str, source: str, folder: Path, of: int | None = None) -> PointRow:
    log = folder.parent / f"{folder.name}.log"
    job = run_job([sys.executable, "-m", "benchmarks.points_jobs", name, source, folder], log)
    return _row(work, maker, job, of)


def _row(work: str, maker: str, job: Job, of: int | None, note: str = "") -> PointRow:
    made = json.loads(job.said.splitlines()[-1])
    size = made.get("gzip_bytes", made["bytes"])
    return PointRow(work, maker, made["count"], job.cpu, job.wall, job.memory, size, of, None, note)


def whole_jobs(work: Path, survey: Path, large: Path) -> list[PointRow]:
    """Our jobs from file to file, and laspy's copying as the floor."""
    size = survey.stat().st_size
    rows = [
        _job("LAZ to COPC", "Chengtu, in memory", "copc", str(survey), work / "copc", size),
        _job(
            "LAZ to COPC",
            "laspy, LAZ to LAZ: the codec alone",
            "rewrite",
            str(survey),
            work / "rewrite",
            size,
        ),
        _job(
            "LAZ to COPC", "Chengtu, out of core", "small", str(large), work / "small", large.stat().st_size
        ),
    ]
    copc = work / "copc" / "pointcloud.copc.laz"
    rows.append(_job("COPC to 3D Tiles", "Chengtu, every node", "tiles", str(copc), work / "tiles"))
    return rows


def py3dtiles(bin_folder: Path, work: Path, survey: Path) -> PointRow:
    """The first points of the same survey to 3D Tiles (pnts) by py3dtiles."""
    source = points_data.part_of(survey, work / f"part-{POINTS_OF_PEER}.las", POINTS_OF_PEER)
    target = work / "py3dtiles"
    shutil.rmtree(target, ignore_errors=True)
    command = [
        bin_folder / "py3dtiles",
        "convert",
        source,
        "--out",
        target,
        "--srs_out",
        "4978",
    ]
    job = run_job([*command, "--jobs", "2"], work / "py3dtiles.log")
    size = sum(file.stat().st_size for file in target.rglob("*.pnts"))
    return PointRow(
        "COPC to 3D Tiles", "py3dtiles", POINTS_OF_PEER, job.cpu, job.wall, job.memory, size, note="from LAS"
    )


def boxes(work: Path, copc: Path) -> list[PointRow]:
    """A box of some 120,000 points and an overview of some 20,000, by laspy's own COPC query and by PDAL over the whole LAZ."""
    rows = []
    with laspy.CopcReader.open(copc) as reader:
        spacing = float(reader.copc_info.spacing)
    low, high = middle_box(copc, 120_000)
    for title, asked in (
        ("box of 120,000 points", {"low": low, "high": high}),
        ("overview of 20,000 points", {"resolution": spacing}),
    ):
        (work / "box.json").write_text(json.dumps(asked))
        rows.append(_job(title, "laspy CopcReader, whole process", "select", str(copc), work / "select"))
    return rows


def pdal(work: Path, survey: Path, copc: Path) -> PointRow:
    """The same box by PDAL 2.2, which knows no COPC and reads the whole LAZ."""
    low, high = middle_box(copc, 120_000)
    out = work / "pdal.laz"
    crop = f"([{low[0]},{high[0]}],[{low[1]},{high[1]}])"
    command = [
        _SCRIPTS / "pdal_bullseye",
        "run",
        "translate",
        survey,
        out,
        "crop",
        f"--filters.crop.bounds={crop}",
    ]
    job = run_job(command, work / "pdal.log")
    with laspy.open(out) as found:
        count = found.header.point_count
    return PointRow(
        "box of 120,000 points",
        "PDAL 2.2 filters.crop, whole LAZ",
        count,
        job.cpu,
        job.wall,
        job.memory,
        out.stat().st_size,
    )


def middle_box(copc: Path, points: int) -> tuple[list[float], list[float]]:
    """Corners (x, y) of a square in the middle that holds about so many points, were they spread evenly."""
    with laspy.open(copc) as file:
        header = file.header
    low, high = header.mins[:2], header.maxs[:2]
    half = np.sqrt(points / header.point_count) * (high - low) / 2
    middle = (low + high) / 2
    return [float(value) for value in middle - half], [float(value) for value in middle + half]


def requests(home: Path, work: Path, copc: Path) -> list[PointRow]:
    """What a server's processes use for one request, each address asked for once."""
    with chengtu(home, work):
        pass  # the first start compiles modules
    with chengtu(home, work) as (pid, port, _):
        base = f"http://127.0.0.1:{port}/t/bench/ogc/collections/survey"
        # What stays open is opened, by both workers.
        for _ in range(8):
            _fetch(f"{base}/points?limit=1")
            _fetch(f"{base}/ept/ept.json")
            _fetch(f"{base}/3dtiles/tileset.json")

        def used() -> float:
            return cpu_seconds([pid])

        rows = []
        low, high = middle_box(copc, 120_000)
        # Apart from each other, so that no node that one has decoded serves the next.
        steps = [(column, row) for row in (-2, -0.67, 0.67, 2) for column in (-2, -0.67, 0.67, 2)]
        width, depth = high[0] - low[0], high[1] - low[1]
        places = [
            (
                low[0] + column * width * 2,
                low[1] + row * depth * 2,
                high[0] + column * width * 2,
                high[1] + row * depth * 2,
            )
            for column, row in steps
        ]
        crs = "http://www.opengis.net/def/crs/EPSG/0/28992"
        in_box = [
            f"{base}/points?bbox={','.join(f'{v:.3f}' for v in box)}&bbox-crs={crs}&f=laz" for box in places
        ]
        rows.append(_asked("box of 120,000 points", "Chengtu, request", in_box, used, _points_of_laz))
        seen = [f"{base}/points?max-points={20_000 + number}&f=laz" for number in range(16)]
        rows.append(_asked("overview of 20,000 points", "Chengtu, request", seen, used, _points_of_laz))
        nodes = largest_nodes(copc)
        tiles = [f"{base}/3dtiles/content/{'/'.join(map(str, key))}.glb" for key, _ in nodes]
        counts = {url: count for url, (_, count) in zip(tiles, nodes, strict=True)}
        rows.append(
            _asked("node of a tileset, cold", "Chengtu, request", tiles, used, lambda url, _: counts[url])
        )
        rows.append(
            _asked("node of a tileset, kept", "Chengtu, request", tiles * 5, used, lambda url, _: counts[url])
        )
        ept = [f"{base}/ept/ept-data/{'-'.join(map(str, key))}.laz" for key, _ in nodes]
        counts |= {url: count for url, (_, count) in zip(ept, nodes, strict=True)}
        rows.append(_asked("node of an EPT", "Chengtu, request", ept * 5, used, lambda url, _: counts[url]))
    return rows


def largest_nodes(copc: Path) -> list[tuple[tuple[int, int, int, int], int]]:
    """Keys and counts of the nodes nearest to 50,000 points."""
    from pointclouds.cloud.cloud import open_file

    entries = open_file(copc).entries
    nearest = np.argsort(np.abs(entries["point_count"].astype(np.int64) - 50_000))[:_HIERARCHY_NODES]
    return [
        ((int(one["level"]), int(one["x"]), int(one["y"]), int(one["z"])), int(one["point_count"]))
        for one in entries[nearest]
    ]


def _points_of_laz(_: str, body: bytes) -> int:
    return int.from_bytes(body[247:255], "little")


def _asked(
    work: str,
    maker: str,
    addresses: Sequence[str],
    used: Callable[[], float],
    count: Callable[[str, bytes], int],
) -> PointRow:
    """The mean of a request, one after the other."""
    before, started, size, points = used(), time.perf_counter(), 0, 0
    for url in addresses:
        body = _fetch(url)
        size, points = size + len(body), points + count(url, body)
    times, wall = len(addresses), time.perf_counter() - started
    cpu = used() - before
    return PointRow(work, maker, points // times, cpu / times, wall / times, 0.0, size // times, None, times)


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        body: bytes = answer.read()
        return body


def publish_survey(home: Path, copc: Path) -> None:
    """Publish the COPC as `bench.survey`, taken over as it is."""
    from server.publish.publication import publish
    from server.publish.request import PublishRequest
    from server.registry.registry import open_registry

    settings = settings_of(home)
    with open_registry(settings) as registry:
        registry.add_tenant("bench", "Benchmark")
        publish(
            PublishRequest(files=(copc,), tenant="bench", id="survey", titles={"en": "Survey"}),
            registry,
            settings,
        )


def measure(
    base: Path, root: Path, points: int, large: int, *, with_peers: bool, real: Path | None
) -> list[PointRow]:
    """Every row. Inputs and logs are kept in `base`."""
    work = base / "points"
    work.mkdir(parents=True, exist_ok=True)
    if real is None:
        survey = points_data.survey(work / f"survey-{points}.laz", points)
        big = points_data.survey(work / f"survey-{large}.laz", large)
    else:
        with laspy.open(real) as scan:
            each = scan.header.point_count
        survey = points_data.repeated(real, work / f"real-{points}.laz", max(1, points // each))
        big = points_data.repeated(real, work / f"real-{large}.laz", max(1, large // each))
    rows: list[PointRow] = []

    def take(found: Sequence[PointRow]) -> None:
        for row in found:
            rows.append(row)
            _show(row)

    take(whole_jobs(work, survey, big))
    copc = work / "copc" / "pointcloud.copc.laz"
    home = work / f"home-{survey.stem}"
    # A home of an earlier run has tiles that are kept already.
    shutil.rmtree(home, ignore_errors=True)
    publish_survey(home, copc)
    take(requests(home, work, copc))
    take(boxes(work, copc))
    if with_peers:
        take([pdal(work, survey, copc)])
        take([py3dtiles(peers.environment(root, base, "three_d"), work, survey)])
    (work / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return rows


def _show(row: PointRow) -> None:
    print(f"  {row.work:26} {row.maker:36} {_figures(row)}", flush=True)


def _figures(row: PointRow) -> str:
    rate = row.count / row.cpu / 1e6 if row.cpu else 0.0
    if row.times:
        return f"{row.cpu * 1000:9.2f} ms of CPU, {row.wall * 1000:9.2f} ms, {row.count:,} points, {row.size:,} B"
    grown = f", {row.size / row.of:.3f} of the input" if row.of else ""
    return f"{rate:6.3f} M points a CPU-second, {row.cpu:8.1f} s, {row.memory:6,.0f} MB{grown}"


def report(rows: Sequence[PointRow], points: int, large: int, real: Path | None) -> str:
    """The page docs/benchmarks-points.md."""
    data = (
        "a simulated survey (flight lines, houses, trees of up to four returns)"
        if real is None
        else "a real scan repeated side by side"
    )
    lines = [
        "# Benchmarks of point clouds",
        "",
        "Made by `python -m benchmarks --points` ([how](how-to/run-benchmarks.md)). Jobs run in processes of their own, from file to file; CPU is",
        "that of all their processes, their start too. Requests are asked one after the other, none twice unless a row says kept; CPU is that",
        "of the server's processes. One after the other, on the same data, in one run.",
        "",
        f"{points:,} points of {data} as LAZ, out of core {large:,}; py3dtiles has the first {POINTS_OF_PEER:,}. "
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.",
        "",
        "| work | maker | points | M points a CPU-second | CPU | time | MB of memory | bytes | of the input | |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for work in dict.fromkeys(row.work for row in rows):
        for row in (row for row in rows if row.work == work):
            unit, factor = (" ms", 1000) if row.times else (" s", 1)
            memory = f"{row.memory:,.0f}" if row.memory else ""
            grown = f"{row.size / row.of:.3f}" if row.of else ""
            rate = f"{row.count / row.cpu / 1e6:,.3f}" if row.cpu else ""
            lines.append(
                f"| {row.work} | {row.maker} | {row.count:,} | {rate} | {row.cpu * factor:,.2f}{unit} | "
                f"{row.wall * factor:,.2f}{unit} | {memory} | {row.size:,} | {grown} | {row.note} |"
            )
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace, base: Path, root: Path) -> int:
    """`python -m benchmarks --points`: measure, and write the page."""
    print("Measuring point clouds", flush=True)
    points, large = options.survey_points, options.large_points
    rows = measure(base, root, points, large, with_peers=not options.ours_only, real=options.scan)
    page = report(rows, points, large, options.scan)
    if options.no_write:
        print(page)
    else:
        (root / "docs" / "benchmarks-points.md").write_text(page)
    return 0
