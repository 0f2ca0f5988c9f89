"""The body of a request whose client is gone."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import Truncated
from gateway.web.context import _chunks


class Gone:
    """What is left of a body: its end will not come."""

    def is_eof(self) -> bool:
        """Whether all has come."""
        return False

    async def readchunk(self) -> tuple[bytes, bool]:
        """As the reader of a connection that is closed."""
        raise RuntimeError("Connection closed.")


async def test_a_client_that_is_gone_before_its_body_is_read_is_no_fault_of_ours() -> (
    None
):
    request: Any = SimpleNamespace(content=Gone(), content_length=9, transport=None)
    with pytest.raises(Truncated):
        await anext(_chunks(request, 10))
