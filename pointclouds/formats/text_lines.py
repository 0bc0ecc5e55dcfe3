"""Text of points, seen from its beginning: encoding, separator, header, which column is what."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from charset_normalizer import from_bytes

from pointclouds.errors import UnreadablePointCloudError
from pointclouds.formats.columns import dimension_of, dimensions_of

SAMPLE_BYTES: Final = 262_144
LONGEST_LINE: Final = 1 << 20
MOST_COLUMNS: Final = 256
SKIPPED: Final = "-"
_SAMPLE_LINES: Final = 200
_COMMENTS: Final = ("#", "//", "!", "%")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODECS: Final = ["gb18030", "big5", "cp932", "cp949", "cp1251", "cp1252"]
_SEPARATORS: Final = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}
_NUMBER: Final = re.compile(
    r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eEdD][-+]?\d+)?$|[-+]?(nan|inf|infinity)$", re.IGNORECASE
)
_EMPTY: Final = frozenset(("", "nan", "null", "none", "na", "n/a", "*", "-"))
_KNOWN_ORDERS: Final = {3: "X Y Z", 4: "X Y Z Intensity"}


@dataclass(frozen=True)
class TextLayout:
    """How to read the lines. `columns` are LAS dimensions (or names of further ones), SKIPPED where a column is not taken.

    `start` is the byte of the first line of numbers. `separator` " " stands for any white space. `decimal` is "." or ",".
    `left_out` are the names of columns that hold no numbers.
    """

    codec: str
    separator: str
    decimal: str
    columns: tuple[str, ...]
    start: int
    left_out: tuple[str, ...] = ()


def text_encoding(head: bytes, asked: str | None, name: str) -> str:
    """The Python codec of the text: as asked, by its byte order mark, UTF-8 where that fits, else found from the bytes.

    Raises:
        UnreadablePointCloudError: no such codec, or none that fits.
    """
    if asked:
        try:
            return codecs.lookup(asked).name
        except (LookupError, ValueError) as error:
            raise UnreadablePointCloudError(
                f"there is no text encoding {asked!r}; examples: utf-8, gb18030, big5, cp1252"
            ) from error
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(head, final=False)
    except UnicodeDecodeError:
        if _is_common_simplified(head):
            return "gb18030"
        best = from_bytes(head, cp_isolation=_CODECS, threshold=0.6).best()
        if best is None:
            raise UnreadablePointCloudError(
                f"{name}: the encoding of its text cannot be found; name it with --encoding"
            ) from None
        return str(best.encoding)
    return "utf-8"


def _is_common_simplified(head: bytes) -> bool:
    """Whether every two-byte character is in the first level of GB 2312: short Chinese text also decodes as other encodings."""
    pairs = re.findall(rb"[\x80-\xff].", head, flags=re.DOTALL)
    return all(0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1 for pair in pairs)


def look_at(
    head: bytes,
    name: str,
    *,
    columns: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
) -> TextLayout:
    """Find out how a text of points is to be read from its first bytes (SAMPLE_BYTES of them).

    Args:
        columns: names in their order, separated by spaces or commas, "-" for one to be skipped.
        separator: one character, or "tab", "space", "comma", "semicolon", "bar".

    Raises:
        UnreadablePointCloudError: it is no text, has no lines of numbers, or its columns cannot be told.
    """
    codec = text_encoding(head, encoding, name)
    if b"\0" in head and not codec.startswith("utf-16"):
        raise UnreadablePointCloudError(f"{name} is no text: it holds zero bytes")
    # Bytes that fit no character keep their place, so that the numbers are found where they are.
    errors = "replace" if codec.startswith("utf-16") else "surrogateescape"
    text = head.decode(codec, errors)
    asked = _separator(separator) if separator else None
    lines, header, start = _beginning(text, name, asked)
    chosen = asked or _found_separator(lines)
    decimal = "," if chosen != "," and any("," in line for line in lines) else "."
    rows = [_cells(line, chosen) for line in lines]
    names, left_out = _columns(rows, _header_cells(header, chosen) if header else None, columns, name)
    before = text[:start]
    position = len(before.encode("utf-8" if codec == "utf-8-sig" else codec, errors))
    if codec == "utf-8-sig":
        position += len(codecs.BOM_UTF8)
    return TextLayout(codec, chosen, decimal, names, position, left_out)


def is_comment(line: str) -> bool:
    """Whether a line is one that programs write for people."""
    return line.lstrip().startswith(_COMMENTS)


def _beginning(text: str, name: str, asked: str | None) -> tuple[list[str], str | None, int]:
    """The first lines of numbers, the header before them (None where there is none), and where they begin."""
    header: str | None = None
    position = 0
    for raw in text.splitlines(keepends=True):
        line = raw.strip().lstrip("\ufeff")
        if len(raw) > LONGEST_LINE // 8:
            break
        if line and not is_comment(line) and _is_numbers(line, asked):
            sample = [one.strip() for one in text[position:].splitlines()[:_SAMPLE_LINES]]
            whole = sample[:-1] or sample
            return [one for one in whole if one and not is_comment(one)], header, position
        if line:
            # The last line before the numbers names the columns: a header, or a comment such as "//X Y Z R G B".
            header = line.lstrip("#/!% ") or header
        position += len(raw)
    raise UnreadablePointCloudError(
        f"{name} is no text of points: its first lines hold no three numbers side by side"
    )


def _is_numbers(line: str, asked: str | None) -> bool:
    """Whether the line begins with three numbers (a lone number is the count that PTS files begin with)."""
    return sum(1 for cell in _cells(line, asked or _found_separator([line])) if _NUMBER.match(cell)) >= 3


def _separator(asked: str) -> str:
    chosen = _SEPARATORS.get(asked.lower(), asked)
    if len(chosen) != 1 or chosen.isalnum() or chosen in ".+-\"'\n\r":
        raise UnreadablePointCloudError(
            f"{asked!r} cannot separate numbers; give one character, or {', '.join(_SEPARATORS)}"
        )
    return chosen


def _found_separator(lines: list[str]) -> str:
    for candidate in (";", "\t", "|"):
        if all(candidate in line for line in lines):
            return " " if candidate == "\t" else candidate
    if all("," in line for line in lines) and not all(_is_decimal_comma(line) for line in lines):
        return ","
    return " "


def _is_decimal_comma(line: str) -> bool:
    """Numbers such as "1,5 2,5 3,5": white space separates them, and each has one comma at most."""
    cells = line.split()
    return len(cells) >= 3 and all(cell.count(",") <= 1 and not cell.endswith(",") for cell in cells)


def _cells(line: str, separator: str) -> list[str]:
    parts = line.split() if separator == " " else line.split(separator)
    return [part.strip().strip('"') for part in parts]


def _header_cells(header: str, separator: str) -> list[str]:
    cells = _cells(header, separator)
    if len(cells) >= 3:
        return cells
    return [cell for cell in re.split(r"[\s,;|]+", header) if cell]


def _columns(
    rows: list[list[str]], header: list[str] | None, asked: str | None, name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    widths = {len(row) for row in rows if len(row) > 1}
    width = max(widths)
    if width > MOST_COLUMNS:
        raise UnreadablePointCloudError(f"{name} has {width} columns; at most {MOST_COLUMNS} are read")
    if asked is not None:
        names = [
            SKIPPED if one == SKIPPED else dimension_of(one) for one in re.split(r"[\s,;]+", asked.strip())
        ]
        if len(names) > width:
            raise UnreadablePointCloudError(
                f"{name}: {len(names)} columns were named ({asked!r}), its lines have {width}"
            )
        names += [SKIPPED] * (width - len(names))
    elif header is not None and len(header) == width and not any(_NUMBER.match(cell) for cell in header):
        names = dimensions_of(header)
    else:
        names = _by_order(rows, width, name)
    left_out = []
    for at, column in enumerate(names):
        if column != SKIPPED and not all(_is_value(row[at]) for row in rows if at < len(row)):
            left_out.append(column)
            names[at] = SKIPPED
    _require_coordinates(names, name)
    return tuple(names), tuple(left_out)


def _is_value(cell: str) -> bool:
    return cell.lower() in _EMPTY or _NUMBER.match(cell) is not None


def _require_coordinates(names: list[str], name: str) -> None:
    missing = [axis for axis in "XYZ" if axis not in names]
    if missing:
        raise UnreadablePointCloudError(
            f"{name}: no column of numbers for {', '.join(missing).lower()} among {', '.join(names)}; name the columns in their "
            'order, for example "x y z intensity r g b" ("-" skips one)'
        )
    kept = [one for one in names if one != SKIPPED]
    doubled = sorted({one for one in kept if kept.count(one) > 1})
    if doubled:
        raise UnreadablePointCloudError(
            f"{name}: more than one column means {', '.join(doubled)}; name the columns in their order"
        )


def _by_order(rows: list[list[str]], width: int, name: str) -> list[str]:
    """Columns without names: the orders in which programs write points, told apart by which of them look like colours."""
    if width in _KNOWN_ORDERS:
        return _KNOWN_ORDERS[width].split()
    colours = ["Red", "Green", "Blue"]
    if width == 6 and _are_colours(rows, 3):
        return ["X", "Y", "Z", *colours]
    if width == 7 and _are_colours(rows, 4):
        return ["X", "Y", "Z", "Intensity", *colours]
    if width == 7 and _are_colours(rows, 3):
        return ["X", "Y", "Z", *colours, "Intensity"]
    raise UnreadablePointCloudError(
        f"{name} has {width} columns without names; name them in their order, for example "
        '"x y z intensity r g b" ("-" skips one)'
    )


def _are_colours(rows: list[list[str]], first: int) -> bool:
    cells = [cell for row in rows for cell in row[first : first + 3]]
    return all(cell.isdecimal() and int(cell) <= 65_535 for cell in cells)
