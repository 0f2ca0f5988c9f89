"""Everything that can go wrong here, as one family.

An error says what happened in words a caller can act on. It holds no HTTP status and
no domain object: the one table from error to status is in ``gateway.web.middleware``.

::

    GatewayError
    ├── BadRequest            the caller's words are wrong
    │   ├── NotDicom          the bytes are no DICOM file that can be kept
    │   └── Truncated         the body ended before it was complete
    ├── NotFound              no such resource
    │   └── UnknownServer     no remote server of this name
    ├── NotAcceptable         none of the media types asked for can be made
    ├── CannotTranscode       pixels that cannot be decoded, or encoded as asked
    ├── UnsupportedMedia      a body of a kind that is not understood
    ├── Conflict              the same identifier with other content
    ├── TooLarge              a bound was passed
    ├── TooSlow               the caller did not send in time
    ├── ReadOnly              this gateway does not write
    ├── StorageFull           no room left
    ├── Busy                  not now, but perhaps in a moment
    ├── NotAllowed            who asks may not
    ├── Misdirected           it is meant for a server of another name
    ├── RemoteFailure         another server did not do what it was asked
    │   ├── RemoteTimeout     it was silent for too long
    │   ├── RemoteRefused     it does not let us in, or not do this
    │   ├── RemoteBadRequest  it does not understand what it was asked
    │   └── RemoteNotFound    it has no such resource
    └── BadConfiguration      the settings cannot be used
"""


def encodable(text: str) -> str:
    """A text that may be written as UTF-8.

    What a header or an address has of bytes that are no text is kept in a form that
    cannot; here each becomes a question mark.
    """
    return text.encode("utf-8", "replace").decode()


class GatewayError(Exception):
    """Something went wrong; the message may quote what came from outside."""

    retry = False  # whether the same may go well in a while
    retry_after: float | None = None  # seconds to wait before, if somebody said

    def __init__(self, message: str | None = None) -> None:
        super().__init__(encodable(message or type(self).__doc__ or ""))

    @property
    def message(self) -> str:
        """The sentence to show to the caller."""
        return str(self)


class BadRequest(GatewayError):
    """The request cannot be understood."""


class NotDicom(BadRequest):
    """These bytes are not a DICOM file that can be kept."""


class Truncated(BadRequest):
    """The body ended before it was complete."""


class NotFound(GatewayError):
    """There is no such resource."""


class UnknownServer(NotFound):
    """There is no remote server of this name."""


class NotAcceptable(GatewayError):
    """None of the media types asked for can be produced."""


class CannotTranscode(GatewayError):
    """These pixels cannot be given in this encoding."""


class UnsupportedMedia(GatewayError):
    """The body is of a media type that is not understood here."""


class Conflict(GatewayError):
    """This identifier is already held with other content."""


class TooLarge(GatewayError):
    """The request is larger than this gateway takes."""


class TooSlow(GatewayError):
    """The body did not arrive in time."""


class ReadOnly(GatewayError):
    """This gateway is read-only."""


class StorageFull(GatewayError):
    """There is no room left to store this."""


class Busy(GatewayError):
    """This cannot be done now; another try may succeed."""


class NotAllowed(GatewayError):
    """This caller may not do that."""


class Misdirected(GatewayError):
    """The request is meant for a server of another name."""


class BadConfiguration(GatewayError):
    """The configuration cannot be used."""


class RemoteFailure(GatewayError):
    """A remote server did not do what it was asked."""

    def __init__(
        self,
        message: str | None = None,
        *,
        server: str = "",
        status: int | None = None,
        retry: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.server = server  # its name
        self.status = status  # of HTTP; None when there was no answer
        self.retry = retry
        self.retry_after = retry_after


class RemoteTimeout(RemoteFailure):
    """A remote server was silent for too long."""


class RemoteRefused(RemoteFailure):
    """A remote server does not let us in (401, 403)."""


class RemoteBadRequest(RemoteFailure):
    """A remote server does not understand what it was asked (400)."""


class RemoteNotFound(RemoteFailure):
    """A remote server has no such resource (404, 410)."""
