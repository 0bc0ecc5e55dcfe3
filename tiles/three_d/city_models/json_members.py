"""Where the parts of a large JSON object lie in its file, found without parsing it.

Brackets and commas are found by numpy in pieces of the file; so a CityJSON file of gigabytes is cut into its city objects and
vertices at several hundred megabytes a second, and only some of them are ever in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import CityJSONError

_PIECE = 4 << 20
_QUOTE, _BACKSLASH, _COMMA, _COLON = 0x22, 0x5C, 0x2C, 0x3A
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")
# Of a long array every so many-th comma is kept: enough to parse it piece by piece.
_ITEMS_A_CUT = 4096


class Member(NamedTuple):
    """A member of the top-level object: its value is content[start:end]; `cuts` are commas between the value's own members
    (all of an object, one in 4,096 of an array)."""

    start: int
    end: int
    cuts: NDArray[np.int64]


@dataclass(slots=True)
class _Cuts:
    """Commas inside one member while they are collected."""

    parts: list[NDArray[np.int64]] = field(default_factory=list)
    seen: int = 0

    def add(self, places: NDArray[np.int64], *, all_of_them: bool) -> None:
        if all_of_them:
            self.parts.append(places)
        else:
            first = -(self.seen + 1) % _ITEMS_A_CUT
            self.parts.append(places[first::_ITEMS_A_CUT])
        self.seen += len(places)

    def joined(self) -> NDArray[np.int64]:
        return np.concatenate(self.parts) if self.parts else np.empty(0, dtype=np.int64)


def members_of(content: mmap.mmap | bytes) -> dict[str, Member]:
    """The members of the JSON object that fills `content`. Raises CityJSONError where brackets do not match."""
    found: dict[str, Member] = {}
    key_end = -1
    begin = -1
    cuts = _Cuts()
    is_object = False
    depth = 0
    for places, marks, depths in _structure(content):
        depth = int(depths[-1])
        top = np.flatnonzero((depths == 1) & ((marks == _COMMA) | (marks == _COLON)) | (depths == 0))
        inner = (depths == 2) & (marks == _COMMA)
        last = 0
        for at in [*top.tolist(), len(places)]:
            if begin >= 0:
                cuts.add(places[last:at][inner[last:at]], all_of_them=is_object)
            last = at
            if at == len(places):
                break
            place = int(places[at])
            if marks[at] == _COLON:
                key_end, begin = place, place + 1
                cuts, is_object = _Cuts(), _begins_object(content, begin)
            elif begin >= 0:
                found[_key_before(content, key_end)] = Member(begin, place, cuts.joined())
                begin = -1
    if depth != 0:
        raise CityJSONError("the file is not valid JSON: it ends before its brackets are closed")
    return found


def _begins_object(content: mmap.mmap | bytes, at: int) -> bool:
    return content[at : at + 64].lstrip()[:1] == b"{"


def _key_before(content: mmap.mmap | bytes, colon: int) -> str:
    text = content[max(0, colon - 512) : colon].rstrip()
    return text[text.rfind(b'"', 0, len(text) - 1) + 1 : -1].decode("utf-8", "replace")


def _structure(
    content: mmap.mmap | bytes,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]]:
    """Places, bytes and depths of the brackets, commas and colons outside of text, piece by piece.

    The depth of an opening bracket counts itself, that of a closing one does not.
    """
    step: NDArray[np.int8] = np.zeros(256, dtype=np.int8)
    step[list(_OPENING)], step[list(_CLOSING)] = 1, -1
    wanted: NDArray[np.bool_] = step != 0
    wanted[[_COMMA, _COLON]] = True
    quotes_before, depth = 0, 0
    for start in range(0, len(content), _PIECE):
        piece = np.frombuffer(content[start : start + _PIECE], dtype=np.uint8)
        quotes = np.zeros(len(piece), dtype=np.uint8)
        quotes[_real_quotes(content, start, piece)] = 1
        # The sum is even outside of text, whatever it is modulo 256.
        quotes[0] += quotes_before
        inside = np.cumsum(quotes, dtype=np.uint8) & 1
        quotes_before = int(inside[-1])
        places = np.flatnonzero(wanted[piece] & (inside == 0))
        if not len(places):
            continue
        marks = piece[places]
        depths = np.cumsum(step[marks], dtype=np.int64) + depth
        depth = int(depths[-1])
        yield places.astype(np.int64) + start, marks, depths


def _real_quotes(content: mmap.mmap | bytes, start: int, piece: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Quotes that begin or end a text: those without an odd number of backslashes before them."""
    quotes = np.flatnonzero(piece == _QUOTE)
    before = np.where(quotes > 0, piece[quotes - 1], content[start - 1] if start else 0)
    real = np.ones(len(quotes), dtype=np.bool_)
    for row in np.flatnonzero(before == _BACKSLASH).tolist():
        at = start + int(quotes[row]) - 1
        run = 0
        while at >= 0 and content[at] == _BACKSLASH:
            run, at = run + 1, at - 1
        real[row] = run % 2 == 0
    return quotes[real]


def inside_of(content: mmap.mmap | bytes, member: Member) -> tuple[int, int]:
    """(start, end) of what stands between the brackets of a member's value. Raises CityJSONError where it has none."""
    start = member.start
    while start < member.end and content[start] not in _OPENING:
        start += 1
    end = member.end - 1
    while end > start and content[end] not in _CLOSING:
        end -= 1
    if end <= start:
        raise CityJSONError(
            "the file is not CityJSON: an array or an object was expected and something else found"
        )
    return start + 1, end


def items_of(content: mmap.mmap | bytes, member: Member) -> Iterator[tuple[int, int]]:
    """(start, end) between neighbouring cuts of a member's value: of each member of an object, of some thousand items of an array."""
    start, end = inside_of(content, member)
    for cut in (*member.cuts.tolist(), end):
        yield start, cut
        start = cut + 1
