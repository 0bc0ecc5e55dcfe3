"""What a line of the log holds."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from server.http.logs import JsonFormatter


def line(**changes: Any) -> dict[str, Any]:
    record = logging.makeLogRecord(
        {
            "name": "server.http.maps",
            "levelname": "WARNING",
            "msg": "图层 %s",
            "args": ("a\nb",),
            "created": 0.5,
        }
        | changes
    )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_record_is_one_line_of_json_with_what_extra_gave() -> None:
    assert line(path="/a", size=3) == {
        "timestamp": "1970-01-01T00:00:00.500+00:00",
        "level": "warning",
        "logger": "server.http.maps",
        "event": "图层 a\nb",
        "path": "/a",
        "size": 3,
    }


def test_a_traceback_shows_no_local_values() -> None:
    secret = "pass" + "phrase"
    try:
        raise ValueError("broken")
    except ValueError:
        found = line(exc_info=sys.exc_info())
    assert "ValueError: broken" in found["exception"]
    assert secret not in found["exception"]


def test_what_json_cannot_write_is_written_as_text() -> None:
    assert line(reason=ValueError("no"))["reason"] == "no"
