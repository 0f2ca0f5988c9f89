"""Which transfer syntax pixel data is stored in, by what is said of it."""

import pytest

from gateway.dicom.media import COMPRESSED, kind_of, syntax_of
from gateway.errors import BadRequest

JPEG = "1.2.840.10008.1.2.4."


@pytest.mark.parametrize(
    ("name", "given", "told", "found"),
    [
        ("image/jpeg", "", {"50"}, "50"),
        ("image/jpeg", "70", {"50"}, "50"),
        ("image/jp2", "", {"90", "91"}, "91"),
        ("image/jp2", "91", {"90"}, "91"),
        ("image/jp2", "90", {"91"}, "91"),
        ("image/x-jls", "", {"80"}, "80"),
        ("image/jpx", "", {"91"}, "93"),
        ("image/jphc", "202", {"201"}, "202"),
        ("image/jxl", "", set(), "112"),
        ("video/mp4", "", set(), "102"),
        ("video/mp4", "104", set(), "104"),
        ("video/mpeg", "", set(), "100"),
        ("video/h265", "", set(), "107"),
        ("application/octet-stream", "57", set(), "57"),
    ],
)
def test_the_bitstream_decides_then_the_part_then_the_table(name, given, told, found):
    kind = kind_of(name, JPEG + given if given else "")
    assert syntax_of(kind, {JPEG + one for one in told}) == JPEG + found


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_kind_has_a_usual_syntax(name):
    assert syntax_of(kind_of(name), set()) == COMPRESSED[name][0]


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("image/jpeg", "90", set()),
        ("image/jpeg", "", {"50", "70"}),
        ("application/octet-stream", "999", set()),
    ],
)
def test_what_cannot_be_is_refused(name, given, told):
    with pytest.raises(BadRequest, match=r"\(7FE0,0010\)"):
        syntax_of(kind_of(name, JPEG + given), {JPEG + one for one in told})


def test_a_video_beyond_four_gibibytes_may_be_in_fragments():
    assert syntax_of(kind_of("video/mp4"), set(), large=True) == JPEG + "102.1"
    with pytest.raises(BadRequest, match="too large"):
        syntax_of(kind_of("video/h265"), set(), large=True)
