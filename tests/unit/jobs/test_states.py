"""The states of a job, without any clock but the one in the words."""

from dataclasses import replace

import pytest

from gateway.jobs.states import Patience, is_due
from gateway.storage.jobs import JobRow

NOW = 1_000_000.0
ROW = JobRow(
    id="a",
    number=1,
    version=1,
    type="work",
    priority=0,
    state="Pending",
    wanted="",
    owner="",
    due=NOW,
    request="[{}, {}, 0]",
    checkpoint="{}",
    content="{}",
    progress=0.0,
    created=NOW,
    completed=None,
    runtime=0.0,
    attempts=0,
    error=None,
)


@pytest.mark.parametrize(
    ("state", "due", "expected"),
    [
        ("Pending", NOW, True),
        ("Pending", NOW + 0.1, False),  # other processes may take it before
        ("Pending", NOW + 60, True),  # as it was written now, the clock went back
        ("Retry", NOW - 1, True),
        ("Retry", NOW + 60, False),
        ("Retry", NOW + 3600, False),  # no server may ask for more
        ("Retry", NOW + 3700, True),
        ("Running", NOW, False),
        ("Paused", NOW, False),
        ("Success", NOW, False),
    ],
)
def test_whose_turn_it_is(state: str, due: float, expected: bool) -> None:
    row = replace(ROW, state=state, due=due)
    assert is_due(row, NOW, Patience()) is expected
