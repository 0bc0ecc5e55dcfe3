"""Which PDAL there is: the command line, or the Python module in a child; what version, with which stages."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pointclouds.errors import PdalAbsentError

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
BINDINGS: Final = Path(__file__).with_name("bindings.py")
_ANSWER_SECONDS: Final = 30.0
_KEPT_SECONDS: Final = 60.0
"""How long an absent PDAL is not looked for again; one that is there is known by its file."""
_VERSION: Final = re.compile(r"pdal\s+(\d+\.\d+\.\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Pdal:
    """A PDAL that answers. `command` is what goes before its arguments, `stages` the names of its readers, filters and writers."""

    command: tuple[str, ...]
    version: str
    stages: frozenset[str]

    def has(self, stage: str) -> bool:
        """Whether it has a stage, such as "readers.copc" (not before 2.4)."""
        return stage in self.stages

    @property
    def folders(self) -> tuple[str, ...]:
        """What it reads of its own: programs, libraries, grids."""
        found = [
            one for part in self.command if part.startswith("/") for one in (part, str(Path(part).resolve()))
        ]
        found += [f"{base}/{part}" for base in _bases(self.command) for part in _PARTS]
        return tuple(dict.fromkeys(found))


_PARTS: Final = ("bin", "lib", "lib64", "share", "usr", "etc/proj", "ssl")


def _bases(command: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes of a command, the link's and the file's own; of the module also those of the interpreter."""
    program = Path(command[0])
    bases = [str(program.parent.parent), str(program.resolve().parent.parent)]
    return (*bases, sys.prefix, sys.base_prefix) if len(command) > 1 else tuple(bases)


def find_pdal(command: str = "pdal") -> Pdal | None:
    """The PDAL of this name or path; else the Python module `pdal`, if it is installed; else None. Asked once, then remembered."""
    path = shutil.which(command)
    key = (command, path, _stamp(path))
    with _lock:
        known = _known.get(key)
        if known is not None and (known[1] is not None or time.monotonic() - known[0] < _KEPT_SECONDS):
            return known[1]
    found = _of_command(path) if path is not None else None
    if found is None and importlib.util.find_spec("pdal") is not None:
        found = _of_module()
    with _lock:
        _known.clear()
        _known[key] = (time.monotonic(), found)
    return found


_lock = threading.Lock()
_known: dict[tuple[str, str | None, float], tuple[float, Pdal | None]] = {}


def require_pdal(command: str = "pdal") -> Pdal:
    """As find_pdal. Raises PdalAbsentError, which says what to install."""
    found = find_pdal(command)
    if found is None:
        raise PdalAbsentError(
            "this needs PDAL, and there is none on the server that answers: install PDAL 2.2 or newer (the image has it; "
            "conda-forge: pdal) and give its path in the setting points.pdal if it is not on the PATH. Of the steps, ground:method=csf alone works without"
        )
    return found


def _stamp(path: str | None) -> float:
    return Path(path).stat().st_mtime if path is not None else 0.0


def _of_command(path: str) -> Pdal | None:
    program = str(Path(path).absolute())
    version = _VERSION.search(_said((program, "--version")))
    if version is None:
        return None
    try:
        stages = frozenset(one["name"] for one in json.loads(_said((program, "--drivers", "--showjson"))))
    except (ValueError, TypeError, KeyError):
        return None
    return Pdal((program,), version[1], stages)


def _of_module() -> Pdal | None:
    program = (sys.executable, "-I", str(BINDINGS))
    try:
        said = json.loads(_said((*program, "describe")))
        return Pdal(program, str(said["version"]), frozenset(map(str, said["stages"])))
    except (ValueError, TypeError, KeyError):
        return None


def _said(command: tuple[str, ...]) -> str:
    """What a command prints; "" where it cannot be run or is at fault."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            env=clean_environment(Path("/")),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def clean_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a child: nothing of the server's own (its settings hold passwords), and no way out to the network.

    GDAL and curl know no host names of ours and are given a proxy that refuses; drivers that fetch are left out.
    """
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "2",
        # Threads that wait do not turn in circles: where others have work, that is a third of the time of CSF.
        "OMP_WAIT_POLICY": "passive",
        "OPENBLAS_NUM_THREADS": "1",
        "PROJ_NETWORK": "OFF",
        "GDAL_SKIP": "WMS WMTS WCS HTTP EEDA EEDAI NGW OGCAPI PLMOSAIC RASTERLITE VRT DAAS STACTA STACIT PostGISRaster",
        "OGR_SKIP": "WFS OAPIF CSW CARTO ELASTIC AMIGOCLOUD GMLAS PLSCENES NGW OGR_VRT PGEO MSSQLSPATIAL PostgreSQL MYSQL",
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_PAM_ENABLED": "NO",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "GDAL_HTTP_PROXY": nowhere.removeprefix("http://"),
        "GDAL_HTTP_MAX_RETRY": "0",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "all_proxy": nowhere,
        "no_proxy": "",
    }
