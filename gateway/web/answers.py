"""Answers that are ready: kept in memory as they went out, as long as they are true.

An answer is of a version of the archive, read from the database together with all that
the answer says (`gateway.storage.stamp`). As long as no process has told of another one,
it is given again without a look at the database. What is kept is bounded, and so is what
is being gathered to be kept; what was not asked for longest goes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.web.whole import Whole

#: Bytes of all answers that are kept, and of those being gathered.
KEPT = 64 * 1024 * 1024

#: Longer answers are not kept (bytes).
LONGEST = 8 * 1024 * 1024

#: What an answer takes beside its body and the address it was asked for at (bytes).
_AROUND = 2048


@dataclass(slots=True)
class Answer:
    """A whole answer to a GET."""

    version: int  # of the archive that it is true of
    tag: str  # its ETag
    headers: Mapping[str, str]
    pieces: Sequence[bytes]  # of its body: to join some megabytes would take long
    forms: dict[str, bytes] = field(default_factory=dict)  # compressed, by coding
    whole: Whole | None = None  # ready to be sent, once it was asked for so

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.pieces))

    @property
    def body(self) -> bytes:
        """The body in one piece, which takes time if it is long."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


class Answers:
    """The answers that one process keeps, by all that they depend on."""

    def __init__(
        self,
        told: Callable[[], int],
        kept: int = KEPT,
        longest: int = LONGEST,
    ) -> None:
        self._told = told  # the version that the archive has, for all that is known
        self._most = kept
        self.longest = longest
        self._answers: OrderedDict[Hashable, tuple[Answer, int]] = OrderedDict()
        self.size = 0  # bytes that are kept
        self.gathered = 0  # bytes that may be kept soon

    def get(self, key: Hashable) -> Answer | None:
        """What was answered last, true or not."""
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def is_true(self, answer: Answer) -> bool:
        """Whether nothing has changed since, for all that any process has told."""
        return answer.version == self._told()

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer."""
        self._drop(key)
        size = answer.size + len(str(key)) + _AROUND
        self._answers[key] = answer, size
        self._resize(size)

    def add_form(self, key: Hashable, answer: Answer, coding: str, form: bytes) -> None:
        """Keep the body of an answer compressed as well, if the answer is still kept."""
        held = self._answers.get(key)
        if held is not None and held[0] is answer and coding not in answer.forms:
            answer.forms[coding] = form
            self._answers[key] = answer, held[1] + len(form)
            self._resize(len(form))

    def _drop(self, key: Hashable) -> None:
        held = self._answers.pop(key, None)
        if held is not None:
            self.size -= held[1]

    def _resize(self, more: int) -> None:
        self.size += more
        while self.size > self._most:
            self.size -= self._answers.popitem(last=False)[1][1]

    def gathering(self, key: Hashable, version: int, tag: str) -> "Gathering":
        """A place for an answer on its way out, that is to be kept."""
        return Gathering(self, key, version, tag)

    def has_room(self, more: int) -> bool:
        """Whether so many bytes more may be gathered."""
        return self.gathered + more <= self._most


class Gathering:
    """An answer on its way out; what `done` was not said of leaves nothing behind."""

    def __init__(self, answers: Answers, key: Hashable, version: int, tag: str) -> None:
        self._answers = answers
        self._key = key
        self._version = version
        self._tag = tag
        self._pieces: list[bytes] | None = []  # None: it is too long
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget()

    def add(self, piece: bytes) -> None:
        """Take a piece of the body, before anybody compresses it."""
        if self._pieces is None:
            return
        more = len(piece)
        if self._size + more > self._answers.longest or not self._answers.has_room(
            more
        ):
            self._forget()
            return
        self._pieces.append(piece)
        self._size += more
        self._answers.gathered += more

    def done(self, headers: Mapping[str, str]) -> None:
        """Keep it: that was all, and it went out with these headers."""
        if self._pieces is None:
            return
        answer = Answer(self._version, self._tag, dict(headers), self._pieces)
        self._answers.put(self._key, answer)
        self._forget()

    def _forget(self) -> None:
        self._pieces = None
        self._answers.gathered -= self._size
        self._size = 0
