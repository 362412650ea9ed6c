"""Reading fields of a payload: one row, its topic, and an error that names both when something is not as promised.

Quantities, prices and most times are decimal text; an empty text, null or a missing key means "none". Bybit also
sends some numbers bare, and integers as text, in places that change over time: both are read.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from breakwater_core.decimals import from_text
from breakwater_core.errors import InvalidInputError, PermanentError


class MalformedPayload(PermanentError):
    """A payload does not have the promised shape; the message names the topic and the field."""

    def __init__(self, topic: str, field: str, problem: str) -> None:
        super().__init__(f"{topic}: field {field!r} {problem}; the payload was dropped")
        self.topic = topic
        self.field = field


class Row:
    """One object of a payload, read field by field."""

    __slots__ = ("_topic", "_values")

    def __init__(self, values: object, topic: str) -> None:
        if not isinstance(values, Mapping):
            raise MalformedPayload(topic, "row", f"is {type(values).__name__}, not an object")
        self._values = values
        self._topic = topic

    def has(self, field: str) -> bool:
        """Return whether the field is there and not empty."""
        return self._values.get(field) not in (None, "")

    def row(self, field: str) -> "Row":
        """Return the object under the field."""
        value = self._values.get(field)
        if not isinstance(value, Mapping):
            raise MalformedPayload(self._topic, field, "is missing or not an object")
        return Row(value, self._topic)

    def rows(self, field: str) -> "list[Row]":
        """Return the list of objects under the field."""
        return [Row(value, self._topic) for value in self.values(field)]

    def values(self, field: str) -> Sequence[Any]:
        """Return the list under the field."""
        value = self._values.get(field)
        if not isinstance(value, list):
            raise MalformedPayload(self._topic, field, "is missing or not a list")
        return value

    def text(self, field: str) -> str:
        """Return the non-empty text under the field; a bare number is taken as text."""
        value = self.optional_text(field)
        if not value:
            raise MalformedPayload(self._topic, field, "is missing or empty")
        return value

    def optional_text(self, field: str) -> str:
        """Return the text under the field; empty when there is none."""
        value = self._values.get(field)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise MalformedPayload(self._topic, field, f"is {type(value).__name__}, not text")

    def flag(self, field: str) -> bool:
        """Return the truth value under the field; missing means false."""
        value = self._values.get(field)
        if value in (None, "", 0, "0", "false"):
            return False
        if value in (True, 1, "1", "true"):
            return True
        raise MalformedPayload(self._topic, field, f"is not a truth value: {value!r}")

    def integer(self, field: str) -> int:
        """Return the integer under the field."""
        value = self.optional_integer(field)
        if value is None:
            raise MalformedPayload(self._topic, field, "is missing or empty")
        return value

    def optional_integer(self, field: str) -> int | None:
        """Return the integer under the field; None when there is none."""
        value = self._values.get(field)
        if value is None or value == "":
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        try:
            return int(value) if isinstance(value, str) else int(from_text(str(value)))
        except (ValueError, ArithmeticError):
            raise MalformedPayload(self._topic, field, f"is no integer: {value!r}") from None

    def decimal(self, field: str) -> Decimal:
        """Return the finite decimal under the field."""
        value = self.optional_decimal(field)
        if value is None:
            raise MalformedPayload(self._topic, field, "is missing or empty")
        return value

    def optional_decimal(self, field: str) -> Decimal | None:
        """Return the finite decimal under the field; None when there is none."""
        value = self._values.get(field)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise MalformedPayload(self._topic, field, f"is {type(value).__name__}, not a number")
        try:
            return from_text(value if isinstance(value, str) else repr(value))
        except InvalidInputError:
            raise MalformedPayload(self._topic, field, f"is no number: {value!r}") from None

    def positive_decimal(self, field: str) -> Decimal:
        """Return the decimal above 0 under the field."""
        value = self.decimal(field)
        if value <= 0:
            raise MalformedPayload(self._topic, field, f"is not above 0: {value}")
        return value

    def optional_positive_decimal(self, field: str) -> Decimal | None:
        """Return the decimal above 0 under the field; None when there is none or it is 0, as flat positions state."""
        value = self.optional_decimal(field)
        return value if value is not None and value > 0 else None

    def number(self, field: str) -> float:
        """Return the finite float under the field."""
        value = self.optional_number(field)
        if value is None:
            raise MalformedPayload(self._topic, field, "is missing or empty")
        return value

    def optional_number(self, field: str) -> float | None:
        """Return the finite float under the field; None when there is none."""
        value = self._values.get(field)
        if value is None or value == "":
            return None
        return finite_number(value, self._topic, field)

    def fault(self, field: str, problem: str) -> MalformedPayload:
        """Return the error that says what is wrong with the field."""
        return MalformedPayload(self._topic, field, problem)


def finite_number(value: object, topic: str, field: str) -> float:
    """Return the value as a finite float.

    Raises:
        MalformedPayload: If it is none.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if isfinite(number):
            return number
    raise MalformedPayload(topic, field, f"is no finite number: {value!r}")
