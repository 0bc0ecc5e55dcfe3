"""Text of points: separators, headers, columns, encodings, ranges."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyproj
import pytest

from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats import text
from pointclouds.formats.text import TextSource
from pointclouds.las.layout import dimension

RD = pyproj.CRS("EPSG:28992")


def whole(source: TextSource):
    return np.concatenate(list(source.chunks()))


def places(source) -> np.ndarray:
    records, given = whole(source), source.description
    return np.stack(
        [records[name] * given.scale[axis] + given.offset[axis] for axis, name in enumerate("XYZ")], axis=1
    )


LAYOUTS = {
    "spaces": ("1.25 2.5 3\n4 5 6\n", {}, ["X", "Y", "Z"]),
    "many spaces and tabs": ("  1.25   2.5\t 3  \n4 5 6", {}, ["X", "Y", "Z"]),
    "commas with a header": ("x,y,z\n1.25,2.5,3\n4,5,6\n", {}, ["X", "Y", "Z"]),
    "quoted header, CRLF": ('"X";"Y";"Z"\r\n1.25;2.5;3\r\n4;5;6\r\n', {}, ["X", "Y", "Z"]),
    "decimal commas": ("X;Y;Z\n1,25;2,5;3\n4;5;6\n", {}, ["X", "Y", "Z"]),
    "decimal commas and spaces": ("1,25 2,5 3,0\n4,0 5,0 6,0\n", {}, ["X", "Y", "Z"]),
    "bars": ("z|y|x\n3|2.5|1.25\n6|5|4\n", {}, ["Z", "Y", "X"]),
    "comments": ("# made by hand\n//X Y Z\n1.25 2.5 3\n# in between\n4 5 6\n", {}, ["X", "Y", "Z"]),
    "count first, as PTS": ("2\n1.25 2.5 3 -500 1 2 3\n4 5 6 700 4 5 6\n", {}, ["X", "Y", "Z", "Intensity", "Red", "Green", "Blue"]),
    "columns named": ("3 1.25 2.5 9\n6 4 5 9\n", {"columns": "z x y -"}, ["Z", "X", "Y", "-"]),
    "separator asked": ("1.25~2.5~3\n4~5~6\n", {"separator": "~"}, ["X", "Y", "Z"]),
    "labels left out": ("x,y,z,street\n1.25,2.5,3,Main\n4,5,6,Side\n", {}, ["X", "Y", "Z", "-"]),
    "Chinese header": ("东坐标,北坐标,高程\n1.25,2.5,3\n4,5,6\n", {}, ["X", "Y", "Z"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts_of_lines(tmp_path: Path, case: str) -> None:
    content, options, columns = LAYOUTS[case]
    path = tmp_path / "in.txt"
    path.write_bytes(content.encode())
    source = TextSource(path, RD, **options)
    assert list(source._text.columns) == columns
    np.testing.assert_allclose(places(source), [[1.25, 2.5, 3], [4, 5, 6]], atol=1e-9)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_of_the_header(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes("东坐标,北坐标,高程,分类,备注\n1.25,2.5,3,2,地面\n4,5,6,6,房屋\n".encode(codec))
    source = TextSource(path, RD)
    np.testing.assert_allclose(places(source), [[1.25, 2.5, 3], [4, 5, 6]])
    assert whole(source)["Classification"].tolist() == [2, 6]
    assert source.description.dropped == ("备注",)


def test_dimensions_are_what_their_names_say(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(
        "X,Y,Z,Intensity,R,G,B,NIR,Classification,Return Number,Number of returns,GPS_Time,Scan_Angle_Rank,Curvature\n"
        "1.5,2.5,3.5,0.25,255,0,1,9,6,1,2,300000000.5,-15,0.125\n"
        "2.5,3.5,4.5,1.0,0,255,2,9,2,2,2,300000001.5,15,0.5\n"
    )
    source = TextSource(path, RD)
    given, records = source.description, whole(source)
    assert given.point_format == 8
    assert given.scale == (0.1, 0.1, 0.1)
    assert records["Intensity"].tolist() == [16384, 65535]
    assert records["Red"].tolist() == [65535, 0]
    assert dimension(records, "ReturnNumber").tolist() == [1, 2]
    assert dimension(records, "NumberOfReturns").tolist() == [2, 2]
    assert records["GpsTime"].tolist() == [300000000.5, 300000001.5]
    assert given.global_encoding == 1
    assert records["ScanAngle"].tolist() == [-2500, 2500]
    assert [name for name, _ in given.extra] == ["Curvature"]
    assert records["Curvature"].tolist() == [0.125, 0.5]
    assert len(given.extra_structs) == 192
    assert any("intensities of 0 to 1" in note for note in given.notes)


def test_what_a_standard_dimension_cannot_hold_becomes_an_extra_one(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("x,y,z,classification,user_data\n1,2,3,300,1\n2,3,4,2,0\n")
    source = TextSource(path, RD)
    ((name, dtype),) = source.description.extra
    assert name == "Classification_2"
    assert whole(source)[name].tolist() == [300, 2]
    assert dtype == np.dtype("<i4")
    assert whole(source)["Classification"].tolist() == [0, 0]


def test_points_without_coordinates_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("x,y,z,intensity\n1,2,3,4\nnan,2,3,4\n1,,3,4\n1,2,inf,4\n5,6,7,NaN\n")
    source = TextSource(path, RD)
    assert source.description.count == 2
    assert whole(source)["Intensity"].tolist() == [4, 0]
    assert any("3 points without finite coordinates" in note for note in source.description.notes)


def test_ranges_read_only_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.line_blocks, "__kwdefaults__", {"size": 4_096})
    path = tmp_path / "in.xyz"
    rows = np.column_stack([np.arange(5_000), np.arange(5_000) * 2, np.arange(5_000) % 7])
    np.savetxt(path, rows, "%d")
    source = pickle.loads(pickle.dumps(TextSource(path, RD)))
    assert len(source._blocks) > 10
    read = []
    monkeypatch.setattr(
        TextSource,
        "_read_block",
        lambda self, number, kept=TextSource._read_block: read.append(number) or kept(self, number),
    )
    for start, stop in ((0, 1), (0, 5_000), (4_999, 5_000), (1_234, 3_210), (5_000, 6_000), (7, 7)):
        parts = list(source.chunks(700, start, stop))
        got = np.concatenate(parts) if parts else np.empty(0, source.description.dtype)
        offset = source.description.offset[0]
        assert (got["X"] * source.description.scale[0] + offset).tolist() == list(
            range(start, min(stop, 5_000))
        )
        assert all(len(part) <= 700 for part in parts)
    read.clear()
    list(source.chunks(700, 4_990, 5_000))
    assert len(read) == 1


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (["1.0001 2 3", "4 5 6"], 1e-4),
        (["1.5 2 3", "400 5 6"], 0.1),
        (["1000 2 3", "4000 5 6"], 0.001),
        (["1.0123456789 2 3", "4000.9876543211 5 6"], 0.001),
        (["1.0123456789 2 3", "1.9876543211 2 3"], 1e-6),
        (["0.001 0 0", "5000000.001 0 0"], 0.01),
    ],
)
def test_scale_is_chosen_from_the_data(tmp_path: Path, values: list[str], scale: float) -> None:
    path = tmp_path / "in.xyz"
    path.write_text("\n".join(values))
    source = TextSource(path, RD)
    assert source.description.scale == pytest.approx((scale,) * 3)
    assert any("steps of" in note for note in source.description.notes)


def test_scale_asked(tmp_path: Path) -> None:
    path = tmp_path / "in.xyz"
    path.write_text("1 2 3\n5000000 5 6\n")
    assert TextSource(path, RD, scale=0.01).description.scale == (0.01,) * 3
    with pytest.raises(UnreadablePointCloudError, match="a scale of 1e-05 was asked"):
        TextSource(path, RD, scale=1e-5)


BAD = {
    "words": ("hello world\nno numbers here\n", {}, "three numbers"),
    "two columns": ("1 2\n3 4\n", {}, "three numbers"),
    "ragged": ("1 2 3\n" * 300 + "4 5\n", {}, "does not have 3 columns"),
    "a word later": ("1 2 3\n" * 300 + "4 5 six\n", {}, "cannot be read"),
    "five nameless columns": ("1 2 3 4 5\n" * 3, {}, "5 columns without names"),
    "six that are no colours": ("1 2 3 0.5 0.5 0.7\n" * 3, {}, "6 columns without names"),
    "no z": ("x,y,v\n1,2,3\n", {}, "no column of numbers for z"),
    "x twice": ("east,easting,y,z\n1,1,2,3\n", {}, "more than one column means X"),
    "too many names": ("1 2 3\n", {"columns": "x y z intensity"}, "4 columns were named"),
    "unknown encoding": ("1 2 3\n", {"encoding": "klingon"}, "no text encoding"),
    "separator of two": ("1 2 3\n", {"separator": ";;"}, "cannot separate"),
    "farther than the Earth": ("1 2 3\n1e300 2 3\n", {}, "farther than any place"),
    "absurd scale": ("1 2 3\n", {"scale": float("nan")}, "a scale of nan"),
    "binary": ("\0\0\0", {}, "zero bytes"),
    "300 columns": (",".join(["1"] * 300) + "\n", {}, "300 columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_text_is_one_clear_error(tmp_path: Path, case: str) -> None:
    content, options, message = BAD[case]
    path = tmp_path / "bad.txt"
    path.write_text(content)
    with pytest.raises(UnreadablePointCloudError, match=message) as caught:
        TextSource(path, RD, **options)
    assert len(str(caught.value)) < 500


def test_only_points_without_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("x,y,z\nnan,2,3\n1,nan,3\n")
    with pytest.raises(EmptyPointCloudError, match="2 without finite"):
        TextSource(path, RD)
