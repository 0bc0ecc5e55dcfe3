"""Benchmarks of 3D: footprints, LoD2 city, pipes and terrain to files on disk, beside other makers, on the same data in the same run."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import peers, three_d_data
from benchmarks.processes import own_megabytes, tree
from benchmarks.terrain import LEVEL, make_model
from tiles.three_d.check import inspect_content, inspect_tileset

HOUSES_OF_PEER = 5_000
CITY, CITY_OF_PEER, PIPE_SEGMENTS, TERRAIN_OF_PEER = 20_000, 500, 500_000, 256
_SECONDS_AT_MOST = 3600


@dataclass(frozen=True, slots=True)
class Job:
    """What a whole job used. `memory` is the sum over its processes at its highest (MB), without pages of mapped files."""

    cpu: float
    wall: float
    memory: float
    said: str


@dataclass(frozen=True, slots=True)
class Row3D:
    """A maker's figures for one kind of input. `faults` are those our checker finds; None: not a form that it checks."""

    work: str
    maker: str
    unit: str
    count: int
    cpu: float
    wall: float
    memory: float
    gzip_bytes: int
    faults: int | None
    note: str = ""

    @property
    def rate(self) -> float:
        """Units a CPU-second."""
        return self.count / self.cpu


def run_job(command: Sequence[str | Path], log: Path) -> Job:
    """Run a program to its end. Raises RuntimeError where it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        peak = _Peak(process.pid)
        said, _ = process.communicate(timeout=_SECONDS_AT_MOST)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}; see {log}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Job(cpu, wall, peak.stop(), said.decode())


class _Peak:
    """Watches the memory of a process and of all below it."""

    def __init__(self, pid: int) -> None:
        self._pid, self._highest, self._ended = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The highest sum seen (MB)."""
        self._ended.set()
        self._thread.join()
        return self._highest

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self._highest = max(self._highest, sum(map(_megabytes, tree(self._pid))))


def _megabytes(pid: int) -> float:
    try:
        return own_megabytes(pid)
    except (OSError, StopIteration):
        return 0.0  # it has ended


def ours(work: str, unit: str, name: str, source: Path, folder: Path, log: Path) -> Row3D:
    """One of our own jobs."""
    job = run_job([sys.executable, "-m", "benchmarks.three_d_jobs", name, source, folder], log)
    made = json.loads(job.said.splitlines()[-1])
    cpu, note = job.cpu, ""
    if "features_seconds" in made:
        cpu -= made["features_seconds"]
        note = f"and {made['features_seconds']:.1f} CPU-seconds for its store of features"
    faults = _faults(folder / "3dtiles") if name != "terrain" else _terrain_faults(folder)
    return Row3D(
        work, "Chengtu", unit, made["count"], cpu, job.wall, job.memory, made["gzip_bytes"], faults, note
    )


def _faults(folder: Path) -> int:
    return len(inspect_tileset(folder).findings)


def _terrain_faults(folder: Path) -> int:
    from tiles.terrain.check import check_terrain

    return len(check_terrain(folder))


def py3dtiles(bin_folder: Path, work: Path, log: Path) -> Row3D:
    """The first footprints of the same data by py3dtiles, which is given finished bodies: it does not extrude."""
    source, target = work / f"bodies-{HOUSES_OF_PEER}", work / "py3dtiles"
    if not source.exists():
        three_d_data.extruded(source, HOUSES_OF_PEER)
    shutil.rmtree(target, ignore_errors=True)
    job = run_job([bin_folder / "py3dtiles", "export", "-d", source, "-s", target], log)
    version = _version(bin_folder, "py3dtiles")
    return Row3D(
        "footprints",
        f"py3dtiles {version}",
        "building",
        HOUSES_OF_PEER,
        job.cpu,
        job.wall,
        job.memory,
        _packed_size(target, "*.b3dm"),
        _faults(target),
        "from bodies made before, without attributes",
    )


def cjio(bin_folder: Path, work: Path, log: Path) -> Row3D:
    """A part of the same city as one .glb by cjio."""
    name = f"city-{CITY_OF_PEER}.city.json"
    source = three_d_data.made_once(work / name, three_d_data.city(CITY_OF_PEER))
    target = work / "cjio.glb"
    target.unlink(missing_ok=True)
    job = run_job([bin_folder / "cjio", source, "export", "glb", target], log)
    found = inspect_content(target.read_bytes())
    return Row3D(
        "LoD2 city",
        f"cjio {_version(bin_folder, 'cjio')}",
        "building",
        CITY_OF_PEER,
        job.cpu,
        job.wall,
        job.memory,
        len(gzip.compress(target.read_bytes(), 4)),
        len(found.findings),
        "one file, no tiles, not on the globe",
    )


def terrain_peer(bin_folder: Path, model: Path, work: Path, log: Path) -> Row3D:
    """Some tiles of the same model's deepest level by pymartini and quantized-mesh-encoder."""
    target = work / "terrain-peer"
    shutil.rmtree(target, ignore_errors=True)
    script = Path(__file__).with_name("three_d_terrain_peer.py")
    command: list[str | Path] = [
        bin_folder / "python",
        script,
        model,
        target,
        str(LEVEL),
        str(TERRAIN_OF_PEER),
    ]
    command.append(str(_error_of(work / "terrain")))
    job = run_job(command, log)
    made = json.loads(job.said)
    maker = f"pymartini + quantized-mesh-encoder {_version(bin_folder, 'quantized-mesh-encoder')}"
    return Row3D(
        "terrain",
        maker,
        "tile",
        made["count"],
        job.cpu,
        job.wall,
        job.memory,
        made["gzip_bytes"],
        None,
        "deepest level only, edges do not meet",
    )


def _error_of(terrain: Path) -> float:
    """The largest error (m) of our tiles of the deepest level: the peer's are to be as true."""
    from tiles.terrain import TerrainTiles

    with TerrainTiles.open(terrain) as tiles:
        return float(tiles.error_of(LEVEL))


def _version(bin_folder: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([bin_folder / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _packed_size(folder: Path, pattern: str) -> int:
    """What the files would be sent as; a peer does not compress them."""
    return sum(len(gzip.compress(file.read_bytes(), 4)) for file in folder.rglob(pattern))


def measure(base: Path, root: Path, features: int, *, with_peers: bool) -> list[Row3D]:
    """Every row. Inputs and logs are kept in `base`."""
    work = base / "three-d"
    store = three_d_data.made_once(work / f"footprints-{features}.gpkg", three_d_data.footprints(features))
    city = three_d_data.made_once(work / f"city-{CITY}.city.json", three_d_data.city(CITY))
    pipes = three_d_data.made_once(work / f"pipes-{PIPE_SEGMENTS}.gpkg", three_d_data.pipes(PIPE_SEGMENTS))
    model = work / "dem.tif"
    make_model(model)
    jobs: list[Callable[[], Row3D]] = [
        lambda: ours(
            "footprints", "building", "buildings", store, work / "buildings", work / "buildings.log"
        ),
        lambda: ours("LoD2 city", "building", "city", city, work / "city", work / "city.log"),
        lambda: _per_segment(ours("pipes", "segment", "pipes", pipes, work / "pipes", work / "pipes.log")),
        lambda: ours("terrain", "tile", "terrain", model, work / "terrain", work / "terrain.log"),
    ]
    if with_peers:
        bin_folder = peers.environment(root, base, "three_d")
        jobs += [
            lambda: py3dtiles(bin_folder, work, work / "py3dtiles.log"),
            lambda: cjio(bin_folder, work, work / "cjio.log"),
            lambda: terrain_peer(bin_folder, model, work, work / "terrain-peer.log"),
        ]
    rows = []
    for job in jobs:
        rows.append(job())
        _show(rows[-1])
    (work / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return rows


def _per_segment(row: Row3D) -> Row3D:
    return Row3D(**(asdict(row) | {"count": row.count * 10}))


def _show(row: Row3D) -> None:
    print(
        f"  {row.maker:46} {row.work:12} {row.rate:10,.0f} {row.unit}s a CPU-second "
        f"{row.gzip_bytes / row.count:8,.0f} B each {row.memory:7,.0f} MB  faults: {row.faults}",
        flush=True,
    )


def report(rows: Sequence[Row3D], features: int) -> str:
    """The page docs/benchmarks-3d.md."""
    lines = [
        "# Benchmarks of 3D",
        "",
        "Made by `python -m benchmarks --3d` ([how](how-to/run-benchmarks.md)). Each row is a whole job in processes of its own, from",
        "its input on disk to files on disk, compressed siblings included; CPU is that of all its processes, their start too. One job",
        "after the other, on the same data. Memory is the sum over a job's processes at its highest, without pages of mapped files.",
        "Faults are what `chengtu check --3d` finds in the result.",
        "",
        f"{features:,} footprints with five attributes in an embedded store; {CITY:,} houses with gabled roofs and semantic surfaces as",
        f"CityJSON 2.0 with five attributes; {PIPE_SEGMENTS:,} segments of pipes with five attributes in an embedded store; an elevation",
        f"model of 6,000 x 6,000 pixels of 2 m as a COG. py3dtiles has the first {HOUSES_OF_PEER:,} of the same footprints, which it",
        f"needs as a file each, cjio the first {CITY_OF_PEER:,} of the same houses. {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}.",
        "",
        "| work | maker | of | a CPU-second | seconds of CPU | of time | bytes each, gzip | MB | faults | |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for work in dict.fromkeys(row.work for row in rows):
        for row in sorted((row for row in rows if row.work == work), key=lambda row: -row.rate):
            faults = "" if row.faults is None else f"{row.faults:,}"
            lines.append(
                f"| {row.work} | {row.maker} | {row.count:,} {row.unit}s | {row.rate:,.0f} | {row.cpu:,.1f} | {row.wall:,.1f} | "
                f"{row.gzip_bytes / row.count:,.0f} | {row.memory:,.0f} | {faults} | {row.note} |"
            )
    lines += [
        "",
        "pg2b3dm needs .NET and is not compared; 3d-tiles-tools converts tilesets and makes none of these inputs.",
    ]
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace, base: Path, root: Path) -> int:
    """`python -m benchmarks --3d`: measure, and write the page."""
    print("Measuring 3D", flush=True)
    rows = measure(base, root, options.features, with_peers=not options.ours_only)
    page = report(rows, options.features)
    if options.no_write:
        print(page)
    else:
        (root / "docs" / "benchmarks-3d.md").write_text(page)
    return 1 if any(row.faults for row in rows if row.maker == "Chengtu") else 0
