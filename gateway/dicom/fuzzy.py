"""Fuzzy matching of person names: what PS3.4 C.2.2.2.1.1 leaves to each server.

The words of a query are looked for in the components of a name, in any order, without
regard to case and accents. A word is found where a part of a component begins with it;
a word of four letters or more also where one letter is wrong, missing, too many, or
swapped with the next. Ideographic and phonetic groups are names like any other.
"""

import re
import unicodedata
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache

#: Shorter words have too many neighbours to forgive them anything.
_FORGIVEN_FROM = 4

_SEPARATORS = re.compile(r"[\s^=,\\.'’-]+")

# Letters that Unicode does not take apart into one of ours and an accent.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)


def words(text: str) -> tuple[str, ...]:
    """The words of a query or a name, in the form in which they are compared."""
    return tuple(filter(None, _SEPARATORS.split(_folded(text))))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold()).translate(_LETTERS)
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


def is_like(wanted: tuple[str, ...], name: str) -> bool:
    """Whether each wanted word is found in a component group of a name."""
    parts = words(name)
    return bool(wanted) and all(
        any(_begins(part, word) for part in parts) for word in wanted
    )


def _begins(part: str, word: str) -> bool:
    """Whether a part of a name begins with the word, or with one much like it."""
    if "*" in word or "?" in word:
        return _pattern(word).match(part) is not None
    if part.startswith(word):
        return True
    return len(word) >= _FORGIVEN_FROM and _nearly_begins(part, word)


@lru_cache(256)
def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(translate(word.replace("[", "[[]")))


def _nearly_begins(part: str, word: str) -> bool:
    """Whether one edit of the word makes it a beginning of the part."""
    same = 0
    for left, right in zip(part, word, strict=False):
        if left != right:
            break
        same += 1
    swapped = word[same + 1 : same + 2] + word[same] + word[same + 2 :]
    return (
        part.startswith(word[same + 1 :], same + 1)  # another letter
        or part.startswith(word[same + 1 :], same)  # one too many
        or part.startswith(word[same:], same + 1)  # one missing
        or part.startswith(swapped, same)
    )


def pieces(word: str) -> Iterator[str]:
    """Texts of which at least one is in every unaccented name that has the word.

    One edit spares one half of a word, unless it swaps the letters at its middle.
    """
    if len(word) < _FORGIVEN_FROM:
        yield word
        return
    middle = len(word) // 2
    yield word[:middle]
    yield word[middle:]
    yield word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
