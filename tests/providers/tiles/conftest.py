"""A decoder of vector tiles, written from the specification."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

Tile = dict[str, dict[str, Any]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _fields(data: bytes) -> list[tuple[int, Any]]:
    at, found = 0, []
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            found.append((key >> 3, value))
            continue
        size, at = {1: (8, at), 5: (4, at)}.get(key & 7) or _varint(data, at)
        found.append((key >> 3, data[at : at + size]))
        at += size
    return found


def _numbers(data: bytes) -> list[int]:
    at, found = 0, []
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _value(data: bytes) -> Any:
    ((kind, raw),) = _fields(data)
    return {
        1: lambda: raw.decode(),
        2: lambda: struct.unpack("<f", raw)[0],
        3: lambda: struct.unpack("<d", raw)[0],
        5: lambda: raw,
        6: lambda: (raw >> 1) ^ -(raw & 1),
        7: lambda: bool(raw),
    }[kind]()


def _paths(numbers: list[int]) -> list[list[tuple[int, int]]]:
    paths: list[list[tuple[int, int]]] = []
    x = y = at = 0
    while at < len(numbers):
        command, count = numbers[at] & 7, numbers[at] >> 3
        at += 1
        if command == 7:
            continue
        for _ in range(count):
            x += (numbers[at] >> 1) ^ -(numbers[at] & 1)
            y += (numbers[at + 1] >> 1) ^ -(numbers[at + 1] & 1)
            at += 2
            if command == 1:
                paths.append([])
            paths[-1].append((x, y))
    return paths


def _decode(tile: bytes) -> Tile:
    layers: Tile = {}
    for number, body in _fields(tile):
        assert number == 3
        parts = _fields(body)
        keys = [value.decode() for field, value in parts if field == 3]
        values = [_value(value) for field, value in parts if field == 4]
        assert len(set(keys)) == len(keys)
        single = dict(parts)
        assert single[15] == 2
        name = single[1].decode()
        assert name not in layers
        features = []
        for field, content in parts:
            if field == 2:
                inner = dict(_fields(content))
                tags = _numbers(inner.get(2, b""))
                features.append(
                    {
                        "id": inner.get(1),
                        "type": inner[3],
                        "paths": _paths(_numbers(inner[4])),
                        "properties": {
                            keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)
                        },
                    }
                )
        layers[name] = {"features": features, "keys": keys, "extent": single[5]}
    return layers


@pytest.fixture(scope="session")
def decode() -> Callable[[bytes], Tile]:
    """Layers by name: features with id, type, paths (lists of vertices) and properties; keys, extent."""
    return _decode
