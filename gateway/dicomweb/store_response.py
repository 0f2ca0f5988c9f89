"""The answer to a store: what was kept and what was not, and why (PS3.18 annex I).

Built item by item as instances come through, as JSON: a request may hold a hundred
thousand of them. XML is made of it at the end, for the few who ask.
"""

from http import HTTPStatus

import orjson

from gateway.dicom.xml import to_xml
from gateway.outcomes import FailureReason, Outcome, Refused, Stored

_LONGEST_COMMENT = 64  # of ErrorComment, an LO


class StoreResponse:
    """Collects outcomes, in the order in which they are added."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._stored: list[bytes] = []
        self._failed: list[bytes] = []
        self._unnamed: list[bytes] = []  # failures that name no instance
        self._studies: set[str] = set()
        self._reasons: set[FailureReason] = set()

    def add(self, outcome: Outcome) -> None:
        """Count one instance."""
        if isinstance(outcome, Stored):
            self._add_stored(outcome)
        else:
            self._add_refused(outcome)

    def _add_stored(self, stored: Stored) -> None:
        uids = stored.uids
        url = (
            f"{self._root}studies/{uids.study}/series/{uids.series}"
            f"/instances/{uids.instance}"
        )
        self._studies.add(uids.study)
        self._stored.append(
            orjson.dumps(
                {
                    "00081150": _uid(stored.sop_class),
                    "00081155": _uid(uids.instance),
                    "00081190": {"vr": "UR", "Value": [url]},
                }
            )
        )

    def _add_refused(self, refused: Refused) -> None:
        self._reasons.add(refused.reason)
        item = {
            "00000902": {"vr": "LO", "Value": [refused.message[:_LONGEST_COMMENT]]},
            "00081197": {"vr": "US", "Value": [int(refused.reason)]},
        }
        if not refused.instance:
            self._unnamed.append(orjson.dumps(item))
            return
        item["00081150"] = _uid(refused.sop_class)
        item["00081155"] = _uid(refused.instance)
        self._failed.append(orjson.dumps(dict(sorted(item.items()))))

    @property
    def status(self) -> HTTPStatus:
        """By PS3.18 table 10.5.3-1; 507 where nothing was stored for lack of room."""
        if not self._reasons:
            return HTTPStatus.OK
        if self._stored:
            return HTTPStatus.ACCEPTED
        if self._reasons == {FailureReason.OUT_OF_RESOURCES}:
            return HTTPStatus.INSUFFICIENT_STORAGE
        return HTTPStatus.CONFLICT

    def __len__(self) -> int:
        return len(self._stored) + len(self._failed) + len(self._unnamed)

    def json(self) -> bytes:
        """The data set as DICOM JSON: one object, not an array."""
        parts = [b'{"00080005":{"vr":"CS","Value":["ISO_IR 192"]}']
        if len(self._studies) == 1:
            url = f"{self._root}studies/{next(iter(self._studies))}"
            parts.append(b'"00081190":' + orjson.dumps({"vr": "UR", "Value": [url]}))
        if self._failed:
            parts.append(_sequence(b"00081198", self._failed))
        parts.append(_sequence(b"00081199", self._stored))
        if self._unnamed:
            parts.append(_sequence(b"0008119A", self._unnamed))
        return b",".join(parts) + b"}"

    def xml(self) -> bytes:
        """The data set as one document of the native model."""
        return to_xml(orjson.loads(self.json()))


def _uid(uid: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


def _sequence(tag: bytes, items: list[bytes]) -> bytes:
    if not items:
        return b'"' + tag + b'":{"vr":"SQ"}'
    return b'"' + tag + b'":{"vr":"SQ","Value":[' + b",".join(items) + b"]}"
