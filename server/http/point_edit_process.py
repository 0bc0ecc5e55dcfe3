"""Edits of point clouds for requests: each in a process of its own, which publishes as the command does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any, Final

import orjson

from server.errors import PublishInProgress
from server.http.errors import InvalidParameter, NotFound, Overloaded, register_status
from server.settings import Settings, settings_environment
from server.settings.loading import CONFIG_VARIABLE

MODULE: Final = "server.publish.point_cloud_requests"
SECONDS: Final = 300.0
"""How long one edit may take; a larger one is a matter for the command line."""
_MOST_WORDS: Final = 2_000

register_status(PublishInProgress, 409)


class EditFailedError(Exception):
    """The process of an edit crashed, or said something that was not meant for the client."""


class StorageFullError(Exception):
    """There is no room for another generation."""


register_status(StorageFullError, 503)


def run_edit(settings: Settings, document: dict[str, Any], seconds: float = SECONDS) -> dict[str, Any]:
    """What came of the edit that `document` describes (server.publish.point_cloud_requests).

    Raises:
        PublishInProgress: somebody else publishes or edits the collection.
        InvalidParameter, NotFound: the edit cannot be made of this cloud.
        StorageFullError: no space. Overloaded: it took too long; nothing was changed.
        EditFailedError: a defect.
    """
    environment = {**os.environ, **settings_environment(settings)}
    environment.pop(CONFIG_VARIABLE, None)
    with subprocess.Popen(
        [sys.executable, "-m", MODULE],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, words = process.communicate(orjson.dumps(document), seconds)
        except subprocess.TimeoutExpired as error:
            raise Overloaded(
                f"the edit takes longer than {seconds:g} seconds, so it was stopped and nothing was changed; edit in parts, or by "
                "`chengtu points`"
            ) from error
        finally:
            # Whatever ended the waiting: its own processes go with it. A killed edit leaves the generation that is served.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    try:
        told: dict[str, Any] = orjson.loads(out)
    except orjson.JSONDecodeError as error:
        shown = words.decode("utf-8", "replace")[-_MOST_WORDS:]
        raise EditFailedError(f"the process of an edit ended with {process.returncode}: {shown}") from error
    if "error" not in told:
        return told
    raise _refused(str(told["error"]), str(told["detail"]))


def _refused(kind: str, detail: str) -> Exception:
    match kind:
        case "in progress":
            return PublishInProgress(detail)
        case "bad":
            return InvalidParameter(detail)
        case "unknown":
            return NotFound(detail)
        case "full":
            return StorageFullError(
                "there is no space for another generation of this point cloud; its operators can free some"
            )
        case _:
            return EditFailedError(detail)
