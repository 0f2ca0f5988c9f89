"""Small named documents that all processes share, kept in the database.

They are few and read with every request that needs one, so each process holds a copy of
all of a kind, as good as the stamp says it is.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.storage.database import Database, Session
from gateway.storage.stamp import Stamp, version_of

_ALL = "SELECT name, body FROM documents WHERE kind = ?"
_PUT = """
INSERT INTO documents (kind, name, body) VALUES (?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body
"""
_DELETE = "DELETE FROM documents WHERE kind = ? AND name = ?"
_CLEAR = "DELETE FROM documents WHERE kind = ?"

Document = dict[str, Any]


class Documents:
    """The documents of one kind, by name."""

    def __init__(self, database: Database, stamp: Stamp, kind: str) -> None:
        self._database = database
        self._stamp = stamp
        self._kind = kind
        self._version = -1  # that the copy is of
        self._copy: dict[str, Document] = {}
        self._reading = asyncio.Lock()

    async def all(self) -> dict[str, Document]:
        """All of them, in the order of their names; not to be changed by the caller."""
        if self._stamp.read(self._kind) != self._version:
            async with self._reading:
                if self._stamp.read(self._kind) != self._version:
                    # The version first: what comes between is read again.
                    self._version, self._copy = await self._database.read(self._read)
        return self._copy

    def _read(self, session: Session) -> tuple[int, dict[str, Document]]:
        version = version_of(session, self._kind)
        rows = session.fetch(_ALL, (self._kind,))
        return version, {name: orjson.loads(body) for name, body in sorted(rows)}

    async def put(self, name: str, body: Mapping[str, Any]) -> None:
        """Keep a document, in place of one of the same name."""
        text = _text(body)

        def work(session: Session) -> None:
            session.execute(_PUT, (self._kind, name, text))
            self._stamp.advance(session, self._kind)

        await self._database.write(work)

    async def delete(self, name: str) -> bool:
        """Remove a document; whether there was one."""

        def work(session: Session) -> bool:
            if not session.execute(_DELETE, (self._kind, name)):
                return False
            self._stamp.advance(session, self._kind)
            return True

        return await self._database.write(work)

    async def replace_all(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep these and no others; nothing is written if that is so already."""
        texts = {name: _text(body) for name, body in documents.items()}

        def work(session: Session) -> None:
            self._stamp.correct(session)
            if dict(session.fetch(_ALL, (self._kind,))) == texts:
                return
            session.execute(_CLEAR, (self._kind,))
            rows = [(self._kind, name, text) for name, text in texts.items()]
            session.execute_many(_PUT, rows)
            self._stamp.advance(session, self._kind)

        await self._database.write(work)


def _text(body: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(body), option=orjson.OPT_SORT_KEYS).decode()
