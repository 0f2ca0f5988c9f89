"""What pydicom makes of a data set in the DICOM JSON model, to compare with ours.

pydicom's JSON differs from PS3.18 F in ways that are known; ``comparable`` brings both to
one form, so that whatever still differs is somebody's mistake:

* numbers: DS and IS may be numbers or text, SV and UV beyond 2**53 are text;
* what JSON cannot say (not a number, infinite) is null in ours;
* binary values: by reference or inline, only whether there are bytes is compared;
* blanks: padding, and the blanks that PS3.5 6.2 calls insignificant;
* empty values: null, an empty text and an empty name are the same nothing;
* representations the standard leaves open (US or SS, OB or OW) and those that one
  dictionary knows and the other does not.
"""

import math
import re
import warnings
from decimal import Decimal, InvalidOperation
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_NUMBERS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV"})
_PADDING = " \0"


def pydicom_json(data_set: Dataset) -> dict[str, Any]:
    """The data set in the JSON model as pydicom reads it, without its own JSON writer.

    That writer fails on much that real files hold; the values it would write are the
    same as these.
    """
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for element in data_set:
            if element.tag.element == 0 or element.tag.group == 2:
                continue
            if element.tag == 0x00080001:
                continue
            found[f"{int(element.tag):08X}"] = _element(element)
    return found


def _element(element: DataElement) -> dict[str, Any]:
    if element.VR == "SQ":
        return {"vr": "SQ", "Value": [pydicom_json(item) for item in element.value]}
    if element.VR in BINARY or " " in element.VR:
        return {"vr": str(element.VR), "bytes": bool(element.value)}
    if element.is_empty:
        return {"vr": str(element.VR)}
    value = element.value
    values = list(value) if isinstance(value, list | MultiValue | tuple) else [value]
    if element.VR == "PN":
        values = [
            dict(
                zip(
                    ("Alphabetic", "Ideographic", "Phonetic"),
                    name.components,
                    strict=False,
                )
            )
            for name in values
        ]
    if element.VR == "AT":
        values = [f"{int(tag):08X}" for tag in values]
    return {"vr": str(element.VR), "Value": values}


def comparable(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes in the form in which ours and pydicom's are equal."""
    return {tag: _comparable(element) for tag, element in attributes.items()}


def _comparable(element: dict[str, Any]) -> Any:
    vr = element["vr"]
    if vr == "SQ":
        return [comparable(item) for item in element.get("Value", ())]
    if "BulkDataURI" in element or "InlineBinary" in element:
        return "bytes"
    if "bytes" in element:
        return "bytes" if element["bytes"] else []
    values = [_value(vr, value) for value in element.get("Value", ())]
    return [] if values == [None] else values


def _value(vr: str, value: Any) -> Any:
    if isinstance(value, dict):
        name = {
            key: re.sub(r"[ \0]+$", "", group) for key, group in value.items() if group
        }
        return {key: group for key, group in name.items() if group} or None
    if vr in _NUMBERS:
        return _number(value)
    text = str(value if value is not None else "")
    if vr in ("UC", "UI", "LT", "ST", "UT", "UR"):
        return text.rstrip(_PADDING) or None
    return text.strip(_PADDING) or None


def _number(value: Any) -> Any:
    text = str(getattr(value, "original_string", None) or value).strip(_PADDING)
    if value is None or not text:
        return None
    try:
        number = Decimal(value if isinstance(value, int | float) else text)
    except InvalidOperation:
        return text
    return None if not math.isfinite(number) else float(number)
