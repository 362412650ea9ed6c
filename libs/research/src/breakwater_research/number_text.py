"""Numbers, days and times as people read them: `−17.55%`, `1,234.50`, `8 Jul 2023`."""

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

from breakwater_core.decimals import to_text

NONE = "–"
"""Stands where there is no number."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_LARGEST_PLAIN = 1e15
_PRICE_DIGITS = Context(prec=8, rounding=ROUND_HALF_EVEN)


def fixed(value: Decimal | float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return the value with a fixed number of decimals, thousands apart, and a true minus sign.

    Args:
        value: None gives a dash.
        digits: Decimals.
        signed: Whether a value above zero gets a plus.
    """
    if value is None:
        return NONE
    text = f"{abs(value):,.{digits}f}"
    if not text.strip("0.,"):
        return text
    sign = "−" if value < 0 else "+" if signed else ""
    return f"{sign}{text}"


def percent(share: Decimal | float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return a share as a percentage: 0.0123 gives `1.23%`."""
    if share is None:
        return NONE
    text = fixed(share * 100, digits, signed=signed)
    return f"{text}%"


def basis_points(value: Decimal | float | None) -> str:
    """Return basis points with one decimal and their unit."""
    return NONE if value is None else f"{fixed(value, 1, signed=True)} bps"


def compact(value: float, step: float) -> str:
    """Return a label for a number on an axis: as many decimals as the axis' step needs, large numbers with a suffix."""
    if abs(value) >= _LARGEST_PLAIN:
        return f"{value:.0e}".replace("-", "−")
    for size, suffix in _SUFFIXES:
        if abs(value) >= 10 * size:
            return f"{fixed(value / size, _decimals(step / size))}{suffix}"
    return fixed(value, _decimals(step))


def price(value: Decimal | None) -> str:
    """Return a price or quantity with at most eight significant digits and without trailing zeros."""
    return NONE if value is None else to_text(_PRICE_DIGITS.plus(value)).replace("-", "−")


def day_text(day: date) -> str:
    """Return a day as `8 Jul 2023`."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_day(day: date) -> str:
    """Return a day without its year: `8 Jul`."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def month_text(day: date) -> str:
    """Return the month of a day: `Jul 2023`."""
    return f"{_MONTHS[day.month - 1]} {day.year}"


def time_text(time_ms: int) -> str:
    """Return an instant in UTC as `2023-07-08 08:31:30`.

    Args:
        time_ms: Milliseconds since 1970-01-01T00:00Z.
    """
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _decimals(step: float) -> int:
    """Return how many decimals multiples of the step have, at most 6."""
    return next((digits for digits in range(6) if abs(round(step, digits) - step) < step * 1e-6), 6)


def plain_text(value: object) -> str:
    """Return a setting's value as text: numbers without needless zeros, lists with commas, `none` if it is not set."""
    if value is None or value != value:  # what a table has for "not set" is not equal to itself
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain_text(entry) for entry in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def counts_text(number: int, noun: str) -> str:
    """Return a number with its noun, with an s unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
