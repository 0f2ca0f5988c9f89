"""What tests say to a gateway: store, find, fetch."""

import io
from typing import Any

from tests.factories import content_type, multipart

ROOT = "/dicom-web"
JSON = "application/dicom+json"


async def store(client: Any, *files: bytes) -> None:
    """Store files by STOW-RS; all of them must be taken."""
    response = await client.post(
        f"{ROOT}/studies",
        data=io.BytesIO(multipart(*files)),
        headers={"Content-Type": content_type()},
    )
    assert response.status == 200, await response.text()


async def find(client: Any, path: str, query: Any = None, **headers: str) -> Any:
    """The matches of a search, which must succeed."""
    response = await client.get(f"{ROOT}/{path}", params=query, headers=headers)
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"] == JSON
    return await response.json(content_type=JSON)


def values(found: list[dict[str, Any]], tag: str) -> list[Any]:
    """The first value of an attribute in each match, None where it has none."""
    return [match.get(tag, {}).get("Value", [None])[0] for match in found]
