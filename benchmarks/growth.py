"""Flat growth: the same requests on 50,000, 500,000 and 5 million features, and a download of the largest."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.city import chengtu, publish
from benchmarks.load import Row, item_script, items_script, measure
from benchmarks.processes import cpu_seconds, own_megabytes, tree

SIZES = (50_000, 500_000, 5_000_000)
_BASE = "/t/bench/ogc/collections/buildings"
_PAGE = 4
_PAGES = 10_000
"""Page 10,000 of pages of 4 begins at feature 39,997: the smallest collection still has it."""


def _deep_page(address: str, query: str) -> str:
    """Path of page `_PAGES` of pages of `_PAGE` features, reached by the next links of larger pages."""
    step, skipped = 9_999, 0
    url = f"{address}{_BASE}/items?skipGeometry=true&limit={step}{query}"
    cursor = ""
    while skipped < (_PAGES - 1) * _PAGE:
        with urllib.request.urlopen(url, timeout=120) as answer:
            document = json.load(answer)
        skipped += document["numberReturned"]
        url = next(link["href"] for link in document["links"] if link["rel"] == "next")
        cursor = next(part for part in url.partition("?")[2].split("&") if part.startswith("cursor="))
    return f"{_BASE}/items?limit={_PAGE}{query}&{cursor}"


def _once(path: str) -> str:
    return f'return wrk.format("GET", "{path}")'


def grow(base: Path, seconds: int, show: Callable[[Row], None]) -> tuple[list[Row], dict[str, float]]:
    """Rows of every size, and the figures of downloading the largest."""
    rows: list[Row] = []
    facts: dict[str, float] = {}
    for size in SIZES:
        work = base / str(size)
        work.mkdir(parents=True, exist_ok=True)
        publish(work / "home", size)
        with chengtu(work / "home", work) as (pid, port, _):
            address = f"http://127.0.0.1:{port}"
            # Boxes hold about 30 features whatever the density: the answer's size is not what grows.
            edge = 0.02 * (50_000 / size) ** 0.5
            west, south, east, north = 113.85, 22.70, 113.95, 22.80
            box = f"&bbox={west},{south},{east},{north}"
            scripts = [
                ("items, bbox", items_script(f"{_BASE}/items", edge, 100)),
                ("one item", item_script(f"{_BASE}/items/%d", size)),
                ("first page of 4", _once(f"{_BASE}/items?limit={_PAGE}")),
                ("page 10,000 of 4", _once(_deep_page(address, ""))),
                ("page 10,000, sortby=height", _once(_deep_page(address, "&sortby=height"))),
                ("first page in a bbox", _once(f"{_BASE}/items?limit={_PAGE}{box}")),
            ]
            if size >= 500_000:
                scripts.append(("page 10,000 in a bbox", _once(_deep_page(address, box))))
            for workload, script in scripts:
                row = measure(
                    f"{size:,}", workload, script, address, lambda pid=pid: cpu_seconds([pid]), seconds, 8
                )
                rows.append(row)
                show(row)
            if size == SIZES[-1]:
                facts = download(pid, address)
    return rows, facts


def download(pid: int, address: str) -> dict[str, float]:
    """Download the whole collection in three formats; size, time, and how much the largest worker grew."""
    facts: dict[str, float] = {}
    workers = [member for member in tree(pid) if member != pid]
    for ending in ("geojsonl", "fgb", "parquet"):
        before = {worker: own_megabytes(worker) for worker in workers}
        peak = dict(before)
        stop = threading.Event()

        def watch(peak: dict[int, float] = peak, stop: threading.Event = stop) -> None:
            while not stop.wait(0.2):
                for worker, most in list(peak.items()):
                    with suppress(OSError):
                        peak[worker] = max(most, own_megabytes(worker))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        started, size = time.monotonic(), 0
        with urllib.request.urlopen(f"{address}{_BASE}/download/buildings.{ending}", timeout=1800) as answer:
            while chunk := answer.read(1 << 20):
                size += len(chunk)
        stop.set()
        thread.join()
        facts[f"{ending}: MB"] = size / 1e6
        facts[f"{ending}: seconds"] = time.monotonic() - started
        facts[f"{ending}: MB a worker grew at most"] = max(peak[one] - before[one] for one in workers)
    return facts
