"""PNG pictures as native pixel data: no transfer syntax holds them as they are."""

import io
import warnings
from dataclasses import dataclass

from PIL import Image

from gateway.errors import BadRequest

#: Bytes of a picture, before and after it is decoded.
LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pixels:
    """Native pixel data, colour by pixel, words little endian."""

    rows: int
    columns: int
    samples: int
    bits: int
    content: bytes


def decode_png(content: bytes) -> Pixels:
    """The pixels of a PNG; transparency is left out. Raises BadRequest."""
    if content[24:25] == b"\x10" and content[25:26] != b"\0":
        raise BadRequest("a PNG in colour has 8 bits for each channel here, not 16")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                return _pixels(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"the PNG cannot be read: {error}") from None
    except Image.DecompressionBombWarning:
        raise BadRequest("the PNG is absurdly large") from None


def _pixels(picture: Image.Image) -> Pixels:
    columns, rows = picture.size
    if rows * columns * 3 > LIMIT or max(rows, columns) > 0xFFFF:
        raise BadRequest("the PNG is absurdly large")
    if picture.mode.startswith("I"):
        content = picture.convert("I").convert("I;16").tobytes()
        return Pixels(rows, columns, 1, 16, content)
    if picture.mode in ("1", "L", "LA"):
        return Pixels(rows, columns, 1, 8, picture.convert("L").tobytes())
    return Pixels(rows, columns, 3, 8, picture.convert("RGB").tobytes())
