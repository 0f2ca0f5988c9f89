"""What goes to a server that stores, and what it answers."""

import json

import pytest

from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest
from gateway.remote.storing import StoreBody, store_answer_of, words_of
from gateway.storage.reading import FileRange
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import MultipartReader, PartData, PartEnd


def item(instance: str, **more: object) -> dict[str, object]:
    return {"00081155": {"vr": "UI", "Value": [instance]}, **more}


def reason(number: object) -> dict[str, object]:
    return {"00081197": {"vr": "US", "Value": [number]}}


PARTLY = {
    "00081190": {"vr": "UR", "Value": ["http://pacs/studies/1"]},
    "00081198": {"vr": "SQ", "Value": [item("1.2", **reason(0xA700))]},
    "00081199": {"vr": "SQ", "Value": [item("1.1"), item("1.3")]},
    "0008119A": {"vr": "SQ", "Value": [reason(0xC000)]},
}


def lower(value: object) -> object:
    if isinstance(value, dict):
        return {
            key if key in ("vr", "Value") else key.lower(): lower(value[key])
            for key in value
        }
    return [lower(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PARTLY).encode(),
        json.dumps([PARTLY]).encode(),
        b"\xef\xbb\xbf " + json.dumps(lower(PARTLY)).encode(),
        to_xml(PARTLY),
    ],
    ids=["object", "array", "lower case", "xml"],
)
def test_every_form_of_an_answer_is_read(text: bytes):
    answer = store_answer_of(text)
    assert answer.described
    assert answer.stored == ("1.1", "1.3")
    (first, second) = answer.failed
    assert (first.instance, first.reason) == ("1.2", 0xA700)
    assert first.words == "out of resources (A700H)"
    assert (second.instance, second.reason) == ("", 0xC000)
    assert second.words == "cannot be understood (C000H)"


@pytest.mark.parametrize("text", [b"", b" \n", b"{}", b'{"00081190":{"vr":"UR"}}'])
def test_an_answer_without_lists_says_nothing(text: bytes):
    assert not store_answer_of(text).described
    assert store_answer_of(text).stored == ()


@pytest.mark.parametrize("text", [b"OK", b"<html/>", b"[1]", b'"x"', b'{"0008'])
def test_what_is_no_answer_to_a_store_is_refused(text: bytes):
    with pytest.raises(BadRequest):
        store_answer_of(text)


def test_strange_reasons_do_not_hide_that_an_instance_failed():
    strange = {
        "00081198": {
            "vr": "SQ",
            "Value": [
                item("1.1"),
                item("1.2", **reason("43264")),
                item("1.3", **reason("why")),
                item("1.4", **{"00081197": {"vr": "US"}}),
                None,
            ],
        }
    }
    failed = store_answer_of(json.dumps(strange).encode()).failed
    assert [one.instance for one in failed] == ["1.1", "1.2", "1.3", "1.4"]
    assert [one.reason for one in failed] == [0, 0xA900, 0, 0]
    assert failed[1].words == "data set does not match its SOP class (A900H)"


@pytest.mark.parametrize("number", [2**70, -1, 0x10000, 1e300, "9" * 30])
def test_a_reason_that_no_attribute_can_hold_is_none(number: object):
    failed = {"00081198": {"vr": "SQ", "Value": [item("1.1", **reason(number))]}}
    (one,) = store_answer_of(json.dumps(failed).encode()).failed
    assert (one.instance, one.reason, one.words) == ("1.1", 0, "no reason given")


def test_a_comment_on_an_error_is_told():
    commented = item("1.1", **reason(0x0110))
    commented["00000902"] = {"vr": "LO", "Value": ["no room"]}
    text = json.dumps({"00081198": {"vr": "SQ", "Value": [commented]}})
    (failed,) = store_answer_of(text.encode()).failed
    assert failed.words == "processing failure (0110H): no room"


def test_unknown_reasons_have_their_number():
    assert words_of(0xB1B1) == "reason B1B1H"
    assert words_of(0) == "no reason given"


def test_the_body_is_as_long_as_it_says_and_can_be_made_again():
    files = [b"a" * 10, b"", b"--x\r\n" * 3]
    body = StoreBody([FileRange(str(n), 0, len(file)) for n, file in enumerate(files)])
    made = b"".join(
        piece if isinstance(piece, bytes) else files[int(piece.blob)]
        for piece in body.pieces()
    )
    assert len(made) == body.length
    assert body.pieces() == body.pieces()
    media = parse_media_type(body.content_type)
    assert media.inner == "application/dicom"
    reader = MultipartReader(media.parameters["boundary"])
    parts = [b""]
    for event in reader.feed(made):
        if isinstance(event, PartData):
            parts[-1] += event.body
        elif isinstance(event, PartEnd):
            parts.append(b"")
    reader.close()
    assert parts[:-1] == files
