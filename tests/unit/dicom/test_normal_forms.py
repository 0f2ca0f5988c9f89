"""Values that are written in several ways have one form to compare."""

from decimal import Decimal

import pytest

from gateway.dicom.normal_forms import (
    normalise_date,
    normalise_date_time,
    normalise_name,
    normalise_name_groups,
    normalise_number,
    normalise_text,
    normalise_time,
)


@pytest.mark.parametrize(
    ("normalise", "value", "expected"),
    [
        (normalise_text, "  Été ", "été"),
        (normalise_name, " Doe ^ John ^ ^", "doe^john"),
        (normalise_name, "^^", ""),
        (normalise_date, "20200131 ", "20200131"),
        (normalise_date, "1997.01.31", "19970131"),
        (normalise_date, "1997.0131", None),
        (normalise_date, "2020", None),
        (normalise_date, "", None),
        (normalise_time, "10", "100000.000000"),
        (normalise_time, "10:30:12.5", "103012.500000"),
        (normalise_time, "103012.1234567", "103012.123456"),
        (normalise_time, "103012.", "103012.000000"),
        (normalise_time, "1", None),
        (normalise_date_time, "2020", "20200101000000.000000"),
        (normalise_date_time, "2020-0500", "20200101000000.000000-0500"),
        (normalise_date_time, "20200102030405.6+0100", "20200102030405.600000+0100"),
        (normalise_date_time, "202", None),
        (normalise_number, "05.0", Decimal(5)),
        (normalise_number, 0.1, Decimal("0.1")),
        (normalise_number, float("nan"), None),
        (normalise_number, True, None),
        (normalise_number, "1e99999", None),
        (normalise_number, "", None),
    ],
)
def test_values_have_one_normal_form(normalise, value, expected):
    assert normalise(value) == expected


def test_every_group_of_every_name_has_its_normal_form():
    yamada = {
        "Alphabetic": "Yamada^Tarou",
        "Ideographic": "山田^太郎",
        "Phonetic": "やまだ^たろう",
    }
    element = {"vr": "PN", "Value": [{"Alphabetic": "Doe^^"}, None, yamada]}
    assert normalise_name_groups(element) == [
        "doe",
        "yamada^tarou",
        "山田^太郎",
        "やまだ^たろう",
    ]
    assert normalise_name_groups({"vr": "PN"}) == []
    assert normalise_name_groups(element, case_sensitive=True)[0] == "Doe"
