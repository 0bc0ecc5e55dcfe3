"""Hear what GDAL reports while fiona or rasterio reads: it goes on after errors that we must not pass over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class GdalMessages:
    """The messages of one reading, the first hundred of each level."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Collector(logging.Handler):
    def __init__(self, messages: GdalMessages) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        kept = self._messages.errors if record.levelno >= logging.ERROR else self._messages.warnings
        if len(kept) < 100:
            kept.append(record.getMessage().strip())


@contextmanager
def hear_gdal(library: str) -> Iterator[GdalMessages]:
    """Collect what `library` ("fiona" or "rasterio") logs for GDAL, instead of passing it to the process's log."""
    messages = GdalMessages()
    collector = _Collector(messages)
    logger = logging.getLogger(library)
    propagated = logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagated
