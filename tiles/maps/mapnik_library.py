"""The one place that imports Mapnik, and what has to be put right around it.

The wheel of Mapnik 4.3 points PROJ_LIB and GDAL_DATA, for the whole process, at folders of its own that hold no proj.db:
Mapnik itself then knows no EPSG code, and rasterio and fiona fail with "Cannot find proj.db" from then on. Here the
variables are put back, and PROJ_DATA names pyproj's database, which every PROJ in the process can read (a newer
database serves an older library).
"""

from __future__ import annotations

import os

import pyproj

_CLAIMED_VARIABLES = ("PROJ_LIB", "GDAL_DATA")
_before = {name: os.environ.get(name) for name in _CLAIMED_VARIABLES}

import mapnik  # noqa: E402  (the environment must be read before Mapnik changes it)

for _name, _value in _before.items():
    if _value is None:
        os.environ.pop(_name, None)
    else:
        os.environ[_name] = _value
if not (os.environ.get("PROJ_DATA") or os.environ.get("PROJ_LIB")):
    os.environ["PROJ_DATA"] = pyproj.datadir.get_data_dir()

__all__ = ["mapnik"]
