"""Decimal text and numbers: the one way in which money is written and read.

Money is `Decimal` with 50 significant digits, so that sums of fills never round.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from breakwater_core.errors import InvalidInputError

MONEY = Context(prec=50)
"""Context for products and quotients of money; sums at Python's default 28 digits are exact here too."""


def to_text(value: Decimal) -> str:
    """Return plain decimal text without exponent and without trailing zeros: `1E+3` gives `1000`."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def from_text(text: str) -> Decimal:
    """Return the finite decimal that the text states.

    Raises:
        InvalidInputError: If the text is no finite decimal number.
    """
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise InvalidInputError(f"not a decimal number: {text!r}") from error
    if not value.is_finite():
        raise InvalidInputError(f"not a finite number: {text!r}")
    return value


def from_float(value: float) -> Decimal:
    """Return the shortest decimal that reads back as the same float: 0.1 gives Decimal("0.1")."""
    return from_text(repr(float(value)))


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that is not above `value`, for values at or above 0."""
    return MONEY.multiply(MONEY.divide_int(value, step), step)


def round_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Return the multiple of `step` nearest to `value`."""
    return MONEY.multiply(MONEY.divide(value, step).to_integral_value(rounding=ROUND_HALF_EVEN), step)
