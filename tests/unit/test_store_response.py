"""The answer to a store, which is written as text and has to be JSON all the same."""

import orjson
import pytest

from gateway.dicom.hierarchy import Uids
from gateway.dicomweb.store_response import StoreResponse
from gateway.outcomes import FailureReason, Refused, Stored, WarningReason

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.2"
IDS = ("a", "b", "c", "d")


def stored(instance: str, sop_class: str = SOP_CLASS) -> Stored:
    return Stored(Uids("P1", "1", "1.2", instance), IDS, sop_class, already_there=False)


@pytest.mark.parametrize("root", ["http://host/dicom-web/", 'http://a"b\\c/ä/'])
@pytest.mark.parametrize("sop_class", [SOP_CLASS, ""])
@pytest.mark.parametrize("warning", [None, WarningReason.COERCED])
def test_what_is_stored_is_told_as_the_standard_has_it(
    root: str, sop_class: str, warning: WarningReason | None
) -> None:
    answer = StoreResponse(root)
    for instance in ("1.2.3", "1.2.4"):
        answer.add(stored(instance, sop_class), warning)
    items = []
    for instance in ("1.2.3", "1.2.4"):
        url = f"{root}studies/1/series/1.2/instances/{instance}"
        item = {
            "00081150": {"vr": "UI"} | ({"Value": [sop_class]} if sop_class else {}),
            "00081155": {"vr": "UI", "Value": [instance]},
            "00081190": {"vr": "UR", "Value": [url]},
        }
        if warning is not None:
            item["00081196"] = {"vr": "US", "Value": [int(warning)]}
        items.append(item)
    expected = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00081190": {"vr": "UR", "Value": [f"{root}studies/1"]},
        "00081199": {"vr": "SQ", "Value": items},
    }
    assert answer.json() == orjson.dumps(expected)


def test_stored_and_refused_stand_beside_each_other() -> None:
    answer = StoreResponse("http://host/")
    answer.add(stored("1.2.3"))
    answer.add(
        Refused(FailureReason.DUPLICATE_INSTANCE, 'it is "there"', SOP_CLASS, "1.2.4")
    )
    answer.add(Refused(FailureReason.CANNOT_UNDERSTAND, "no DICM"))
    told = orjson.loads(answer.json())
    assert [
        len(told[tag]["Value"]) for tag in ("00081198", "00081199", "0008119A")
    ] == [
        1,
        1,
        1,
    ]
    assert told["00081198"]["Value"][0]["00000902"]["Value"] == ['it is "there"']
    assert len(answer) == 3
