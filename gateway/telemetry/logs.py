"""The log: lines of text or of JSON, each with the request it is about.

How much is worth a line is known to all workers through a number they share, so that it
can be changed while they run: by a request that lands on any of them, or by a signal.
"""

import json
import logging
import sys
import time
from typing import Literal

import orjson

from gateway.errors import BadRequest
from gateway.telemetry.board import Board
from gateway.telemetry.counters import Shared
from gateway.telemetry.exchange import CURRENT

log = logging.getLogger(__name__)

#: One line for each request, at "verbose" and "debug".
access = logging.getLogger("gateway.access")

#: Values of LogLevel, each with all that follow it.
LEVELS = ("debug", "verbose", "info", "warning", "error")

_TELLING = ("debug", "verbose")  # of each request

#: Orthanc's levels: as configured, "verbose", "debug".
WORDS = ("default", "verbose", "trace")


def start_log(level: str, form: Literal["text", "json"]) -> None:
    """Let the log go to the standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Say from now on what is worth a line; a value of LogLevel."""
    wordy = level == "verbose"
    logging.getLogger().setLevel(logging.INFO if wordy else level.upper())
    access.setLevel(logging.DEBUG if wordy else logging.NOTSET)


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name
        """The line, with the id of the request at its end."""
        request = CURRENT.get().id
        line = super().formatMessage(record)
        return f"{line} [{request}]" if request else line


class JsonLines(logging.Formatter):
    """Lines for programs: an object each."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, with what the record itself adds to it."""
        written = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if request := CURRENT.get().id:
            written["request_id"] = request
        written |= getattr(record, "fields", {})
        if record.exc_info:
            written["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(written, default=str).decode()
        except TypeError:  # bytes that are no text, or a number without end
            return json.dumps(written, default=str)


class Volume:
    """How much is logged, by all workers alike."""

    def __init__(self, board: Board, configured: str) -> None:
        self._cells = board.shared
        self._configured = configured
        self._code = self._coded(WORDS[0], configured)
        self._obeyed = 0.0  # nothing was said yet
        self.tells_requests = configured in _TELLING

    @staticmethod
    def _coded(word: str, configured: str) -> float:
        return float(1 + WORDS.index(word) * len(LEVELS) + LEVELS.index(configured))

    def _decoded(self) -> tuple[str, str]:
        code = self._cells[Shared.LOG_LEVEL] or self._code
        word, level = divmod(int(code) - 1, len(LEVELS))
        return WORDS[word], LEVELS[level]

    @property
    def word(self) -> str:
        """Orthanc's word for it."""
        return self._decoded()[0]

    @property
    def level(self) -> str:
        """What is worth a line: a value of LogLevel."""
        word, configured = self._decoded()
        return {"default": configured, "verbose": "verbose", "trace": "debug"}[word]

    def turn(self, word: str) -> None:
        """Change it, by Orthanc's word; raises BadRequest."""
        if word not in WORDS:
            raise BadRequest(f"the level is one of {', '.join(WORDS)}")
        self._cells[Shared.LOG_LEVEL] = self._coded(word, self._decoded()[1])
        self.obey()
        log.info("the log level is %s", self.level)

    def configure(self, level: str) -> None:
        """Change it to what the configuration says now; what was asked for ends."""
        self._cells[Shared.LOG_LEVEL] = self._coded(WORDS[0], level)
        self.obey()
        log.info("LogLevel was read again: %s", level)

    def obey(self) -> None:
        """Log in this process as was said in any of them."""
        code = self._cells[Shared.LOG_LEVEL]
        if code != self._obeyed:
            self._obeyed = code
            set_level(self.level)
            self.tells_requests = self.level in _TELLING
