"""Presentation states over WADO-URI: what somebody saw, or a refusal (PS3.4 N.2)."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.clients import ROOT, store
from tests.factories import dataset, dicom_file, encode
from tests.unit.dicom.test_render import linear
from tests.web.test_rendered import multiframe, pixels
from tests.web.test_wado_rs import instance_path, parts_of
from tests.web.test_wado_uri import get, query, uid_of

GRAYSCALE_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
VALUES = (np.arange(8 * 12, dtype=np.uint16) * 40).reshape(8, 12)
WHOLE = linear(VALUES, 2048, 4096)  # of 12 bits


def grey(**others: Any) -> bytes:
    return dicom_file(
        **{
            "Rows": 8,
            "Columns": 12,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME1",
            "WindowCenter": 100,
            "WindowWidth": 10,
            "RescaleIntercept": -1000,
            "RescaleSlope": 2,
            "PixelData": VALUES.tobytes(),
            **others,
        }
    )


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def reference(file: bytes, frames: Any = None) -> Dataset:
    made = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid_of(file))
    if frames is not None:
        made.ReferencedFrameNumber = frames
    return made


def state(file: bytes, frames: Any = None, **attributes: Any) -> bytes:
    """A presentation state of an image, as plain as can be."""
    series = item(
        SeriesInstanceUID="1.2.3.1.1",
        ReferencedImageSequence=[reference(file, frames)],
    )
    made = dataset(
        SOPClassUID=GRAYSCALE_STATE,
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID="1.2.3.1.7",
        Modality="PR",
        ReferencedSeriesSequence=[series],
        PresentationLUTShape="IDENTITY",
    )
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return encode(made)


def area(left: int, top: int, right: int, bottom: int, **others: Any) -> Dataset:
    made = {
        "DisplayedAreaTopLeftHandCorner": [left, top],
        "DisplayedAreaBottomRightHandCorner": [right, bottom],
        "PresentationSizeMode": "SCALE TO FIT",
        **others,
    }
    return item(**made)


async def ask(client: Any, file: bytes, shown: bytes, **others: str) -> Any:
    asked = {
        "contentType": "image/png",
        "presentationUID": uid_of(shown),
        "presentationSeriesUID": "1.2.3.1.7",
        **others,
    }
    return await get(client, query(file, **asked))


async def seen(client: Any, file: bytes, shown: bytes, **others: str) -> np.ndarray:
    await store(client, file, shown)
    response, data = await ask(client, file, shown, **others)
    assert response.status == 200, data
    return pixels(data)


async def test_values_are_those_of_the_state_alone(client: Any) -> None:
    file = grey()
    np.testing.assert_array_equal(await seen(client, file, state(file)), WHOLE)
    inverse = state(file, PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(await seen(client, file, inverse), 255 - WHOLE)


async def test_the_window_of_a_state(client: Any) -> None:
    file = grey()
    window = item(WindowCenter=3000, WindowWidth=2000)
    shown = state(
        file, SoftcopyVOILUTSequence=[window], RescaleSlope=2, RescaleIntercept=-50
    )
    found = await seen(client, file, shown)
    expected = linear(VALUES * 2.0 - 50, 3000, 2000)
    np.testing.assert_array_equal(found, expected)
    shown = state(file, RescaleSlope=-1, RescaleIntercept=0, RescaleType="US")
    np.testing.assert_array_equal(
        await seen(client, file, shown), linear(-1.0 * VALUES, -2047, 4096)
    )


def table(entries: np.ndarray, first: int = 0) -> Dataset:
    made = item(LUTDescriptor=[len(entries), first, 8], LUTData=entries.tolist())
    made["LUTDescriptor"].VR = made["LUTData"].VR = "US"
    return made


async def test_the_tables_of_a_state(client: Any) -> None:
    file = grey()
    curve = (np.arange(4096) // 16)[::-1]
    voi = item(VOILUTSequence=[table(curve)])
    found = await seen(client, file, state(file, SoftcopyVOILUTSequence=[voi]))
    np.testing.assert_array_equal(found, curve[VALUES])
    squares = np.arange(256) ** 2 // 255
    made = state(file, PresentationLUTSequence=[table(squares)])
    np.testing.assert_allclose(await seen(client, file, made), squares[WHOLE], atol=2)


async def test_an_item_is_for_the_frames_that_it_names(client: Any) -> None:
    file = multiframe(3)
    windows = [
        item(
            WindowCenter=5, WindowWidth=1, ReferencedImageSequence=[reference(file, 1)]
        ),
        item(
            WindowCenter=800,
            WindowWidth=1600,
            ReferencedImageSequence=[reference(file, [2, 3])],
        ),
    ]
    shown = state(file, [1, 2], SoftcopyVOILUTSequence=windows)
    values = np.arange(64, 128).reshape(8, 8) * 10
    found = await seen(client, file, shown, frameNumber="2")
    np.testing.assert_array_equal(found, linear(values, 800, 1600))
    response, data = await ask(client, file, shown, frameNumber="3")
    assert response.status == 400
    assert b"does not concern" in data
    areas = [
        area(1, 1, 4, 4, ReferencedImageSequence=[reference(file, 1)]),
        area(1, 1, 8, 8, ReferencedImageSequence=[reference(file, [2, 3])]),
    ]
    differing = state(file, DisplayedAreaSelectionSequence=areas)
    await store(client, differing)
    response, data = await ask(client, file, differing, contentType="image/gif")
    assert response.status == 406
    assert b"differs between" in data


async def test_it_is_turned_before_it_is_flipped(client: Any) -> None:
    file = grey()
    for rotation in (0, 90, 180, 270):
        for flip in ("N", "Y"):
            shown = state(file, ImageRotation=rotation, ImageHorizontalFlip=flip)
            expected = np.rot90(WHOLE, -rotation // 90)
            expected = expected[:, ::-1] if flip == "Y" else expected
            found = await seen(client, file, shown)
            np.testing.assert_array_equal(found, expected)


async def test_the_area_may_lie_within_or_beyond_the_image(client: Any) -> None:
    file = grey()
    shown = state(file, DisplayedAreaSelectionSequence=[area(3, 2, 10, 7)])
    np.testing.assert_array_equal(await seen(client, file, shown), WHOLE[1:7, 2:10])
    turned = state(
        file, DisplayedAreaSelectionSequence=[area(10, 7, 3, 2)], ImageRotation=180
    )
    np.testing.assert_array_equal(
        await seen(client, file, turned), np.rot90(WHOLE[1:7, 2:10], 2)
    )
    beyond = state(file, DisplayedAreaSelectionSequence=[area(-1, 0, 14, 9)])
    expected = np.pad(WHOLE, ((1, 1), (2, 2)))
    np.testing.assert_array_equal(await seen(client, file, beyond), expected)


async def test_how_large_it_is(client: Any) -> None:
    file = grey(PixelSpacing=[1, 3])
    stretched = area(1, 1, 12, 8, PresentationPixelSpacing=[2, 1])
    shown = state(file, DisplayedAreaSelectionSequence=[stretched], ImageRotation=90)
    assert (await seen(client, file, shown)).shape == (12, 16)
    boxed = await seen(client, file, shown, rows="60", columns="40")
    assert boxed.shape == (30, 40)
    square = area(
        *(1, 1, 12, 8),
        PresentationPixelAspectRatio=[1, 1],
        PresentationSizeMode="MAGNIFY",
        PresentationPixelMagnificationRatio=2.5,
    )
    shown = state(file, DisplayedAreaSelectionSequence=[square])
    assert (await seen(client, file, shown)).shape == (20, 30)


async def test_shutters_hide_what_is_outside_of_all_of_them(client: Any) -> None:
    file = grey()
    edges = {
        "ShutterLeftVerticalEdge": 3,
        "ShutterRightVerticalEdge": 11,
        "ShutterUpperHorizontalEdge": 2,
        "ShutterLowerHorizontalEdge": 7,
    }
    shown = state(
        file,
        ShutterShape="RECTANGULAR",
        ShutterPresentationValue=0x8080,
        **edges,
    )
    expected = np.full_like(WHOLE, 128)
    expected[1:7, 2:11] = WHOLE[1:7, 2:11]
    np.testing.assert_array_equal(await seen(client, file, shown), expected)
    both = state(
        file,
        ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        CenterOfCircularShutter=[4, 6],
        RadiusOfCircularShutter=3,
        VerticesOfThePolygonalShutter=[1, 1, 1, 12, 8, 12, 8, 1],
        ShutterPresentationValue=0,
        **edges,
    )
    found = await seen(client, file, both)
    assert found[3, 5] == WHOLE[3, 5]
    assert found[3, 8] == WHOLE[3, 8]
    assert found[1, 2] == found[3, 10] == found[7, 5] == 0


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"GraphicAnnotationSequence": [item(GraphicLayer="A")]},
            "graphic annotations",
        ),
        ({"MaskSubtractionSequence": [item(MaskOperation="AVG_SUB")]}, "masks"),
        ({"ShutterShape": "BITMAP"}, "shutter of bits"),
        ({"ShutterShape": "OVAL"}, "OVAL"),
        ({"ShutterShape": "CIRCULAR"}, "without its place"),
        ({"ImageRotation": 45}, "rotation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.2"}, "only grayscale"),
        (
            {
                "DisplayedAreaSelectionSequence": [
                    area(1, 1, 8, 8, PresentationSizeMode="TRUE SIZE")
                ]
            },
            "true size",
        ),
        (
            {"DisplayedAreaSelectionSequence": [area(1, 1, 90_000, 90_000)]},
            "too large",
        ),
    ],
)
async def test_what_cannot_be_honoured_is_refused(
    client: Any, attributes: dict[str, Any], words: str
) -> None:
    file = grey()
    shown = state(file, **attributes)
    await store(client, file, shown)
    response, data = await ask(client, file, shown)
    assert response.status == 406
    assert words in data.decode()


async def test_overlays_of_a_state_are_refused(client: Any) -> None:
    file = grey()
    made = state(file)
    plane = (
        b"\x00\x60\x00\x30OW\0\0\2\0\0\0\xff\xff"  # ends the file: its group is high
    )
    await store(client, file, made + plane)
    response, data = await ask(client, file, made)
    assert response.status == 406
    assert b"overlays" in data


async def test_a_state_that_is_not_there_or_not_of_this_image(client: Any) -> None:
    file, other = grey(), grey()
    shown = state(other)
    await store(client, file, other, shown)
    assert (await ask(client, file, shown))[0].status == 400
    assert (await ask(client, other, shown))[0].status == 200
    absent = await ask(client, other, shown, presentationUID="1.2.9")
    assert absent[0].status == 404
    for name in ("windowCenter", "region", "presentationUID"):
        response, data = await ask(client, other, shown, **{name: "x"})
        assert response.status == 400
        assert name.encode() in data


async def test_a_state_is_for_shades_of_grey(client: Any) -> None:
    file = grey(
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=bytes(8 * 12 * 3),
    )
    shown = state(file)
    await store(client, file, shown)
    response, data = await ask(client, file, shown)
    assert response.status == 406
    assert b"grey" in data


async def test_a_picture_is_another_when_the_state_is(start: Any) -> None:
    client = await start(OverwriteInstances="Always")
    file = grey()
    first = state(file)
    await store(client, file, first)
    response, plain = await ask(client, file, first)
    tag = response.headers["ETag"]
    second = state(file, PresentationLUTShape="INVERSE", SOPInstanceUID=uid_of(first))
    await store(client, second)
    response, inverse = await ask(client, file, second)
    assert response.headers["ETag"] != tag
    assert (pixels(plain) == 255 - pixels(inverse)).all()


# -- the state itself --------------------------------------------------------------------


async def rendered(client: Any, shown: bytes, accept: str, **asked: str) -> Any:
    path = f"{ROOT}/{instance_path(shown)}/rendered"
    response = await client.get(path, headers={"Accept": accept}, params=asked or None)
    return response, await response.read()


async def test_a_state_of_one_image_is_that_image(client: Any) -> None:
    file = grey()
    shown = state(file, PresentationLUTShape="INVERSE")
    await store(client, file, shown)
    response, data = await rendered(client, shown, "image/png")
    assert response.status == 200
    np.testing.assert_array_equal(pixels(data), 255 - WHOLE)
    for name in ("window", "viewport", "annotation"):
        response, data = await rendered(client, shown, "image/png", **{name: "1,2"})
        assert response.status == 400
        assert name.encode() in data


async def test_a_state_of_several_images_is_a_part_for_each(client: Any) -> None:
    files = [grey(), multiframe(3)]
    shown = state(files[0])
    read = pydicom.dcmread(io.BytesIO(shown))
    several = read.ReferencedSeriesSequence[0].ReferencedImageSequence
    several.append(reference(files[1], [2, 3]))
    shown = encode(read)
    await store(client, *files, shown)
    response, data = await rendered(client, shown, "image/png")
    assert response.status == 406
    accept = 'multipart/related; type="image/png"'
    response, data = await rendered(client, shown, accept)
    assert response.status == 200
    parts = parts_of(response.headers["Content-Type"], data)
    assert [h["content-location"].rsplit("/", 4)[1:] for h, _ in parts] == [
        [uid_of(files[0]), "frames", "1", "rendered"],
        [uid_of(files[1]), "frames", "2", "rendered"],
        [uid_of(files[1]), "frames", "3", "rendered"],
    ]
    np.testing.assert_array_equal(pixels(parts[0][1]), WHOLE)
    await client.delete(f"{ROOT}/{instance_path(files[0])}")
    response, data = await rendered(client, shown, accept)
    assert response.status == 206
    assert len(parts_of(response.headers["Content-Type"], data)) == 2
    await client.delete(f"{ROOT}/{instance_path(files[1])}")
    response, data = await rendered(client, shown, accept)
    assert response.status == 404
