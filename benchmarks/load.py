"""Drive wrk with fixed-seed random requests and divide the server's CPU time by the requests it answered."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

from benchmarks.dataset import EAST, KINDS, NORTH, SOUTH, WEST

_REPORT = """
function done(summary, latency, requests)
  io.write(string.format('RESULT{"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"bad":%d,"lost":%d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
local counter = 0
function setup(thread) counter = counter + 1; thread:set("id", counter) end
function init(args) math.randomseed(1234 + id); for i = 1, 10 do math.random() end end
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement; `cpu_ms` is CPU time of the server, and its database, a request."""

    server: str
    workload: str
    connections: int
    cpu_ms: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    bytes_per_request: int
    bad: int


def _box(path: str, size: float, coding: str) -> str:
    return (
        f"local x = {WEST} + math.random() * {EAST - WEST - size}\n"
        f"local y = {SOUTH} + math.random() * {NORTH - SOUTH - size}\n"
        f'return wrk.format("GET", string.format("{path}", x, y, x + {size}, y + {size}), '
        f'{{["Accept-Encoding"] = "{coding}"}})'
    )


def items_script(path: str, size: float, limit: int, coding: str = "identity") -> str:
    """Lua that asks for a page of items in a random box of `size` degrees, in a content coding."""
    joined = "&" if "?" in path else "?"
    return _box(f"{path}{joined}bbox=%.5f,%.5f,%.5f,%.5f&limit={limit}", size, coding)


def item_script(path: str, count: int) -> str:
    """Lua that asks for random items; `path` holds %d."""
    return f'return wrk.format("GET", string.format("{path}", math.random(1, {count})))'


def filter_script(path: str) -> str:
    """Lua that asks for items of a random kind above a random height, by CQL2 text; `path` ends in a parameter."""
    kinds = ", ".join(f'"{quote(kind)}"' for kind in KINDS)
    expression = "kind%%3D%%27%s%%27%%20AND%%20height%%3E%d"
    return (
        f"local kinds = {{{kinds}}}\n"
        f'return wrk.format("GET", "{path}&filter-lang=cql2-text&filter=" .. '
        f'string.format("{expression}", kinds[math.random(#kinds)], math.random(30, 60)))'
    )


def tile_of(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    """Column and row in WebMercatorQuad."""
    side = 2**zoom
    north = math.asinh(math.tan(math.radians(latitude)))
    return int((longitude + 180) / 360 * side), int((1 - north / math.pi) / 2 * side)


def tile_script(path: str, zoom: int, coding: str = "identity", authorization: str | None = None) -> str:
    """Lua that asks for random tiles of a zoom in a content coding, as somebody; `path` holds {z}, {x} and {y}."""
    left, bottom = tile_of(WEST + 0.001, SOUTH + 0.001, zoom)
    right, top = tile_of(EAST - 0.001, NORTH - 0.001, zoom)
    filled = path.replace("{z}", str(zoom)).replace("{x}", '" .. x .. "').replace("{y}", '" .. y .. "')
    headers = f'["Accept-Encoding"] = "{coding}"'
    if authorization is not None:
        headers += f', ["Authorization"] = "{authorization}"'
    return (
        f"local x = math.random({left}, {right})\nlocal y = math.random({top}, {bottom})\n"
        f'return wrk.format("GET", "{filled}", {{{headers}}})'
    )


def measure(
    server: str,
    workload: str,
    script: str,
    address: str,
    cpu: Callable[[], float],
    seconds: int,
    connections: int,
    runs: int = 3,
) -> Row:
    """The run with the least CPU a request of `runs`; answers that are not 2xx are counted in `bad`."""
    rows = []
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f"function request()\n{script}\nend\n{_REPORT}")
        file.flush()
        _wrk(file.name, address, 1, connections)
        for _ in range(runs):
            before = cpu()
            result = _wrk(file.name, address, seconds, connections)
            used = cpu() - before
            count = result["requests"]
            if count == 0:
                raise RuntimeError(f"{server}, {workload}: nothing was answered within {seconds} s")
            rows.append(
                Row(
                    server,
                    workload,
                    connections,
                    round(used / count * 1000, 3),
                    round(result["requests"] / result["microseconds"] * 1e6, 1),
                    round(result["p50"] / 1000, 2),
                    round(result["p99"] / 1000, 2),
                    round(result["bytes"] / count),
                    result["bad"] + result["lost"],
                )
            )
    return min(rows, key=lambda row: row.cpu_ms)


def offered_load(script: str, address: str, seconds: int, connections: int, rate: int) -> dict[str, float]:
    """Requests at a steady rate: every connection pauses between two; gives requests a second, p50, p99 (ms), and errors."""
    pause = connections / rate * 1000
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        # A first pause of random length, so that connections do not ask in step.
        file.write(
            f"function request()\n{script}\nend\n{_REPORT}"
            f"function delay() return math.random(0, {round(2 * pause)}) end\n"
        )
        file.flush()
        result = _wrk(file.name, address, seconds, connections)
    return {
        "requests a second": round(result["requests"] / result["microseconds"] * 1e6, 1),
        "p50 ms": result["p50"] / 1000,
        "p99 ms": result["p99"] / 1000,
        "errors": float(result["bad"] + result["lost"]),
    }


def first_answer(script: str, address: str) -> None:
    """Ask until a first request is answered, which takes some servers seconds; for a minute at most."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f"function request()\n{script}\nend\n{_REPORT}")
        file.flush()
        for _ in range(60):
            if _wrk(file.name, address, 1, 1)["requests"]:
                return


def _wrk(script: str, address: str, seconds: int, connections: int) -> dict[str, int]:
    threads = "1" if connections < 4 else "2"
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
    done = subprocess.run([*command, "-s", script, address], capture_output=True, text=True, check=True)
    line = next(text for text in done.stdout.splitlines() if text.startswith("RESULT"))
    result: dict[str, int] = json.loads(line.removeprefix("RESULT"))
    return result


def fetch(url: str, authorization: str | None = None) -> bytes:
    """The body behind a URL. Raises urllib.error.URLError, HTTPError for an error status among them."""
    headers = {} if authorization is None else {"Authorization": authorization}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=180) as answer:
        body: bytes = answer.read()
    return body


def warm(urls: Sequence[str], authorization: str | None = None) -> None:
    """Fetch each URL once, so that a cached workload finds its cache filled."""
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda url: fetch(url, authorization), urls):
            pass


def tile_addresses(path: str, zoom: int, base: str) -> list[str]:
    """Every address `tile_script` may ask for."""
    left, bottom = tile_of(WEST + 0.001, SOUTH + 0.001, zoom)
    right, top = tile_of(EAST - 0.001, NORTH - 0.001, zoom)
    return [
        base + path.replace("{z}", str(zoom)).replace("{x}", str(x)).replace("{y}", str(y))
        for x in range(left, right + 1)
        for y in range(top, bottom + 1)
    ]
