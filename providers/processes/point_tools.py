"""The PDAL that processes use: which command, and what one execution may take. The server says so at its start."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pointclouds.errors import PdalAbsentError, PipelineError, PipelineRefusedError
from pointclouds.pdal.child import Limits, RunCancelled
from pointclouds.pdal.command import Pdal, find_pdal, require_pdal
from providers.errors import AnswerTooLarge, InvalidParameter, ProviderError, SourceUnavailable

MAXIMUM_POINTS = 5_000_000
MAXIMUM_OUTPUT_BYTES = 256 * 1024 * 1024
MAXIMUM_SECONDS = 120.0
"""An execution is answered at once: longer work is for `chengtu points derive`."""


@dataclass(frozen=True, slots=True)
class PdalTools:
    """`command` is the name or path of PDAL; `seconds` and `memory` (bytes) are what one execution may take."""

    command: str = "pdal"
    seconds: float = MAXIMUM_SECONDS
    memory: int = 4 * 1024**3

    @property
    def limits(self) -> Limits:
        """For one run."""
        return Limits(min(self.seconds, MAXIMUM_SECONDS), self.memory, MAXIMUM_OUTPUT_BYTES * 4)


_lock = threading.Lock()
_tools: dict[str, PdalTools] = {}


def register_pdal(key: str, tools: PdalTools) -> None:
    """Say what the processes with this resolver key use; what was said before is replaced."""
    with _lock:
        _tools[key] = tools


def tools_of(key: str) -> PdalTools:
    """What the processes with this resolver key use; the defaults where nobody said."""
    return _tools.get(key) or PdalTools()


def availability(key: str, *, ground: bool = False) -> dict[str, str]:
    """One sentence by language on whether there is a PDAL now, for descriptions; of `ground` a part is there without."""
    found = find_pdal(tools_of(key).command)
    if found is None and ground:
        return {
            "en": "There is no PDAL on this server: only the method csf is available now.",
            "zh": "服务器上没有 PDAL:当前只能使用 csf 方法。",
        }
    if found is None:
        return {
            "en": "Not available now: there is no PDAL on this server.",
            "zh": "当前不可用:服务器上没有 PDAL。",
        }
    return {"en": f"Available: PDAL {found.version}.", "zh": f"可用:PDAL {found.version}。"}


def pdal_of(key: str) -> Pdal:
    """The PDAL. Raises SourceUnavailable, which says what to install."""
    try:
        return require_pdal(tools_of(key).command)
    except PdalAbsentError as error:
        raise SourceUnavailable(_sentence(error)) from error


def provider_error(error: PipelineError | RunCancelled) -> ProviderError:
    """What a failed run is to whoever asked for it over HTTP."""
    from pointclouds.errors import PipelineLimitError

    if isinstance(error, PipelineLimitError):
        return AnswerTooLarge(_sentence(error))
    if isinstance(error, PdalAbsentError | RunCancelled):
        return SourceUnavailable(_sentence(error))
    allowed = (
        "stages and options of the allow-list"
        if isinstance(error, PipelineRefusedError)
        else "steps that fit the points"
    )
    return InvalidParameter("steps", _sentence(error), allowed)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
