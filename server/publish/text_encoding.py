"""In which encoding the attributes of a Shapefile are: .cpg, the DBF's language driver, or the bytes themselves.

dBASE says it in one byte that many programs leave 0; China's and Japan's city data come in GB 18030 and Shift-JIS
without a word. A wrong guess publishes mojibake, so a statement that the bytes contradict is an error.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from server.publish.errors import DamagedFile, OptionError, TextEncodingError

_SAMPLE_BYTES = 400_000
_LANGUAGE_DRIVERS = {
    0x01: "cp437",
    0x02: "cp850",
    0x03: "cp1252",
    0x13: "cp932",
    0x4D: "gb18030",
    0x4E: "cp949",
    0x4F: "cp950",
    0x50: "cp874",
    0x57: "cp1252",
    0x58: "cp1252",
    0x59: "cp1252",
    0x64: "cp852",
    0x65: "cp866",
    0x66: "cp865",
    0x78: "cp950",
    0x79: "cp949",
    0x7A: "gb18030",
    0x7B: "cp932",
    0x7C: "cp874",
    0xC8: "cp1250",
    0xC9: "cp1251",
    0xCA: "cp1254",
    0xCB: "cp1253",
    0xCC: "cp1257",
}
"""Language driver byte -> codec, for those whose meaning writers agree on."""
_UNSURE_DRIVERS = frozenset((0x00, 0x01, 0x02, 0x03, 0x57))
"""Drivers that programs write without looking at the text: the bytes are asked first."""
_CANDIDATES = ["gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "cp1250", "cp1253", "cp1252"]


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """A Python codec name and how it was found ("asked", ".cpg file", "language driver", "bytes")."""

    codec: str
    how: str


def shapefile_encoding(shp: Path, asked: str | None) -> TextEncoding:
    """The encoding of the attributes beside `shp`. Raises OptionError, TextEncodingError, DamagedFile."""
    dbf = beside(shp, ".dbf")
    if asked:
        return _asked(asked)
    if dbf is None:
        return TextEncoding("utf-8", "default")
    driver, names, texts = _dbf_text(dbf)
    text = b"\n".join((*names, *texts))
    stated = _stated(shp, driver)
    if stated and _decodes(stated.codec, names, texts):
        return stated
    if stated:
        better = _from_bytes(text)
        raise TextEncodingError(
            f"The attributes of {shp.name} are not in {stated.codec}, which its {stated.how} says. "
            f"The bytes look like {better or 'no encoding we know'}: name the right one with --encoding."
        )
    if _decodes("utf-8", names, texts):
        return TextEncoding("utf-8", "bytes")
    found = _from_bytes(text)
    if found is None or not _decodes(found, names, texts):
        raise TextEncodingError(
            f"The encoding of the attributes of {shp.name} cannot be found. Name it with --encoding."
        )
    return TextEncoding(found, "bytes")


def text_file_encoding(path: Path, asked: str | None) -> TextEncoding:
    """The encoding of a text file: as asked, by its byte order mark, UTF-8 where that fits, else from its bytes.

    Raises OptionError and TextEncodingError.
    """
    if asked:
        return _asked(asked)
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if sample.startswith(mark):
            return TextEncoding(codec, "byte order mark")
    if _decodes("utf-8", [sample], []):
        return TextEncoding("utf-8", "bytes")
    found = _from_bytes(sample)
    if found is None:
        raise TextEncodingError(f"The encoding of {path.name} cannot be found. Name it with --encoding.")
    return TextEncoding(found, "bytes")


def _asked(name: str) -> TextEncoding:
    return TextEncoding(named_encoding(name), "asked")


def named_encoding(name: str) -> str:
    """The Python codec of an encoding that someone named. Raises OptionError where it is none of text."""
    try:
        b"a".decode(name)  # codecs.lookup finds base64 and other codecs of bytes too
        return codecs.lookup(name).name
    except UnicodeDecodeError:  # a codec of several bytes a character
        return codecs.lookup(name).name
    except (
        LookupError,
        ValueError,
    ) as error:  # ValueError: no name of anything (a NUL in it), or "undefined"
        raise OptionError(
            f"There is no text encoding {name!r}. Examples: utf-8, gb18030, cp932, cp1252."
        ) from error


def beside(path: Path, suffix: str) -> Path | None:
    """The part of a Shapefile with this suffix, in lower or upper case; None where there is none."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.is_file():
            return candidate
    return None


def _stated(shp: Path, driver: int) -> TextEncoding | None:
    cpg = beside(shp, ".cpg")
    if cpg is not None:
        codec = code_page_codec(cpg.read_bytes()[:100].decode("ascii", "ignore"))
        if codec:
            return TextEncoding(codec, ".cpg file")
    if driver in _LANGUAGE_DRIVERS and driver not in _UNSURE_DRIVERS:
        return TextEncoding(_LANGUAGE_DRIVERS[driver], "language driver")
    return None


def code_page_codec(text: str) -> str | None:
    """The Python codec a .cpg file means: "UTF-8", "936", "ANSI 1252", "OEM 932", "88591", "Big5". None where unknown."""
    name = text.strip().upper().replace("ANSI", "").replace("OEM", "").strip(" -_")
    if name in ("936", "GBK", "GB2312", "CP936", "54936"):
        return "gb18030"
    if re.fullmatch(r"8859\d{1,2}", name):
        name = f"ISO-8859-{name[4:]}"
    elif name == "65001":
        name = "UTF-8"
    elif name.isdigit():
        name = f"CP{name}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def _decodes(codec: str, names: list[bytes], texts: list[bytes]) -> bool:
    """Whether everything is in `codec`; a character cut off at the end of a field's width is forgiven."""
    try:
        for raw in (*names, *texts):
            codecs.getincrementaldecoder(codec)("strict").decode(raw, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _from_bytes(text: bytes) -> str | None:
    best = from_bytes(text, cp_isolation=_CANDIDATES, threshold=0.6).best()
    if best is None:
        return None
    if _is_common_simplified(text, hangul_too=best.encoding != "cp949"):
        return "gb18030"
    return str(best.encoding)


def _is_common_simplified(text: bytes, *, hangul_too: bool) -> bool:
    """Whether every two-byte character is in GB 2312's first level: short GB text also decodes as Big5 or Shift-JIS.

    Korean syllables lie in the first half of that range: without `hangul_too` a character beyond it is needed.
    """
    pairs = re.findall(rb"[\x80-\xff].", text, flags=re.DOTALL)
    if not all(0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1 for pair in pairs):
        return False
    return hangul_too or any(pair[0] > 0xC8 for pair in pairs)


def _dbf_text(dbf: Path) -> tuple[int, list[bytes], list[bytes]]:
    """(language driver, raw field names, raw values of text fields) of the beginning of a dBASE table."""
    size = dbf.stat().st_size
    with dbf.open("rb") as file:
        header = file.read(32)
        if len(header) < 32:
            raise DamagedFile(f"{dbf.name} is truncated: {size} bytes are less than a dBASE header.")
        count = int.from_bytes(header[4:8], "little")
        start = int.from_bytes(header[8:10], "little")
        width = int.from_bytes(header[10:12], "little")
        if start < 33 or width < 1 or size < start + count * width:
            raise DamagedFile(
                f"{dbf.name} is truncated: its header tells of {count} records of {width} bytes, the file has {size} bytes."
            )
        fields = file.read(start - 32)
        rows = min(count, max(1, _SAMPLE_BYTES // width))
        body = file.read(rows * width)
    names: list[bytes] = []
    columns: list[tuple[int, int]] = []
    position = 1
    for offset in range(0, len(fields) - 31, 32):
        if fields[offset] == 0x0D:
            break
        names.append(fields[offset : offset + 11].split(b"\x00")[0])
        length = fields[offset + 16]
        if fields[offset + 11 : offset + 12] == b"C":
            columns.append((position, position + length))
        position += length
    values = {
        body[row + first : row + last].rstrip(b" \x00")
        for row in range(0, len(body), width)
        for first, last in columns
    }
    return header[29], names, sorted(value for value in values if value)
