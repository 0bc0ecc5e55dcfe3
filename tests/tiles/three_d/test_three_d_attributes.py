"""Columns of every type reach the property table and come back as they were."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tiles.three_d.attributes import property_id
from tiles.three_d.check import check_content_bytes
from tiles.three_d.errors import AttributeTableError
from tiles.three_d.glb import write_tile
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import Material, MeshPart
from tiles.three_d.placement import LocalFrame
from tiles.three_d.schema import PropertySpec, SchemaBuilder

FRAME = LocalFrame.at(24.9, 60.2, 10.0)
SQUARE = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [5.0, 5.0, 0.0], [0.0, 5.0, 0.0]])


def stored(
    path: Path, read_tile: Any, columns: dict[str, Any], titles: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the class of a tile of three squares with the given columns."""
    specs = [PropertySpec(name, {"": (titles or {}).get(name, "")}) for name in columns]
    builder = SchemaBuilder("building", [PropertySpec("height", source=":height"), *specs])
    values = {":height": np.full(3, 3.0), **columns}
    builder.add(values)
    table = builder.finish().table(["a", "b", "c"], values)
    mesh = Mesh(
        np.concatenate([SQUARE + np.array([10.0 * number, 0.0, 0.0]) for number in range(3)]),
        np.tile([0.0, 0.0, 1.0], (12, 1)),
        np.repeat(np.arange(3), 4),
        (np.arange(3)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3),
    )
    content = write_tile([MeshPart(mesh, Material())], FRAME, table)
    assert check_content_bytes(content) == []
    path.write_bytes(content)
    tile = read_tile(path)
    schema = tile.document["extensions"]["EXT_structural_metadata"]["schema"]["classes"]["building"]
    return tile.rows, schema["properties"]


@pytest.mark.parametrize(
    ("given", "expected", "kind"),
    [
        ([1, 2, 3], [1, 2, 3], "INT32"),
        ([1, None, 3], [1, None, 3], "INT32"),
        ([2**31 - 1, -(2**31) + 1, 0], [2**31 - 1, -(2**31) + 1, 0], "INT32"),
        ([2**31 + 1, 0, 1], [2**31 + 1, 0, 1], "FLOAT64"),
        ([-(2**31), 0, None], [-(2**31), 0, None], "FLOAT64"),
        ([2**53, -(2**53) + 1, 0], [2**53, -(2**53) + 1, 0], "FLOAT64"),
        ([2**53 + 1, 0, 1], ["9007199254740993", "0", "1"], "STRING"),
        ([2**70, 0, None], ["1180591620717411303424", "0", None], "STRING"),
        ([0.5, 1.5, None], [0.5, 1.5, None], "FLOAT32"),
        ([0.1, 1.5, math.nan], [0.1, 1.5, None], "FLOAT64"),
        ([math.inf, 1.0, 2.0], [None, 1.0, 2.0], "FLOAT32"),
        ([-9999.0, None, 2.0], [-9999.0, None, 2.0], "FLOAT32"),
        ([1e300, 1.0, 2.0], [1e300, 1.0, 2.0], "FLOAT64"),
        ([True, False, True], [True, False, True], "BOOLEAN"),
        ([True, None, False], ["true", None, "false"], "STRING"),
        (["x", "城图", None], ["x", "城图", None], "STRING"),
        ([1, "two", None], ["1", "two", None], "STRING"),
        ([dt.date(2026, 1, 2), None, None], ["2026-01-02", None, None], "STRING"),
        (
            [dt.datetime(2026, 1, 2, 3, 4, 5), None, None],
            ["2026-01-02T03:04:05.000000", None, None],
            "STRING",
        ),
        ([decimal.Decimal("1.5"), None, decimal.Decimal("2.25")], [1.5, None, 2.25], "FLOAT32"),
        ([{"a": 1}, None, {"a": 2}], ['{"a":1}', None, '{"a":2}'], "STRING"),
        ([[1, 2], None, [3]], ["[1,2]", None, "[3]"], "STRING"),
        ([b"\x01\xff", None, b""], ["01ff", None, None], "STRING"),
        (["\udcff", "b", "c"], ["?", "b", "c"], "STRING"),
        (np.array([1, 2, 3], dtype=np.uint8), [1, 2, 3], "INT32"),
        (np.array(["p", "q", "r"]), ["p", "q", "r"], "STRING"),
        (pa.array(["p", None, "r"]).dictionary_encode(), ["p", None, "r"], "STRING"),
        (pa.chunked_array([[1], [2, 3]]), [1, 2, 3], "INT32"),
    ],
)
def test_values_come_back(given: Any, expected: list[Any], kind: str, tmp_path: Path, read_tile: Any) -> None:
    rows, schema = stored(tmp_path / "tile.glb", read_tile, {"value": given})
    assert [row["value"] for row in rows] == expected
    assert schema["value"].get("componentType", schema["value"]["type"]) == kind


def test_a_column_of_nothing_is_declared_but_not_stored(tmp_path: Path, read_tile: Any) -> None:
    rows, schema = stored(
        tmp_path / "tile.glb", read_tile, {"value": [None, None, None], "empty": ["", "", ""]}
    )
    assert all("value" not in row and "empty" not in row for row in rows)
    assert schema["value"] == {"type": "STRING", "name": "value", "noData": ""}


def test_names_titles_and_semantics(tmp_path: Path, read_tile: Any) -> None:
    columns = {"材质": ["a", "b", "c"], "name": ["x", "y", "z"], "id": [1, 2, 3], "height": [7.0, 8.0, 9.0]}
    rows, schema = stored(tmp_path / "tile.glb", read_tile, columns, {"材质": "Material"})
    assert schema["u6750_u8d28"]["name"] == "Material"
    assert schema["name"]["semantic"] == "NAME"
    assert schema["id"]["semantic"] == "ID"
    assert [row["id_1"] for row in rows] == [1, 2, 3]
    assert [(row["height"], row["height_1"]) for row in rows] == [(3.0, 7.0), (3.0, 8.0), (3.0, 9.0)]


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("levels", "levels"),
        ("addr:street", "addr_u003a_street"),
        ("roof shape", "roof_shape"),
        ("2nd", "_2nd"),
        ("材质", "u6750_u8d28"),
        ("", "field"),
        ("_private", "_private"),
        ("--", "field"),
    ],
)
def test_identifiers(name: str, identifier: str) -> None:
    assert property_id(name) == identifier


def test_lengths_must_agree() -> None:
    builder = SchemaBuilder("building", [PropertySpec("use")])
    builder.add({"use": ["x"]})
    with pytest.raises(AttributeTableError, match="column 'use' has 1 values for 2 objects"):
        builder.finish().table(["a", "b"], {"use": ["x"]})
