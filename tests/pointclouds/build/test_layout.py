"""One layout for several sources."""

from dataclasses import replace

import numpy as np
import pytest

from pointclouds.build.layout import common_layout, conformed
from pointclouds.errors import UnreadablePointCloudError, UnusableCrsError
from pointclouds.las.layout import record_dtype


@pytest.fixture
def source(array_source, scan_source, scan_records):
    def make(**changed):
        return array_source(scan_records[:100], scan_source.description, **changed)

    return make


def test_sources_of_the_layout_stay_as_they_are(source):
    one = source()
    layout = common_layout([one, source()])
    assert conformed(one, layout) is one
    assert layout.is_of(one.description)


def test_times_of_two_kinds_are_no_dates(source):
    def encoding(*values):
        return common_layout([source(global_encoding=value) for value in values]).global_encoding

    assert encoding(1, 1) == 1
    assert encoding(1, 0) == 0
    assert encoding(9, 1, 1) == 9
    assert encoding(0x10, 0x10) == 0


def _struct(name, scale=None):
    raw = bytearray(192)
    raw[2], raw[3] = 3, 0x08 if scale else 0
    raw[4 : 4 + len(name)] = name.encode()
    raw[112:120] = np.array(scale or 0.0).tobytes()
    return bytes(raw)


def test_one_extra_dimension_with_two_scales_is_refused(source):
    def one(scale):
        return source(extra=(("width", np.dtype("<u2")),), extra_structs=_struct("width", scale))

    assert common_layout([one(0.1), one(0.1)]).extra_structs == _struct("width", 0.1)
    with pytest.raises(UnreadablePointCloudError, match="'width' with different scale"):
        common_layout([one(0.1), one(0.01)])
    with pytest.raises(UnreadablePointCloudError, match="'width' with different scale"):
        common_layout([one(0.1), one(None)])
    plain = source(extra=(("width", np.dtype("<u2")),))
    assert len(common_layout([plain]).extra_structs) == 192


def test_boxes_too_far_apart_for_32_bits(source, scan_source):
    box = scan_source.description.box
    near = source(box=box)
    far = source(box=tuple(edge + 3_000_000 for edge in box))
    assert common_layout([near, far]).offset != scan_source.description.offset
    with pytest.raises(UnreadablePointCloudError, match="too far apart"):
        common_layout([near, source(box=tuple(edge + 5_000_000 for edge in box))])


def test_points_beyond_what_the_layout_holds(source, scan_source):
    layout = replace(common_layout([source()]), offset=(84_900.0, 447_500.0, 3e6))
    with pytest.raises(UnreadablePointCloudError, match="Z goes outside"):
        next(conformed(source(), layout).chunks())


def test_a_crs_in_place_of_what_sources_say(source):
    layout = common_layout([source(crs=None), source()], "EPSG:28992")
    assert layout.crs.to_epsg() == 28992
    with pytest.raises(UnusableCrsError, match="not projected"):
        common_layout([source()], "EPSG:4326")


def test_formats_and_dimensions_are_joined(source, scan_records):
    layout = common_layout([source(), source(point_format=8)])
    assert layout.point_format == 8
    [records] = conformed(source(), layout).chunks()
    assert records.dtype == record_dtype(8)
    assert np.array_equal(records["Red"], scan_records["Red"][:100])
    assert not records["Infrared"].any()
