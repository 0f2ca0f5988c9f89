"""Pictures hold what the formulas of the standard say, worked out here once more."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.dicom.hierarchy import Attributes
from gateway.dicom.render import Frame, animate, attributes_of, render
from gateway.dicom.render_options import rendered_options, uri_options
from gateway.errors import BadRequest, NotAcceptable

PNG = "image/png"


def element(*values: Any, vr: str = "US") -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def sequence(*items: Attributes) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def binary(data: bytes, vr: str = "OW") -> dict[str, Any]:
    return {"vr": vr, "InlineBinary": base64.b64encode(data).decode()}


def window(center: float, width: float, function: str | None = None) -> Attributes:
    made = {"00281050": element(center, vr="DS"), "00281051": element(width, vr="DS")}
    if function:
        made["00281056"] = element(function, vr="CS")
    return made


def read(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    return np.asarray(image)


def shown(
    values: np.ndarray,
    attributes: Attributes | None = None,
    query: dict[str, str] | None = None,
    photometric: str = "MONOCHROME2",
    frame: int = 1,
) -> np.ndarray:
    """The pixels of the picture of a frame."""
    given = {"00280004": element(photometric, vr="CS"), **(attributes or {})}
    options = rendered_options(query or {})
    (kept,) = attributes_of(given, [frame], options)
    return read(render(Frame(frame, kept, values, photometric), options, PNG))


def linear(x: np.ndarray, c: float, w: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, written as it stands there, one value at a time."""

    def one(value: float) -> float:
        if value <= c - 0.5 - (w - 1) / 2:
            return 0
        if value > c - 0.5 + (w - 1) / 2:
            return 255
        return ((value - (c - 0.5)) / (w - 1) + 0.5) * 255

    return rounded(np.vectorize(one, otypes=[float])(x.astype(float)))


def exact(x: np.ndarray, c: float, w: float) -> np.ndarray:
    """PS3.3 C.11.2.1.3.2."""

    def one(value: float) -> float:
        if value <= c - w / 2:
            return 0
        if value > c + w / 2:
            return 255
        return ((value - c) / w + 0.5) * 255

    return rounded(np.vectorize(one, otypes=[float])(x.astype(float)))


def sigmoid(x: np.ndarray, c: float, w: float) -> np.ndarray:
    """PS3.3 C.11.2.1.3.1."""
    with np.errstate(over="ignore"):
        return rounded(255 / (1 + np.exp(-4 * (x.astype(float) - c) / w)))


def rounded(y: np.ndarray) -> np.ndarray:
    return np.floor(y + 0.5).astype(np.uint8)


TWELVE = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
SIGNED = np.arange(-1024, 1024, 8, dtype=np.int16).reshape(16, 16)


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (600, 1), (100.5, 37.25)])
@pytest.mark.parametrize("source", ["query", "file"])
@pytest.mark.parametrize(
    ("function", "name", "formula"),
    [
        ("LINEAR", "linear", linear),
        ("LINEAR_EXACT", "linear-exact", exact),
        ("SIGMOID", "sigmoid", sigmoid),
    ],
)
def test_a_window_follows_its_formula(
    center: float, width: float, source: str, function: str, name: str, formula: Any
) -> None:
    query = {"window": f"{center},{width},{name}"} if source == "query" else {}
    attributes = window(center, width, function) if source == "file" else {}
    found = shown(TWELVE, attributes, query)
    np.testing.assert_array_equal(found, formula(TWELVE, center, width))


def test_a_window_of_one_is_a_threshold() -> None:
    values = np.arange(6, dtype=np.uint8).reshape(1, 6)
    found = shown(values, query={"window": "3,1"})
    assert found.tolist() == [[0, 0, 0, 255, 255, 255]]


def test_the_window_of_the_request_goes_before_that_of_the_file() -> None:
    found = shown(TWELVE, window(10, 20), {"window": "2048,1024"})
    np.testing.assert_array_equal(found, linear(TWELVE, 2048, 1024))


def test_without_a_window_the_values_that_are_there_span_it() -> None:
    values = np.array([[10, 20], [30, 110]], np.uint16)
    expected = rounded((values - 10.0) / 100 * 255)
    np.testing.assert_array_equal(shown(values), expected)


def test_a_window_that_cannot_be_is_passed_over() -> None:
    values = np.array([[0, 4]], np.uint16)
    assert shown(values, window(2, 0)).tolist() == [[0, 255]]


def test_padding_does_not_count() -> None:
    values = np.array([[-2000, 0], [50, 100]], np.int16)
    attributes = {"00280103": element(1), "00280120": element(-2000, vr="SS")}
    expected = rounded(np.clip(values / 100, 0, 1) * 255)
    np.testing.assert_array_equal(shown(values, attributes), expected)


def test_a_range_of_padding_does_not_count() -> None:
    values = np.array([[1, 5, 10, 20]], np.uint16)
    attributes = {"00280120": element(1), "00280121": element(9)}
    assert shown(values, attributes).tolist() == [[0, 0, 0, 255]]


def test_signed_padding_that_was_written_unsigned() -> None:
    values = np.array([[-2000, 0, 10]], np.int16)
    attributes = {"00280103": element(1), "00280120": element(65536 - 2000)}
    assert shown(values, attributes).tolist() == [[0, 0, 255]]


def test_single_bits_are_black_and_white() -> None:
    attributes = {"00280101": element(1)}
    assert shown(np.ones((2, 2), np.uint8), attributes).tolist() == [[255, 255]] * 2
    assert shown(np.zeros((2, 2), np.uint8), attributes).tolist() == [[0, 0]] * 2


def test_an_image_of_one_value_is_a_picture() -> None:
    assert shown(np.full((2, 2), 7, np.uint16)).tolist() == [[0, 0], [0, 0]]


def test_the_smallest_value_may_be_white() -> None:
    found = shown(TWELVE, window(2048, 4096), photometric="MONOCHROME1")
    np.testing.assert_array_equal(found, 255 - linear(TWELVE, 2048, 4096))
    shape = {"20500020": element("INVERSE", vr="CS")}
    again = shown(TWELVE, {**window(2048, 4096), **shape})
    np.testing.assert_array_equal(found, again)


def test_signed_values_are_rescaled_before_the_window() -> None:
    rescaled = {
        "00280103": element(1),
        "00281053": element(2, vr="DS"),
        "00281052": element(-1024, vr="DS"),
    }
    found = shown(SIGNED, {**rescaled, **window(40, 400)})
    np.testing.assert_array_equal(found, linear(SIGNED * 2.0 - 1024, 40, 400))


def test_floating_point() -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    found = shown(values, query={"window": "0,1,linear-exact"})
    np.testing.assert_array_equal(found, exact(values, 0, 1))


def test_floating_point_that_is_no_number() -> None:
    values = np.array([[0, 1, np.nan, np.inf]], np.float32)
    assert shown(values).tolist()[0][:2] == [0, 255]


def lut(first: int, bits: int, entries: np.ndarray, *, as_bytes: bool) -> Attributes:
    data = (
        binary(entries.astype("<u2").tobytes())
        if as_bytes
        else element(*(int(entry) for entry in entries))
    )
    return {
        "00283002": element(len(entries) & 0xFFFF, first, bits),
        "00283006": data,
    }


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_modality_table(as_bytes: bool) -> None:
    entries = np.arange(100)[::-1] * 30
    attributes = {
        "00283000": sequence(lut(50, 12, entries, as_bytes=as_bytes)),
        **window(1000, 2000),
    }
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    mapped = entries[np.clip(values.astype(int) - 50, 0, 99)]
    found = shown(values, attributes)
    np.testing.assert_array_equal(found, linear(mapped, 1000, 2000))


@pytest.mark.parametrize("first", [-10, 65526])
def test_a_modality_table_that_begins_below_zero(first: int) -> None:
    entries = np.arange(20) * 10
    item = lut(first, 8, entries, as_bytes=True)
    attributes = {"00280103": element(1), "00283000": sequence(item)}
    values = np.arange(-20, 20, dtype=np.int16).reshape(5, 8)
    mapped = entries[np.clip(values + 10, 0, 19)]
    expected = rounded((mapped - mapped.min()) / (mapped.max() - mapped.min()) * 255)
    np.testing.assert_array_equal(shown(values, attributes), expected)


def test_a_table_of_values_of_interest() -> None:
    entries = (np.arange(4096) ** 2 // 4096).astype(int)
    item = lut(0, 12, entries, as_bytes=True)
    attributes = {"00283010": sequence(item), **window(1, 2)}
    expected = rounded(np.clip(entries[TWELVE], 0, 4095) * (255 / 4095))
    np.testing.assert_array_equal(shown(TWELVE, attributes), expected)


def test_a_table_with_two_entries_in_a_word() -> None:
    entries = np.arange(256, dtype=np.uint8)[::-1]
    item = {
        "00283002": element(256, 0, 8),
        "00283006": binary(entries.tobytes()),
    }
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = shown(values, {"00283010": sequence(item)})
    np.testing.assert_array_equal(found, 255 - values)


def test_what_holds_for_one_frame() -> None:
    def groups(slope: float, center: float) -> Attributes:
        return {
            "00289145": sequence(
                {"00281053": element(slope, vr="DS"), "00281052": element(0, vr="DS")}
            ),
            "00289132": sequence(window(center, 500)),
        }

    attributes = {
        "52009229": sequence({"00289132": sequence(window(1, 1))}),
        "52009230": sequence(groups(1, 300), groups(0.5, 700)),
    }
    first, second = (shown(TWELVE, attributes, frame=frame) for frame in (1, 2))
    np.testing.assert_array_equal(first, linear(TWELVE, 300, 500))
    np.testing.assert_array_equal(second, linear(TWELVE * 0.5, 700, 500))


# -- colour ------------------------------------------------------------------------------


def palette(
    bits: int, first: int = 0, count: int = 256
) -> tuple[Attributes, np.ndarray]:
    generator = np.random.default_rng(1)
    tables = generator.integers(0, 2**bits, (3, count))
    attributes: Attributes = {}
    for place, entries in enumerate(tables):
        attributes[f"0028110{place + 1}"] = element(count & 0xFFFF, first, bits)
        kind = "<u2" if bits > 8 else "u1"
        attributes[f"0028120{place + 1}"] = binary(entries.astype(kind).tobytes())
    return attributes, tables


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 30])
def test_a_palette(bits: int, first: int) -> None:
    attributes, tables = palette(bits, first)
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    place = np.clip(values.astype(int) - first, 0, 255)
    expected = np.stack([table[place] >> (bits - 8) for table in tables], 2)
    found = shown(values, attributes, photometric="PALETTE COLOR")
    np.testing.assert_array_equal(found, expected)


def test_a_palette_in_segments() -> None:
    # 0: two entries as they are; 1: a line of four up to 60; 2: both once more.
    words = np.array([0, 2, 10, 20, 1, 4, 60, 2, 2, 0, 0], "<u2") * 1
    expected = [10, 20, 30, 40, 50, 60, 10, 20, 30, 40, 50, 60]
    attributes: Attributes = {}
    for place in "123":
        attributes[f"0028110{place}"] = element(12, 0, 16)
        attributes[f"0028122{place}"] = binary(words.tobytes())
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = shown(values, attributes, photometric="PALETTE COLOR")
    assert found[:, :, 0].reshape(-1).tolist() == expected


def test_a_palette_that_is_missing_is_said() -> None:
    with pytest.raises(NotAcceptable, match="palette"):
        shown(np.zeros((2, 2), np.uint8), photometric="PALETTE COLOR")


COLOURS = np.random.default_rng(2).integers(0, 256, (12, 10, 3)).astype(np.uint8)


def test_red_green_and_blue_stay() -> None:
    np.testing.assert_array_equal(shown(COLOURS, photometric="RGB"), COLOURS)


def test_sixteen_bits_of_colour_lose_their_last_eight() -> None:
    deep = COLOURS.astype(np.uint16) * 256 + 77
    found = shown(deep, {"00280101": element(16)}, photometric="RGB")
    np.testing.assert_array_equal(found, COLOURS)


def test_light_and_colour_differences() -> None:
    y, cb, cr = (COLOURS[:, :, place].astype(float) for place in range(3))
    red = y + 1.402 * (cr - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    blue = y + 1.772 * (cb - 128)
    expected = np.clip(np.stack((red, green, blue), 2), 0, 255)
    found = shown(COLOURS, photometric="YBR_FULL")
    assert np.abs(found - expected).max() <= 0.51


# -- what is shown, and how large --------------------------------------------------------

PLAIN = np.arange(200, dtype=np.uint8).reshape(10, 20)
FLAT = {"window": "128,256,linear-exact"}


def test_the_part_that_is_wanted() -> None:
    whole = shown(PLAIN, query=FLAT)
    part = shown(PLAIN, query={**FLAT, "viewport": ",,4,2,6,3"})
    np.testing.assert_array_equal(part, whole[2:5, 4:10])


@pytest.mark.parametrize(("across", "down"), [(1, -1), (-1, 1), (-1, -1)])
def test_flips(across: int, down: int) -> None:
    whole = shown(PLAIN, query=FLAT)
    found = shown(PLAIN, query={**FLAT, "viewport": f",,4,2,{6 * across},{3 * down}"})
    np.testing.assert_array_equal(found, whole[2:5, 4:10][::down, ::across])


def test_a_viewport_is_filled_one_way_and_black_the_other() -> None:
    values = np.full((10, 20), 255, np.uint8)
    found = shown(values, query={"window": "10,1", "viewport": "40,40"})
    assert found.shape == (40, 40)
    assert (found[10:30] == 255).all()
    assert not found[:10].any()
    assert not found[30:].any()


def test_a_viewport_that_is_outside() -> None:
    with pytest.raises(BadRequest, match="outside"):
        shown(PLAIN, query={"viewport": "5,5,20,0,5,5"})


@pytest.mark.parametrize(
    ("tag", "spacing", "size"),
    [
        ("00280030", (0.5, 0.25), (20, 20)),
        ("00280030", (0.25, 0.5), (10, 40)),
        ("00280034", (3, 2), (15, 20)),
        ("00280030", (0.3, 0.3), (10, 20)),
        ("00280030", (0, 0.3), (10, 20)),
    ],
)
def test_pixels_that_are_not_square(
    tag: str, spacing: tuple[float, float], size: tuple[int, int]
) -> None:
    assert shown(PLAIN, {tag: element(*spacing, vr="DS")}).shape == size


def test_rows_and_columns_bound_the_picture_of_an_address() -> None:
    options = uri_options({"rows": "40", "columns": "40", "region": "0,0,0.5,0.5"})
    image = render(Frame(1, {}, PLAIN, "MONOCHROME2"), options, PNG)
    assert read(image).shape == (20, 40)


# -- what is written on it ---------------------------------------------------------------


def test_nothing_is_written_unless_it_is_asked_for() -> None:
    name = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}}
    black = np.zeros((64, 64), np.uint8)
    assert not shown(black, name).any()
    assert shown(black, name, {"annotation": "patient"}).any()
    assert not shown(black, name, {"annotation": "technique"}).any()


def test_overlays_are_drawn_where_annotation_asks() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 1:5] = 1
    attributes = {
        "60000010": element(8),
        "60000011": element(8),
        "60000050": element(2, 3, vr="SS"),
        "60003000": binary(np.packbits(mask, bitorder="little").tobytes()),
    }
    black = np.zeros((16, 16), np.uint8)
    assert not shown(black, attributes).any()
    found = shown(black, attributes, {"annotation": "overlays"})
    expected = np.zeros((16, 16), np.uint8)
    expected[1:9, 2:10] = mask * 255
    np.testing.assert_array_equal(found, expected)


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("image/jpeg", "JPEG"),
        ("image/png", "PNG"),
        ("image/gif", "GIF"),
        ("image/jp2", "JPEG2000"),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_the_media_types(kind: str, name: str, photometric: str) -> None:
    values = COLOURS if photometric == "RGB" else PLAIN
    frame = Frame(1, {}, values, photometric)
    data = render(frame, rendered_options({}), kind)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == (name, values.shape[1::-1])
    if name == "JPEG":
        assert not image.info.get("progressive")
        assert b"\xff\xc0" in data  # baseline


def test_frames_move() -> None:
    frames = [
        Frame(n, {}, np.full((4, 4), n, np.uint8), "MONOCHROME2") for n in (1, 2, 3)
    ]
    data = animate(
        iter(frames),
        [1, 2, 3],
        {"00181063": element(200, vr="DS")},
        rendered_options({"window": "2,4"}),
    )
    image = Image.open(io.BytesIO(data))
    assert (image.n_frames, image.info["duration"]) == (3, 200)


def test_a_profile_is_put_with_colours_only_when_it_is_wanted() -> None:
    frame = Frame(1, {}, COLOURS, "RGB")
    for wanted, there in (("no", False), ("yes", True), ("srgb", True)):
        data = render(frame, rendered_options({"iccprofile": wanted}), PNG)
        assert ("icc_profile" in Image.open(io.BytesIO(data)).info) is there


# -- parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "0"),
        ("quality", "101"),
        ("quality", "high"),
        ("quality", ""),
        ("viewport", "0,10"),
        ("viewport", "8193,10"),
        ("viewport", "-5,10"),
        ("viewport", "10"),
        ("viewport", "1,2,3"),
        ("viewport", "10,10,0,0,0,5"),
        ("viewport", "10,10,-1,0,5,5"),
        ("viewport", "1.5,2"),
        ("window", "1"),
        ("window", "1,0"),
        ("window", "1,0.5,linear"),
        ("window", "1,0,sigmoid"),
        ("window", "1,nan"),
        ("window", "1,2,cubic"),
        ("window", "1e999,2"),
        ("iccprofile", "cmyk"),
        ("iccprofile", "adobergb"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name):
        rendered_options({name: value})


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"rows": "0"}, "rows"),
        ({"columns": "9000"}, "columns"),
        ({"region": "0,0,1"}, "region"),
        ({"region": "0.5,0,0.5,1"}, "region"),
        ({"region": "0,0,1.1,1"}, "region"),
        ({"windowCenter": "1"}, "windowWidth"),
        ({"windowWidth": "1"}, "windowCenter"),
        ({"windowCenter": "1", "windowWidth": "0"}, "windowWidth"),
        ({"imageQuality": "0"}, "imageQuality"),
    ],
)
def test_a_wrong_value_of_an_address(query: dict[str, str], name: str) -> None:
    with pytest.raises(BadRequest, match=name):
        uri_options(query)


def test_what_is_not_known_is_passed_over_and_said() -> None:
    options = rendered_options({"annotation": "patient,measurements", "colour": "red"})
    assert options.annotation == {"patient"}
    assert options.warnings
