"""The page docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.load import Row


def report(rows: list[Row], facts: dict[str, float], count: int) -> str:
    """The page, but for growth."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` ([how](how-to/run-benchmarks.md)). CPU is that of the server's processes and, for PostGIS, of the",
        "database, divided by the requests answered: the steadiest figure on a shared machine. Every server runs with two",
        "workers (granian; tipg under uvicorn; MapServer as FastCGI behind nginx), one server after the other, on the same data",
        "and the same random requests of fixed seed, sent by wrk over loopback. Answers are not compressed, but where a row says",
        "gzip. The best of three runs counts.",
        "",
        f"{count:,} polygons with eight attributes. {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, pygeoapi {version('pygeoapi')}, "
        f"MapProxy {version('mapproxy')}, granian {version('granian')}, tipg {_pinned('tipg')}; MapServer, PostgreSQL and "
        "PostGIS of Debian 12.",
        "",
    ]
    lines += _table(rows)
    lines += [
        "",
        "Requests a second are those of two workers beside wrk on this machine; for a vector tile that is made, of one client.",
        "A row with errors is not a result.",
        "",
        "| start and memory | |",
        "|---|--:|",
        *(f"| {name} | {value:.2f} |" for name, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> list[str]:
    """The rows of a workload together, the cheapest first."""
    lines = [
        "| work | server | CPU ms a request | requests/s | p50 ms | p99 ms | bytes | errors |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for workload in dict.fromkeys(row.workload for row in rows):
        for row in sorted((row for row in rows if row.workload == workload), key=lambda row: row.cpu_ms):
            lines.append(
                f"| {row.workload} | {row.server} | {row.cpu_ms:,.3f} | {row.requests_per_second:,.1f} | {row.p50_ms} | "
                f"{row.p99_ms} | {row.bytes_per_request:,} | {row.bad} |"
            )
    return lines


def maps_report(rows: list[Row], facts: dict[str, float]) -> str:
    """The page docs/benchmarks-maps.md."""
    lines = [
        "# Benchmarks of maps",
        "",
        "Made by `python -m benchmarks --maps` ([how](how-to/run-benchmarks.md)). CPU is that of the server's processes, divided by",
        "the requests answered. Every server runs with two workers or processes, one server after the other, on the same data and",
        "the same tiles. Cold tiles are asked for one after the other, none twice; kept ones by wrk over 64 connections, at random",
        "with a fixed seed, the best of three runs.",
        "",
        f"500,000 polygons drawn as a map, an image of 8,000 x 8,000 RGB pixels as a COG. {datetime.now(UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, MapProxy {version('mapproxy')}, "
        f"granian {version('granian')}, titiler {_pinned('titiler-application', 'titiler')}; nginx, Apache and mod_mapcache of "
        "Debian 12.",
        "",
        *_table(rows),
        "",
        "A row with errors is not a result.",
        "",
        "| under load | |",
        "|---|--:|",
        *(f"| {name} | {value:,.2f} |" for name, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _pinned(package: str, peer: str = "tipg") -> str:
    lines = Path(__file__).with_name(f"{peer}.txt").read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{package}=="))


def growth_section(base: Path) -> str:
    """The part on growth, from the last run with --growth; "" where there was none."""
    file = base / "growth.json"
    if not file.is_file():
        return ""
    found = json.loads(file.read_text())
    rows = [Row(**row) for row in found["rows"]]
    sizes = list(dict.fromkeys(row.server for row in rows))
    lines = [
        "",
        "## Growth",
        "",
        "CPU milliseconds a request of the same requests to collections of growing size (`python -m benchmarks --growth`). Boxes",
        "hold as many features whatever the size; a page holds four features, so that the smallest collection has a page 10,000.",
        "",
        f"| request | {' | '.join(sizes)} |",
        f"|---|{'--:|' * len(sizes)}",
    ]
    for workload in dict.fromkeys(row.workload for row in rows):
        by_size = {row.server: row for row in rows if row.workload == workload}
        cells = [f"{by_size[size].cpu_ms:.3f}" if size in by_size else "" for size in sizes]
        lines.append(f"| {workload} | {' | '.join(cells)} |")
    lines += ["", "| the largest, downloaded whole | |", "|---|--:|"]
    lines += [f"| {name} | {value:,.1f} |" for name, value in found["download"].items()]
    return "\n".join(lines) + "\n"
