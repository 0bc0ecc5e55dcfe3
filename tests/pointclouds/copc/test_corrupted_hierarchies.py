"""A hierarchy that lies costs neither time nor memory: one clear error, by the reader and by the checker."""

import struct
import tracemalloc

import numpy as np
import pytest

from pointclouds.copc.check import check_copc
from pointclouds.copc.hierarchy import read_pages, repeated_keys
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError, PointCloudError, UnreadablePointCloudError
from pointclouds.las.structures import COPC_INFO_OFFSET, HIERARCHY_ENTRY

HUGE = np.iinfo(np.int32).max


@pytest.fixture
def rewritten(tmp_path, copc):
    """The COPC with its page of nodes changed: rewritten(change) -> path."""

    def write(change):
        raw = bytearray(copc.read_bytes())
        offset, size = struct.unpack_from("<QQ", raw, COPC_INFO_OFFSET + 40)
        page = np.frombuffer(bytes(raw[offset : offset + size]), HIERARCHY_ENTRY).copy()
        change(page, offset)
        raw[offset : offset + size] = page.tobytes()
        path = tmp_path / "bad.copc.laz"
        path.write_bytes(raw)
        return path

    return write


def entry(number, **values):
    def change(page, _offset):
        for name, value in values.items():
            page[number][name] = value

    return change


def shifted_page(page, offset):
    """A page that begins one entry into the first, and ends with itself."""
    page[-1]["offset"], page[-1]["byte_size"], page[-1]["point_count"] = offset + 32, page.nbytes - 32, -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry(1, point_count=HUGE), "more than it has room for"),
        (entry(1, point_count=40_000_000), "the header says 60000"),
        (entry(1, byte_size=HUGE), "outside the file"),
        (entry(1, byte_size=-5), "outside the file"),
        (entry(1, byte_size=1), "outside the file"),
        (entry(1, offset=1 << 40), "outside the file"),
        (entry(1, offset=(1 << 64) - 100), "outside the file"),
        (entry(1, point_count=-1, offset=(1 << 64) - 32, byte_size=32), "the file ends"),
        (entry(1, point_count=-1, offset=0, byte_size=HUGE // 32 * 32), "the file ends"),
        (entry(1, point_count=-1, byte_size=0), "the file ends"),
        (entry(0, point_count=60_001), "the header says 60000"),
        (entry(2, level=1, x=0, y=0, z=0), "appear more than once"),
        (entry(1, x=HUGE), "outside the octree"),
        (entry(1, level=31), "outside the octree"),
        (entry(0, level=HUGE), "outside the octree"),
        (shifted_page, "form a loop"),
    ],
)
def test_one_clear_error_each(rewritten, change, message):
    path = rewritten(change)
    with pytest.raises(InvalidCopcError, match=message):
        CopcFile(path)
    assert any(finding.severity == "error" for finding in check_copc(path))


def test_what_a_chunk_says_of_itself_is_compared_before_memory_is_asked_for(tmp_path, copc):
    raw = bytearray(copc.read_bytes())
    with CopcFile(copc) as file:
        place, size = int(file.entries[0]["offset"]), file.dtype.itemsize
        header_count = file.header.count
    struct.pack_into("<I", raw, place + size, 3_000_000_000)
    path = tmp_path / "bad.copc.laz"
    path.write_bytes(raw)
    with CopcFile(path) as file:
        tracemalloc.start()
        with pytest.raises(PointCloudError, match="its chunk has 3000000000"):
            file.read_node(file.entries[0])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100 * header_count
    # The length of a layer: four gigabytes that are not there.
    struct.pack_into("<I", raw, place + size, int(file.entries[0]["point_count"]))
    struct.pack_into("<I", raw, place + size + 4, 0xFFFF_FFFF)
    path.write_bytes(raw)
    with CopcFile(path) as file, pytest.raises(UnreadablePointCloudError, match="add up to"):
        file.read_node(file.entries[0])


def test_pages_that_overlap_end_below_the_size_of_the_file():
    """Every page is a new place and points to two more: without a bound this walk doubles for ever."""
    entries = np.zeros(2_000, HIERARCHY_ENTRY)
    entries["point_count"], entries["byte_size"] = -1, 64
    entries["offset"] = 32 * (np.arange(2_000) * 7 % 1_990)
    data = entries.tobytes()
    reads = []

    def read(offset, size):
        reads.append(size)
        return data[offset : offset + size]

    found, problems = read_pages(read, 0, len(data) // 2, len(data))
    assert problems
    assert sum(reads) <= len(data)
    assert len(found) == 0


def test_a_page_that_cannot_be_read_whole_is_a_problem():
    found, problems = read_pages(lambda _offset, _size: b"short", 0, 64, 1_000)
    assert [problem.message for problem in problems] == ["has 64 bytes, 5 could be read"]
    assert len(found) == 0


def test_repeated_keys_are_counted():
    entries = np.zeros(6, HIERARCHY_ENTRY)
    entries["level"] = [0, 5, 5, 30, 30, 5]
    entries["x"] = [0, 3, 3, (1 << 30) - 1, (1 << 30) - 1, 3]
    entries["y"] = [0, 1, 1, (1 << 30) - 1, (1 << 30) - 2, 1]
    assert repeated_keys(entries) == 2
    assert repeated_keys(entries[:1]) == 0
    assert repeated_keys(entries[:0]) == 0


def test_a_file_that_is_cut_while_it_is_open_gives_no_part_of_a_chunk(rewritten):
    path = rewritten(lambda _page, _offset: None)
    with CopcFile(path) as file:
        last = file.entries[np.argmax(file.entries["offset"])]
        whole = file.read_chunk(last)
        assert len(whole) == last["byte_size"]
        with path.open("r+b") as stream:
            stream.truncate(int(last["offset"]) + len(whole) - 1)
        for read in (file.read_chunk, file.read_node):
            with pytest.raises(PointCloudError, match=path.name):
                read(last)
        assert file.read_chunk(file.entries[0])
