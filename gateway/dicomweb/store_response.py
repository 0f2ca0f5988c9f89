"""The answer to a store: what was kept and what was not, and why (PS3.18 annex I).

Built item by item as instances come through, as JSON: a request may hold a hundred
thousand of them. XML is made of it at the end, for the few who ask.
"""

from http import HTTPStatus
from typing import Any

import orjson

from gateway.dicom.xml import to_xml
from gateway.outcomes import FailureReason, Outcome, Refused, Stored, WarningReason

_LONGEST_COMMENT = 64  # of ErrorComment, an LO


class StoreResponse:
    """Collects outcomes, in the order in which they are added."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._urls = orjson.dumps(f"{root}studies/")[1:-1].decode()
        self._stored = _Items(b"00081199")
        self._failed = _Items(b"00081198")
        self._unnamed = _Items(b"0008119A")  # failures that name no instance
        self._study: str | None = None  # of all that is stored, while it is the same
        self._reasons: set[FailureReason] = set()
        self._for_later = 0  # of the failures
        self._warned = False

    def add(self, outcome: Outcome, warning: WarningReason | None = None) -> None:
        """Count one instance; `warning` if it is stored and not as it was sent."""
        if isinstance(outcome, Stored):
            self._add_stored(outcome, warning)
        else:
            self._add_refused(outcome)

    def _add_stored(self, stored: Stored, warning: WarningReason | None) -> None:
        # A UID is digits and dots: nothing of it has to be escaped, and this is quick.
        uids = stored.uids
        if not self._stored.count:
            self._study = uids.study
        elif self._study != uids.study:
            self._study = None
        sop_class = f',"Value":["{stored.sop_class}"]' if stored.sop_class else ""
        address = f"{uids.study}/series/{uids.series}/instances/{uids.instance}"
        end = "}"
        if warning is not None:
            self._warned = True
            end = f',"00081196":{{"vr":"US","Value":[{warning:d}]}}}}'
        item = (
            f'{{"00081150":{{"vr":"UI"{sop_class}}},'
            f'"00081155":{{"vr":"UI","Value":["{uids.instance}"]}},'
            f'"00081190":{{"vr":"UR","Value":["{self._urls}{address}"]}}{end}'
        )
        self._stored.add(item.encode())

    def _add_refused(self, refused: Refused) -> None:
        self._reasons.add(refused.reason)
        self._for_later += refused.is_for_later
        item: dict[str, Any] = {
            "00000902": {"vr": "LO", "Value": [refused.message[:_LONGEST_COMMENT]]},
            "00081197": {"vr": "US", "Value": [int(refused.reason)]},
        }
        if not refused.instance:
            self._unnamed.add(orjson.dumps(item))
            return
        item["00081150"] = _uid(refused.sop_class)
        item["00081155"] = _uid(refused.instance)
        self._failed.add(orjson.dumps(dict(sorted(item.items()))))

    @property
    def status(self) -> HTTPStatus:
        """By PS3.18 table 10.5.3-1, where nothing was stored for a fault of some part.

        507 if it was for lack of room, 503 if the storage does not work.
        """
        if not self._reasons:
            return HTTPStatus.ACCEPTED if self._warned else HTTPStatus.OK
        if self._stored.count:
            return HTTPStatus.ACCEPTED
        if self._reasons == {FailureReason.OUT_OF_RESOURCES}:
            return HTTPStatus.INSUFFICIENT_STORAGE
        if self._for_later == self._failed.count + self._unnamed.count:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.CONFLICT

    @property
    def stored(self) -> int:
        """How many are held now."""
        return self._stored.count

    def __len__(self) -> int:
        return self._stored.count + self._failed.count + self._unnamed.count

    def json(self) -> bytes:
        """The data set as DICOM JSON: one object, not an array."""
        parts = [b'{"00080005":{"vr":"CS","Value":["ISO_IR 192"]}']
        url: dict[str, Any] = {"vr": "UR"}
        if self._study is not None:
            url["Value"] = [f"{self._root}studies/{self._study}"]
        parts.append(b'"00081190":' + orjson.dumps(url))
        if self._failed.count:
            parts.append(self._failed.sequence())
        parts.append(self._stored.sequence())
        if self._unnamed.count:
            parts.append(self._unnamed.sequence())
        return b",".join(parts) + b"}"

    def xml(self) -> bytes:
        """The data set as one document of the native model."""
        return to_xml(orjson.loads(self.json()))


def _uid(uid: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


class _Items:
    """The items of a sequence as one text: a list of a hundred thousand costs tenfold."""

    def __init__(self, tag: bytes) -> None:
        self.count = 0
        self._tag = tag
        self._text = bytearray()

    def add(self, item: bytes) -> None:
        if self.count:
            self._text += b","
        self._text += item
        self.count += 1

    def sequence(self) -> bytes:
        """The element of the sequence, with its key."""
        if not self.count:
            return b'"%b":{"vr":"SQ"}' % self._tag
        return b'"%b":{"vr":"SQ","Value":[%b]}' % (self._tag, bytes(self._text))
