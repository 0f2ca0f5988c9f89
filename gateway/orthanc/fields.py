"""Bodies of JSON that ask for something, field by field.

What is wrong is said with the name of the field. Values are not repeated: they may be
passwords.
"""

from collections.abc import Mapping

from gateway.errors import BadRequest


class Fields:
    """The object that a body is; each method raises BadRequest for a wrong value."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, Mapping):
            raise BadRequest("the body is not a JSON object")
        self._fields = value

    def text(self, name: str, otherwise: str | None = None) -> str:
        """A string that must be there, unless there is something otherwise."""
        value = self._fields.get(name, otherwise)
        if value is None:
            raise BadRequest(f"{name} is missing")
        if not isinstance(value, str):
            raise BadRequest(f"{name} is not a string")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false; None if it is not there."""
        value = self._fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise BadRequest(f"{name} is neither true nor false")
        return value

    def whole(self, name: str, otherwise: int) -> int:
        """A whole number that fits in 32 bits."""
        value = self._fields.get(name, otherwise)
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not fits or abs(value) >= 2**31:
            raise BadRequest(f"{name} is not a whole number of 32 bits")
        return int(value)

    def texts(self, name: str) -> list[str]:
        """A list of strings that must be there."""
        values = self.listed(name)
        if not all(isinstance(value, str) for value in values):
            raise BadRequest(f"{name} is not a list of strings")
        return [str(value) for value in values]

    def listed(self, name: str) -> list[object]:
        """A list that must be there."""
        value = self._fields.get(name)
        if value is None:
            raise BadRequest(f"{name} is missing")
        if not isinstance(value, list):
            raise BadRequest(f"{name} is not a list")
        return value

    def pairs(self, name: str) -> dict[str, str]:
        """An object of strings; empty if it is not there."""
        value = self._fields.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(
            isinstance(one, str) for one in value.values()
        ):
            raise BadRequest(f"{name} is not an object of strings")
        return dict(value)
