"""Band expressions: what they compute, and that nothing else can be said in them."""

from __future__ import annotations

import numpy as np
import pytest

from tiles.errors import StyleError
from tiles.maps.band_expression import MAXIMUM_BANDS, MAXIMUM_DEPTH, MAXIMUM_LENGTH, compile_expression

NAN = np.float32(np.nan)
BANDS = {
    "b1": np.array([1, 2, NAN, 0], np.float32),
    "b2": np.array([3, 2, 5, 0], np.float32),
    "nir": np.array([10, 0, 1, -1], np.float32),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(b2 - b1) / (b2 + b1)", [0.5, 0, NAN, NAN]),
        ("nir", [10, 0, 1, -1]),
        ("-b1 + 2 * b2 ** 2", [17, 6, NAN, 0]),
        ("where(b1 < 2, b2, -1)", [3, -1, NAN, 0]),
        ("b1 < b2 and nir > 0", [1, 0, NAN, 0]),
        ("b1 == 1 or nir == 0", [1, 1, NAN, 0]),
        ("not b1", [0, 0, NAN, 1]),
        ("0 < b1 <= 2", [1, 1, NAN, 0]),
        ("min(b1, b2, 2)", [1, 2, NAN, 0]),
        ("max(b1, b2)", [3, 2, NAN, 0]),
        ("sqrt(nir)", [10**0.5, 0, 1, NAN]),
        ("log(b2)", [np.log(3), np.log(2), np.log(5), NAN]),
        ("clip(nir, 0, 2)", [2, 0, 1, 0]),
        ("abs(nir) * 1e30 * 1e30", [NAN, 0, NAN, NAN]),
        ("b1 * 0 + 7", [7, 7, NAN, 7]),
    ],
)
def test_values(text: str, expected: list[float]) -> None:
    expression = compile_expression(text)
    result = expression.evaluate({name: BANDS[name] for name in expression.names})
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.array(expected, np.float32), rtol=1e-6)


def test_bands_are_named_by_number_or_by_name() -> None:
    expression = compile_expression("(nir - b1) / (nir + b1)")
    assert expression.bands(("red", "green", "nir")) == (3, 1)
    with pytest.raises(StyleError, match="red"):
        compile_expression("b4").bands(("red", "green", "nir"))


ATTACKS = [
    "",
    " ",
    "1 + 1",
    "b1\nb2",
    "b1; b2",
    "__import__('os').system('id')",
    "b1.__class__",
    "b1.tofile('x')",
    "().__class__.__bases__",
    "open('x')",
    "eval('b1')",
    "exec('b1')",
    "getattr(b1, 'x')",
    "where.__globals__",
    "(lambda: b1)()",
    "[b1 for b1 in b2]",
    "{b1: b2}",
    "{b1}",
    "[b1]",
    "b1[0]",
    "b1 if b2 else b3",
    "f'{b1}'",
    "'b1'",
    "b1 + 'x'",
    "b1 @ b2",
    "b1 % b2",
    "b1 // b2",
    "b1 << 99999",
    "b1 & b2",
    "~b1",
    "(x := b1)",
    "b1 is b2",
    "b1 in b2",
    "await b1",
    "yield b1",
    "*b1",
    "min(*b1)",
    "min(b1, key=b2)",
    "min(b1)",
    "sqrt(b1, b2)",
    "where(b1, b2)",
    "sqrt",
    "True",
    "None + b1",
    "b1 + True",
    "b1 + 1j",
    "b1 + 1e999",
    "__b1",
    "9" * 400 + " + b1",
    "(" * 300 + "b1" + ")" * 300,
    "(" * (MAXIMUM_DEPTH + 1) + "b1" + ")" * (MAXIMUM_DEPTH + 1),
    "-" * 400 + "b1",
    "not " * 100 + "b1",
    "b1" + "+b1" * 150,
    " + ".join(f"b{number}" for number in range(1, MAXIMUM_BANDS + 2)),
    "b1 + " + "b" * (MAXIMUM_LENGTH),
    "b1\x00",
    "b1 +",
    "import os",
    "abs(abs(" * 20 + "b1" + "))" * 20,
]


@pytest.mark.parametrize("text", ATTACKS)
def test_what_is_not_arithmetic_on_bands_is_refused(text: str) -> None:
    with pytest.raises(StyleError):
        compile_expression(text).bands(("red", "green", "blue"))
