"""Logging of a worker: one JSON line an event, with tracebacks but never with local values, which may be secrets."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

_OURS = ("server", "providers", "tiles", "pointclouds")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: timestamp, level, logger, event, what `extra` gave, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str) -> None:
    """Send what our packages log from `level` up, and the libraries' warnings, to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    # Where the process has handlers already (a test runner's), they stay.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    # pygeoapi logs each mistake of a client with a traceback. What it refuses we answer, and what fails we log ourselves.
    logging.getLogger("pygeoapi").setLevel(logging.DEBUG if number <= logging.DEBUG else logging.CRITICAL)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
