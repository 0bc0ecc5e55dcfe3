"""Hold many connections open, each asking now and then."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence

_PAUSE = 5.0  # seconds between two requests of a connection


def hold(host: str, port: int, paths: Sequence[str], connections: int, seconds: float) -> dict[str, float]:
    """Open so many connections at once and keep them; gives answers, errors, and connections the server closed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(4096, connections * 2)), hard))
    return asyncio.run(_hold(host, port, paths, connections, seconds))


async def _hold(
    host: str, port: int, paths: Sequence[str], connections: int, seconds: float
) -> dict[str, float]:
    counts = {"answers": 0.0, "errors": 0.0, "closed by the server": 0.0}
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(_PAUSE * number / connections)
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            counts["errors"] += 1
            return
        turn = number
        try:
            while loop.time() < end:
                path = paths[turn % len(paths)]
                turn += connections
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                counts["answers" if await _answered(reader) else "errors"] += 1
                await asyncio.sleep(_PAUSE)
        except (asyncio.IncompleteReadError, ConnectionError):
            counts["closed by the server"] += 1
        finally:
            writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return counts


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Whether the next answer is a 200; its body is read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(
        int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:")
    )
    await reader.readexactly(length)
    return head.startswith("http/1.1 200")
