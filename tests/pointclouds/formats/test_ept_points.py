"""EPT of every data type gives the points; hierarchies that loop, lie or lead outside are found."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyarrow
import pyproj
import pytest

from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats.ept import EptSource
from pointclouds.formats.opening import SourceOptions, open_source, recognise

NODES = {
    "0-0-0-0": slice(0, 400),
    "1-0-0-0": slice(400, 900),
    "1-1-0-0": slice(900, 1_400),
    "2-3-1-0": slice(1_400, 2_000),
}
SCHEMA = [
    ("X", "<i4"), ("Y", "<i4"), ("Z", "<i4"), ("Intensity", "<u2"), ("ReturnNumber", "u1"), ("NumberOfReturns", "u1"),
    ("Classification", "u1"), ("ScanAngleRank", "<f4"), ("GpsTime", "<f8"), ("Height", "<f4"),
]  # fmt: skip
KINDS = {"i": "signed", "u": "unsigned", "f": "float"}


def table() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(5)
    rows = np.zeros(2_000, np.dtype(SCHEMA))
    rows["X"], rows["Y"] = random.integers(0, 10_000, 2_000), random.integers(0, 10_000, 2_000)
    rows["Z"], rows["Intensity"] = random.integers(-200, 3_000, 2_000), random.integers(0, 900, 2_000)
    rows["NumberOfReturns"] = random.integers(1, 5, 2_000)
    rows["ReturnNumber"] = random.integers(1, rows["NumberOfReturns"] + 1)
    rows["Classification"], rows["ScanAngleRank"] = (
        random.integers(1, 7, 2_000),
        random.integers(-20, 20, 2_000),
    )
    rows["GpsTime"], rows["Height"] = random.uniform(1e5, 2e5, 2_000), random.uniform(0, 30, 2_000)
    return rows


OFFSET = (84_900.0, 447_500.0, 0.0)


def write_node(folder: Path, key: str, rows: np.ndarray[Any, Any], data_type: str) -> None:
    data = folder / "ept-data"
    if data_type == "binary":
        (data / f"{key}.bin").write_bytes(rows.tobytes())
    elif data_type == "zstandard":
        (data / f"{key}.zst").write_bytes(pyarrow.compress(rows.tobytes(), "zstd", asbytes=True))
    else:
        header = laspy.LasHeader(point_format=1, version="1.2")
        header.scales, header.offsets = [0.01] * 3, list(OFFSET)
        header.add_extra_dim(laspy.ExtraBytesParams("Height", "f4"))
        las = laspy.LasData(header)
        las.points = laspy.ScaleAwarePointRecord.zeros(len(rows), header=header)
        las.X, las.Y, las.Z = rows["X"], rows["Y"], rows["Z"]
        las.intensity, las.classification = rows["Intensity"], rows["Classification"]
        las.return_number, las.number_of_returns = rows["ReturnNumber"], rows["NumberOfReturns"]
        las.scan_angle_rank, las.gps_time = rows["ScanAngleRank"].astype(np.int8), rows["GpsTime"]
        las["Height"] = rows["Height"]
        las.write(data / f"{key}.laz")


@pytest.fixture
def write_ept(tmp_path: Path) -> Callable[..., Path]:
    """write(data_type, hierarchy=None, **members of ept.json): a folder; hierarchy: page -> entries."""

    def write(
        data_type: str = "binary", hierarchy: dict[str, dict[str, Any]] | None = None, **changed: Any
    ) -> Path:
        folder = tmp_path / "ept"
        for part in ("ept-data", "ept-hierarchy"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        rows = table()
        for key, part in NODES.items():
            write_node(folder, key, rows[part], data_type)
        schema = []
        for name, kind in SCHEMA:
            one = {"name": name, "type": KINDS[np.dtype(kind).kind], "size": np.dtype(kind).itemsize}
            if name in "XYZ":
                one |= {"scale": 0.01, "offset": OFFSET["XYZ".index(name)]}
            schema.append(one)
        document = {
            "bounds": [84_900, 447_500, -20, 85_020, 447_620, 100],
            "boundsConforming": [84_900, 447_500, -2, 85_000, 447_600, 30],
            "dataType": data_type,
            "hierarchyType": "json",
            "points": 2_000,
            "schema": schema,
            "span": 128,
            "srs": {"authority": "EPSG", "horizontal": "28992", "vertical": "5709"},
            "version": "1.0.0",
        }
        (folder / "ept.json").write_text(json.dumps(document | changed))
        pages = hierarchy or {
            "0-0-0-0": {"0-0-0-0": 400, "1-0-0-0": 500, "1-1-0-0": -1},
            "1-1-0-0": {"1-1-0-0": 500, "2-3-1-0": 600},
        }
        for page, entries in pages.items():
            (folder / f"ept-hierarchy/{page}.json").write_text(json.dumps(entries))
        return folder

    return write


@pytest.mark.parametrize("data_type", ["laszip", "binary", "zstandard"])
def test_every_data_type_gives_the_points(write_ept: Callable[..., Path], data_type: str) -> None:
    source = pickle.loads(pickle.dumps(open_source(write_ept(data_type))))
    given, records, truth = source.description, np.concatenate(list(source.chunks(300))), table()
    assert (given.count, given.scale, given.offset, given.point_format) == (2_000, (0.01,) * 3, OFFSET, 6)
    assert given.crs is not None
    assert given.crs.name == "Amersfoort / RD New + NAP height"
    for name in ("X", "Y", "Z", "Intensity", "Classification", "GpsTime", "Height"):
        assert (records[name] == truth[name]).all(), name
    assert (records["Returns"] == truth["ReturnNumber"] | truth["NumberOfReturns"] << 4).all()
    np.testing.assert_allclose(records["ScanAngle"] * 0.006, truth["ScanAngleRank"], atol=0.004)
    assert [name for name, _ in given.extra] == ["Height"]
    assert (np.concatenate(list(source.chunks(100, 850, 950))) == records[850:950]).all()
    box = given.box
    assert box is not None
    assert box[0] <= 84_900 + truth["X"].min() / 100 <= 84_900 + truth["X"].max() / 100 <= box[3]


def test_a_zip_is_unpacked_and_removed(write_ept: Callable[..., Path], tmp_path: Path) -> None:
    folder, packed, workspace = write_ept("laszip"), tmp_path / "packed.zip", tmp_path / "workspace"
    workspace.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, f"inside/{path.relative_to(folder)}")
        archive.writestr("inside/../../evil.laz", b"evil")
        archive.writestr("inside/ept-data/../../../evil.laz", b"evil")
    assert recognise(packed) == "ept"
    source = open_source(packed, None, SourceOptions(workspace=workspace))
    assert sum(len(part) for part in source.chunks()) == 2_000
    assert not list(tmp_path.rglob("evil*"))
    del source
    assert not list(workspace.iterdir())


def test_the_json_itself_and_its_folder(write_ept: Callable[..., Path]) -> None:
    folder = write_ept()
    assert recognise(folder) == recognise(folder / "ept.json") == "ept"
    assert open_source(folder / "ept.json").description.count == 2_000


ROOT = {"0-0-0-0": 400, "1-0-0-0": 500, "1-1-0-0": -1}
HIERARCHIES = {
    "page that leads to itself": ({"0-0-0-0": {"0-0-0-0": -1}}, "to itself"),
    "page that leads back": ({"0-0-0-0": ROOT, "1-1-0-0": {"1-1-0-0": 500, "0-0-0-0": -1}}, "on the page of 1-1-0-0"),
    "page twice": ({"0-0-0-0": {"0-0-0-0": 1, "1-1-0-0": -1, "2-2-0-0": -1}, "1-1-0-0": {"1-1-0-0": 1, "2-2-0-0": -1}, "2-2-0-0": {"2-2-0-0": 3}}, "twice"),
    "page missing": ({"0-0-0-0": {**ROOT, "1-0-1-0": -1}, "1-1-0-0": {"1-1-0-0": 500}}, "is missing"),
    "other place": ({"0-0-0-0": ROOT, "1-1-0-0": {"1-1-0-0": 500, "2-0-0-0": 600}}, "on the page of 1-1-0-0"),
    "path outside": ({"0-0-0-0": {"../../etc/passwd": -1}}, "has a node"),
    "no octree": ({"0-0-0-0": {"0-0-0-0": 400, "1-2-0-0": 5}}, "none of an octree"),
    "depth of 200": ({"0-0-0-0": {"200-0-0-0": 5}}, "none of an octree"),
    "minus two": ({"0-0-0-0": {"0-0-0-0": -2}}, "says -2 points"),
    "text for a count": ({"0-0-0-0": {"0-0-0-0": "many"}}, "says 'many' points"),
    "two counts": ({"0-0-0-0": {**ROOT, "2-3-1-0": 5}, "1-1-0-0": {"1-1-0-0": 500, "2-3-1-0": 600}}, "says 5 and 600 points"),
    "fewer than promised": ({"0-0-0-0": {"0-0-0-0": 400}}, "ept.json says 2000 points, its hierarchy 400"),
    "no node": ({"0-0-0-0": {"0-0-0-0": 0}}, "holds no points"),
}  # fmt: skip


@pytest.mark.parametrize("case", HIERARCHIES)
def test_hierarchies_that_lie(write_ept: Callable[..., Path], case: str) -> None:
    pages, message = HIERARCHIES[case]
    kind = EmptyPointCloudError if case == "no node" else UnreadablePointCloudError
    with pytest.raises(kind, match=message):
        EptSource(write_ept(hierarchy=pages))


X, Y = ({"name": axis, "type": "signed", "size": 4} for axis in "XY")
DOCUMENTS: dict[str, dict[str, Any]] = {
    "data type": {"dataType": "draco"},
    "hierarchy type": {"hierarchyType": "gzip"},
    "points are text": {"points": "lots"},
    "bounds of five": {"boundsConforming": [1, 2, 3, 4, 5]},
    "bounds upside down": {"boundsConforming": [5, 5, 5, 1, 1, 1]},
    "bounds NaN": {"boundsConforming": [float("nan")] * 6},
    "no Z": {"schema": [X, Y]},
    "X twice": {"schema": [X, X, Y, {**X, "name": "Z"}]},
    "size 3": {"schema": [{**X, "size": 3}]},
    "scale 1e300": {"schema": [{**X, "scale": 1e300}]},
    "schema is text": {"schema": "X Y Z"},
    "a dimension more": {"schema": [X, Y, {**X, "name": "Z"}]},
    "srs of no use": {"srs": {"wkt": "PROJCS[nonsense]"}},
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_documents_that_are_of_no_use(write_ept: Callable[..., Path], case: str) -> None:
    from pointclouds.errors import PointCloudError

    with pytest.raises(PointCloudError, match=r"ept") as caught:
        EptSource(write_ept(**DOCUMENTS[case]))
    assert len(str(caught.value)) < 400


def test_nodes_that_lie(write_ept: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_ept("laszip")
    source = EptSource(folder)
    node = folder / "ept-data/1-0-0-0.laz"
    node.unlink()
    with pytest.raises(UnreadablePointCloudError, match="is missing"):
        list(source.chunks())
    os.link(folder / "ept-data/0-0-0-0.laz", node)
    with pytest.raises(UnreadablePointCloudError, match="400 points of format 1, the hierarchy says 500"):
        list(source.chunks())
    node.unlink()
    outside = tmp_path / "outside.laz"
    outside.write_bytes((folder / "ept-data/0-0-0-0.laz").read_bytes())
    node.symlink_to(outside)
    with pytest.raises(UnreadablePointCloudError, match="link out of the folder"):
        list(source.chunks())


@pytest.mark.parametrize("data_type", ["binary", "zstandard"])
def test_binary_nodes_of_a_wrong_size(write_ept: Callable[..., Path], data_type: str) -> None:
    folder = write_ept(data_type)
    (node,) = (folder / "ept-data").glob("1-0-0-0.*")
    bomb = (
        pyarrow.compress(bytes(400 << 20), "zstd", asbytes=True)
        if data_type == "zstandard"
        else bytes(50_000)
    )
    for content in (bomb, node.read_bytes()[:-7], b"", b"nonsense"):
        node.write_bytes(content)
        with pytest.raises(UnreadablePointCloudError, match="ept"):
            EptSource(folder)


def test_crs_given_wins(write_ept: Callable[..., Path]) -> None:
    assert EptSource(write_ept(), pyproj.CRS("EPSG:25831")).description.crs == pyproj.CRS("EPSG:25831")
