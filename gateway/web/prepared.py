"""Giving an answer again that was given before, and keeping it for that.

All that an answer depends on beside the archive is its key: the address as it came, what
is accepted, and where the server seems to stand. Who may come in has been let in before.
"""

from collections.abc import Hashable, Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from gateway.archive import State
from gateway.storage.threads import in_thread
from gateway.web.answers import Answer, Gathering
from gateway.web.compression import WORTH_IT, coding_of, compressed
from gateway.web.conditional import etag, listed, not_modified
from gateway.web.context import gateway, public_root
from gateway.web.cors import add_vary
from gateway.web.replies import PLAIN, WHOLE, streaming
from gateway.web.whole import Whole

#: Bytes of a long answer that are handed to a connection at a time.
_STEP = 1024 * 1024


#: In a request: its key, once it is known.
_KEY = web.RequestKey("key", Hashable)


def key_of(request: web.Request) -> Hashable:
    """What the answer to a request depends on, beside the archive."""
    if _KEY not in request:
        accept = tuple(request.headers.getall("Accept", ()))
        request[_KEY] = request.raw_path, accept, public_root(request)
    return request[_KEY]


async def given_again(request: web.Request) -> web.StreamResponse | None:
    """What was answered before, if nothing has changed since."""
    answers = gateway(request).answers
    held = answers.get(key_of(request))
    if held is None or not answers.is_true(held):
        return None
    return await give(request, held)


def given_at_once(request: web.Request, **address: str) -> Whole | None:
    """The same, of an answer that is short."""
    answers = gateway(request).answers
    held = answers.get(key_of(request))
    if held is None or held.size > WHOLE or not answers.is_true(held):
        return None
    if held.tag in listed(request):
        return _unchanged(held.tag)
    return _whole(held)


def _whole(held: Answer) -> Whole:
    if held.whole is None:
        held.whole = Whole.of(HTTPStatus.OK, held.headers, held.body)
    return held.whole


def _unchanged(tag: str) -> Whole:
    return Whole.of(HTTPStatus.NOT_MODIFIED, PLAIN | {"ETag": tag})


class Preparation:
    """An answer about to be made, unless somebody has it already.

    What is kept of an earlier state may still be true of this one: then it is given, and
    not made again. `choices` are made by the settings and by what is accepted.
    """

    def __init__(self, request: web.Request, *choices: object) -> None:
        parts = gateway(request)
        self.headers = dict(PLAIN)
        self._request = request
        self._answers = parts.answers
        self._key = key_of(request)
        self._choices = choices
        self._held = parts.answers.get(self._key)
        self._listed = listed(request)
        self._tagged: tuple[State, str] | None = None

    def _tag(self, state: State) -> str:
        """The tag of a state; asked for it again, the same."""
        tagged = self._tagged
        if tagged is not None and tagged[0] is state:
            return tagged[1]
        tag = etag(self._request, *self._choices, *state.told)
        self._tagged = state, tag
        return tag

    def is_wanted(self, state: State) -> bool:
        """Whether the answer of this state has to be made. For any thread."""
        tag, held = self._tag(state), self._held
        return tag not in self._listed and (held is None or held.tag != tag)

    async def known(self, state: State) -> web.StreamResponse | None:
        """The answer of this state if it has not to be made."""
        tag, held = self._tag(state), self._held
        if held is not None and held.tag == tag:
            held.version = max(held.version, state.version)
            return await give(self._request, held)
        return not_modified(self._request, tag, self.headers)

    def known_at_once(self, state: State) -> Whole:
        """The same for an answer that is not wanted, where nothing is compressed."""
        tag, held = self._tag(state), self._held
        if tag in self._listed or held is None:
            return _unchanged(tag)
        held.version = max(held.version, state.version)
        return _whole(held)

    def gathering(self, state: State) -> Gathering:
        """A place for the answer, to be kept."""
        return self._answers.gathering(self._key, state.version, self._tag(state))

    def whole(self, state: State, headers: Mapping[str, str], body: bytes) -> Whole:
        """The answer, kept already."""
        headers = {**self.headers, "ETag": self._tag(state), **headers}
        answer = Answer(state.version, headers["ETag"], headers, [body])
        self._answers.put(self._key, answer)
        return _whole(answer)


async def give(request: web.Request, held: Answer) -> web.StreamResponse:
    """Answer with what is held, or that the client holds it too."""
    unchanged = not_modified(request, held.tag, dict(PLAIN))
    if unchanged is not None:
        return unchanged
    pieces, size, coding = held.pieces, held.size, None
    if size >= WORTH_IT:
        coding = coding_of(request, held.headers.get("Content-Type", ""))
    if coding is not None:
        pieces = [await _form(request, held, coding)]
        size = len(pieces[0])
    response: web.StreamResponse
    if size <= WHOLE:
        response = web.Response(body=b"".join(pieces), headers=held.headers)
    else:
        response = web.StreamResponse(headers=held.headers)
        response.content_length = size
    if coding is not None:
        response.headers["Content-Encoding"] = coding
    if gateway(request).settings.http_compression_enabled:
        add_vary(response, "Accept-Encoding")
    if size > WHOLE:
        await _stream(request, response, pieces)
    return response


async def _form(request: web.Request, held: Answer, coding: str) -> bytes:
    known = held.forms.get(coding)
    if known is not None:
        return known
    made = await in_thread(lambda: compressed(held.body, coding))
    gateway(request).answers.add_form(key_of(request), held, coding, made)
    return made


async def _stream(
    request: web.Request, response: web.StreamResponse, pieces: Sequence[bytes]
) -> None:
    async with streaming(request, response) as wanted:
        for piece in pieces if wanted else ():
            view = memoryview(piece)
            for start in range(0, len(view), _STEP):
                await response.write(view[start : start + _STEP])
